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


@pytest.mark.parametrize(
    ("model_type", "do_context", "message"),
    [
        ("heatmap", None, None),
        ("heatmap", False, None),
        ("heatmap_mhcrnn", None, None),
        ("heatmap_mhcrnn", True, None),
        (
            "heatmap",
            True,
            "model.do_context: true does not go with the model 'heatmap', which sees single "
            "frames. Leave it out, or take model.model_type: heatmap_mhcrnn.",
        ),
        (
            "heatmap_mhcrnn",
            False,
            "model.do_context: false does not go with the model 'heatmap_mhcrnn', which sees the "
            "frames around each one. Leave it out.",
        ),
    ],
)
def test_the_key_for_frames_around_each_one(model_type, do_context, message):
    small = {
        "model_type": model_type,
        "do_context": do_context,
        "backbone": "test_vit",
        "backbone_pretrained": False,
    }
    if message is None:
        assert build_model(config(**small), num_views=1, num_keypoints=2).num_keypoints == 2
        return
    with pytest.raises(ConfigError) as caught:
        build_model(config(**small), num_views=1, num_keypoints=2)
    assert str(caught.value) == message


def test_there_is_one_head_to_choose():
    with pytest.raises(ConfigError) as caught:
        build_model(config(head="linear"), num_views=1, num_keypoints=2)
    assert str(caught.value) == "model.head must be heatmap_cnn or left out, got 'linear'"


@pytest.mark.parametrize("model_type", ["heatmap", "heatmap_mhcrnn", "regression"])
def test_a_convolutional_backbone_by_the_config(model_type):
    small = {"model_type": model_type, "backbone": "test_resnet", "backbone_pretrained": False}
    model = build_model(config(**small), num_views=2, num_keypoints=3)
    assert model.backbone.patch_size == (32, 32)


def test_the_multiview_transformer_needs_patches():
    asked = {"model_type": "heatmap_multiview_transformer", "backbone": "resnet18"}
    with pytest.raises(ConfigError) as caught:
        build_model(config(**asked), num_views=2, num_keypoints=3)
    assert str(caught.value) == (
        "model 'heatmap_multiview_transformer': the backbone 'resnet18' has no patches that attend "
        "to those of other views. Take a vision transformer (vits_dino, vitb_dino, vits_dinov2, "
        "vitb_dinov2, vits_dinov3, vitb_dinov3, vitb_imagenet), or the model 'heatmap', which sees "
        "each view by itself and takes any backbone."
    )
