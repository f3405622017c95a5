"""What is evaluated when a training has ended."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from rich.console import Console

from lploss import load_config
from lploss_builtin.data.project.labelled_project import read_project
from lploss_builtin.data.project.split import split
from lploss_builtin.evaluation import (
    evaluate_training,
    labelled_frames,
)
from lploss_builtin.evaluation.labelled_frames import frames_of_training, labels_of_training
from lploss_builtin.training.run import TrainingRun
from tests.lploss_builtin.data.keypoint_tables import read_keypoints
from tests.lploss_builtin.data.small_projects import calibration, write_image, write_labels
from tests.lploss_builtin.predicting.runs import NAMES, SIZE, FindsSpots, spots, write_run

NUM_FRAMES = 12
VIEWS = ("left", "right")


def poses(seed=0, num_frames=NUM_FRAMES):
    rng = np.random.default_rng(seed)
    return rng.uniform((20, 20), (SIZE[1] - 20, SIZE[0] - 20), (num_frames, 3, 2))


def write_session(folder, session, view, keypoints, off=(0.0, 0.0), end=""):
    """Write images whose spots are at keypoints, and labels that are off by some px."""
    rows = []
    for number, own in enumerate(keypoints):
        image = f"labeled-data/{session}_{view}/img{number:02d}.png"
        write_image(folder / image, spots(own))
        rows.append(",".join([image, *(f"{x + off[0]},{y + off[1]}" for x, y in own)]))
    write_labels(folder, f"{view}{end}", rows, NAMES, "xy")


def write_training(folder, views=VIEWS, **data):
    """Write a project and the folder of a training on it, with a part of each kind."""
    for number, view in enumerate(views):
        write_session(folder / "project", "mo", view, poses(number), (3.0, 4.0))
    files = [f"CollectedData_{view}.csv" for view in views]
    write_run(
        folder / "run",
        views,
        model_type="heatmap_multiview_transformer",
        training={"train_prob": 0.5, "val_prob": 0.09, "accelerator": "cpu"},
        data_dir=str(folder / "project"),
        csv_file=files,
        **data,
    )
    return TrainingRun(folder / "run")


@pytest.fixture
def finds_spots(monkeypatch):
    """Trainings whose model finds the spots, to a small part of a px."""
    monkeypatch.setattr(TrainingRun, "model", lambda self: FindsSpots(2))


def read(path):
    return pd.read_csv(path, index_col=0)


def test_the_parts_are_those_of_the_training(tmp_path):
    run = write_training(tmp_path)
    names = ("train", "validation", "test", "unused")
    sets = frames_of_training(run.config).sets
    assert [sets.count(name) for name in names] == [6, 1, 5, 0]
    project = read_project(run.config)
    train = [number for number, name in enumerate(sets) if name == "train"]
    images = labels_of_training(run.config, project).frames.tolist()
    assert sorted(images) == sorted(project.frames[number] for number in train)
    fewer = frames_of_training(load_config(run.config, ["training.train_frames=2"])).sets
    assert [fewer.count(name) for name in names] == [2, 1, 5, 4]


def test_predictions_and_metrics_of_all_labelled_frames(tmp_path, finds_spots):
    run = write_training(tmp_path)
    evaluation = evaluate_training(run)
    assert (evaluation.failed, evaluation.notes) == ((), ())
    sets = list(frames_of_training(run.config).sets)
    for number, view in enumerate(VIEWS):
        path = run.folder / f"predictions_{view}.csv"
        table = read_keypoints(path)
        images = [f"labeled-data/mo_{view}/img{frame:02d}.png" for frame in range(NUM_FRAMES)]
        assert table.frames.tolist() == images
        assert table.keypoint_names == NAMES
        expected = poses(number).reshape(NUM_FRAMES, -1)
        np.testing.assert_allclose(table.keypoints, expected, atol=0.05)
        np.testing.assert_allclose(table.confidences, 0.9 - 0.1 * number)
        whole = pd.read_csv(path, header=[0, 1, 2], index_col=0)
        assert whole.columns[-1][0] == "set"
        assert whole.iloc[:, -1].tolist() == sets
        errors = read(run.folder / f"predictions_{view}_pixel_error.csv")
        assert errors.index.tolist() == images
        assert errors.columns.tolist() == [*NAMES, "set"]
        assert errors["set"].tolist() == sets
        np.testing.assert_allclose(errors[list(NAMES)], 5.0, atol=0.06)
    assert {path.name for path in evaluation.files} == {
        "labelled_metrics.csv",
        *(f"predictions_{view}.csv" for view in VIEWS),
        *(
            f"predictions_{view}_{metric}.csv"
            for view in VIEWS
            for metric in ("pixel_error", "regression", "pca_multiview_error")
        ),
    }
    assert all(path.is_file() for path in evaluation.files)
    assert not list(run.folder.glob(".unfinished*"))
    assert evaluation.left_out["temporal"] == "needs consecutive frames"


def test_mean_and_median_of_each_metric(tmp_path, finds_spots):
    run = write_training(tmp_path)
    evaluation = evaluate_training(run)
    table = pd.read_csv(run.folder / "labelled_metrics.csv", keep_default_na=False)
    assert list(table.columns) == [
        *("set", "metric", "unit", "view", "keypoint", "count", "mean", "median")
    ]
    errors = pd.concat(
        [read(run.folder / f"predictions_{view}_pixel_error.csv") for view in VIEWS], keys=VIEWS
    )
    own = table[table["metric"] == "pixel_error"].set_index(["set", "view", "keypoint"])
    test = errors[errors["set"] == "test"]
    row = own.loc["test", "", ""]
    assert (row["count"], row["unit"]) == (5 * 2 * 3, "px")
    values = test[list(NAMES)].to_numpy()
    assert float(row["mean"]) == pytest.approx(values.mean(), rel=1e-5)
    assert float(row["median"]) == pytest.approx(np.median(values), rel=1e-5)
    row = own.loc["train", "right", "tail"]
    values = errors.loc["right"].query("set == 'train'")["tail"]
    assert (row["count"], float(row["mean"])) == (6, pytest.approx(values.mean(), rel=1e-5))
    assert len(evaluation.rows) == len(table)


def test_losses_are_fitted_to_the_frames_that_were_trained_on(tmp_path, finds_spots, monkeypatch):
    run = write_training(tmp_path)
    fitted = []
    choose = labelled_frames.choose_losses

    def remember(material, **options):
        fitted.append(material.labels.rows)
        return choose(material, **options)

    monkeypatch.setattr(labelled_frames, "choose_losses", remember)
    evaluate_training(run)
    train = list(split(NUM_FRAMES, 0.5, 0.09).train)
    expected = np.concatenate([poses(n).reshape(NUM_FRAMES, -1) for n in range(2)], axis=1)
    np.testing.assert_allclose(fitted[0], expected[train] + np.tile([3.0, 4.0], 6))


def test_a_further_session(tmp_path, finds_spots):
    run = write_training(tmp_path)
    for number, view in enumerate(VIEWS):
        write_session(tmp_path / "project", "we", view, poses(number + 5, 3), (0.0, 2.0), "_new")
    evaluation = evaluate_training(run)
    errors = read(run.folder / "predictions_left_new_pixel_error.csv")
    assert errors["set"].tolist() == ["new"] * 3
    np.testing.assert_allclose(errors[list(NAMES)], 2.0, atol=0.06)
    table = read_keypoints(run.folder / "predictions_right_new.csv")
    np.testing.assert_allclose(table.keypoints, poses(6, 3).reshape(3, -1), atol=0.05)
    assert {row.set for row in evaluation.rows} == {"train", "validation", "test", "new"}


def states(folder):
    """When each file of a folder was changed; the account of finished steps aside."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lploss-evaluation.json"
    }


