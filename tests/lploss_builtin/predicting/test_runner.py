from __future__ import annotations

import csv
import gc
import os
import signal
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from lploss.errors import ArgumentValueError, ConfigError, DataError
from lploss_builtin.predicting import PredictOptions, predict_files
from lploss_builtin.scoring import ScoreOptions, score_files
from lploss_builtin.training.run import TrainingRun
from tests.lploss_builtin.clusters import new_cluster
from tests.lploss_builtin.commands.rig import (
    IMAGE_SIZE,
    VIEWS,
    points_in_space,
    project,
    write_calibration,
)
from tests.lploss_builtin.data.keypoint_tables import read_keypoints, write_predictions
from tests.lploss_builtin.data.small_projects import write_boxes, write_image
from tests.lploss_builtin.predicting.runs import (
    NAMES,
    FindsSpots,
    spots,
    write_run,
    write_spots,
)
from tests.lploss_builtin.predicting.spot_videos import wandering, write_spot_video

RIG_SIZE = IMAGE_SIZE[::-1]
KEYPOINTS = np.array(
    [
        [[20.0, 10.0], [50.0, 30.0], [80.0, 50.0]],
        [[22.0, 12.5], [48.0, 31.0], [78.0, 44.0]],
        [[30.0, 40.0], [40.0, 20.0], [60.0, 35.0]],
    ]
)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def predict(*inputs, **options):
    return predict_files("run", inputs, device="cpu", **options)


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def message(kind, *inputs, **options):
    with pytest.raises(kind) as caught:
        predict(*inputs, **options)
    return str(caught.value)


def test_a_folder_of_images(folder, finds_spots):
    write_run(folder / "run", model_type="heatmap")
    write_spots(folder / "clip", KEYPOINTS)
    summary = predict("clip")
    path = folder / "run/predictions/clip.csv"
    header = rows_of(path)[:3]
    assert header == [
        ["scorer", *["heatmap"] * 9],
        ["bodyparts", *(name for name in NAMES for _ in range(3))],
        ["coords", *["x", "y", "likelihood"] * 3],
    ]
    table = read_keypoints(path)
    assert table.frames.tolist() == [f"clip/img{number}.png" for number in range(3)]
    assert table.keypoint_names == NAMES
    np.testing.assert_allclose(table.keypoints.reshape(3, 3, 2), KEYPOINTS, atol=0.05)
    np.testing.assert_allclose(table.confidences, 0.9, atol=1e-6)
    assert visible(path.parent) == ["clip.csv"]
    (recording,) = summary.recordings
    assert (recording.name, recording.num_frames, recording.files) == ("clip", 3, ("clip.csv",))
    assert recording.likelihood == pytest.approx(0.9)
    assert np.isnan(recording.reprojection_error)
    assert summary.notes == ()


def test_images_of_another_size(folder, finds_spots):
    """Each image is resized by itself; px are those of its own."""
    write_run(folder / "run", size=(32, 48))
    write_image(folder / "clip/a.png", spots(KEYPOINTS[0]))
    write_image(folder / "clip/b.png", spots(3 * KEYPOINTS[0], (192, 288), 9.0))
    predict("clip", out="out")
    found = read_keypoints(folder / "out/clip.csv").keypoints.reshape(2, 3, 2)
    # Pillow keeps the corner of the first pixel, the project its centre: half a pixel of the
    # input at most.
    np.testing.assert_allclose(found[0], KEYPOINTS[0], atol=1.0)
    np.testing.assert_allclose(found[1], 3 * KEYPOINTS[0], atol=3.0)


@pytest.fixture
def rig(folder, finds_spots):
    """The folders of three calibrated views, and where the keypoints are in space."""
    write_run(folder / "run", tuple(VIEWS), size=RIG_SIZE, data_dir=str(folder / "nowhere"))
    points = points_in_space(3)
    for view, keypoints in project(points).items():
        write_spots(folder / f"new/labeled-data/mo_{view}", keypoints, RIG_SIZE)
    (folder / "new/calibrations").mkdir()
    write_calibration(folder / "new/calibrations/mo.toml")
    return points


def points_of(path):
    rows = rows_of(path)
    assert [row[0] for row in rows[:3]] == ["scorer", "bodyparts", "coords"]
    assert rows[1][1:] == [name for name in NAMES for _ in range(4)]
    assert rows[2][1:] == ["x", "y", "z", "error"] * 3
    numbers = [[float(cell or "nan") for cell in row[1:]] for row in rows[3:]]
    values = np.array(numbers).reshape(len(numbers), 3, 4)
    return values[..., :3], values[..., 3]


