from __future__ import annotations

import itertools

import pytest
import torch
from torch.testing import assert_close

import lploss
from lploss.errors import ArgumentError, ArgumentValueError, MissingInputError, ShapeError
from lploss_builtin.models.heads import HeatmapHead
from lploss_builtin.models.heatmap import HeatmapModel
from lploss_builtin.models.multiview_transformer import HeatmapMultiviewTransformer
from lploss_builtin.ops import affine
from lploss_builtin.ops.gaussians import gaussian_heatmaps
from tests.lploss_builtin.models.small import BACKBONES, small

CLASSES = (HeatmapModel, HeatmapMultiviewTransformer)


def made(cls=HeatmapMultiviewTransformer, backbone="vits_dino", **params):
    torch.manual_seed(0)
    model = cls(**small(backbone, **params)).eval()
    # At the start the heads make maps that are nearly flat, in which nothing differs.
    with torch.no_grad():
        for layer in model.head.layers[1:]:
            layer.weight.mul_(20.0)
    return model


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


BATCH = images(2, 3, 3, 64, 96)


def batch_of(num_frames=2, num_views=3, num_keypoints=3, size=(64, 96)):
    generator = torch.Generator().manual_seed(2)
    bbox = torch.tensor([10.0, 20.0, 2.0 * size[0], 3.0 * size[1]])
    points = torch.rand(num_frames, num_views, num_keypoints, 2, generator=generator)
    points = points * torch.tensor([3.0 * size[1], 2.0 * size[0]]) + bbox[:2]
    return {
        "images": images(num_frames, num_views, 3, *size),
        "keypoints_targ": points.flatten(1),
        "visibility": torch.full((num_frames, num_views * num_keypoints), 2, dtype=torch.uint8),
        "bbox": bbox.repeat(num_frames, num_views),
        "affine": affine.crop_and_resize(bbox, size).expand(num_frames, num_views, 2, 3),
        "image_size": torch.tensor([float(side) for side in size]),
        "index": torch.arange(num_frames),
    }


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("cls", CLASSES)
def test_each_map_sums_to_one_and_every_parameter_learns(cls, backbone):
    model = made(cls, backbone)
    maps = model(BATCH)
    height, width = model.heatmap_size(64, 96)
    assert maps.shape == (2, 9, height, width)
    assert_close(maps.sum(dim=(2, 3)), torch.ones(2, 9))
    maps.square().sum().backward()
    lacking = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert lacking == []


@pytest.mark.parametrize("backbone", BACKBONES)
def test_views_tell_each_other_only_in_the_multiview_transformer(backbone):
    for cls in CLASSES:
        model = made(cls, backbone)
        batch = BATCH.clone().requires_grad_()
        model(batch)[:, :3].square().sum().backward()
        of_views = batch.grad.abs().amax(dim=(0, 2, 3, 4))
        assert of_views[0] > 0
        tells = cls is HeatmapMultiviewTransformer
        assert [bool(value > 0) for value in of_views[1:]] == [tells, tells]


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    "views", [c for n in (1, 2, 3) for c in itertools.permutations(range(3), n)]
)
def test_any_views_in_any_order_are_taken(cls, views):
    model = made(cls)
    chosen = BATCH[:, list(views)]
    maps = model(chosen, views).unflatten(1, (len(views), 3))
    ordered = sorted(views)
    again = model(BATCH[:, ordered], ordered).unflatten(1, (len(views), 3))
    assert_close(maps, again[:, [ordered.index(view) for view in views]])


def test_views_are_told_apart():
    model = made()
    same = BATCH[:, :1].expand(-1, 3, -1, -1, -1)
    of_views = model(same).unflatten(1, (3, 3))
    assert (of_views[:, 0] - of_views[:, 1]).abs().max() > 1e-4
    baseline = made(HeatmapModel)(same).unflatten(1, (3, 3))
    assert_close(baseline[:, 0], baseline[:, 1])


@pytest.mark.parametrize(
    ("shape", "views", "error", "message"),
    [
        (
            (2, 2, 3, 64, 96),
            None,
            ShapeError,
            "images must be of 3 views, got 2: say by `views` which they are, where a camera is "
            "missing",
        ),
        ((2, 3, 3, 64, 96), [0, 1], ShapeError, "images must be of 2 views, got 3"),
        (
            (2, 2, 3, 64, 96),
            [0, 3],
            ArgumentValueError,
            "views must be different numbers of 0 to 2, got [0, 3]",
        ),
        (
            (2, 2, 3, 64, 96),
            [1, 1],
            ArgumentValueError,
            "views must be different numbers of 0 to 2, got [1, 1]",
        ),
        (
            (2, 3, 64, 96),
            None,
            ShapeError,
            "images must have axes (batch, views, 3, height, width), got shape (2, 3, 64, 96)",
        ),
    ],
)
@pytest.mark.mistyped
def test_wrong_images_are_refused(shape, views, error, message):
    with pytest.raises(error) as caught:
        made()(images(*shape), views)
    assert str(caught.value) == message


def test_whole_numbers_are_taken_as_well():
    model = made()
    numbers = (BATCH * 255).round().to(torch.uint8)
    assert_close(model(numbers), model(numbers.float() / 255))


