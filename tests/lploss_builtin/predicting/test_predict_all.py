from __future__ import annotations

import os
import signal

import pandas as pd
import pytest
import torch

from lploss_builtin.predicting import predict_files
from tests.lploss_builtin.clusters import new_cluster
from tests.lploss_builtin.predicting.runs import write_run
from tests.lploss_builtin.predicting.spot_videos import wandering, write_spot_video

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
