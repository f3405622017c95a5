from __future__ import annotations

import pytest
import torch

from lploss import load_config
from lploss.errors import ConfigError
from lploss_builtin.data.project.labelled_project import read_project
from lploss_builtin.training.data_module import LabelledDataModule
from lploss_builtin.training.defaults import with_defaults
from lploss_builtin.training.losses import training_losses
from tests.lploss_builtin.data.small_projects import write_project

REPROJECTION = "supervised_reprojection_heatmap_mse"


def losses_of(data_module=None, *, model=None, losses=None, data=None, **training):
    sections = {
        "data": data or {},
        "model": {"model_type": "heatmap_multiview_transformer", **(model or {})},
        "losses": losses or {},
        "training": {"imgaug": "none", **training},
    }
    return training_losses(with_defaults(load_config(sections)), data_module)


def names_of(factories):
    return {kind: list(factory.losses) for kind, factory in factories.items()}


def test_the_losses_that_are_asked_for():
    factories = losses_of(
        model={"heatmap_loss_type": "kl", "losses_to_use": ["multiview_reprojection"]},
        losses={REPROJECTION: {"log_weight": 1.0}, "temporal": {"epsilon": 1.0}},
    )
    assert names_of(factories) == {
        "supervised": ["heatmap_kl", REPROJECTION],
        "unsupervised": ["multiview_reprojection"],
    }
    # Validation is shared between processes as well.
    assert all(factory.sync is True for factory in factories.values())


def test_unsupervised_losses_are_fitted_to_the_labels_of_the_training(tmp_path):
    """All keypoints move by (1, 1) from frame to frame, so one component holds all poses."""
    config = write_project(tmp_path, frames=8)
    project = read_project(config, folder=tmp_path)
    data_module = LabelledDataModule(project, with_defaults(config))
    factories = losses_of(
        data_module,
        model={"losses_to_use": ["pca_singleview"]},
        losses={"pca_singleview": {"components_to_keep": 1, "epsilon": 0.0}},
    )
    fitted = factories["unsupervised"].losses["pca_singleview"]
    poses = data_module.dataset.keypoints.float()
    assert fitted.compute_loss(poses).abs().max() < 1e-3
    assert fitted.compute_loss(poses * torch.tensor([1.0, 2.0] * 4)).abs().min() > 1.0


@pytest.mark.parametrize("factory", ["supervised", "unsupervised"])
def test_one_kind_may_be_empty(factory):
    off = {"heatmap_mse": {"log_weight": None}}
    chosen = (
        losses_of()
        if factory == "unsupervised"
        else losses_of(model={"losses_to_use": ["multiview_reprojection"]}, losses=off)
    )
    assert names_of(chosen)[factory] == []


def test_no_loss_at_all():
    with pytest.raises(ConfigError) as raised:
        losses_of(losses={"heatmap_mse": {"log_weight": None}})
    assert str(raised.value) == (
        "the config asks for no loss: give model.heatmap_loss_type, or name losses in section "
        "losses"
    )


def test_a_loss_of_videos():
    with pytest.raises(ConfigError) as raised:
        losses_of(model={"losses_to_use": ["temporal"]})
    assert str(raised.value) == (
        "model.losses_to_use names 'temporal', which compares consecutive frames of a video: "
        "labelled frames are none. Name a folder of videos in data.video_dir, or take the loss out."
    )


def test_a_loss_of_videos_that_are_there():
    factories = losses_of(model={"losses_to_use": ["temporal"]}, data={"video_dir": "videos"})
    assert names_of(factories)["unsupervised"] == ["temporal"]


@pytest.mark.parametrize("imgaug", ["dlc", "dlc-lr", {"shift": 0.1}])
def test_images_that_are_moved_do_not_agree_with_their_cameras(imgaug):
    with pytest.raises(ConfigError) as raised:
        losses_of(losses={REPROJECTION: {}}, imgaug=imgaug)
    assert str(raised.value) == (
        f"the loss {REPROJECTION!r} needs images that agree with their cameras, and "
        f"training.imgaug = {imgaug!r} turns or moves those of each view by themselves. Set "
        "training.imgaug_3d: true, which moves all views of a frame together, or "
        "training.imgaug: none."
    )


def test_mirrored_images_do_not_agree_with_their_cameras():
    with pytest.raises(ConfigError, match=r"or training\.imgaug_hflip: false\.$"):
        losses_of(losses={REPROJECTION: {}}, imgaug="none", imgaug_hflip=True)


@pytest.mark.parametrize(
    "training", [{}, {"imgaug": "dlc-mv"}, {"imgaug": {"gamma": 0.2}}, {"imgaug_3d": True}], ids=str
)
def test_images_that_agree_with_their_cameras(training):
    factories = losses_of(losses={REPROJECTION: {}}, **training)
    assert REPROJECTION in factories["supervised"].losses


def test_losses_of_each_view_let_images_move():
    assert names_of(losses_of(imgaug="dlc"))["supervised"] == ["heatmap_mse"]
