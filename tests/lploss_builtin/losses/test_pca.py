from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.decomposition import PCA as SklearnPCA

import lploss
from lploss.errors import ArgumentValueError, FitError, NotFittedError, ShapeError
from lploss_builtin.losses.pca import PCALoss
from tests.lploss_builtin.batches import labels
from tests.lploss_builtin.real_data import FOLDER, needs_real_data

MATCHES = [[0, 1], [2, 3]]
mistyped = pytest.mark.mistyped


def singleview(data_module: object = None, **params: object) -> lploss.Loss:
    params = {"components_to_keep": 3, **params}
    return lploss.create_loss("pca_singleview", data_module=data_module, **params)


def multiview(data_module: object = None, **params: object) -> lploss.Loss:
    params = {"mirrored_column_matches": MATCHES, **params}
    return lploss.create_loss("pca_multiview", data_module=data_module, **params)


def sklearn_errors(rows: np.ndarray, fitted: np.ndarray, num_components: int) -> np.ndarray:
    """Reprojection error of each point of each row, by scikit-learn."""
    pca = SklearnPCA(num_components).fit(fitted)
    difference = rows - pca.inverse_transform(pca.transform(rows))
    return np.linalg.norm(difference.reshape(len(rows), -1, 2), axis=-1)


def as_views(poses: np.ndarray) -> np.ndarray:
    """Rows of one keypoint in both views of MATCHES."""
    points = poses.reshape(len(poses), -1, 2)
    return np.concatenate([points[:, [0, 1]], points[:, [2, 3]]], axis=-1).reshape(-1, 4)


def test_singleview_agrees_with_scikit_learn() -> None:
    poses = labels().numpy().astype(float)
    new = poses[::-1] * 1.3
    loss = singleview(poses, epsilon=0.0)
    elements = loss.elementwise(keypoints_pred=torch.tensor(new.copy()))
    np.testing.assert_allclose(elements, sklearn_errors(new, poses, 3), rtol=1e-4, atol=1e-3)
    expected = SklearnPCA().fit(poses).explained_variance_ratio_
    np.testing.assert_allclose(loss.fit_report.explained_variance_ratio, expected, rtol=1e-4)


def test_multiview_agrees_with_scikit_learn() -> None:
    poses = labels().numpy().astype(float)
    new = poses[::-1] * 1.3
    elements = multiview(poses, epsilon=0.0).elementwise(keypoints_pred=torch.tensor(new.copy()))
    expected = sklearn_errors(as_views(new), as_views(poses), 3).reshape(40, 2, 2)
    # Rows are (frame, keypoint); elements are view by view.
    expected = expected.transpose(0, 2, 1).reshape(40, 4)
    np.testing.assert_allclose(elements, expected, rtol=1e-4, atol=1e-3)


def test_a_pose_in_the_subspace_costs_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(3, 8, generator=generator)
    poses = 50 + 10 * torch.randn(30, 3, generator=generator) @ basis
    loss = singleview(poses, epsilon=0.0)
    inside = 50 + 10 * torch.randn(5, 3, generator=generator) @ basis
    outside = inside + torch.linalg.svd(basis).Vh[3] * 7.0
    torch.testing.assert_close(
        loss.elementwise(keypoints_pred=inside), torch.zeros(5, 4), rtol=0, atol=1e-3
    )
    squared = loss.elementwise(keypoints_pred=outside).square().sum(dim=1)
    torch.testing.assert_close(squared, torch.full((5,), 49.0), rtol=1e-4, atol=1e-4)


