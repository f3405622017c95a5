"""Random rigs of cameras, lenses that exist, and what OpenCV and NumPy make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor

from lploss_builtin.ops.geometry import Cameras

#: How many coefficients OpenCV takes.
NUM_COEFFICIENTS = (0, 4, 5, 8, 12, 14)

#: Width and height of the images of all cameras here, px.
IMAGE_SIZE = (1280, 720)

#: Camera matrix and coefficients of lenses such as exist.
LENSES = {
    "barrel webcam": ((895.0, 897.0, 624.0, 361.0), (-0.338, 0.0967, -0.00135, 0.00316, -0.0037)),
    "wavy webcam": ((637.0, 634.0, 657.0, 378.0), (0.17, -0.25, -0.00075, 0.0125, 0.156)),
    "telephoto": ((136330.0, 136330.0, 416.0, 316.0), (-6468.0, 0.0, 0.0, 0.0, 0.0)),
    "wide angle": (
        (620.0, 618.0, 645.0, 355.0),
        # atan(r) / r by Padé: 136 degrees from corner to corner.
        (7 / 9, 64 / 945, 4e-4, -6e-4, 0.0, 10 / 9, 5 / 21, 0.0),
    ),
}

# What coefficients spread by: k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 tau_x tau_y.
_SPREAD = np.array([0.1, 0.03, 3e-3, 3e-3, 5e-3, 0.05, 0.02, 2e-3, *[2e-3] * 4, 0.03, 0.03])


def random_rig(
    seed: int, num_views: int = 3, num_coefficients: int = 5, skew: float = 0.0
) -> Cameras:
    """Return cameras all round the origin, some 5 units away, that look at it."""
    generator = np.random.default_rng(seed)
    matrices, rotations, translations, distortions = [], [], [], []
    for _ in range(num_views):
        fx, fy = generator.uniform(600, 1000, size=2)
        cx, cy = generator.uniform((600, 320), (680, 400))
        matrices.append([[fx, skew, cx], [0, fy, cy], [0, 0, 1]])
        rotations.append(np.linalg.qr(generator.normal(size=(3, 3)))[0])
        rotations[-1] *= np.linalg.det(rotations[-1])
        translations.append([*generator.uniform(-0.3, 0.3, size=2), generator.uniform(4, 6)])
        distortions.append((_SPREAD * generator.uniform(-1, 1, size=14))[:num_coefficients])
    return Cameras.from_opencv(
        matrices, rotations, translations, distortions, image_sizes=[IMAGE_SIZE] * num_views
    )


def lens(name: str) -> Cameras:
    """Return one camera with a lens of that name, at the origin."""
    (fx, fy, cx, cy), coefficients = LENSES[name]
    matrix = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
    return Cameras.from_opencv([matrix], [[0, 0, 0]], [[0, 0, 0]], [coefficients])


def strong_lens(seed: int, num_coefficients: int) -> Cameras:
    """Return one camera whose distortion is several times as strong as those of a rig."""
    coefficients = 4 * _SPREAD * np.random.default_rng(seed).uniform(-1, 1, size=14)
    matrix = [[700, 0, 640], [0, 700, 360], [0, 0, 1]]
    return Cameras.from_opencv(
        [matrix], [[0, 0, 0]], [[0, 0, 0]], [coefficients[:num_coefficients]]
    )


def batched(cameras: Cameras, batch: int) -> Cameras:
    """Return the cameras once for each element of a batch."""
    return Cameras(
        *(
            None if tensor is None else tensor.expand(batch, *tensor.shape).clone()
            for tensor in (cameras.intrinsics, cameras.extrinsics, cameras.distortions)
        )
    )


def without_distortion(cameras: Cameras) -> Cameras:
    """Return pinholes in the places of the cameras."""
    return Cameras(cameras.intrinsics, cameras.extrinsics)


def moved(cameras: Cameras, motion: Tensor) -> Cameras:
    """Return the cameras of a world that was moved, as they see it."""
    rotation, shift = motion[:, :3], motion[:, 3]
    turned = cameras.extrinsics[..., :3] @ rotation.T
    shifted = cameras.extrinsics[..., 3] - turned @ shift
    return replace(cameras, extrinsics=torch.cat([turned, shifted[..., None]], dim=-1))


def scaled(cameras: Cameras, unit: float) -> Cameras:
    """Return the cameras of a world that was scaled."""
    extrinsics = cameras.extrinsics.clone()
    extrinsics[..., 3] *= unit
    return replace(cameras, extrinsics=extrinsics)


def random_motion(seed: int) -> Tensor:
    """Return a rotation and a shift, side by side."""
    generator = np.random.default_rng(seed)
    rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    return torch.tensor(np.column_stack([rotation, generator.normal(size=3)]))


def random_points(seed: int, batch: int = 2, num_keypoints: int = 5) -> Tensor:
    """Return points in the cube of two units about the origin."""
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(batch, num_keypoints, 3, generator=generator, dtype=torch.float64) - 1


def noise(seed: int, like: Tensor, size: float = 1.0) -> Tensor:
    """Return normally distributed numbers in the shape of a tensor."""
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(like.shape, generator=generator, dtype=torch.float64)


def whole_image(num_columns: int = 65, num_rows: int = 37) -> Tensor:
    """Return a grid of points over an image, its corners included, as those of one view."""
    x = torch.linspace(0, IMAGE_SIZE[0], num_columns, dtype=torch.float64)
    y = torch.linspace(0, IMAGE_SIZE[1], num_rows, dtype=torch.float64)
    return torch.cartesian_prod(x, y)[None, None]


def each_camera(cameras: Cameras) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the matrix, the pose and the coefficients of each camera of a shared rig."""
    assert cameras.distortions is not None
    yield from zip(
        cameras.intrinsics.numpy(),
        cameras.extrinsics.numpy(),
        cameras.distortions.numpy(),
        strict=True,
    )


