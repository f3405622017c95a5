from __future__ import annotations

import json
from pathlib import Path

from rich.text import Text

from lploss_builtin.commands.predicting import PredictionSummary


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