@pytest.mark.parametrize(
    ("backbone", "factor", "size", "maps"),
    [
        ("vits_dino", 1, (64, 96), (32, 48)),
        ("vits_dino", 2, (64, 96), (16, 24)),
        ("vits_dino", 3, (64, 96), (8, 12)),
        ("vits_dinov2", 2, (56, 84), (16, 24)),
        ("vits_dinov2", 2, (256, 256), (72, 72)),
        ("vits_dinov2", 3, (64, 96), (10, 14)),
    ],
)
def test_keypoints_are_pixels_of_the_image_whatever_the_patches(
    backbone, factor, size, maps, monkeypatch
):
    model = made(backbone=backbone, downsample_factor=factor, num_views=1)
    assert model(images(1, 1, 3, *size)).shape[-2:] == maps
    points = torch.tensor([[[0.4 * size[1], 0.6 * size[0]]] * 3])
    # As the network would find them.
    heatmaps = gaussian_heatmaps(points, size, maps)
    monkeypatch.setattr(model, "forward", lambda images, views=None: heatmaps)
    found = model.predict(images(1, 1, 3, *size))
    assert_close(found.keypoints, points, atol=0.25, rtol=0)


def test_what_losses_get_of_a_labelled_batch():
    model, batch = made(), batch_of()
    inputs = model.get_loss_inputs_labeled(batch)
    found = model.predict(batch["images"])
    assert sorted(inputs) == [
        "bbox",
        "confidences",
        "heatmaps_pred",
        "heatmaps_targ",
        "image_size",
        "keypoints_pred",
        "keypoints_pred_augmented",
        "keypoints_targ",
        "visibility",
    ]
    assert_close(inputs["keypoints_pred_augmented"], found.keypoints.flatten(1))
    # Of the crop: 3 px of the original image a px of the input along x, 2 along y.
    expected = found.keypoints * torch.tensor([3.0, 2.0]) + torch.tensor([10.0, 20.0])
    assert_close(inputs["keypoints_pred"], expected.flatten(1), atol=1e-4, rtol=0)
    peaks = inputs["heatmaps_targ"].flatten(2).argmax(dim=2)
    where = batch["keypoints_targ"].unflatten(1, (-1, 2)) - torch.tensor([10.0, 20.0])
    pixels = (where / torch.tensor([12.0, 8.0])).round()
    pixels = pixels.minimum(torch.tensor([23.0, 15.0]))
    assert_close(peaks.float(), pixels[..., 1] * 24 + pixels[..., 0])


def test_the_losses_of_a_factory_take_it_as_it_is():
    losses = lploss.LossFactory({"heatmap_mse": {}, "regression": {}, "rmse": {}})
    inputs = made().get_loss_inputs_labeled(batch_of())
    total, _ = losses(stage="train", **inputs)
    total.backward()
    assert total.isfinite()


def test_unlabelled_batches_need_no_labels():
    batch = batch_of()
    del batch["keypoints_targ"], batch["visibility"]
    inputs = made().get_loss_inputs_unlabeled(batch)
    assert "keypoints_targ" not in inputs
    assert "heatmaps_targ" not in inputs
    with pytest.raises(MissingInputError, match="the batch must hold 'keypoints_targ'"):
        made().get_loss_inputs_labeled(batch)


def test_an_occluded_keypoint_has_a_uniform_target():
    batch = batch_of()
    batch["visibility"][0, 4] = 1
    batch["visibility"][1, 2] = 0
    targets = made().get_loss_inputs_labeled(batch)["heatmaps_targ"]
    assert_close(targets[0, 4], torch.full((16, 24), 1 / 384))
    assert targets[1, 2].abs().max() == 0


def test_in_half_precision_it_is_about_the_same():
    model = made()
    plain = model(BATCH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(BATCH)
    assert half.dtype == torch.float32
    assert_close(half, plain, atol=0.02 * plain.max().item(), rtol=0.1)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.compiles
def test_compiled_it_is_the_same(cls):
    model = made(cls)
    plain = model.predict(BATCH)
    model.compile()
    compiled = model.predict(BATCH)
    assert_close(compiled.heatmaps, plain.heatmaps, atol=1e-5, rtol=1e-3)


def test_by_their_names():
    assert lploss.list_models() == [
        "heatmap",
        "heatmap_mhcrnn",
        "heatmap_multiview_transformer",
        "regression",
    ]
    model = lploss.create_model("heatmap_multiview_transformer", **small())
    assert type(model) is HeatmapMultiviewTransformer
    assert type(lploss.create_model("heatmap", **small())) is HeatmapModel
    with pytest.raises(ArgumentError) as caught:
        lploss.create_model("heatmap", num_keypoint=3)
    assert str(caught.value).startswith(
        "model 'heatmap': unknown argument 'num_keypoint'. Did you mean 'num_keypoints'? It takes: "
    )
    with pytest.raises(ArgumentError, match="model 'heatmap' must be given num_keypoints"):
        lploss.create_model("heatmap")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"downsample_factor": 4},
            "downsample_factor must be at most 3 for patches of 16 px, got 4",
        ),
        ({"num_keypoints": 0}, "num_keypoints must be at least 1, got 0"),
        ({"num_views": 0}, "num_views must be at least 1, got 0"),
    ],
)
def test_impossible_arguments_are_refused(params, message):
    with pytest.raises(ArgumentValueError) as caught:
        made(**params)
    assert str(caught.value) == message


def test_a_head_of_odd_features_is_refused():
    with pytest.raises(ArgumentValueError, match="dim must be a multiple of 4, got 30"):
        HeatmapHead(dim=30, patch_size=16, num_keypoints=2)
