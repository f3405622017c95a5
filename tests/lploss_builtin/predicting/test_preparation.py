"""Recordings that lack a view, or cameras."""

from __future__ import annotations

import pytest

from lploss_builtin.predicting import predict_files
from lploss_builtin.training.run import TrainingRun
from tests.lploss_builtin.data.small_projects import calibration, write_text
from tests.lploss_builtin.predicting.runs import FindsSpots, write_run
from tests.lploss_builtin.predicting.spot_videos import wandering, write_spot_video

VIEWS = ("left", "right", "top")
CALIBRATION = calibration(VIEWS, (96, 64), [0.0] * 5)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TrainingRun, "model", lambda run, which: FindsSpots(3))
    write_run(tmp_path / "run", VIEWS)
    for session in ("fr", "mo", "tu"):
        for view in VIEWS:
            write_spot_video(tmp_path / f"videos/{session}_{view}.mp4", wandering(2))
    return tmp_path


def predict(**options):
    return predict_files("run", ["videos"], out="out", device="cpu", overwrite=True, **options)


def test_views_that_are_absent_or_broken(folder):
    assert predict().notes == ()
    (folder / "videos/fr_top.mp4").unlink()
    assert predict().notes == ("fr: predicted without top, of which there is no video",)
    (folder / "videos/mo_top.mp4").unlink()
    (folder / "videos/mo_left.mp4").write_bytes(b"")
    (folder / "videos/tu_left.mp4").write_bytes(b"")
    summary = predict()
    assert summary.notes == (
        "fr, mo: predicted without top, of which there is no video",
        "mo, tu: predicted without left, whose video cannot be read",
    )
    assert [own.views for own in summary.recordings] == [
        ("left", "right"), ("right",), ("right", "top"),
    ]  # fmt: skip
    # Those who choose know.
    assert predict(views=["right"]).notes == ()


def test_recordings_without_a_calibration(folder):
    write_text(folder / "calibrations/mo.toml", CALIBRATION)
    assert predict().notes == (
        "fr, tu: no points in space: there is no calibration, as there is of mo",
    )
    # One that cannot be used is named already; one view alone needs none.
    write_text(folder / "calibrations/tu.toml", CALIBRATION.replace('"top"', '"tip"'))
    (folder / "videos/fr_top.mp4").unlink()
    (folder / "videos/fr_left.mp4").unlink()
    broken, absent = predict().notes
    assert broken.startswith("tu: no points in space: ")
    assert absent == "fr: predicted without left, top, of which there is no video"