def test_epsilon_is_the_percentile_of_the_training_error_times_the_multiplier() -> None:
    poses = labels().numpy().astype(float)
    errors = sklearn_errors(poses, poses, 3)
    for percentile, multiplier in ((99.0, 1.0), (50.0, 2.0), (0.0, 1.0), (100.0, 0.5)):
        loss = singleview(
            poses,
            empirical_epsilon_percentile=percentile,
            empirical_epsilon_multiplier=multiplier,
        )
        expected = np.percentile(errors, percentile) * multiplier
        assert loss.epsilon.item() == pytest.approx(expected, rel=1e-5)
    assert singleview(poses, epsilon=4.0).epsilon.item() == 4.0


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_share_of_variance_keeps_as_many_components_as_it_takes(share: float) -> None:
    poses = labels().numpy().astype(float)
    explained = SklearnPCA().fit(poses).explained_variance_ratio_.cumsum()
    expected = int((explained < share).sum()) + 1
    assert singleview(poses, components_to_keep=share).fit_report.components_kept == expected


def test_multiview_keeps_three_components_whatever_is_asked() -> None:
    assert multiview(labels(), components_to_keep=0.5).fit_report.components_kept == 3


def test_keeping_all_components_is_refused() -> None:
    for components in (8, 1.0):
        with pytest.raises(FitError, match="which leaves nothing to penalise"):
            singleview(labels(), components_to_keep=components)


@pytest.mark.parametrize("method", ["mean", "median"])
def test_centring_removes_where_the_animal_is(method: str) -> None:
    poses = labels().numpy().astype(float)
    shifts = np.tile(np.random.default_rng(1).normal(0, 500, (40, 2)), 4)
    loss = singleview(poses, centering_method=method, epsilon=0.0)
    moved = singleview(poses + shifts, centering_method=method, epsilon=0.0)
    torch.testing.assert_close(loss.components.abs(), moved.components.abs(), rtol=0, atol=1e-4)
    shifted = loss.elementwise(keypoints_pred=torch.tensor(poses + shifts))
    torch.testing.assert_close(shifted, loss.elementwise(keypoints_pred=torch.tensor(poses)))
    points = poses.reshape(40, 4, 2)
    centre = {"mean": np.mean, "median": np.median}[method](points, axis=1, keepdims=True)
    centred = (points - centre).reshape(40, 8)
    np.testing.assert_allclose(shifted, sklearn_errors(centred, centred, 3), rtol=1e-4, atol=1e-3)


def test_columns_choose_the_keypoints() -> None:
    poses = labels().numpy().astype(float)
    chosen = poses.reshape(40, 4, 2)[:, [3, 0, 1]].reshape(40, 6)
    loss = singleview(poses, columns_for_singleview_pca=[3, 0, 1], epsilon=0.0)
    elements = loss.elementwise(keypoints_pred=torch.tensor(poses))
    np.testing.assert_allclose(elements, sklearn_errors(chosen, chosen, 3), rtol=1e-4, atol=1e-3)
    assert loss.element_names(["a", "b", "c", "d"]) == ["d", "a", "b"]
    assert multiview(poses).element_names(["a", "b", "c", "d"]) == ["a", "b", "c", "d"]


def test_a_missing_keypoint_leaves_out_its_row_and_nothing_else() -> None:
    poses = labels().clone()
    poses[1, 2] = math.nan  # keypoint 1, in view 0
    single = singleview(labels(), epsilon=0.0).elementwise(keypoints_pred=poses)
    assert single.isnan().sum(dim=1).tolist() == [0, 4] + [0] * 38
    multi = multiview(labels(), epsilon=0.0).elementwise(keypoints_pred=poses)
    assert multi[1].isnan().tolist() == [False, True, False, True]
    assert multi.isnan().sum() == 2


