"""Affine maps between the pixels of two images: crop, resize, and back."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def crop_and_resize(
    bbox: Float[Tensor, "*batch 4"], image_size: Float[Tensor, "*#batch 2"] | tuple[float, float]
) -> Float[Tensor, "*batch 2 3"]:
    """Return the affine map from pixels of the original image to those of the model's input.

    The corner of the box goes to the corner of the input; no half pixel is added or taken off.

    Args:
        bbox: x, y, height and width of the crop, px in the original image.
        image_size: height and width of the model's input, px.

    Returns:
        The map: ``p -> A p + b`` with ``A`` in the first two columns.

    Example:
        >>> crop_and_resize(torch.tensor([100.0, 50.0, 200.0, 400.0]), (256.0, 256.0))
        tensor([[  0.6400,   0.0000, -64.0000],
                [  0.0000,   1.2800, -64.0000]])
    """
    x, y, height, width = bbox.unbind(-1)
    size = torch.as_tensor(image_size, dtype=bbox.dtype, device=bbox.device)
    scale_y, scale_x = size[..., 0] / height, size[..., 1] / width
    zero = torch.zeros_like(scale_x)
    return torch.stack(
        [
            torch.stack([scale_x, zero, -x * scale_x], dim=-1),
            torch.stack([zero, scale_y, -y * scale_y], dim=-1),
        ],
        dim=-2,
    )


def inverse(affine: Float[Tensor, "*batch 2 3"]) -> Float[Tensor, "*batch 2 3"]:
    """Return the map that leads back.

    Example:
        >>> inverse(torch.tensor([[2.0, 0.0, 4.0], [0.0, 2.0, 6.0]]))
        tensor([[ 0.5000, -0.0000, -2.0000],
                [-0.0000,  0.5000, -3.0000]])
    """
    (a, b), (c, d) = (row.unbind(-1) for row in affine[..., :2].unbind(-2))
    determinant = a * d - b * c
    linear = torch.stack([torch.stack([d, -b], dim=-1), torch.stack([-c, a], dim=-1)], dim=-2)
    linear = linear / determinant[..., None, None]
    # Not a matrix product, which autocast and tensor cores would round.
    shift = -(linear * affine[..., None, :, 2]).sum(dim=-1, keepdim=True)
    return torch.cat([linear, shift], dim=-1)


def transform(
    points: Float[Tensor, "*batch num_keypoints 2"], affine: Float[Tensor, "*#batch 2 3"]
) -> Float[Tensor, "*batch num_keypoints 2"]:
    """Return the points in the pixels to which the map leads.

    Example:
        >>> affine = crop_and_resize(torch.tensor([100.0, 50.0, 200.0, 400.0]), (256.0, 256.0))
        >>> transform(torch.tensor([[100.0, 50.0], [500.0, 250.0]]), affine)
        tensor([[  0.,   0.],
                [256., 256.]])
    """
    x, y = points.unsqueeze(-2).unbind(-1)
    # Nor is this one.
    return x * affine[..., None, :, 0] + y * affine[..., None, :, 1] + affine[..., None, :, 2]
