"""What a factory of eight losses costs over the same eight functions called by hand.

The inputs are tiny, so nearly all time is overhead: checks, masks, weights, logs, the recorder.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import report, timing
from benchmarks.report import Figure, Options
from benchmarks.timing import Comparison, Quartiles
from lploss import LossFactory
from lploss_builtin.ops import heatmaps, keypoints

_LOG_WEIGHT = 1.0
_PROB_THRESHOLD = 0.05
_LOSSES = {
    "heatmap_mse": {},
    "heatmap_kl": {},
    "heatmap_js": {},
    "regression": {},
    "rmse": {},
    "temporal": {"prob_threshold": _PROB_THRESHOLD},
    "temporal_heatmap_mse": {"prob_threshold": _PROB_THRESHOLD},
    "temporal_heatmap_kl": {"prob_threshold": _PROB_THRESHOLD},
}

# What the recorder keeps is summed up now and then: so many calls a timing have that in all.
_CALLS = 256
_REQUIRED = 2.0


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one way to evaluate eight losses; times in seconds.

    Attributes:
        way: how they are evaluated.
        backward: whether the gradient is computed as well.
        seconds: time of one call.
        over_by_hand: that time over the one by hand.
        over_guarded: that time over the one by hand with the same guards.
        over_bare: that time over the one of the bare functions.
    """

    way: str
    backward: bool
    seconds: Quartiles
    over_by_hand: Comparison
    over_guarded: Comparison
    over_bare: Comparison


def main() -> None:
    report.run("factory_overhead", __doc__, run)


def run(options: Options) -> None:
    # Nothing here is large enough for a second thread, whatever was asked for.
    torch.set_num_threads(1)
    batch = tiny_batch(options.device)
    params = {name: {"log_weight": _LOG_WEIGHT, **own} for name, own in _LOSSES.items()}
    recorded = LossFactory(params).to(options.device)
    silent = LossFactory(params, record=False).to(options.device)
    ways: dict[str, Callable[[], Tensor]] = {
        "factory, recorder on": lambda: recorded(stage="train", **batch).loss,
        "factory, recorder off": lambda: silent(stage="train", **batch).loss,
        "by hand": lambda: by_hand(**batch),
        "by hand, guarded": lambda: by_hand_guarded(**batch),
        "bare functions": lambda: bare(**batch),
    }
    torch.testing.assert_close(by_hand(**batch), ways["factory, recorder on"]())
    torch.testing.assert_close(by_hand_guarded(**batch), ways["factory, recorder on"]())

    wrt = [tensor for tensor in batch.values() if tensor.requires_grad]
    rows = measure(ways, False, options)
    rows += measure({name: _with_backward(way, wrt) for name, way in ways.items()}, True, options)
    figures = [
        Figure(
            f"{row.way}, {_direction(row)}, times the cost {what}",
            _REQUIRED,
            over.ratio.median,
            is_least=False,
        )
        for row in rows
        if row.way == "factory, recorder on"
        for what, over in (
            ("by hand", row.over_by_hand),
            ("by hand with the same guards", row.over_guarded),
        )
    ]
    waits = timing.check_no_wait(ways["factory, recorder on"], options.device)
    note = "" if waits is None else f"Runs without waiting for the device: {waits}."
    report.publish("factory_overhead", options, _table(rows), rows, figures, note)


def tiny_batch(device: torch.device) -> dict[str, Tensor]:
    """Return two frames of three keypoints, with maps of 8 x 8 and one missing label."""
    generator = torch.Generator().manual_seed(0)
    targ, pred = torch.randn(2, 2, 3, 64, generator=generator).softmax(-1).view(2, 2, 3, 8, 8)
    targ[0, 0] = 0.0
    points_targ, points_pred = torch.rand(2, 2, 6, generator=generator) * 64
    points_targ[0, :2] = torch.nan
    confidences = torch.rand(2, 3, generator=generator)
    return {
        "heatmaps_targ": targ.to(device),
        "heatmaps_pred": pred.to(device).requires_grad_(),
        "keypoints_targ": points_targ.to(device),
        "keypoints_pred": points_pred.to(device).requires_grad_(),
        "confidences": confidences.to(device),
    }


def by_hand(
    heatmaps_targ: Tensor,
    heatmaps_pred: Tensor,
    keypoints_targ: Tensor,
    keypoints_pred: Tensor,
    confidences: Tensor,
) -> Tensor:
    """Return the total of the eight losses, as one would write it for these eight alone.

    The masks are shared; predictions are taken to be finite, and nothing is checked or logged.
    """
    labelled = heatmaps.is_labelled(heatmaps_targ)
    present = keypoints.is_present(keypoints_targ)
    points_targ = keypoints.without_gaps(keypoints_targ)
    sure = confidences >= _PROB_THRESHOLD
    step = sure[1:] & sure[:-1]
    weight = 1 / (2 * math.exp(_LOG_WEIGHT))
    return (
        weight * _mean(heatmaps.squared_error(heatmaps_targ, heatmaps_pred), labelled)
        + weight * _mean(heatmaps.kl_divergence(heatmaps_targ, heatmaps_pred), labelled)
        + weight * _mean(heatmaps.js_divergence(heatmaps_targ, heatmaps_pred), labelled)
        + weight * _mean(keypoints.squared_error(points_targ, keypoints_pred), present)
        + weight * _mean(keypoints.root_mean_squared_error(points_targ, keypoints_pred), present)
        + weight * torch.where(step, keypoints.temporal_distance(keypoints_pred), 0.0).mean()
        + weight * torch.where(step, heatmaps.temporal_squared_error(heatmaps_pred), 0.0).mean()
        + weight * torch.where(step, heatmaps.temporal_kl_divergence(heatmaps_pred), 0.0).mean()
    )


