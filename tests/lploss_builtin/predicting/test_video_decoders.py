"""Which decoder the frames of a prediction come from."""

from __future__ import annotations

import json

import pytest
import torch

from lploss.errors import ArgumentValueError, MissingDependencyError
from lploss_builtin.data.frames import batches, video_nvidia
from lploss_builtin.data.frames.reader import FrameReader
from lploss_builtin.data.frames.video_nvidia import decoder_of
from lploss_builtin.predicting import predict_files
from lploss_builtin.predicting.recording_state import STATE_FOLDER
from lploss_builtin.training.run import TrainingRun
from tests.lploss_builtin.predicting.runs import FindsSpots, write_run
from tests.lploss_builtin.predicting.spot_videos import wandering, write_spot_video


@pytest.fixture
def at_hand(monkeypatch):
    """Let NVIDIA's decoder be there, or not."""

    def set_to(is_there):
        monkeypatch.setattr(video_nvidia, "nvidia_is_at_hand", lambda: is_there)

    return set_to


def test_which_one(at_hand):
    cpu, gpu = torch.device("cpu"), torch.device("cuda:1")
    at_hand(True)
    found = [decoder_of(name, own) for own in (cpu, gpu) for name in ("auto", "cpu", "cuda")]
    assert found == ["cpu", "cpu", "cuda", "cuda", "cpu", "cuda"]
    at_hand(False)
    assert [decoder_of(name, gpu) for name in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(MissingDependencyError) as missing:
        decoder_of("cuda", gpu)
    assert str(missing.value) == (
        "NVIDIA's decoder needs a CUDA device and torchcodec: pip install torchcodec, or decode on "
        "the CPU (--decoder cpu; in a config, dali.general.decoder: cpu)"
    )
    with pytest.raises(ArgumentValueError) as caught:
        decoder_of("gpu", cpu)
    assert str(caught.value) == "decoder must be one of cpu, cuda, auto, got 'gpu'"


def test_it_reaches_the_reader(tmp_path, monkeypatch, at_hand):
    """It is a part of what the predictions were made from: pixels may differ."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TrainingRun, "model", lambda run, which: FindsSpots())
    decoders = []

    def reader(source, image_size, *, num_threads, decoder):
        decoders.append(decoder)
        return FrameReader(source, image_size, num_threads=num_threads)

    monkeypatch.setattr(batches, "FrameReader", reader)
    write_run(tmp_path / "run")
    write_spot_video(tmp_path / "walk.mp4", wandering(2))

    def predict(**options):
        summary = predict_files("run", ["walk.mp4"], out="out", device="cpu", **options)
        record = json.loads((tmp_path / "out" / STATE_FOLDER / "walk.json").read_text())
        (recording,) = summary.recordings
        assert json.loads(summary.to_json())["recordings"][0]["decoder"] == recording.decoder
        assert record["inputs"]["decoder"] == recording.decoder
        return recording.decoder, recording.num_kept_frames

    at_hand(True)
    assert predict() == ("cpu", 0)  # as the model
    assert predict(decoder="cpu") == ("cpu", 2)
    assert predict(decoder="cuda") == ("cuda", 0)
    assert predict(decoder="cuda") == ("cuda", 2)
    assert decoders == ["cpu", "cuda"]
    at_hand(False)
    with pytest.raises(MissingDependencyError, match=r"^NVIDIA's decoder needs "):
        predict_files("run", ["walk.mp4"], out="other", device="cpu", decoder="cuda")
    assert not (tmp_path / "other").exists()
    with pytest.raises(ArgumentValueError, match=r"^decoder must be one of"):
        predict_files("run", ["walk.mp4"], decoder="nvdec")
