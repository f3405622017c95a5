"""Each kind of model, trained and used by its name in the config."""

from __future__ import annotations

import re

import pytest
import torch

from lploss import load_config
from lploss.errors import MissingInputError
from lploss_builtin.training.run import train
from tests.lploss_builtin.data.small_projects import calibration, picture, write_image, write_text
from tests.lploss_builtin.training.small_trainings import VIEWS, write_training

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


def test_two_heads_are_trained_with_a_video(tmp_path):
    path = write_training(
        tmp_path,
        model={"model_type": "heatmap_mhcrnn", "losses_to_use": ["temporal"]},
        losses={"temporal": {"epsilon": 0.0, "log_weight": 0.0}},
        training={"max_epochs": 1},
    )
    for view in VIEWS:
        for frame in range(12):
            write_image(tmp_path / "videos" / f"wed_{view}" / f"img{frame:03d}.png", picture(frame))
    write_text(tmp_path / "calibrations" / "wed.toml", calibration(VIEWS))
    config = load_config(path, ["data.video_dir=videos", "dali.context.train.batch_size=3"])
    run = train(config, tmp_path / "run", folder=tmp_path)
    # Of 3 frames there are 2 steps, of 4 keypoints, in each of 3 batches.
    row = re.search(r"temporal\b.*", (run.folder / "losses.txt").read_text())
    assert row is not None
    assert "24 of 24" in row.group()


def test_images_without_those_around_them_are_told(tmp_path, caplog):
    path = write_training(
        tmp_path, model={"model_type": "heatmap_mhcrnn"}, training={"max_epochs": 1}
    )
    train(load_config(path), tmp_path / "run", folder=tmp_path)
    # Of 8 frames a session and view, the first two and the last two.
    assert "16 of 32 images, such as " in caplog.text
    assert "lack some of the 2 frames before and after them" in caplog.text
