from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from lploss_builtin.scoring import ScoreRow, ScoreSummary, WorstEntry
from lploss_builtin.scoring.summary import ViewRow, short_names


def row(file, loss="temporal", **values):
    given = {
        "count": 1000,
        "valid": 999,
        "median": 4.5,
        "percentile_95": 12.0,
        "percentile_99": 19.04,
        "maximum": 189.4,
        "unit": "px",
        "epsilon": 20.0,
        "share_above_epsilon": 0.0088,
        "worst_frames": (WorstEntry("a/m.csv", 248, "paw1LH_top", 189.4),),
    }
    return ScoreRow(file=file, loss=loss, **{**given, **values})


def summary(*rows, **values):
    given = {"left_out": {}, "failed": {}, "notes": (), "out": Path("out")}
    return ScoreSummary(rows=rows, **{**given, **values})


def shown(found, width=80):
    console = Console(file=io.StringIO(), width=width)
    for part in found.renderables(width):
        console.print(part)
    return console.file.getvalue()


EMPTY = {
    "valid": 0,
    "median": math.nan,
    "percentile_95": math.nan,
    "percentile_99": math.nan,
    "maximum": math.nan,
    "share_above_epsilon": math.nan,
    "worst_frames": (),
}


def test_tables_say_it_all_in_80_columns():
    text = shown(
        summary(
            row("a/m.csv"),
            row("b/m.csv", valid=1000, share_above_epsilon=0.0005),
            row("c/n.csv", **EMPTY),
            row(None, share_above_epsilon=0.99999),
            row("a/m.csv", "pca", epsilon=(1.0, 2.0)),
            row(None, "pca"),
            left_out={"rmse": "needs keypoints_targ"},
            failed={"d.csv": "d.csv, line 3: broken", "e.csv": "broken too"},
            notes=("there is a gap",),
        )
    )
    assert max(map(len, text.splitlines())) <= 80
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "temporal epsilon 20 px" in lines
    assert "a_m 99.9 % 4.5 12 19 189 0.88 % 248 paw1LH_top" in lines
    assert "b_m 100 % 4.5 12 19 189 <0.1 % 248 paw1LH_top" in lines
    assert "n 0 % - - - - -" in lines
    assert "all files 99.9 % 4.5 12 19 189 >99.9 % 248 paw1LH_top" in lines
    assert "pca epsilon one a keypoint" in lines
    assert sum("all files" in line for line in lines) == 1, "one file needs no row for all"
    assert "left out: rmse: needs keypoints_targ" in lines
    assert "note: there is a gap" in lines
    assert "not scored: d.csv, line 3: broken" in lines
    assert "not scored: e.csv: broken too" in lines


def test_the_share_above_no_epsilon_says_nothing():
    text = shown(summary(row("a.csv", epsilon=0.0, share_above_epsilon=0.98), row(None)))
    assert "a 99.9 % 4.5 12 19 189 - 248 paw1LH_top" in " ".join(text.split())


def test_long_names_of_files_leave_room_for_the_rest():
    name = "a-very-long-name-of-a-file-of-predictions.csv"
    narrow, wide = (shown(summary(row(name), row(None)), width) for width in (80, 120))
    assert "248 paw1LH_top" in " ".join(narrow.split())
    assert "a-very-long-name-" in narrow
    assert name.removesuffix(".csv") not in narrow
    assert name.removesuffix(".csv") in wide
    assert max(map(len, narrow.splitlines())) <= 80


VIEWS = (
    ViewRow("left", 1000, 1.054, 3.04, {"right": 0.77}),
    ViewRow("right", 998, 123.4, math.nan, {"left": math.nan}),
)


def test_views_in_a_table_and_in_json():
    found = summary(row("a"), row(None), views=VIEWS)
    lines = [" ".join(line.split()) for line in shown(found).splitlines()]
    assert "views median px from where these views put a keypoint" in lines
    assert "view valid all all others with left with right" in lines
    assert "left 1000 1.05 3.04 - 0.77" in lines
    assert "right 998 123 - - -" in lines
    stored = json.loads(found.to_json())["views"]
    assert stored[0] == {
        "view": "left",
        "valid": 1000,
        "reprojection": 1.054,
        "left_one_out": 3.04,
        "in_pairs": {"right": 0.77},
    }
    assert stored[1]["left_one_out"] is None
    assert json.loads(summary(row("a")).to_json())["views"] == []


def test_json_has_null_for_what_is_no_number():
    found = summary(row("a", **EMPTY), row(None, epsilon=(1.0, 2.0)), pictures=("p.png",))
    content = json.loads(found.to_json())
    assert content["rows"][0]["median"] is None
    assert content["rows"][0]["worst_frames"] == []
    assert content["rows"][1]["file"] is None
    assert content["rows"][1]["epsilon"] == [1.0, 2.0]
    assert content["rows"][1]["worst_frames"][0] == {
        "file": "a/m.csv",
        "frame": 248,
        "keypoint": "paw1LH_top",
        "value": 189.4,
    }
    assert content["pictures"] == ["p.png"]
    assert content["out"] == "out"


def test_rows_by_name():
    found = summary(row("a"), row(None))
    assert found.row("temporal", "a").file == "a"
    assert found.row("temporal").file is None
    with pytest.raises(KeyError, match="no row of loss 'rmse' and file 'a'"):
        found.row("rmse", "a")


def test_short_names_are_different():
    assert short_names(["a/x.csv", "b/x.csv"]) == {"a/x.csv": "a_x", "b/x.csv": "b_x"}
    assert short_names(["x.csv", "x.h5"]) == {"x.csv": "x_0", "x.h5": "x_1"}
    assert short_names(["/r/a/x.csv", "a/x.csv"]) == {"/r/a/x.csv": "r_a_x", "a/x.csv": "a_x"}
