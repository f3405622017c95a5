from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.predicting import LabelledVideo, predict_files, predict_recording, runner
from lploss_builtin.predicting.recording_state import STATE_FOLDER, RecordingState
from lploss_builtin.training.run import TrainingRun
from tests.lploss_builtin.data.small_projects import calibration, write_text
from tests.lploss_builtin.predicting.runs import FindsSpots, write_run, write_spots
from tests.lploss_builtin.predicting.spot_videos import wandering, write_spot_video

VIEWS = ("left", "top")
CALIBRATION = calibration(VIEWS, (96, 64), [0.0] * 5)
SESSIONS = ("fr", "mo", "tu")
KILLED = """
import os, signal, sys
from lploss_builtin.predicting import predict_files

def progress(recording, num_done, num_frames):
    if recording == "mo" and num_done >= 11 + 6:
        os.kill(os.getpid(), signal.SIGKILL)

predict_files("run", [sys.argv[2]], out=sys.argv[1], device="cpu", batch_size=3, progress=progress)
"""


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def predict(*inputs, **options):
    return predict_files("run", inputs, **{"device": "cpu", "batch_size": 3, **options})


@pytest.mark.parametrize("inputs", ["videos", "labeled-data"])
def test_a_killed_prediction_goes_on(tmp_path, monkeypatch, inputs):
    """In the second of three recordings: the files are those of an uninterrupted one."""
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", ("left", "top"))
    for number, session in enumerate(SESSIONS):
        for view in ("left", "top"):
            path = tmp_path / inputs / f"{session}_{view}"
            if inputs == "videos":
                write_spot_video(path.with_suffix(".mp4"), wandering(11, number))
            else:
                write_spots(path, wandering(11, number))
    write_text(tmp_path / "calibration.toml", CALIBRATION)
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "out", inputs],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    out = tmp_path / "out"
    # Only what is finished can be seen.
    assert set(contents(out)) == {"fr_3d.csv", "fr_left.csv", "fr_top.csv"}
    names = [str(number) for number in range(11)]
    if inputs != "videos":
        names = [f"{inputs}/mo_top/img{number}.png" for number in range(11)]
    begun = out / STATE_FOLDER / "mo.unfinished"
    with (begun / "mo_top.csv").open("a") as file:
        file.write(f"{names[6]},1.5,2")  # the row at which it was killed
    finished = (out / "fr_top.csv").stat().st_mtime_ns
    summary = predict(inputs, out="out")
    assert [own.num_kept_frames for own in summary.recordings] == [11, 6, 0]
    assert (out / "fr_top.csv").stat().st_mtime_ns == finished
    assert not begun.exists()
    expected = predict(inputs, out="whole")
    whole = contents(tmp_path / "whole")
    assert len(whole) == 9
    assert contents(out) == whole
    rows = (out / "mo_top.csv").read_text().splitlines()[3:]
    assert [row.split(",")[0] for row in rows] == names
    for own, other in zip(summary.recordings, expected.recordings, strict=True):
        assert own.likelihood == pytest.approx(other.likelihood, rel=1e-7)
        assert own.reprojection_error == pytest.approx(other.reprojection_error, rel=1e-7)