def test_the_fit_uses_rows_with_gaps() -> None:
    """A line in the plane of two keypoints, seen whole in few frames: its relation is exact."""
    generator = np.random.default_rng(2)
    x = generator.normal(0, 10, 400)
    poses = np.stack([x, 2 * x, 3 * x, generator.normal(0, 10, 400)], axis=1)
    gaps = generator.random((400, 2)) < 0.4
    gaps[:5] = [[True, True], [True, False], [False, True], [False, False], [True, True]]
    poses[np.repeat(gaps, 2, axis=1)] = np.nan
    loss = singleview(poses, components_to_keep=2)
    report = loss.fit_report
    assert report.rows_used == int((~gaps.all(axis=1)).sum())
    assert report.rows_dropped == int(gaps.all(axis=1).sum())
    assert report.rows_complete == int((~gaps.any(axis=1)).sum())
    np.testing.assert_allclose(list(report.missing_share.values()), gaps.mean(axis=0), rtol=1e-5)
    assert list(report.missing_share) == ["keypoint 0", "keypoint 1"]
    inside = torch.tensor([[7.0, 14.0, 21.0, -3.0]])
    assert loss.epsilon.item() < 0.05
    # The pairwise-complete covariance alone would miss the plane by some hundredths.
    assert loss.elementwise(keypoints_pred=inside).max().item() < 0.05
    assert sum(report.explained_variance_ratio[2:]) < 1e-5


def test_too_few_rows_name_the_keypoints_that_cost_them() -> None:
    poses = labels().numpy().astype(float)
    poses[4:, 2:4] = np.nan
    poses[30:, 4] = np.nan
    with pytest.raises(FitError) as error:
        singleview(poses)
    assert str(error.value) == (
        "loss 'pca_singleview': too few labels. Every two coordinates must be labelled together "
        "in at least 8 rows, as many as a row has coordinates; some two are in 4 of 40 only (4 "
        "rows are complete). Most often not labelled: keypoint 1 (90 %), keypoint 2 (25 %). "
        "Label more frames, or leave such keypoints out."
    )
    with pytest.raises(FitError, match="some two are in 0 of 40 only"):
        singleview(poses * np.nan)


def test_no_complete_row_is_an_error_only_where_epsilon_needs_one() -> None:
    poses = labels(num_frames=80).numpy().astype(float)
    poses[::2, 0:2] = np.nan
    poses[1::2, 2:4] = np.nan
    poses[:20:2, 0:2] = 1.0  # some rows that have both, too few to be complete
    poses[:20, 4:6] = np.nan
    with pytest.raises(FitError):
        singleview(poses)


def test_a_checkpoint_restores_the_loss_without_training_data(tmp_path: Path) -> None:
    poses = labels()
    for build in (singleview, multiview):
        fitted = build(poses)
        torch.save(fitted.state_dict(), tmp_path / "loss.pt")
        restored = build()
        restored.load_state_dict(torch.load(tmp_path / "loss.pt", weights_only=True))
        new = poses * 1.7
        torch.testing.assert_close(
            restored(keypoints_pred=new).loss, fitted(keypoints_pred=new).loss, rtol=0, atol=0
        )
        assert restored.fit_report == fitted.fit_report
        assert restored.element_names("abcd") == fitted.element_names("abcd")


@pytest.mark.parametrize("method", ["mean", "median", None])
def test_a_checkpoint_brings_its_method_of_centring(method: str | None) -> None:
    fitted = singleview(labels(), centering_method=method)
    restored = lploss.create_loss("pca_singleview")
    restored.load_state_dict(fitted.state_dict())
    assert restored.centering_method == method
    torch.testing.assert_close(
        restored(keypoints_pred=2 * labels()).loss, fitted(keypoints_pred=2 * labels()).loss
    )


def test_a_checkpoint_of_the_other_loss_is_refused() -> None:
    with pytest.raises(RuntimeError, match="is of another loss than pca_multiview"):
        multiview().load_state_dict(singleview(labels()).state_dict())


def test_half_precision_leaves_the_fit_as_it_is() -> None:
    loss = singleview(labels(), epsilon=20.3)
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    loss.to(torch.bfloat16).half()
    for name, value in loss.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert loss.double().mean.dtype == torch.float64


def test_labels_that_never_change_are_refused() -> None:
    still = labels()[:1].expand(40, 8)
    for build in (singleview, multiview):
        with pytest.raises(FitError, match="all labelled poses are the same"):
            build(still * 0 + 1.0)


