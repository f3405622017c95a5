from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import lploss
from lploss.errors import MissingInputError, ShapeError
from lploss_builtin.models.context_head import ContextHead
from lploss_builtin.models.heatmap import HeatmapModel
from lploss_builtin.models.heatmap_mhcrnn import HeatmapMHCRNN, MapsOfBothHeads
from lploss_builtin.ops import affine
from lploss_builtin.ops.gaussians import gaussian_heatmaps
from tests.lploss_builtin.models.small import SMALL

SIZE = (64, 96)
NUM_VIEWS, NUM_KEYPOINTS = 2, 3
NUM_MAPS = NUM_VIEWS * NUM_KEYPOINTS


def made(backbone="vits_dino", **params) -> HeatmapMHCRNN:
    torch.manual_seed(0)
    model = HeatmapMHCRNN(
        num_keypoints=NUM_KEYPOINTS,
        num_views=NUM_VIEWS,
        image_size=SIZE,
        backbone=backbone,
        pretrained=False,
        backbone_params=SMALL if backbone.startswith("vits") else None,
        **params,
    ).eval()
    # At the start the heads make maps that are nearly flat, in which nothing differs.
    with torch.no_grad():
        for head in (model.head, model.context_head.maps):
            for layer in head.layers[1:]:
                layer.weight.mul_(10.0)
        model.context_head.inputs.weight.mul_(10.0)
    return model


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


VIDEO = images(8, NUM_VIEWS, 3, *SIZE)