def test_images_that_changed_are_predicted_again(tmp_path, monkeypatch):
    """Those that cannot be read are named in each call; names with commas are no obstacle."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TrainingRun, "model", lambda run, which: FindsSpots())
    write_run(tmp_path / "run")
    write_spots(tmp_path / "a, b", wandering(6))
    (tmp_path / "a, b/img4.png").write_text("nothing")

    def stop(name, num_done, num_frames):
        if num_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict("a, b", out="out", keep_going=True, progress=stop)
    for num_frames in (3, 6):
        summary = predict("a, b", out="out", keep_going=True)
        assert summary.recordings[0].num_kept_frames == num_frames
        assert summary.unreadable == (
            f"the image {tmp_path}/a, b/img4.png cannot be read: it holds no image",
        )
    assert (tmp_path / "out/a, b.csv").read_text().splitlines()[3].startswith('"a, b/img0.png",')
    write_spots(tmp_path / "a, b", wandering(6))
    summary = predict("a, b", out="out")
    assert (summary.recordings[0].num_kept_frames, summary.unreadable) == (0, ())
    found = np.loadtxt("out/a, b.csv", delimiter=",", skiprows=3, quotechar='"', usecols=(1, 2))
    np.testing.assert_allclose(found, wandering(6)[:, 0], atol=0.05)


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A prediction that was stopped behind 4 of 10 frames."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TrainingRun, "model", lambda run, which: FindsSpots())
    write_run(tmp_path / "run")
    write_spot_video(tmp_path / "walk.mp4", wandering(10))

    def stop(name, num_done, num_frames):
        if num_done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict("walk.mp4", out="out", batch_size=2, progress=stop)
    return tmp_path / "out" / STATE_FOLDER / "walk.unfinished"


def num_kept(**options):
    (recording,) = predict("walk.mp4", **{"out": "out", "batch_size": 2, **options}).recordings
    return recording.num_kept_frames


def test_an_interrupt(begun):
    assert begun.is_dir()
    assert num_kept() == 4
    found = np.loadtxt("out/walk.csv", delimiter=",", skiprows=3)
    np.testing.assert_allclose(found[:, 0], np.arange(10))
    np.testing.assert_allclose(found[:, 1:3], wandering(10)[:, 0], atol=0.05)


def test_another_batch_size_begins_anew(begun):
    assert num_kept(batch_size=4) == 0


def test_overwriting_begins_anew(begun):
    assert num_kept(overwrite=True) == 0


def test_another_video_begins_anew(begun):
    write_spot_video(begun.parents[2] / "walk.mp4", wandering(10, seed=1))
    assert num_kept() == 0
    found = np.loadtxt("out/walk.csv", delimiter=",", skiprows=3)
    np.testing.assert_allclose(found[:, 1:3], wandering(10, seed=1)[:, 0], atol=0.05)


def test_only_rows_that_are_whole_are_kept(begun):
    path = begun / "walk.csv"
    text = path.read_text()
    path.write_text(text[: text.index("\n3,") + 4])
    assert num_kept() == 2
    np.testing.assert_allclose(
        np.loadtxt("out/walk.csv", delimiter=",", skiprows=3)[:, 0], range(10)
    )


def test_a_row_of_another_frame(begun):
    path = begun / "walk.csv"
    path.write_text(path.read_text().replace("\n1,", "\n7,"))
    assert num_kept() == 0


def test_files_of_which_some_were_moved(begun, monkeypatch):
    """Killed between the renames: the others are moved, and nothing is predicted again."""
    replace, calls = type(begun).replace, []

    def fail(path, target):
        if path.parent.name == begun.name and path.suffix == ".csv":
            calls.append(path)
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(type(begun), "replace", fail)
        with pytest.raises(KeyboardInterrupt):
            num_kept()
    assert len(calls) == 1
    assert num_kept() == 10
    assert not begun.exists()


def test_of_two_processes_one_waits(begun, caplog):
    """The one that waited finds the files, and does nothing more."""
    out = begun.parents[1]
    ready = threading.Event()

    def hold():
        with RecordingState(out, "walk").alone():
            ready.set()
            for _ in range(300):
                if caplog.records:
                    return
                time.sleep(0.1)

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait(30)
    assert num_kept() == 4
    thread.join()
    assert [record.message for record in caplog.records] == [
        "walk: another process predicts it: waiting"
    ]


def test_plans_can_be_sent_to_another_process(begun, monkeypatch):
    plans = []

    def record(plan, **options):
        plans.append(plan)
        return predict_recording(plan, **options)

    monkeypatch.setattr(runner, "predict_recording", record)
    assert num_kept() == 4
    (plan,) = plans
    sent = pickle.loads(pickle.dumps(plan.absolute()))
    monkeypatch.chdir("/")
    found = pickle.loads(pickle.dumps(predict_recording(sent)))
    assert (found.num_kept_frames, found.files) == (10, ("walk.csv",))


def test_records_are_whole(begun):
    num_kept()
    record = json.loads((begun.parent / "walk.json").read_text())
    assert record["files"] == {"walk.csv": Path("out/walk.csv").stat().st_size}
    assert record["inputs"]["sources"][0]["num_frames"] == 10
    (begun.parent / "walk.json").write_text("{")
    with pytest.raises(DataError, match=r"walk\.json, .* Delete it to predict the recording again"):
        num_kept()
    (begun.parent / "walk.json").unlink()
    assert num_kept() == 0


def test_a_video_that_has_gone(begun, monkeypatch):
    from lploss_builtin.predicting import recording_plan

    (begun.parents[2] / "walk.mp4").rename(begun.parents[2] / "run.mp4")
    source = recording_plan.FrameSource(begun.parents[2] / "walk.mp4", 10, 64, 96, 25.0, None)
    recording = recording_plan.Recording("walk", ("",), (source,), ("walk.csv",), 10)
    plan = recording_plan.RecordingPlan(
        recording,
        begun.parents[2] / "run",
        "",
        begun.parents[1],
        2,
        recording_plan.PredictOptions(),
    )
    with pytest.raises(DataError, match=r"walk\.mp4 cannot be read: No such file or directory$"):
        predict_recording(plan)


@pytest.mark.slow
def test_processes_predict_the_same(tmp_path, monkeypatch):
    """Byte for byte; a video that fails is named, and stops no other."""
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", model_type="heatmap")
    for number, name in enumerate(("a", "b", "d")):
        write_spot_video(tmp_path / f"videos/{name}.mp4", wandering(5, number))
    broken = write_spot_video(tmp_path / "videos/c.mp4", wandering(60))
    data = bytearray(broken.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    broken.write_bytes(data)
    write_spots(tmp_path / "clip", wandering(5))
    calls = []
    # As many threads as a process has.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    summary = predict(
        "videos", "clip", out="out", processes=2, progress=lambda *call: calls.append(call)
    )
    assert [own.name for own in summary.recordings] == ["clip", "a", "b", "d"]
    assert [line.partition(":")[0] for line in summary.failed] == ["c"]
    assert sorted(name for name, _, _ in calls) == ["a", "b", "c", "clip", "d"]
    assert calls[-1][1:] == (80, 80)
    predict("videos", "clip", out="whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.fixture
def predicted(tmp_path, monkeypatch):
    """Predictions of two calibrated views, drawn into the videos."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TrainingRun, "model", lambda run, which: FindsSpots(2))
    write_run(tmp_path / "run", VIEWS)
    for view in VIEWS:
        write_spot_video(tmp_path / f"videos/mo_{view}.mp4", wandering(3))
    write_text(tmp_path / "calibration.toml", CALIBRATION)
    predict_to_out(video=LabelledVideo(0.1))
    return tmp_path / "out"


