"""Scoring files of several individuals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lploss_builtin.scoring import ScoreOptions, score_files
from tests.lploss_builtin.commands import rig
from tests.lploss_builtin.data.keypoint_tables import write_predictions

NAMES = ("nose", "tail")


def write_animals(path, points, frames=None):
    """Write points of axes (frames, individuals, keypoints, 2) for the animals m1, m2, ..."""
    animals = [f"m{number + 1}" for number in range(points.shape[1])]
    columns = pd.MultiIndex.from_product(
        [["net"], animals, NAMES, ["x", "y"]],
        names=["scorer", "individuals", "bodyparts", "coords"],
    )
    pd.DataFrame(points.reshape(len(points), -1), columns=columns, index=frames).to_csv(path)
    return path


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(0, 3, (30, 2, 2, 2)).cumsum(axis=0) + 200


def test_each_individual_is_scored_separately(tmp_path, points):
    path = write_animals(tmp_path / "walk.csv", points)
    out = tmp_path / "out"
    summary = score_files([path], ScoreOptions(losses=["temporal"], out=out))
    names = [f"{path}[m1]", f"{path}[m2]"]
    assert [row.file for row in summary.rows] == [*names, None]
    scores = pd.read_csv(out / "scores.csv")
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    for number, name in enumerate(names):
        own = scores[scores["file"] == name]
        values = own["value"].to_numpy().reshape(30, 2)
        np.testing.assert_allclose(values[1:], steps[:, number], rtol=1e-4)
        assert set(own["keypoint"]) == set(NAMES)
        assert summary.row("temporal", name).median == pytest.approx(
            np.median(steps[:, number]), rel=1e-4
        )
    assert summary.row("temporal").median == pytest.approx(np.median(steps), rel=1e-4)
    assert [path.removeprefix(str(out)) for path in summary.metric_files] == [
        "/metric_files/walk_m1_temporal_norm.csv",
        "/metric_files/walk_m2_temporal_norm.csv",
    ]
    assert "pictures/walk_m2/temporal_over_time.png" in summary.pictures


def test_labels_of_the_same_individual_are_compared(tmp_path, points):
    images = [f"labeled-data/walk/img{number}.png" for number in range(30)]
    labels = write_animals(tmp_path / "labels.csv", points, images)
    wrong = points.copy()
    wrong[:, 1] += (3.0, 4.0)
    path = write_animals(tmp_path / "walk.csv", wrong, images)
    options = ScoreOptions(
        losses=["rmse"], labels=labels, out=tmp_path / "out", beside=True, pictures=False
    )
    score_files([path], options)
    for animal, expected in (("m1", 0.0), ("m2", 5.0)):
        errors = pd.read_csv(tmp_path / f"walk_{animal}_pixel_error.csv", index_col=0)
        np.testing.assert_allclose(errors.to_numpy(), expected, atol=1e-4)


def test_an_individual_without_labels_is_noted(tmp_path, points):
    images = [f"labeled-data/walk/img{number}.png" for number in range(30)]
    three = np.concatenate([points, points[:, :1]], axis=1)
    labels = write_animals(tmp_path / "labels.csv", points, images)
    path = write_animals(tmp_path / "walk.csv", three, images)
    options = ScoreOptions(losses=["rmse"], labels=labels, out=tmp_path / "out", pictures=False)
    summary = score_files([path], options)
    (note,) = [note for note in summary.notes if "none of its frames" in note]
    assert note == f"{path}[m3]: none of its frames of m3 stands in {labels}"
    assert summary.row("rmse", f"{path}[m3]").valid == 0


def test_labels_of_an_animal_without_a_name_are_of_none_of_several(tmp_path, points):
    images = [f"labeled-data/walk/img{number}.png" for number in range(30)]
    labels = write_predictions(tmp_path / "labels.csv", points[:, 0], NAMES, images, None)
    path = write_animals(tmp_path / "walk.csv", points, images)
    options = ScoreOptions(losses=["rmse"], labels=labels, out=tmp_path / "out", pictures=False)
    assert score_files([path], options).row("rmse").valid == 0


def test_views_of_several_individuals(tmp_path):
    animals = [rig.project(rig.points_in_space(12) + shift) for shift in (0.0, 0.1)]
    animals[1]["Top"] += 9.0
    files = []
    for view in rig.VIEWS:
        points = np.stack([seen[view][:, :2] for seen in animals], axis=1)
        files.append(write_animals(tmp_path / f"walk_{view}.csv", points))
    options = ScoreOptions(
        calibration=rig.write_calibration(tmp_path / "calibration.toml"),
        losses=["multiview_reprojection"],
        out=tmp_path / "out",
        pictures=False,
    )
    summary = score_files(files, options)
    first, second, of_all = summary.rows
    assert (first.file[-4:], second.file[-4:], of_all.file) == ("[m1]", "[m2]", None)
    assert first.maximum < 1e-2
    assert second.median > 1
    # One row per view, of both animals: half of the points agree.
    assert [row.view for row in summary.views] == list(rig.VIEWS)
    assert [row.valid for row in summary.views] == [48, 48, 48]


def test_one_individual_is_called_as_its_file(tmp_path, points):
    path = write_animals(tmp_path / "walk.csv", points[:, :1])
    summary = score_files(
        [path], ScoreOptions(losses=["temporal"], out=tmp_path / "out", pictures=False)
    )
    assert [row.file for row in summary.rows] == [str(path), None]