def by_hand_guarded(
    heatmaps_targ: Tensor,
    heatmaps_pred: Tensor,
    keypoints_targ: Tensor,
    keypoints_pred: Tensor,
    confidences: Tensor,
) -> Tensor:
    """Return the total by hand with what the losses guarantee: the same for every input.

    Predictions that are not finite are left out with a gradient of zero, and epsilon is taken
    off. The masks are shared; nothing is checked or logged.
    """
    finite = heatmaps.is_finite(heatmaps_pred)
    labelled = heatmaps.is_labelled(heatmaps_targ) & finite
    present = keypoints.is_present(keypoints_pred)
    both = keypoints.is_present(keypoints_targ) & present
    points_targ = keypoints.without_gaps(keypoints_targ)
    points_pred = keypoints.without_gaps(keypoints_pred)
    sure = confidences >= _PROB_THRESHOLD
    step = (sure & present)[1:] & (sure & present)[:-1]
    map_step = (sure & finite)[1:] & (sure & finite)[:-1]
    weight = 1 / (2 * math.exp(_LOG_WEIGHT))
    losses = (
        _mean(torch.relu(heatmaps.squared_error(heatmaps_targ, heatmaps_pred) - 0.0), labelled),
        _mean(torch.relu(heatmaps.kl_divergence(heatmaps_targ, heatmaps_pred) - 0.0), labelled),
        _mean(torch.relu(heatmaps.js_divergence(heatmaps_targ, heatmaps_pred) - 0.0), labelled),
        _mean(torch.relu(keypoints.squared_error(points_targ, points_pred) - 0.0), both),
        _mean(torch.relu(keypoints.root_mean_squared_error(points_targ, points_pred) - 0.0), both),
        torch.where(step, torch.relu(keypoints.temporal_distance(points_pred) - 0.0), 0.0).mean(),
        torch.where(
            map_step, torch.relu(heatmaps.temporal_squared_error(heatmaps_pred) - 0.0), 0.0
        ).mean(),
        torch.where(
            map_step, torch.relu(heatmaps.temporal_kl_divergence(heatmaps_pred) - 0.0), 0.0
        ).mean(),
    )
    total = weight * losses[0]
    for loss in losses[1:]:
        total = total + weight * loss
    return total


def bare(
    heatmaps_targ: Tensor,
    heatmaps_pred: Tensor,
    keypoints_targ: Tensor,
    keypoints_pred: Tensor,
    confidences: Tensor,
) -> Tensor:
    """Return the sum of the means of the eight functions: no masks, no weights."""
    return (
        heatmaps.squared_error(heatmaps_targ, heatmaps_pred).mean()
        + heatmaps.kl_divergence(heatmaps_targ, heatmaps_pred).mean()
        + heatmaps.js_divergence(heatmaps_targ, heatmaps_pred).mean()
        + keypoints.squared_error(keypoints_targ, keypoints_pred).mean()
        + keypoints.root_mean_squared_error(keypoints_targ, keypoints_pred).mean()
        + keypoints.temporal_distance(keypoints_pred).mean()
        + heatmaps.temporal_squared_error(heatmaps_pred).mean()
        + heatmaps.temporal_kl_divergence(heatmaps_pred).mean()
    )


def measure(ways: dict[str, Callable[[], object]], backward: bool, options: Options) -> list[Row]:
    seconds = timing.interleaved(ways, options.device, options.rounds, number=_CALLS)
    return [
        Row(
            way,
            backward,
            Quartiles.of(values),
            Comparison.of(values, seconds["by hand"]),
            Comparison.of(values, seconds["by hand, guarded"]),
            Comparison.of(values, seconds["bare functions"]),
        )
        for way, values in seconds.items()
    ]


def _mean(loss: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid, loss, 0.0).sum() / valid.sum().clamp(min=1)


def _with_backward(way: Callable[[], Tensor], wrt: list[Tensor]) -> Callable[[], object]:
    return lambda: torch.autograd.grad(way(), wrt)


def _direction(row: Row) -> str:
    return "forward and backward" if row.backward else "forward"


def _table(rows: list[Row]) -> dict[str, list[str]]:
    return {
        "eight losses": [row.way for row in rows],
        "": [_direction(row) for row in rows],
        "ms": [report.milliseconds(row.seconds) for row in rows],
        "times by hand": [report.times(row.over_by_hand.ratio) for row in rows],
        "quiet": [f"{row.over_by_hand.quiet:.2f}" for row in rows],
        "times guarded": [report.times(row.over_guarded.ratio) for row in rows],
        "times bare": [report.times(row.over_bare.ratio) for row in rows],
        "bare, quiet": [f"{row.over_bare.quiet:.2f}" for row in rows],
    }


if __name__ == "__main__":
    main()