def predict_to_out(*inputs, **options):
    return predict_files("run", inputs or ["videos"], out="out", device="cpu", **options)


def test_other_views_are_refused(predicted):
    before = contents(predicted)
    record = (predicted / STATE_FOLDER / "mo.json").read_bytes()
    with pytest.raises(ArgumentValueError) as caught:
        predict_to_out(views=["left"])
    assert str(caught.value) == (
        "mo was predicted before from left, top, and is now to be from left: mo_top.csv, mo_3d.csv "
        "would stay there and no longer fit\n"
        "Name another folder by --out, or remove what is outdated by --overwrite."
    )
    assert contents(predicted) == before
    assert (predicted / STATE_FOLDER / "mo.json").read_bytes() == record
    # A camera that was there is gone.
    (predicted.parent / "videos/mo_top.mp4").unlink()
    with pytest.raises(ArgumentValueError, match=r"^mo was predicted before from left, top, and"):
        predict_to_out()
    predict_files("run", ["videos"], out="other", device="cpu")
    assert (predicted.parent / "other/mo_left.csv").is_file()


def test_a_calibration_that_has_gone(predicted):
    (predicted.parent / "calibration.toml").unlink()
    with pytest.raises(ArgumentValueError) as caught:
        predict_to_out()
    assert str(caught.value).startswith(
        "mo was predicted before: mo_3d.csv would stay there and no longer fit\nName another"
    )
    (predicted / "mo_3d.csv").unlink()
    assert predict_to_out().recordings[0].files == ("mo_left.csv", "mo_top.csv")


def test_overwriting_removes_what_no_longer_fits(predicted):
    """The files of the record, and all drawn videos; nothing else."""
    (predicted / "mo_notes.csv").write_text("mine")
    (predicted / "mo_right_labelled.mp4").write_text("mine")
    predict_to_out(views=["left"], overwrite=True)
    mine = {"mo_notes.csv", "mo_right_labelled.mp4"}
    assert set(contents(predicted)) == {"mo_left.csv", *mine}
    names = {path.name for path in (predicted / STATE_FOLDER).glob("*.json")}
    assert names == {"mo.json"}
    record = json.loads((predicted / STATE_FOLDER / "mo.json").read_text())
    assert list(record) == ["inputs", "files", "note"]
    assert record["inputs"]["views"] == ["left"]
    # All views: every file is replaced, nothing is to be refused.
    predict_to_out(video=LabelledVideo(0.1))
    drawn = {"mo_left_labelled.mp4", "mo_top_labelled.mp4"}
    assert set(contents(predicted)) == {"mo_left.csv", "mo_top.csv", "mo_3d.csv", *drawn, *mine}
    predict_to_out(views=["top"], overwrite=True, video=LabelledVideo(0.1))
    assert set(contents(predicted)) == {"mo_top.csv", "mo_top_labelled.mp4", *mine}


def test_what_was_not_finished_may_be_of_other_views(tmp_path, predicted):
    def stop(name, num_done, num_frames):
        if num_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files("run", ["videos"], out="new", device="cpu", batch_size=2, progress=stop)
    summary = predict_files("run", ["videos"], out="new", device="cpu", views=["left"])
    assert summary.recordings[0].num_kept_frames == 0
    assert set(contents(tmp_path / "new")) == {"mo_left.csv"}
