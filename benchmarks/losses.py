"""The losses, forward and backward, beside those of the peer.

Ours are called through `Loss.forward`, the peer's through their ``__call__``, both with what they
do against unlabelled keypoints. Values and gradients are compared before anything is timed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

import lploss
from benchmarks import peer, report, timing
from benchmarks.report import Figure, Options
from benchmarks.timing import Comparison, Quartiles

# The weight 1 / (2 * exp(log_weight)) is then 1, as it is in the peer's losses.
_LOG_WEIGHT_OF_1 = -math.log(2.0)

# From this size on, moving the data is what a loss takes its time for.
_LARGE = 2**22


@dataclass(frozen=True, slots=True)
class Case:
    """One loss on one batch.

    Attributes:
        name: name of the loss.
        batch: what both get.
        pred: name of the input that gets a gradient.
        params: arguments of our loss.
        peer: builds the peer's loss.
        required: how many times faster than the peer's ours must be.
    """

    name: str
    batch: dict[str, Tensor]
    pred: str
    peer: Callable[[ModuleType], Any]
    params: dict[str, Any] = field(default_factory=dict)
    required: float | None = None

    @property
    def shape(self) -> str:
        """The shape of the predictions, for a table."""
        return " x ".join(map(str, self.batch[self.pred].shape))

    @property
    def least_bytes(self) -> int:
        """What cannot but be moved: each input read forward and backward, the gradient written."""
        return 2 * sum(t.nbytes for t in self.batch.values()) + self.batch[self.pred].nbytes


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one loss; times in seconds.

    Attributes:
        name: name of the loss.
        shape: shape of the predictions.
        ours: time of ours, forward and backward.
        peer: time of the peer's.
        comparison: how many times faster ours is.
        over_limit: our time over that of a copy of the same bytes; large inputs only.
        peak_bytes: memory that ours holds at most.
        peer_peak_bytes: memory that the peer's holds at most.
        agrees: whether value and gradient are the peer's.
        never_waits: whether ours runs without waiting for the device.
    """

    name: str
    shape: str
    ours: Quartiles
    peer: Quartiles | None
    comparison: Comparison | None
    over_limit: float | None
    peak_bytes: int
    peer_peak_bytes: int | None
    agrees: bool | None
    never_waits: bool | None


def main() -> None:
    report.run("losses", __doc__, run)


def run(options: Options) -> None:
    torch.set_num_threads(options.threads)
    module = peer.losses()
    bandwidth = timing.copy_bandwidth(options.device)
    rows, figures = [], []
    for case in cases(options.device):
        row = measure(case, module, options, bandwidth)
        rows.append(row)
        if case.required is not None and row.comparison is not None:
            what = f"{case.name}, times as fast as the peer's"
            figures.append(Figure(what, case.required, row.comparison.ratio.median))
    missing = "" if module else " The peer is not installed: see benchmarks/README.md."
    note = f"A copy moved {bandwidth / 1e9:.0f} GB/s.{missing}"
    report.publish("losses", options, _table(rows), rows, figures, note)


def cases(device: torch.device) -> list[Case]:
    generator = torch.Generator().manual_seed(0)
    batch = {name: t.to(device) for name, t in _supervised_maps(generator).items()}
    frames = {name: t.to(device) for name, t in _consecutive_maps(generator).items()}
    points = {name: t.to(device) for name, t in _keypoints(generator).items()}
    labels, poses = _two_views(generator)
    views = [list(range(10)), list(range(10, 20))]
    temporal = {"epsilon": 20.0, "prob_threshold": 0.05}
    multiview = {"mirrored_column_matches": views, "components_to_keep": 3}
    singleview = {"components_to_keep": 0.99}

    def pca(name: str, **params: Any) -> Callable[[ModuleType], Any]:
        return lambda m: peer.pca_loss(m, labels, device, loss_name=name, **params)

    def without(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: tensor for key, tensor in tensors.items() if key != name}

    return [
        Case("heatmap_mse", batch, "heatmaps_pred", lambda m: m.HeatmapMSELoss(), required=4.0),
        Case("heatmap_kl", batch, "heatmaps_pred", lambda m: m.HeatmapKLLoss()),
        Case("heatmap_js", batch, "heatmaps_pred", lambda m: m.HeatmapJSLoss()),
        Case(
            "temporal_heatmap_mse",
            frames,
            "heatmaps_pred",
            lambda m: m.TemporalHeatmapLoss("temporal_heatmap_mse", prob_threshold=0.05),
            {"prob_threshold": 0.05},
            required=5.0,
        ),
        Case(
            "temporal_heatmap_kl",
            frames,
            "heatmaps_pred",
            lambda m: m.TemporalHeatmapLoss("temporal_heatmap_kl", prob_threshold=0.05),
            {"prob_threshold": 0.05},
            required=3.0,
        ),
        Case(
            "regression",
            without("confidences", points),
            "keypoints_pred",
            lambda m: m.RegressionMSELoss(),
        ),
        Case("rmse", without("confidences", points), "keypoints_pred", _peer_rmse),
        Case(
            "temporal",
            without("keypoints_targ", points),
            "keypoints_pred",
            lambda m: m.TemporalLoss(**temporal),
            temporal,
        ),
        Case(
            "pca_multiview",
            {"keypoints_pred": poses.to(device)},
            "keypoints_pred",
            pca("pca_multiview", **multiview),
            {**multiview, "data_module": labels},
        ),
        Case(
            "pca_singleview",
            {"keypoints_pred": poses.to(device)},
            "keypoints_pred",
            pca("pca_singleview", **singleview),
            {**singleview, "data_module": labels},
        ),
    ]