def test_views_with_points_in_space(folder, rig):
    summary = predict("new/labeled-data", out="out")
    names = ["mo_3d.csv", "mo_Left-1.csv", "mo_Right-2.csv", "mo_Top.csv"]
    assert visible(folder / "out") == names
    for number, (view, keypoints) in enumerate(project(rig).items()):
        table = read_keypoints(folder / f"out/mo_{view}.csv")
        assert table.frames[0] == f"labeled-data/mo_{view}/img0.png"
        np.testing.assert_allclose(table.keypoints.reshape(3, 3, 2), keypoints, atol=0.05)
        np.testing.assert_allclose(table.confidences, 0.9 - 0.1 * number, atol=1e-6)
    points, errors = points_of(folder / "out/mo_3d.csv")
    np.testing.assert_allclose(points, rig, atol=1e-3)
    assert errors.max() < 0.05
    (recording,) = summary.recordings
    assert recording.views == tuple(VIEWS)
    assert recording.reprojection_error == pytest.approx(errors.mean(), abs=1e-6)


def test_a_view_of_low_likelihood_counts_less(folder, rig, finds_spots, monkeypatch):
    """One view is wrong by 40 px; what it says is to be ignored."""

    def unsure(model, images, views):
        found = FindsSpots.predict(model, images, views)
        found[1][:, :3, 0] += 40.0
        likelihoods = found[2].clone()
        likelihoods[:, :3] = 1e-6
        return None, found[1], likelihoods

    monkeypatch.setattr(TrainingRun, "model", lambda run, which: _Replaced(FindsSpots(3), unsure))
    predict("new/labeled-data", out="out")
    points, errors = points_of(folder / "out/mo_3d.csv")
    np.testing.assert_allclose(points, rig, atol=2e-3)
    # The mean of 40, 0 and 0.
    np.testing.assert_allclose(errors, 40 / 3, atol=0.1)


class _Replaced(torch.nn.Module):
    def __init__(self, model, predict):
        super().__init__()
        self.model, self.function = model, predict

    def predict(self, images, views):
        return self.function(self.model, images, views)


def test_a_camera_that_failed(folder, rig, finds_spots):
    predict("new/labeled-data/mo_Top", "new/labeled-data/mo_Left-1", out="out")
    names = ["mo_3d.csv", "mo_Left-1.csv", "mo_Top.csv"]
    assert visible(folder / "out") == names
    # The model is told which views they are: they have their own likelihoods.
    assert read_keypoints(folder / "out/mo_Top.csv").confidences[0, 0] == pytest.approx(0.7)
    points, _ = points_of(folder / "out/mo_3d.csv")
    np.testing.assert_allclose(points, rig, atol=2e-3)
    assert finds_spots[0].batches == [(3, 2)]
    predict("new/labeled-data", views=["Top", "Left-1"], out="chosen")
    for name in names:
        assert (folder / "chosen" / name).read_bytes() == (folder / "out" / name).read_bytes()


def test_one_view_has_no_points_in_space(folder, rig):
    predict("new/labeled-data", views=["Top"], out="out")
    assert visible(folder / "out") == ["mo_Top.csv"]
    assert message(ArgumentValueError, "new/labeled-data/mo_Top", calibration="x.toml") == (
        "mo: a calibration is of use only where there are several views, got Top. Leave out "
        "--calibration."
    )


def test_predictions_can_be_scored(folder, rig):
    """By the losses between the views, and against the labels of the very images."""
    for view, keypoints in project(rig).items():
        index = [f"labeled-data/mo_{view}/img{number}.png" for number in range(3)]
        write_predictions(
            folder / f"new/CollectedData_{view}.csv", keypoints, NAMES, index, likelihood=None
        )
    labels = [f"new/CollectedData_{view}.csv" for view in VIEWS]
    (recording,) = predict(*labels, out="out").recordings
    assert recording.files == (
        *(f"CollectedData_{view}.csv" for view in VIEWS),
        "CollectedData_Left-1+Right-2+Top_3d.csv",
    )
    summary = score_files(
        [f"out/CollectedData_{view}.csv" for view in VIEWS],
        ScoreOptions(
            calibration="new/calibrations/mo.toml",
            labels=labels,
            losses=["rmse", "multiview_reprojection"],
            out="scores",
            pictures=False,
        ),
    )
    for loss, count in {"rmse": 27, "multiview_reprojection": 27}.items():
        row = summary.row(loss)
        assert row.valid == count
        assert row.maximum < 0.06


