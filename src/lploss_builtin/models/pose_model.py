"""What all models have in common: a backbone, views, and the vocabulary of the losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from einops import rearrange
from jaxtyping import Float, Num
from torch import Tensor, nn

from lploss.errors import ArgumentValueError, MissingInputError, ShapeError
from lploss_builtin.models.backbone import Backbone
from lploss_builtin.models.backbones import make_backbone
from lploss_builtin.models.prediction import Prediction
from lploss_builtin.ops import affine

#: What a batch may hold that is handed on to the losses as it is.
HANDED_ON = ("bbox", "image_size", "intrinsics", "extrinsics", "distortions")

Images = Num[Tensor, "batch views 3 height width"]


class PoseModel(nn.Module, ABC):
    """Finds keypoints in the images of one or several views.

    Args:
        num_keypoints: of one view.
        num_views: how many views a batch holds.
        backbone: a name such as ``vits_dino`` or ``resnet50``, or a network of timm.
        image_size: height and width of the images, px; others are taken, too.
        pretrained: whether the backbone's weights are those that timm knows.
        backbone_checkpoint: file of weights for the backbone instead.
        backbone_params: more arguments for timm, such as ``depth``.
        gradient_checkpointing: whether the backbone's blocks are computed once more in the
            backward pass, which saves memory.

    Raises:
        ArgumentValueError: an argument cannot be used.
        MissingWeightsError: the pretrained weights cannot be had.

    Attributes:
        num_context_frames: how many frames before and after each one it sees.
    """

    num_context_frames: ClassVar[int] = 0

    def __init__(
        self,
        *,
        num_keypoints: int,
        num_views: int = 1,
        backbone: str = "vits_dino",
        image_size: tuple[int, int] = (256, 256),
        pretrained: bool = True,
        backbone_checkpoint: str | None = None,
        backbone_params: Mapping[str, Any] | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        for what, number in {"num_keypoints": num_keypoints, "num_views": num_views}.items():
            if number < 1:
                raise ArgumentValueError(f"{what} must be at least 1, got {number}")
        self.check_backbone(backbone)
        self.num_keypoints, self.num_views = num_keypoints, num_views
        self.backbone: Backbone = make_backbone(
            backbone,
            image_size,
            pretrained=pretrained,
            checkpoint_path=backbone_checkpoint,
            gradient_checkpointing=gradient_checkpointing,
            params=backbone_params,
        )
        self.prepare_head()

    def prepare_head(self) -> None:
        """Make what turns features into keypoints, where it takes no arguments of its own."""

    def check_backbone(self, backbone: str) -> None:
        """Check that a backbone can be used: any, where views are seen by themselves.

        Raises:
            ArgumentValueError: it cannot.
        """

    def prepare_views(self) -> None:
        """Make what is learned for single views: nothing, where views are seen by themselves."""

    def features(
        self, images: Float[Tensor, "batch views 3 height width"], views: Sequence[int]
    ) -> Float[Tensor, "batch views dim rows columns"]:
        """Return the features of all views, each seen by itself."""
        return self.backbone(images)

    @abstractmethod
    def predict(self, images: Images, views: Sequence[int] | None = None) -> Prediction:
        """Return where the keypoints are.

        Args:
            images: RGB; whole numbers 0 to 255, or floating-point numbers 0 to 1.
            views: which of the views the images are of, where a camera is missing; all in their
                order unless given.

        Raises:
            ShapeError: the images have other axes, or are not of so many views.
            ArgumentValueError: there is no such view, or one stands there twice.
        """

    def predict_sequence(self, images: Images, views: Sequence[int] | None = None) -> Prediction:
        """Return where the keypoints are in consecutive frames; as `predict`."""
        return self.predict(images, views)

    def get_loss_inputs_labeled(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what losses need of a labelled batch, in the vocabulary of the losses.

        Args:
            batch: ``images``, ``keypoints_targ`` (px in the original image), optionally
                ``visibility``, ``affine`` (from px of the original image to px of the images;
                the same px unless given), and what is known of crops and cameras.

        Returns:
            ``keypoints_targ``, ``keypoints_pred``, ``keypoints_pred_augmented``, where the model
            has heatmaps ``heatmaps_targ``, ``heatmaps_pred`` and ``confidences``, and what the
            batch holds of ``visibility``, ``bbox``, ``image_size``, ``intrinsics``,
            ``extrinsics`` and ``distortions``.

        Raises:
            MissingInputError: ``images`` or ``keypoints_targ`` is not there.
        """
        return self.get_loss_inputs_unlabeled(batch) | self.targets(batch)

    def get_loss_inputs_unlabeled(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what losses need of a batch without labels.

        Args:
            batch: that of `get_loss_inputs_labeled` without the labels.

        Raises:
            MissingInputError: ``images`` is not there.
        """
        return self.loss_inputs(self.predict(required(batch, "images")), batch)

    def loss_inputs(self, found: Prediction, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what a prediction is called by the losses, with what the batch holds for them."""
        original = found.keypoints
        if "affine" in batch:
            by_view = rearrange(original, "b (v k) xy -> b v k xy", v=batch["affine"].shape[1])
            back = affine.inverse(batch["affine"])
            original = affine.transform(by_view, back).flatten(1, 2)
        inputs = {
            "keypoints_pred": original.flatten(1),
            "keypoints_pred_augmented": found.keypoints.flatten(1),
            **{name: batch[name] for name in HANDED_ON if name in batch},
        }
        if found.heatmaps is not None:
            inputs |= {"heatmaps_pred": found.heatmaps, "confidences": found.confidences}
        return inputs

    def targets(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what is to be found in a labelled batch, as the losses call it."""
        targets = {"keypoints_targ": required(batch, "keypoints_targ")}
        if "visibility" in batch:
            targets["visibility"] = batch["visibility"].to(targets["keypoints_targ"].dtype)
        return targets

    def checked_views(self, images: Images, views: Sequence[int] | None) -> tuple[int, ...]:
        """Return which views images are of, after a check that they can be."""
        chosen = tuple(range(self.num_views)) if views is None else tuple(views)
        if len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(self.num_views)):
            raise ArgumentValueError(
                f"views must be different numbers of 0 to {self.num_views - 1}, got {list(chosen)}"
            )
        if images.ndim != 5 or images.shape[2] != 3:
            raise ShapeError(
                f"images must have axes (batch, views, 3, height, width), got shape "
                f"{tuple(images.shape)}"
            )
        if images.shape[1] != len(chosen):
            advice = "" if views else ": say by `views` which they are, where a camera is missing"
            raise ShapeError(
                f"images must be of {len(chosen)} views, got {images.shape[1]}{advice}"
            )
        return chosen


def as_float(images: Num[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Return images with values from 0 to 1.

    Example:
        >>> import torch
        >>> as_float(torch.full((1, 1, 3, 1, 1), 51, dtype=torch.uint8)).unique()
        tensor([0.2000])
    """
    return images if images.dtype.is_floating_point else images.float() / 255.0


def required(batch: Mapping[str, Tensor], name: str) -> Tensor:
    """Return what a batch must hold.

    Raises:
        MissingInputError: it is not there.
    """
    if name not in batch:
        raise MissingInputError(f"the batch must hold {name!r}, it holds {', '.join(batch)}")
    return batch[name]
