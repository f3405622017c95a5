"""The subspace of ``pca_multiview`` from calibrated cameras instead of labels."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

import lploss
from lploss.errors import ArgumentValueError, FitError, ShapeError
from lploss_builtin.data.cameras.calibration import read_calibration
from lploss_builtin.ops.geometry import Cameras, project_points, reprojection_error
from lploss_builtin.ops.geometry.shared_volume import views_of_shared_volume
from tests.lploss_builtin.ops.geometry.rigs import noise, random_points, random_rig
from tests.lploss_builtin.real_data import FOLDER, needs_real_data

NUM_VIEWS, NUM_KEYPOINTS = 3, 5
MATCHES = [list(range(v * NUM_KEYPOINTS, (v + 1) * NUM_KEYPOINTS)) for v in range(NUM_VIEWS)]


def far_away(factor: float = 100.0) -> Cameras:
    """Cameras of a random rig, so far away and so long that perspective is small."""
    near = random_rig(4, num_views=NUM_VIEWS, num_coefficients=0)
    intrinsics, extrinsics = near.intrinsics.clone(), near.extrinsics.clone()
    intrinsics[:, :2, :2] *= factor
    extrinsics[:, 2, 3] *= factor
    return Cameras(intrinsics, extrinsics, image_sizes=near.image_sizes)


def create(cameras: object, **params: object) -> lploss.Loss:
    params = {"mirrored_column_matches": MATCHES, "epsilon": 0.0, **params}
    return lploss.create_loss("pca_multiview", calibration=cameras, **params)


def seen_by(cameras: Cameras, error: float = 0.0) -> Tensor:
    seen = project_points(random_points(6, batch=4, num_keypoints=NUM_KEYPOINTS), cameras)
    return (seen + noise(7, seen, error)).flatten(1)


def test_points_in_space_cost_next_to_nothing_and_others_what_they_miss_by() -> None:
    loss = create(far_away())
    assert loss.elementwise(keypoints_pred=seen_by(far_away())).max() < 1.0
    moved = seen_by(far_away())
    moved[:, 0] += 30.0
    assert loss.elementwise(keypoints_pred=moved)[:, 0].min() > 10.0


def test_the_farther_the_cameras_the_less_it_costs() -> None:
    costs = [
        create(far_away(factor)).elementwise(keypoints_pred=seen_by(far_away(factor))).max()
        for factor in (30, 100, 1000)
    ]
    assert costs[0] > 2 * costs[1] > 10 * costs[2]


def test_the_subspace_is_that_of_points_which_all_cameras_see() -> None:
    rows = views_of_shared_volume(far_away()).numpy()
    expected = PCA(n_components=3).fit(rows)
    loss = create(far_away())
    np.testing.assert_allclose(loss.mean.numpy(), expected.mean_, rtol=1e-6)
    both = np.abs(loss.components.numpy() @ expected.components_.T)
    np.testing.assert_allclose(np.linalg.svd(both)[1], 1.0, rtol=1e-5)
    assert loss.fit_report.rows_used == loss.fit_report.rows_complete == len(rows)


def test_epsilon_is_a_percentile_of_what_those_points_miss_it_by() -> None:
    rows = views_of_shared_volume(far_away()).numpy()
    fitted = PCA(n_components=3).fit(rows)
    outside = rows - fitted.inverse_transform(fitted.transform(rows))
    errors = np.linalg.norm(outside.reshape(len(rows), -1, 2), axis=-1)
    loss = create(far_away(), epsilon=None, empirical_epsilon_percentile=90.0)
    assert loss.fit_report.epsilon == pytest.approx(np.percentile(errors, 90.0), rel=1e-4)


def test_a_rig_that_is_too_perspective_is_refused_with_the_deviation() -> None:
    message = r"too perspective .* by \d+\.\d px .*max_deviation=5.*multiview_reprojection"
    with pytest.raises(FitError, match=message):
        create(far_away(1.0))
    assert create(far_away(1.0), max_deviation=1e6).components.shape == (3, 2 * NUM_VIEWS)


def test_with_labels_at_hand_one_flat_list_or_none_will_do() -> None:
    labels = torch.zeros(3, 2 * NUM_VIEWS * NUM_KEYPOINTS)
    flat = create(far_away(), mirrored_column_matches=[0, 3], data_module=labels)
    assert flat.columns.tolist() == [[0, 3], [5, 8], [10, 13]]
    everything = create(far_away(), mirrored_column_matches=None, data_module=labels)
    assert everything.columns.tolist() == MATCHES


def test_a_checkpoint_restores_it() -> None:
    loss = create(far_away(), epsilon=None)
    restored = lploss.create_loss("pca_multiview", epsilon=0.0)
    restored.load_state_dict(loss.state_dict())
    keypoints = seen_by(far_away(), error=20.0)
    expected = loss.elementwise(keypoints_pred=keypoints)
    torch.testing.assert_close(restored.elementwise(keypoints_pred=keypoints), expected)
    torch.testing.assert_close(copy.deepcopy(loss).elementwise(keypoints_pred=keypoints), expected)
    assert str(restored.fit_report) == str(loss.fit_report)


def test_a_batch_may_hold_more_keypoints_than_are_used_but_not_fewer() -> None:
    loss = create(far_away())
    keypoints = seen_by(far_away())
    more = torch.cat([keypoints, keypoints[:, :2]], dim=1)
    torch.testing.assert_close(
        loss.elementwise(keypoints_pred=more), loss.elementwise(keypoints_pred=keypoints)
    )
    with pytest.raises(ShapeError, match="the batch has 14"):
        loss(keypoints_pred=keypoints[:, :-2])


@pytest.mark.mistyped
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mirrored_column_matches": MATCHES[:2]}, "for each of the 3 cameras"),
        ({"mirrored_column_matches": [0, 1]}, "a list of keypoint indices for each view"),
        ({"mirrored_column_matches": None}, "a list of keypoint indices for each view"),
        ({"calibration": 5}, "calibration must be Cameras"),
        ({"max_deviation": -1.0}, "max_deviation must be"),
    ],
)
def test_what_cannot_be_used_is_refused(params: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentValueError, match=message):
        create(**{"cameras": params.pop("calibration", far_away()), **params})


def test_calibration_is_not_for_single_views() -> None:
    with pytest.raises(ArgumentValueError, match="for pca_multiview only"):
        lploss.create_loss("pca_singleview", calibration=far_away())


def test_cameras_must_say_what_they_see_and_see_the_same() -> None:
    cameras = far_away()
    with pytest.raises(ArgumentValueError, match="no image sizes"):
        create(Cameras(cameras.intrinsics, cameras.extrinsics))
    turned = cameras.extrinsics.clone()
    turned[0, :2] *= -1.0
    turned[0, 0, 3] += 1000.0
    with pytest.raises(ArgumentValueError, match="do not look at the same place"):
        create(Cameras(cameras.intrinsics, turned, image_sizes=cameras.image_sizes))


@needs_real_data
def test_on_the_fly_it_agrees_with_the_reprojection_error() -> None:
    from tests.lploss_builtin.data.keypoint_tables import read_keypoints

    folder = FOLDER / "fly-3cam"
    views = [read_keypoints(folder / f"cam{view}_member0.csv").keypoints for view in "ABC"]
    keypoints = torch.from_numpy(np.concatenate(views, axis=1))
    matches = [list(range(view * 12, view * 12 + 12)) for view in range(3)]
    loss = create(folder / "calibration.toml", mirrored_column_matches=matches)
    elements = loss.elementwise(keypoints_pred=keypoints)
    points = keypoints.unflatten(1, (3, 12, 2))
    cameras = read_calibration(folder / "calibration.toml")
    exact = reprojection_error(points, cameras).flatten(1)
    assert float(elements.median()) == pytest.approx(float(exact.median()), abs=0.3)
    keypoints[:, 0] += 30.0
    moved = loss.elementwise(keypoints_pred=keypoints)[:, 0]
    assert float(moved.median()) == pytest.approx(
        float(reprojection_error(keypoints.unflatten(1, (3, 12, 2)), cameras)[:, 0, 0].median()),
        abs=2.0,
    )


@needs_real_data
def test_the_cameras_of_a_file_come_in_the_order_of_the_views() -> None:
    path = FOLDER / "fly-3cam" / "calibration.toml"
    names = read_calibration(path).names
    matches = [[0, 1], [2, 3]]
    loss = create(path, mirrored_column_matches=matches, view_names=[names[2], names[0]])
    cameras = read_calibration(path).select([names[2], names[0]])
    assert torch.equal(loss.components, create(cameras, mirrored_column_matches=matches).components)
    with pytest.raises(ArgumentValueError) as raised:
        create(path, mirrored_column_matches=matches, view_names=[names[0], "top"])
    assert str(raised.value) == (
        "loss 'pca_multiview': calibration must hold a camera for each of the views "
        f"{names[0]}, top, it holds those of {', '.join(names)}, got {str(path)!r}"
    )


@needs_real_data
def test_webcams_are_too_perspective() -> None:
    path = Path(FOLDER / "charuco-4cam" / "camera_array.toml")
    with pytest.raises(FitError, match=r"by 40\.1 px"):
        create(path, mirrored_column_matches=[[0], [1], [2], [3]])
