"""Videos that cannot be read, or not as a whole."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from lploss.errors import DataError
from lploss_builtin.data.frames.sources import frame_source
from lploss_builtin.predicting import LabelledVideo, predict_files
from lploss_builtin.predicting.recording_state import STATE_FOLDER
from lploss_builtin.training.run import TrainingRun
from tests.lploss_builtin.data.keypoint_tables import read_keypoints
from tests.lploss_builtin.predicting.runs import FindsSpots, spots, write_run
from tests.lploss_builtin.predicting.spot_videos import (
    FindsSpotsAround,
    wandering,
    write_spot_video,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        TrainingRun,
        "model",
        lambda run, which: FindsSpots(max(1, len(run.config.data.view_names or ()))),
    )
    return tmp_path


def predict(*inputs, **options):
    return predict_files(
        "run", inputs, **{"device": "cpu", "out": "out", "batch_size": 4} | options
    )


def keypoints_of(path):
    table = read_keypoints(path)
    assert table.frames.tolist() == list(range(len(table.frames)))
    return table.keypoints.reshape(len(table.frames), 3, 2)


def break_frames(path, numbers):
    """Overwrite the packets of frames with zeros; return which frames can still be decoded."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [(own.pts, own.pos, own.size) for own in container.demux(stream) if own.size]
    for number, (_, place, size) in enumerate(sorted(packets)):
        if number in numbers:
            data[place : place + size] = bytes(size)
    path.write_bytes(data)


