"""The geometry of calibrated views, forward and backward, beside that of the peer.

From keypoints to points in space and back, and the whole path from heatmaps to both supervised 3D
losses. Results are compared before anything is timed, with predictions that are off by 1 px and
with such as agree: where views disagree, the peer's triangulation depends on the origin and the
unit of the world, ours does not. What the work takes at least is estimated from its formulas; most
of the time goes into starting operations on few numbers, so cost against size is measured too, and
plotted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import matplotlib
import torch
from torch import Tensor

from benchmarks import peer, report, timing
from benchmarks.report import Figure, Options
from benchmarks.timing import Comparison, Quartiles
from lploss import LossFactory
from lploss_builtin.losses import multiview_inputs
from lploss_builtin.ops import affine
from lploss_builtin.ops.gaussians import gaussian_heatmaps
from lploss_builtin.ops.geometry import Cameras, project_points, triangulate_pairs
from lploss_builtin.ops.soft_argmax import soft_argmax

_LOG_WEIGHT_OF_1 = -math.log(2.0)
_IMAGE, _HEATMAP = 256, 64
_FRAME = (1280.0, 720.0)

# Operations on one number each, of a formula written out; forward and backward is three times that.
_NEWTON_STEP, _NUM_NEWTON_STEPS = 60, 4
_NORMAL_MATRIX, _EIGENVECTOR = 160, 250
_PROJECTION = 60


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one operation; times in seconds.

    Attributes:
        name: the operation.
        size: batch, views and keypoints.
        ours: time of ours, forward and backward.
        peer: time of the peer's.
        comparison: how many times faster ours is.
        least_bytes: what cannot but be moved.
        least_operations: what cannot but be computed.
        over_copy: our time over that of a copy of the same bytes.
        over_arithmetic: our time over that of so many operations in a matrix product.
        difference: how far the results are apart: px, or relative to the largest.
        difference_agreeing: the same where the views agree.
        peak_bytes: memory that ours holds at most.
        peer_peak_bytes: memory that the peer's holds at most.
    """

    name: str
    size: str
    ours: Quartiles
    peer: Quartiles | None
    comparison: Comparison | None
    least_bytes: int
    least_operations: int
    over_copy: float
    over_arithmetic: float
    difference: float | None
    difference_agreeing: float | None
    peak_bytes: int
    peer_peak_bytes: int | None


@dataclass(frozen=True, slots=True)
class Case:
    """One operation, ours and the peer's, on the same input.

    Attributes:
        name: the operation.
        size: batch, views and keypoints.
        ours: runs ours forward and backward, and returns its result.
        peer: builds the same for the peer.
        least_bytes: what cannot but be moved.
        least_operations: what cannot but be computed.
        difference: how far two results are apart.
        required: how many times as fast as the peer's ours must be.
    """

    name: str
    size: str
    ours: Callable[[], Tensor]
    peer: Callable[[SimpleNamespace], Callable[[], Tensor]]
    least_bytes: int
    least_operations: int
    difference: Callable[[Tensor, Tensor], float]
    required: float


def main() -> None:
    report.run("geometry", __doc__, run)


def run(options: Options) -> None:
    torch.set_num_threads(options.threads)
    module = peer.geometry()
    bandwidth = timing.copy_bandwidth(options.device)
    rate = timing.matmul_rate(options.device)
    rows, figures = [], []
    scenes = (_Scene(16, 4, 20, options.device, error) for error in (1.0, 0.0))
    for case, agreeing in zip(*map(_cases, scenes), strict=True):
        row = _measure(case, agreeing, module, options, bandwidth, rate)
        rows.append(row)
        if row.comparison is not None:
            what = f"{case.name}, times as fast as the peer's"
            figures.append(Figure(what, case.required, row.comparison.ratio.median))
    missing = "" if module else " The peer is not installed: see benchmarks/README.md."
    note = (
        f"A copy moved {bandwidth / 1e9:.0f} GB/s, a matrix product computed at "
        f"{rate / 1e9:.0f} GFLOP/s.{missing}"
    )
    costs = _costs(options)
    for cost in costs:
        figures.append(
            Figure(
                f"{cost.operation}: power of {cost.axis} with which the cost grows",
                1.1,
                cost.power,
                is_least=False,
            )
        )
    _plot(costs, options)
    report.publish("geometry", options, _table(rows), [*rows, *costs], figures, note)