@pytest.fixture
def with_further_session(tmp_path, finds_spots):
    run = write_training(tmp_path)
    for number, view in enumerate(VIEWS):
        write_session(tmp_path / "project", "we", view, poses(number + 5, 3), (0.0, 2.0), "_new")
    return run


FRAMES, FURTHER = "labelled frames", "labelled frames of the further session"


def test_what_is_finished_is_kept(with_further_session, monkeypatch):
    run = with_further_session
    first = evaluate_training(run)
    before = states(run.folder)

    def fail(self):
        raise AssertionError("nothing is to be predicted")

    monkeypatch.setattr(TrainingRun, "model", fail)
    again = evaluate_training(run)
    assert (first.kept, again.kept) == ((), (FRAMES, FURTHER))
    assert again.failed == ()
    assert again.rows == first.rows
    assert set(again.files) == set(first.files)
    assert (again.left_out, again.notes) == (first.left_out, first.notes)
    assert states(run.folder) == before


def test_what_was_interrupted_is_finished(with_further_session, monkeypatch):
    run = with_further_session
    write = labelled_frames.write_rows

    def interrupted(file, frames, values, **more):
        if "new" in more["last"]:
            raise KeyboardInterrupt
        write(file, frames, values, **more)

    with monkeypatch.context() as patch:
        patch.setattr(labelled_frames, "write_rows", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate_training(run)
    before = states(run.folder)
    assert "predictions_left.csv" in before
    assert not {"predictions_left_new.csv", "labelled_metrics.csv"} & before.keys()
    evaluation = evaluate_training(run)
    assert evaluation.kept == (FRAMES,)
    after = states(run.folder)
    assert {name: after[name] for name in before} == before
    assert {"predictions_left_new.csv", "labelled_metrics.csv"} <= after.keys()
    assert {row.set for row in evaluation.rows} == {"train", "validation", "test", "new"}


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda run, project: (run / "predictions_left.csv").unlink(), (FURTHER,)),
        (lambda run, project: (run / "predictions_left.csv").write_text("half"), (FURTHER,)),
        (lambda run, project: (run / "labelled_metrics.csv").unlink(), (FRAMES, FURTHER)),
        (lambda run, project: (run / "checkpoints" / "last.ckpt").write_bytes(b"trained on"), ()),
        (lambda run, project: touch(project / "CollectedData_left.csv"), ()),
        (lambda run, project: touch(project / "CollectedData_right_new.csv"), ()),
        (lambda run, project: (run / ".lploss-evaluation.json").write_text("[" * 99_999), ()),
        (lambda run, project: (run / ".lploss-evaluation.json").write_text('{"steps": 1}'), ()),
        (lambda run, project: override(run, "losses.rmse.log_weight=3.0"), ()),
        (lambda run, project: override(run, "eval.colormap=hsv"), (FRAMES, FURTHER)),
    ],
)
def test_what_has_changed_since_is_done_anew(with_further_session, tmp_path, change, kept):
    run = with_further_session
    evaluate_training(run)
    (run.folder / "predictions_right_new.csv").chmod(0o600)
    change(run.folder, tmp_path / "project")
    evaluation = evaluate_training(run)
    assert (evaluation.kept, evaluation.failed) == (kept, ())
    for view, number in (("left", 0), ("right", 1)):
        table = read_keypoints(run.folder / f"predictions_{view}.csv")
        expected = poses(number).reshape(NUM_FRAMES, -1)
        np.testing.assert_allclose(table.keypoints, expected, atol=0.05)
    assert (run.folder / "labelled_metrics.csv").is_file()


