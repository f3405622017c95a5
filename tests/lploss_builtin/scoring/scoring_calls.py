"""Calling `score_files` with all options as keywords."""

from __future__ import annotations

from lploss.registry import default_registry
from lploss_builtin.scoring import ScoreOptions, score_files


def score_with(files, *, registry=default_registry, progress=None, **options):
    return score_files(files, ScoreOptions(**options), registry=registry, progress=progress)
