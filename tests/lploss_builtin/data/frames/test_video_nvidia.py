from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import av
import numpy as np
import pytest
import torch

from lploss.errors import ArgumentValueError, MissingDependencyError
from lploss_builtin.data.frames import video_nvidia
from lploss_builtin.data.frames.reader import FrameReader
from lploss_builtin.data.frames.sources import frame_source
from lploss_builtin.data.frames.video_index import video_index
from lploss_builtin.data.frames.video_nvidia import NvidiaDecoder, NvidiaMismatchError
from tests.lploss_builtin.data.videos import all_frames, number_in, write_video


class CountingDecoder:
    """Stands in for torchcodec's decoder: the same calls, decoding from the start."""

    late = 0.0
    num_hidden = 0

    def __init__(self, source, *, device, dimension_order, seek_mode):
        assert (dimension_order, seek_mode) == ("NCHW", "exact")
        self.path = source
        self.images = torch.from_numpy(all_frames(source)).permute(0, 3, 1, 2)
        with av.open(source) as container:
            self.times = torch.tensor([frame.time for frame in container.decode(video=0)])

    def __len__(self):
        return len(self.images) - self.num_hidden

    def get_frame_at(self, index):
        return SimpleNamespace(data=self.images[index], pts_seconds=float(self.times[index]))

    def get_frames_in_range(self, start, stop):
        times = self.times[start:stop] + self.late
        return SimpleNamespace(data=self.images[start:stop], pts_seconds=times)


@pytest.fixture
def torchcodec(monkeypatch):
    class Decoder(CountingDecoder):
        pass

    module = ModuleType("torchcodec.decoders")
    module.VideoDecoder = Decoder
    monkeypatch.setitem(sys.modules, "torchcodec", ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", module)
    monkeypatch.setattr(video_nvidia, "nvidia_is_at_hand", lambda: True)
    return Decoder


def test_frames_of_the_right_numbers_cropped_and_resized(tmp_path, torchcodec):
    path = write_video(tmp_path / "a.mp4", 20)
    decoder = NvidiaDecoder(video_index(path))
    expected = all_frames(path)
    np.testing.assert_array_equal(decoder.read(5, 9, (48, 66)), expected[5:9])
    cropped = decoder.read(5, 6, (20, 30), (4.2, 6.0, 20.0, 30.0))
    np.testing.assert_array_equal(cropped, expected[5:6, 6:26, 4:34])
    assert decoder.read(0, 3, (24, 33)).shape == (3, 24, 33, 3)


def test_other_times_or_numbers_are_noticed(tmp_path, torchcodec):
    index = video_index(write_video(tmp_path / "a.mp4", 20))
    decoder = NvidiaDecoder(index)
    torchcodec.late = 0.04
    with pytest.raises(NvidiaMismatchError):
        decoder.read(5, 9, (48, 66))
    torchcodec.num_hidden = 1
    with pytest.raises(NvidiaMismatchError):
        NvidiaDecoder(index)


@pytest.mark.parametrize("late", [0.0, 0.04])
def test_a_reader_falls_back_on_the_cpu(tmp_path, torchcodec, late):
    torchcodec.late = late
    path = write_video(tmp_path / "a.mp4", 20)
    for decoder in ("auto", "cuda"):
        with FrameReader(frame_source(path), decoder=decoder) as reader:
            assert [number_in(frame) for frame in reader.read(7, 10)] == [7, 8, 9]
            assert (reader._gpu is None) == bool(late)


def test_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(video_nvidia, "nvidia_is_at_hand", lambda: False)
    source = frame_source(write_video(tmp_path / "a.mp4", 5))
    with pytest.raises(MissingDependencyError, match="needs a CUDA device and torchcodec"):
        FrameReader(source, decoder="cuda")
    with pytest.raises(
        ArgumentValueError, match="decoder must be one of cpu, cuda, auto, got 'tpu"
    ):
        FrameReader(source, decoder="tpu")
    with FrameReader(source, decoder="auto") as reader:
        assert len(reader.read(0, 5)) == 5


@pytest.mark.gpu
@pytest.mark.skipif(find_spec("torchcodec") is None, reason="needs torchcodec")
def test_a_gpu_gives_the_frames_of_a_cpu(tmp_path):
    path = write_video(
        tmp_path / "a.mp4", 60, options={"g": "12", "bf": "3"}, height=256, width=320
    )
    source = frame_source(path)
    with FrameReader(source, decoder="cuda") as gpu, FrameReader(source) as cpu:
        for start in (37, 0, 12, 50):
            found = gpu.read(start, start + 10)
            assert gpu._gpu is not None
            assert np.abs(found - cpu.read(start, start + 10).astype(float)).mean() < 4
            assert number_in(found[0]) == start
