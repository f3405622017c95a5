"""How well the calibrated views of a recording agree, kept while the frames go by."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lploss_builtin.data.poses.table import KeypointTable, PoseNames
from lploss_builtin.ops.geometry import (
    Cameras,
    left_one_out_error,
    pairwise_reprojection_error,
    reprojection_error,
)
from lploss_builtin.scoring.summary import ViewRow
from lploss_builtin.scoring.value_histogram import ValueHistogram

# Triangulations at once, so that memory grows neither with the cameras nor with the frames.
_AT_ONCE = 200_000
# Medians are off by at most a thousandth of their value.
_MANTISSA_BITS = 9


class ViewAgreement:
    """Errors of reprojection of each view, for looking at a calibration or at predictions.

    Args:
        cameras: of the views.
        names: of the keypoints and views.
    """

    def __init__(self, cameras: Cameras, names: PoseNames) -> None:
        self._cameras = cameras
        self._names = names
        self._pairs = list(combinations(names.views, 2))
        num_views = len(names.views)
        self._of_all = [ValueHistogram(_MANTISSA_BITS) for _ in range(num_views)]
        self._of_others = [ValueHistogram(_MANTISSA_BITS) for _ in range(num_views)]
        self._of_pairs = [
            [ValueHistogram(_MANTISSA_BITS) for _ in range(2)] for _ in range(len(self._pairs))
        ]

    def add(self, table: KeypointTable) -> None:
        """Add the frames that are new."""
        new = slice(table.num_previous_frames, None)
        num_views = len(self._names.views)
        points = rearrange(
            torch.from_numpy(table.keypoints[new]),
            "b (view k xy) -> b view k xy",
            view=num_views,
            xy=2,
        )
        weights = None
        if table.confidences is not None:
            weights = rearrange(
                torch.from_numpy(table.confidences[new]), "b (view k) -> b view k", view=num_views
            )
        num_frames = max(1, _AT_ONCE // (len(self._names.keypoints) * len(self._pairs)))
        for start in range(0, len(points), num_frames):
            rows = slice(start, start + num_frames)
            self._add(points[rows], None if weights is None else weights[rows])

    def rows(self) -> tuple[ViewRow, ...]:
        """Return the medians, one row a view."""
        medians = [tuple(map(_median, both)) for both in self._of_pairs]
        return tuple(
            ViewRow(
                view=view,
                valid=self._of_all[number].num_values,
                reprojection=_median(self._of_all[number]),
                left_one_out=_median(self._of_others[number]),
                in_pairs={
                    pair[1 - pair.index(view)]: median[pair.index(view)]
                    for pair, median in zip(self._pairs, medians, strict=True)
                    if view in pair
                },
            )
            for number, view in enumerate(self._names.views)
        )

    def _add(
        self,
        points: Float[Tensor, "batch views num_keypoints 2"],
        weights: Float[Tensor, "batch views num_keypoints"] | None,
    ) -> None:
        cameras = self._cameras
        for histogram, errors in zip(
            self._of_all, reprojection_error(points, cameras, weights).unbind(dim=1), strict=True
        ):
            _count(histogram, errors)
        if cameras.num_views > 2:
            for histogram, errors in zip(
                self._of_others,
                left_one_out_error(points, cameras, weights).unbind(dim=1),
                strict=True,
            ):
                _count(histogram, errors)
        of_pairs = pairwise_reprojection_error(points, cameras)
        for both, of_pair in zip(self._of_pairs, of_pairs.unbind(dim=1), strict=True):
            for histogram, errors in zip(both, of_pair.unbind(dim=1), strict=True):
                _count(histogram, errors)


def _count(histogram: ValueHistogram, errors: Float[Tensor, "*batch"]) -> None:
    values = errors.flatten().numpy()
    histogram.add(values[~np.isnan(values)])


def _median(histogram: ValueHistogram) -> float:
    return float(histogram.quantiles([0.5])[0])
