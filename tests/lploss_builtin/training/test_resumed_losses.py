"""Which state the losses of a training have when it is resumed."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lploss import get_loss_factories, load_config
from lploss.config import plain
from lploss.errors import ConfigError
from lploss.registry import default_registry
from lploss_builtin.training.resuming import resumed_losses
from tests.conftest import Site
from tests.lploss_builtin.batches import labels

PATH = Path("run/checkpoints/last.ckpt")
PCA = {"pca_singleview": {"components_to_keep": 3}}
MSE = "losses.supervised.losses.heatmap_mse."
OF_PCA = "losses.unsupervised.losses.pca_singleview."


class Stand(nn.Module):
    """A model of one layer, with the losses of a config, in place of a training's module."""

    def __init__(self, config, poses, *, width=2):
        super().__init__()
        self.config = config
        self.model = nn.Linear(width, 1)
        self.factories = get_loss_factories(config, poses)
        self.losses = nn.ModuleDict(self.factories)

    def parameter_groups(self):
        return [parameter for parameter in self.parameters() if parameter.requires_grad], []


def config_of(losses, *, to_use=None, optimizer="Adam"):
    named = [name for name in losses if name.startswith("pca")] if to_use is None else to_use
    model = {"model_type": "heatmap", "losses_to_use": named}
    training = {"optimizer": optimizer}
    return load_config({"losses": losses, "model": model, "training": training})


def checkpoint_of(module):
    groups = [{"params": list(range(len(group)))} for group in module.parameter_groups()]
    return {
        "state_dict": {name: value.clone() for name, value in module.state_dict().items()},
        "config": plain(module.config),
        "optimizer_states": [{"param_groups": groups}],
    }


@pytest.fixture
def poses():
    return labels().numpy().astype(float)


def resumed(before, after, poses, *, now=None, **options):
    """Resume a training with other losses, and perhaps other labels."""
    checkpoint = checkpoint_of(Stand(config_of(before), poses))
    now = poses if now is None else now
    module = Stand(config_of(after, **options), now)
    return checkpoint["state_dict"], resumed_losses(module, checkpoint, PATH, now)


def test_arguments_that_stay_leave_the_state_of_the_checkpoint(poses):
    saved, losses = resumed(PCA, PCA, poses, now=poses * 1.5 + 3.0)
    assert losses.changes == {}
    of_losses = {name: value for name, value in saved.items() if name.startswith("losses.")}
    assert losses.state.keys() == of_losses.keys()
    for name, value in of_losses.items():
        assert torch.equal(losses.state[name], value), name


def test_a_weight_is_that_of_the_config(poses):
    saved, losses = resumed({}, {"heatmap_mse": {"log_weight": 3.0}}, poses)
    assert saved[MSE + "log_weight"] == 0.0
    assert losses.state[MSE + "log_weight"] == 3.0
    assert losses.changes == {"heatmap_mse": "has other arguments"}


@pytest.mark.parametrize("moved", [False, True])
def test_an_epsilon_is_that_of_the_config_and_the_fit_that_of_the_checkpoint(poses, moved):
    after = {"pca_singleview": {"components_to_keep": 3, "epsilon": 7.0, "log_weight": 2.0}}
    saved, losses = resumed(PCA, after, poses, now=poses * 1.5 if moved else None)
    state = losses.state
    assert (state[OF_PCA + "epsilon"], state[OF_PCA + "log_weight"]) == (7.0, 2.0)
    for name in ("mean", "components", "fit_rows"):
        assert torch.equal(state[OF_PCA + name], saved[OF_PCA + name])


def test_an_epsilon_that_was_fitted_stays_where_another_argument_changes(poses):
    after = {"pca_singleview": {"components_to_keep": 3, "log_weight": 2.0}}
    saved, losses = resumed(PCA, after, poses, now=poses * 1.5)
    assert losses.state[OF_PCA + "log_weight"] == 2.0
    assert saved[OF_PCA + "epsilon"] > 0.0
    assert torch.equal(losses.state[OF_PCA + "epsilon"], saved[OF_PCA + "epsilon"])


def test_arguments_of_the_fit_fit_it_anew(poses):
    saved, losses = resumed(PCA, {"pca_singleview": {"components_to_keep": 2}}, poses)
    assert saved[OF_PCA + "components"].shape == (3, 8)
    centred = poses - poses.mean(axis=0)
    expected = np.linalg.svd(centred, full_matrices=False)[2][:2]
    found = losses.state[OF_PCA + "components"].numpy()
    np.testing.assert_allclose(np.abs(found @ expected.T), np.eye(2), atol=1e-4)


