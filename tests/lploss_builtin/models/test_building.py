from __future__ import annotations

import pytest
import torch

import lploss
import lploss.registry
from lploss import load_config
from lploss.errors import ArgumentError, ConfigError
from lploss.registry import Registry
from lploss_builtin.models.building import build_model, load_weights
from lploss_builtin.training.defaults import with_defaults

MANIFEST = """
    from lploss import ModelSpec, hookimpl

    @hookimpl
    def lploss_models():
        return [ModelSpec("acme_net", "acme_nets:Net", "a network")]
"""
MODULE = """
    from torch import nn

    class Net(nn.Module):
        def __init__(self, num_keypoints, {parameter}):
            super().__init__()
            self.given = dict(num_keypoints=num_keypoints, other={parameter_name})
"""


@pytest.fixture
def install(site, monkeypatch):
    def install(parameter: str) -> Registry:
        name = parameter.lstrip("*").partition("=")[0]
        module = MODULE.format(parameter=parameter, parameter_name=name)
        site.install(
            "acme", {"acme": "acme_manifest"}, {"acme_manifest": MANIFEST, "acme_nets": module}
        )
        registry = site.registry()
        monkeypatch.setattr(lploss.registry, "default_registry", registry)
        return registry

    return install


def config(**model):
    return with_defaults(load_config({"model": {"model_type": "acme_net", **model}}))


def test_a_model_of_somebody_else_is_given_what_it_names(install):
    registry = install("downsample_factor=7")
    model = build_model(config(), num_views=2, num_keypoints=5, registry=registry)
    assert model.given == {"num_keypoints": 5, "other": 2}


def test_what_no_key_holds_is_told(install):
    registry = install("depth")
    with pytest.raises(ConfigError) as caught:
        build_model(config(), num_views=2, num_keypoints=5, registry=registry)
    assert str(caught.value).startswith(
        "model 'acme_net' must be given depth, which no key of the config holds. Known: num_views, "
    )


def test_a_model_may_take_any_arguments(install):
    registry = install("**others")
    assert lploss.create_model("acme_net", num_keypoints=3, depth=2).given == {
        "num_keypoints": 3,
        "other": {"depth": 2},
    }
    with pytest.raises(ArgumentError, match="model 'acme_net' must be given num_keypoints"):
        lploss.create_model("acme_net")
    model = build_model(config(), num_views=2, num_keypoints=5, registry=registry)
    assert model.given["num_keypoints"] == 5


def test_what_is_no_checkpoint_is_told(tmp_path):
    path = tmp_path / "last.ckpt"
    with pytest.raises(ConfigError) as caught:
        load_weights(torch.nn.Linear(1, 1), path)
    assert str(caught.value) == f"the checkpoint {path} does not exist"
    torch.save([1, 2], path)
    with pytest.raises(ConfigError) as caught:
        load_weights(torch.nn.Linear(1, 1), path)
    assert str(caught.value).startswith(f"{path} is no checkpoint of a training: ")