def test_calibrations_of_several_sessions(folder, rig):
    """Sessions in one list; the one without a calibration has no points in space."""
    for view, keypoints in project(rig).items():
        write_spots(folder / f"new/labeled-data/tu_{view}", keypoints[:1], RIG_SIZE)
        names = [f"labeled-data/{name}.png" for name in (f"tu_{view}/img0", f"mo_{view}/img2")]
        write_predictions(folder / f"new/{view}.csv", np.ones((2, 3, 2)), NAMES, names)
    predict(*(f"new/{view}.csv" for view in VIEWS), out="out")
    points, _ = points_of(folder / "out/Left-1+Right-2+Top_3d.csv")
    assert np.isnan(points[0]).all()
    np.testing.assert_allclose(points[1], rig[2], atol=1e-3)


def test_where_cameras_are_found(folder, rig):
    config = OmegaConf.load("run/config.yaml")
    data = folder / "nowhere"
    calibration = folder / "new/calibrations/mo.toml"
    data.mkdir()
    calibration.rename(data / "cameras.toml")
    for view in VIEWS:
        (folder / f"new/labeled-data/mo_{view}").rename(folder / f"new/mo_{view}")

    def has_points():
        return "mo_3d.csv" in predict("new", out="out", overwrite=True).recordings[0].files

    assert not has_points()
    config.data.camera_params_file = "cameras.toml"
    OmegaConf.save(config, "run/config.yaml")
    assert has_points()
    config.data.camera_params_file = None
    OmegaConf.save(config, "run/config.yaml")
    (data / "cameras.toml").rename(data / "calibration.toml")
    assert has_points()
    (data / "calibration.toml").rename(folder / "elsewhere.toml")
    assert not has_points()
    recording = predict("new", out="out", calibration="elsewhere.toml").recordings[0]
    assert "mo_3d.csv" in recording.files


def test_cameras_that_cannot_be_used(folder, rig):
    path = folder / "new/calibrations/mo.toml"
    text = path.read_text()
    path.write_text(text.replace('"Top"', '"Tip"'))
    problem = (
        "{}: there is no camera 'Top'. Did you mean 'Tip'? Its cameras are Left-1, Right-2, Tip"
    )
    summary = predict("new/labeled-data", out="out")
    assert summary.notes == (f"mo: no points in space: {problem.format(path)}",)
    assert "mo_3d.csv" not in summary.recordings[0].files
    given = "new/calibrations/mo.toml"
    assert message(DataError, "new/labeled-data", calibration=given) == problem.format(given)
    path.write_text(text.replace("[640, 480]", "[1280, 960]"))
    (note,) = predict("new/labeled-data", out="out").notes
    assert note.startswith(
        "mo: no points in space: Cameras that were calibrated for images of another size (3)."
    )
    assert message(DataError, "new/labeled-data", calibration="none.toml") == (
        "the calibration none.toml does not exist"
    )


def test_boxes(folder, rig):
    """Crops of the images, and images that are crops: px are those of the original image."""
    paths = {}
    boxes = {"Left-1": [200, 100, 240, 320], "Right-2": [100, 50, 400, 500]}
    for view, box in boxes.items():
        names = [f"labeled-data/mo_{view}/img{number}.png" for number in range(3)]
        paths[view] = write_boxes(folder, view, dict.fromkeys(names, box))
    x, y, height, width = boxes["Left-1"]
    for number, own in enumerate(project(rig)["Left-1"]):
        pixels = spots(own, RIG_SIZE)[y : y + height, x : x + width]
        write_image(folder / f"new/labeled-data/mo_Left-1/img{number}.png", pixels)
    found = predict(
        "new/labeled-data", views=list(boxes), bbox_files=list(paths.values()), out="out"
    )
    assert found.notes == ()
    for view in boxes:
        table = read_keypoints(folder / f"out/mo_{view}.csv")
        np.testing.assert_allclose(table.keypoints.reshape(3, 3, 2), project(rig)[view], atol=0.6)
    points, _ = points_of(folder / "out/mo_3d.csv")
    np.testing.assert_allclose(points, rig, atol=0.02)


