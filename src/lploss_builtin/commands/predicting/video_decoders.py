"""What decodes videos: the CPU, or NVIDIA's decoder."""

from __future__ import annotations

import torch

from lploss.errors import ArgumentValueError, MissingDependencyError
from lploss_builtin.data.video_nvidia import nvidia_is_at_hand

DECODERS = ("auto", "cpu", "cuda")


def check_decoder(name: str) -> None:
    """Check that there is such a decoder.

    Raises:
        ArgumentValueError: there is not.
    """
    if name not in DECODERS:
        raise ArgumentValueError(f"decoder must be one of {', '.join(DECODERS)}, got {name!r}")


def decoder_of(name: str, device: torch.device) -> str:
    """Return what decodes videos: ``"cpu"``, or ``"cuda"`` for NVIDIA's decoder.

    Args:
        name: ``"auto"``: NVIDIA's decoder where the model runs on a GPU and torchcodec is
            installed.
        device: where the model runs.

    Raises:
        ArgumentValueError: there is no such decoder.
        MissingDependencyError: NVIDIA's decoder cannot be used.

    Example:
        >>> decoder_of("auto", torch.device("cpu"))
        'cpu'
    """
    check_decoder(name)
    if name == "auto":
        return "cuda" if device.type == "cuda" and nvidia_is_at_hand() else "cpu"
    if name == "cuda" and not nvidia_is_at_hand():
        raise MissingDependencyError(
            "NVIDIA's decoder needs a CUDA device and torchcodec: pip install torchcodec, or "
            "decode on the CPU (--decoder cpu)"
        )
    return name