def test_of_several_videos_those_that_cannot_be_read_are_named(folder):
    write_run(folder / "run")
    write_spot_video(folder / "videos/a.mp4", wandering(5))
    (folder / "videos/b.mp4").write_bytes(b"nothing")
    (folder / "videos/c.mp4").write_bytes(b"")
    whole = write_spot_video(folder / "videos/d.mp4", wandering(5)).read_bytes()
    (folder / "videos/e.mp4").write_bytes(whole[: len(whole) // 2])
    summary = predict("videos")
    assert [own.name for own in summary.recordings] == ["a", "d"]
    assert [line.split("videos/")[1][0] for line in summary.failed] == ["b", "c", "e"]
    assert summary.failed[1].startswith("the video videos/c.mp4 is empty")
    visible = [path.name for path in (folder / "out").iterdir() if path.is_file()]
    assert sorted(visible) == ["a.csv", "d.csv"]


def test_a_single_video_that_cannot_be_read_is_an_error(folder):
    write_run(folder / "run")
    (folder / "b.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"^the video b\.mp4 is empty"):
        predict("b.mp4")


def broken(folder, name="broken.mp4", num_frames=30):
    """A video of which the second of three groups of ten frames cannot be decoded."""
    path = write_spot_video(folder / name, wandering(num_frames))
    break_frames(path, range(10, 20))
    return path


def test_a_video_that_breaks_in_its_middle(folder):
    write_run(folder / "run")
    broken(folder)
    with pytest.raises(DataError, match=r"^broken: the video broken\.mp4 is damaged: frame 10 of"):
        predict("broken.mp4")
    assert [path.name for path in (folder / "out").iterdir()] == [STATE_FOLDER]
    write_spot_video(folder / "well.mp4", wandering(4))
    summary = predict("broken.mp4", "well.mp4")
    assert [own.name for own in summary.recordings] == ["well"]
    assert [line.split(":")[0] for line in summary.failed] == ["broken"]


def test_keep_going(folder):
    """Rows of frames that are lost are empty, and numbers stay true; it goes on where it broke."""
    write_run(folder / "run")
    broken(folder)
    with pytest.raises(DataError):
        predict("broken.mp4")
    summary = predict("broken.mp4", keep_going=True)
    (recording,) = summary.recordings
    assert recording.num_kept_frames == 8
    assert summary.unreadable == ("broken.mp4: frames 10 to 19 cannot be decoded",)
    found = keypoints_of(folder / "out/broken.csv")
    is_lost = np.isnan(found).all(axis=(1, 2))
    assert is_lost.tolist() == [10 <= number < 20 for number in range(30)]
    np.testing.assert_allclose(found[~is_lost], wandering(30)[~is_lost], atol=0.05)
    # What is there is enough for whoever keeps going, and for nobody else.
    again = predict("broken.mp4", keep_going=True)
    assert again.recordings[0].num_kept_frames == 30
    assert again.unreadable == summary.unreadable
    with pytest.raises(DataError, match="is damaged"):
        predict("broken.mp4")


def test_keep_going_after_an_interrupt(folder):
    write_run(folder / "run")
    broken(folder)

    def stop(name, num_done, num_frames):
        if num_done == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict("broken.mp4", keep_going=True, progress=stop)
    summary = predict("broken.mp4", keep_going=True)
    assert summary.recordings[0].num_kept_frames == 16
    assert summary.unreadable == ("broken.mp4: frames 10 to 19 cannot be decoded",)
    predict("broken.mp4", keep_going=True, out="whole")
    assert (folder / "out/broken.csv").read_bytes() == (folder / "whole/broken.csv").read_bytes()


def test_the_other_views_are_predicted_alone(folder, monkeypatch):
    """No stand-in: the model sees no black image."""
    model = write_run(folder / "run", ("left", "top"))
    monkeypatch.setattr(TrainingRun, "model", lambda run, which: model)
    broken(folder, "mo_left.mp4")
    shown = wandering(30, seed=1)
    write_spot_video(folder / "mo_top.mp4", shown)
    predict("mo_left.mp4", "mo_top.mp4", keep_going=True)
    found = keypoints_of(folder / "out/mo_top.csv")
    pixels = torch.from_numpy(np.stack([spots(own) for own in shown[10:20]])).movedim(-1, 1)
    with torch.no_grad():
        expected = model.predict(pixels[:, None], views=[1])
    np.testing.assert_allclose(found[10:20], expected.keypoints, atol=2e-3)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("batch_size", [4, 7, 30])
def test_lost_frames_in_the_context_of_others(folder, monkeypatch, batch_size):
    """The nearest frame on the way to a lost one stands for it."""
    write_run(folder / "run")
    monkeypatch.setattr(TrainingRun, "model", lambda run, which: FindsSpotsAround())
    broken(folder)
    predict("broken.mp4", keep_going=True, batch_size=batch_size)
    found = keypoints_of(folder / "out/broken.csv")
    before = [0, 0, 0, *range(1, 28)]
    after = [*range(2, 30), 29, 29]
    before[20:22], after[8:10] = [20, 20], [9, 9]
    before[22] = 20
    numbers = np.stack([before, np.arange(30), after], axis=1)
    expected = wandering(30)[numbers, [0, 1, 2]]
    expected[10:20] = np.nan
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_views_of_different_length(folder):
    write_run(folder / "run", ("left", "top"))
    write_spot_video(folder / "mo_left.mp4", wandering(9))
    write_spot_video(folder / "mo_top.mp4", wandering(6))
    summary = predict("mo_left.mp4", "mo_top.mp4")
    (note,) = summary.notes
    assert note == (
        "mo: its views differ in their number of frames: left 9, top 6. The first 6 of each are "
        "used"
    )
    assert summary.unreadable == ()
    np.testing.assert_allclose(keypoints_of("out/mo_left.csv"), wandering(6), atol=0.05)
    summary = predict("mo_left.mp4", "mo_top.mp4", keep_going=True)
    assert summary.notes == (
        "mo: its views differ in their number of frames: left 9, top 6. The last frames are "
        "predicted from the views that have them",
    )
    assert summary.unreadable == (
        "mo_top.mp4: it ends before frames 6 to 8, which other views have",
    )
    np.testing.assert_allclose(keypoints_of("out/mo_left.csv"), wandering(9), atol=0.05)
    found = keypoints_of("out/mo_top.csv")
    np.testing.assert_allclose(found[:6], wandering(6), atol=0.05)
    assert np.isnan(found[6:]).all()
    options = {"keep_going": True, "video": LabelledVideo(0.0)}
    predict("mo_left.mp4", "mo_top.mp4", **options)
    lengths = [frame_source(Path(f"out/mo_{v}_labelled.mp4")).num_frames for v in ("left", "top")]
    assert lengths == [9, 6]


def test_a_view_that_cannot_be_read_is_left_out(folder):
    write_run(folder / "run", ("left", "top"))
    write_spot_video(folder / "mo_left.mp4", wandering(3))
    (folder / "mo_top.mp4").write_bytes(b"")
    summary = predict("mo_left.mp4", "mo_top.mp4")
    assert summary.recordings[0].views == ("left",)
    assert [line.split(" is empty")[0] for line in summary.failed] == ["the video mo_top.mp4"]


def test_drawing_what_is_left_of_a_video(folder):
    """Lost frames are black, and shift none."""
    write_run(folder / "run")
    broken(folder)
    predict("broken.mp4", keep_going=True, video=LabelledVideo(0.0))
    with av.open("out/broken_labelled.mp4") as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert [own.max() < 30 for own in frames] == [10 <= number < 20 for number in range(30)]