def test_boxes_that_are_missing(folder, rig):
    path = write_boxes(folder, "Top", {"labeled-data/mo_Top/img1.png": [0, 0, 10, 10]})
    assert message(DataError, "new/labeled-data", views=["Top"], bbox_files=[path]) == (
        "the images cannot be cropped:\n"
        "Frames without a bounding box (2). A file of boxes needs a row for each image of the "
        "view's label file, with x, y, h and w.\n"
        f"  {path}: labeled-data/mo_Top/img0.png\n"
        f"  {path}: labeled-data/mo_Top/img2.png"
    )
    assert message(ArgumentValueError, "new/labeled-data", bbox_files=[path]) == (
        "give one file of bounding boxes for each of the views Left-1, Right-2, Top, with the view "
        "in its name; got bboxes_Top.csv: Top"
    )


def test_a_model_that_was_trained_on_crops(folder, finds_spots):
    write_run(folder / "run", bbox_file="boxes.csv")
    write_spots(folder / "clip", KEYPOINTS)
    assert predict("clip").notes == (
        "the model was trained on crops (data.bbox_file): unless the images are such crops, name "
        "their boxes by --bbox",
    )


def test_an_image_that_cannot_be_read(folder, finds_spots):
    write_run(folder / "run")
    write_spots(folder / "clip", KEYPOINTS)
    (folder / "clip/img1.png").write_text("nothing")
    path = folder / "clip/img1.png"
    assert message(DataError, "clip", out="out") == (
        f"clip: the image {path} cannot be read: it holds no image"
    )
    assert visible(folder / "out") == []
    write_spots(folder / "good", KEYPOINTS)
    summary = predict("clip", "good", out="out")
    assert [own.name for own in summary.recordings] == ["good"]
    assert summary.failed == (f"clip: the image {path} cannot be read: it holds no image",)


def test_keep_going(folder, rig, finds_spots):
    """The model sees no black image: the frame is predicted from the other views."""
    path = folder / "new/labeled-data/mo_Top/img1.png"
    path.write_bytes(path.read_bytes()[:200])
    summary = predict("new/labeled-data", out="out", keep_going=True, batch_size=2)
    (reason,) = summary.unreadable
    assert reason.startswith(f"the image {path} cannot be read: ")
    for view, keypoints in project(rig).items():
        table = read_keypoints(folder / f"out/mo_{view}.csv")
        found = table.keypoints.reshape(3, 3, 2)
        if view == "Top":
            assert np.isnan(found[1]).all()
            assert np.isnan(table.confidences[1]).all()
            found[1] = keypoints[1]
        np.testing.assert_allclose(found, keypoints, atol=0.05)
    assert finds_spots[0].batches == [(1, 2), (1, 3), (1, 3)]
    points, errors = points_of(folder / "out/mo_3d.csv")
    np.testing.assert_allclose(points, rig, atol=2e-3)
    # Of three frames with the likelihoods 0.9, 0.8 and 0.7.
    assert summary.recordings[0].likelihood == pytest.approx((3 * 0.9 + 3 * 0.8 + 2 * 0.7) / 8)
    assert summary.recordings[0].reprojection_error == pytest.approx(errors.mean())


def test_one_view_that_is_left_has_no_point_in_space(folder, rig):
    for view in ("Top", "Left-1"):
        (folder / f"new/labeled-data/mo_{view}/img1.png").write_text("nothing")
    summary = predict("new/labeled-data", out="out", keep_going=True)
    assert [reason.partition("labeled-data/")[2] for reason in summary.unreadable] == [
        "mo_Left-1/img1.png cannot be read: it holds no image",
        "mo_Top/img1.png cannot be read: it holds no image",
    ]
    points, _ = points_of(folder / "out/mo_3d.csv")
    assert np.isnan(points[1]).all()
    np.testing.assert_allclose(points[[0, 2]], rig[[0, 2]], atol=1e-3)
    table = read_keypoints(folder / "out/mo_Right-2.csv")
    found = table.keypoints.reshape(3, 3, 2)
    np.testing.assert_allclose(found, project(rig)["Right-2"], atol=0.05)