def test_what_an_argument_changed_can_no_longer_be_built(tmp_path, poses):
    """As where a calibration has moved: the state is that of the new arguments."""
    before = {"pca_singleview": {"components_to_keep": 3, "epsilon": 1.0}}
    checkpoint = checkpoint_of(Stand(config_of(before), poses))
    checkpoint["config"]["losses"]["pca_singleview"]["calibration"] = str(tmp_path / "gone.toml")
    module = Stand(config_of(PCA), poses)
    expected = {name: value.clone() for name, value in module.state_dict().items()}
    losses = resumed_losses(module, checkpoint, PATH, poses)
    assert all(torch.equal(losses.state[name], expected[name]) for name in losses.state)


def test_losses_that_are_new_or_gone(poses):
    before = {**PCA, "regression": {"log_weight": 1.0}}
    after = {"rmse": {"log_weight": 4.0}, "heatmap_mse": {"log_weight": None}}
    _, losses = resumed(before, after, poses)
    assert losses.changes == {
        "rmse": "is new",
        "heatmap_mse": "is gone",
        "pca_singleview": "is gone",
        "regression": "is gone",
    }
    start = "losses.supervised.losses.rmse."
    assert losses.state.keys() == {start + "epsilon", start + "log_weight"}
    assert losses.state[start + "log_weight"] == 4.0


LEARNS = """
    import torch
    from lploss import Loss

    class Distance(Loss):
        loss_name, kind = "acme_learns", "supervised"

        def __init__(self, *, size: int = 1, gain: float = 1.0, **kwargs):
            super().__init__(**kwargs)
            self.scale = torch.nn.Parameter(torch.rand(size))
            self.register_buffer("gain", torch.tensor(gain))

        def compute_loss(self, keypoints_pred, keypoints_targ):
            return (keypoints_pred - keypoints_targ).square() * self.scale.sum() * self.gain
"""


def test_what_a_loss_has_learned_comes_from_the_checkpoint(known_site: Site, poses):
    known_site.install_loss("acme", "acme_learns", target=LEARNS)
    default_registry.refresh()
    start = "losses.supervised.losses.acme_learns."
    for after in ({"log_weight": 1.0}, {"gain": 2.0}):
        saved, losses = resumed({"acme_learns": {}}, {"acme_learns": after}, poses)
        assert torch.equal(losses.state[start + "scale"], saved[start + "scale"])
        assert losses.state[start + "gain"] == after.get("gain", 1.0)
        assert losses.state[start + "log_weight"] == after.get("log_weight", 0.0)


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, {"acme_learns": {}}), ({"acme_learns": {}}, {}), (*2 * [{"acme_learns": {}}],)],
    ids=["new", "gone", "of another shape"],
)
def test_a_loss_that_learns_must_stay(known_site: Site, poses, before, after):
    known_site.install_loss("acme", "acme_learns", target=LEARNS)
    default_registry.refresh()
    if before == after:
        after = {"acme_learns": {"size": 2}}
    with pytest.raises(ConfigError) as caught:
        resumed(before, after, poses)
    assert str(caught.value) == (
        "the training cannot be resumed with these losses: a loss with parameters that are trained "
        f"was added, removed or changed, and the optimizer's state in {PATH} does not fit. Keep "
        f"that loss; or start a new training from these weights by model.checkpoint={PATH}."
    )


def test_another_model_is_refused(poses):
    checkpoint = checkpoint_of(Stand(config_of({}), poses))
    with pytest.raises(ConfigError) as caught:
        resumed_losses(Stand(config_of({}), poses, width=5), checkpoint, PATH, poses)
    assert str(caught.value) == (
        f"the training cannot be resumed with this config: its model is not that of {PATH}. "
        "model.weight: the checkpoint has shape (1, 2), the config asks for shape (1, 5). Leave "
        "out what has changed since, which is most likely in section model or data; or start a new "
        f"training from these weights by model.checkpoint={PATH}."
    )


def test_another_optimizer_is_refused(poses):
    message = re.escape(
        f"training.optimizer is 'SGD', and the state of the optimizer in {PATH} is that of 'Adam'"
    )
    with pytest.raises(ConfigError, match=f"^{message}"):
        resumed({}, {}, poses, optimizer="SGD")


def test_a_state_that_does_not_fit_is_refused_by_the_name_of_its_loss(poses):
    checkpoint = checkpoint_of(Stand(config_of({}), poses))
    checkpoint["state_dict"][MSE + "epsilon"] = torch.full((3,), math.nan)
    message = f"the state of the loss 'heatmap_mse' in {PATH} does not fit the config"
    with pytest.raises(ConfigError, match=message):
        resumed_losses(Stand(config_of({}), poses), checkpoint, PATH, poses)
