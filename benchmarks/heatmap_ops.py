"""Operations on heatmaps that multi-view losses need, forward and backward, beside the peer's.

The squared error against Gaussians about keypoints, and keypoints from heatmaps: once from maps
with a sharp peak, as a trained network makes them, and once from nearly uniform ones, as it makes
them at first. All results are compared with the peer's own in float64 before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor

from benchmarks import peer, report, timing
from benchmarks.report import Figure, Options
from benchmarks.timing import Comparison, Quartiles
from lploss_builtin.ops.gaussians import gaussian_heatmaps, gaussian_squared_error
from lploss_builtin.ops.heatmaps import is_labelled
from lploss_builtin.ops.soft_argmax import soft_argmax

_BATCH, _NUM_MAPS, _IMAGE, _SIZE = 16, 80, 256, 64
_PIXELS, _FACTOR = _SIZE * _SIZE, 2
_TEMPERATURE = 1000.0

# So many frames are computed in float64, too.
_FEW = 2

# Operations of a formula written out, on each pixel of a map: two products with a profile, and
# the square; or the largest pixel. On each upsampled one: nine taps along the side with most
# pixels and a quarter of that along the other, an exponential, and the sums.
_SQUARED_ERROR, _LARGEST = 6, 2
_UPSAMPLED = 2 * 9 * 5 // 4 + 10 + 6

Results = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One operation on one batch, ours and the peer's.

    Attributes:
        name: the operation.
        ours: returns results, and the gradient last; of an input, which it is given.
        peer: the same of the peer.
        inputs: what the gradient is of.
        least_bytes: what cannot but be moved.
        least_operations: what cannot but be computed.
        required: how many times as fast as the peer's ours must be.
        required_memory: how many times the memory of ours the peer's must be.
    """

    name: str
    ours: Callable[[Tensor], Results]
    peer: Callable[[SimpleNamespace, Tensor], Results]
    inputs: Tensor
    least_bytes: int
    least_operations: int
    required: float
    required_memory: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one operation; times in seconds.

    Attributes:
        name: the operation.
        ours: time of ours, forward and backward.
        peer: time of the peer's.
        comparison: how many times faster ours is.
        least_bytes: what cannot but be moved.
        least_operations: what cannot but be computed.
        over_copy: our time over that of a copy of the same bytes.
        over_arithmetic: our time over that of so many operations in a matrix product.
        errors: of our values, px or probability², and of our gradient over its largest entry:
            how far they are from the peer's in float64.
        peer_errors: the same of the peer's.
        peak_bytes: memory that ours holds at most.
        peer_peak_bytes: memory that the peer's holds at most.
        never_waits: whether ours runs without waiting for the device.
    """

    name: str
    ours: Quartiles
    peer: Quartiles | None
    comparison: Comparison | None
    least_bytes: int
    least_operations: int
    over_copy: float
    over_arithmetic: float
    errors: tuple[float, ...]
    peer_errors: tuple[float, ...]
    peak_bytes: int
    peer_peak_bytes: int | None
    never_waits: bool | None


def main() -> None:
    report.run("heatmap_ops", __doc__, run)


def run(options: Options) -> None:
    torch.set_num_threads(options.threads)
    module = peer.geometry()
    bandwidth = timing.copy_bandwidth(options.device)
    rate = timing.matmul_rate(options.device)
    rows, figures = [], []
    for case in _cases(options.device):
        row = _measure(case, module, options, bandwidth, rate)
        rows.append(row)
        figures += _figures(case, row)
    missing = "" if module else " The peer is not installed: see benchmarks/README.md."
    note = (
        f"{_BATCH} x {_NUM_MAPS} maps of {_SIZE} x {_SIZE}, {_IMAGE} x {_IMAGE} upsampled. A copy "
        f"moved {bandwidth / 1e9:.0f} GB/s, a matrix product computed at {rate / 1e9:.0f} "
        f"GFLOP/s.{missing}"
    )
    report.publish("heatmap_ops", options, _table(rows), rows, figures, note)


def _cases(device: torch.device) -> list[Case]:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(_BATCH, _NUM_MAPS, 2, generator=generator) * _IMAGE
    sizes = (_IMAGE, _IMAGE), (_SIZE, _SIZE)
    targets = gaussian_heatmaps(points, *sizes)
    targets[::4, ::10] = 0.0
    near = points + 4 * torch.randn(points.shape, generator=generator)
    logits = 0.1 * torch.randn(_BATCH, _NUM_MAPS, _PIXELS, generator=generator)
    flat = logits.softmax(dim=-1).view(_BATCH, _NUM_MAPS, _SIZE, _SIZE)
    peaked = 0.95 * gaussian_heatmaps(points, *sizes) + 0.05 * flat
    targets = targets.to(device)

    num_pixels = _BATCH * _NUM_MAPS * _PIXELS
    upsampled = num_pixels * 4**_FACTOR
    # The pixels of the maps, read forward and backward, and their gradient.
    moved = 3 * flat.nbytes
    return [
        Case(
            "gaussian_squared_error",
            lambda given: _squared_error(targets, given),
            lambda module, given: _squared_error_of_peer(module, targets, given),
            near.to(device),
            targets.nbytes + 2 * near.nbytes,
            _SQUARED_ERROR * num_pixels,
            required=12.0,
        ),
        Case(
            "soft_argmax, peaked maps",
            _soft_argmax,
            _soft_argmax_of_peer,
            peaked.to(device),
            moved,
            # A map of this kind is decided by the upsampled pixels of 4 x 4 about its peak.
            _LARGEST * num_pixels + 3 * _UPSAMPLED * upsampled * 4 * 4 // _PIXELS,
            required=10.0,
            required_memory=10.0,
        ),
        Case(
            "soft_argmax, flat maps",
            _soft_argmax,
            _soft_argmax_of_peer,
            flat.to(device),
            moved,
            3 * _UPSAMPLED * upsampled,
            required=2.5,
            required_memory=10.0,
        ),
    ]


def _squared_error(targets: Tensor, points: Tensor) -> Results:
    targets = targets[: len(points)]
    labelled = is_labelled(targets)
    error = gaussian_squared_error(targets, points, (_IMAGE, _IMAGE))
    loss = torch.where(labelled, error, 0.0).sum() / labelled.sum()
    return loss.detach(), torch.autograd.grad(loss, points)[0]


def _squared_error_of_peer(module: SimpleNamespace, targets: Tensor, points: Tensor) -> Results:
    module_loss = module.ReprojectionHeatmapLoss(_IMAGE, _IMAGE, _SIZE, _SIZE)
    targets = targets[: len(points)].to(points.dtype)
    loss, _ = module_loss(heatmaps_targ=targets, keypoints_pred_2d_reprojected=points)
    # The peer multiplies by the number of maps times the height, not by the number of pixels.
    loss = loss * (_SIZE / _NUM_MAPS)
    return loss.detach(), torch.autograd.grad(loss, points)[0]


def _soft_argmax(maps: Tensor) -> Results:
    return _differentiated(*soft_argmax(maps, _FACTOR), maps)


def _soft_argmax_of_peer(module: SimpleNamespace, maps: Tensor) -> Results:
    points, confidences = module.run_subpixelmaxima(maps, _FACTOR, torch.tensor(_TEMPERATURE))
    return _differentiated(points.unflatten(1, (-1, 2)), confidences, maps)


def _differentiated(points: Tensor, confidences: Tensor, maps: Tensor) -> Results:
    total = points.square().sum() / _IMAGE + confidences.sum()
    return points.detach(), torch.autograd.grad(total, maps)[0]


def _measure(
    case: Case, module: SimpleNamespace | None, options: Options, bandwidth: float, rate: float
) -> Row:
    inputs = case.inputs.requires_grad_()
    calls: dict[str, Callable[[], Results]] = {"ours": lambda: case.ours(inputs)}
    errors: dict[str, tuple[float, ...]] = {"ours": (), "peer": ()}
    if module is not None:
        calls["peer"] = lambda: case.peer(module, inputs)
        few = case.inputs.detach()[:_FEW].requires_grad_()
        exact = _in_float64(lambda: case.peer(module, few.detach().double().requires_grad_()))
        errors = {
            "ours": _errors(case.ours(few), exact),
            "peer": _errors(case.peer(module, few), exact),
        }
    # A call of the peer's soft-argmax takes seconds.
    seconds = timing.interleaved(calls, options.device, max(5, options.rounds // 4))
    quartiles = {name: Quartiles.of(values) for name, values in seconds.items()}
    peaks = {name: timing.peak_bytes(call, options.device) for name, call in calls.items()}
    ours = quartiles["ours"]
    return Row(
        case.name,
        ours,
        quartiles.get("peer"),
        Comparison.of(seconds["peer"], seconds["ours"]) if module else None,
        case.least_bytes,
        case.least_operations,
        ours.median / (case.least_bytes / bandwidth),
        ours.median / (case.least_operations / rate),
        errors["ours"],
        errors["peer"],
        peaks["ours"],
        peaks.get("peer"),
        timing.check_no_wait(calls["ours"], options.device),
    )


def _in_float64(call: Callable[[], Results]) -> Results:
    """Return what a call does where float64 is what tensors are made of unless told otherwise."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return call()
    finally:
        torch.set_default_dtype(usual)


