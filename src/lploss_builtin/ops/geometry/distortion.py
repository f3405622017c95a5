"""The distortion of lenses, and its inverse.

The model is OpenCV's: radial (polynomial or rational), tangential, thin prism and tilted sensor.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from kornia.geometry.calibration.distort import tilt_projection
from torch import Tensor

from lploss_builtin.ops.geometry.cameras import Cameras, check_points
from lploss_builtin.ops.precision import at_least_float32, best_float

#: The distorted image of an undistorted point may miss the point by so much, px.
TOLERANCE = 1e-2

# Newton's method takes about five steps; more are for lenses of more than 100 degrees.
_NUM_STEPS = 11
# No step may be longer: where a distortion folds over, it could leap across the fold.
_LONGEST_STEP = 0.25
# Distances from the axis at which folds are looked for: their decimal powers, and how many.
_RADII = (-3, 1, 256)


class Rays(NamedTuple):
    """Directions from which points are seen.

    Attributes:
        directions: x and y at depth 1 in front of each camera, ``2 batch views num_keypoints``.
        residual: by how much the distorted image of a direction misses the point, px.
    """

    directions: Tensor
    residual: Tensor


class Distorted(NamedTuple):
    """Distorted directions.

    Attributes:
        directions: x and y at depth 1.
        jacobian: their derivatives by the undistorted ones, ``2 2 ...``.
        determinant: of the Jacobian.
        is_inside: which of the undistorted ones lie inside where the distortion folds over. On the
            fold the image turns round and runs back over itself; farther out the polynomials of
            the model mean nothing.
    """

    directions: Tensor
    jacobian: Tensor
    determinant: Tensor
    is_inside: Tensor


class Lens(NamedTuple):
    """Coefficients sorted by what they do.

    Attributes:
        above: of the radial polynomial, or of its numerator, each ``#batch views 1``.
        below: of its denominator.
        tangential: p2 and p1, ``2 #batch views 1``.
        prism: first the factors of r² for x and y, then those of r⁴, ``2 2 #batch views 1``.
        tilt: the homography of a tilted sensor, ``3 3 #batch views 1``.
        second_fold: see `_second_fold`, ``#batch views 1``.
    """

    above: tuple[Tensor, ...]
    below: tuple[Tensor, ...]
    tangential: Tensor
    prism: Tensor | None
    tilt: Tensor | None
    second_fold: Tensor


def distort_points(
    points: Float[Tensor, "batch views num_keypoints 2"], cameras: Cameras
) -> Float[Tensor, "batch views num_keypoints 2"]:
    """Return where a lens puts the points that a pinhole would put at ``points``.

    Args:
        points: px in the image of a pinhole with the camera's intrinsics.
        cameras: the cameras.

    Returns:
        Px in the image of the camera.

    Source: OpenCV's camera model.

    Example:
        >>> pinhole = torch.tensor([[[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]]])
        >>> k1 = torch.tensor([[-0.2, 0.0, 0.0, 0.0]])
        >>> cameras = Cameras(pinhole, torch.eye(3, 4)[None], k1)
        >>> distort_points(torch.tensor([[[[570.0, 240.0]]]]), cameras)
        tensor([[[[557.5000, 240.0000]]]])
    """
    check_points("points", points, cameras)
    directions, lens = normalised(best_float(points), cameras), lens_of(cameras)
    if lens is not None:
        directions = distort(directions, lens).directions
    return in_pixels(directions, cameras).to(at_least_float32(points).dtype)


def undistort_points(
    points: Float[Tensor, "batch views num_keypoints 2"], cameras: Cameras
) -> Float[Tensor, "batch views num_keypoints 2"]:
    """Return where a pinhole would put the points that the lens put at ``points``.

    The inverse of `distort_points`. A point that no direction in front of the lens has as its
    image, beyond where the distortion folds over, is NaN, with a gradient of zero.

    Args:
        points: px in the image of the camera; NaN stays NaN.
        cameras: the cameras.

    Returns:
        Px in the image of a pinhole with the camera's intrinsics.

    Source: OpenCV's camera model, inverted by Newton's method with halved steps; the gradient is
    that of the implicit function.

    Example:
        >>> pinhole = torch.tensor([[[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]]])
        >>> k1 = torch.tensor([[-0.2, 0.0, 0.0, 0.0]])
        >>> cameras = Cameras(pinhole, torch.eye(3, 4)[None], k1)
        >>> undistort_points(torch.tensor([[[[557.5, 240.0], [9000.0, 240.0]]]]), cameras)
        tensor([[[[570., 240.],
                  [ nan,  nan]]]])
    """
    directions, residual = undistorted_rays(points, cameras)
    pinhole = in_pixels(directions, cameras)
    pinhole = torch.where((residual < TOLERANCE)[..., None], pinhole, math.nan)
    return pinhole.to(at_least_float32(points).dtype)


def undistorted_rays(
    points: Float[Tensor, "batch views num_keypoints 2"], cameras: Cameras
) -> Rays:
    """Return the directions from which the points are seen.

    They are finite everywhere, with finite gradients, and right where the residual is below
    `TOLERANCE`: unless the lens folds over and back within 4 % of the distance from its axis, or
    does so by its tangential terms. Where a point is NaN the residual is NaN, and infinite where
    nothing before the fold has it as its image.

    Args:
        points: px in the image of the camera.
        cameras: the cameras.

    Example:
        >>> pinhole = torch.tensor([[[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]]])
        >>> cameras = Cameras(pinhole, torch.eye(3, 4)[None])
        >>> undistorted_rays(torch.tensor([[[[570.0, 240.0]]]]), cameras).directions
        tensor([[[[0.5000]]],
        <BLANKLINE>
        <BLANKLINE>
                [[[0.0000]]]], dtype=torch.float64)
    """
    check_points("points", points, cameras)
    points = best_float(points)
    is_given = points.detach().abs().sum(dim=-1) < math.inf
    # Not by a product with the mask: infinity times zero is NaN.
    target = normalised(torch.where(is_given[..., None], points, 0.0), cameras)
    lens = lens_of(cameras)
    if lens is None:
        return Rays(target, torch.where(is_given, 0.0, math.nan))
    with torch.no_grad():
        directions = _undistorted(target, lens)
    seen = distort(directions, lens)
    miss = target - seen.directions
    determinant = seen.determinant.detach()
    residual = _length_in_pixels(miss.detach(), cameras)
    is_inside = seen.is_inside
    is_right = is_given & is_inside & (residual < TOLERANCE)
    # By the implicit function theorem, one more step of Newton's method, at a fixed derivative,
    # has the gradient of the inverse. It is not taken: close to a fold it could lead anywhere.
    scale = torch.where(is_right, 1 / torch.where(is_right, determinant, 1.0), 0.0)
    step = _newton_step(seen.jacobian.detach(), miss, scale)
    directions = directions + (step - step.detach())
    residual = torch.where(is_inside, residual, math.inf)
    return Rays(directions, torch.where(is_given, residual, math.nan))


def normalised(
    points: Float[Tensor, "*batch views num_keypoints 2"], cameras: Cameras
) -> Float[Tensor, "2 *batch views num_keypoints"]:
    """Return x and y of the points at depth 1, distortion left in."""
    fx, skew, cx, fy, cy = _intrinsics(cameras)
    x, y = points.unbind(dim=-1)
    y = (y - cy) / fy
    return torch.stack([(x - cx - skew * y) / fx, y])


def in_pixels(
    directions: Float[Tensor, "2 *batch views num_keypoints"], cameras: Cameras
) -> Float[Tensor, "*batch views num_keypoints 2"]:
    """Return points at depth 1 in px, as a pinhole does."""
    fx, skew, cx, fy, cy = _intrinsics(cameras)
    x, y = directions
    return torch.stack([fx * x + skew * y + cx, fy * y + cy], dim=-1)


def _undistorted(
    target: Float[Tensor, "2 *batch views num_keypoints"], lens: Lens
) -> Float[Tensor, "2 *batch views num_keypoints"]:
    """Return the directions whose distorted image is the target, by Newton's method.

    A step counts only where it comes nearer and does not cross the fold of the distortion; else
    half of it is tried.
    """
    directions = torch.zeros_like(target)
    step = target  # which makes the target itself the first guess
    error = torch.full_like(target[0], math.inf)
    for _ in range(_NUM_STEPS):
        new = directions + step
        seen = distort(new, lens)
        miss = target - seen.directions
        new_error = miss.square().sum(dim=0)
        is_better = (new_error < error) & seen.is_inside
        newton = _newton_step(seen.jacobian, miss, 1 / seen.determinant)
        # The steps that are safe grow with the distance from the axis.
        longest = _LONGEST_STEP * (1 + new.abs().sum(dim=0))
        newton = newton.clamp(-longest, longest)
        directions = torch.where(is_better, new, directions)
        error = torch.where(is_better, new_error, error)
        step = torch.where(is_better, newton, 0.5 * step)
    return directions


def _newton_step(
    jacobian: Float[Tensor, "2 2 *batch"], miss: Float[Tensor, "2 *batch"], scale: Tensor
) -> Float[Tensor, "2 *batch"]:
    """Return the step that makes up for a miss; ``scale`` is 1 / determinant."""
    (xx, xy), (yx, yy) = jacobian
    x, y = miss
    return torch.stack([yy * x - xy * y, xx * y - yx * x]) * scale


def distort(directions: Float[Tensor, "2 *batch views num_keypoints"], lens: Lens) -> Distorted:
    """Distort: ``d -> a d + r² s``, with the radial factor in ``a`` and tangential ``s``.

    The derivative of that is ``a + 2 d (slope d + s)^T + 2 s d^T``.
    """
    x, y = directions
    r2 = torch.addcmul(x * x, y, y)
    radial, slope = _radial(r2, lens.above, lens.below)
    shift = slant = lens.tangential
    if lens.prism is not None:
        first, second = lens.prism
        shift = shift + torch.addcmul(first, r2, second)
        slant = slant + torch.addcmul(first, r2, second, value=2)
    p2, p1 = lens.tangential
    along = torch.add(radial, torch.addcmul(p2 * x, p1, y), alpha=2)
    right = torch.addcmul(lens.tangential, slope, directions)
    half_jacobian = torch.addcmul(directions[:, None] * right, slant[:, None], directions)
    half_jacobian.diagonal().add_(along[..., None], alpha=0.5)
    new, jacobian = torch.addcmul(along * directions, r2, shift), 2 * half_jacobian
    if lens.tilt is not None:
        new, jacobian = _tilted(new, jacobian, lens.tilt)
    (xx, xy), (yx, yy) = jacobian
    determinant = xx * yy - xy * yx
    is_inside = (determinant > 0) & (xx + yy > 0) & (r2 < lens.second_fold.square())
    return Distorted(new, jacobian, determinant, is_inside)


def _radial(
    r2: Tensor, above: tuple[Tensor, ...], below: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """Return by what directions are multiplied, and its derivative by r²."""
    radial, slope = _polynomial(r2, above)
    if below:
        denominator, slope_below = _polynomial(r2, below)
        radial = radial / denominator
        slope = (slope - radial * slope_below) / denominator
    return radial, slope


def _polynomial(r2: Tensor, coefficients: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Return ``1 + c1 r² + c2 r⁴ + ...``, and its derivative by r²."""
    value = slope = torch.zeros_like(r2)
    for coefficient in reversed(coefficients):
        slope = torch.addcmul(value, r2, slope)
        value = torch.addcmul(coefficient, r2, value)
    return torch.addcmul(torch.ones_like(r2), r2, value), torch.addcmul(value, r2, slope)