@mistyped
def test_numpy_numbers_and_arrays_are_taken() -> None:
    loss = singleview(
        labels(), components_to_keep=np.int64(3), columns_for_singleview_pca=np.arange(4)
    )
    assert loss.fit_report.components_kept == 3
    assert multiview(labels(), mirrored_column_matches=np.array(MATCHES)).columns.shape == (2, 2)


def test_a_checkpoint_brings_the_keypoints_of_each_view() -> None:
    by_view = labels()[:, :4], labels()[:, 4:]
    fitted = multiview(by_view, mirrored_column_matches=[0, 1])
    for matches in ([0, 1], None):
        restored = multiview(mirrored_column_matches=matches)
        restored.load_state_dict(fitted.state_dict())
        assert restored.columns.tolist() == [[0, 1], [2, 3]]
        assert torch.equal(
            restored(keypoints_pred=labels()).loss, fitted(keypoints_pred=labels()).loss
        )


@pytest.mark.parametrize("method", ["mean", "median"])
def test_gaps_do_not_move_the_centre(method: str) -> None:
    poses = labels(num_frames=400).numpy().astype(float)
    gappy = poses.copy()
    gaps = np.random.default_rng(4).random((400, 4)) < 0.1
    gappy[np.repeat(gaps, 2, axis=1)] = np.nan
    points = poses.reshape(400, 4, 2)
    centre = {"mean": np.mean, "median": np.median}[method](points, axis=1, keepdims=True)
    expected = SklearnPCA().fit((points - centre).reshape(400, 8)).explained_variance_ratio_
    found = singleview(gappy, centering_method=method).fit_report
    np.testing.assert_allclose(found.explained_variance_ratio, expected, atol=0.02)
    complete = (points - centre).reshape(400, 8)[~gaps.any(axis=1)]
    by_complete = SklearnPCA().fit(complete).explained_variance_ratio_
    assert found.rows_complete == len(complete)
    assert np.abs(found.explained_variance_ratio - expected).max() <= (
        np.abs(by_complete - expected).max() + 0.005
    )


def test_the_report_calls_keypoints_by_their_names(tmp_path: Path) -> None:
    header = "scorer,a,a,a,a\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"
    rows = labels(num_keypoints=2).numpy()
    lines = [f"{i},{','.join(map(str, row))}" for i, row in enumerate(rows)]
    lines[3] = "3,1.0,2.0,,"
    (tmp_path / "labels.csv").write_text(header + "\n".join(lines) + "\n")
    loss = singleview(tmp_path / "labels.csv", components_to_keep=2)
    assert loss.fit_report.missing_share == {"nose": 0.0, "tail": pytest.approx(1 / 40)}
    assert "not labelled: tail 2.5 %" in str(loss.fit_report)


def test_an_unfitted_loss_says_so() -> None:
    loss = singleview()
    for use in (lambda: loss(keypoints_pred=labels()), lambda: loss.fit_report):
        with pytest.raises(NotFittedError, match="build it with data_module="):
            use()
    assert loss.element_names(["a", "b"]) == ["a", "b"]


def test_a_batch_with_other_keypoints_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"got 6: .* This loss is made for num_keypoints = 4"):
        singleview(labels())(keypoints_pred=torch.zeros(2, 6))


