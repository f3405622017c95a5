"""Factories in several processes: as one process with the whole batch.

The oracle pools the element-wise losses of all shards in one process; it knows no factory.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

import lploss
from lploss import LossFactory
from lploss.errors import ArgumentValueError, ConfigError
from lploss.testing.processes import run_in_processes
from tests.lploss import data_parallel
from tests.lploss.data_parallel import ANNEAL_WEIGHT, Batch, shard

WORK = "tests.lploss.data_parallel"
TIMEOUT = 300.0  # most of it for machines that are busy otherwise
DTYPES = {"float64": torch.float64, "float32": torch.float32}
# Of both precisions, what the sum over a batch may differ by for being summed in another order.
TOLERANCE = {"float64": 1e-12, "float32": 1e-6}

# For each training, the batches of its processes.
TWO = {
    "uneven": [{"num_labelled": 5, "num_video": 6}, {"num_labelled": 2, "num_video": 3}],
    "one empty": [{"num_labelled": 4, "num_video": 5}, {"num_labelled": 0, "num_video": 0}],
    "none valid": [{"num_labelled": 2, "num_video": 3, "labelled": 0.0, "confident": 0.0}] * 2,
}
THREE = {
    "uneven": [
        {"num_labelled": 4, "num_video": 6},
        {"num_labelled": 2, "num_video": 3, "labelled": 0.0, "confident": 0.0},
        {"num_labelled": 3, "num_video": 9, "labelled": 1.0},
    ],
    "one empty": [
        {"num_labelled": 0, "num_video": 0},
        {"num_labelled": 2, "num_video": 2},
        {"num_labelled": 6, "num_video": 1},
    ],
}
CASES = [
    pytest.param(len(shards), name, dtype, id=f"{len(shards)} processes, {name}, {dtype}")
    for cases in (TWO, THREE)
    for name, shards in cases.items()
    for dtype in DTYPES
]


def shards_of(num_processes: int, name: str, dtype: str) -> list[Batch]:
    described = (TWO if num_processes == 2 else THREE)[name]
    return [
        shard(10 * num_processes + rank, DTYPES[dtype], **own) for rank, own in enumerate(described)
    ]


@pytest.fixture(scope="module")
def processes() -> dict[int, list[dict]]:
    """What the processes of each group found: of each training, and of the same without sync."""
    found = {}
    for num_processes, cases in ((2, TWO), (3, THREE)):
        trainings: dict[str, list[tuple[Batch, object]]] = {}
        for name in cases:
            for dtype in DTYPES:
                shards = shards_of(num_processes, name, dtype)
                trainings[f"{name} {dtype}"] = [(own, "auto") for own in shards]
        shards = shards_of(num_processes, "uneven", "float64")
        trainings["uneven"] = [(own, "auto") for own in shards]
        trainings["alone"] = [(own, False) for own in shards]
        payloads = [
            {name: given[rank] for name, given in trainings.items()}
            for rank in range(num_processes)
        ]
        found[num_processes] = run_in_processes(f"{WORK}:steps", payloads, timeout=TIMEOUT)
    return found


def pooled(shards: list[Batch]) -> tuple[Tensor, dict[str, float]]:
    """Return the gradient of one process over all shards, and the value of each loss."""
    net = data_parallel.network(shards[0]["features"].dtype)
    given = [data_parallel.inputs(net, own) for own in shards]
    total, values = torch.zeros(()), {}
    for kind, factory in enumerate(data_parallel.factories(False)):
        for name, loss in factory.losses.items():
            parts = [loss.elementwise(**own[kind]).flatten() for own in given]
            elements = torch.cat(parts)
            counts = ~elements.isnan()
            number = elements.numel() if loss.denominator == "all" else int(counts.sum())
            mean = torch.where(counts, elements, 0.0).sum() / max(number, 1)
            weighted = loss.weight * mean
            total = total + (ANNEAL_WEIGHT * weighted if loss.annealed else weighted)
            values[name] = mean.item()
    total.backward()
    return data_parallel.flat_gradient(net), values


def relative(first: Tensor, second: Tensor) -> float:
    """Return the largest difference, as a share of the largest entry of the second."""
    return float((first - second).abs().max() / second.abs().max().clamp(min=1e-30))


@pytest.mark.parametrize(("num_processes", "name", "dtype"), CASES)
def test_the_averaged_gradient_is_that_of_one_process(
    processes: dict, num_processes: int, name: str, dtype: str
) -> None:
    expected, _ = pooled(shards_of(num_processes, name, dtype))
    if name != "none valid":
        assert expected.abs().max() > 1e-3
    for own in processes[num_processes]:
        gradient = own[f"{name} {dtype}"]["gradient"]
        assert gradient.isfinite().all()
        assert relative(gradient, expected) < TOLERANCE[dtype]


@pytest.mark.parametrize("num_processes", [2, 3])
def test_it_is_that_of_a_factory_on_the_whole_batch(processes: dict, num_processes: int) -> None:
    shards = shards_of(num_processes, "uneven", "float64")
    net = data_parallel.network(torch.float64)
    whole = {name: torch.cat([own[name] for own in shards]) for name in shards[0]}
    # The labelled frames of all shards, then all others.
    numbers = [len(own["keypoints_targ"]) for own in shards]
    features = [own["features"].tensor_split([n]) for own, n in zip(shards, numbers, strict=True)]
    whole["features"] = torch.cat([part[0] for part in features] + [part[1] for part in features])
    supervised, _ = data_parallel.factories("auto")
    given, _ = data_parallel.inputs(net, whole)
    result = supervised(stage="train", **given)
    for own in processes[num_processes]:
        for entry in result.logs:
            logged = own["uneven"]["logs"][f"supervised {entry['name']}"]
            torch.testing.assert_close(logged, entry["value"], rtol=1e-12, atol=0)


@pytest.mark.parametrize("num_processes", [2, 3])
def test_without_synchronisation_it_is_not(processes: dict, num_processes: int) -> None:
    shards = shards_of(num_processes, "uneven", "float64")
    expected, _ = pooled(shards)
    wrong = torch.stack([pooled([own])[0] for own in shards]).mean(dim=0)
    for own in processes[num_processes]:
        assert own["alone"]["all_reduces"] == []
        assert relative(own["alone"]["gradient"], wrong) < 1e-12
        assert relative(own["alone"]["gradient"], expected) > 0.05


@pytest.mark.parametrize(("num_processes", "name", "dtype"), CASES)
def test_what_is_logged_and_recorded_is_of_all_processes(
    processes: dict, num_processes: int, name: str, dtype: str
) -> None:
    _, expected = pooled(shards_of(num_processes, name, dtype))
    found = [own[f"{name} {dtype}"] for own in processes[num_processes]]
    for own in found:
        # To the bit, so that whatever is decided by them is decided alike.
        assert own["logs"] == found[0]["logs"]
        assert own["total"] == found[0]["total"]
        for loss, value in expected.items():
            key = next(key for key in own["logs"] if key.endswith(f"train_{loss}_loss"))
            approximately = pytest.approx(value, rel=TOLERANCE[dtype], abs=1e-12)
            assert own["logs"][key].item() == approximately
            assert own["records"][loss][0] == approximately
        weighted = [v for key, v in own["logs"].items() if key.endswith("_loss_weighted")]
        totals = [v for key, v in own["logs"].items() if key.endswith("total_loss")]
        assert sum(totals).item() == pytest.approx(sum(weighted).item(), rel=1e-6)
        assert own["total"].item() == pytest.approx(sum(totals).item(), rel=1e-6)


def test_the_recorder_counts_the_elements_of_its_process(processes: dict) -> None:
    used = [own["uneven float64"]["records"]["heatmap_mse"][1] for own in processes[3]]
    there = [
        int(own["heatmaps_targ"].flatten(2).any(-1).sum())
        for own in shards_of(3, "uneven", "float64")
    ]
    assert used == there
    assert there[1] == 0 < there[0] != there[2]


@pytest.mark.parametrize("num_processes", [2, 3])
def test_a_call_of_a_factory_is_one_small_all_reduce(processes: dict, num_processes: int) -> None:
    for own in processes[num_processes]:
        # For each of five and three losses its sum and its number of elements.
        assert own["uneven"]["all_reduces"] == [10, 6]


@pytest.mark.parametrize("num_processes", [2, 3])
def test_without_gradients_a_process_evaluates_alone(processes: dict, num_processes: int) -> None:
    first, *others = [own["validation"] for own in processes[num_processes]]
    assert first["all_reduces"] == []
    shards = shards_of(num_processes, "uneven", "float64")
    for shown, part in (("alone", shards[:1]), ("together", shards)):
        for loss, value in pooled(part)[1].items():
            key = next(key for key in first[shown] if key.endswith(f"train_{loss}_loss"))
            assert first[shown][key].item() == pytest.approx(value, rel=1e-12)
    for other in others:
        assert other["together"] == first["together"]


@pytest.mark.compiles
def test_a_compiled_factory_is_synchronised_as_well() -> None:
    shards = shards_of(2, "uneven", "float32")
    net = data_parallel.network(torch.float32)
    expected = torch.zeros(())
    for loss in data_parallel.factories(False)[0].losses.values():
        parts = [loss.elementwise(**data_parallel.inputs(net, own)[0]).flatten() for own in shards]
        expected = expected + loss.weight * torch.cat(parts).nanmean()
    expected.backward()
    found = run_in_processes(f"{WORK}:compiled_step", shards, timeout=TIMEOUT)
    for own in found:
        assert relative(own["gradient"], data_parallel.flat_gradient(net)) < 1e-6
        assert own["train_total_loss"].item() == pytest.approx(expected.item(), rel=1e-6)


BATCH = {
    "keypoints_targ": torch.tensor([[0.0, 0.0], [torch.nan, 0.0]]),
    "keypoints_pred": torch.tensor([[3.0, 4.0], [1.0, 1.0]]),
}


@pytest.mark.usefixtures("group_of_one")
def test_one_process_shares_only_if_it_is_told_to() -> None:
    for sync, exchanged in (("auto", []), (False, []), (True, [4])):
        losses = LossFactory({"regression": {}, "rmse": {}}, sync=sync)
        pred = BATCH["keypoints_pred"].clone().requires_grad_()
        with data_parallel.counted_all_reduces() as sizes:
            result = losses(stage="train", **(BATCH | {"keypoints_pred": pred}))
        assert sizes == exchanged
        result.loss.backward()
        assert {entry["name"]: entry["value"].item() for entry in result.logs} == {
            "train_regression_loss": 12.5,
            "regression_weight": 0.5,
            "train_regression_loss_weighted": 6.25,
            "train_rmse_loss": pytest.approx(12.5**0.5),
            "rmse_weight": 0.5,
            "train_rmse_loss_weighted": pytest.approx(12.5**0.5 / 2),
            "train_total_loss": pytest.approx(6.25 + 12.5**0.5 / 2),
        }
        # Half of (3, 4), and of its direction over the root of two.
        expected = torch.tensor([[1.5 + 0.15 * 2**0.5, 2.0 + 0.2 * 2**0.5], [0.0, 0.0]])
        torch.testing.assert_close(pred.grad, expected)


@pytest.mark.usefixtures("group_of_one")
def test_a_loss_alone_and_a_factory_without_losses_share_nothing() -> None:
    with data_parallel.counted_all_reduces() as sizes:
        lploss.create_loss("regression")(**BATCH)
        LossFactory({}, sync=True)(**BATCH)
    assert sizes == []


@pytest.mark.usefixtures("group_of_one")
def test_sharing_does_not_wait_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    # This device holds no data, so that whatever needs some fails; no backend knows it.
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: None)
    losses = LossFactory({"regression": {}, "temporal": {}}, sync=True).to("meta")
    batch = {name: value.to("meta") for name, value in BATCH.items()}
    batch["keypoints_pred"].requires_grad_()
    losses(stage="train", anneal_weight=0.5, **batch).loss.backward()
    assert batch["keypoints_pred"].grad.is_meta


@pytest.mark.usefixtures("group_of_one")
def test_a_loss_beyond_all_numbers_is_that_in_all_processes() -> None:
    batch = {**BATCH, "keypoints_pred": torch.full_like(BATCH["keypoints_pred"], 1e30)}
    assert LossFactory({"regression": {}}, sync=True)(**batch).loss.item() == math.inf


def test_without_a_process_group_nothing_is_shared() -> None:
    with data_parallel.counted_all_reduces() as sizes:
        assert LossFactory({"regression": {}}, sync=True)(**BATCH).loss.item() == 6.25
    assert sizes == []


@pytest.mark.mistyped
@pytest.mark.parametrize("sync", ["always", 1, None])
def test_a_sync_that_there_is_not_is_refused(sync: object) -> None:
    message = f"sync must be 'auto', True or False, got {sync!r}"
    for build in (
        lambda: LossFactory({}, sync=sync),
        lambda: LossFactory.from_config({}, sync=sync),
        lambda: lploss.get_loss_factories({}, sync=sync),
    ):
        with pytest.raises(ArgumentValueError) as caught:
            build()
        assert str(caught.value) == message


def test_every_way_to_a_factory_hands_sync_on() -> None:
    cfg = {"model": {"model_type": "heatmap", "losses_to_use": ["temporal"]}}
    assert [f.sync for f in lploss.get_loss_factories(cfg, sync=False).values()] == [False, False]
    assert LossFactory.from_config({"rmse": {}}, sync=True).sync is True
    assert LossFactory({}).sync == "auto"
    with pytest.raises(ConfigError, match="has no argument 'sync'"):
        LossFactory.from_config({"rmse": {"sync": False}})