def measure(case: Case, module: ModuleType | None, options: Options, bandwidth: float) -> Row:
    pred = case.batch[case.pred].requires_grad_()
    loss = lploss.create_loss(case.name, log_weight=_LOG_WEIGHT_OF_1, **case.params)
    loss.to(options.device)

    def ours() -> tuple[Tensor, Tensor]:
        value = loss(stage="train", **case.batch).loss
        return value, torch.autograd.grad(value, pred)[0]

    calls = {"ours": lambda: ours()[1]}
    if module is not None:
        peer_loss = case.peer(module)

        def peers() -> tuple[Tensor, Tensor]:
            value = peer_loss(stage="train", **case.batch)[0]
            return value, torch.autograd.grad(value, pred)[0]

        calls["peer"] = lambda: peers()[1]
    seconds = timing.interleaved(calls, options.device, options.rounds)
    quartiles = {name: Quartiles.of(values) for name, values in seconds.items()}
    peaks = {name: timing.peak_bytes(call, options.device) for name, call in calls.items()}
    limit = case.least_bytes / bandwidth
    with_peer = module is not None
    return Row(
        case.name,
        case.shape,
        quartiles["ours"],
        quartiles.get("peer"),
        Comparison.of(seconds["peer"], seconds["ours"]) if with_peer else None,
        quartiles["ours"].median / limit if pred.nbytes >= _LARGE else None,
        peaks["ours"],
        peaks.get("peer"),
        _agree(ours(), peers()) if with_peer else None,
        timing.check_no_wait(calls["ours"], options.device),
    )


def _agree(ours: tuple[Tensor, ...], peers: tuple[Tensor, ...]) -> bool:
    for our, their in zip(ours, peers, strict=True):
        their = their.detach()
        # The largest gradients decide: rounding near zero is nobody's fault.
        if not torch.allclose(our.detach(), their, rtol=1e-4, atol=1e-5 * float(their.abs().max())):
            return False
    return True


def _peer_rmse(module: ModuleType) -> Any:
    return module.RegressionRMSELoss()


def _supervised_maps(generator: torch.Generator) -> dict[str, Tensor]:
    """Return 16 x 80 maps of 64 x 64; one target in forty is not labelled."""
    logits = torch.randn(16, 80, 64, 64, generator=generator)
    targets = _gaussians(16, 80, 64, generator)
    targets[::4, ::10] = 0.0
    maps = logits.flatten(2).softmax(dim=-1).view_as(logits)
    return {"heatmaps_targ": targets, "heatmaps_pred": maps}


def _consecutive_maps(generator: torch.Generator) -> dict[str, Tensor]:
    """Return 96 frames of 17 maps of 64 x 64; one confidence in twenty is low."""
    logits = torch.randn(96, 17, 64, 64, generator=generator)
    return {
        "heatmaps_pred": logits.flatten(2).softmax(-1).view_as(logits),
        "confidences": torch.rand(96, 17, generator=generator),
    }


def _keypoints(generator: torch.Generator) -> dict[str, Tensor]:
    """Return 16 frames of 20 keypoints; one label in twenty is missing."""
    targets = torch.rand(16, 40, generator=generator) * 256
    targets[:, 4:6] = torch.nan
    return {
        "keypoints_targ": targets,
        "keypoints_pred": torch.rand(16, 40, generator=generator) * 256,
        "confidences": torch.rand(16, 20, generator=generator),
    }


def _two_views(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return labels of 200 frames, and 16 poses: 10 keypoints of a body, in two views."""
    cameras = torch.randn(2, 3, 2, generator=generator)
    body = torch.randn(10, 3, generator=generator)

    def seen(num_frames: int, noise: float) -> Tensor:
        moves = torch.randn(num_frames, 1, 3, generator=generator) * 3
        bend = torch.randn(num_frames, 10, 1, generator=generator) * 0.1
        points = torch.einsum("bkd,vdx->bvkx", body * (1 + bend) + moves, cameras) * 20 + 128
        return (points + noise * torch.randn(points.shape, generator=generator)).flatten(1)

    return seen(200, 0.5), seen(16, 10.0)


def _gaussians(batch: int, keypoints: int, size: int, generator: torch.Generator) -> Tensor:
    centres = torch.rand(batch, keypoints, 2, 1, generator=generator) * size
    profiles = torch.exp(-((torch.arange(size) - centres) ** 2) / (2 * 1.25**2))
    maps = profiles[:, :, 0, :, None] * profiles[:, :, 1, None, :]
    return maps / maps.sum(dim=(-2, -1), keepdim=True)


def _table(rows: list[Row]) -> dict[str, list[str]]:
    compared = [row.comparison for row in rows]
    return {
        "forward and backward": [row.name for row in rows],
        "shape": [row.shape for row in rows],
        "ms": [report.milliseconds(row.ours) for row in rows],
        "peer, ms": [report.milliseconds(row.peer) for row in rows],
        "times as fast": [report.times(c.ratio) if c else "" for c in compared],
        "quiet": [f"{c.quiet:.2f}" if c else "" for c in compared],
        "over copy": ["" if r.over_limit is None else f"{r.over_limit:.1f}" for r in rows],
        "MiB": [report.mebibytes(row.peak_bytes) for row in rows],
        "peer, MiB": [report.mebibytes(row.peer_peak_bytes) for row in rows],
        "agrees": [_yes_or_no(row.agrees) for row in rows],
        "never waits": [_yes_or_no(row.never_waits) for row in rows],
    }


def _yes_or_no(answer: bool | None) -> str:
    return "" if answer is None else "yes" if answer else "NO"


if __name__ == "__main__":
    main()
