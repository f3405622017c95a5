"""The affine map that fits best between two sets of points, also where they determine none."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

# How strongly a map is drawn towards one that keeps angles: as a share of the points' spread,
# which weighs where they lie on a line, and as px, which weighs where they coincide.
_SHARE_OF_SPREAD = 1e-3
_PIXELS = 0.5


def fit_affine_maps(
    before: Float[Tensor, "batch views num_keypoints 2"],
    after: Float[Tensor, "batch views num_keypoints 2"],
    factor: Float[Tensor, "batch"],
) -> Float[Tensor, "batch views 2 3"]:
    r"""Return for each view the map that brings the points near to where they are to be.

    With points :math:`o_i`, :math:`n_i` taken from their means, it has the least

    .. math:: \sum_i \|A o_i - n_i\|^2 + \lambda \|A - A_0\|^2

    where :math:`A_0` is the similarity that fits best, itself drawn towards a mere scaling, and
    :math:`\lambda` is small: so along a line the map is determined by the points, and across it
    by the similarity; two points make a similarity, a single one is shifted and scaled.

    Args:
        before: px; NaN where there is none.
        after: px; likewise.
        factor: what an image is scaled by where its points do not tell.

    Returns:
        Finite, if the factor is; the identity for a view without points.

    Example:
        >>> before = torch.tensor([[[[0.0, 0.0], [90.0, 0.0], [0.0, 90.0], [torch.nan, 5.0]]]])
        >>> fit_affine_maps(before, 2 * before + 7, torch.ones(1)).round(decimals=2)
        tensor([[[[2., 0., 7.],
                  [0., 2., 7.]]]])
    """
    is_usable = (before + after).isfinite().all(dim=-1, keepdim=True)
    number = is_usable.sum(dim=-2)
    start, before = _centred(before, is_usable, number)
    end, after = _centred(after, is_usable, number)

    x, y = before.unbind(dim=-1)
    new_x, new_y = after.unbind(dim=-1)
    xx, xy, yy = (x * x).sum(-1), (x * y).sum(-1), (y * y).sum(-1)
    towards_scaling = number[..., 0].clamp(min=1) * _PIXELS**2
    spread = xx + yy + towards_scaling
    along = ((x * new_x + y * new_y).sum(-1) + towards_scaling * factor[:, None]) / spread
    turned = (x * new_y - y * new_x).sum(-1) / spread

    weight = _SHARE_OF_SPREAD * (xx + yy) + towards_scaling
    xx, yy = xx + weight, yy + weight
    determinant = xx * yy - xy * xy
    rows = []
    for new, of_x, of_y in ((new_x, along, -turned), (new_y, turned, along)):
        with_x, with_y = (new * x).sum(-1) + weight * of_x, (new * y).sum(-1) + weight * of_y
        rows.append(
            torch.stack([yy * with_x - xy * with_y, xx * with_y - xy * with_x], dim=-1)
            / determinant[..., None]
        )
    linear = torch.stack(rows, dim=-2)
    shift = end - (linear * start[..., None, :]).sum(dim=-1)
    maps = torch.cat([linear, shift[..., None]], dim=-1)
    identity = torch.eye(2, 3, dtype=maps.dtype, device=maps.device)
    return torch.where(number[..., None] > 0, maps, identity)


def _centred(
    points: Float[Tensor, "batch views num_keypoints 2"], is_usable: Tensor, number: Tensor
) -> tuple[Float[Tensor, "batch views 2"], Float[Tensor, "batch views num_keypoints 2"]]:
    """Return the mean of the points, and the points from there; zero for what is not usable."""
    points = torch.where(is_usable, points, 0.0)
    mean = points.sum(dim=-2) / number.clamp(min=1)
    return mean, torch.where(is_usable, points - mean[..., None, :], 0.0)
