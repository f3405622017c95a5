"""Frames with those around them, as a batch in which each is a frame of its own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor


def unfolded(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a batch without ``context_images``, which are among its ``images``.

    The frames themselves come first. What else the batch holds of a frame is repeated, its number
    included: so what is drawn for the frame is drawn for those around it, too.

    Args:
        batch: with ``images`` and ``index``; one without ``context_images`` stays as it is.

    Example:
        >>> batch = {"images": torch.zeros(2, 1, 3, 8, 8), "index": torch.tensor([7, 3])}
        >>> batch["context_images"] = torch.zeros(2, 1, 4, 3, 8, 8)
        >>> unfolded(batch)["index"]
        tensor([7, 3, 7, 3, 7, 3, 7, 3, 7, 3])
    """
    rows = dict(batch)
    context = rows.pop("context_images", None)
    if context is None:
        return rows
    num_frames, num_copies = len(batch["index"]), context.shape[2] + 1
    around = rearrange(context, "b v frame c h w -> (frame b) v c h w")
    return {
        name: torch.cat([values, around])
        if name == "images"
        else values.repeat(num_copies, *[1] * (values.ndim - 1))
        if _is_of_frames(name, values, num_frames)
        else values
        for name, values in rows.items()
    }


def folded(rows: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the batch that `unfolded` made rows of, with what has changed of the rows.

    Args:
        rows: what became of the rows.
        batch: what they were made of.
    """
    if "context_images" not in batch:
        return dict(rows)
    num_rows, num_frames = len(rows["images"]), len(batch["index"])
    done = {
        name: values[:num_frames] if _is_of_frames(name, values, num_rows) else values
        for name, values in rows.items()
    }
    done["context_images"] = rearrange(
        rows["images"][num_frames:], "(frame b) v c h w -> b v frame c h w", b=num_frames
    )
    return done


def _is_of_frames(name: str, values: Tensor, num_frames: int) -> bool:
    return name != "image_size" and values.ndim > 0 and len(values) == num_frames
