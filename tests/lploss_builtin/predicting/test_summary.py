from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from lploss_builtin.predicting import PredictedRecording, PredictionSummary


def test_of_very_many_lost_images_the_first_are_shown():
    lost = tuple(f"image {number}" for number in range(25))
    summary = PredictionSummary((), lost, (), Path("out"))
    lines = [part.plain for part in summary.renderables() if isinstance(part, Text)]
    assert lines == [
        *(f"not predicted: image {number}" for number in range(20)),
        "not predicted: 5 more, which --json names",
        "out: 0 files",
    ]
    assert json.loads(summary.to_json())["unreadable"] == list(lost)


def recording(name="walk", **more):
    settings = {
        "seconds": {"decoding": 1.0, "model": 6.0, "writing": 3.0},
        "num_kept_frames": 100,
    } | more
    return PredictedRecording(name, ("left", "top"), 150, 0.75, math.nan, ("a.csv",), **settings)


def lines_of(summary):
    text = io.StringIO()
    console = Console(width=100, file=text)
    for part in summary.renderables():
        console.print(part)
    return [" ".join(line.split()) for line in text.getvalue().splitlines()]


def test_where_the_time_went():
    """Of the frames that this call predicted."""
    own = recording()
    assert own.frames_per_second == pytest.approx(5.0)
    assert own.shares == pytest.approx({"decoding": 0.1, "model": 0.6, "writing": 0.3})
    kept = recording("run", num_kept_frames=150)
    assert math.isnan(kept.frames_per_second)
    assert kept.shares == {}
    lines = lines_of(PredictionSummary((own, kept), (), (), Path("out")))
    assert "│ walk │ left, top │ 150 │ 0.750 │ │" in lines
    assert "│ walk │ 50 │ 5.0 │ 10% │ 60% │ 30% │" in lines
    assert "│ run │ 0 │ │ │ │ │" in lines
    (first, second) = json.loads(PredictionSummary((own, kept), (), (), Path("out")).to_json())[
        "recordings"
    ]
    assert first["frames_per_second"] == 5.0
    assert first["shares_of_time"] == {"decoding": 0.1, "model": 0.6, "writing": 0.3}
    assert (second["frames_per_second"], second["shares_of_time"]) == (None, {})
    assert first["reprojection_error"] is None


def test_where_nothing_was_predicted_no_time_is_shown():
    kept = recording(num_kept_frames=150)
    lines = lines_of(PredictionSummary((kept,), (), ("a note",), Path("out"), ("b: broken",)))
    assert not any("frames/s" in line for line in lines)
    assert lines[-3:] == ["failed: b: broken", "a note", "out: 1 files"]
