from __future__ import annotations

import pytest
import timm
import torch

from lploss.errors import ArgumentValueError, MissingWeightsError
from lploss_builtin.models.backbones import make_backbone
from lploss_builtin.models.convolutional_network import ConvolutionalNetwork
from lploss_builtin.models.patch_transformer import PatchTransformer
from lploss_builtin.models.timm_networks import CONVOLUTIONAL_NAMES, TIMM_NAMES


def test_all_names_are_known_to_timm():
    assert all(timm.is_model(name) for name in [*TIMM_NAMES.values(), *CONVOLUTIONAL_NAMES])
    assert all(timm.get_pretrained_cfg(name).hf_hub_id for name in CONVOLUTIONAL_NAMES)


@pytest.mark.parametrize(
    ("backbone", "source"),
    [("vits_dino", "vit_small_patch16_224.dino"), ("resnet18", "resnet18.a1_in1k")],
)
def test_without_network_the_error_says_how_to_place_the_weights(
    backbone, source, monkeypatch, tmp_path
):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingWeightsError) as caught:
        make_backbone(backbone)
    text = str(caught.value)
    assert text.startswith(
        f"the pretrained weights of the backbone {backbone!r} ({TIMM_NAMES.get(backbone, backbone)}"
        ") are neither in the cache nor can they be downloaded: "
    )
    assert text.endswith(
        "Run once with network; or copy the folder ~/.cache/huggingface of a machine that has "
        "them, or set HF_HOME to it; or download them from "
        f"https://huggingface.co/timm/{source} and give the file as "
        "model.backbone_checkpoint; or train from random weights: model.backbone_pretrained: "
        "false."
    )


def test_a_name_that_nobody_knows():
    with pytest.raises(ArgumentValueError) as caught:
        make_backbone("resnet19", pretrained=False)
    assert str(caught.value).startswith("there is no backbone 'resnet19'. Did you mean 'resnet1")
    assert "vits_dino, vitb_dino" in str(caught.value)
    assert "resnet152, efficientnet_b0" in str(caught.value)


def test_the_kind_goes_by_the_name():
    assert type(make_backbone("test_vit", pretrained=False)) is PatchTransformer
    assert type(make_backbone("test_resnet", pretrained=False)) is ConvolutionalNetwork


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [*TIMM_NAMES, *CONVOLUTIONAL_NAMES])
def test_every_backbone_of_the_source_system_encodes_images(backbone):
    made = make_backbone(backbone, (64, 96), pretrained=False).eval()
    with torch.no_grad():
        features = made(torch.rand(1, 2, 3, 64, 96))
    assert features.shape == (1, 2, made.embed_dim, *made.grid_size(64, 96))
    assert features.isfinite().all()
