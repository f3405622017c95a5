"""A step of a training in one of several processes; light, for each of them imports it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lploss import Loss, LossFactory

NUM_FEATURES, NUM_KEYPOINTS, HEIGHT, WIDTH = 5, 3, 4, 6
ANNEAL_WEIGHT = 0.3
Batch = dict[str, Tensor]


class PlainMean(Loss):
    """Reduces in its own way, which gives NaN for an empty batch."""

    loss_name = "plain_mean"
    kind = "supervised"

    def compute_loss(self, keypoints_pred):
        return keypoints_pred.square()

    def reduce_loss(self, loss, valid=None, method="mean"):
        return loss.mean()


def network(dtype: torch.dtype) -> nn.Module:
    """Return a network from features of frames to keypoints and maps, the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Linear(NUM_FEATURES, 7),
            nn.Tanh(),
            nn.Linear(7, NUM_KEYPOINTS * (2 + HEIGHT * WIDTH)),
        ).to(dtype)


def shard(
    seed: int,
    dtype: torch.dtype,
    *,
    num_labelled: int,
    num_video: int,
    labelled: float = 0.6,
    confident: float = 0.8,
) -> Batch:
    """Return a batch: frames with labels, of which a share is there, and frames of a video."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def chosen(num_frames: int, share: float) -> Tensor:
        return torch.rand(num_frames, NUM_KEYPOINTS, generator=generator) < share

    there = chosen(num_labelled, labelled)
    maps = randn(num_labelled, NUM_KEYPOINTS, HEIGHT * WIDTH).softmax(-1)
    maps = maps.unflatten(-1, (HEIGHT, WIDTH)) * there[..., None, None]
    targ = randn(num_labelled, NUM_KEYPOINTS, 2).masked_fill(~there[..., None], torch.nan)
    batch = {
        "features": randn(num_labelled + num_video, NUM_FEATURES),
        "keypoints_targ": targ.flatten(1),
        "heatmaps_targ": maps,
        "confidences": chosen(num_video, confident).double(),
    }
    return {name: value.to(dtype) for name, value in batch.items()}


def inputs(net: nn.Module, batch: Batch) -> tuple[Batch, Batch]:
    """Return what the supervised and what the unsupervised losses get, with predictions."""
    keypoints, maps = net(batch["features"]).split([2 * NUM_KEYPOINTS, NUM_KEYPOINTS * 24], dim=1)
    maps = maps.unflatten(1, (NUM_KEYPOINTS, HEIGHT * WIDTH)).softmax(-1)
    maps = maps.unflatten(2, (HEIGHT, WIDTH))
    num_labelled = len(batch["keypoints_targ"])
    supervised = {
        "keypoints_targ": batch["keypoints_targ"],
        "heatmaps_targ": batch["heatmaps_targ"],
        "keypoints_pred": keypoints[:num_labelled],
        "heatmaps_pred": maps[:num_labelled],
    }
    unsupervised = {
        "confidences": batch["confidences"],
        "keypoints_pred": keypoints[num_labelled:],
        "heatmaps_pred": maps[num_labelled:],
    }
    return supervised, unsupervised


def poses() -> Tensor:
    """Return labels to fit: the keypoints lie near a plane."""
    generator = torch.Generator().manual_seed(11)
    plane = torch.randn(2, 2 * NUM_KEYPOINTS, generator=generator)
    noise = torch.randn(30, 2 * NUM_KEYPOINTS, generator=generator)
    return torch.randn(30, 2, generator=generator) @ plane + 0.1 * noise


def factories(sync: Any) -> tuple[LossFactory, LossFactory]:
    """Return the supervised and the unsupervised losses."""
    supervised = {
        "heatmap_mse": {"log_weight": -1.0},
        "heatmap_kl": {},
        "regression": {"epsilon": 0.1},
        "rmse": {"log_weight": 0.5},
        "plain_mean": PlainMean(),
    }
    pca = {"components_to_keep": 2, "data_module": poses()}
    unsupervised = {
        "temporal": {"prob_threshold": 0.5, "epsilon": 0.05},
        "temporal_heatmap_mse": {"prob_threshold": 0.5, "log_weight": -2.0},
        "pca_singleview": pca,
    }
    return LossFactory(supervised, sync=sync), LossFactory(unsupervised, sync=sync)


def evaluated(
    losses: tuple[LossFactory, LossFactory], given: tuple[Batch, Batch]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the sum of both factories' totals, and all that they log."""
    results = [
        factory(stage="train", anneal_weight=ANNEAL_WEIGHT, **own)
        for factory, own in zip(losses, given, strict=True)
    ]
    logs = {}
    for kind, result in zip(("supervised", "unsupervised"), results, strict=True):
        logs |= {f"{kind} {entry['name']}": entry["value"] for entry in result.logs}
    return results[0].loss + results[1].loss, logs


