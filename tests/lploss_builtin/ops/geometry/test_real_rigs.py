from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from lploss_builtin.ops.geometry import (
    Cameras,
    distort_points,
    project_points,
    triangulate_views,
    undistort_points,
)
from tests.lploss_builtin.ops.geometry.rigs import IMAGE_SIZE, whole_image, without_distortion
from tests.lploss_builtin.real_data import FOLDER, needs_real_data

pytestmark = needs_real_data

FLY = FOLDER / "fly-3cam"
BOARD = FOLDER / "charuco-4cam"


def cameras_of(path: Path) -> Cameras:
    calibration = tomllib.loads(path.read_text())
    entries = calibration.get("cameras", calibration)
    entries = [entry for entry in entries.values() if "matrix" in entry]
    columns = [
        [entry[name] for entry in entries]
        for name in ("matrix", "rotation", "translation", "distortions")
    ]
    return Cameras.from_opencv(*columns)


@cache
def fly() -> tuple[Tensor, Cameras]:
    """Median of the members in each view, and the cameras."""
    views = [
        [
            pd.read_csv(FLY / f"cam{view}_member{member}.csv", header=[0, 1, 2], index_col=0)
            for member in range(3)
        ]
        for view in "ABC"
    ]
    points = [
        np.median([table.to_numpy().reshape(500, 12, 3)[..., :2] for table in members], axis=0)
        for members in views
    ]
    return torch.tensor(np.stack(points, axis=1)), cameras_of(FLY / "calibration.toml")


def in_views(path: Path, view: str, keypoint: str, values: list[str]) -> dict[str, Tensor]:
    """Columns of a table of points as ``frame view keypoint``, NaN where there is none."""
    table = pd.read_csv(path)
    axes = [table[column].unique() for column in ("sync_index", view, keypoint)]
    index = pd.MultiIndex.from_product([np.sort(axis) for axis in axes])
    table = table.set_index(["sync_index", view, keypoint]).reindex(index)
    shape = tuple(map(len, axes))
    return {name: torch.tensor(table[name].to_numpy(dtype=float)).view(shape) for name in values}


@cache
def board() -> tuple[Tensor, Tensor, Cameras]:
    """Corners as four cameras see them, where they are on the board, and the cameras."""
    columns = ["img_loc_x", "img_loc_y", "obj_loc_x", "obj_loc_y"]
    path = BOARD / "calibration" / "extrinsic" / "xy.csv"
    found = in_views(path, "cam_id", "keypoint_id", columns)
    points = torch.stack([found["img_loc_x"], found["img_loc_y"]], dim=-1)
    true = torch.stack([found["obj_loc_x"], found["obj_loc_y"]], dim=-1)
    return (
        points,
        true.nanmedian(dim=0).values.nanmedian(dim=0).values,
        cameras_of(BOARD / "camera_array.toml"),
    )


def dlt_of_unit_equations(points: Tensor, cameras: Cameras) -> Tensor:
    """Triangulate all views by NumPy, each equation divided by its norm.

    That is how the figures known of these data were found; OpenCV and this library do not divide.
    """
    pinhole = undistort_points(points, cameras)
    homogeneous = torch.cat([pinhole, torch.ones_like(pinhole[..., :1])], dim=-1)
    inverse = torch.linalg.inv(cameras.intrinsics)
    rays = torch.einsum("vij,bvkj->bvki", inverse, homogeneous)[..., :2, None]
    poses = cameras.extrinsics[:, None]
    equations = (rays * poses[..., 2:, :] - poses[..., :2, :]).movedim(2, 1).flatten(2, 3).numpy()
    equations = np.nan_to_num(equations / np.linalg.norm(equations, axis=-1, keepdims=True))
    found = np.linalg.svd(equations)[2][..., -1, :]
    found = torch.tensor(found[..., :3] / found[..., 3:])
    enough = (~points.isnan().any(dim=-1)).sum(dim=1) >= 2
    return torch.where(enough[..., None], found, torch.nan)


Triangulation = Callable[[Tensor, Cameras], Tensor]


def reprojection_errors(
    points: Tensor, cameras: Cameras, triangulation: Triangulation = triangulate_views
) -> Tensor:
    seen = project_points(triangulation(points, cameras), cameras)
    return (seen - points).norm(dim=-1)


# Medians over all views, and in each, px.
@pytest.mark.parametrize(
    ("triangulation", "over_all", "in_each"),
    [
        (dlt_of_unit_equations, 1.16, [1.05, 0.70, 2.84]),
        (triangulate_views, 1.206, [1.186, 0.990, 1.569]),
    ],
)
def test_fly_is_reprojected_as_closely_as_known(
    triangulation: Triangulation, over_all: float, in_each: list[float]
) -> None:
    errors = reprojection_errors(*fly(), triangulation)
    assert errors.median() == pytest.approx(over_all, abs=5e-3)
    medians = [errors[:, view].median().item() for view in range(3)]
    assert medians == pytest.approx(in_each, abs=5e-3)


