from __future__ import annotations

import pytest
import timm
import torch
from torch.testing import assert_close

from lploss.errors import ArgumentValueError, MissingWeightsError
from lploss_builtin.models.patch_transformer import PatchTransformer
from lploss_builtin.models.timm_networks import TIMM_NAMES
from tests.lploss_builtin.models.small import BACKBONES, SMALL


def made(backbone: str, image_size=(64, 96), **params) -> PatchTransformer:
    torch.manual_seed(0)
    made = PatchTransformer(backbone, image_size, pretrained=False, params={**SMALL, **params})
    with torch.no_grad():  # at the start, some kinds of blocks hardly do anything
        for name, parameter in made.named_parameters():
            if "gamma" in name:
                parameter.fill_(1.0)
    return made.eval()


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("backbone", "without_prefix"),
    [
        ("vits_dino", {"class_token": False, "global_pool": ""}),
        (
            "vit_small_patch14_reg4_dinov2",
            {"class_token": False, "reg_tokens": 0, "global_pool": ""},
        ),
        ("vits_dinov3", {"class_token": False, "num_reg_tokens": 0, "global_pool": ""}),
    ],
)
def test_of_one_image_it_is_the_transformer_of_timm_without_class_and_registers(
    backbone, without_prefix
):
    ours = made(backbone)
    theirs = timm.create_model(
        TIMM_NAMES.get(backbone, backbone),
        img_size=(64, 96),
        num_classes=0,
        dynamic_img_size=True,
        **SMALL,
        **without_prefix,
    ).eval()
    state = ours.vit.state_dict()
    wanted = theirs.state_dict()
    num_prefix = ours.vit.num_prefix_tokens if not ours.vit.no_embed_class else 0
    if "pos_embed" in wanted:
        state["pos_embed"] = state["pos_embed"][:, num_prefix:]
    theirs.load_state_dict({name: state[name] for name in wanted})
    batch = images(2, 3, 56, 84) if "14" in backbone else images(2, 3, 64, 96)

    tokens, rotary = ours.embed(batch)
    encoded = ours.encode(tokens, rotary)

    expected = theirs.forward_features((batch - ours.mean) / ours.std)
    assert_close(encoded, expected)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_images_that_see_each_other_are_not_those_that_do_not(backbone):
    transformer = made(backbone)
    tokens, rotary = transformer.embed(images(2, 3, 64, 96))
    alone = transformer.encode(tokens, rotary)
    together = transformer.encode(tokens.flatten(0, 1)[None], rotary)[0]
    assert together.shape == (2 * tokens.shape[1], 32)
    assert (together - alone.flatten(0, 1)).abs().max() > 1e-4


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_order_of_images_that_see_each_other_does_not_matter(backbone):
    transformer = made(backbone)
    tokens, rotary = transformer.embed(images(3, 3, 64, 96))
    number = tokens.shape[1]
    forwards = transformer.encode(tokens.flatten(0, 1)[None], rotary)
    backwards = transformer.encode(tokens.flip(0).flatten(0, 1)[None], rotary)
    assert_close(backwards.unflatten(1, (3, number)).flip(1).flatten(1, 2), forwards)


def test_where_patches_are_is_known():
    transformer = made("vits_dinov3")
    patch = torch.zeros(1, 3, 16, 16)
    tokens, rotary = transformer.embed(patch.repeat(1, 1, 4, 6) + images(1, 3, 1, 1))
    assert_close(tokens[0, 0], tokens[0, 7])  # alike, but for the rotary embeddings
    assert rotary is not None
    assert rotary.shape[0] == 24


@pytest.mark.parametrize(
    ("backbone", "size", "grid"),
    [
        ("vits_dino", (64, 96), (4, 6)),
        ("vits_dino", (65, 90), (4, 6)),
        ("vits_dino", (128, 32), (8, 2)),
        ("vits_dinov2", (64, 96), (5, 7)),
        ("vits_dinov2", (256, 256), (18, 18)),
        ("vits_dinov3", (48, 80), (3, 5)),
    ],
)
def test_images_need_be_neither_square_nor_of_one_size(backbone, size, grid):
    transformer = made(backbone)
    assert transformer.grid_size(*size) == grid
    assert transformer(images(1, 2, 3, *size)).shape == (1, 2, 32, *grid)


def test_what_makes_checkpointing_makes_the_same():
    plain = made("vits_dino").train()
    saving = PatchTransformer(
        "vits_dino", (64, 96), pretrained=False, params=SMALL, gradient_checkpointing=True
    )
    saving.load_state_dict(plain.state_dict())
    batch = images(1, 2, 3, 64, 96)
    gradients = []
    for transformer in (plain, saving.train()):
        transformer(batch).square().mean().backward()
        gradients.append([p.grad for p in transformer.parameters() if p.requires_grad])
    assert all(g is not None for g in gradients[0])
    assert_close(*gradients)


def test_weights_from_a_file(tmp_path):
    source = timm.create_model(TIMM_NAMES["vits_dino"], img_size=(64, 96), num_classes=0, **SMALL)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    loaded = PatchTransformer(
        "vits_dino",
        (64, 96),
        checkpoint_path=str(tmp_path / "weights.pth"),
        params=SMALL,
    )
    for name, value in source.state_dict().items():
        assert torch.equal(loaded.vit.state_dict()[name], value)


def test_weights_of_another_image_size_are_resampled(tmp_path):
    source = timm.create_model(TIMM_NAMES["vits_dino"], num_classes=0, **SMALL)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    loaded = PatchTransformer(
        "vits_dino", (64, 96), checkpoint_path=str(tmp_path / "weights.pth"), params=SMALL
    )
    assert source.pos_embed.shape[1] == 197
    assert loaded.vit.pos_embed.shape[1] == 25


def test_a_file_of_other_weights_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights.pth")
    with pytest.raises(MissingWeightsError, match="are not those of the backbone 'vits_dino'"):
        PatchTransformer("vits_dino", checkpoint_path=str(tmp_path / "weights.pth"), params=SMALL)
    with pytest.raises(MissingWeightsError, match=r"the backbone checkpoint .* does not exist"):
        PatchTransformer("vits_dino", checkpoint_path=str(tmp_path / "none.pth"))


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("vits_dinov4", "there is no backbone 'vits_dinov4'. Did you mean 'vits_dinov"),
        ("resnet18", "the backbone 'resnet18' cannot be made with no parameters: "),
        (
            "test_vit_relpos",
            "the backbone 'test_vit_relpos' cannot be made with no parameters: ",
        ),
    ],
)
def test_what_is_no_vision_transformer_is_refused(backbone, message):
    with pytest.raises(ArgumentValueError) as caught:
        PatchTransformer(backbone, pretrained=False)
    assert str(caught.value).startswith(message)


def test_an_unknown_parameter_is_refused():
    with pytest.raises(ArgumentValueError, match=r"cannot be made with \{'width': 3\}"):
        PatchTransformer("vits_dino", pretrained=False, params={"width": 3})
