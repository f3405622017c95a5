from __future__ import annotations

import os
from pathlib import Path

import pytest
import timm
import torch
from torch.testing import assert_close

from lploss.errors import ArgumentValueError, MissingWeightsError
from lploss_builtin.models.convolutional_network import ConvolutionalNetwork

SIZES = {"test_resnet": (96, 32), "test_efficientnet": (256, 32), "test_convnext": (64, 32)}


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("backbone", SIZES)
def test_it_is_the_network_of_timm_up_to_its_last_grid(backbone):
    ours = ConvolutionalNetwork(backbone, pretrained=False).eval()
    theirs = timm.create_model(backbone, pretrained=False).eval()
    theirs.load_state_dict(ours.network.state_dict(), strict=False)
    batch = images(2, 2, 3, 64, 96)
    with torch.no_grad():
        mean, std = (torch.tensor(ours.network.pretrained_cfg[n]) for n in ("mean", "std"))
        normalised = (batch - mean[:, None, None]) / std[:, None, None]
        expected = theirs.forward_features(normalised.flatten(0, 1))
        assert_close(ours(batch).flatten(0, 1), expected)
    dim, stride = SIZES[backbone]
    assert (ours.embed_dim, ours.patch_size) == (dim, (stride, stride))
    assert expected.shape == (4, dim, 2, 3)


@pytest.mark.parametrize(("backbone", "dim"), [("resnet18", 512), ("efficientnet_b0", 1280)])
def test_the_smallest_of_the_source_system(backbone, dim):
    made = ConvolutionalNetwork(backbone, pretrained=False)
    assert made(images(1, 1, 3, 64, 96)).shape == (1, 1, dim, 2, 3)
    assert made.patch_size == (32, 32)


@pytest.mark.parametrize(
    ("size", "grid"), [((64, 96), (2, 3)), ((65, 90), (2, 3)), ((20, 128), (1, 4))]
)
def test_images_need_be_neither_square_nor_of_one_size(size, grid):
    made = ConvolutionalNetwork("test_resnet", pretrained=False)
    assert made.grid_size(*size) == grid
    assert made(images(1, 2, 3, *size)).shape == (1, 2, 96, *grid)


@pytest.mark.parametrize("backbone", SIZES)
def test_every_parameter_that_is_not_frozen_learns(backbone):
    made = ConvolutionalNetwork(backbone, pretrained=False)
    made(images(1, 1, 3, 64, 64)).square().sum().backward()
    lacking = [n for n, p in made.named_parameters() if p.requires_grad and p.grad is None]
    assert lacking == []
    frozen = [name for name, p in made.named_parameters() if not p.requires_grad]
    # Of ConvNeXt a normalisation comes behind the pooling.
    expected = ["network.head.norm.weight", "network.head.norm.bias"]
    assert frozen == (expected if backbone == "test_convnext" else [])


def test_it_is_made_in_training_mode_and_of_as_many_random_numbers():
    torch.manual_seed(0)
    made = ConvolutionalNetwork("test_resnet", pretrained=False)
    ours = torch.rand(())
    torch.manual_seed(0)
    timm.create_model("test_resnet", pretrained=False, num_classes=0)
    assert torch.rand(()) == ours
    assert made.training
    assert made.network.bn1.training
    assert made.network.bn1.num_batches_tracked == 0


def test_what_makes_checkpointing_makes_the_same():
    plain = ConvolutionalNetwork("test_convnext", pretrained=False)
    saving = ConvolutionalNetwork("test_convnext", pretrained=False, gradient_checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    gradients = []
    for made in (plain, saving):
        made(images(1, 2, 3, 64, 96)).square().mean().backward()
        gradients.append([p.grad for p in made.parameters() if p.requires_grad])
    assert_close(*gradients)


def test_weights_from_a_file(tmp_path):
    source = timm.create_model("test_resnet")
    path = tmp_path / "weights.pth"
    torch.save(source.state_dict(), path)
    loaded = ConvolutionalNetwork("test_resnet", checkpoint_path=str(path)).network.state_dict()
    assert all(torch.equal(loaded[name], source.state_dict()[name]) for name in loaded)
    # Weights that were learned without labels have no classifier.
    backbone = {n: v for n, v in source.state_dict().items() if not n.startswith("fc.")}
    torch.save(backbone, path)
    loaded = ConvolutionalNetwork("test_resnet", checkpoint_path=str(path)).network.state_dict()
    assert all(torch.equal(loaded[name], backbone[name]) for name in loaded)


def test_a_file_of_other_weights_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    state = timm.create_model("test_resnet").state_dict()
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(MissingWeightsError, match="are not those of the backbone 'test_resnet'"):
        ConvolutionalNetwork("test_resnet", checkpoint_path=str(path))
    torch.save({n: v for n, v in state.items() if n != "layer4.0.conv1.weight"}, path)
    with pytest.raises(MissingWeightsError) as caught:
        ConvolutionalNetwork("test_resnet", checkpoint_path=str(path))
    assert str(caught.value) == (
        f"the weights at {path} are not those of the backbone 'test_resnet': 1 of its layers are "
        "not there, layer4.0.conv1.weight for one"
    )
    with pytest.raises(MissingWeightsError, match=r"the backbone checkpoint .* does not exist"):
        ConvolutionalNetwork("test_resnet", checkpoint_path=str(tmp_path / "none.pth"))


class Attack:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_a_file_of_weights_runs_no_code(tmp_path, monkeypatch):
    # As timm 1.0.20 does.
    monkeypatch.setattr(
        "timm.models._builder.load_state_dict",
        lambda path, *args, **kwargs: torch.load(path, weights_only=False),
    )
    path = tmp_path / "weights.pth"
    torch.save({"weight": Attack(tmp_path / "marker")}, path)
    with pytest.raises(MissingWeightsError, match=r"weights\.pth cannot be read as weights"):
        ConvolutionalNetwork("test_resnet", checkpoint_path=str(path))
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("backbone", "problem"),
    [
        ("mixer_s32_224", "is a MlpMixer, which gives no grid of features for images of 128 px: "),
        ("test_vit_relpos", "is a VisionTransformerRelPos, which gives no grid of features"),
    ],
)
def test_what_has_no_grid_of_features_is_refused(backbone, problem):
    with pytest.raises(ArgumentValueError) as caught:
        ConvolutionalNetwork(backbone, pretrained=False)
    assert str(caught.value).startswith(f"the backbone {backbone!r} {problem}")
    assert str(caught.value).endswith("efficientnet_b2, or a vision transformer.")


def test_an_unknown_parameter_is_refused():
    with pytest.raises(ArgumentValueError, match=r"cannot be made with \{'width': 3\}"):
        ConvolutionalNetwork("test_resnet", pretrained=False, params={"width": 3})