def test_a_dropped_frame(folder, rig):
    """Even the first of its view, by which the sizes of the cameras are checked."""
    path = folder / "new/labeled-data/mo_Top/img0.png"
    path.unlink()
    error = message(DataError, "new/labeled-data", out="out")
    assert error.endswith(
        "Leave a view out by --views, or predict what is there with --keep-going.\n"
        "  new/labeled-data/mo_Top lacks img0.png, which new/labeled-data/mo_Left-1 has"
    )
    assert not (folder / "out").exists()
    summary = predict("new/labeled-data", out="out", keep_going=True)
    assert summary.unreadable == (f"the image {path} does not exist",)
    for view, keypoints in project(rig).items():
        table = read_keypoints(folder / f"out/mo_{view}.csv")
        names = [f"labeled-data/mo_{view}/img{number}.png" for number in range(3)]
        assert table.frames.tolist() == names
        found = table.keypoints.reshape(3, 3, 2)
        is_there = ~np.isnan(found).any(axis=(1, 2))
        assert is_there.tolist() == [view != "Top", True, True]
        np.testing.assert_allclose(found[is_there], keypoints[is_there], atol=0.05)
    points, _ = points_of(folder / "out/mo_3d.csv")
    np.testing.assert_allclose(points, rig, atol=2e-3)
    calibration = folder / "new/calibrations/mo.toml"
    calibration.write_text(calibration.read_text().replace("[640, 480]", "[1280, 960]"))
    (note,) = predict("new/labeled-data", out="other", keep_going=True).notes
    assert "Cameras that were calibrated for images of another size (3)." in note


@pytest.mark.parametrize("model_type", ["heatmap", "heatmap_multiview_transformer"])
def test_the_views_that_are_left_as_the_model_itself_sees_them(folder, model_type):
    """No stand-in: each frame from the views of which there is an image."""
    views = ("left", "top", "back")
    model = write_run(folder / "run", views, model_type=model_type)
    shown = np.concatenate([KEYPOINTS, KEYPOINTS[:2] + 7.0])
    for number, view in enumerate(views):
        write_spots(folder / f"mo_{view}", shown + 5.0 * number)
    # Which views of each of the five frames are there.
    left = [[0, 1, 2], [0, 2], [1], [], [0, 2]]
    for view in ("top", "left", "back"):
        (folder / f"mo_{view}/img3.png").write_text("nothing")
    (folder / "mo_top/img1.png").unlink()
    (folder / "mo_left/img2.png").unlink()
    (folder / "mo_back/img2.png").write_text("nothing")
    path = folder / "mo_top/img4.png"
    path.write_bytes(path.read_bytes()[:200])
    summary = predict(*(f"mo_{view}" for view in views), out="out", batch_size=3, keep_going=True)
    places = [
        next(f"{v}/{n}" for v in views for n in range(5) if f"mo_{v}/img{n}.png " in reason)
        for reason in summary.unreadable
    ]
    assert places == ["top/1", "left/2", "back/2", "left/3", "top/3", "back/3", "top/4"]
    tables = [read_keypoints(folder / f"out/mo_{view}.csv") for view in views]
    keypoints = np.stack([table.keypoints.reshape(5, 3, 2) for table in tables], axis=1)
    confidences = np.stack([table.confidences for table in tables], axis=1)
    for frame, numbers in enumerate(left):
        lost = [number for number in range(3) if number not in numbers]
        assert np.isnan(keypoints[frame, lost]).all()
        assert np.isnan(confidences[frame, lost]).all()
        if not numbers:
            continue
        pixels = np.stack([spots(shown[frame] + 5.0 * number) for number in numbers])
        with torch.no_grad():
            expected = model.predict(torch.from_numpy(pixels)[None].movedim(-1, 2), views=numbers)
        np.testing.assert_allclose(
            keypoints[frame, numbers], expected.keypoints.view(-1, 3, 2), atol=2e-3
        )
        np.testing.assert_allclose(
            confidences[frame, numbers], expected.confidences.view(-1, 3), atol=1e-5
        )


def test_batches_of_which_nothing_can_be_read(folder):
    write_run(folder / "run")
    write_spots(folder / "clip", KEYPOINTS)
    for number in (0, 1):
        (folder / f"clip/img{number}.png").write_text("nothing")
    predict("clip", out="out", batch_size=1, keep_going=True)
    table = read_keypoints(folder / "out/clip.csv")
    assert np.isnan(table.keypoints).all(axis=1).tolist() == [True, True, False]
    assert np.isfinite(table.confidences[2]).all()


