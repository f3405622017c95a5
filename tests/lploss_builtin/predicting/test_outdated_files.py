"""Predictions of a recording beside those of other views of it."""

from __future__ import annotations

import json

import pytest

from lploss.errors import ArgumentValueError
from lploss_builtin.predicting import LabelledVideo, predict_files
from lploss_builtin.predicting.recording_state import STATE_FOLDER
from lploss_builtin.training.run import TrainingRun
from tests.lploss_builtin.data.small_projects import calibration, write_text
from tests.lploss_builtin.predicting.runs import FindsSpots, write_run
from tests.lploss_builtin.predicting.spot_videos import wandering, write_spot_video

VIEWS = ("left", "top")
CALIBRATION = calibration(VIEWS, (96, 64), [0.0] * 5)


@pytest.fixture
def predicted(tmp_path, monkeypatch):
    """Predictions of two calibrated views, drawn into the videos."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TrainingRun, "model", lambda run, which: FindsSpots(2))
    write_run(tmp_path / "run", VIEWS)
    for view in VIEWS:
        write_spot_video(tmp_path / f"videos/mo_{view}.mp4", wandering(3))
    write_text(tmp_path / "calibration.toml", CALIBRATION)
    predict(video=LabelledVideo(0.1))
    return tmp_path / "out"


def predict(*inputs, **options):
    return predict_files("run", inputs or ["videos"], out="out", device="cpu", **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_other_views_are_refused(predicted):
    before = contents(predicted)
    record = (predicted / STATE_FOLDER / "mo.json").read_bytes()
    with pytest.raises(ArgumentValueError) as caught:
        predict(views=["left"])
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
        predict()
    predict_files("run", ["videos"], out="other", device="cpu")
    assert (predicted.parent / "other/mo_left.csv").is_file()


def test_a_calibration_that_has_gone(predicted):
    (predicted.parent / "calibration.toml").unlink()
    with pytest.raises(ArgumentValueError) as caught:
        predict()
    assert str(caught.value).startswith(
        "mo was predicted before: mo_3d.csv would stay there and no longer fit\nName another"
    )
    (predicted / "mo_3d.csv").unlink()
    assert predict().recordings[0].files == ("mo_left.csv", "mo_top.csv")


def test_overwriting_removes_what_no_longer_fits(predicted):
    """The files of the record, and all drawn videos; nothing else."""
    (predicted / "mo_notes.csv").write_text("mine")
    (predicted / "mo_right_labelled.mp4").write_text("mine")
    predict(views=["left"], overwrite=True)
    mine = {"mo_notes.csv", "mo_right_labelled.mp4"}
    assert set(contents(predicted)) == {"mo_left.csv", *mine}
    names = {path.name for path in (predicted / STATE_FOLDER).glob("*.json")}
    assert names == {"mo.json"}
    record = json.loads((predicted / STATE_FOLDER / "mo.json").read_text())
    assert list(record) == ["inputs", "files", "note"]
    assert record["inputs"]["views"] == ["left"]
    # All views: every file is replaced, nothing is to be refused.
    predict(video=LabelledVideo(0.1))
    drawn = {"mo_left_labelled.mp4", "mo_top_labelled.mp4"}
    assert set(contents(predicted)) == {"mo_left.csv", "mo_top.csv", "mo_3d.csv", *drawn, *mine}
    predict(views=["top"], overwrite=True, video=LabelledVideo(0.1))
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