def test_report_is_readable() -> None:
    text = str(multiview(labels(), epsilon=2.5).fit_report)
    assert text.splitlines()[0] == "rows: 80 used (80 complete), 0 dropped"
    assert text.splitlines()[2].startswith("components kept: 3 of 4, ")
    assert text.splitlines()[3] == "epsilon: 2.5 px"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"empirical_epsilon_percentile": 101}, "empirical_epsilon_percentile must be a finite"),
        ({"empirical_epsilon_percentile": -1}, "from 0 to 100, got -1"),
        ({"empirical_epsilon_multiplier": -1.0}, "of at least 0, got -1.0"),
        ({"components_to_keep": 0}, "components_to_keep must be a number of components"),
        ({"components_to_keep": 1.5}, "got 1.5"),
        ({"components_to_keep": True}, "got True"),
        pytest.param({"components_to_keep": "all"}, "got 'all'", marks=mistyped),
        pytest.param(
            {"centering_method": "mode"},
            "centering_method must be 'mean', 'median' or None",
            marks=mistyped,
        ),
        ({"columns_for_singleview_pca": [0, 0]}, "must hold different indices"),
        ({"columns_for_singleview_pca": [-1]}, "must hold different indices"),
        ({"columns_for_singleview_pca": []}, "must hold different indices"),
        pytest.param(
            {"columns_for_singleview_pca": ["nose"]}, "must hold different indices", marks=mistyped
        ),
        ({"columns_for_singleview_pca": [4]}, "must be below 4"),
        pytest.param({"epsilon": [1.0, 2.0]}, "epsilon must be one number or None", marks=mistyped),
        ({"epsilon": -1.0}, "epsilon must be a finite number of at least 0"),
    ],
)
def test_an_argument_out_of_range_is_refused(params: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentValueError, match=message):
        singleview(labels(), **params)


@pytest.mark.parametrize(
    "matches",
    [
        None,
        [],
        [[0, 1]],
        [[0, 1], [2]],
        pytest.param("ab", marks=mistyped),
        pytest.param([[0, 1], [2, "x"]], marks=mistyped),
        [0, 1],
    ],
)
def test_matches_that_are_no_list_for_each_view_are_refused(matches: object) -> None:
    with pytest.raises(ArgumentValueError, match="mirrored_column_matches must hold"):
        multiview(labels(), mirrored_column_matches=matches)


def test_centring_is_refused_for_several_views() -> None:
    with pytest.raises(ArgumentValueError, match="centering_method is for pca_singleview only"):
        multiview(labels(), centering_method="mean")


@mistyped
def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ArgumentValueError, match="'pca_singleview' or 'pca_multiview', got 'pca'"):
        lploss.load_loss("pca_singleview")("pca")


def test_flat_matches_stand_for_the_same_keypoints_of_every_view(tmp_path: Path) -> None:
    poses = labels().numpy().astype(float)
    by_view = [poses[:, :4], poses[:, 4:]]
    flat = multiview(by_view, mirrored_column_matches=[0, 1])
    full = multiview(poses, mirrored_column_matches=[[0, 1], [2, 3]])
    assert flat.fit_report == full.fit_report
    assert flat.columns.tolist() == full.columns.tolist()


def test_config_nodes_are_taken_as_lists() -> None:
    cfg = OmegaConf.create({"matches": MATCHES, "columns": [0, 2]})
    assert multiview(labels(), mirrored_column_matches=cfg.matches).columns.tolist() == MATCHES
    assert singleview(labels(), columns_for_singleview_pca=cfg.columns).columns.tolist() == [0, 2]


def test_a_full_config_builds_it_from_its_data_section() -> None:
    factories = lploss.get_loss_factories(
        {
            "data": {"mirrored_column_matches": MATCHES, "columns_for_singleview_pca": [0, 1]},
            "model": {"losses_to_use": ["pca_multiview", "pca_singleview"]},
            "losses": {"pca_singleview": {"components_to_keep": 2}},
        },
        labels(),
    )
    losses = factories["unsupervised"].losses
    assert losses["pca_multiview"].columns.tolist() == MATCHES
    assert losses["pca_singleview"].columns.tolist() == [0, 1]
    assert losses["pca_singleview"].fit_report.components_kept == 2


def test_device_says_where_the_buffers_are() -> None:
    assert singleview(labels(), device="meta").components.device.type == "meta"


def paws() -> tuple[np.ndarray, np.ndarray]:
    table = pd.read_csv(
        FOLDER / "mirror-mouse" / "CollectedData.csv", header=[0, 1, 2], index_col=0
    )
    poses = table.to_numpy(dtype=float)
    points = poses.reshape(90, 17, 2)
    pairs = np.concatenate([points[:, 0:4], points[:, 8:12]], axis=-1).reshape(-1, 4)
    return poses, pairs[~np.isnan(pairs).any(axis=1)]


