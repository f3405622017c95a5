"""A step of the training of a multi-view transformer, and what its parts take.

The parts are those of `lploss train`: a batch from the data loader, its augmentation with masked
patches, the network, soft-argmax, and the losses with their targets and the geometry between views.
Network, soft-argmax and losses are run forward and backward, each on what the part before it
returned; the network with the step of the optimizer. Beside them the whole step is timed, of which
they are shares. Its memory is compared with that of the same step with one squared error between
maps in place of soft-argmax, geometry and losses.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from einops import rearrange
from omegaconf import DictConfig
from torch import Tensor

from benchmarks import report, timing
from benchmarks.report import Figure, Options
from benchmarks.timing import Quartiles
from lploss import LossFactory, load_config
from lploss_builtin.data.project.labelled_project import LabelledProject, read_project
from lploss_builtin.data.rig.project import RigOptions, make_rig_project
from lploss_builtin.models.building import build_model
from lploss_builtin.ops import affine
from lploss_builtin.ops.gaussians import gaussian_heatmaps
from lploss_builtin.ops.soft_argmax import soft_argmax
from lploss_builtin.training.augmentation import BatchAugmentation
from lploss_builtin.training.augmentation_2d import ImageAugmentation
from lploss_builtin.training.data_module import LabelledDataModule
from lploss_builtin.training.defaults import with_defaults
from lploss_builtin.training.losses import training_losses

_BACKBONE = "vits_dino"
_LOSSES = {
    "supervised_reprojection_heatmap_mse": {"log_weight": 3.0},
    "supervised_pairwise_projections": {"log_weight": 0.5},
}
_MASKED = 0.5
_FILES_SIDE = 256
_MOST_SHARE, _MOST_MEMORY = 0.1, 1.1
# A whole step takes seconds on a CPU.
_MOST_ROUNDS = 3
_ADDED = ("augmentation", "losses")
_PARTS = ("loading", "augmentation", "network", "soft-argmax", "losses")

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Case:
    """How large a batch is.

    Attributes:
        batch: number of frames.
        views: of each.
        side: of the images that the network gets, px.
    """

    batch: int = 2
    views: int = 4
    side: int = 256


# The figures are those of the first one.
_CASES = (
    Case(batch=4),
    Case(),
    Case(batch=1),
    Case(views=3),
    Case(views=2),
    Case(side=192),
    Case(side=128),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one case; times in seconds.

    Attributes:
        case: how large the batch is.
        step: time of a whole step.
        parts: time of each part.
        files: time of reading the images of a batch from their files, in one process, which a
            step does only where not all images fit into memory.
        shares: of each part in the step.
        added: share of augmentation and losses together.
        peak_bytes: memory that a step holds at most.
        bare_peak_bytes: the same of a step with a bare loss.
    """

    case: Case
    step: Quartiles
    parts: dict[str, Quartiles]
    files: Quartiles
    shares: dict[str, float]
    added: Quartiles
    peak_bytes: int
    bare_peak_bytes: int


def main() -> None:
    report.run("training_step", __doc__, run)


def run(options: Options) -> None:
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "rig"
        _make_project(folder)
        rows = [_measure(case, folder, options) for case in _CASES]
    base = rows[0]
    what = f"ViT-S, {base.case.views} views of {base.case.side} px"
    figures = [
        Figure(
            f"{what}: augmentation and losses, share of a step",
            _MOST_SHARE,
            base.added.median,
            is_least=False,
        ),
        Figure(
            f"{what}: memory of a step over that with a bare heatmap loss",
            _MOST_MEMORY,
            base.peak_bytes / base.bare_peak_bytes,
            is_least=False,
        ),
    ]
    note = (
        f"{_BACKBONE} without pretrained weights, float32, Adam; augmentation dlc and in 3D, "
        f"{_MASKED:.0%} of the patches masked; heatmap_mse, {', '.join(_LOSSES)}. Files are PNGs "
        f"of {_FILES_SIDE} x {_FILES_SIDE} px. Maps of an untrained network are flat, which is "
        "what soft-argmax takes longest for."
    )
    report.publish("training_step", options, _table(rows), rows, figures, note)


