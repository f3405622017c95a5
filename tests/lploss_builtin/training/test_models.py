"""Each kind of model, trained and used by its name in the config."""

from __future__ import annotations

import pytest
import torch

from lploss import load_config
from lploss.errors import MissingInputError
from lploss_builtin.training.run import train
from tests.lploss_builtin.training.small_trainings import write_training

CONVOLUTIONAL = {"backbone": "test_resnet", "backbone_params": None}


@pytest.mark.parametrize(
    ("model_type", "settings", "loss"),
    [
        ("heatmap", CONVOLUTIONAL, "heatmap_mse"),
        ("heatmap_mhcrnn", {}, "heatmap_mse"),
        ("regression", CONVOLUTIONAL, "regression"),
    ],
)
def test_it_is_trained_by_its_name(model_type, settings, loss, tmp_path):
    config = write_training(
        tmp_path,
        model={"model_type": model_type, **settings},
        losses={"rmse": {}},
        training={"max_epochs": 1, "imgaug": "dlc"},
    )
    run = train(load_config(config), tmp_path / "run", folder=tmp_path)
    report = (run.folder / "losses.txt").read_text()
    assert loss in report
    assert "rmse" in report
    model = run.model()
    frames = torch.zeros(6, 2, 3, 32, 48, dtype=torch.uint8)
    with torch.no_grad():
        found = model.predict(frames)
        sequence = model.predict_sequence(frames)
    assert found.keypoints.shape == (6, 4, 2)
    assert len(sequence.keypoints) == 6 - 2 * model.num_context_frames


def test_a_loss_that_the_model_cannot_give_what_it_needs_is_refused_before_training(tmp_path):
    config = write_training(tmp_path, model={"model_type": "regression"}, losses={"heatmap_kl": {}})
    with pytest.raises(MissingInputError) as caught:
        train(load_config(config), tmp_path / "run", folder=tmp_path)
    assert str(caught.value).startswith(
        "the model 'regression' cannot be trained with a loss that the config asks for: loss "
        "'heatmap_kl' needs the input 'heatmaps_targ', which the batch does not hold."
    )
    assert not (tmp_path / "run").exists()
