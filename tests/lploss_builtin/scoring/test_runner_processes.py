from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lploss.errors import DataError
from tests.lploss_builtin.clusters import new_cluster
from tests.lploss_builtin.data.keypoint_tables import write_predictions
from tests.lploss_builtin.scoring.scoring_calls import score_with

NAMES = ("nose", "neck", "tail")


def files_of(folder, num_files, num_frames=30):
    rng = np.random.default_rng(0)
    return [
        write_predictions(
            folder / f"{number}.csv", rng.normal(0, 3, (num_frames + number, 3, 2)) + 100, NAMES
        )
        for number in range(num_files)
    ]


def score(files, out, **options):
    return score_with(
        files, out=out, **{"pictures": False, "losses": ["temporal"], "max_frames": 16, **options}
    )


def check_same(alone, several):
    """Check that two scorings have left the same, but for their folders."""
    assert sorted(path.name for path in several.iterdir()) == sorted(
        path.name for path in alone.iterdir()
    )
    for name in ("scores.csv", "scores.parquet"):
        assert (several / name).read_bytes() == (alone / name).read_bytes()
    first, second = (
        json.loads((folder / "summary.json").read_text().replace(str(folder), "OUT"))
        for folder in (alone, several)
    )
    assert first == second


def check_each_once(out, files, num_frames=30):
    """Check that the table holds each frame of each file once, counted without lploss."""
    counts = pd.read_csv(out / "scores.csv").groupby(["file", "frame", "keypoint"]).size()
    assert set(counts) == {1}
    assert counts.groupby("file").size().to_dict() == {
        str(file): 3 * (num_frames + number) for number, file in enumerate(files)
    }


def test_several_processes_leave_what_one_leaves(tmp_path):
    files = files_of(tmp_path, 4)
    broken = tmp_path / "broken.csv"
    broken.write_text(files[0].read_text() + "no,number,at,all,1,2,3,4,5,6\n")
    told = []
    given = [files[0], broken, *files[1:]]
    score(given, tmp_path / "alone", keep_going=True)
    summary = score(
        given,
        tmp_path / "several",
        keep_going=True,
        processes=2,
        progress=lambda name, num_frames: told.append((name, num_frames)),
    )
    assert list(summary.failed) == [str(broken)]
    check_same(tmp_path / "alone", tmp_path / "several")
    check_each_once(tmp_path / "several", files)
    assert sorted(told) == sorted(
        [(str(broken), 0), *((str(file), 30 + number) for number, file in enumerate(files))]
    )


@pytest.mark.slow
def test_nothing_is_left_when_a_file_fails_in_another_process(tmp_path):
    files = files_of(tmp_path, 2)
    files[1].write_text(files[1].read_text() + "no,number,at,all,1,2,3,4,5,6\n")
    with pytest.raises(DataError):
        score(files, tmp_path / "out", processes=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_cluster_leaves_what_one_process_leaves_though_a_worker_is_killed(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    files = files_of(tmp_path, 24)
    score(files, tmp_path / "alone")
    with (
        new_cluster(2) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        processes = client.run(os.getpid)
        killed = []

        def kill_one(name, num_frames):
            if not killed:
                killed.append(next(iter(processes.values())))
                os.kill(killed[0], signal.SIGKILL)

        monkeypatch.chdir(tmp_path)  # the workers are elsewhere
        names = [file.name for file in files]
        score(names, "several", scheduler=cluster.scheduler_address, progress=kill_one)
        score(names, "again")
    assert killed
    check_same(Path("again"), Path("several"))
    check_each_once(tmp_path / "several", names)
    text = (tmp_path / "alone" / "scores.csv").read_text().replace(f"{tmp_path}/", "")
    assert (tmp_path / "several" / "scores.csv").read_text() == text
