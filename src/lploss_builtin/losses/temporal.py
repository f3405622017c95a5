"""Unsupervised losses between consecutive frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from lploss import Loss, Metric, Properties, Reason
from lploss.reduction import NanPredictions
from lploss.validity import Validity
from lploss_builtin.ops import heatmaps, keypoints


class _TemporalLoss(Loss):
    """What the temporal losses share: low confidence leaves out a step on both of its sides.

    What is left out counts as zero: the mean goes over all elements.
    """

    kind = "unsupervised"
    denominator = "all"
    num_previous_frames = 1
    properties = Properties(keypoint_order=True)

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

    def _left_out(
        self,
        spoilt: Bool[Tensor, "batch num_keypoints"],
        confidences: Float[Tensor, "batch num_keypoints"] | None,
    ) -> dict[str, Tensor]:
        left_out: dict[str, Tensor] = {Reason.NAN_PREDICTION: keypoints.with_previous(spoilt)}
        if confidences is not None:
            # Written so that a confidence of NaN is a low one.
            low = ~(confidences >= self.prob_threshold)
            left_out[Reason.LOW_CONFIDENCE] = keypoints.with_previous(low)
        return left_out


class TemporalLoss(_TemporalLoss):
    r"""Distance that each keypoint moves from one frame to the next.

    .. math:: \ell_{tk} = \max(0, \lVert x_{tk} - x_{t-1,k} \rVert_2 - \epsilon)

    The batch must be consecutive frames. A step counts as zero where the confidence before or
    after it is below ``prob_threshold``; the mean goes over all steps. The metric is the length of
    every step, whatever the confidences.

    Args:
        epsilon: steps of at most this length cost nothing; at least 0, px; one number, or one
            a keypoint.
        prob_threshold: confidences below this one leave the step out; 0 to 1.
        log_weight: the loss is multiplied by ``1 / (2 * exp(log_weight))``.
        nan_predictions: what a prediction that is not finite does: ``"propagate"`` makes the
            loss NaN, ``"leave_out"`` leaves its elements out; see `lploss.Loss`.

    Returns:
        Element-wise ``(batch - 1, num_keypoints)``, px.

    Raises:
        ArgumentValueError: an argument's value cannot be used.

    Source: Biderman et al., Lightning Pose, Nature Methods 2024.

    Example:
        >>> import torch
        >>> loss = TemporalLoss(epsilon=1.0)
        >>> loss.elementwise(keypoints_pred=torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
        tensor([[4.]])
    """

    loss_name = "temporal"
    unit = "px"
    metric = Metric(name="temporal_norm", without=("confidences",))
    properties = Properties(keypoint_order=True, translation=True, rotation=True, scaling=1)

    def remove_nans(
        self,
        keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
        confidences: Float[Tensor, "batch num_keypoints"] | None = None,
    ) -> tuple[Mapping[str, Tensor], Validity]:
        spoilt = ~keypoints.is_present(keypoints_pred)
        return (
            {"keypoints_pred": keypoints.without_gaps(keypoints_pred)},
            self._left_out(spoilt, confidences),
        )

    def compute_loss(
        self, keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"]
    ) -> Float[Tensor, "batch_minus_1 num_keypoints"]:
        return keypoints.temporal_distance(keypoints_pred)


class TemporalHeatmapMSELoss(_TemporalLoss):
    r"""Squared error between the heatmaps of consecutive frames.

    .. math:: \ell_{tk} = \frac{1}{HW} \sum_{hw} (p_{tkhw} - p_{t-1,khw})^2

    The batch must be consecutive frames. The scale is that of Lightning Pose: the mean over the
    ``H * W`` pixels of a map, whereas ``heatmap_mse`` is the sum. A step counts as zero where the
    confidence before or after it is below ``prob_threshold``; the mean goes over all steps.

    Args:
        epsilon: steps whose squared error is at most this cost nothing; at least 0,
            probability²; one number, or one a keypoint.
        prob_threshold: confidences below this one leave the step out; 0 to 1.
        log_weight: the loss is multiplied by ``1 / (2 * exp(log_weight))``.
        nan_predictions: what a prediction that is not finite does: ``"propagate"`` makes the
            loss NaN, ``"leave_out"`` leaves its elements out; see `lploss.Loss`.

    Returns:
        Element-wise ``(batch - 1, num_keypoints)``, probability². It can be differentiated once.

    Raises:
        ArgumentValueError: an argument's value cannot be used.

    Source: the temporal heatmap loss of Lightning Pose.

    Example:
        >>> import torch
        >>> loss = TemporalHeatmapMSELoss()
        >>> loss.elementwise(heatmaps_pred=torch.eye(4)[:2].view(2, 1, 2, 2))
        tensor([[0.5000]])
    """

    loss_name = "temporal_heatmap_mse"
    unit = "probability²"

    def remove_nans(
        self,
        heatmaps_pred: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
        confidences: Float[Tensor, "batch num_keypoints"] | None = None,
    ) -> tuple[Mapping[str, Tensor], Validity]:
        # The operation passes no gradient to a pixel that is not finite.
        return {}, self._left_out(~heatmaps.is_finite(heatmaps_pred), confidences)

    def compute_loss(
        self,
        heatmaps_pred: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
    ) -> Float[Tensor, "batch_minus_1 num_keypoints"]:
        return heatmaps.temporal_squared_error(heatmaps_pred)


class TemporalHeatmapKLLoss(_TemporalLoss):
    r"""Kullback-Leibler divergence between the heatmaps of consecutive frames.

    .. math:: \ell_{tk} = \sum_{hw} p_{tkhw} \log (p_{tkhw} / p_{t-1,khw})

    The batch must be consecutive frames. A step counts as zero where the confidence before or
    after it is below ``prob_threshold``; the mean goes over all steps.

    Args:
        epsilon: steps whose divergence is at most this cost nothing; at least 0, nats; one
            number, or one a keypoint.
        prob_threshold: confidences below this one leave the step out; 0 to 1.
        log_weight: the loss is multiplied by ``1 / (2 * exp(log_weight))``.
        nan_predictions: what a prediction that is not finite does: ``"propagate"`` makes the
            loss NaN, ``"leave_out"`` leaves its elements out; see `lploss.Loss`.

    Returns:
        Element-wise ``(batch - 1, num_keypoints)``, nats.

    Raises:
        ArgumentValueError: an argument's value cannot be used.

    Source: the temporal heatmap loss of Lightning Pose.

    Example:
        >>> import torch
        >>> loss = TemporalHeatmapKLLoss()
        >>> loss.elementwise(heatmaps_pred=torch.full((2, 1, 2, 2), 0.25))
        tensor([[0.]])
    """

    loss_name = "temporal_heatmap_kl"
    unit = "nats"

    def remove_nans(
        self,
        heatmaps_pred: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
        confidences: Float[Tensor, "batch num_keypoints"] | None = None,
    ) -> tuple[Mapping[str, Tensor], Validity]:
        # The operation takes what is not finite for zero.
        return {}, self._left_out(~heatmaps.is_finite(heatmaps_pred), confidences)

    def compute_loss(
        self,
        heatmaps_pred: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
    ) -> Float[Tensor, "batch_minus_1 num_keypoints"]:
        return heatmaps.temporal_kl_divergence(heatmaps_pred)
