"""How well the calibrated views of a recording agree."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from lploss_builtin.data.poses.table import PoseNames, PoseTable
from lploss_builtin.ops.geometry import (
    Cameras,
    left_one_out_error,
    pairwise_reprojection_error,
    reprojection_error,
)
from lploss_builtin.scoring.summary import ViewRow

# Triangulations at once, so that memory does not grow with the number of cameras.
_AT_ONCE = 200_000


def view_agreement(table: PoseTable, names: PoseNames, cameras: Cameras) -> tuple[ViewRow, ...]:
    """Return the median reprojection errors of each view, to judge a calibration or predictions.

    Args:
        table: the poses of all individuals in all views.
        names: names of the keypoints and views.
        cameras: the cameras of the views.
    """
    num_views = len(names.views)
    points = rearrange(
        torch.from_numpy(table.points), "b i (view k) xy -> (b i) view k xy", view=num_views
    )
    weights = None
    if table.confidences is not None:
        weights = rearrange(
            torch.from_numpy(table.confidences), "b i (view k) -> (b i) view k", view=num_views
        )
    pairs = list(combinations(names.views, 2))
    num_frames = max(1, _AT_ONCE // (len(names.keypoints) * len(pairs)))
    with_all, with_others, in_pairs = [], [], []
    for start in range(0, len(points), num_frames):
        rows = slice(start, start + num_frames)
        piece, weight = points[rows], None if weights is None else weights[rows]
        with_all.append(reprojection_error(piece, cameras, weight).float())
        if num_views > 2:
            with_others.append(left_one_out_error(piece, cameras, weight).float())
        in_pairs.append(pairwise_reprojection_error(piece, cameras).float())
    reprojection, valid = _medians(with_all)
    left_one_out, _ = _medians(with_others) if with_others else (np.full(num_views, np.nan), None)
    pairwise, _ = _medians(in_pairs)
    return tuple(
        ViewRow(
            view=view,
            valid=int(valid[number]),
            reprojection=float(reprojection[number]),
            left_one_out=float(left_one_out[number]),
            in_pairs={
                pair[1 - pair.index(view)]: float(median[pair.index(view)])
                for pair, median in zip(pairs, pairwise, strict=True)
                if view in pair
            },
        )
        for number, view in enumerate(names.views)
    )


def _medians(
    pieces: list[Float[Tensor, "_ *groups num_keypoints"]],
) -> tuple[Float[np.ndarray, "*groups"], Int[np.ndarray, "*groups"]]:
    """Return the median of each group, NaN where nothing is known, and how many are known."""
    errors = rearrange(torch.cat(pieces).numpy(), "f ... k -> ... (f k)")
    medians = np.full(errors.shape[:-1], np.nan)
    counts = np.zeros(errors.shape[:-1], dtype=int)
    for group in np.ndindex(medians.shape):
        known = errors[group][~np.isnan(errors[group])]
        counts[group] = known.size
        medians[group] = np.median(known) if known.size else np.nan
    return medians, counts
