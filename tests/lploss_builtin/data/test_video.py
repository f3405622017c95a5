from __future__ import annotations

import sys

import av
import numpy as np
import pytest

from lploss.errors import DataError, MissingDependencyError
from lploss_builtin.data.video import count_frames, read_frames
from tests.lploss_builtin.data.tiny_video import write_video


@pytest.fixture
def video(tmp_path):
    """Twenty frames of one grey each, 10 times the number of the frame."""
    return write_video(tmp_path / "a.mp4", num_frames=20)


def test_frames_by_number(video):
    assert count_frames(video) == 20
    frames = read_frames(video, [3, 17, 0])
    assert sorted(frames) == [0, 3, 17]
    for number, frame in frames.items():
        assert frame.shape == (48, 64, 3)
        assert frame.dtype == np.uint8
        assert abs(float(frame.mean()) - 10 * number) < 3


def test_no_frames(video):
    assert read_frames(video, []) == {}


def test_video_that_ends_before(video):
    with pytest.raises(DataError, match=r"a\.mp4 has 20 frames; frame 20 was asked for"):
        read_frames(video, [1, 20])


def test_video_that_is_missing_or_none(tmp_path):
    with pytest.raises(DataError, match=r"the video .*a\.mp4 does not exist"):
        count_frames(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_text("no video")
    with pytest.raises(DataError, match=r"b\.mp4 cannot be read as a video"):
        read_frames(tmp_path / "b.mp4", [0])


def test_file_without_a_picture(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), "s16", "mono")
        frame.sample_rate = 8000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    with pytest.raises(DataError, match=r"sound\.wav holds no video"):
        count_frames(path)


def test_av_is_missing(video, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        MissingDependencyError, match=r'av is needed to read video: pip install "lp'
    ):
        count_frames(video)
