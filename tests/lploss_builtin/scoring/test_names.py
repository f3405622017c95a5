"""Names of files and keypoints are shown as they are, whatever they hold."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from lploss_builtin.commands import score as command
from lploss_builtin.scoring import ScoreOptions, score_files
from lploss_builtin.scoring.pictures import style
from tests.lploss_builtin.data.keypoint_tables import write_predictions

NASTY = ("[/red]", "$x^{2$", "\x1b]0;owned\x07")


@pytest.fixture
def tracks():
    return np.random.default_rng(0).normal(0, 3, (12, 3, 2)).cumsum(axis=0) + 200


@pytest.mark.parametrize("worst", range(3))
def test_a_scoring_ends_well(tmp_path, tracks, capsys, monkeypatch, worst):
    monkeypatch.setenv("COLUMNS", "200")
    tracks[7, worst] += 90
    path = write_predictions(tmp_path / "mouse[left]$_{.csv", tracks, NASTY)
    summary = score_files([path], ScoreOptions(out=tmp_path / "out", losses=["temporal"]))
    command.show(summary)
    printed = capsys.readouterr().out
    assert "mouse[left]$_{" in printed
    assert ("[/red]", "$x^{2$", "\\u001b]0;owned\\u0007")[worst] in printed
    assert not re.search("[\x1b\x07]", printed)
    assert "\x1b" not in (tmp_path / "out" / "summary.json").read_text()
    (row, _) = json.loads((tmp_path / "out" / "summary.json").read_text())["rows"]
    assert row["worst_frames"][0]["keypoint"] == NASTY[worst]
    # In files for other programs names are as they were, to find the keypoints again.
    assert NASTY[worst] in (tmp_path / "out" / "scores.csv").read_text()
    assert len(summary.pictures) == 3


def test_texts_of_pictures_are_no_formulas(tmp_path):
    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 1e6], label="$x^{2$")
    axes.set(title="$\\frac$", xlabel="$_", ylabel="\x1b[31m", yscale="log")
    axes.text(0.5, 0.5, "$}$")
    axes.legend(title="$^$")
    figure.suptitle("${")
    style.save(figure, tmp_path / "figure.png")
    assert axes.get_title() == "$\\frac$"
    assert axes.get_ylabel() == "\\u001b[31m"
    ticks = [label.get_text() for label in axes.get_yticklabels()]
    assert any("mathdefault" in tick for tick in ticks), "powers of ten stay formulas"
    assert all(label.get_parse_math() for label in axes.get_yticklabels())


def test_cells_that_a_spreadsheet_would_compute_are_as_they_were(tmp_path, tracks):
    names = ("=1+2", "@nose", "-tail")
    path = write_predictions(tmp_path / "walk.csv", tracks, names)
    score_files([path], ScoreOptions(out=tmp_path / "out", losses=["temporal"], pictures=False))
    lines = (tmp_path / "out" / "metric_files" / "walk_temporal_norm.csv").read_text().splitlines()
    assert lines[0] == ",=1+2,@nose,-tail"