class _Scene:
    """Points before a ring of cameras, what these see of it, and the heatmaps of that.

    Args:
        batch: how many poses.
        views: how many cameras.
        keypoints: how many keypoints a pose has.
        device: where it all lies.
        error: of the predictions, px.
    """

    def __init__(
        self, batch: int, views: int, keypoints: int, device: torch.device, error: float = 1.0
    ) -> None:
        self.size = (batch, views, keypoints)
        generator = torch.Generator().manual_seed(0)
        cameras = _ring(views)
        points_3d = torch.rand(batch, keypoints, 3, generator=generator) - 0.5
        seen = project_points(points_3d.double(), cameras)
        errors = error * torch.randn(seen.shape, generator=generator).double()
        self.points_3d = points_3d.to(device).requires_grad_()
        self.seen = seen.float().to(device)
        self.predicted = (seen + errors).float().to(device).requires_grad_()
        distortions = cameras.distortions
        assert distortions is not None
        tensors = (cameras.intrinsics, cameras.extrinsics, distortions)
        # As a data loader gives them: float32, once for each pose.
        self.cameras = Cameras(
            *(t.float().expand(batch, *t.shape).contiguous().to(device) for t in tensors)
        )
        self.boxes = torch.tensor([0.0, 0.0, _FRAME[1], _FRAME[0]]).repeat(batch, views).to(device)
        self.image_size = torch.tensor([float(_IMAGE), float(_IMAGE)], device=device)
        to_input = torch.tensor([_IMAGE / _FRAME[0], _IMAGE / _FRAME[1]], device=device)
        sizes = (_IMAGE, _IMAGE), (_HEATMAP, _HEATMAP)
        self.targets = gaussian_heatmaps((self.seen * to_input).flatten(1, 2), *sizes)
        predicted = (self.predicted.detach() * to_input).flatten(1, 2)
        self.heatmaps = gaussian_heatmaps(predicted, *sizes).requires_grad_()

    def triangulate(self) -> Tensor:
        found = triangulate_pairs(self.predicted, self.cameras)
        return _differentiated(found, self.predicted)

    def project(self) -> Tensor:
        return _differentiated(project_points(self.points_3d, self.cameras), self.points_3d)


def _differentiated(result: Tensor, by: Tensor) -> Tensor:
    torch.autograd.grad(result.sum(), by)
    return result.detach()


def _ring(views: int) -> Cameras:
    angles = torch.arange(views) * (1.2 / views)
    return Cameras.from_opencv(
        [[[900.0, 0, 640], [0, 920.0, 360], [0, 0, 1]]] * views,
        [[0.1 * (-1) ** i, float(angle), 0] for i, angle in enumerate(angles)],
        [[0.0, 0.0, 3.0 + 0.1 * i] for i in range(views)],
        [[-0.2, 0.05, 0.001, -0.002, 0.01]] * views,
    )


def _cases(scene: _Scene) -> Iterator[Case]:
    batch, views, keypoints = scene.size
    pairs = views * (views - 1) // 2
    size = f"B{batch} V{views} K{keypoints}"
    num_seen, num_found = batch * views * keypoints, batch * pairs * keypoints
    intrinsics, extrinsics = scene.cameras.intrinsics, scene.cameras.extrinsics
    distortions = scene.cameras.distortions
    triangulation = num_seen * _NEWTON_STEP * _NUM_NEWTON_STEPS
    triangulation += num_found * (_NORMAL_MATRIX + _EIGENVECTOR)
    projection = num_seen * _PROJECTION

    yield Case(
        "triangulate all pairs",
        size,
        scene.triangulate,
        lambda m: (
            lambda: _differentiated(
                m.project_camera_pairs_to_3d(scene.predicted, intrinsics, extrinsics, distortions),
                scene.predicted,
            )
        ),
        4 * (2 * num_seen * 2 + 2 * num_found * 3),
        3 * triangulation,
        _relative,
        10.0,
    )
    yield Case(
        "project 3D to 2D",
        size,
        scene.project,
        lambda m: (
            lambda: _differentiated(
                m.project_3d_to_2d(scene.points_3d, intrinsics, extrinsics, distortions),
                scene.points_3d,
            )
        ),
        4 * (2 * batch * keypoints * 3 + 2 * num_seen * 2),
        3 * projection,
        _largest,
        1.5,
    )
    upsampling = 2 * _HEATMAP * 16 + 2 * _IMAGE * 16 + _IMAGE * _IMAGE // _HEATMAP * 10
    yield Case(
        "heatmaps to both 3D losses",
        size,
        _whole_path(scene),
        lambda m: _whole_path_of_peer(scene, m),
        4 * 4 * num_seen * _HEATMAP * _HEATMAP,
        3 * (triangulation + projection + num_seen * _HEATMAP * (upsampling + 4 * _HEATMAP)),
        _relative,
        10.0,
    )


