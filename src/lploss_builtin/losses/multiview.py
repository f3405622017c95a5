"""Losses between calibrated views."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lploss import Loss, Metric, Properties, Reason
from lploss.errors import ArgumentValueError
from lploss.reduction import NanPredictions
from lploss.validity import Validity
from lploss_builtin.ops import gaussians, heatmaps, keypoints
from lploss_builtin.ops.precision import at_least_float32


class PairwiseProjectionsLoss(Loss):
    r"""Distance in space between each pair's triangulation and the labelled point.

    .. math:: \ell_{bpk} = \lVert X_{bpk} - Y_{bk} \rVert_2 / s

    A factory derives both from keypoints and cameras. What a pair cannot triangulate is left
    out. The distance is in the unit of the calibration: the same rig in millimetres has a loss a
    thousand times that in metres, and needs another ``log_weight``. ``unit_scale`` (s) makes it
    free of the unit.

    Args:
        epsilon: distances of at most this cost nothing; at least 0, in calibration units, or in
            units of ``unit_scale``; one number, or one a keypoint.
        log_weight: the loss is multiplied by ``1 / (2 * exp(log_weight))``.
        unit_scale: distances are divided by it: a length in calibration units, above 0;
            ``"auto"``: the median distance between two keypoints of a target, over the batch;
            ``None``: 1.
        nan_predictions: what a prediction that is not finite does: ``"propagate"`` makes the
            loss NaN, ``"leave_out"`` leaves its elements out; see `lploss.Loss`.

    Returns:
        Element-wise ``(batch, cam_pairs, num_keypoints)``, in calibration units or free of them.

    Raises:
        ArgumentValueError: an argument's value cannot be used.

    Source: the pairwise projection loss of Lightning Pose's multi-view transformer.

    Example:
        >>> import torch
        >>> pred = torch.tensor([[[[0.0, 3.0, 4.0]], [[0.0, 0.0, float("nan")]]]])
        >>> loss = PairwiseProjectionsLoss(unit_scale=10.0)
        >>> loss.elementwise(keypoints_targ_3d=torch.zeros(1, 1, 3), keypoints_pred_3d=pred)
        tensor([[[0.5000],
                 [   nan]]])
    """

    loss_name = "supervised_pairwise_projections"
    kind = "supervised"
    annealed = True
    unit = "calibration units"
    properties = Properties(
        keypoint_order=True,
        view_order=True,
        translation=True,
        rotation=True,
        scaling=1,
        zero_at_target=True,
    )

    def __init__(
        self,
        *,
        epsilon: float | Sequence[float] = 0.0,
        log_weight: float = 0.0,
        unit_scale: float | Literal["auto"] | None = None,
        nan_predictions: NanPredictions = "propagate",
    ) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight, nan_predictions=nan_predictions)
        given: Any = unit_scale
        if given not in (None, "auto"):
            is_length = isinstance(given, Real) and not isinstance(given, bool)
            if not is_length or not 0 < float(given) < math.inf:
                raise ArgumentValueError(
                    f"loss {self.loss_name!r}: unit_scale must be a length above 0, 'auto' or "
                    f"None, got {unit_scale!r}",
                    argument="unit_scale",
                )
        self.unit_scale = unit_scale

    @classmethod
    def variants(cls, name: str, /) -> Sequence[Mapping[str, Any]]:
        """Return arguments that take other paths through the loss."""
        # Not "auto": a scale that is taken from the batch makes its frames depend on each other.
        return [{"unit_scale": 2.5}]

    def remove_nans(
        self,
        keypoints_targ_3d: Float[Tensor, "batch num_keypoints 3"],
        keypoints_pred_3d: Float[Tensor, "batch cam_pairs num_keypoints 3"],
    ) -> tuple[Mapping[str, Tensor], Validity]:
        is_found = _is_finite(keypoints_pred_3d)
        is_labelled = _is_finite(keypoints_targ_3d)[:, None].expand_as(is_found)
        return (
            {"keypoints_pred_3d": torch.where(is_found[..., None], keypoints_pred_3d, 0.0)},
            {Reason.NOT_LABELLED: ~is_labelled, Reason.NOT_TRIANGULATED: ~is_found},
        )

    def compute_loss(
        self,
        keypoints_targ_3d: Float[Tensor, "batch num_keypoints 3"],
        keypoints_pred_3d: Float[Tensor, "batch cam_pairs num_keypoints 3"],
    ) -> Float[Tensor, "batch cam_pairs num_keypoints"]:
        targets, predictions = map(at_least_float32, (keypoints_targ_3d, keypoints_pred_3d))
        targets = targets.detach()
        scale: Tensor | float = 1.0
        if self.unit_scale == "auto":
            scale = _median_distance(targets)
        elif self.unit_scale is not None:
            scale = self.unit_scale
        is_labelled = _is_finite(targets)[:, None, :, None]
        # Before the norm, whose gradient would be NaN; and at zero it is zero.
        difference = torch.where(is_labelled, predictions - targets[:, None], 0.0)
        return torch.linalg.vector_norm(difference, dim=-1) / scale


class ReprojectionHeatmapLoss(Loss):
    r"""Squared error between target heatmaps and Gaussians at the reprojected predictions.

    .. math:: \ell_{bvk} = \sum_{hw} (g_{hw}(\pi_v(\bar X_{bk})) - t_{bvkhw})^2

    :math:`\bar X` is the mean over the pairs of views of what they triangulate, :math:`\pi_v` the
    projection into view v, g the Gaussian of sum 1. A factory derives the reprojection from
    keypoints and cameras. The scale is that of ``heatmap_mse``: its value for the Gaussians as
    predictions. A point outside a map has a map of zeros there, as a label has. Where the batch
    holds ``image_size``, that says what a px of the reprojection is, else ``downsample_factor``.

    Args:
        epsilon: maps whose squared error is at most this cost nothing; at least 0,
            probability²; one number, or one a keypoint of each view.
        log_weight: the loss is multiplied by ``1 / (2 * exp(log_weight))``; 3.0 is a good start.
        downsample_factor: the model's input image is 2 to this power times as large as the
            heatmaps; an integer of at least 0.
        sigma: standard deviation of the Gaussians, above 0, heatmap px.
        nan_predictions: what a prediction that is not finite does: ``"propagate"`` makes the
            loss NaN, ``"leave_out"`` leaves its elements out; see `lploss.Loss`.

    Returns:
        Element-wise ``(batch, views_x_num_keypoints)``, probability². It can be differentiated
        once.

    Raises:
        ArgumentValueError: an argument's value cannot be used.

    Source: the reprojection loss of Lightning Pose's multi-view transformer.

    Example:
        >>> import torch
        >>> from lploss_builtin.ops.gaussians import gaussian_heatmaps
        >>> points = torch.tensor([[[32.0, 16.0], [8.0, 40.0]]])
        >>> targ = gaussian_heatmaps(points, image_size=(64, 64), heatmap_size=(16, 16))
        >>> loss = ReprojectionHeatmapLoss()
        >>> loss(heatmaps_targ=targ, keypoints_pred_2d_reprojected=points + 4).loss
        tensor(0.0141)
    """

    loss_name = "supervised_reprojection_heatmap_mse"
    kind = "supervised"
    annealed = True
    unit = "probability²"
    properties = Properties(keypoint_order=True, view_order=True)
    config_paths: ClassVar[Mapping[str, str]] = {"downsample_factor": "data.downsample_factor"}

    def __init__(
        self,
        *,
        epsilon: float | Sequence[float] = 0.0,
        log_weight: float = 0.0,
        downsample_factor: int = 2,
        sigma: float = 1.25,
        nan_predictions: NanPredictions = "propagate",
    ) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight, nan_predictions=nan_predictions)
        factor = self._number("downsample_factor", downsample_factor, 0.0)
        self.downsample_factor, self.sigma = int(factor), self._number("sigma", sigma, 0.0)
        if factor != self.downsample_factor:
            raise ArgumentValueError(
                f"loss {self.loss_name!r}: downsample_factor must be an integer of at least 0, got "
                f"{downsample_factor!r}",
                argument="downsample_factor",
            )
        if not self.sigma:
            raise ArgumentValueError(
                f"loss {self.loss_name!r}: sigma must be above 0, got {sigma!r}", argument="sigma"
            )

    @classmethod
    def variants(cls, name: str, /) -> Sequence[Mapping[str, Any]]:
        """Return arguments that take other paths through the loss."""
        return [{"downsample_factor": 1, "sigma": 2.0}]

    def remove_nans(
        self,
        heatmaps_targ: Float[Tensor, "batch views_x_num_keypoints heatmap_height heatmap_width"],
        keypoints_pred_2d_reprojected: Float[Tensor, "batch views_x_num_keypoints 2"],
    ) -> tuple[Mapping[str, Tensor], Validity]:
        is_found = _is_finite(keypoints_pred_2d_reprojected)
        return {}, {
            Reason.NOT_LABELLED: ~heatmaps.is_labelled(heatmaps_targ),
            Reason.NOT_TRIANGULATED: ~is_found,
        }

    def compute_loss(
        self,
        heatmaps_targ: Float[Tensor, "batch views_x_num_keypoints heatmap_height heatmap_width"],
        keypoints_pred_2d_reprojected: Float[Tensor, "batch views_x_num_keypoints 2"],
        image_size: Float[Tensor, "2"] | None = None,
    ) -> Float[Tensor, "batch views_x_num_keypoints"]:
        height, width = heatmaps_targ.shape[-2:]
        # In the precision of the maps, which are large.
        points = keypoints_pred_2d_reprojected.to(at_least_float32(heatmaps_targ).dtype)
        if image_size is None:
            points = points / 2**self.downsample_factor
        else:
            in_height, in_width = image_size.detach().to(points)
            points = points * torch.stack([width / in_width, height / in_height])
        return gaussians.gaussian_squared_error(
            heatmaps_targ, points, (height, width), sigma=self.sigma
        )


class MultiviewReprojectionLoss(Loss):
    r"""Distance between each view's prediction and what all views together say of it.

    .. math:: \ell_{bvk} = \max(0, \lVert x_{bvk} - \pi_v(\hat X_{bk}) \rVert_2 - \epsilon)

    :math:`\hat X` is the triangulation by all views, weighted by their confidences, :math:`\pi_v`
    the projection into view v. A factory derives the reprojection from keypoints, confidences
    and cameras, as a target, without a gradient. It needs no labels: it is for unlabelled video of
    several calibrated cameras.

    Args:
        epsilon: distances of at most this cost nothing; at least 0, px in the original image;
            one number, or one a keypoint of each view.
        prob_threshold: confidences below this one leave a view's keypoint out of the loss; 0 to
            1.
        log_weight: the loss is multiplied by ``1 / (2 * exp(log_weight))``.
        nan_predictions: what a prediction that is not finite does: ``"propagate"`` makes the
            loss NaN, ``"leave_out"`` leaves its elements out; see `lploss.Loss`.

    Returns:
        Element-wise ``(batch, views_x_num_keypoints)``, px.

    Raises:
        ArgumentValueError: an argument's value cannot be used.

    Example:
        >>> import torch
        >>> loss = MultiviewReprojectionLoss(epsilon=1.0)
        >>> loss.elementwise(
        ...     keypoints_pred=torch.tensor([[3.0, 4.0]]),
        ...     keypoints_pred_from_all_views=torch.zeros(1, 2),
        ... )
        tensor([[4.]])
    """

    loss_name = "multiview_reprojection"
    kind = "unsupervised"
    unit = "px"
    metric = Metric(name="reprojection_error", without=("confidences",))
    properties = Properties(keypoint_order=True, translation=True, rotation=True, scaling=1)

    def __init__(
        self,
        *,
        epsilon: float | Sequence[float] = 0.0,
        prob_threshold: float = 0.0,
        log_weight: float = 0.0,
        nan_predictions: NanPredictions = "propagate",
    ) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight, nan_predictions=nan_predictions)
        self.prob_threshold = self._number("prob_threshold", prob_threshold, 0.0, 1.0)

    @classmethod
    def variants(cls, name: str, /) -> Sequence[Mapping[str, Any]]:
        """Return arguments that take other paths through the loss."""
        return [{"prob_threshold": 0.5}]

    def remove_nans(
        self,
        keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
        keypoints_pred_from_all_views: Float[Tensor, "batch two_x_num_keypoints"],
        confidences: Float[Tensor, "batch num_keypoints"] | None = None,
    ) -> tuple[Mapping[str, Tensor], Validity]:
        left_out: dict[str, Tensor] = {
            Reason.NAN_PREDICTION: ~keypoints.is_present(keypoints_pred),
            Reason.NOT_TRIANGULATED: ~keypoints.is_present(keypoints_pred_from_all_views),
        }
        if confidences is not None:
            # Written so that a confidence of NaN is a low one.
            left_out[Reason.LOW_CONFIDENCE] = ~(confidences >= self.prob_threshold)
        return {
            "keypoints_pred": keypoints.without_gaps(keypoints_pred),
            "keypoints_pred_from_all_views": keypoints.without_gaps(keypoints_pred_from_all_views),
        }, left_out

    def compute_loss(
        self,
        keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
        keypoints_pred_from_all_views: Float[Tensor, "batch two_x_num_keypoints"],
    ) -> Float[Tensor, "batch num_keypoints"]:
        return keypoints.distance(keypoints_pred_from_all_views.detach(), keypoints_pred)


def _is_finite(points: Float[Tensor, "*batch xyz"]) -> Bool[Tensor, "*batch"]:
    # Tensor.isfinite takes four operations, which is what counts where poses are few. Not a sum,
    # which overflows where several coordinates are huge.
    return at_least_float32(points.detach()).abs().amax(dim=-1) < math.inf


def _median_distance(targets: Float[Tensor, "batch num_keypoints 3"]) -> Float[Tensor, ""]:
    """Return the median distance between two keypoints of a pose; 1 where there are none."""
    first, second = torch.triu_indices(targets.shape[1], targets.shape[1], 1, device=targets.device)
    between = torch.linalg.vector_norm(targets[:, first] - targets[:, second], dim=-1)
    if not between.numel():
        return targets.new_ones(())
    # Not nanmedian, which waits for the device. NaN is sorted to the end.
    ordered = between.flatten().sort().values
    middle = (ordered.isfinite().sum() - 1).clamp(min=0) // 2
    median = ordered.gather(0, middle[None])[0]
    return torch.where((median > 0) & (median < math.inf), median, 1.0)