class _Step:
    """A step and its parts, as the training does them."""

    def __init__(self, project: LabelledProject, config: DictConfig, device: torch.device) -> None:
        torch.manual_seed(0)
        self._device = device
        self._in_memory = LabelledDataModule(project, config)
        self._in_memory.load()
        self._from_files = LabelledDataModule(project, config)
        model: Any = build_model(
            config, num_views=project.num_views, num_keypoints=len(project.keypoint_names)
        )
        self._model = model.to(device)
        factories = training_losses(config, self._in_memory)
        self._factories = [f.to(device) for f in factories.values() if f.losses]
        self._bare = LossFactory({"heatmap_mse": {}}).to(device)
        rate = config.training.optimizer_params.learning_rate
        self._optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        self._augmentation = BatchAugmentation(
            ImageAugmentation.from_config(config.training.imgaug),
            in_3d=bool(config.training.imgaug_3d),
            patch_size=model.backbone.patch_size,
            seed=0,
        )
        # Each call draws other numbers, as each epoch does.
        self._epochs = itertools.count()

    def calls(self) -> dict[str, Call]:
        """Return the whole step and its parts, each on what the part before it returned."""
        batch = self._batch(self._in_memory)
        augmented = self._augmented(batch)
        inputs = self._model.get_loss_inputs_labeled(augmented)
        given = {name: value.detach() for name, value in inputs.items()}
        maps = given["heatmaps_pred"]
        gradient = torch.ones_like(maps)

        def network() -> None:
            self._model(augmented["images"]).backward(gradient)
            self._update()

        def keypoints() -> None:
            found = soft_argmax(maps.clone().requires_grad_(), self._model.downsample_factor)
            found.keypoints.sum().backward()

        def losses() -> None:
            predicted = {
                name: value.clone().requires_grad_()
                for name, value in given.items()
                if "_pred" in name
            }
            targets = self._targets(augmented, maps)
            self._total({**given, **predicted, "heatmaps_targ": targets}).backward()

        if not torch.equal(self._targets(augmented, maps), given["heatmaps_targ"]):
            raise RuntimeError("the targets are not those of the model")
        return {
            "step": self.whole,
            "loading": lambda: self._batch(self._in_memory),
            "augmentation": lambda: self._augmented(batch),
            "network": network,
            "soft-argmax": keypoints,
            "losses": losses,
            "files": lambda: self._batch(self._from_files),
        }

    def whole(self) -> None:
        """Train on one batch."""
        augmented = self._augmented(self._batch(self._in_memory))
        self._total(self._model.get_loss_inputs_labeled(augmented)).backward()
        self._update()

    def bare(self) -> None:
        """Train on one batch with nothing but the squared error of the maps."""
        augmented = self._augmented(self._batch(self._in_memory))
        maps = self._model(augmented["images"])
        targets = self._targets(augmented, maps)
        self._bare(stage="train", heatmaps_pred=maps, heatmaps_targ=targets).loss.backward()
        self._update()

    def _update(self) -> None:
        self._optimizer.step()
        # Gradients do not outlast a step, so that all that it holds is counted as its own.
        self._optimizer.zero_grad()

    def _batch(self, data_module: LabelledDataModule) -> dict[str, Tensor]:
        batch = next(iter(data_module.train_dataloader()))
        batch = data_module.on_before_batch_transfer(batch, 0)
        return {name: value.to(self._device) for name, value in batch.items()}

    def _augmented(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self._augmentation(batch, next(self._epochs), _MASKED)

    def _targets(self, batch: Mapping[str, Tensor], maps: Tensor) -> Tensor:
        """Return the heatmaps to be predicted, as the model makes them."""
        images = batch["images"]
        points = rearrange(
            batch["keypoints_targ"], "b (v k xy) -> b v k xy", v=images.shape[1], xy=2
        )
        return gaussian_heatmaps(
            affine.transform(points, batch["affine"]).flatten(1, 2),
            (images.shape[-2], images.shape[-1]),
            (maps.shape[-2], maps.shape[-1]),
            sigma=self._model.sigma,
            visibility=batch["visibility"],
        )

    def _total(self, inputs: Mapping[str, Tensor]) -> Tensor:
        results = [factory(stage="train", **inputs).loss for factory in self._factories]
        return torch.stack(results).sum()


def _measure(case: Case, folder: Path, options: Options) -> Row:
    device = options.device
    config = with_defaults(load_config(_config(case, folder)))
    step = _Step(read_project(config), config, device)
    rounds = min(options.rounds, _MOST_ROUNDS)
    seconds = timing.interleaved(step.calls(), device, rounds, number=1)
    peak, bare_peak = (timing.peak_bytes(call, device) for call in (step.whole, step.bare))
    quartiles = {name: Quartiles.of(values) for name, values in seconds.items()}
    added = [sum(parts) for parts in zip(*(seconds[name] for name in _ADDED), strict=True)]
    return Row(
        case,
        quartiles["step"],
        {name: quartiles[name] for name in _PARTS},
        quartiles["files"],
        {name: _share(seconds[name], seconds["step"]).median for name in _PARTS},
        _share(added, seconds["step"]),
        peak,
        bare_peak,
    )


def _share(part: list[float], step: list[float]) -> Quartiles:
    return Quartiles.of([one / whole for one, whole in zip(part, step, strict=True)])


def _make_project(folder: Path) -> None:
    """Write as many frames and views as the largest case needs."""
    make_rig_project(
        folder,
        RigOptions(
            # One more, to validate with.
            num_frames=max(case.batch for case in _CASES) + 1,
            num_views=max(case.views for case in _CASES),
            image_size=(_FILES_SIDE, _FILES_SIDE),
            num_sessions=1,
            num_test_frames=1,
        ),
    )


def _config(case: Case, folder: Path) -> dict[str, Any]:
    """Return what is usual for a multi-view transformer, of some views of the project."""
    data = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["data"]
    of_views = {name: data[name][: case.views] for name in ("view_names", "csv_file")}
    size = {"height": case.side, "width": case.side}
    return {
        "data": {**data, **of_views, "image_resize_dims": size},
        "model": {
            "model_type": "heatmap_multiview_transformer",
            "backbone": _BACKBONE,
            "backbone_pretrained": False,
        },
        "losses": _LOSSES,
        "training": {
            "imgaug": "dlc",
            "imgaug_3d": True,
            "train_batch_size": case.batch,
            "train_frames": case.batch,
            "num_workers": 0,
        },
    }


def _table(rows: list[Row]) -> dict[str, list[str]]:
    cases = [row.case for row in rows]
    return {
        "frames, views, px": [f"{case.batch}, {case.views}, {case.side}" for case in cases],
        "step, ms": [report.milliseconds(row.step) for row in rows],
        **{
            f"{part}, ms": [
                f"{report.milliseconds(row.parts[part])}, {row.shares[part]:.1%}" for row in rows
            ]
            for part in _PARTS
        },
        "augmentation and losses": [
            f"{row.added.median:.1%} ({row.added.low:.1%} - {row.added.high:.1%})" for row in rows
        ],
        "files, ms": [report.milliseconds(row.files) for row in rows],
        "MiB": [report.mebibytes(row.peak_bytes) for row in rows],
        "bare, MiB": [report.mebibytes(row.bare_peak_bytes) for row in rows],
        "memory over bare": [f"{row.peak_bytes / row.bare_peak_bytes:.3f}" for row in rows],
    }


if __name__ == "__main__":
    main()
