"""Precision that coordinates in px need, whatever the trainer runs in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which matrix products keep the precision of their inputs.

    Example:
        >>> with torch.autocast("cpu", dtype=torch.bfloat16), without_autocast(torch.device("cpu")):
        ...     (torch.eye(2) @ torch.eye(2)).dtype
        torch.float32
    """
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def at_least_float32(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the values in float32 where they are in half precision, else as they are.

    In half precision a coordinate of some hundred px is known to 0.1 px or worse.

    Example:
        >>> at_least_float32(torch.ones(1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    half = values.dtype in (torch.float16, torch.bfloat16)
    return values.float() if half else values


def best_float(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the values in the best precision that the device has.

    That is float64, in which the geometry of cameras is computed: in float32 a telephoto camera
    loses a percent of the scene. Apple's GPUs have float32 only.

    Example:
        >>> best_float(torch.ones(1)).dtype
        torch.float64
    """
    return at_least_float32(values) if values.device.type == "mps" else values.double()