def _tilted(
    directions: Float[Tensor, "2 *batch"], jacobian: Float[Tensor, "2 2 *batch"], tilt: Tensor
) -> tuple[Float[Tensor, "2 *batch"], Float[Tensor, "2 2 *batch"]]:
    """Return what a tilted sensor makes of it: a homography, and its derivative."""
    x, y = directions
    *top, depth = (row[0] * x + row[1] * y + row[2] for row in tilt)
    new = torch.stack(top) / depth
    slope = (tilt[:2, :2] - new[:, None] * tilt[2, :2]) / depth
    return new, (slope[:, :, None] * jacobian).sum(dim=1)


def lens_of(cameras: Cameras) -> Lens | None:
    """Return the coefficients sorted by what they do; ``None`` where there are none."""
    if cameras.distortions is None or not cameras.distortions.shape[-1]:
        return None
    given = best_float(cameras.distortions)
    given = given if given.dim() == 3 else given[None]
    k1, k2, p1, p2, *others = given[..., None].unbind(-2)
    prism = tilt = None
    if len(others) > 4:
        s1, s2, s3, s4 = others[4:8]
        prism = torch.stack([torch.stack([s1, s3]), torch.stack([s2, s4])])
    if len(others) > 8:
        tau_x, tau_y = others[8:]
        # It takes the last axis, of size 1, off.
        tilt = tilt_projection(tau_x, tau_y)[..., None, :, :].movedim((-2, -1), (0, 1))
    above, below = (k1, k2, *others[:1]), tuple(others[1:4])
    second_fold = _second_fold(above, below)
    return Lens(above, below, torch.stack([p2, p1]), prism, tilt, second_fold)