@contextmanager
def counted_all_reduces() -> Iterator[list[int]]:
    """Note how many numbers each all-reduce of the losses exchanges."""
    sizes, original = [], dist.all_reduce

    def counted(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        sizes.append(tensor.numel())
        return original(tensor, *args, **kwargs)

    dist.all_reduce = counted
    try:
        yield sizes
    finally:
        dist.all_reduce = original


def step(batch: Batch, sync: Any) -> dict[str, Any]:
    """Take one step of a training under DDP; return all that can be seen of it."""
    net = DistributedDataParallel(network(batch["features"].dtype))
    losses = factories(sync)
    with counted_all_reduces() as sizes:
        total, logs = evaluated(losses, inputs(net, batch))
    total.backward()
    records = [record for factory in losses for record in factory.records()]
    return {
        "gradient": flat_gradient(net),
        "total": total.detach(),
        "logs": logs,
        "all_reduces": sizes,
        "records": {record.loss: (record.value, record.used) for record in records},
    }


def labelled_losses(sync: Any) -> LossFactory:
    """Return losses whose elements are those that are labelled."""
    return LossFactory({"heatmap_mse": {}, "regression": {"log_weight": 0.5}}, sync=sync)


def accumulated(batches: list[Batch]) -> dict[str, Any]:
    """Accumulate the gradient of some batches under DDP."""
    net = DistributedDataParallel(network(batches[0]["features"].dtype))
    losses = labelled_losses("auto")
    labels = [{n: own[n] for n in ("keypoints_targ", "heatmaps_targ")} for own in batches]
    weights = losses.batch_weights(labels)
    for own, weight in zip(batches, weights, strict=True):
        result = losses(batch_weights=weight, **inputs(net, own)[0])
        (result.loss / len(batches)).backward()
    return {"gradient": flat_gradient(net), "weights": weights}


def flat_gradient(net: nn.Module) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in net.parameters()])


def steps(payload: dict[str, tuple[Batch, Any]]) -> dict[str, dict[str, Any]]:
    """Take the steps of one process, each with another batch; and validate in one process."""
    found = {name: step(*given) for name, given in payload.items()}
    found["validation"] = validation(payload["uneven"][0])
    return found


def validation(batch: Batch) -> dict[str, Any]:
    """Evaluate without gradients: with sync="auto" in one process alone, with True in all."""
    net = network(batch["features"].dtype)
    alone, together = factories("auto"), factories(True)
    with torch.no_grad():
        given = inputs(net, batch)
        found = {"together": evaluated(together, given)[1]}
        if dist.get_rank() == 0:
            with counted_all_reduces() as sizes:
                found |= {"alone": evaluated(alone, given)[1], "all_reduces": sizes}
    return found


def errors_and_gradients(
    cases: dict[str, tuple[str, dict[str, Any]]],
) -> dict[str, tuple[float, list[list[float]], int]]:
    """Return for each case the loss, its gradient for the predictions, and how often it reduced."""
    found = {}
    for name, (mode, given) in cases.items():
        batch = {key: torch.as_tensor(value) for key, value in given.items()}
        pred = batch["keypoints_pred"].requires_grad_()
        losses = LossFactory({"regression": {}}, nan_predictions=mode)
        with counted_all_reduces() as sizes:
            total = losses(**batch).loss
        (slope,) = torch.autograd.grad(total, pred)
        found[name] = (total.item(), slope.tolist(), len(sizes))
    return found


def compiled_step(batch: Batch) -> dict[str, Tensor]:
    """Take one step with both factories as compiled graphs."""
    torch.manual_seed(0)
    net = network(batch["features"].dtype)
    supervised, _ = factories("auto")
    compiled = torch.compile(supervised, fullgraph=True, backend="aot_eager")
    given, _ = inputs(net, batch)
    result = compiled(stage="train", **given)
    result.loss.backward()
    gradient = flat_gradient(net)
    dist.all_reduce(gradient)
    logs = {entry["name"]: entry["value"] for entry in result.logs}
    return {"gradient": gradient / dist.get_world_size(), **logs}
