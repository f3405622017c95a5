"""The subspace of labelled poses, or of calibrated cameras, that the PCA losses measure from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Shaped
from torch import Tensor

from lploss.errors import FitError
from lploss_builtin.data.poses.labels import LabelledKeypoints
from lploss_builtin.ops import keypoints, subspace
from lploss_builtin.ops.geometry import Cameras
from lploss_builtin.ops.geometry.shared_volume import views_of_shared_volume

CenteringMethod: TypeAlias = Literal["mean", "median"] | None


@dataclass(frozen=True, slots=True)
class FitReport:
    """What the fit of a PCA loss was made of.

    A row is a frame (``pca_singleview``), or one keypoint of one frame seen in all views
    (``pca_multiview``); of a subspace from calibrated cameras, a point that all of them see.

    Attributes:
        rows_used: rows with at least one labelled keypoint; all of them enter the covariance.
        rows_dropped: rows without any.
        rows_complete: rows with all keypoints labelled; epsilon comes from these.
        missing_share: for each keypoint, the share of frames in which it is not labelled. A
            checkpoint does not hold names: there a keypoint is called by its number.
        explained_variance_ratio: share of the variance along each principal axis.
        components_kept: how many of them span the subspace.
        negative_variance_share: how far the pairwise-complete covariance, with which the fit
            starts, was from positive semi-definite: the sum of its negative variances over
            that of the positive ones.
        epsilon: errors up to this one cost nothing, px.
    """

    rows_used: int
    rows_dropped: int
    rows_complete: int
    missing_share: Mapping[str, float]
    explained_variance_ratio: tuple[float, ...]
    components_kept: int
    negative_variance_share: float
    epsilon: float

    def __str__(self) -> str:
        explained = sum(self.explained_variance_ratio[: self.components_kept])
        missing = ", ".join(f"{n} {100 * s:.1f} %" for n, s in self.missing_share.items() if s)
        return "\n".join(
            [
                f"rows: {self.rows_used} used ({self.rows_complete} complete), "
                f"{self.rows_dropped} dropped",
                f"not labelled: {missing or 'nothing'}",
                f"components kept: {self.components_kept} of "
                f"{len(self.explained_variance_ratio)}, {100 * explained:.2f} % of the variance",
                f"epsilon: {self.epsilon:.4g} px",
            ]
        )


@dataclass(frozen=True, slots=True)
class Fit:
    """A subspace, and what it was made of.

    Attributes:
        mean: of the rows.
        components: principal axes that span the subspace.
        explained_variance_ratio: share of the variance along each principal axis.
        negative_variance_share: see `FitReport`.
        missing_share: for each labelled keypoint, the share of frames in which it is not labelled.
        rows: how many rows were used, dropped and complete; from cameras only the first.
        errors: distance of each keypoint of complete rows from the subspace, px.
    """

    mean: Float[Tensor, "dim"]
    components: Float[Tensor, "num_components dim"]
    explained_variance_ratio: Float[Tensor, "dim"]
    negative_variance_share: Float[Tensor, ""]
    missing_share: Float[Tensor, "num_keypoints"]
    rows: tuple[int, ...]
    errors: Float[Tensor, "num_complete num_points"]


def rows_of(
    poses: Float[Tensor, "batch two_x_num_keypoints"], columns: Shaped[Tensor, "..."]
) -> Float[Tensor, "num_rows dim"]:
    """Return poses as the rows that a subspace is made of, before centring.

    Args:
        poses: the poses.
        columns: the keypoints used; of several views an axis more, and a row is one keypoint in
            all views.
    """
    points = keypoints.split_xy(poses)[:, columns]
    if columns.ndim == 2:
        return rearrange(points, "batch view k xy -> (batch k) (view xy)")
    return rearrange(points, "batch k xy -> batch (k xy)")


def centred(
    rows: Float[Tensor, "num_rows dim"], method: CenteringMethod
) -> Float[Tensor, "num_rows dim"]:
    """Return complete rows relative to the mean or median of their keypoints; ``None``: as is."""
    if method is None:
        return rows
    points = keypoints.split_xy(rows)
    if method == "mean":
        centre = points.mean(dim=1, keepdim=True)
    else:
        # Not Tensor.quantile, which refuses a batch of no frames.
        ordered = points.sort(dim=1).values
        middle = (points.shape[1] - 1) / 2
        centre = ordered[:, [math.floor(middle), math.ceil(middle)]].mean(dim=1, keepdim=True)
    return rearrange(points - centre, "batch k xy -> batch (k xy)")


def fit_to_labels(
    loss_name: str,
    labelled: LabelledKeypoints,
    columns: Shaped[Tensor, "..."],
    *,
    components_to_keep: int | float,
    centering_method: CenteringMethod,
    epsilon_from_errors: bool,
) -> Fit:
    """Fit a subspace to all labels, gaps included.

    Args:
        loss_name: for messages.
        labelled: the labelled poses.
        columns: the keypoints used, see `rows_of`.
        components_to_keep: number of components, or the share of variance that they explain.
        centering_method: see `centred`.
        epsilon_from_errors: whether the errors of complete rows are needed.

    Raises:
        FitError: too few labels, or labels that leave nothing to fit or to penalise.
    """
    poses = torch.from_numpy(labelled.keypoints)
    present = keypoints.is_present(poses)
    # A keypoint with one coordinate is not labelled.
    poses = poses.masked_fill(present.repeat_interleave(2, dim=1).logical_not(), torch.nan)
    missing = 1.0 - present.double().mean(dim=0)
    rows = rows_of(poses, columns)
    num_rows = len(rows)
    rows = rows[rows.isfinite().any(dim=1)]
    complete = rows[rows.isfinite().all(dim=1)]
    blame = _blame({labelled.name(i): float(missing[i]) for i in columns.flatten().tolist()})
    moments = subspace.pairwise_moments(rows)
    dim, fewest = rows.shape[1], int(moments.counts.min()) if len(rows) else 0
    if fewest < dim:
        raise FitError(
            f"loss {loss_name!r}: too few labels. Every two coordinates must be labelled "
            f"together in at least {dim} rows, as many as a row has coordinates; some two are "
            f"in {fewest} of {num_rows} only ({len(complete)} rows are complete). {blame} "
            "Label more frames, or leave such keypoints out."
        )
    # The variances of a pairwise-complete covariance may be negative: this says how far.
    _, variances = subspace.principal_axes(moments.covariance)
    negative = variances.clamp(max=0).abs().sum() / variances.clamp(min=0).sum()
    filled = subspace.fill_gaps(rows, moments)
    if centering_method is not None:
        # A gap would move the centre, so gaps are filled first. To centre what is uncertain
        # in them is exact for the mean, and near enough for the median.
        uncertainty = centred(centred(filled.uncertainty, "mean").T, "mean")
        filled = subspace.FilledRows(centred(filled.rows, centering_method), uncertainty)
    axes, variances = subspace.principal_axes(filled.covariance)
    variances = variances.clamp(min=0)
    if not variances.sum() > 0:
        raise FitError(
            f"loss {loss_name!r}: all labelled poses are the same, which leaves nothing "
            "to fit. Label frames in which the animal moves."
        )
    kept = components_to_keep
    if isinstance(kept, float):
        kept = subspace.num_components(kept, variances)
    if columns.ndim == 1 and kept >= len(variances):
        raise FitError(
            f"loss {loss_name!r}: components_to_keep={components_to_keep} keeps all "
            f"{len(variances)} components, which leaves nothing to penalise. Keep fewer."
        )
    if epsilon_from_errors and not len(complete):
        raise FitError(
            f"loss {loss_name!r}: epsilon comes from the error of complete rows, and "
            f"none of {num_rows} rows has all keypoints labelled. {blame} Leave such "
            "keypoints out, or give epsilon."
        )
    return Fit(
        filled.mean,
        axes[:kept],
        variances / variances.sum(),
        negative,
        missing,
        (len(rows), num_rows - len(rows), len(complete)),
        _errors(centred(complete, centering_method), filled.mean, axes[:kept]),
    )


def fit_to_cameras(
    loss_name: str, cameras: Cameras, num_keypoints: int, max_deviation: float
) -> Fit:
    """Fit a subspace to the points that all cameras see.

    Args:
        loss_name: for messages.
        cameras: the calibrated cameras.
        num_keypoints: of a pose.
        max_deviation: 99th percentile of the errors above which the cameras are refused, px.

    Raises:
        FitError: the cameras are too perspective.
    """
    with torch.no_grad():
        rows = views_of_shared_volume(cameras)
    mean = rows.mean(dim=0)
    axes, variances = subspace.principal_axes((rows - mean).T @ (rows - mean) / len(rows))
    errors = _errors(rows, mean, axes[:3])
    deviation = float(np.percentile(errors.numpy(), 99.0))
    if deviation > max_deviation:
        raise FitError(
            f"loss {loss_name!r}: the cameras are too perspective for a subspace: it "
            f"misses the points that all of them see by {deviation:.1f} px (99th percentile), "
            f"more than max_deviation={max_deviation:g}. Use the loss "
            "multiview_reprojection, which is exact for any cameras, or fit to labels."
        )
    return Fit(
        mean,
        axes[:3],
        variances / variances.sum(),
        torch.zeros(()),
        torch.zeros(num_keypoints),
        (len(rows),),
        errors,
    )


def _errors(
    rows: Float[Tensor, "num_rows dim"],
    mean: Float[Tensor, "dim"],
    components: Float[Tensor, "num_components dim"],
) -> Float[Tensor, "num_rows num_points"]:
    outside = subspace.residual(rows, mean, components)
    return torch.linalg.vector_norm(keypoints.split_xy(outside), dim=-1)


def _blame(missing: Mapping[str, float]) -> str:
    """Return a sentence on the keypoints that cost the most rows."""
    worst = sorted(missing, key=lambda name: -missing[name])[:3]
    costly = ", ".join(f"{name} ({100 * missing[name]:.0f} %)" for name in worst if missing[name])
    return f"Most often not labelled: {costly}." if costly else "No keypoint has gaps."
