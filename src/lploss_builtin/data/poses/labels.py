"""Labelled keypoints, from whatever holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lploss.errors import DataError, first_line
from lploss.reduction import Sync, gather, has_processes
from lploss_builtin.data.poses.reading import read_poses


@dataclass(frozen=True, slots=True)
class LabelledKeypoints:
    """Labelled keypoints of some frames.

    Attributes:
        keypoints: float64, ``(frames, 2 * keypoints)``, px, NaN where not labelled; several
            views one after the other.
        keypoint_names: a name each, where known.
        num_views: number of views.
    """

    keypoints: NDArray[np.float64]
    keypoint_names: tuple[str, ...] | None = None
    num_views: int = 1

    def name(self, keypoint: int) -> str:
        """Return the name of a keypoint, or its number."""
        if self.keypoint_names is None:
            return f"keypoint {keypoint}"
        return self.keypoint_names[keypoint]


def labelled_keypoints(source: Any) -> LabelledKeypoints:
    """Return the labelled keypoints that a source holds.

    Args:
        source: a tensor or array ``(frames, 2 * keypoints)`` or ``(frames, keypoints, 2)``,
            px, NaN where not labelled; the path of a label file, each of whose individuals is a
            row, or a list of paths, one per view; an object with a method
            ``labelled_keypoints()`` that returns any of these;
            or a Lightning data module.

    Raises:
        DataError: the source is none of these, or its shape is wrong.

    Example:
        >>> labelled_keypoints(np.zeros((5, 4))).keypoints.shape
        (5, 4)
    """
    if isinstance(source, LabelledKeypoints):
        return source
    if isinstance(source, torch.Tensor | np.ndarray):
        return LabelledKeypoints(_as_rows(source))
    if isinstance(source, str | PathLike):
        table = read_poses(source)
        return LabelledKeypoints(table.rows, table.keypoints)
    if isinstance(source, Sequence) and source:
        return _views(labelled_keypoints(view) for view in source)
    if callable(getattr(source, "labelled_keypoints", None)):
        return labelled_keypoints(source.labelled_keypoints())
    if callable(getattr(source, "train_dataloader", None)):
        return _of_data_module(source)
    raise DataError(
        "labelled keypoints must come as a tensor or array (frames, 2 * keypoints), a path of a "
        "label file, an object with labelled_keypoints(), or a Lightning data module; got "
        f"{type(source).__module__}.{type(source).__qualname__}"
    )


def labels_of_all(source: Any, sync: Sync = "auto") -> LabelledKeypoints | None:
    """Return the labelled keypoints that the sources of all processes hold.

    Where there are several processes, all of them must call this; one without labels gives
    ``None`` or an array of no rows. Else these are the labels of the source.

    Args:
        source: that of this process, see `labelled_keypoints`.
        sync: ``False`` for those of this process alone.

    Returns:
        The frames of all processes, in the order of their ranks; where all processes with frames
        hold the very same ones, these. ``None`` where nobody has a source.

    Raises:
        DataError: a source cannot be used, be it that of another process, or they hold different
            keypoints.
    """
    if not has_processes(sync):
        return None if source is None else labelled_keypoints(source)
    own: LabelledKeypoints | Exception | None
    try:
        own = None if source is None else labelled_keypoints(source)
    except Exception as error:
        own = error
    # An error goes round as well: nobody waits for a process that has stopped.
    parts = gather(first_line(own) if isinstance(own, Exception) else own)
    if isinstance(own, Exception):
        raise own
    for rank, part in enumerate(parts):
        if isinstance(part, str):
            raise DataError(f"process {rank} cannot give its labelled keypoints: {part}")
    given = [part for part in parts if part is not None]
    return _joined(given) if given else None


def _joined(parts: Sequence[LabelledKeypoints]) -> LabelledKeypoints:
    """Return the frames of all parts, in their order, or of one where all are the same."""
    columns = [part.keypoints.shape[1] // 2 for part in parts]
    with_frames = [part for part in parts if len(part.keypoints)] or parts[:1]
    views = [part.num_views for part in with_frames]
    names = list(dict.fromkeys(p.keypoint_names for p in parts if p.keypoint_names is not None))
    if len(set(columns)) > 1 or len(set(views)) > 1 or len(names) > 1:
        raise DataError(
            "the labels of all processes must be of the same keypoints and views, got "
            f"{columns} keypoints, {views} views and the names {[list(own) for own in names]}. "
            f"A process without labels gives an array of shape (0, {2 * columns[0]})."
        )
    frames = [part.keypoints for part in with_frames]
    are_same = all(np.array_equal(own, frames[0], equal_nan=True) for own in frames)
    return LabelledKeypoints(
        frames[0] if are_same else np.concatenate(frames), names[0] if names else None, views[0]
    )


def _as_rows(values: Any) -> NDArray[np.float64]:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    array: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if array.ndim == 3 and array.shape[2] == 2:
        array = array.reshape(len(array), -1)
    if array.ndim != 2 or array.shape[1] % 2 or array.shape[1] == 0:
        raise DataError(
            "labelled keypoints must have shape (frames, 2 * keypoints) or (frames, keypoints, "
            f"2), got {array.shape}"
        )
    return array


def _views(views: Iterable[LabelledKeypoints]) -> LabelledKeypoints:
    views = list(views)
    shapes = [view.keypoints.shape for view in views]
    if len(set(shapes)) > 1:
        raise DataError(f"all views must have the same frames and keypoints, got shapes {shapes}")
    names = [name for view in views for name in view.keypoint_names or ()]
    return LabelledKeypoints(
        np.concatenate([view.keypoints for view in views], axis=1),
        tuple(names) or None,
        len(views),
    )


def _of_data_module(data_module: Any) -> LabelledKeypoints:
    """Take the keypoints of the training frames, before augmentation where they are kept so."""
    dataset = getattr(data_module, "dataset", None)
    kept = getattr(dataset, "keypoints", None)
    if isinstance(kept, torch.Tensor | np.ndarray):
        rows = _as_rows(kept)
        chosen = getattr(getattr(data_module, "train_dataset", None), "indices", None)
        views = getattr(dataset, "view_names", None) or [None]
        names = getattr(dataset, "keypoint_names", None)
        rows = rows if chosen is None else rows[np.asarray(chosen, dtype=np.int64)]
        complete = names is not None and 2 * len(names) == rows.shape[1]
        return LabelledKeypoints(rows, tuple(names) if complete and names else None, len(views))
    if callable(getattr(data_module, "setup", None)):
        data_module.setup("fit")
    found = [_keypoints_of_batch(batch) for batch in data_module.train_dataloader()]
    if not found:
        raise DataError("the data module's train_dataloader() yields no batch")
    return LabelledKeypoints(np.concatenate(found))


def _keypoints_of_batch(batch: Any) -> NDArray[np.float64]:
    if isinstance(batch, Mapping):
        for key in ("keypoints_targ", "keypoints"):
            if key in batch:
                return _as_rows(batch[key])
    held = f"a mapping with {sorted(batch)}" if isinstance(batch, Mapping) else type(batch).__name__
    raise DataError(
        "the data module's batches must be mappings with 'keypoints_targ' or 'keypoints', "
        f"got {held}"
    )
