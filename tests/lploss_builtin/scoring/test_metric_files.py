"""A metric file for each loss and file of predictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin import output
from lploss_builtin.scoring.metric_files import is_metric_file
from tests.lploss_builtin.commands import rig
from tests.lploss_builtin.data.keypoint_tables import csv_text, write_predictions
from tests.lploss_builtin.scoring.scoring_calls import score_with

NAMES = ("nose", "neck", "tail")


def tracks(num_frames=20, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 3, (num_frames, 3, 2)).cumsum(axis=0) + 200


def score(*files, out, **options):
    return score_with(files, out=out, **{"pictures": False, "beside": True, **options})


def read(path):
    return pd.read_csv(path, index_col=0)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "predictions").mkdir()
    return tmp_path / "predictions"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def one_distribution(site):
    """A registry with three losses of somebody else, and none of the built-in ones."""
    site.install_losses(
        "acme",
        {"left_of": "LeftOf", "spread": "Spread", "silent": "Silent"},
        """
            from lploss import Loss, Metric

            class LeftOf(Loss):
                loss_name, kind = "left_of", "unsupervised"
                metric = Metric(name="beyond", scale=10.0)

                def compute_loss(self, keypoints_pred):
                    return (keypoints_pred[:, ::2] - 200).relu()

            class Spread(Loss):
                loss_name, kind = "spread", "unsupervised"

                def compute_loss(self, keypoints_pred):
                    return keypoints_pred.amax(dim=1) - keypoints_pred.amin(dim=1)

            class Silent(LeftOf):
                loss_name, metric = "silent", None
        """,
    )
    return site.registry()


def test_a_row_a_frame_and_a_column_a_keypoint(folder, out):
    keypoints = tracks()
    predictions = write_predictions(folder / "walk.csv", keypoints, NAMES, range(5, 25))
    summary = score(predictions, out=out, losses=["temporal"], max_frames=7)
    path = folder / "walk_temporal_norm.csv"
    assert summary.metric_files == (str(path),)
    assert json.loads((out / "summary.json").read_text())["metric_files"] == [str(path)]
    lines = path.read_text().splitlines()
    assert lines[:2] == [",nose,neck,tail", "5,,,"], "a step needs two frames"
    values = read(path)
    assert values.index.tolist() == list(range(5, 25))
    steps = np.linalg.norm(np.diff(keypoints, axis=0), axis=-1)
    np.testing.assert_allclose(values.to_numpy()[1:], steps, rtol=1e-4)


def test_what_does_not_count_is_an_empty_cell(folder, out):
    keypoints = tracks(4)
    keypoints[2, 1] = np.nan
    predictions = write_predictions(folder / "walk.csv", keypoints, NAMES)
    score(predictions, out=out, losses=["temporal"])
    empty = read(folder / "walk_temporal_norm.csv").isna()
    assert empty["neck"].tolist() == [True, False, True, True]
    assert empty["nose"].tolist() == [True, False, False, False]


def test_the_pixel_error_is_the_distance_in_the_image(folder, out, tmp_path):
    labels, images = tracks(6), [f"labeled-data/mo/img{frame}.png" for frame in range(6)]
    label_file = write_predictions(tmp_path / "labels.csv", labels, NAMES, images, None)
    wrong = labels + np.array([3.0, 4.0])
    predictions = write_predictions(folder / "walk.csv", wrong, NAMES, images)
    summary = score(predictions, out=out, labels=label_file, losses=["rmse", "temporal"])
    errors = read(folder / "walk_pixel_error.csv")
    assert errors.index.tolist() == images
    np.testing.assert_allclose(errors.to_numpy(), 5.0, rtol=1e-5)
    assert summary.row("rmse").median == pytest.approx(5 / np.sqrt(2), rel=5e-4)
    assert names_in(folder) == ["walk.csv", "walk_pixel_error.csv"], "nothing moves in images"


def test_a_loss_of_some_keypoints_has_the_columns_of_all(folder, out, tmp_path):
    label_file = write_predictions(tmp_path / "labels.csv", tracks(40, 1), NAMES, None, None)
    predictions = write_predictions(folder / "walk.csv", tracks(), NAMES)
    config = {"data": {"columns_for_singleview_pca": [2, 0]}}
    score(predictions, out=out, labels=label_file, config=config, losses=["pca_singleview"])
    errors = read(folder / "walk_pca_singleview_error.csv")
    assert errors.columns.tolist() == list(NAMES)
    assert errors["neck"].isna().all()
    scores = pd.read_csv(out / "scores.csv")
    for name in ("nose", "tail"):
        expected = scores.loc[scores["keypoint"] == name, "value"]
        np.testing.assert_allclose(errors[name], expected, rtol=1e-6)


def test_the_losses_of_a_plugin_take_part(folder, out, one_distribution):
    keypoints = tracks()
    predictions = write_predictions(folder / "walk.csv", keypoints, NAMES)
    score(predictions, out=out, registry=one_distribution)
    assert names_in(folder) == ["walk.csv", "walk_beyond.csv", "walk_spread.csv"]
    beyond = read(folder / "walk_beyond.csv")
    expected = 10 * np.maximum(keypoints[..., 0] - 200, 0)
    np.testing.assert_allclose(beyond.to_numpy(), expected, rtol=1e-5, atol=1e-3)
    spread = read(folder / "walk_spread.csv")
    assert spread.columns.tolist() == ["pose"]
    expected = keypoints.max(axis=(1, 2)) - keypoints.min(axis=(1, 2))
    np.testing.assert_allclose(spread["pose"], expected, rtol=1e-4)


def test_they_can_be_left_out(folder, out):
    predictions = write_predictions(folder / "walk.csv", tracks(), NAMES)
    summary = score(predictions, out=out, losses=["temporal"], metric_files=False)
    assert (names_in(folder), summary.metric_files) == (["walk.csv"], ())


def test_scoring_a_folder_once_more(folder, out):
    for name in ("a", "b"):
        write_predictions(folder / f"{name}.csv", tracks(), NAMES)
    score(*sorted(folder.glob("*.csv")), out=out, losses=["temporal"])
    before = {name: (folder / name).read_bytes() for name in names_in(folder)}
    summary = score(*sorted(folder.glob("*.csv")), out=out, losses=["temporal"])
    assert {row.file for row in summary.rows} == {
        str(folder / "a.csv"),
        str(folder / "b.csv"),
        None,
    }
    assert summary.notes == tuple(
        f"{folder / name}_temporal_norm.csv: left out; it is a metric file, not one of predictions"
        for name in ("a", "b")
    )
    assert {name: (folder / name).read_bytes() for name in names_in(folder)} == before


def test_metric_files_alone(folder, out):
    (folder / "a_pixel_error.csv").write_text(",nose,set\nimg.png,,train\n")
    with pytest.raises(DataError, match=r"a_pixel_error\.csv: left out; it is a metric file"):
        score(folder / "a_pixel_error.csv", out=out)
    assert not out.exists()


def test_a_metric_that_has_no_value_any_more(folder, out):
    predictions = write_predictions(folder / "a.csv", tracks(), NAMES)
    score(predictions, out=out, losses=["temporal"])
    write_predictions(predictions, tracks(), NAMES, [f"img{number}.png" for number in range(20)])
    score(predictions, out=out, losses=["temporal"])
    assert names_in(folder) == ["a.csv"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a_pixel_error.csv", ",nose,tail\n0,1.5,\n", True),
        ("a_pixel_error.csv", ",nose,tail,set\nimg.png,1,2e-3,train\n", True),
        ("a.csv", ",nose,tail\n0,1,2\n", False),
        ("boxes_left.csv", ",x,y,h,w\nimg.png,1,2,3,4\n", False),
        ("a_b.csv", ",nose,tail\n", False),
        ("a_b.csv", ",nose,tail\n0,1,left\n", False),
        ("a_b.csv", ",nose,\n0,1,2\n", False),
        ("a_b.csv", csv_text(["0,1,2,3,4"]), False),
        ("a_b.csv", "", False),
        ("a_b.txt", ",nose,tail\n0,1,2\n", False),
    ],
)
def test_how_a_metric_file_is_told(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    assert is_metric_file(tmp_path / name) is expected


def test_a_file_that_cannot_be_read_is_none(tmp_path):
    assert not is_metric_file(tmp_path / "none_x.csv")
    (tmp_path / "a_b.csv").write_bytes(b",a\xff\n0,1\n")
    assert not is_metric_file(tmp_path / "a_b.csv")


def test_where_nothing_can_be_written(tmp_path, out, monkeypatch):
    files = []
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        files.append(write_predictions(tmp_path / name / "walk.csv", tracks(), NAMES))
    make = output.tempfile.mkdtemp

    def refuse(prefix, dir):
        if Path(dir).name in ("left", "right"):
            raise PermissionError(13, "Permission denied")
        return make(prefix=prefix, dir=dir)

    monkeypatch.setattr(output.tempfile, "mkdtemp", refuse)
    summary = score(*files, out=out, losses=["temporal"])
    assert names_in(tmp_path / "left") == ["walk.csv"]
    assert names_in(out / "metric_files") == [
        "left_walk_temporal_norm.csv",
        "right_walk_temporal_norm.csv",
    ]
    assert summary.metric_files[0] == str(out / "metric_files" / "left_walk_temporal_norm.csv")
    assert summary.notes[0] == (
        f"{tmp_path / 'left'} cannot be written to: metric files go to {out / 'metric_files'}"
    )


def test_nothing_but_metric_files_is_replaced(folder, out):
    images = [f"img{number}.png" for number in range(4)]
    predictions = write_predictions(folder / "a.csv", tracks(4), NAMES, images)
    labels = write_predictions(folder / "a_regression.csv", tracks(4, 1), NAMES, images, None)
    (folder / "a_pixel_error.csv").write_text("my notes")
    before = labels.read_bytes()
    losses = ["rmse", "regression"]
    summary = score(predictions, out=out, labels=labels, losses=losses)
    assert labels.read_bytes() == before
    assert (folder / "a_pixel_error.csv").read_text() == "my notes"
    assert names_in(out / "metric_files") == ["a_pixel_error.csv", "a_regression.csv"]
    elsewhere = f"metric files go to {out / 'metric_files'}"
    assert summary.notes == (
        f"{folder / 'a_pixel_error.csv'} is in the way, and no metric file: {elsewhere}",
        f"{labels} is one of the files that were given: {elsewhere}",
    )


def test_the_same_predictions_in_two_formats(folder, out):
    files = [write_predictions(folder / f"a{end}", tracks(), NAMES) for end in (".csv", ".parquet")]
    score(*files, out=out, losses=["temporal"])
    assert names_in(folder) == [
        "a.csv",
        "a.parquet",
        "a_csv_temporal_norm.csv",
        "a_parquet_temporal_norm.csv",
    ]


def test_an_error_leaves_nothing(folder, out):
    good = write_predictions(folder / "a.csv", tracks(), NAMES)
    bad = folder / "b.csv"
    bad.write_text(csv_text(["0,1,1,1,1,1,1", "1,1,1,1,1,1,?"], NAMES))
    with pytest.raises(DataError, match="keypoint 'tail'"):
        score(good, bad, out=out, losses=["temporal"])
    assert (names_in(folder), out.exists()) == (["a.csv", "b.csv"], False)
    score(good, bad, out=out, losses=["temporal"], keep_going=True)
    assert names_in(folder) == ["a.csv", "a_temporal_norm.csv", "b.csv"]


def test_predictions_without_any_likelihood(folder, out):
    """A model that regresses coordinates knows none: its columns are empty."""
    predictions = write_predictions(folder / "a.csv", tracks(), NAMES, None, np.nan)
    score(predictions, out=out, losses=["temporal"])
    assert read(folder / "a_temporal_norm.csv").notna().to_numpy()[1:].all()


@pytest.fixture
def views(tmp_path):
    rng = np.random.default_rng(2)
    seen = rig.project(rig.points_in_space(5))
    return {view: own + rng.normal(0, 1, own.shape) for view, own in seen.items()}


def test_each_view_has_a_file_of_its_own(views, folder, out):
    calibration = rig.write_calibration(folder / "calibration.toml")
    files = rig.write_views(folder, views)
    losses = ["multiview_reprojection", "temporal"]
    score(*files.values(), out=out, calibration=calibration, losses=losses)
    expected = rig.reprojection_error(views)
    for number, file in enumerate(files.values()):
        errors = read(file.with_name(f"{file.stem}_reprojection_error.csv"))
        assert errors.columns.tolist() == list(NAMES)
        np.testing.assert_allclose(errors.to_numpy(), expected[:, number], atol=2e-3)
        assert file.with_name(f"{file.stem}_temporal_norm.csv").is_file()
    assert len(names_in(folder)) == 1 + 3 + 6


def test_images_and_pairs_of_views(views, folder, out):
    calibration = rig.write_calibration(folder / "calibration.toml")
    images = {
        view: [f"labeled-data/mo_{view}/img{number}.png" for number in range(5)] for view in views
    }
    files, labels = {}, {}
    for view, own in views.items():
        files[view] = write_predictions(folder / f"{view}.csv", own, NAMES, images[view])
        labels[view] = write_predictions(
            folder / f"labels_{view}.csv", own + 1, NAMES, images[view], None
        )
    summary = score(
        *files.values(),
        out=out,
        calibration=calibration,
        labels=list(labels.values()),
        losses=["rmse", "supervised_pairwise_projections"],
    )
    for view in views:
        assert read(folder / f"{view}_pixel_error.csv").index.tolist() == images[view]
    (of_pairs,) = folder.glob("*_supervised_pairwise_projections.csv")
    assert of_pairs.name == "Left-1+Right-2+Top_supervised_pairwise_projections.csv"
    values = read(of_pairs)
    assert values.index.tolist() == [f"mo/img{number}.png" for number in range(5)]
    assert values.columns.tolist()[:4] == [
        "Left-1+Right-2/nose",
        "Left-1+Right-2/neck",
        "Left-1+Right-2/tail",
        "Left-1+Top/nose",
    ]
    assert len(summary.metric_files) == 4


def test_without_being_asked_no_other_folder_is_written_to(tmp_path, out):
    """Also where both hold files of the same name."""
    files = []
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        files.append(write_predictions(tmp_path / name / "walk.csv", tracks(), NAMES))
    files.append(write_predictions(tmp_path / "right" / "run.csv", tracks(), NAMES))
    before = {folder: (tmp_path / folder).stat().st_mtime_ns for folder in ("left", "right")}
    summary = score(*files, out=out, losses=["temporal"], beside=False)
    names = ["left_walk_temporal_norm", "right_walk_temporal_norm", "run_temporal_norm"]
    assert names_in(out / "metric_files") == [f"{name}.csv" for name in names]
    assert summary.metric_files == tuple(f"{out}/metric_files/{name}.csv" for name in names)
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == before
    steps = np.linalg.norm(np.diff(tracks(), axis=0), axis=-1)
    np.testing.assert_allclose(
        read(out / "metric_files" / "run_temporal_norm.csv").to_numpy()[1:], steps, rtol=1e-4
    )


def test_metric_files_of_an_earlier_run_are_removed(folder, out):
    files = [write_predictions(folder / f"{name}.csv", tracks(), NAMES) for name in ("a", "b")]
    score(*files, out=out, losses=["temporal"], beside=False)
    (out / "metric_files" / "mine_x.csv").write_text("my notes")
    score(files[0], out=out, losses=["temporal"], beside=False)
    assert names_in(out / "metric_files") == ["a_temporal_norm.csv", "mine_x.csv"]


@pytest.mark.parametrize("text", ["{", "[]", '{"pictures": 3}', "[" * 100_000, "null"])
def test_a_damaged_summary_of_an_earlier_run(folder, out, text):
    predictions = write_predictions(folder / "a.csv", tracks(), NAMES)
    out.mkdir()
    (out / "summary.json").write_text(text)
    with pytest.raises(DataError, match=r"summary\.json, which lists .* is damaged .* Remove it,"):
        score(predictions, out=out, losses=["temporal"])
    assert names_in(out) == ["summary.json"]


def test_a_forged_summary_removes_nothing_outside(tmp_path, folder, out):
    predictions = write_predictions(folder / "a.csv", tracks(), NAMES)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").touch()
    out.mkdir()
    (out / "pictures").symlink_to(tmp_path / "mine")
    listed = ["pictures/photo.png", "../mine/photo.png", str(tmp_path / "mine/photo.png")]
    (out / "summary.json").write_text(json.dumps({"pictures": listed, "metric_files": listed}))
    with pytest.raises(ArgumentValueError, match="pictures is a link, where a folder is to be"):
        score(predictions, out=out, losses=["temporal"])
    assert (tmp_path / "mine" / "photo.png").exists()