def _whole_path(scene: _Scene) -> Callable[[], Tensor]:
    factory = LossFactory(
        {
            "supervised_pairwise_projections": {"log_weight": _LOG_WEIGHT_OF_1},
            "supervised_reprojection_heatmap_mse": {"log_weight": _LOG_WEIGHT_OF_1},
        }
    )
    batch, views, keypoints = scene.size
    cameras = scene.cameras
    targets = multiview_inputs.keypoints_targ_3d(
        scene.seen.flatten(1), cameras.intrinsics, cameras.extrinsics, cameras.distortions
    )
    boxes = scene.boxes.view(batch, views, 4)

    def call() -> Tensor:
        points = soft_argmax(scene.heatmaps, 2).keypoints.view(batch, views, keypoints, 2)
        to_frame = affine.inverse(affine.crop_and_resize(boxes, scene.image_size))
        total, logs = factory(
            keypoints_pred=affine.transform(points, to_frame).flatten(1),
            keypoints_targ_3d=targets,
            heatmaps_targ=scene.targets,
            intrinsics=cameras.intrinsics,
            extrinsics=cameras.extrinsics,
            distortions=cameras.distortions,
            bbox=scene.boxes,
            image_size=scene.image_size,
        )
        torch.autograd.grad(total, scene.heatmaps)
        values = {entry["name"]: entry["value"] for entry in logs}
        return torch.stack(
            [
                values["supervised_pairwise_projections_loss"],
                values["supervised_reprojection_heatmap_mse_loss"],
            ]
        )

    return call


def _whole_path_of_peer(scene: _Scene, module: SimpleNamespace) -> Callable[[], Tensor]:
    batch, views, keypoints = scene.size
    cameras = scene.cameras
    pairwise = module.PairwiseProjectionsLoss(log_weight=_LOG_WEIGHT_OF_1)
    heatmap = module.ReprojectionHeatmapLoss(
        _IMAGE, _IMAGE, _HEATMAP, _HEATMAP, log_weight=_LOG_WEIGHT_OF_1
    )
    temperature = torch.tensor(1000.0)
    targets = multiview_inputs.keypoints_targ_3d(
        scene.seen.flatten(1), cameras.intrinsics, cameras.extrinsics, cameras.distortions
    )
    # The peer multiplies by the number of maps times the height, not by the number of pixels.
    area = _HEATMAP / (views * keypoints)
    about = {
        "images": torch.zeros(batch, views, 1, _IMAGE, _IMAGE, device=targets.device),
        "bbox": scene.boxes,
        "is_multiview": True,
    }
    geometry = (cameras.intrinsics, cameras.extrinsics, cameras.distortions)

    def call() -> Tensor:
        points, _ = module.run_subpixelmaxima(scene.heatmaps, 2, temperature)
        points = module.model_to_frame_batch(about, points)
        found = module.project_camera_pairs_to_3d(
            points.reshape(-1, views, keypoints, 2), *geometry
        )
        seen = module.project_3d_to_2d(found.mean(dim=1), *geometry)
        seen = module.frame_to_model_batch(about, seen).reshape(-1, views * keypoints, 2)
        in_space, _ = pairwise(keypoints_targ_3d=targets, keypoints_pred_3d=found, stage=None)
        on_maps, _ = heatmap(
            heatmaps_targ=scene.targets, keypoints_pred_2d_reprojected=seen, stage=None
        )
        torch.autograd.grad(in_space + on_maps, scene.heatmaps)
        return torch.stack([in_space, on_maps * area]).detach()

    return call


def _measure(
    case: Case,
    agreeing: Case,
    module: SimpleNamespace | None,
    options: Options,
    bandwidth: float,
    rate: float,
) -> Row:
    calls = {"ours": case.ours}
    differences: list[float | None] = [None, None]
    if module is not None:
        calls["peer"] = case.peer(module)
        differences = [c.difference(c.ours(), c.peer(module)()) for c in (case, agreeing)]
    seconds = timing.interleaved(calls, options.device, options.rounds)
    quartiles = {name: Quartiles.of(values) for name, values in seconds.items()}
    peaks = {name: timing.peak_bytes(call, options.device) for name, call in calls.items()}
    ours = quartiles["ours"]
    return Row(
        case.name,
        case.size,
        ours,
        quartiles.get("peer"),
        Comparison.of(seconds["peer"], seconds["ours"]) if module else None,
        case.least_bytes,
        case.least_operations,
        ours.median / (case.least_bytes / bandwidth),
        ours.median / (case.least_operations / rate),
        *differences,
        peaks["ours"],
        peaks.get("peer"),
    )