@needs_real_data
def test_paws_of_a_real_mouse_in_two_views_span_three_dimensions() -> None:
    """Known: explained variance .838 .146 .0155 .0004, median residual 1.68 px."""
    poses, pairs = paws()
    matches = [[0, 1, 2, 3], [8, 9, 10, 11]]
    loss = multiview(poses, mirrored_column_matches=matches, epsilon=0.0)
    report = loss.fit_report
    # The known shares are those of the 354 complete rows, the fit uses five more.
    assert (report.rows_used, report.rows_complete, report.rows_dropped) == (359, 354, 1)
    np.testing.assert_allclose(
        report.explained_variance_ratio, [0.838, 0.146, 0.0155, 0.0004], atol=0.0015
    )
    assert report.explained_variance_ratio[3] == pytest.approx(0.00044, abs=2e-5)
    elements = loss.elementwise(keypoints_pred=torch.tensor(poses)).reshape(90, 2, 4)
    residuals = elements.square().sum(dim=1).sqrt()
    assert residuals.nanmedian().item() == pytest.approx(1.68, abs=0.005)
    # The same by scikit-learn on the complete rows.
    expected = np.sqrt((sklearn_errors(pairs, pairs, 3) ** 2).sum(axis=1))
    assert np.median(expected) == pytest.approx(1.68, abs=0.005)
    assert residuals.nanmedian().item() == pytest.approx(np.median(expected), rel=2e-3)


@needs_real_data
def test_predictions_of_a_real_mouse_lie_near_that_subspace() -> None:
    """Known: median residual 1.72 px on the tracks."""
    poses, pairs = paws()
    loss = multiview(
        np.concatenate([poses[:, :8], poses[:, 16:24]], axis=1),
        mirrored_column_matches=[[0, 1, 2, 3], [4, 5, 6, 7]],
        epsilon=0.0,
    )
    for member in range(3):
        table = pd.read_csv(
            FOLDER / "mirror-mouse-tracks" / f"member{member}.csv", header=[0, 1, 2], index_col=0
        )
        points = table.to_numpy(dtype=float).reshape(2000, 8, 3)[..., :2]
        elements = loss.elementwise(keypoints_pred=torch.tensor(points.reshape(2000, 16)))
        residuals = elements.reshape(2000, 2, 4).square().sum(dim=1).sqrt()
        rows = np.concatenate([points[:, :4], points[:, 4:]], axis=-1).reshape(-1, 4)
        pca = SklearnPCA(3).fit(pairs)
        expected = np.linalg.norm(rows - pca.inverse_transform(pca.transform(rows)), axis=1)
        assert residuals.median().item() == pytest.approx(np.median(expected), rel=2e-3)
        if member == 0:
            assert residuals.median().item() == pytest.approx(1.72, abs=0.005)


@needs_real_data
def test_the_whole_pose_of_a_real_mouse_is_fitted_despite_its_gaps() -> None:
    poses, _ = paws()
    loss = singleview(poses, components_to_keep=0.99)
    report = loss.fit_report
    assert (report.rows_used, report.rows_complete) == (90, 42)
    # NumPy's own pairwise-complete covariance is not positive semi-definite either.
    variances = np.linalg.eigvalsh(np.ma.cov(np.ma.masked_invalid(poses), rowvar=False).data)
    negative = -variances[variances < 0].sum() / variances[variances > 0].sum()
    assert report.negative_variance_share == pytest.approx(negative, rel=1e-4)
    assert negative > 1e-3
    errors = loss.elementwise(keypoints_pred=torch.tensor(poses))
    complete = ~np.isnan(poses).any(axis=1)
    assert (~errors.isnan().any(dim=1)).tolist() == complete.tolist()
    # 1 % of the errors of the complete poses lie above the 99th percentile.
    assert (errors[complete] > 0).float().mean().item() == pytest.approx(0.01, abs=0.003)


