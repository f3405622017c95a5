from __future__ import annotations

import gc
import json
import math
import tracemalloc

import numpy as np
import pytest
import torch

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.predicting import predict_files
from lploss_builtin.training.run import TrainingRun
from tests.lploss_builtin.commands.rig import (
    IMAGE_SIZE,
    VIEWS,
    points_in_space,
    project,
    write_calibration,
)
from tests.lploss_builtin.data.keypoint_tables import read_keypoints
from tests.lploss_builtin.predicting.runs import (
    NAMES,
    SIZE,
    FindsSpots,
    spots,
    write_run,
    write_spots,
)
from tests.lploss_builtin.predicting.spot_videos import (
    FindsSpotsAround,
    wandering,
    write_spot_video,
)

RIG_SIZE = IMAGE_SIZE[::-1]


def predict(*inputs, **options):
    return predict_files("run", inputs, **{"device": "cpu", "out": "out", **options})


def message(kind, *inputs, **options):
    with pytest.raises(kind) as caught:
        predict(*inputs, **options)
    return str(caught.value)


def keypoints_of(path):
    table = read_keypoints(path)
    return table.keypoints.reshape(len(table.frames), 3, 2)


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_video(folder, finds_spots):
    write_run(folder / "run", model_type="heatmap")
    shown = wandering(50)
    write_spot_video(folder / "walk.mp4", shown)
    (recording,) = predict("walk.mp4", batch_size=8).recordings
    assert visible(folder / "out") == ["walk.csv"]
    table = read_keypoints(folder / "out/walk.csv")
    assert table.frames.tolist() == list(range(50))
    assert table.keypoint_names == NAMES
    np.testing.assert_allclose(keypoints_of(folder / "out/walk.csv"), shown, atol=0.05)
    np.testing.assert_allclose(table.confidences, 0.9, atol=1e-6)
    assert finds_spots[0].batches == [(8, 1)] * 6 + [(2, 1)]
    assert (recording.name, recording.num_frames, recording.files) == ("walk", 50, ("walk.csv",))
    assert recording.likelihood == pytest.approx(0.9)
    assert recording.frames_per_second > 0
    assert sum(recording.shares.values()) == pytest.approx(1.0)
    lines = (folder / "out/walk.csv").read_text().splitlines()
    assert lines[0] == "scorer" + ",heatmap" * 9
    assert lines[3].startswith("0,")


def test_views_with_points_in_space(folder, finds_spots):
    write_run(folder / "run", tuple(VIEWS), size=RIG_SIZE, data_dir=str(folder / "nowhere"))
    points = points_in_space(6)
    for view, keypoints in project(points).items():
        write_spot_video(folder / f"new/videos/mo_{view}.mp4", keypoints, RIG_SIZE)
    (folder / "new/calibrations").mkdir()
    write_calibration(folder / "new/calibrations/mo.toml")
    (recording,) = predict("new/videos", batch_size=4).recordings
    names = ["mo_3d.csv", "mo_Left-1.csv", "mo_Right-2.csv", "mo_Top.csv"]
    assert visible(folder / "out") == names
    for number, (view, keypoints) in enumerate(project(points).items()):
        path = folder / f"out/mo_{view}.csv"
        np.testing.assert_allclose(keypoints_of(path), keypoints, atol=0.05)
        likelihoods = read_keypoints(path).confidences
        np.testing.assert_allclose(likelihoods, 0.9 - 0.1 * number, atol=1e-6)
    rows = [line.split(",") for line in (folder / "out/mo_3d.csv").read_text().splitlines()[3:]]
    assert [row[0] for row in rows] == [str(number) for number in range(6)]
    values = np.array(rows, dtype=float)[:, 1:].reshape(6, 3, 4)
    np.testing.assert_allclose(values[..., :3], points, atol=1e-3)
    assert recording.reprojection_error == pytest.approx(values[..., 3].mean())
    # Some of the views: as if there were no others.
    chosen = predict("new/videos", views=["Top", "Left-1"], out="chosen").recordings[0]
    (folder / "new/videos/mo_Right-2.mp4").unlink()
    there = predict("new/videos", out="there").recordings[0]
    assert chosen.views == there.views == ("Left-1", "Top")
    for name in ("mo_3d.csv", "mo_Left-1.csv", "mo_Top.csv"):
        assert (folder / "chosen" / name).read_bytes() == (folder / "there" / name).read_bytes()