def _relative(ours: Tensor, peers: Tensor) -> float:
    return float(((ours - peers).abs() / peers.abs().amax()).max())


def _largest(ours: Tensor, peers: Tensor) -> float:
    return float((ours - peers).abs().max())


@dataclass(frozen=True, slots=True)
class Cost:
    """How the time of an operation grows with one size.

    Attributes:
        operation: the operation.
        axis: what grows.
        sizes: of that.
        seconds: median time, forward and backward.
        power: slope over the last two sizes, in logarithms; 1 is linear.
    """

    operation: str
    axis: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    power: float


# Batch, views and keypoints; the last two of each are large enough to be more than overhead.
_GROWS: dict[str, list[tuple[int, int, int]]] = {
    "batch": [(b, 4, 20) for b in (1, 4, 16, 64, 256, 1024)],
    "keypoints": [(16, 4, k) for k in (2, 5, 20, 80, 320, 1280)],
    "views": [(64, v, 80) for v in (2, 3, 4, 6, 9, 12)],
}


def _costs(options: Options) -> list[Cost]:
    costs = []
    for axis, all_sizes in _GROWS.items():
        calls: dict[str, Callable[[], Tensor]] = {}
        for size in all_sizes:
            scene = _Scene(*size, options.device)
            calls[f"triangulate {size}"] = scene.triangulate
            calls[f"project {size}"] = scene.project
        seconds = timing.interleaved(calls, options.device, max(3, options.rounds // 4))
        for operation in ("triangulate", "project"):
            in_pairs = (axis, operation) == ("views", "triangulate")
            numbers = [
                views * (views - 1) // 2
                if in_pairs
                else {"batch": batch, "views": views, "keypoints": keypoints}[axis]
                for batch, views, keypoints in all_sizes
            ]
            medians = [Quartiles.of(seconds[f"{operation} {size}"]).median for size in all_sizes]
            power = math.log(medians[-1] / medians[-2]) / math.log(numbers[-1] / numbers[-2])
            what = "camera pairs" if in_pairs else axis
            costs.append(Cost(operation, what, tuple(numbers), tuple(medians), power))
    return costs


def _plot(costs: list[Cost], options: Options) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 4, figsize=(13, 3.6), sharey=True, layout="constrained")
    for panel, axis in zip(panels, ("batch", "keypoints", "camera pairs", "views"), strict=True):
        for cost in costs:
            if cost.axis == axis:
                milliseconds = [1e3 * s for s in cost.seconds]
                panel.loglog(cost.sizes, milliseconds, "o-", label=cost.operation)
                last = [milliseconds[-1] * n / cost.sizes[-1] for n in cost.sizes]
                panel.loglog(cost.sizes, last, ":", color="grey")
        panel.set_xlabel(axis)
        panel.legend(loc="upper left")
    panels[0].set_ylabel("forward and backward, ms")
    figure.suptitle("Cost against size; dotted: linear")
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / f"geometry{options.suffix}.png", dpi=110)
    pyplot.close(figure)


def _table(rows: list[Row]) -> dict[str, list[str]]:
    compared = [row.comparison for row in rows]
    return {
        "forward and backward": [row.name for row in rows],
        "size": [row.size for row in rows],
        "ms": [report.milliseconds(row.ours) for row in rows],
        "peer, ms": [report.milliseconds(row.peer) for row in rows],
        "times as fast": [report.times(c.ratio) if c else "" for c in compared],
        "quiet": [f"{c.quiet:.1f}" if c else "" for c in compared],
        "MB": [f"{row.least_bytes / 1e6:.2f}" for row in rows],
        "MFLOP": [f"{row.least_operations / 1e6:.1f}" for row in rows],
        "over copy": [f"{row.over_copy:.0f}" for row in rows],
        "over arithmetic": [f"{row.over_arithmetic:.0f}" for row in rows],
        "apart": [_power_of_ten(row.difference) for row in rows],
        "where views agree": [_power_of_ten(row.difference_agreeing) for row in rows],
        "MiB": [report.mebibytes(row.peak_bytes) for row in rows],
        "peer, MiB": [report.mebibytes(row.peer_peak_bytes) for row in rows],
    }


def _power_of_ten(number: float | None) -> str:
    return "" if number is None else f"{number:.1e}"


if __name__ == "__main__":
    main()