def of_single_frames(video: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the middle frames of a video, each with those around it, put together by hand."""
    numbers = range(2, len(video) - 2)
    around = [video[[t - 2, t - 1, t + 1, t + 2]].transpose(0, 1) for t in numbers]
    return {"images": video[2:-2], "context_images": torch.stack(around)}


def labelled(video: torch.Tensor) -> dict[str, torch.Tensor]:
    batch = of_single_frames(video)
    num_frames = len(batch["images"])
    generator = torch.Generator().manual_seed(2)
    bbox = torch.tensor([10.0, 20.0, 2.0 * SIZE[0], 3.0 * SIZE[1]])
    points = torch.rand(num_frames, NUM_VIEWS, NUM_KEYPOINTS, 2, generator=generator)
    points = points * torch.tensor([3.0 * SIZE[1], 2.0 * SIZE[0]]) + bbox[:2]
    return {
        **batch,
        "keypoints_targ": points.flatten(1),
        "visibility": torch.full((num_frames, NUM_MAPS), 2, dtype=torch.uint8),
        "bbox": bbox.repeat(num_frames, NUM_VIEWS),
        "affine": affine.crop_and_resize(bbox, SIZE).expand(num_frames, NUM_VIEWS, 2, 3),
        "image_size": torch.tensor([float(side) for side in SIZE]),
        "index": torch.arange(num_frames),
    }


@pytest.mark.parametrize("backbone", ["vits_dino", "test_resnet"])
def test_a_sequence_is_its_frames_with_those_around_each(backbone):
    model = made(backbone)
    with torch.no_grad():
        sequence = model.predict_sequence(VIDEO)
        single = of_single_frames(VIDEO)
        frames = model.predict(single["images"], context_images=single["context_images"])
    assert sequence.heatmaps.shape == (4, NUM_MAPS, 16, 24)
    assert sequence.keypoints.shape == (4, NUM_MAPS, 2)
    for ours, expected in zip(sequence, frames, strict=True):
        assert_close(ours, expected, atol=1e-4, rtol=1e-4)
        maps = model(VIDEO)
    for number in range(4):  # whatever the number of frames at once
        alone = model(VIDEO[number : number + 5])
        for ours, expected in zip(alone, maps, strict=True):
            assert_close(ours, expected[number : number + 1], atol=1e-5, rtol=1e-3)


def static_head_of(model: HeatmapMHCRNN) -> HeatmapModel:
    """Return the model of single frames with the same weights."""
    baseline = HeatmapModel(
        num_keypoints=NUM_KEYPOINTS,
        num_views=NUM_VIEWS,
        image_size=SIZE,
        pretrained=False,
        backbone_params=SMALL,
    ).eval()
    shared = {n: v for n, v in model.state_dict().items() if not n.startswith("context_head.")}
    baseline.load_state_dict(shared)
    return baseline


def test_the_static_head_is_the_model_of_single_frames():
    model = made()
    expected = static_head_of(model)(VIDEO[2:-2])
    assert_close(model(VIDEO).static, expected, atol=1e-6, rtol=1e-4)


def test_what_each_head_sees():
    """A frame's map hangs on the frames that it should, and on no others."""
    model = made()
    video = VIDEO[:7].clone().requires_grad_()
    maps = model(video)
    for own, window in ((maps.static, [3]), (maps.context, [1, 2, 3, 4, 5])):
        (gradient,) = torch.autograd.grad(
            own[1, :NUM_KEYPOINTS].square().sum(), video, retain_graph=True
        )
        of_frames = gradient.abs().amax(dim=(2, 3, 4))
        assert of_frames[:, 0].nonzero().flatten().tolist() == window
        assert of_frames[:, 1].max() == 0, "no view sees another one"


def test_the_order_of_the_frames_matters_and_both_directions_count():
    model = made()
    plain = model(VIDEO[:5]).context
    assert (model(VIDEO[[1, 0, 2, 3, 4]]).context - plain).abs().max() > 1e-5
    assert (model(VIDEO[[0, 1, 2, 4, 3]]).context - plain).abs().max() > 1e-5
    assert (model(VIDEO[:5].flip(0)).context - plain).abs().max() > 1e-5


def test_with_equal_weights_both_ways_time_can_be_turned_around():
    torch.manual_seed(0)
    head = ContextHead(dim=8, patch_size=16, num_keypoints=2, state_dim=4).eval()
    with torch.no_grad():
        head.backwards.weight.copy_(head.forwards.weight)
        head.inputs.weight[4:] = head.inputs.weight[:4]
        head.inputs.bias[4:] = head.inputs.bias[:4]
        states: list[torch.Tensor] = []
        head.maps.register_forward_pre_hook(lambda module, args: states.append(args[0]))
        frames = [head.encode(own) for own in torch.randn(5, 1, 8, 4, 6)]
        head(frames)
        head(frames[::-1])
    there, back = states
    assert_close(back, torch.cat(there.chunk(2, dim=1)[::-1], dim=1))


def test_the_recurrence_by_hand():
    head = ContextHead(dim=1, patch_size=4, num_keypoints=1, downsample_factor=1, state_dim=2)
    weights = {"forwards": 0.5, "backwards": -0.25}
    with torch.no_grad():
        for name, value in weights.items():
            layer = getattr(head, name)
            layer.weight.zero_()
            layer.weight[:, :, 1, 1] = value * torch.eye(2)
        head.inputs.weight.zero_()
        head.inputs.weight[:, 0, 1, 1] = torch.tensor([1.0, 2.0, 3.0, 4.0])
        head.inputs.bias.zero_()
    states: list[torch.Tensor] = []
    head.maps.register_forward_pre_hook(lambda module, args: states.append(args[0]))
    values = [0.3, -1.0, 0.7, 2.0, -0.4]
    head([head.encode(torch.full((1, 1, 1, 1), value)) for value in values])

    def gelu(value: float) -> float:
        return torch.nn.functional.gelu(torch.tensor(value, dtype=torch.float64)).item()

    expected = []
    for scale in (1.0, 2.0):
        state = gelu(scale * values[0])
        for value in values[1:3]:
            state = gelu(scale * value + 0.5 * state)
        expected.append(state)
    for scale in (3.0, 4.0):
        state = gelu(scale * values[4])
        for value in (values[3], values[2]):
            state = gelu(scale * value - 0.25 * state)
        expected.append(state)
    assert states[0].flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_features_are_computed_once_a_frame(monkeypatch):
    model = made()
    seen: list[int] = []
    features = model.features
    monkeypatch.setattr(
        model, "features", lambda frames, views: seen.append(len(frames)) or features(frames, views)
    )
    model.predict_sequence(VIDEO)
    model.get_loss_inputs_unlabeled({"images": VIDEO})
    assert seen == [8, 8]


def test_the_more_confident_head_wins(monkeypatch):
    model = made()
    points = torch.tensor([[24.0, 16.0], [48.0, 32.0]])
    sharp = gaussian_heatmaps(points[:1].expand(1, NUM_MAPS, 2), SIZE, (16, 24))
    other = gaussian_heatmaps(points[1:].expand(1, NUM_MAPS, 2), SIZE, (16, 24))
    flat = torch.full_like(sharp, 1 / 384)
    # Even keypoints are clear to the static head, odd ones to the other.
    is_even = (torch.arange(NUM_MAPS) % 2 == 0)[None, :, None, None]
    maps = MapsOfBothHeads(torch.where(is_even, sharp, flat), torch.where(is_even, flat, other))
    monkeypatch.setattr(model, "forward", lambda images, views=None, context_images=None: maps)
    for found in (model.predict(VIDEO[2:3]), model.predict_sequence(VIDEO[:5])):
        expected = points[torch.arange(NUM_MAPS) % 2][None]
        assert_close(found.keypoints, expected, atol=0.25, rtol=0)
        assert torch.equal(found.heatmaps, torch.where(is_even, sharp, other))
        clear = model.found_in(sharp, VIDEO).confidences, model.found_in(other, VIDEO).confidences
        wanted = torch.where(is_even[..., 0, 0], *clear)
        assert torch.equal(found.confidences, wanted)
    inputs = model.get_loss_inputs_unlabeled({"images": VIDEO[:5]})
    assert_close(inputs["keypoints_pred"], expected.flatten(1), atol=0.25, rtol=0)


def test_a_frame_without_others_stands_in_for_them():
    model = made()
    alone = model.predict(VIDEO[:1])
    still = model.predict_sequence(VIDEO[:1].expand(5, -1, -1, -1, -1))
    assert_close(alone.keypoints, still.keypoints, atol=1e-3, rtol=0)


def test_any_views_are_taken():
    model = made()
    both = model(VIDEO)
    one = model(VIDEO[:, 1:], views=[1])
    for ours, expected in zip(one, both, strict=True):
        assert_close(ours, expected[:, NUM_KEYPOINTS:], atol=1e-6, rtol=1e-4)


def test_whole_numbers_are_taken_as_well():
    model = made()
    numbers = (VIDEO * 255).round().to(torch.uint8)
    single = of_single_frames(numbers)
    expected = model.predict_sequence(numbers.float() / 255)
    found = model.predict(single["images"], None, single["context_images"])
    assert_close(found.keypoints, expected.keypoints, atol=1e-3, rtol=0)


def test_labelled_frames_are_there_once_for_each_head():
    model, batch = made(), labelled(VIDEO)
    num_frames = len(batch["images"])
    inputs = model.get_loss_inputs_labeled(batch)
    maps = model(batch["images"], None, batch["context_images"])
    assert_close(inputs["heatmaps_pred"], torch.cat([maps.static, maps.context]))
    single = static_head_of(model).get_loss_inputs_labeled(batch)
    assert sorted(inputs) == sorted(single)
    for name, values in inputs.items():
        if name == "image_size":
            assert torch.equal(values, batch["image_size"])
            continue
        assert len(values) == 2 * num_frames
        assert_close(values[:num_frames], single[name], atol=1e-3, rtol=1e-4)
        if "pred" not in name and name != "confidences":
            assert torch.equal(values[:num_frames], values[num_frames:])


def test_each_loss_is_the_mean_over_both_heads_and_both_learn():
    model, batch = made(), labelled(VIDEO)
    inputs = model.get_loss_inputs_labeled(batch)
    losses = lploss.LossFactory({"heatmap_mse": {}, "rmse": {}, "regression": {}})
    total, logs = losses(stage="train", **inputs)
    values = {entry["name"]: entry["value"] for entry in logs}
    maps = model(batch["images"], None, batch["context_images"])
    targets = inputs["heatmaps_targ"][: len(batch["images"])]
    by_hand = torch.stack([(own - targets).square().sum(dim=(2, 3)).mean() for own in maps])
    assert_close(values["train_heatmap_mse_loss"], by_hand.mean().detach())
    total.backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    for head in (model.head, model.context_head, model.backbone):
        assert max(p.grad.abs().max() for p in head.parameters() if p.grad is not None) > 0


def test_of_a_video_each_frame_is_there_once():
    model = made()
    bbox = torch.arange(8.0)[:, None] + torch.tensor([10.0, 20.0, 128.0, 288.0])
    boxes = torch.tensor([10.0, 20.0, 128.0, 288.0]).expand(8, NUM_VIEWS, 4)
    batch = {
        "images": VIDEO,
        "bbox": bbox.repeat(1, NUM_VIEWS),
        "affine": affine.crop_and_resize(boxes, SIZE),
        "image_size": torch.tensor([64.0, 96.0]),
        "intrinsics": torch.arange(8.0)[:, None, None, None].expand(8, NUM_VIEWS, 3, 3),
        "index": torch.zeros(8, dtype=torch.int64),
    }
    inputs = model.get_loss_inputs_unlabeled(batch)
    found = model.predict_sequence(VIDEO)
    assert_close(inputs["keypoints_pred_augmented"], found.keypoints.flatten(1))
    original = found.keypoints * torch.tensor([3.0, 2.0]) + torch.tensor([10.0, 20.0])
    assert_close(inputs["keypoints_pred"], original.flatten(1), atol=1e-3, rtol=0)
    assert inputs["bbox"][:, 0].tolist() == [12.0, 13.0, 14.0, 15.0]
    assert inputs["intrinsics"][:, 0, 0, 0].tolist() == [2.0, 3.0, 4.0, 5.0]
    assert inputs["image_size"].tolist() == [64.0, 96.0]
    assert inputs["heatmaps_pred"].shape == (4, NUM_MAPS, 16, 24)
    losses = lploss.LossFactory({"temporal": {}, "temporal_heatmap_mse": {}})
    total, logs = losses(stage="train", **inputs)
    # Three steps between four frames, and none from one head's frames to the other's.
    steps = (original[1:] - original[:-1]).norm(dim=-1)
    assert_close(logs[0]["value"], steps.mean().detach(), atol=1e-3, rtol=1e-4)
    total.backward()
    assert model.backbone.vit.patch_embed.proj.weight.grad.abs().max() > 0


def test_single_frames_without_labels_are_taken_with_those_around_them():
    model = made()
    inputs = model.get_loss_inputs_unlabeled(of_single_frames(VIDEO))
    expected = model.get_loss_inputs_unlabeled({"images": VIDEO})
    assert_close(inputs["keypoints_pred"], expected["keypoints_pred"], atol=1e-3, rtol=0)


@pytest.mark.mistyped
def test_what_cannot_be_used_is_refused():
    model = made()
    with pytest.raises(ShapeError) as caught:
        model.predict_sequence(VIDEO[:4])
    assert str(caught.value) == (
        "images must be at least 5 consecutive frames, got 4: of single frames give "
        "context_images, the 4 around each"
    )
    with pytest.raises(ShapeError) as caught:
        model.predict(VIDEO[:1], None, VIDEO[None, 1:3].transpose(1, 2))
    assert str(caught.value) == (
        "context_images must hold the 2 frames before and the 2 after each one of images, shape "
        "(1, 2, 4, 3, 64, 96), got (1, 2, 2, 3, 64, 96)"
    )
    batch = labelled(VIDEO)
    del batch["context_images"]
    with pytest.raises(MissingInputError, match="the batch must hold 'context_images'"):
        model.get_loss_inputs_labeled(batch)


def test_a_checkpoint_restores_both_heads(tmp_path):
    model = made()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    torch.manual_seed(9)
    other = made().requires_grad_(False)
    for parameter in other.parameters():
        parameter.add_(1.0)
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    for ours, theirs in zip(other(VIDEO), model(VIDEO), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.compiles
def test_compiled_it_is_the_same():
    model = made()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    single = of_single_frames(VIDEO)
    for given in ((VIDEO,), (single["images"], None, single["context_images"])):
        for ours, theirs in zip(compiled(*given), model(*given), strict=True):
            assert_close(ours, theirs, atol=1e-5, rtol=1e-3)