def project_with_opencv(points_3d: Tensor, cameras: Cameras) -> np.ndarray:
    """Return where the cameras see the points, by ``cv2.projectPoints``."""
    batch, num_keypoints, _ = points_3d.shape
    seen = [
        cv2.projectPoints(
            points_3d.reshape(-1, 1, 3).numpy(),
            cv2.Rodrigues(pose[:, :3])[0],
            pose[:, 3],
            matrix,
            coefficients if len(coefficients) else None,
        )[0].reshape(batch, num_keypoints, 2)
        for matrix, pose, coefficients in each_camera(cameras)
    ]
    return np.stack(seen, axis=1)


def undistort_with_opencv(
    points: np.ndarray, matrix: np.ndarray, coefficients: np.ndarray
) -> np.ndarray:
    """Return where a pinhole would put points, by ``cv2.undistortPoints``."""
    # By default it stops after five iterations.
    patience = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 500, 1e-14)
    points = points.reshape(-1, 1, 2)
    if hasattr(cv2, "undistortPointsIter"):  # before OpenCV 5
        moved = cv2.undistortPointsIter(points, matrix, coefficients, None, matrix, patience)
    else:
        moved = cv2.undistortPoints(points, matrix, coefficients, P=matrix, criteria=patience)
    return moved[:, 0]


def in_own_frame(poses: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the poses in a world about the centre of the cameras, their spread as its unit.

    Returns:
        Also the centre and the spread.
    """
    places = -np.einsum("vji,vj->vi", poses[:, :, :3], poses[:, :, 3])
    centre = places.mean(axis=0)
    spread = float(np.sqrt(np.square(places - centre).sum(axis=1).mean()))
    shifts = (poses[:, :, :3] @ centre + poses[:, :, 3]) / spread
    return np.concatenate([poses[:, :, :3], shifts[:, :, None]], axis=2), centre, spread


def least_squares_dlt(
    directions: np.ndarray, poses: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Return the point of ``views 2`` undistorted directions, by NumPy's SVD.

    The world is that of `in_own_frame`.
    """
    poses, centre, spread = in_own_frame(poses)
    weights = np.ones(len(poses)) if weights is None else weights
    rows = [
        np.sqrt(weight) * (direction * pose[2] - pose[axis])
        for direction_2d, pose, weight in zip(directions, poses, weights, strict=True)
        for axis, direction in enumerate(direction_2d)
    ]
    homogeneous = np.linalg.svd(np.array(rows))[2][-1]
    return centre + spread * homogeneous[:3] / homogeneous[3]


def same(actual: Tensor, expected: Tensor) -> None:
    """Assert that two tensors are the same, but for the last digits of float64."""
    torch.testing.assert_close(actual, expected, rtol=1e-13, atol=1e-10, equal_nan=True)


def check_gradients(
    operation: Callable[..., Tensor], points: Tensor, cameras: Cameras, *others: Tensor
) -> None:
    """Assert that gradients by points and all of the cameras are those of finite differences.

    NaN is taken for zero; what is missing in the points stays missing.
    """
    is_given = ~points.isnan()
    is_bent = cameras.distortions is not None and cameras.distortions.shape[-1] > 0
    entries = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2))

    def at(points: Tensor, extrinsics: Tensor, *rest: Tensor) -> Tensor:
        numbers, rest = rest[: len(entries)], rest[len(entries) :]
        values = dict(zip(entries, numbers, strict=True))
        zero, one = torch.zeros_like(numbers[0]), torch.ones_like(numbers[0])
        values |= {(1, 0): zero, (2, 0): zero, (2, 1): zero, (2, 2): one}
        rows = [torch.stack([values[i, j] for j in range(3)], dim=-1) for i in range(3)]
        distortions, *rest = rest if is_bent else (None, *rest)
        new = Cameras(torch.stack(rows, dim=-2), extrinsics, distortions)
        points = torch.where(is_given, points, torch.nan)
        return operation(points, new, *rest).nan_to_num(nan=0.0)

    inputs = [points.nan_to_num(), cameras.extrinsics]
    inputs += [cameras.intrinsics[..., i, j] for i, j in entries]
    inputs += [cameras.distortions] if is_bent else []
    leaves = [tensor.clone().requires_grad_() for tensor in (*inputs, *others)]
    assert torch.autograd.gradcheck(at, leaves)


def same_compiled(operation: Callable[..., Tensor], points: Tensor, cameras: Cameras) -> None:
    """Assert that compiled, as a whole, an operation returns the same, and the same gradients."""
    torch.compiler.reset()
    results = []
    for run in (operation, torch.compile(operation, fullgraph=True, backend="aot_eager")):
        leaves = [t.clone().requires_grad_() for t in (points, cameras.intrinsics)]
        returned = run(leaves[0], Cameras(leaves[1], cameras.extrinsics, cameras.distortions))
        total = (returned.nan_to_num(nan=0.0) * noise(0, returned)).sum()
        results.append((returned.detach(), *torch.autograd.grad(total, leaves)))
    torch.testing.assert_close(*results, equal_nan=True)
