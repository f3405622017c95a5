"""Frames under the worst poses are those that `lploss predict` sees."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from lploss.errors import DataError
from lploss_builtin.data.frames.sources import frame_source
from lploss_builtin.scoring import ScoreOptions, runner, score_files
from lploss_builtin.scoring.pictures import draw
from tests.lploss_builtin.data.keypoint_tables import write_predictions
from tests.lploss_builtin.data.tiny_video import write_video
from tests.lploss_builtin.real_data import CASES, needs_cases


def without_first_frames(path, number):
    """Let the edit list of an MP4 of 25 frames a second leave out frames."""
    content = bytearray(path.read_bytes())
    place = content.index(b"elst") + 16  # behind version, flags, number of entries, duration
    begin = int.from_bytes(content[place : place + 4], "big")
    content[place : place + 4] = (begin + number * 512).to_bytes(4, "big")
    path.write_bytes(content)


@needs_cases
def test_videos_are_turned_as_players_show_them(tmp_path):
    video = CASES / "rot90.mp4"
    capture = cv2.VideoCapture(str(video))
    expected = [capture.read()[1][..., ::-1] for _ in range(30)]
    capture.release()
    images = draw._images("p30", np.arange(30), [3, 17], video)
    assert sorted(images) == [3, 17]
    for number, image in images.items():
        np.testing.assert_array_equal(image, expected[number])
    summary = score_files(
        [CASES / "p30.csv"], ScoreOptions(out=tmp_path / "out", losses=["temporal"], videos=[video])
    )
    assert "pictures/p30/temporal_worst_frames.png" in summary.pictures


def test_frames_that_an_edit_list_leaves_out_do_not_count(tmp_path):
    """Each frame of the video is of one grey, 10 times its number."""
    video = write_video(tmp_path / "a.mp4", num_frames=20)
    without_first_frames(video, 4)
    images = draw._images("walk", np.arange(16), [0, 11], video)
    assert {number: round(float(image.mean()), -1) for number, image in images.items()} == {
        0: 40,
        11: 150,
    }
    with pytest.raises(DataError, match=r"a\.mp4 has 16 frames, walk goes up to frame 16"):
        draw._images("walk", np.arange(17), [0], video)


@needs_cases
def test_a_video_that_is_one_frame_short():
    with pytest.raises(DataError, match=r"v29\.mp4 has 29 frames, p30 goes up to frame 29"):
        draw._images("p30", np.arange(30), [1], CASES / "v29.mp4")


def test_what_is_odd_about_a_video_is_noted(tmp_path, monkeypatch):
    path = write_predictions(tmp_path / "a.csv", np.zeros((5, 1, 2)), ["nose"])
    video = write_video(tmp_path / "a.mp4", num_frames=20)
    odd = replace(frame_source(video), notes=("a.mp4: its times jump behind frame 3",))
    monkeypatch.setattr(runner, "frame_source", {video: odd}.__getitem__)
    summary = score_files(
        [path],
        ScoreOptions(out=tmp_path / "out", losses=["temporal"], videos=[video], pictures=False),
    )
    assert summary.notes[0] == "a.mp4: its times jump behind frame 3"