def touch(path):
    path.write_text(path.read_text() + "\n")


def override(run, value):
    (run / "config.yaml").write_text(OmegaConf.to_yaml(load_config(run / "config.yaml", [value])))


def test_what_is_finished_can_be_done_anew(with_further_session):
    evaluate_training(with_further_session)
    assert evaluate_training(with_further_session, overwrite=True).kept == ()


def test_a_further_session_that_cannot_be_read_hinders_nothing(tmp_path, finds_spots):
    run = write_training(tmp_path)
    for view in VIEWS:
        write_labels(tmp_path / "project", f"{view}_new", ["none.png,1,2,3,4,5,6"], NAMES, "xy")
    evaluation = evaluate_training(run)
    (failure,) = evaluation.failed
    assert failure.startswith("the labelled frames of the further session: the labelled data in ")
    assert "none.png" in failure
    assert {row.set for row in evaluation.rows} == {"train", "validation", "test"}


def test_cameras_of_each_session(tmp_path, finds_spots):
    run = write_training(tmp_path)
    folder = tmp_path / "project" / "calibrations"
    folder.mkdir()
    (folder / "mo.toml").write_text(calibration(VIEWS, (SIZE[1], SIZE[0])))
    evaluation = evaluate_training(run)
    assert (run.folder / "predictions_left_reprojection_error.csv").is_file()
    of_pairs = read(run.folder / "predictions_supervised_pairwise_projections.csv")
    assert of_pairs.index[0] == "mo/img00.png"
    assert of_pairs.columns[0] == "left+right/nose"
    assert "reprojection_error" in {row.metric for row in evaluation.rows}