def test_refinement_reprojects_fly_more_closely() -> None:
    points, cameras = fly()

    def total(num_refinements: int) -> float:
        found = triangulate_views(points, cameras, num_refinements=num_refinements)
        return (project_points(found, cameras) - points).square().sum().item()

    assert total(1) < 0.85 * total(0)
    assert total(2) == pytest.approx(total(5), rel=1e-6)


def test_fly_is_found_by_single_precision_keypoints() -> None:
    points, cameras = fly()
    expected = triangulate_views(points, cameras)
    found = triangulate_views(points.float(), cameras)
    assert found.dtype == torch.float32
    assert (found - expected).norm(dim=-1).max() < 1e-5 * extent(expected)


def test_fly_is_found_by_cameras_rounded_to_single_precision() -> None:
    points, cameras = fly()
    expected = triangulate_views(points, cameras)
    found = triangulate_views(points.float(), cameras.to(torch.float32))
    assert (found - expected).norm(dim=-1).max() < 1e-3 * extent(expected)


def extent(points_3d: Tensor) -> Tensor:
    """Of the largest side of the box of all points."""
    return (points_3d.amax(dim=(0, 1)) - points_3d.amin(dim=(0, 1))).max()


def test_board_is_seen_with_gaps() -> None:
    points, _, _ = board()
    assert points.shape == (48, 4, 12, 2)
    assert points.isnan().any(dim=-1).double().mean() == pytest.approx(0.251, abs=1e-3)


# Median and 90th percentile of the reprojection errors, and the median without distortion, px.
@pytest.mark.parametrize(
    ("triangulation", "median", "large", "without"),
    [(dlt_of_unit_equations, 0.46, 1.24, 4.13), (triangulate_views, 0.456, 1.233, 4.256)],
)
def test_board_is_reprojected_as_closely_as_known(
    triangulation: Triangulation, median: float, large: float, without: float
) -> None:
    points, _, cameras = board()
    errors = reprojection_errors(points, cameras, triangulation)
    assert errors.nanmedian() == pytest.approx(median, abs=5e-3)
    assert errors.nanquantile(0.9) == pytest.approx(large, abs=5e-3)
    errors = reprojection_errors(points, without_distortion(cameras), triangulation)
    assert errors.nanmedian() == pytest.approx(without, abs=5e-3)


def test_refinement_reprojects_the_board_more_closely() -> None:
    points, _, cameras = board()
    start, refined = (
        triangulate_views(points, cameras, num_refinements=number) for number in (0, 3)
    )
    assert torch.equal(start.isnan(), refined.isnan())
    errors = [
        (project_points(found, cameras) - points).square().nansum() for found in (start, refined)
    ]
    assert errors[1] < 0.99 * errors[0]


# Median and 95th percentile of the errors of the distances between corners, mm.
@pytest.mark.parametrize(
    ("triangulation", "median", "large"),
    [(dlt_of_unit_equations, 0.45, 1.59), (triangulate_views, 0.440, 1.537)],
)
def test_board_is_as_large_as_it_is(
    triangulation: Triangulation, median: float, large: float
) -> None:
    points, true, cameras = board()
    found = triangulation(points, cameras)
    first, second = torch.triu_indices(12, 12, 1)
    distances = (found[:, first] - found[:, second]).norm(dim=-1)
    expected = (true[first] - true[second]).norm(dim=-1)
    errors = 1000 * (distances - expected).abs()
    assert errors.nanmedian() == pytest.approx(median, abs=5e-3)
    assert errors.nanquantile(0.95) == pytest.approx(large, abs=5e-3)


def test_webcams_are_undistorted_over_their_whole_images() -> None:
    _, _, cameras = board()
    image = whole_image().expand(1, 4, -1, -1)
    assert IMAGE_SIZE == (1280, 720)
    back = distort_points(undistort_points(image, cameras), cameras)
    torch.testing.assert_close(back, image, rtol=0, atol=1e-8)
    back = undistort_points(distort_points(image, cameras), cameras)
    torch.testing.assert_close(back, image, rtol=0, atol=1e-8)


@pytest.mark.parametrize("num_refinements", [0, 3])
def test_of_people_only_what_two_cameras_see_is_found(num_refinements: int) -> None:
    path = BOARD / "human_f7c314b" / "recordings" / "recording_1" / "HOLISTIC" / "xy_HOLISTIC.csv"
    found = in_views(path, "port", "point_id", ["img_loc_x", "img_loc_y"])
    points = torch.stack([found["img_loc_x"], found["img_loc_y"]], dim=-1).requires_grad_()
    assert points.shape == (267, 4, 82, 2)
    _, _, cameras = board()
    found_3d = triangulate_views(points, cameras, num_refinements=num_refinements)
    is_found = ~found_3d.isnan().any(dim=-1)
    two_see_it = (~points.isnan().any(dim=-1)).sum(dim=1) >= 2
    assert not (is_found & ~two_see_it).any()
    # The rest are detections so wrong that their rays meet behind a camera.
    assert is_found.sum() > 0.99 * two_see_it.sum()
    found_3d.nan_to_num(nan=0.0).sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()