def _errors(results: Results, exact: Results) -> tuple[float, ...]:
    """Return the largest error of the value, and that of the gradient over its largest entry."""
    value, gradient = ((r - e).abs().max() for r, e in zip(results, exact, strict=True))
    return float(value), float(gradient / exact[-1].abs().max())


def _figures(case: Case, row: Row) -> list[Figure]:
    if row.comparison is None or row.peer_peak_bytes is None:
        return []
    what = f"{case.name}, times as fast as the peer's"
    figures = [Figure(what, case.required, row.comparison.ratio.median)]
    if case.required_memory is not None:
        what = f"{case.name}, memory of the peer's over that of ours"
        figures.append(Figure(what, case.required_memory, row.peer_peak_bytes / row.peak_bytes))
    return figures


def _table(rows: list[Row]) -> dict[str, list[str]]:
    compared = [row.comparison for row in rows]
    return {
        "forward and backward": [row.name for row in rows],
        "ms": [report.milliseconds(row.ours) for row in rows],
        "peer, ms": [report.milliseconds(row.peer) for row in rows],
        "times as fast": [report.times(c.ratio) if c else "" for c in compared],
        "quiet": [f"{c.quiet:.1f}" if c else "" for c in compared],
        "MB": [f"{row.least_bytes / 1e6:.0f}" for row in rows],
        "MFLOP": [f"{row.least_operations / 1e6:.0f}" for row in rows],
        "over copy": [f"{row.over_copy:.1f}" for row in rows],
        "over arithmetic": [f"{row.over_arithmetic:.1f}" for row in rows],
        "value, gradient off by": [_off(row.errors) for row in rows],
        "peer off by": [_off(row.peer_errors) for row in rows],
        "MiB": [report.mebibytes(row.peak_bytes) for row in rows],
        "peer, MiB": [report.mebibytes(row.peer_peak_bytes) for row in rows],
    }


def _off(errors: tuple[float, ...]) -> str:
    return ", ".join(f"{error:.1e}" for error in errors)


if __name__ == "__main__":
    main()
