from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest
import torch

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.frames.batches import FrameWindow, read_windows
from lploss_builtin.data.frames.reader import FrameReader, UnreadableFrameError
from lploss_builtin.data.frames.video_recordings import find_video_recordings
from tests.lploss_builtin.data.test_damaged_videos import damage
from tests.lploss_builtin.data.videos import all_frames, number_in, write_video

VIEWS = ("left", "right")
SIZE = (48, 66)


@pytest.fixture
def recordings(tmp_path):
    for session, length in (("a", 40), ("b", 30)):
        for view in VIEWS:
            write_video(tmp_path / f"{session}_{view}.mp4", length, options={"g": "12"})
    return find_video_recordings([tmp_path], VIEWS).recordings


def lanes():
    return [thread for thread in threading.enumerate() if thread.name.startswith("frames")]


def test_windows_come_in_order_with_all_views(recordings):
    windows = [FrameWindow(1, 20, 26), FrameWindow(0, 3, 9), FrameWindow(0, 9, 12)]
    found = list(read_windows(recordings, windows, SIZE))
    assert [own.window for own in found] == windows
    for own in found:
        recording = recordings[own.window.recording]
        assert own.images.dtype == torch.uint8
        assert own.is_readable.all()
        assert own.error is None
        for view, source in enumerate(recording.sources):
            expected = all_frames(source.path)[own.window.start : own.window.stop]
            np.testing.assert_array_equal(own.images[:, view].permute(0, 2, 3, 1), expected)
    assert not lanes()


def test_beyond_the_ends_the_nearest_frame_is_repeated(recordings):
    windows = [FrameWindow(0, -2, 3), FrameWindow(0, 38, 42), FrameWindow(1, -1, 31)]
    numbers = [
        [number_in(picture.permute(1, 2, 0).numpy()) for picture in own.images[:, 0]]
        for own in read_windows(recordings, windows, SIZE)
    ]
    assert numbers == [[0, 0, 0, 1, 2], [38, 39, 39, 39], [0, *range(30), 29]]


def test_frames_are_resized(recordings):
    (own,) = read_windows(recordings, [FrameWindow(0, 0, 2)], (24, 30))
    assert own.images.shape == (2, 2, 3, 24, 30)


def test_no_more_is_read_ahead_than_is_asked_for(recordings, monkeypatch):
    read = []
    original = FrameReader.read_where_possible

    def noted(self, start, stop):
        read.append(start)
        return original(self, start, stop)

    monkeypatch.setattr(FrameReader, "read_where_possible", noted)
    windows = [FrameWindow(0, start, start + 2) for start in range(0, 40, 2)]
    found = read_windows(recordings, windows, SIZE, num_ahead=3)
    assert read == []
    next(found)
    time.sleep(0.3)
    assert max(read) <= 6
    found.close()
    assert not lanes()


def test_threads_end_when_nobody_goes_on(recordings):
    windows = [FrameWindow(0, start, start + 2) for start in range(0, 40, 2)]
    for _ in read_windows(recordings, windows, SIZE):
        break
    gc.collect()
    assert not lanes()


def test_what_cannot_be_read_is_raised_at_its_window(recordings, tmp_path):
    damage(tmp_path / "a_right.mp4", 14, bytes)
    broken = find_video_recordings([tmp_path], VIEWS).recordings
    windows = [FrameWindow(0, 0, 10), FrameWindow(0, 10, 20), FrameWindow(0, 24, 30)]
    found = read_windows(broken, windows, SIZE)
    assert next(found).is_readable.all()
    with pytest.raises(UnreadableFrameError, match=r"a_right\.mp4 is damaged: frame 1\d of 40"):
        next(found)
    assert not lanes()
    first, second, third = read_windows(broken, windows, SIZE, raise_errors=False)
    assert first.is_readable.all()
    assert third.is_readable.all()
    assert second.is_readable[:, 0].all()
    assert not second.is_readable[-1, 1]
    assert not second.images[-1, 1].any()
    assert isinstance(second.error, UnreadableFrameError)


def test_a_file_that_disappeared(recordings, tmp_path):
    (tmp_path / "b_left.mp4").unlink()
    windows = [FrameWindow(1, 0, 3)]
    with pytest.raises(DataError, match=r"b_left\.mp4 does not exist"):
        list(read_windows(recordings, windows, SIZE))
    (own,) = read_windows(recordings, windows, SIZE, raise_errors=False)
    assert own.is_readable.tolist() == 3 * [[False, True]]


def test_many_recordings_do_not_stay_open(recordings, monkeypatch):
    closed = []
    close = FrameReader.close
    monkeypatch.setattr(FrameReader, "close", lambda self: (closed.append(self), close(self)))
    many = [recordings[0]] * 7
    windows = [FrameWindow(number, 0, 1) for number in range(7)]
    found = read_windows(many, windows, SIZE, num_ahead=1)
    for _ in range(7):
        next(found)
    assert len({id(reader) for reader in closed}) == 2 * 3
    found.close()


def test_numbers_out_of_range(recordings):
    with pytest.raises(ArgumentValueError, match="num_ahead must be at least 1, got 0"):
        next(read_windows(recordings, [], SIZE, num_ahead=0))
    with pytest.raises(ArgumentValueError, match="a window must hold a frame"):
        next(read_windows(recordings, [FrameWindow(0, 3, 3)], SIZE))