@pytest.mark.parametrize("write", [write_spots, write_spot_video])
def test_the_model_that_was_trained(folder, write):
    """No stand-in: the weights of the checkpoint, in batches, with a view less."""
    model = write_run(folder / "run", ("left", "top", "back"))
    shown = wandering(7)
    for view in ("left", "back"):
        suffix = "" if write is write_spots else ".mkv"
        write(folder / f"frames/mo/{view}{suffix}", shown)
    predict("frames/mo", batch_size=3)
    assert visible(folder / "out") == ["mo_back.csv", "mo_left.csv"]
    pixels = torch.from_numpy(np.stack([spots(own) for own in shown])).movedim(-1, 1)
    with torch.no_grad():
        expected = model.predict(torch.stack([pixels, pixels], dim=1), views=[0, 2])
    keypoints = expected.keypoints.view(7, 2, 3, 2)
    for number, view in enumerate(("left", "back")):
        path = folder / f"out/mo_{view}.csv"
        np.testing.assert_allclose(keypoints_of(path), keypoints[:, number], atol=2e-3)
        np.testing.assert_allclose(
            read_keypoints(path).confidences,
            expected.confidences.view(7, 2, 3)[:, number],
            atol=1e-5,
        )


@pytest.mark.parametrize("batch_size", [1, 3, 16, 17, 100])
def test_frames_in_their_context(folder, monkeypatch, batch_size):
    """At the ends the nearest frame stands for those that there are not."""
    write_run(folder / "run")
    models = []
    monkeypatch.setattr(
        TrainingRun, "model", lambda run, which: models.append(FindsSpotsAround()) or models[-1]
    )
    shown = wandering(17)
    write_spot_video(folder / "walk.mp4", shown)
    predict("walk.mp4", batch_size=batch_size)
    numbers = np.arange(17)[:, None] + [-2, 0, 2]
    expected = shown[numbers.clip(0, 16), [0, 1, 2]]
    np.testing.assert_allclose(keypoints_of(folder / "out/walk.csv"), expected, atol=0.05)


def test_the_batch_size_of_the_config(folder, finds_spots, monkeypatch):
    from omegaconf import OmegaConf

    write_run(folder / "run")
    config = OmegaConf.load("run/config.yaml")
    config.dali = {
        "base": {"predict": {"sequence_length": 4}},
        "context": {"predict": {"sequence_length": 3}},
    }
    OmegaConf.save(config, "run/config.yaml")
    write_spot_video(folder / "walk.mp4", wandering(6))
    predict("walk.mp4")
    assert finds_spots[0].batches == [(4, 1), (2, 1)]
    model = FindsSpotsAround()
    monkeypatch.setattr(TrainingRun, "model", lambda run, which: model)
    predict("walk.mp4", out="context")
    assert model.batches == [(3, 1)] * 6  # three calls a batch


def test_several_videos_and_images_in_one_call(folder, finds_spots):
    write_run(folder / "run")
    for number in range(3):
        write_spot_video(folder / f"videos/walk{number}.mp4", wandering(5, number))
    write_spots(folder / "clip", wandering(2, 7))
    calls = []
    summary = predict("clip", "videos", batch_size=4, progress=lambda *call: calls.append(call))
    names = ["clip", "walk0", "walk1", "walk2"]
    assert [own.name for own in summary.recordings] == names
    assert visible(folder / "out") == [f"{name}.csv" for name in names]
    for number in range(3):
        found = keypoints_of(folder / f"out/walk{number}.csv")
        np.testing.assert_allclose(found, wandering(5, number), atol=0.05)
    assert calls == [
        ("clip", 0, 17), ("clip", 2, 17),
        ("walk0", 2, 17), ("walk0", 6, 17), ("walk0", 7, 17),
        ("walk1", 7, 17), ("walk1", 11, 17), ("walk1", 12, 17),
        ("walk2", 12, 17), ("walk2", 16, 17), ("walk2", 17, 17),
    ]  # fmt: skip
    assert len(finds_spots) == 1


