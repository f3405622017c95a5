"""Losses without a mistake, from which the faulty ones are derived."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from lploss import Loss, Properties, Reason
from lploss.validity import Validity
from lploss_builtin.ops.keypoints import is_present, split_xy, with_previous, without_gaps

Cleaned: TypeAlias = tuple[Mapping[str, Tensor], Validity]
Keypoints: TypeAlias = Float[Tensor, "batch two_x_num_keypoints"]
Maps: TypeAlias = Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"]


class Distance(Loss):
    """How far each keypoint is from its label."""

    loss_name = "distance"
    kind = "supervised"
    properties = Properties(
        keypoint_order=True, translation=True, rotation=True, scaling=1, zero_at_target=True
    )

    def remove_nans(self, keypoints_targ: Keypoints, keypoints_pred: Keypoints) -> Cleaned:
        return {
            "keypoints_targ": without_gaps(keypoints_targ),
            "keypoints_pred": without_gaps(keypoints_pred),
        }, {
            Reason.NOT_LABELLED: ~is_present(keypoints_targ),
            Reason.NAN_PREDICTION: ~is_present(keypoints_pred),
        }

    def compute_loss(
        self, keypoints_targ: Keypoints, keypoints_pred: Keypoints
    ) -> Float[Tensor, "batch num_keypoints"]:
        return self.between(split_xy(keypoints_targ), split_xy(keypoints_pred))

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        """Return what lies between points: ``(batch, num_keypoints)``."""
        return torch.linalg.vector_norm(pred - targ, dim=-1)


class Scaled(Distance):
    """A distance with a quantity of its own, kept in a buffer."""

    loss_name = "scaled"

    def __init__(self, *, scale: float = 2.0, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.register_buffer("scale", torch.tensor(self._number("scale", scale)))

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        return self.scale * super().between(targ, pred)


class Step(Loss):
    """How far each keypoint moves from one frame to the next."""

    loss_name = "step"
    kind = "unsupervised"
    num_previous_frames = 1
    properties = Properties(keypoint_order=True, translation=True, rotation=True, scaling=1)

    def remove_nans(self, keypoints_pred: Keypoints) -> Cleaned:
        left_out = {Reason.NAN_PREDICTION: with_previous(~is_present(keypoints_pred))}
        return {"keypoints_pred": without_gaps(keypoints_pred)}, left_out

    def compute_loss(self, keypoints_pred: Keypoints) -> Tensor:
        return torch.linalg.vector_norm(split_xy(keypoints_pred).diff(dim=0), dim=-1)


class MapError(Loss):
    """Squared error between heatmaps."""

    loss_name = "map_error"
    kind = "supervised"
    properties = Properties(keypoint_order=True, zero_at_target=True)

    def remove_nans(self, heatmaps_targ: Maps, heatmaps_pred: Maps) -> Cleaned:
        left_out = {
            "not labelled": ~(heatmaps_targ.nan_to_num(0.0, 0.0, 0.0) != 0).flatten(2).any(dim=-1),
            "NaN prediction": ~heatmaps_pred.isfinite().flatten(2).all(dim=-1),
        }
        counts = ~(left_out["not labelled"] | left_out["NaN prediction"])[..., None, None]
        targ, pred = (
            torch.where(counts, maps, 0.0).nan_to_num(0.0, 0.0, 0.0)
            for maps in (heatmaps_targ, heatmaps_pred)
        )
        return {"heatmaps_targ": targ, "heatmaps_pred": pred}, left_out

    def compute_loss(
        self, heatmaps_targ: Maps, heatmaps_pred: Maps
    ) -> Float[Tensor, "batch num_keypoints"]:
        return self.between(heatmaps_targ, heatmaps_pred).sum(dim=(-2, -1))

    def between(self, targ: Tensor, pred: Tensor) -> Tensor:
        """Return what lies between maps, for each pixel."""
        return (pred - targ).square()


class PairDistance(Loss):
    """How far what each pair of views finds in space is from the label."""

    loss_name = "pair_distance"
    kind = "supervised"
    properties = Properties(view_order=True, keypoint_order=True, translation=True, scaling=1)

    def remove_nans(
        self,
        keypoints_targ_3d: Float[Tensor, "batch num_keypoints 3"],
        keypoints_pred_3d: Float[Tensor, "batch cam_pairs num_keypoints 3"],
    ) -> Cleaned:
        targ, pred = keypoints_targ_3d.isfinite(), keypoints_pred_3d.isfinite()
        return {
            "keypoints_targ_3d": torch.where(targ, keypoints_targ_3d, 0.0),
            "keypoints_pred_3d": torch.where(pred, keypoints_pred_3d, 0.0),
        }, targ.all(dim=-1)[:, None] & pred.all(dim=-1)

    def compute_loss(
        self,
        keypoints_targ_3d: Float[Tensor, "batch num_keypoints 3"],
        keypoints_pred_3d: Float[Tensor, "batch cam_pairs num_keypoints 3"],
    ) -> Float[Tensor, "batch cam_pairs num_keypoints"]:
        difference = keypoints_pred_3d - keypoints_targ_3d[:, None]
        return self.of_pairs(torch.linalg.vector_norm(difference, dim=-1))

    def of_pairs(self, distances: Tensor) -> Tensor:
        return distances


SOUND = (Distance, Scaled, Step, MapError, PairDistance)