def test_another_calibration_is_evaluated_with(tmp_path, finds_spots):
    run = write_training(tmp_path)
    path = tmp_path / "project" / "calibrations" / "mo.toml"
    path.parent.mkdir()
    text = calibration(VIEWS, (SIZE[1], SIZE[0]))
    distances = []
    for baseline in (1, 1, 2):
        path.write_text(text.replace("[1.0, 0.0, 9.0]", f"[{baseline}.0, 0.0, 9.0]"))
        evaluation = evaluate_training(run)
        assert evaluation.kept == (FRAMES,) * (len(distances) == 1)
        table = read(run.folder / "predictions_supervised_pairwise_projections.csv")
        distances.append(table["left+right/nose"])
    assert np.isfinite(distances[0]).sum() == 4  # the other points are behind a camera
    # Cameras twice as far apart see everything twice as large.
    np.testing.assert_allclose(distances[2], 2 * distances[0], rtol=1e-3)


def test_the_losses_of_a_plugin_take_part_and_one_that_fails_hides_no_other(
    tmp_path, finds_spots, site
):
    run = write_training(tmp_path)
    site.install_losses(
        "acme",
        {"height": "Height", "picky": "Picky"},
        """
            from lploss import Loss

            class Height(Loss):
                loss_name, kind, unit = "height", "unsupervised", "px"

                def compute_loss(self, keypoints_pred):
                    return keypoints_pred[:, 1::2]

            class Picky(Loss):
                loss_name, kind = "picky", "unsupervised"

                def compute_loss(self, keypoints_pred):
                    if len(keypoints_pred) > 1:
                        raise IndexError("too many")
                    return keypoints_pred[:, 1::2]
        """,
    )
    evaluation = evaluate_training(run, registry=site.registry())
    assert evaluation.failed == ()
    heights = read(run.folder / "predictions_right_height.csv")
    np.testing.assert_allclose(heights[list(NAMES)], poses(1)[..., 1], atol=0.05)
    assert evaluation.left_out == {"picky": "cannot be evaluated: IndexError: too many"}
    assert {row.metric for row in evaluation.rows} == {"height"}


def test_a_loss_of_the_config_that_has_no_metric_is_named(tmp_path, finds_spots):
    run = write_training(tmp_path)
    config = load_config(run.config)
    config.losses = {"pca_singleview": {"components_to_keep": 99}, "heatmap_kl": {}}
    (run.folder / "config.yaml").write_text(OmegaConf.to_yaml(config))
    (note,) = evaluate_training(run).notes
    assert note.startswith("no metric of the loss 'pca_singleview': ")


def test_a_frame_that_cannot_be_read(tmp_path, finds_spots):
    run = write_training(tmp_path)
    image = tmp_path / "project" / "labeled-data" / "mo_left" / "img03.png"
    image.write_bytes(image.read_bytes()[:300])
    evaluation = evaluate_training(run)
    assert evaluation.failed == ()
    (note,) = evaluation.notes
    assert note.startswith("without predictions: frame mo/img03.png: ")
    errors = read(run.folder / "predictions_left_pixel_error.csv")
    assert errors[list(NAMES)].isna().all(axis=1).tolist() == [n == 3 for n in range(NUM_FRAMES)]