def test_what_is_there_is_kept(folder, finds_spots):
    write_run(folder / "run")
    video = write_spot_video(folder / "walk.mp4", wandering(9))
    (first,) = predict("walk.mp4").recordings
    path = folder / "out/walk.csv"
    before = path.stat().st_mtime_ns
    (kept,) = predict("walk.mp4").recordings
    assert (kept.num_kept_frames, first.num_kept_frames) == (9, 0)
    assert math.isnan(kept.frames_per_second)
    assert kept.shares == {}
    assert kept.likelihood == first.likelihood
    assert path.stat().st_mtime_ns == before
    assert finds_spots[-1].batches == []

    def is_kept(**options):
        return predict("walk.mp4", **options).recordings[0].num_kept_frames == 9

    assert is_kept(keep_going=True)
    assert not is_kept(overwrite=True)
    assert is_kept()
    assert not is_kept(batch_size=2)
    assert not is_kept()
    path.write_text(path.read_text() + "0,1\n")  # of another size
    assert not is_kept()
    path.unlink()
    assert not is_kept()
    write_spot_video(video, wandering(9, seed=1))
    assert not is_kept()
    np.testing.assert_allclose(keypoints_of(path), wandering(9, seed=1), atol=0.05)
    # A new training in the same folder.
    checkpoint = folder / "run/checkpoints/last.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    name, values = next(iter(content["state_dict"].items()))
    content["state_dict"][name] = values + 1.0
    torch.save(content, checkpoint)
    assert not is_kept()
    assert is_kept()


def test_the_same_name_twice(folder, finds_spots):
    write_run(folder / "run")
    for name in ("a", "b"):
        write_spot_video(folder / name / "walk.mp4", wandering(2))
    assert message(DataError, "a", "b") == (
        "a/walk.mp4 and b/walk.mp4 would both be written to walk.csv. Predict them one after the "
        "other, each with an --out of its own."
    )
    assert not (folder / "out").exists()


def test_boxes(folder, finds_spots):
    """The model sees a crop, or the video is one; px are those of the original image."""
    write_run(folder / "run")
    shown = wandering(4)
    write_spot_video(folder / "walk.mp4", shown + np.array([20.0, 10.0]), (96, 160))
    (folder / "box.csv").write_text(",x,y,h,w\nany,20,10,64,96\n")
    predict("walk.mp4", bbox_files=["box.csv"])
    found = keypoints_of(folder / "out/walk.csv")
    np.testing.assert_allclose(found, shown + np.array([20.0, 10.0]), atol=0.05)
    write_spot_video(folder / "cut.mp4", shown)
    predict("cut.mp4", bbox_files=["box.csv"])
    found = keypoints_of(folder / "out/cut.csv")
    np.testing.assert_allclose(found, shown + np.array([20.0, 10.0]), atol=0.05)
    (folder / "box.csv").write_text(",x,y,h,w\n0,20,10,64,96\n1,20,10,64,96\n2,21,10,64,96\n")
    assert message(DataError, "walk.mp4", bbox_files=["box.csv"]) == (
        "box.csv: row 3 is another box than row 1. Of a video the model sees the same box in all "
        "frames: give a file with one row. Where the box moves, cut the video out along it, and "
        "predict it without --bbox."
    )
    (folder / "box.csv").write_text(",x,y,h,w\n0,80,10,64,96\n")
    assert message(DataError, "walk.mp4", bbox_files=["box.csv"]) == (
        "walk: box.csv: the box x 80, y 10, h 64, w 96 is not within walk.mp4, which has height 96 "
        "and width 160"
    )


def test_a_model_without_confidences(folder, monkeypatch):
    """Empty cells; in space all views count alike."""
    write_run(folder / "run", tuple(VIEWS), size=RIG_SIZE, data_dir=str(folder))

    class CannotTell(FindsSpots):
        def predict(self, images, views):
            found = super().predict(images, views)
            return None, found[1], torch.full_like(found[2], math.nan)

    monkeypatch.setattr(TrainingRun, "model", lambda run, which: CannotTell(3))
    points = points_in_space(3)
    for view, keypoints in project(points).items():
        write_spot_video(folder / f"videos/mo_{view}.mp4", keypoints, RIG_SIZE)
    write_calibration(folder / "calibration.toml")
    summary = predict("videos")
    (recording,) = summary.recordings
    assert math.isnan(recording.likelihood)
    assert json.loads(summary.to_json())["recordings"][0]["likelihood"] is None
    row = (folder / "out/mo_Top.csv").read_text().splitlines()[3].split(",")
    assert [cell == "" for cell in row[1:]] == [False, False, True] * 3
    values = [row.split(",")[1:4] for row in (folder / "out/mo_3d.csv").read_text().splitlines()]
    np.testing.assert_allclose(np.array(values[3:], float), points[:, 0], atol=1e-3)


