"""The part of space that all cameras see, and how it looks."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lploss.errors import ArgumentValueError
from lploss_builtin.ops.geometry.cameras import Cameras, in_best_precision
from lploss_builtin.ops.geometry.projection import project_points, to_camera
from lploss_builtin.ops.geometry.triangulation import triangulate_views


def views_of_shared_volume(
    cameras: Cameras, num_points: int = 4096
) -> Float[Tensor, "num_seen two_x_views"]:
    """Return how the cameras see points spread evenly over the ball that all of them see.

    The ball lies about the point that is nearest to the centre of all images, and is as large as
    fits into them.

    Args:
        cameras: the cameras, not batched, with image sizes.
        num_points: how many points are spread over the cube about the ball.

    Returns:
        x and y in each view, px; a row for each point of the ball.

    Raises:
        ArgumentValueError: the cameras have no image sizes, or do not look at the same place.

    Example:
        >>> pinhole = [[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]]
        >>> cameras = Cameras.from_opencv(
        ...     [pinhole] * 2,
        ...     [[0, 0, 0], [0, torch.pi / 2, 0]],
        ...     [[0, 0, 9]] * 2,
        ...     image_sizes=[(640, 480)] * 2,
        ... )
        >>> views_of_shared_volume(cameras).shape
        torch.Size([2089, 4])
    """
    if cameras.image_sizes is None:
        raise ArgumentValueError(
            "the cameras have no image sizes, and so it is not known what they see. Give "
            "Cameras(..., image_sizes=[(width, height), ...])."
        )
    cameras = in_best_precision(cameras)
    sizes = torch.tensor(cameras.image_sizes).to(cameras.intrinsics)
    # Refined, as the centres of the images may be far from agreeing on a point.
    centre = triangulate_views((sizes / 2)[None, :, None], cameras, num_refinements=5)
    seen = project_points(centre, cameras)[0, :, 0]
    to_border = torch.minimum(seen, sizes - seen).amin(dim=-1)
    # Written so that NaN, for no point at all, is not above zero.
    if not bool((to_border > 0).all()):
        raise ArgumentValueError(
            "the cameras do not look at the same place: no point in space is seen near the centre "
            f"of all images. The best one is seen at {seen.tolist()} px in images of "
            f"{sizes.tolist()} px."
        )
    focal = cameras.intrinsics.diagonal(dim1=-2, dim2=-1)[:, :2].amax(dim=-1)
    depth = to_camera(centre, cameras)[2, 0, :, 0]
    radius = (to_border * depth / focal).min()
    sobol = torch.quasirandom.SobolEngine(3)  # type: ignore[no-untyped-call]
    grid = sobol.draw(num_points).to(centre) * 2 - 1
    ball = grid[grid.square().sum(dim=-1) <= 1]
    rows = project_points((centre + radius * ball), cameras)[0]
    rows = rearrange(rows, "view point xy -> point (view xy)")
    is_inside = ((rows >= 0) & (rows <= sizes.flatten())).all(dim=-1)
    return rows[is_inside]
