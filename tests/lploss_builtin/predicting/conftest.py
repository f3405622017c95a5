from __future__ import annotations

import pytest

from lploss_builtin.training.run import TrainingRun
from tests.lploss_builtin.predicting.runs import FindsSpots


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def finds_spots(monkeypatch):
    """Replace the model of every run by one whose predictions are known."""
    models = []

    def model(run, which):
        models.append(FindsSpots(max(1, len(run.config.data.view_names or ()))))
        return models[-1]

    monkeypatch.setattr(TrainingRun, "model", model)
    return models
