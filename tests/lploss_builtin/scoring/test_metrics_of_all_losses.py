"""Metric files are of every loss that can be evaluated, and of all keypoints."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lploss.errors import PluginError
from tests.lploss_builtin.commands import rig
from tests.lploss_builtin.data.keypoint_tables import write_predictions
from tests.lploss_builtin.scoring.scoring_calls import score_with

NAMES = ("nose", "neck", "tail")
ONLY_FILE = "the config does not ask for it (--losses); there is only its metric file"


def tracks(num_frames=20, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 3, (num_frames, 3, 2)).cumsum(axis=0) + 200


def score(*files, **options):
    return score_with(files, **{"pictures": False, "beside": True, **options})


def endings(folder):
    """Return what is written beside ``walk.csv``, the end of each name."""
    return sorted(path.stem.removeprefix("walk_") for path in folder.glob("walk_*.csv"))


def read(path):
    return pd.read_csv(path, index_col=0).to_numpy()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "predictions").mkdir()
    return tmp_path / "predictions"


@pytest.fixture
def labelled(folder, tmp_path):
    """Predictions of labelled images, 5 px off, and the labels."""
    keypoints = tracks(40, 1)
    images = [f"labeled-data/mo/img{number:02d}.png" for number in range(40)]
    labels = write_predictions(tmp_path / "labels.csv", keypoints, NAMES, images, None)
    predictions = write_predictions(
        folder / "walk.csv", keypoints + np.array([3.0, 4.0]), NAMES, images
    )
    return {"predictions": predictions, "labels": labels}


def test_what_the_config_trains_with_hides_no_metric(labelled, folder, tmp_path):
    config = {"model": {"losses_to_use": ["pca_singleview"]}}
    summary = score(
        labelled["predictions"], labels=labelled["labels"], config=config, out=tmp_path / "out"
    )
    assert summary.losses == ["pca_singleview"]
    assert endings(folder) == ["pca_singleview_error", "pixel_error", "regression"]
    np.testing.assert_allclose(read(folder / "walk_pixel_error.csv"), 5.0, rtol=1e-5)
    assert summary.left_out["rmse"] == summary.left_out["temporal"] == ONLY_FILE
    assert summary.left_out["multiview_reprojection"].startswith("needs calibrated views")
    assert "pca_singleview" not in summary.left_out
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert set(scores["loss"]) == {"pca_singleview"}


def test_losses_in_the_config_hide_no_metric(labelled, folder, tmp_path):
    config = {"losses": {"rmse": {}, "pca_singleview": {"log_weight": None}}}
    summary = score(
        labelled["predictions"], labels=labelled["labels"], config=config, out=tmp_path / "out"
    )
    assert summary.losses == ["rmse"]
    assert endings(folder) == ["pca_singleview_error", "pixel_error", "regression"]
    why = summary.left_out["pca_singleview"]
    assert why.endswith("the config turns it off; there is only its metric file")


def test_losses_that_are_named_are_all_there_are(labelled, folder, tmp_path):
    summary = score(
        labelled["predictions"], labels=labelled["labels"], losses=["rmse"], out=tmp_path / "out"
    )
    assert (endings(folder), summary.left_out) == (["pixel_error"], {})


def test_without_metric_files_the_others_are_only_named(labelled, folder, tmp_path):
    summary = score(
        labelled["predictions"],
        labels=labelled["labels"],
        config={"model": {"losses_to_use": ["rmse"]}},
        metric_files=False,
        out=tmp_path / "out",
    )
    assert endings(folder) == []
    assert summary.left_out["temporal"] == "the config does not ask for it (--losses)"


def test_calibrated_views_with_the_config_of_a_training(folder, tmp_path):
    rng = np.random.default_rng(2)
    seen = rig.project(rig.points_in_space(6))
    views = {view: own + rng.normal(0, 1, own.shape) for view, own in seen.items()}
    files = rig.write_views(folder, views)
    summary = score(
        *files.values(),
        calibration=rig.write_calibration(folder / "calibration.toml"),
        config={"model": {"losses_to_use": ["temporal"]}},
        out=tmp_path / "out",
    )
    assert summary.losses == ["temporal"]
    expected = rig.reprojection_error(views)
    for number, file in enumerate(files.values()):
        errors = read(file.with_name(f"{file.stem}_reprojection_error.csv"))
        np.testing.assert_allclose(errors, expected[:, number], atol=2e-3)


@pytest.mark.parametrize("max_frames", [3, 4096])
def test_the_temporal_norm_is_of_all_keypoints(folder, tmp_path, max_frames):
    """Whichever threshold the config has: else models would be compared on different steps."""
    keypoints = tracks()
    predictions = write_predictions(folder / "walk.csv", keypoints, NAMES, None, 0.1)
    config = {"losses": {"temporal": {"prob_threshold": 0.9, "epsilon": 2.0}}}
    summary = score(predictions, config=config, out=tmp_path / "out", max_frames=max_frames)
    row = summary.row("temporal")
    assert (row.count, row.valid) == (60, 0)
    steps = np.linalg.norm(np.diff(keypoints, axis=0), axis=-1)
    norms = read(folder / "walk_temporal_norm.csv")
    assert np.isnan(norms[0]).all()
    np.testing.assert_allclose(norms[1:], steps, rtol=1e-4)


@pytest.fixture
def fragile(site):
    """A registry with a loss that is sound, and one that breaks on frames that are not zeros."""
    site.install_losses(
        "acme",
        {"sound": "Sound", "fragile": "Fragile"},
        """
            from lploss import Loss

            class Sound(Loss):
                loss_name, kind = "sound", "unsupervised"

                def compute_loss(self, keypoints_pred):
                    return keypoints_pred[:, ::2]

            class Fragile(Sound):
                loss_name = "fragile"

                def compute_loss(self, keypoints_pred):
                    if keypoints_pred.any():
                        raise RuntimeError("too much")
                    return keypoints_pred[:, ::2]
        """,
    )
    return site.registry()


def test_a_metric_that_nobody_has_asked_for_hinders_nothing(folder, tmp_path, fragile):
    predictions = write_predictions(folder / "walk.csv", tracks(), NAMES)
    options = {"registry": fragile, "out": tmp_path / "out"}
    summary = score(predictions, config={"losses": {"sound": {}}}, **options)
    assert (summary.losses, endings(folder)) == (["sound"], ["sound"])
    (note,) = summary.notes
    assert note.startswith(f"{predictions}: the metric of the loss 'fragile' ends here: ")
    assert "Fragile of acme_losses raised RuntimeError: too much" in note
    with pytest.raises(PluginError, match="too much"):
        score(predictions, config={"losses": {"fragile": {}}}, **options)
