"""What a training on mirrored frames has learned, as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float64
from matplotlib import pyplot
from PIL import Image

from lploss_builtin.data.project.labelled_project import LabelledProject
from lploss_builtin.demo.pictures import Curve

_STAGES = {"train": "training, augmented and masked", "val": "held out, as they are"}


def draw_curves(
    curves: Mapping[str, Mapping[str, Curve]], mean_pose: float, untrained: float, path: Path
) -> None:
    """Draw error and loss over the epochs.

    Args:
        curves: with ``pixel_error`` and ``loss``.
        mean_pose: error of the mean pose, px.
        untrained: error of the network before its first step, px.
        path: the file.
    """
    matplotlib.use("Agg")
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
    error, loss = panels
    for panel, name in zip(panels, ("pixel_error", "loss"), strict=True):
        for stage, label in _STAGES.items():
            curve = curves[name].get(stage, {})
            panel.plot([*curve], [*curve.values()], label=label, linewidth=1.4)
        panel.set_yscale("log")
        panel.set_xlabel("epoch")
        panel.grid(which="both", linewidth=0.3)
    for value, label, style in (
        (untrained, f"untrained, {untrained:.0f} px", ":"),
        (mean_pose, f"mean pose, {mean_pose:.1f} px", "--"),
    ):
        error.axhline(
            value, color="black", linewidth=1, linestyle=style, label=f"held out, {label}"
        )
    error.set_title("mean distance to the labels, px")
    loss.set_title("loss: half of the KL divergence of the heatmaps")
    for panel in panels:
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("")
        panel.legend(loc="upper right", fontsize=8)
    error.set_yticks([2, 5, 10, 20, 50, 100])
    loss.set_yticks([0.2, 0.5, 1, 2])
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def draw_frames(
    project: LabelledProject,
    found: Float64[np.ndarray, "frames views num_keypoints 2"],
    distances: Float64[np.ndarray, "frames views num_keypoints"],
    chosen: Sequence[int],
    path: Path,
) -> None:
    """Draw the best, the middle and the worst of some frames, with labels and predictions.

    Args:
        project: the labelled frames; all views of one lie in the same image.
        found: predictions, px.
        distances: to the labels, px; NaN where there is none.
        chosen: numbers of the frames.
        path: the file.
    """
    matplotlib.use("Agg")
    errors = {frame: float(np.nanmean(distances[frame])) for frame in chosen}
    ranked = sorted(chosen, key=errors.__getitem__)
    figure, panels = pyplot.subplots(1, 3, figsize=(15, 5.5), layout="constrained")
    for panel, frame in zip(panels, (ranked[0], ranked[len(ranked) // 2], ranked[-1]), strict=True):
        with Image.open(project.images[frame][0]) as image:
            panel.imshow(np.asarray(image.convert("RGB")))
        is_labelled = np.isfinite(distances[frame])
        true, predicted = project.keypoints[frame][is_labelled], found[frame][is_labelled]
        for pair in np.stack([true, predicted], axis=1):
            panel.plot(*pair.T, color="white", linewidth=0.8)
        panel.plot(*true.T, "o", markerfacecolor="none", markeredgecolor="white", label="label")
        panel.plot(*predicted.T, ".", color="#36b5ff", label="predicted")
        panel.set_title(f"{project.frames[frame]}, {errors[frame]:.1f} px", fontsize=10)
        panel.set_axis_off()
    panels[0].legend(fontsize=8, facecolor="#59646d", labelcolor="white")
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