def test_rows_and_images_that_lists_lack(folder, rig):
    """A row that stands in other lists only is empty, even if there is such an image."""
    for view, rows in {"Left-1": (0, 1, 2), "Right-2": (0, 1, 2), "Top": (0, 2)}.items():
        names = [f"labeled-data/mo_{view}/img{number}.png" for number in rows]
        write_predictions(folder / f"new/{view}.csv", np.ones((len(rows), 3, 2)), NAMES, names)
    lists = [f"new/{view}.csv" for view in VIEWS]
    lost = folder / "new/labeled-data/mo_Right-2/img0.png"
    lost.unlink()
    assert message(DataError, *lists).endswith("is there with --keep-going.\n  Left-1+Right-2+Top")
    summary = predict(*lists, out="out", keep_going=True)
    assert summary.unreadable == (
        "the image new/labeled-data/mo_Right-2/img0.png does not exist",
        "new/Top.csv lacks labeled-data/mo_Top/img1.png, which other views have",
    )
    expected = project(rig)
    for view, row in {"Left-1": None, "Right-2": 0, "Top": 1}.items():
        found = read_keypoints(folder / f"out/{view}.csv").keypoints.reshape(3, 3, 2)
        is_there = [number != row for number in range(3)]
        assert (~np.isnan(found).any(axis=(1, 2))).tolist() == is_there
        np.testing.assert_allclose(found[is_there], expected[view][is_there], atol=0.05)
    points, _ = points_of(folder / "out/Left-1+Right-2+Top_3d.csv")
    np.testing.assert_allclose(points, rig, atol=2e-3)


def test_images_that_are_lost_need_no_box(folder, rig):
    boxes = {"Left-1": [200, 100, 240, 320], "Right-2": [100, 50, 400, 500]}
    paths = []
    for view, box in boxes.items():
        rows = (1, 2) if view == "Right-2" else (0, 1, 2)
        names = [f"labeled-data/mo_{view}/img{number}.png" for number in rows]
        paths.append(write_boxes(folder, view, dict.fromkeys(names, box)))
    (folder / "new/labeled-data/mo_Right-2/img0.png").unlink()
    (folder / "new/labeled-data/mo_Left-1/img2.png").write_text("nothing")
    options = {"views": list(boxes), "bbox_files": paths, "out": "out"}
    path = folder / "new/labeled-data/mo_Left-1/img2.png"
    (folder / "new/labeled-data/mo_Right-2/img0.png").touch()
    assert message(DataError, "new/labeled-data", **options).startswith(
        "the images cannot be cropped:\n"
        "Images that cannot be used (2). Replace them, or predict the others with --keep-going.\n"
        f"  {path} cannot be read: it holds no image\n"
    )
    (folder / "new/labeled-data/mo_Right-2/img0.png").unlink()
    summary = predict("new/labeled-data", **options, keep_going=True)
    assert len(summary.unreadable) == 2
    for view, row in {"Left-1": 2, "Right-2": 0}.items():
        found = read_keypoints(folder / f"out/mo_{view}.csv").keypoints.reshape(3, 3, 2)
        is_there = [number != row for number in range(3)]
        assert (~np.isnan(found).any(axis=(1, 2))).tolist() == is_there
        np.testing.assert_allclose(found[is_there], project(rig)[view][is_there], atol=0.6)


def test_no_folder_of_a_training(folder):
    write_spots(folder / "clip", KEYPOINTS)
    assert message(ConfigError, "clip") == (
        "run is no folder of a training: there is no checkpoints/best.ckpt"
    )


def test_wrong_arguments(folder):
    write_run(folder / "run")
    write_spots(folder / "clip", KEYPOINTS)
    assert message(ArgumentValueError, "clip", checkpoint="first") == (
        "checkpoint must be best or last, got 'first'"
    )
    assert message(ArgumentValueError, "clip", batch_size=0) == (
        "batch_size must be at least 1, got 0"
    )
    with pytest.raises(ArgumentValueError, match=r"^the device 'gpu' cannot be used: Runtime"):
        predict_files("run", ["clip"], device="gpu")


def test_labels_are_not_replaced(folder, finds_spots):
    write_run(folder / "run")
    write_spots(folder / "clip", KEYPOINTS)
    labels = write_predictions(
        folder / "labels.csv", KEYPOINTS[:1], NAMES, ["clip/img0.png"], likelihood=None
    )
    before = labels.read_bytes()
    assert message(ArgumentValueError, "labels.csv", out=".") == (
        "the predictions would replace labels.csv, which names the images. Name another folder by "
        "--out."
    )
    assert labels.read_bytes() == before