@torch.no_grad()
def _second_fold(
    above: tuple[Tensor, ...], below: tuple[Tensor, ...]
) -> Float[Tensor, "#batch views 1"]:
    """Return a distance from the axis between where a lens folds over and where it folds back.

    It is infinite where a lens does not do both. Beyond the second fold the derivative looks as
    it does before the first, but what is found there is nothing that a camera sees.
    """
    radii = torch.logspace(*_RADII, dtype=above[0].dtype, device=above[0].device)
    r2 = radii.square()
    radial, slope = _radial(r2, above, below)
    runs_back = (radial <= 0) | (radial + 2 * r2 * slope <= 0)
    over = torch.where(runs_back, radii, math.inf).amin(dim=-1, keepdim=True)
    back = torch.where(~runs_back & (radii > over), radii, math.inf).amin(dim=-1, keepdim=True)
    return (over * back).sqrt()


def _intrinsics(cameras: Cameras) -> tuple[Tensor, ...]:
    """Return fx, skew, cx, fy, cy as ``*batch views 1``."""
    top, middle, _ = best_float(cameras.intrinsics)[..., None].unbind(-3)
    fx, skew, cx = top.unbind(-2)
    _, fy, cy = middle.unbind(-2)
    return fx, skew, cx, fy, cy


def _length_in_pixels(
    directions: Float[Tensor, "2 *batch views num_keypoints"], cameras: Cameras
) -> Float[Tensor, "*batch views num_keypoints"]:
    fx, skew, _, fy, _ = _intrinsics(cameras)
    x, y = directions
    return torch.hypot(fx * x + skew * y, fy * y)
