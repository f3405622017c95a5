"""A failing example as a few lines of Python that need no kit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lploss.testing.batches import Example

_PRECISIONS = {torch.float32: "", torch.float64: ", dtype=torch.float64"}


def script_of(
    build: tuple[str, ...], example: Example | None, shows: str, other: Example | None = None
) -> str:
    """Return Python that builds the loss and the batch, and shows what is wrong.

    Args:
        build: lines that build the loss.
        example: the batch.
        shows: lines that show what is wrong.
        other: a batch that it is compared with; of this, what differs is written.
    """
    if example is None:  # without a batch there is nothing to call
        return "\n".join(["import torch", *build, *([] if "batch" in shows else [shows])]).strip()
    backward = "backward" in shows
    literals = {name: _literal(value, backward) for name, value in example.batch.items()}
    changed = {name: _literal(v, backward) for name, v in (other.batch if other else {}).items()}
    changed = {name: text for name, text in changed.items() if text != literals[name]}
    lines = ["import torch", *build]
    texts = [*literals.values(), *changed.values()]
    names = [name for name in ("nan", "inf") if any(name in text for text in texts)]
    if names:
        lines.append(f"{', '.join(names)} = " + ", ".join(f'float("{name}")' for name in names))
    lines += ["batch = {", *_entries(literals), "}"]
    if other:
        lines += ["other = {", "    **batch,", *_entries(changed), "}"]
    return "\n".join([*lines, shows])


def _entries(literals: Mapping[str, str]) -> list[str]:
    return [f'    "{name}": {literal},' for name, literal in literals.items()]


def _literal(value: Tensor, backward: bool) -> str:
    dtype = _PRECISIONS.get(value.dtype, f", dtype={value.dtype}")
    needs_gradient = ", requires_grad=True" if backward and value.is_floating_point() else ""
    if value.device.type != "cpu" or not value.numel():
        device = "" if value.device.type == "cpu" else f', device="{value.device}"'
        return f"torch.zeros({tuple(value.shape)}{dtype}{device}{needs_gradient})"
    return f"torch.tensor({_nested(value.detach().numpy())}{dtype}{needs_gradient})"


def _nested(values: Any) -> str:
    if values.ndim:
        return f"[{', '.join(map(_nested, values))}]"
    # NumPy writes the fewest digits that give the very number in its precision.
    return str(values[()])
