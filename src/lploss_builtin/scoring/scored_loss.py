"""A loss made ready to score: its value before epsilon, and a name for each element."""

from __future__ import annotations

import copy
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Shaped
from torch import Tensor

from lploss import Loss
from lploss.errors import LossDefinitionError, PluginError, first_line
from lploss.inputs import InputResolver
from lploss_builtin.data.poses.table import PoseNames


class ScoredLoss:
    """Evaluates one loss on consecutive frames.

    Values are those before epsilon is taken off: a value of 18 px under an epsilon of 20 px is
    still 18 px in a table.

    Args:
        loss: the loss.
        pose_names: names of the batch's keypoints, in order.
        resolver: derives the inputs that a batch does not hold.
        example: a batch with more frames than the loss looks back.

    Attributes:
        name: name of the loss.
        loss_class: class of the loss.
        unit: of its values.
        metric: how the values are written as a metric; ``None``: not at all.
        element_names: a name for each value of a frame.
        epsilon: of each value.
        num_previous_frames: how many frames before its own a value looks at.

    Raises:
        LossDefinitionError: the element-wise loss has not one row a frame, or not one name for
            each element.
        LplossError: the loss cannot be evaluated on the example.
    """

    def __init__(
        self,
        loss: Loss,
        pose_names: PoseNames,
        resolver: InputResolver,
        example: Mapping[str, Tensor],
    ) -> None:
        self.name = loss.loss_name
        self.loss_class = type(loss)
        self.unit = loss.unit
        self.metric = loss.metric
        self.num_previous_frames = loss.num_previous_frames
        self._resolver = resolver
        self._loss = copy.deepcopy(loss)
        self._loss.epsilon.zero_()
        found = self._elementwise(example)
        names = loss.element_names(pose_names.flat) if found.ndim > 1 else ["pose"]
        shape = found.shape if found.ndim > 1 else (*found.shape, 1)
        if shape[-1] != len(names) and pose_names.views:
            names = loss.element_names(pose_names.keypoints)
        num_rows = len(next(iter(example.values()))) - self.num_previous_frames
        if shape[0] != num_rows or shape[-1] != len(names):
            raise LossDefinitionError(
                f"loss {self.name!r}: the element-wise loss must have {num_rows} rows here (one a "
                f"frame, the first {self.num_previous_frames} left out) and end in an axis of "
                f"{len(names)} elements (element_names names so many), got shape {tuple(shape)}"
            )
        around = _around_names(type(loss), pose_names, shape[1:-1])
        self.element_names = tuple(
            before + name + after for before, after in around for name in names
        )
        epsilon = np.broadcast_to(loss.epsilon.double().cpu().numpy(), len(names))
        self.epsilon: Float64[np.ndarray, "elements"] = np.tile(epsilon, len(around))

    @property
    def one_epsilon(self) -> float | None:
        """The epsilon where all elements share one, else ``None``."""
        return float(self.epsilon[0]) if len(set(self.epsilon.tolist())) == 1 else None

    def values(
        self,
        batch: Mapping[str, Tensor],
        frames: Shaped[np.ndarray, "frames"],
        num_repeated: int,
        *,
        as_metric: bool = False,
    ) -> Float[np.ndarray, "new_frames elements"]:
        """Return the values of the frames that are new, in the precision of the loss.

        Args:
            batch: inputs of the loss, one row a frame.
            frames: number of each frame, or the path of its image.
            num_repeated: how many frames at the start are not new, only looked back at.
            as_metric: whether every keypoint counts, those too that the loss is not trained on;
                the scale of the metric is not applied.

        Returns:
            A row for each new frame; NaN where a value does not count, and where the frames
            that it looks at are not consecutive.
        """
        num_frames, before = len(frames), self.num_previous_frames
        start = max(0, num_repeated - before)
        shape = (num_frames - num_repeated, len(self.element_names))
        if num_frames - start <= before:
            return np.full(shape, np.nan, dtype=np.float32)
        with torch.no_grad():
            rows = {name: value[start:] for name, value in batch.items()}
            part = self._elementwise(rows, self.metric.without if as_metric and self.metric else ())
        found = part.reshape(len(part), -1).to(torch.promote_types(part.dtype, torch.float32))
        values = np.full(shape, np.nan, dtype=found.cpu().numpy().dtype)
        rows_with_value = values[start + before - num_repeated :]
        rows_with_value[:] = found.cpu().numpy()
        rows_with_value[~_follow(frames[start:], before)] = np.nan
        return values

    def _elementwise(
        self, batch: Mapping[str, Any], without: Sequence[str] = ()
    ) -> Float[Tensor, "..."]:
        # After what is derived from them: the views are weighted by their confidences all the same.
        inputs = self._resolver.resolve(batch)
        return self._loss.elementwise(
            **{name: value for name, value in inputs.items() if name not in without}
        )


def _around_names(
    loss_class: type[Loss], pose_names: PoseNames, sizes: Sequence[int]
) -> list[tuple[str, str]]:
    """Return what stands before and after the name of an element, for axes between first and last.

    An axis that the annotation of ``compute_loss`` calls views or cam_pairs has their names, any
    other one has numbers.
    """
    try:
        axes = typing.get_type_hints(loss_class.compute_loss)["return"].dim_str.split()[1:-1]
    except Exception:  # no annotation, or one that cannot be resolved
        axes = []
    known = {"views": pose_names.views, "cam_pairs": pose_names.pairs}
    around = [("", "")]
    for position, size in enumerate(sizes):
        names = known.get(axes[position], ()) if len(axes) == len(sizes) else ()
        labels = [(f"{name}/", "") for name in names]
        if len(labels) != size:
            labels = [("", f"[{number}]") for number in range(size)]
        around = [(b + before, a + after) for b, a in around for before, after in labels]
    return around


def loss_failed(what: str, loss_class: type[Loss], error: Exception) -> PluginError:
    """Return the error for a loss whose own code raised what is no error of lploss.

    Args:
        what: what was evaluated, and on what.
        loss_class: class of the loss.
        error: what it raised.
    """
    return PluginError(
        f"{what} cannot be evaluated: {loss_class.__name__} of {loss_class.__module__} raised "
        f"{first_line(error)}. Leave the loss out, or report this to whoever provides it."
    )


def _follow(
    frames: Shaped[np.ndarray, "frames"], before: int
) -> Bool[np.ndarray, "frames_with_previous"]:
    """Return, for each frame that has enough frames before it, whether they are consecutive."""
    if before == 0:
        return np.ones(len(frames), dtype=bool)
    if frames.dtype.kind != "i":
        return np.zeros(len(frames) - before, dtype=bool)
    steps = np.diff(frames) == 1
    return np.lib.stride_tricks.sliding_window_view(steps, before).min(axis=1)