@needs_real_data
def test_poses_held_back_are_nearer_to_the_fit_than_to_that_of_the_complete_rows() -> None:
    poses, _ = paws()
    complete = np.flatnonzero(~np.isnan(poses).any(axis=1))
    ours, theirs = [], []
    for seed in range(5):
        held_back = np.random.default_rng(seed).choice(complete, 8, replace=False)
        kept = np.delete(poses, held_back, axis=0)
        loss = singleview(kept, components_to_keep=13, epsilon=0.0)
        ours.append(loss.elementwise(keypoints_pred=torch.tensor(poses[held_back])).median().item())
        fitted = kept[~np.isnan(kept).any(axis=1)]
        theirs.append(np.median(sklearn_errors(poses[held_back], fitted, 13)))
    assert np.mean(ours) < np.mean(theirs)


def test_state_holds_nothing_but_tensors() -> None:
    state = singleview(labels()).state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert json.dumps(sorted(state)) == json.dumps(
        sorted(
            [
                "epsilon",
                "log_weight",
                "columns",
                "mean",
                "components",
                "explained_variance_ratio",
                "negative_variance_share",
                "missing_share",
                "fit_rows",
                "centering",
            ]
        )
    )


@pytest.mark.parametrize(
    ("name", "build", "is_fitted"),
    [
        (name, build, is_fitted)
        for name in ("mean", "components", "columns", "missing_share")
        for build in (singleview, multiview)
        for is_fitted in (True, False)
        # One keypoint of each view has as many dimensions as several.
        if (name, build, is_fitted) != ("columns", multiview, False)
    ],
)
def test_a_checkpoint_of_another_shape_is_refused(name: str, build: Any, is_fitted: bool) -> None:
    fitted = build(labels())
    state = fitted.state_dict()
    state[name] = state[name][..., :1]
    loss = build(labels() if is_fitted else None)
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    with pytest.raises(RuntimeError) as error:
        loss.load_state_dict(state)
    shape = re.escape(f"{name} {tuple(state[name].shape)}")
    assert re.search(shape, str(error.value))
    expected = "This loss was fitted to 4 keypoints" if is_fitted else "holds no whole fit"
    assert expected in str(error.value)
    for key, value in loss.state_dict().items():
        if key in PCALoss._FITTED:
            assert torch.equal(value, before[key]), key


def test_a_checkpoint_with_other_components_than_those_fitted_is_refused() -> None:
    state = singleview(labels(), components_to_keep=2).state_dict()
    message = (
        r"the checkpoint holds another fit: columns \(4,\), mean \(8,\), components \(2, 8\), .* "
        r"This loss was fitted to 4 keypoints and keeps 3 components: .*components \(3, 8\)"
    )
    with pytest.raises(RuntimeError, match=message):
        singleview(labels(), components_to_keep=3).load_state_dict(state)
    restored = singleview()
    restored.load_state_dict(state)
    assert restored.fit_report.components_kept == 2


def test_the_state_of_a_loss_without_a_fit_is_loaded_into_one_without_a_fit_only() -> None:
    unfitted = singleview().state_dict()
    singleview().load_state_dict(unfitted)
    with pytest.raises(RuntimeError, match=r"holds another fit: columns \(0,\)"):
        singleview(labels()).load_state_dict(unfitted)


@pytest.mark.parametrize("build", [singleview, multiview])
def test_huge_predictions_make_the_loss_infinite_and_spoil_no_gradient(build: Any) -> None:
    loss = build(labels())
    pose = labels()[:2].clone()
    pose[0, 0] = pose[1, 2] = 2e38
    pose[1, 3] = math.nan
    pose.requires_grad_()
    elements = loss.evaluate({"keypoints_pred": pose})
    assert elements.valid is not None
    assert not elements.elementwise[0].isfinite().all()
    spoilt = torch.where(elements.valid[1], elements.elementwise[1], 0.0).sum()
    spoilt.backward()
    assert pose.grad is not None
    assert pose.grad.isfinite().all()
