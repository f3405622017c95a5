"""Every model with every loss: either it gives what the loss needs, or the loss is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import lploss
from lploss.errors import MissingInputError
from tests.lploss_builtin.batches import LOSSES, create
from tests.lploss_builtin.models.small import SMALL

NUM_FRAMES, NUM_VIEWS, NUM_KEYPOINTS = 4, 2, 2
SIZE = (64, 96)

# What a model lacks for a loss: of labelled frames, and of a video. "" is nothing: it runs.
HEATMAPS = {"heatmap": "", "heatmap_mhcrnn": "", "heatmap_multiview_transformer": ""}
ALL = {**HEATMAPS, "regression": ""}
LACKS_LABELLED = {
    "heatmap_mse": {**HEATMAPS, "regression": "heatmaps_targ"},
    "heatmap_kl": {**HEATMAPS, "regression": "heatmaps_targ"},
    "heatmap_js": {**HEATMAPS, "regression": "heatmaps_targ"},
    "regression": ALL,
    "rmse": ALL,
    "temporal": ALL,
    "temporal_heatmap_mse": {**HEATMAPS, "regression": "heatmaps_pred"},
    "temporal_heatmap_kl": {**HEATMAPS, "regression": "heatmaps_pred"},
    "pca_singleview": ALL,
    "pca_multiview": ALL,
    "supervised_pairwise_projections": ALL,
    "supervised_reprojection_heatmap_mse": {**HEATMAPS, "regression": "heatmaps_targ"},
    "multiview_reprojection": ALL,
}
NEEDS_LABELS = {
    "heatmap_mse": "heatmaps_targ",
    "heatmap_kl": "heatmaps_targ",
    "heatmap_js": "heatmaps_targ",
    "regression": "keypoints_targ",
    "rmse": "keypoints_targ",
    "supervised_pairwise_projections": "keypoints_targ_3d",
    "supervised_reprojection_heatmap_mse": "heatmaps_targ",
}
LACKS_UNLABELLED = {
    loss: dict.fromkeys(ALL, NEEDS_LABELS[loss]) if loss in NEEDS_LABELS else lacks
    for loss, lacks in LACKS_LABELLED.items()
}
EVERY = [(model, loss) for loss in LACKS_LABELLED for model in ALL]


def test_the_tables_leave_nothing_out():
    assert sorted(LACKS_LABELLED) == sorted(LOSSES)
    assert sorted(ALL) == lploss.list_models()


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    made = {}
    for name in ALL:
        torch.manual_seed(0)
        made[name] = lploss.create_model(
            name,
            num_keypoints=NUM_KEYPOINTS,
            num_views=NUM_VIEWS,
            image_size=SIZE,
            pretrained=False,
            backbone_params=SMALL,
        )
        moved_from_its_start(made[name])
    return made


@pytest.fixture(scope="module")
def inputs(models) -> dict[str, dict[str, dict[str, Tensor]]]:
    """What losses are given: for each model of labelled frames, and of a video."""
    made = {}
    for name, model in models.items():
        number = getattr(model, "num_context_frames", 0)
        made[name] = {
            "labelled": model.get_loss_inputs_labeled(labelled(number)),
            "unlabelled": model.get_loss_inputs_unlabeled(video(NUM_FRAMES + 2 * number)),
        }
    return made


def moved_from_its_start(model: nn.Module) -> None:
    """At the start no keypoint differs from another one."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "head" in name:
                parameter += 0.5 * torch.randn(parameter.shape, generator=generator)


def video(num_frames: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    intrinsics = torch.tensor([[90.0, 0.0, 48.0], [0.0, 90.0, 32.0], [0.0, 0.0, 1.0]]).double()
    angle = 0.5
    turn = torch.tensor(
        [
            [math.cos(angle), 0.0, -math.sin(angle), 8 * math.sin(angle)],
            [0.0, 1.0, 0.0, 0.0],
            [math.sin(angle), 0.0, math.cos(angle), 8 - 8 * math.cos(angle)],
        ]
    ).double()
    extrinsics = torch.stack([torch.eye(3, 4).double(), turn])
    return {
        "images": torch.rand(num_frames, NUM_VIEWS, 3, *SIZE, generator=generator),
        "affine": torch.eye(2, 3).expand(num_frames, NUM_VIEWS, 2, 3),
        "bbox": torch.tensor([0.0, 0.0, *map(float, SIZE)]).repeat(num_frames, NUM_VIEWS),
        "image_size": torch.tensor([float(side) for side in SIZE]),
        "intrinsics": intrinsics.expand(num_frames, NUM_VIEWS, 3, 3),
        "extrinsics": extrinsics.expand(num_frames, NUM_VIEWS, 3, 4),
        "index": torch.zeros(num_frames, dtype=torch.int64),
    }


def labelled(num_context_frames: int) -> dict[str, Tensor]:
    batch = video(NUM_FRAMES)
    points = torch.tensor([40.0, 30.0, 56.0, 36.0]).repeat(NUM_FRAMES, NUM_VIEWS)
    batch["keypoints_targ"] = points
    batch["visibility"] = torch.full((NUM_FRAMES, NUM_VIEWS * NUM_KEYPOINTS), 2, dtype=torch.uint8)
    if num_context_frames:
        around = batch["images"][:, :, None].flip(-1)
        batch["context_images"] = around.repeat(1, 1, 2 * num_context_frames, 1, 1, 1)
    return batch


@pytest.mark.parametrize("kind", ["labelled", "unlabelled"])
@pytest.mark.parametrize(("model", "loss"), EVERY)
def test_it_runs_or_is_refused_by_name(model, loss, kind, models, inputs):
    lacks = {"labelled": LACKS_LABELLED, "unlabelled": LACKS_UNLABELLED}[kind][loss][model]
    losses = lploss.LossFactory({loss: create(loss)})
    given = inputs[model][kind]
    if lacks:
        with pytest.raises(MissingInputError) as caught:
            losses.check(**given)
        wanted = f"loss {loss!r} needs the input {lacks!r}, which the batch does not hold."
        assert str(caught.value).startswith(wanted)
        return
    losses.check(**given)
    total, _ = losses(stage="train", **given)
    assert total.isfinite()
    (record,) = losses.records()
    assert record.used > 0, "nothing was left of the batch"
    parameters = [p for p in models[model].parameters() if p.requires_grad]
    gradients = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
    there = [own for own in gradients if own is not None]
    assert all(own.isfinite().all() for own in there)
    assert max(own.abs().max() for own in there) > 0