def test_precision_and_batch_size_of_the_training(folder, finds_spots, monkeypatch):
    write_run(folder / "run", training={"precision": "bf16-mixed", "test_batch_size": 2})
    write_spots(folder / "clip", KEYPOINTS)
    given = []

    def record(*args, **options):
        given.append(options["precision"])
        return real(*args, **options)

    module = sys.modules["lploss_builtin.predicting.predict_recording"]
    real = module.ModelPredictor
    monkeypatch.setattr(module, "ModelPredictor", record)
    predict("clip")
    predict("clip", batch_size=3)
    assert given == ["bf16-mixed", "bf16-mixed"]
    assert [own.batches for own in finds_spots] == [[(2, 1), (1, 1)], [(3, 1)]]


def test_options_and_keyword_arguments(folder, finds_spots):
    write_run(folder / "run")
    write_spots(folder / "clip", KEYPOINTS)
    options = PredictOptions(device="cpu", batch_size=2)
    predict_files("run", ["clip"], options=options)
    predict_files("run", ["clip"], options=options, batch_size=1)
    assert [own.batches for own in finds_spots] == [[(2, 1), (1, 1)], [(1, 1)] * 3]
    with pytest.raises(TypeError, match="batchsize"):
        predict_files("run", ["clip"], batchsize=1)


def test_progress(folder, finds_spots):
    write_run(folder / "run")
    for name in ("a", "b"):
        write_spots(folder / f"all/{name}", KEYPOINTS)
    calls = []
    predict("all", batch_size=2, progress=lambda *call: calls.append(call))
    assert calls == [
        ("a", 0, 6), ("a", 2, 6), ("a", 3, 6),
        ("b", 3, 6), ("b", 5, 6), ("b", 6, 6),
    ]  # fmt: skip


def test_memory_grows_with_the_names_of_frames_only(folder, finds_spots):
    write_run(folder / "run", size=(16, 16))
    write_image(folder / "image.png", spots(KEYPOINTS[0] / 6, (16, 16)))

    def peak(num_frames):
        clip = folder / f"clip{num_frames}"
        clip.mkdir()
        for number in range(num_frames):
            (clip / f"{number}.png").symlink_to(folder / "image.png")
        gc.collect()
        tracemalloc.start()
        predict(clip, batch_size=4)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(20)  # imports
    fewer, more = peak(200), peak(800)
    # Each image takes 768 bytes, its predictions, as text, some 100.
    assert more - fewer < 600 * 300


NUM_FRAMES = {f"video{number}": 5 + number for number in range(12)}


@pytest.mark.slow
def test_a_cluster_predicts_each_video_once_though_a_worker_is_killed(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    write_run(tmp_path / "run", model_type="heatmap")
    for number, (name, num_frames) in enumerate(NUM_FRAMES.items()):
        write_spot_video(tmp_path / f"videos/{name}.mp4", wandering(num_frames, number))
    with (
        new_cluster(2) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        processes = client.run(os.getpid)
        killed = []

        def kill_one(name, num_done, num_frames):
            if not killed:
                killed.append(next(iter(processes.values())))
                os.kill(killed[0], signal.SIGKILL)

        monkeypatch.chdir(tmp_path)  # the workers are elsewhere
        summary = predict_files(
            "run",
            ["videos"],
            out="out",
            device="cpu",
            scheduler=cluster.scheduler_address,
            progress=kill_one,
        )
    assert killed
    assert sorted(own.name for own in summary.recordings) == sorted(NUM_FRAMES)
    assert not summary.failed
    # One thread, as a worker has.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        predict_files("run", ["videos"], out="alone", device="cpu")
    finally:
        torch.set_num_threads(before)
    for name, num_frames in NUM_FRAMES.items():
        file = tmp_path / "out" / f"{name}.csv"
        assert pd.read_csv(file, header=[0, 1, 2], index_col=0).index.tolist() == list(
            range(num_frames)
        )
        assert file.read_bytes() == (tmp_path / "alone" / f"{name}.csv").read_bytes()
    shown = [path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."]
    assert sorted(shown) == sorted(f"{name}.csv" for name in NUM_FRAMES)
