"""The peer's losses as losses of this project, so that the conformance kit can check them.

Each step is the peer's own method, handed what its own ``__call__`` hands it, in its own order:
nothing is mended and nothing is made worse. What `lploss.Loss` does for every loss, it does here
too, so the kit cannot tell how the peer fares there: arguments and shapes are checked, and the
weight is applied by ``forward``. Epsilon and log_weight are kept here, where the kit sets them,
and handed to the peer at each call.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

import lploss
from benchmarks import peer
from lploss.errors import MissingDependencyError
from lploss.loss import LogEntry, Stage
from lploss.reduction import Method
from lploss.validity import Validity

# Pixels of the image and of the heatmaps, for the one loss that wants to know.
_HEATMAP = {"heatmap_height": 5, "heatmap_width": 6}
_IMAGE = (20, 24)


class PeerLoss(lploss.Loss):
    """Base of the peer's losses: hands steps 3 to 5 to the peer's object.

    Args:
        loss_name: name of the loss, here and there.
        epsilon: handed to the peer's object.
        log_weight: handed to the peer's object.

    Attributes:
        takes_epsilon: whether the peer's ``__call__`` has step 3; most leave it out.
    """

    takes_epsilon: ClassVar[bool] = False

    def __init__(self, loss_name: str, *, epsilon: float = 0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        module = peer.losses()
        if module is None:
            raise MissingDependencyError("Lightning Pose is not installed: `make peer`")
        self.loss_name = loss_name
        # What ours says of itself, theirs has to do as well.
        ours = lploss.load_loss(loss_name)
        self.properties, self.denominator = ours.properties, ours.denominator
        self._peer = self._build(module)
        del self._peer.epsilon, self._peer.log_weight

    def _build(self, module: ModuleType) -> Any:
        """Return the peer's object."""
        classes = [
            c for c in vars(module).values() if getattr(c, "loss_name", "") == self.loss_name
        ]
        return classes[0]()

    def _call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the peer's object, with the settings that this loss has now."""
        self._peer.epsilon, self._peer.log_weight = self.epsilon, self.log_weight
        result = getattr(self._peer, method)(*args, **kwargs)
        del self._peer.epsilon, self._peer.log_weight
        return result

    def rectify_epsilon(self, loss: Tensor) -> Tensor:
        """Step 3, where the peer has it."""
        return self._call("rectify_epsilon", loss) if self.takes_epsilon else loss

    def reduce_loss(
        self, loss: Tensor, valid: Tensor | None = None, method: Method = "mean"
    ) -> Tensor:
        """Step 4."""
        return self._call("reduce_loss", loss, method=method)

    def log_loss(self, loss: Tensor, stage: Stage | None = None) -> list[LogEntry]:
        """Step 5."""
        return self._call("log_loss", loss, stage=stage)


class PeerHeatmapLoss(PeerLoss):
    """Losses between heatmaps: remove_nans, compute_loss, reduce_loss."""

    loss_names = ("heatmap_mse", "heatmap_kl", "heatmap_js")
    kind = "supervised"

    def remove_nans(
        self,
        heatmaps_targ: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
        heatmaps_pred: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
    ) -> tuple[Mapping[str, Tensor], Validity]:
        """Step 1."""
        targets, predictions = self._call(
            "remove_nans", targets=heatmaps_targ, predictions=heatmaps_pred
        )
        return {"heatmaps_targ": targets, "heatmaps_pred": predictions}, None

    def compute_loss(
        self,
        heatmaps_targ: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
        heatmaps_pred: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
    ) -> Tensor:
        """Step 2. What step 1 left has no axis of the batch any more: one value a row."""
        loss = self._call("compute_loss", targets=heatmaps_targ, predictions=heatmaps_pred)
        return loss.reshape(-1, 1)


class PeerRegressionLoss(PeerLoss):
    """Losses between keypoints: remove_nans, compute_loss, reduce_loss."""

    loss_names = ("regression", "rmse")
    kind = "supervised"

    def remove_nans(
        self,
        keypoints_targ: Float[Tensor, "batch two_x_num_keypoints"],
        keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
    ) -> tuple[Mapping[str, Tensor], Validity]:
        """Step 1."""
        targets, predictions = self._call(
            "remove_nans", targets=keypoints_targ, predictions=keypoints_pred
        )
        return {"keypoints_targ": targets, "keypoints_pred": predictions}, None

    def compute_loss(
        self,
        keypoints_targ: Float[Tensor, "batch two_x_num_keypoints"],
        keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
    ) -> Tensor:
        """Step 2. What step 1 left has no axis of the batch any more: one value a row."""
        loss = self._call("compute_loss", targets=keypoints_targ, predictions=keypoints_pred)
        return loss.reshape(-1, 1)


class PeerTemporalLoss(PeerLoss):
    """The loss between consecutive keypoints: compute_loss, remove_nans, rectify_epsilon, ..."""

    loss_name = "temporal"
    kind = "unsupervised"
    takes_epsilon = True
    num_previous_frames = 1

    def _build(self, module: ModuleType) -> Any:
        return module.TemporalLoss(prob_threshold=0.3)

    def compute_loss(
        self,
        keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
        confidences: Float[Tensor, "batch num_keypoints"] | None = None,
    ) -> Tensor:
        """Steps 2 and 1, in the peer's order."""
        loss = self._call("compute_loss", predictions=keypoints_pred)
        if confidences is None:
            return loss
        return self._call("remove_nans", loss=loss, confidences=confidences)


