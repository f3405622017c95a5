from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import lploss
from lploss.errors import MissingInputError
from lploss_builtin.models.regression import RegressionModel
from lploss_builtin.ops import affine
from tests.lploss_builtin.models.small import SMALL

SIZE = (64, 96)
NUM_VIEWS, NUM_KEYPOINTS = 2, 3


def made(backbone="vits_dino", **params) -> RegressionModel:
    torch.manual_seed(0)
    return RegressionModel(
        num_keypoints=NUM_KEYPOINTS,
        num_views=NUM_VIEWS,
        image_size=SIZE,
        backbone=backbone,
        pretrained=False,
        backbone_params=SMALL if backbone.startswith("vits") else None,
        **params,
    ).eval()


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


BATCH = images(2, NUM_VIEWS, 3, *SIZE)


@pytest.mark.parametrize("size", [SIZE, (48, 160)])
def test_all_keypoints_start_at_the_centre(size):
    found = made().predict(images(2, NUM_VIEWS, 3, *size))
    centre = torch.tensor([size[1] / 2, size[0] / 2])
    assert torch.equal(found.keypoints, centre.expand(2, NUM_VIEWS * NUM_KEYPOINTS, 2))
    assert found.heatmaps is None
    assert found.confidences.shape == (2, NUM_VIEWS * NUM_KEYPOINTS)
    assert found.confidences.isnan().all()


@pytest.mark.parametrize("backbone", ["vits_dino", "test_resnet"])
def test_a_fixed_layer_says_where(backbone):
    model = made(backbone)
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(2 * NUM_KEYPOINTS, model.backbone.embed_dim, generator=generator)
    bias = torch.randn(2 * NUM_KEYPOINTS, generator=generator)
    with torch.no_grad():
        model.head.weight.copy_(weight)
        model.head.bias.copy_(bias)
        features = model.backbone(BATCH)
    found = model.predict(BATCH).keypoints.detach()
    for frame in range(2):
        for view in range(NUM_VIEWS):
            shares = weight @ features[frame, view].flatten(1).mean(dim=1) + bias
            for k in range(NUM_KEYPOINTS):
                x, y = found[frame, view * NUM_KEYPOINTS + k].tolist()
                assert x == pytest.approx(48 + 48 * shares[2 * k].item(), rel=1e-4)
                assert y == pytest.approx(32 + 32 * shares[2 * k + 1].item(), rel=1e-4)


def test_each_view_is_seen_by_itself():
    model = made()
    torch.nn.init.normal_(model.head.weight)
    batch = BATCH.clone().requires_grad_()
    model(batch)[:, :NUM_KEYPOINTS].sum().backward()
    assert batch.grad[:, 0].abs().max() > 0
    assert batch.grad[:, 1].abs().max() == 0
    one = model(BATCH[:, 1:], views=[1])
    assert_close(one, model(BATCH)[:, NUM_KEYPOINTS:])


def test_in_half_precision_a_pixel_stays_one():
    model = made()
    torch.nn.init.normal_(model.head.weight, std=0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(BATCH)
    assert half.dtype == torch.float32
    assert_close(half, model(BATCH), atol=0.2, rtol=0)


def test_what_losses_get():
    model = made()
    bbox = torch.tensor([10.0, 20.0, 2.0 * SIZE[0], 3.0 * SIZE[1]])
    batch = {
        "images": BATCH,
        "keypoints_targ": torch.zeros(2, 2 * NUM_VIEWS * NUM_KEYPOINTS),
        "visibility": torch.full((2, NUM_VIEWS * NUM_KEYPOINTS), 2, dtype=torch.uint8),
        "affine": affine.crop_and_resize(bbox, SIZE).expand(2, NUM_VIEWS, 2, 3),
        "bbox": bbox.repeat(2, NUM_VIEWS),
    }
    inputs = model.get_loss_inputs_labeled(batch)
    assert sorted(inputs) == [
        "bbox",
        "keypoints_pred",
        "keypoints_pred_augmented",
        "keypoints_targ",
        "visibility",
    ]
    # The centre of the crop, px in the original image.
    centre = torch.tensor([10.0 + 1.5 * SIZE[1], 20.0 + SIZE[0]])
    expected = centre.repeat(2, NUM_VIEWS * NUM_KEYPOINTS)
    assert_close(inputs["keypoints_pred"], expected)
    losses = lploss.LossFactory({"regression": {}, "rmse": {}, "temporal": {}})
    total, logs = losses(stage="train", **inputs)
    x, y = centre.tolist()
    assert logs[0]["value"].item() == pytest.approx((x**2 + y**2) / 2)
    total.backward()
    assert model.head.bias.grad.abs().min() > 0


def test_a_loss_of_heatmaps_is_refused_by_name():
    model = made()
    inputs = model.get_loss_inputs_unlabeled({"images": BATCH})
    with pytest.raises(MissingInputError) as caught:
        lploss.LossFactory({"temporal_heatmap_mse": {}}).check(**inputs)
    assert str(caught.value).startswith(
        "loss 'temporal_heatmap_mse' needs the input 'heatmaps_pred', which the batch does not "
        "hold.\nThe batch holds: keypoints_pred, keypoints_pred_augmented.\n"
    )


def test_a_config_asks_for_the_loss_of_keypoints_and_for_none_of_heatmaps():
    config = {"model": {"model_type": "regression", "heatmap_loss_type": "mse"}}
    factories = lploss.get_loss_factories(config)
    assert list(factories["supervised"].losses) == ["regression"]
    assert list(factories["unsupervised"].losses) == []


@pytest.mark.compiles
def test_compiled_it_is_the_same():
    model = made()
    torch.nn.init.normal_(model.head.weight)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert_close(compiled(BATCH), model(BATCH), atol=1e-3, rtol=1e-4)