def test_images_beside_videos_are_passed_over(folder, finds_spots):
    write_run(folder / "run")
    write_spot_video(folder / "all/walk.mp4", wandering(2))
    write_spots(folder / "all/thumbnails", wandering(2))
    summary = predict("all")
    assert [own.name for own in summary.recordings] == ["walk"]
    assert summary.notes == (
        "all holds videos: its images are passed over, the first in all/thumbnails. Name their "
        "folder to predict them.",
    )


def test_nothing_that_could_be_predicted(folder, finds_spots):
    write_run(folder / "run", ("left", "top"))
    write_spot_video(folder / "mo_left.mp4", wandering(2))
    (folder / "mo_top.mp4").write_bytes(b"")
    assert message(ArgumentValueError, "mo_left.mp4", views=["Left"]).startswith(
        "the model knows no view 'Left'. Did you mean 'left'?"
    )
    assert message(DataError, "mo_left.mp4", views=["top"]) == (
        "there are no videos of the views that were asked for"
    )
    assert message(DataError, "tu_left.mp4").startswith("tu_left.mp4: there is no such file")
    error = message(DataError, "mo_left.mp4", "mo_top.mp4", views=["left", "top"])
    assert error.startswith("nothing can be predicted:\n  the video mo_top.mp4 is empty")
    assert error.endswith("\n  mo: left out, because it lacks the views top")
    assert not (folder / "out").exists()


def test_sizes_are_those_of_the_config(folder, finds_spots):
    write_run(folder / "run", size=(32, 48))
    shown = wandering(3)
    write_spot_video(folder / "walk.mp4", shown, SIZE)
    predict("walk.mp4")
    np.testing.assert_allclose(keypoints_of(folder / "out/walk.csv"), shown, atol=1.0)


@pytest.mark.parametrize("views", [(), ("left", "top")])
def test_a_model_that_sees_a_window(folder, views):
    """No stand-in: each frame as the model sees it with the four around it."""
    model = write_run(folder / "run", views, model_type="heatmap_mhcrnn")
    shown = wandering(7)
    names = [f"mo_{view}.mp4" for view in views] or ["mo.mp4"]
    for name in names:
        write_spot_video(folder / name, shown)
    predict(*names, batch_size=3)
    pixels = torch.from_numpy(np.stack([spots(own) for own in shown])).movedim(-1, 1)
    pixels = torch.stack([pixels] * len(names), dim=1)
    around = (torch.arange(7)[:, None] + torch.tensor([-2, -1, 1, 2])).clamp(0, 6)
    with torch.no_grad():
        expected = model.predict(pixels, context_images=pixels[around].movedim(1, 2))
    keypoints = expected.keypoints.view(7, len(names), 3, 2)
    confidences = expected.confidences.view(7, len(names), 3)
    for number, name in enumerate(names):
        table = read_keypoints(folder / "out" / name.replace("mp4", "csv"))
        found = table.keypoints.reshape(7, 3, 2)
        np.testing.assert_allclose(found, keypoints[:, number], atol=2e-3)
        np.testing.assert_allclose(table.confidences, confidences[:, number], atol=1e-5)


def test_regression(folder):
    model = write_run(folder / "run", model_type="regression")
    shown = wandering(3)
    write_spot_video(folder / "walk.mp4", shown)
    (recording,) = predict("walk.mp4").recordings
    assert math.isnan(recording.likelihood)
    pixels = torch.from_numpy(np.stack([spots(own) for own in shown])).movedim(-1, 1)
    with torch.no_grad():
        expected = model.predict(pixels[:, None])
    np.testing.assert_allclose(keypoints_of("out/walk.csv"), expected.keypoints, atol=2e-3)


def test_an_output_folder_that_cannot_be_written(folder, finds_spots):
    write_run(folder / "run")
    write_spot_video(folder / "walk.mp4", wandering(2))
    (folder / "out").write_text("a file")
    assert message(ArgumentValueError, "walk.mp4").startswith(
        "the output folder out cannot be written to: "
    )


def test_memory_does_not_grow_with_the_length(folder, finds_spots):
    write_run(folder / "run", size=(16, 16))

    def write(num_frames):
        keypoints = np.tile(wandering(1) / 6, (num_frames, 1, 1))
        write_spot_video(folder / "walk.mp4", keypoints, (16, 16))

    def peak(num_frames):
        write(num_frames)
        gc.collect()
        tracemalloc.start()
        predict("walk.mp4", batch_size=8)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    write(20)
    predict("walk.mp4")  # imports
    fewer, more = peak(32), peak(132)
    # Each frame takes 768 bytes; its place in the index of the video some 100.
    assert more - fewer < 100 * 300