class PeerTemporalHeatmapLoss(PeerLoss):
    """Losses between consecutive heatmaps: compute_loss, remove_nans, rectify_epsilon, ..."""

    loss_names = ("temporal_heatmap_mse", "temporal_heatmap_kl")
    kind = "unsupervised"
    takes_epsilon = True
    num_previous_frames = 1

    def _build(self, module: ModuleType) -> Any:
        return module.TemporalHeatmapLoss(self.loss_name, prob_threshold=0.3)

    def compute_loss(
        self,
        heatmaps_pred: Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"],
        confidences: Float[Tensor, "batch num_keypoints"],
    ) -> Tensor:
        """Steps 2 and 1, in the peer's order."""
        loss = self._call("compute_loss", predictions=heatmaps_pred)
        return self._call("remove_nans", loss=loss, confidences=confidences)


class PeerPCALoss(PeerLoss):
    """Losses against poses outside a subspace: compute_loss, rectify_epsilon, reduce_loss.

    They are fitted to the poses that `lploss_builtin`'s own are fitted to for the kit.
    """

    loss_names = ("pca_singleview", "pca_multiview")
    kind = "unsupervised"
    takes_epsilon = True

    @property
    def axis_sizes(self) -> Mapping[str, int]:
        """The number of keypoints of the labels."""
        return {"num_keypoints": 4}

    def _build(self, module: ModuleType) -> Any:
        generator = torch.Generator().manual_seed(0)
        mixing = torch.randn(8, 8, generator=generator)
        labels = 100 + 10 * torch.randn(64, 8, generator=generator) @ mixing
        return peer.pca_loss(
            module,
            labels,
            torch.device("cpu"),
            loss_name=self.loss_name,
            epsilon=0.0,
            components_to_keep=3,
            mirrored_column_matches=[[0, 1], [2, 3]],
        )

    def compute_loss(self, keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"]) -> Tensor:
        """Step 2."""
        rows = self._peer.pca._format_data(data_arr=keypoints_pred)
        return self._call("compute_loss", predictions=rows)


class PeerPairwiseProjectionsLoss(PeerLoss):
    """The loss between points in space: compute_loss, remove_nans, reduce_loss."""

    loss_name = "supervised_pairwise_projections"
    kind = "supervised"

    def remove_nans(
        self,
        keypoints_targ_3d: Float[Tensor, "batch num_keypoints 3"],
        keypoints_pred_3d: Float[Tensor, "batch cam_pairs num_keypoints 3"],
    ) -> tuple[Mapping[str, Tensor], Validity]:
        """Tell what the peer's step 1, which comes later, is going to drop: what is NaN."""
        return {}, ~self.compute_loss(keypoints_targ_3d, keypoints_pred_3d).isnan()

    def compute_loss(
        self,
        keypoints_targ_3d: Float[Tensor, "batch num_keypoints 3"],
        keypoints_pred_3d: Float[Tensor, "batch cam_pairs num_keypoints 3"],
    ) -> Tensor:
        """Step 2."""
        return self._call("compute_loss", targets=keypoints_targ_3d, predictions=keypoints_pred_3d)

    def reduce_loss(
        self, loss: Tensor, valid: Tensor | None = None, method: Method = "mean"
    ) -> Tensor:
        """Steps 1 and 4."""
        return super().reduce_loss(self._call("remove_nans", loss=loss), method=method)


class PeerReprojectionHeatmapLoss(PeerLoss):
    """The loss of what the views find in space: compute_loss, remove_nans, reduce_loss."""

    loss_name = "supervised_reprojection_heatmap_mse"
    kind = "supervised"

    @property
    def axis_sizes(self) -> Mapping[str, int]:
        """The size of the heatmaps, which the peer's constructor is told."""
        return _HEATMAP

    def _build(self, module: ModuleType) -> Any:
        self._generate_heatmaps = module.generate_heatmaps
        return module.ReprojectionHeatmapLoss(*_IMAGE, *_HEATMAP.values())

    def remove_nans(
        self,
        heatmaps_targ: Float[Tensor, "batch views_x_num_keypoints heatmap_height heatmap_width"],
        keypoints_pred_2d_reprojected: Float[Tensor, "batch views_x_num_keypoints 2"],
    ) -> tuple[Mapping[str, Tensor], Validity]:
        """Tell what the peer's step 1, which comes later, is going to drop: all-zero targets."""
        is_labelled = (heatmaps_targ != 0).any(dim=-1).any(dim=-1)
        return {}, is_labelled[:, None, None, :].expand_as(heatmaps_targ.movedim(1, -1))

    def compute_loss(
        self,
        heatmaps_targ: Float[Tensor, "batch views_x_num_keypoints heatmap_height heatmap_width"],
        keypoints_pred_2d_reprojected: Float[Tensor, "batch views_x_num_keypoints 2"],
    ) -> Tensor:
        """Step 2; the axis of the keypoints goes last, as `lploss` wants it."""
        predictions = self._generate_heatmaps(
            keypoints_pred_2d_reprojected, *_IMAGE, tuple(_HEATMAP.values()), keep_gradients=True
        )
        loss = self._call("compute_loss", targets=heatmaps_targ, predictions=predictions)
        return loss.movedim(1, -1)

    def reduce_loss(
        self, loss: Tensor, valid: Tensor | None = None, method: Method = "mean"
    ) -> Tensor:
        """Steps 1 and 4; the former reads of the targets only which of them are zero."""
        loss, targets = loss.movedim(-1, 1), valid.movedim(-1, 1).to(loss)
        return super().reduce_loss(
            self._call("remove_nans", loss=loss, targets=targets), method=method
        )


_CLASSES = {name: cls for cls in PeerLoss.__subclasses__() for name in cls.loss_names}

#: Names of the losses.
LOSSES = tuple(_CLASSES)


def wrapped(name: str) -> PeerLoss:
    """Return a loss of the peer.

    Raises:
        MissingDependencyError: the peer is not installed.
    """
    return _CLASSES[name](name)