def test_a_single_view_without_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingRun, "model", lambda self: FindsSpots(1))
    write_session(tmp_path / "project", "mo", "side", poses(), (0.0, 1.0))
    write_run(
        tmp_path / "run",
        training={"accelerator": "cpu", "train_frames": 4},
        data_dir=str(tmp_path / "project"),
        csv_file="CollectedData_side.csv",
    )
    evaluation = evaluate_training(TrainingRun(tmp_path / "run"))
    assert evaluation.failed == ()
    errors = read(tmp_path / "run" / "predictions_pixel_error.csv")
    np.testing.assert_allclose(errors[list(NAMES)], 1.0, atol=0.06)
    assert errors["set"].value_counts().to_dict() == {"unused": 7, "train": 4, "validation": 1}


def likelihoods(path):
    table = pd.read_csv(path, header=[0, 1, 2], index_col=0)
    return table.xs("likelihood", axis=1, level=2)


def test_a_model_without_likelihoods(tmp_path, monkeypatch):
    class WithoutLikelihoods(FindsSpots):
        def predict(self, images, views):
            _, keypoints, confidences = super().predict(images, views)
            return None, keypoints, confidences * float("nan")

    monkeypatch.setattr(TrainingRun, "model", lambda self: WithoutLikelihoods(2))
    run = write_training(tmp_path)
    assert evaluate_training(run).failed == ()
    assert likelihoods(run.folder / "predictions_left.csv").isna().all(axis=None)
    # A point without a likelihood counts whole.
    assert (read_keypoints(run.folder / "predictions_left.csv").confidences == 1.0).all()
    assert read(run.folder / "predictions_left_pixel_error.csv")["nose"].notna().all()


def test_a_model_that_cannot_be_loaded_is_named(tmp_path):
    run = write_training(tmp_path)
    (run.folder / "checkpoints" / "last.ckpt").write_bytes(b"nothing")
    evaluation = evaluate_training(run)
    assert evaluation.failed[0].startswith("the labelled frames: ")
    assert (evaluation.rows, evaluation.files) == ((), ())


def test_what_is_shown(tmp_path, finds_spots):
    evaluation = evaluate_training(write_training(tmp_path))
    evaluation = replace(evaluation, failed=("videos: none",), kept=("labelled frames",))
    console = Console(width=100, record=True, file=StringIO())
    for part in evaluation.renderables():
        console.print(part)
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert lines[0] == "labelled frames mean (median)"
    assert lines[2].split() == ["metric", "train", "validation", "test"]
    rows = [line for line in lines if line.startswith("pixel_error, px")]
    assert rows == ["pixel_error, px 5 (5) 5 (5) 5 (5)"]
    assert "finished before, and kept: labelled frames" in lines
    assert lines[-1] == "not evaluated: videos: none"


@pytest.mark.parametrize("model_type", ["regression", "heatmap", "heatmap_mhcrnn"])
def test_models_of_a_single_view(tmp_path, model_type):
    write_session(tmp_path / "project", "mo", "side", poses())
    write_run(
        tmp_path / "run",
        model_type=model_type,
        training={"accelerator": "cpu"},
        data_dir=str(tmp_path / "project"),
        csv_file="CollectedData_side.csv",
    )
    evaluation = evaluate_training(TrainingRun(tmp_path / "run"))
    assert (evaluation.failed, evaluation.notes) == ((), ())
    table = read_keypoints(tmp_path / "run" / "predictions.csv")
    errors = read(tmp_path / "run" / "predictions_pixel_error.csv")
    expected = np.linalg.norm(table.keypoints.reshape(-1, 3, 2) - poses(), axis=-1)
    np.testing.assert_allclose(errors[list(NAMES)], expected, rtol=1e-4)
    blank = likelihoods(tmp_path / "run" / "predictions.csv").isna().all(axis=None)
    assert blank == (model_type == "regression")
