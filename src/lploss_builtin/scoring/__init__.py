"""Scoring files of predictions: what ``lploss score`` does, for use from Python."""

from lploss_builtin.scoring.runner import ScoreOptions, score_files
from lploss_builtin.scoring.summary import (
    ScoreRow,
    ScoreSummary,
    ViewRow,
    WorstEntry,
)

__all__ = ["ScoreOptions", "ScoreRow", "ScoreSummary", "ViewRow", "WorstEntry", "score_files"]
