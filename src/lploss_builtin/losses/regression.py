"""Supervised losses between predicted and labelled keypoints."""

from __future__ import annotations

import math
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from lploss import Loss, Metric, Properties, Reason
from lploss.validity import Validity
from lploss_builtin.ops import keypoints


class RegressionLoss(Loss):
    r"""Squared error between predicted and labelled keypoints.

    .. math:: \ell_{bk} = \tfrac12 \left( (\hat x - x)^2 + (\hat y - y)^2 \right)

    A keypoint with a NaN among its two target coordinates is not labelled.

    Args:
        epsilon: keypoints whose squared error is at most this cost nothing; at least 0, px²;
            one number, or one a keypoint.
        log_weight: the loss is multiplied by ``1 / (2 * exp(log_weight))``.
        nan_predictions: what a prediction that is not finite does: ``"propagate"`` makes the
            loss NaN, ``"leave_out"`` leaves its elements out; see `lploss.Loss`.

    Returns:
        Element-wise ``(batch, num_keypoints)``, px².

    Raises:
        ArgumentValueError: an argument's value cannot be used.

    Source: Biderman et al., Lightning Pose, Nature Methods 2024.

    Example:
        >>> import torch
        >>> RegressionLoss()(
        ...     keypoints_targ=torch.zeros(1, 2), keypoints_pred=torch.tensor([[3.0, 4.0]])
        ... ).loss
        tensor(6.2500)
    """

    loss_name = "regression"
    kind = "supervised"
    unit = "px²"
    properties = Properties(
        keypoint_order=True, translation=True, rotation=True, scaling=2, zero_at_target=True
    )

    def remove_nans(
        self,
        keypoints_targ: Float[Tensor, "batch two_x_num_keypoints"],
        keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
    ) -> tuple[Mapping[str, Tensor], Validity]:
        unlabelled = ~keypoints.is_present(keypoints_targ)
        spoilt = ~keypoints.is_present(keypoints_pred)
        return {
            "keypoints_targ": keypoints.without_gaps(keypoints_targ),
            "keypoints_pred": keypoints.without_gaps(keypoints_pred),
        }, {Reason.NOT_LABELLED: unlabelled, Reason.NAN_PREDICTION: spoilt}

    def compute_loss(
        self,
        keypoints_targ: Float[Tensor, "batch two_x_num_keypoints"],
        keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
    ) -> Float[Tensor, "batch num_keypoints"]:
        return keypoints.squared_error(keypoints_targ, keypoints_pred)


class RMSELoss(RegressionLoss):
    r"""Root mean squared error between predicted and labelled keypoints.

    .. math:: \ell_{bk} = \sqrt{\tfrac12 \left( (\hat x - x)^2 + (\hat y - y)^2 \right)}

    This is the distance in the image divided by the root of two. Its gradient at a perfect
    prediction is zero. A keypoint with a NaN among its two target coordinates is not labelled.

    Args:
        epsilon: keypoints whose error is at most this cost nothing; at least 0, px;
            one number, or one a keypoint.
        log_weight: the loss is multiplied by ``1 / (2 * exp(log_weight))``.
        nan_predictions: what a prediction that is not finite does: ``"propagate"`` makes the
            loss NaN, ``"leave_out"`` leaves its elements out; see `lploss.Loss`.

    Returns:
        Element-wise ``(batch, num_keypoints)``, px.

    Raises:
        ArgumentValueError: an argument's value cannot be used.

    Source: Biderman et al., Lightning Pose, Nature Methods 2024.

    Example:
        >>> import torch
        >>> RMSELoss().elementwise(
        ...     keypoints_targ=torch.zeros(1, 2), keypoints_pred=torch.tensor([[3.0, 4.0]])
        ... )
        tensor([[3.5355]])
    """

    loss_name = "rmse"
    unit = "px"
    # The distance in the image, as everybody reports it.
    metric = Metric(name="pixel_error", scale=math.sqrt(2.0))
    properties = Properties(
        keypoint_order=True, translation=True, rotation=True, scaling=1, zero_at_target=True
    )

    def compute_loss(
        self,
        keypoints_targ: Float[Tensor, "batch two_x_num_keypoints"],
        keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
    ) -> Float[Tensor, "batch num_keypoints"]:
        return keypoints.root_mean_squared_error(keypoints_targ, keypoints_pred)
