"""Supervised losses between predicted and target heatmaps."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from lploss import Loss, Properties, Reason
from lploss.validity import Validity
from lploss_builtin.ops import heatmaps


class _HeatmapLoss(Loss):
    """What the heatmap losses share: the masks of what is not labelled, or not finite."""

    kind = "supervised"
    properties = Properties(keypoint_order=True, zero_at_target=True)

    def remove_nans(
        self,
        heatmaps_targ: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
        heatmaps_pred: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
    ) -> tuple[Mapping[str, Tensor], Validity]:
        # The operations take what is not finite for zero, with a gradient of zero: to replace it
        # here would cost two more passes over all pixels.
        return {}, {
            Reason.NOT_LABELLED: ~heatmaps.is_labelled(heatmaps_targ),
            Reason.NAN_PREDICTION: ~heatmaps.is_finite(heatmaps_pred),
        }


class HeatmapMSELoss(_HeatmapLoss):
    r"""Squared error between predicted and target heatmaps.

    .. math:: \ell_{bk} = \sum_{hw} (p_{bkhw} - t_{bkhw})^2

    The sum goes over the pixels of a map, the mean over the labelled maps, so the scale does
    not depend on the size of the maps. A target map that is zero everywhere is not labelled.

    Args:
        epsilon: maps whose squared error is at most this cost nothing; at least 0,
            probability²; one number, or one a keypoint.
        log_weight: the loss is multiplied by ``1 / (2 * exp(log_weight))``.
        nan_predictions: what a prediction that is not finite does: ``"propagate"`` makes the
            loss NaN, ``"leave_out"`` leaves its elements out; see `lploss.Loss`.

    Returns:
        Element-wise ``(batch, num_keypoints)``, probability². It can be differentiated once.

    Raises:
        ArgumentValueError: an argument's value cannot be used.

    Source: Biderman et al., Lightning Pose, Nature Methods 2024.

    Example:
        >>> import torch
        >>> targ = torch.zeros(1, 1, 2, 2)
        >>> targ[..., 0, 0] = 1.0
        >>> HeatmapMSELoss()(heatmaps_targ=targ, heatmaps_pred=torch.full_like(targ, 0.25)).loss
        tensor(0.3750)
    """

    loss_name = "heatmap_mse"
    unit = "probability²"

    def compute_loss(
        self,
        heatmaps_targ: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
        heatmaps_pred: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
    ) -> Float[Tensor, "batch num_keypoints"]:
        return heatmaps.squared_error(heatmaps_targ, heatmaps_pred)


class HeatmapKLLoss(_HeatmapLoss):
    r"""Kullback-Leibler divergence of the predicted from the target heatmap.

    .. math:: \ell_{bk} = \sum_{hw} t_{bkhw} \log (t_{bkhw} / p_{bkhw})

    A target map that is zero everywhere is not labelled.

    Args:
        epsilon: maps whose divergence is at most this cost nothing; at least 0, nats;
            one number, or one a keypoint.
        log_weight: the loss is multiplied by ``1 / (2 * exp(log_weight))``.
        nan_predictions: what a prediction that is not finite does: ``"propagate"`` makes the
            loss NaN, ``"leave_out"`` leaves its elements out; see `lploss.Loss`.

    Returns:
        Element-wise ``(batch, num_keypoints)``, nats.

    Raises:
        ArgumentValueError: an argument's value cannot be used.

    Source: the divergence is that of kornia (``kl_div_loss_2d``).

    Example:
        >>> import torch
        >>> maps = torch.full((1, 1, 2, 2), 0.25)
        >>> HeatmapKLLoss()(heatmaps_targ=maps, heatmaps_pred=maps).loss
        tensor(0.)
    """

    loss_name = "heatmap_kl"
    unit = "nats"

    def compute_loss(
        self,
        heatmaps_targ: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
        heatmaps_pred: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
    ) -> Float[Tensor, "batch num_keypoints"]:
        return heatmaps.kl_divergence(heatmaps_targ, heatmaps_pred)


class HeatmapJSLoss(_HeatmapLoss):
    r"""Jensen-Shannon divergence between predicted and target heatmaps.

    .. math:: \ell_{bk} = \tfrac12 KL(t \| m) + \tfrac12 KL(p \| m), \quad m = (p + t) / 2

    A target map that is zero everywhere is not labelled.

    Args:
        epsilon: maps whose divergence is at most this cost nothing; 0 to ln 2, nats;
            one number, or one a keypoint.
        log_weight: the loss is multiplied by ``1 / (2 * exp(log_weight))``.
        nan_predictions: what a prediction that is not finite does: ``"propagate"`` makes the
            loss NaN, ``"leave_out"`` leaves its elements out; see `lploss.Loss`.

    Returns:
        Element-wise ``(batch, num_keypoints)``, nats, at most ln 2.

    Raises:
        ArgumentValueError: an argument's value cannot be used.

    Source: the divergence is that of kornia (``js_div_loss_2d``).

    Example:
        >>> import torch
        >>> targ, pred = torch.eye(4)[:2].view(2, 1, 1, 2, 2)
        >>> HeatmapJSLoss()(heatmaps_targ=targ, heatmaps_pred=pred).loss
        tensor(0.3466)
    """

    loss_name = "heatmap_js"
    unit = "nats"

    def compute_loss(
        self,
        heatmaps_targ: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
        heatmaps_pred: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
    ) -> Float[Tensor, "batch num_keypoints"]:
        return heatmaps.js_divergence(heatmaps_targ, heatmaps_pred)
