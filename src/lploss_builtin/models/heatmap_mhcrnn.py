"""Keypoints from heatmaps of a frame alone, or of a window of frames around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Num
from torch import Tensor

from lploss.errors import ShapeError
from lploss_builtin.models.context_head import ContextHead
from lploss_builtin.models.heatmap import HeatmapModel, Heatmaps
from lploss_builtin.models.pose_model import Images, as_float, required
from lploss_builtin.models.prediction import Prediction

# What of a batch is not repeated, or cut, with its frames.
_STAYS = ("images", "context_images", "image_size")

ContextImages = Num[Tensor, "batch views context 3 height width"]


class MapsOfBothHeads(NamedTuple):
    """What the two heads see of the same frames.

    Attributes:
        static: heatmaps of each frame alone.
        context: heatmaps of each frame and those around it.
    """

    static: Heatmaps
    context: Heatmaps


class HeatmapMHCRNN(HeatmapModel):
    """A backbone and two heads: one sees a frame alone, the other two frames on each side as well.

    The context-aware head is a convolutional recurrent network over the features of five
    consecutive frames, see `ContextHead`: it can tell where a keypoint is that is hidden, or
    blurred, in one of them. The static head is that of `HeatmapModel`. Of each keypoint in each
    frame the prediction wins whose head is more confident.

    In a training with labels both heads learn: what losses get holds each frame twice, first all
    as the static head sees them, then all as the context-aware head does; so each loss is the mean
    over both. Of unlabelled video losses get what would be predicted, so that a step from one
    frame to the next is that of the prediction, whichever head it is of.

    The arguments are those of `HeatmapModel`, and each view is seen by itself.

    Source: the multi-head convolutional recurrent network of Lightning Pose.

    Example:
        >>> small = {"depth": 1, "embed_dim": 32, "num_heads": 2}
        >>> model = HeatmapMHCRNN(
        ...     num_keypoints=5, image_size=(64, 64), pretrained=False, backbone_params=small
        ... )
        >>> video = torch.rand(7, 1, 3, 64, 64)
        >>> model.predict_sequence(video).keypoints.shape
        torch.Size([3, 5, 2])
    """

    num_context_frames: ClassVar[int] = 2

    def prepare_views(self) -> None:
        """Make the second head, which each view uses by itself."""
        self.context_head = ContextHead(
            dim=self.backbone.embed_dim,
            patch_size=max(self.backbone.patch_size),
            num_keypoints=self.num_keypoints,
            downsample_factor=self.downsample_factor,
        )

    def forward(  # type: ignore[override]
        self,
        images: Images,
        views: Sequence[int] | None = None,
        context_images: ContextImages | None = None,
    ) -> MapsOfBothHeads:
        """Return the heatmaps of both heads.

        Args:
            images: RGB; whole numbers 0 to 255, or floating-point numbers 0 to 1.
            views: which of the views the images are of, where a camera is missing; all in their
                order unless given.
            context_images: two frames before each one, and two after it. Without them the images
                are those of consecutive frames, of which the first two and the last two are seen
                as context only.

        Raises:
            ShapeError: the images have other axes, or are not of so many views or frames.
            ArgumentValueError: there is no such view, or one stands there twice.
        """
        chosen = self.checked_views(images, views)
        number = 2 * self.num_context_frames + 1
        if context_images is None:
            num_frames = len(images) - number + 1
            if num_frames < 1:
                raise ShapeError(
                    f"images must be at least {number} consecutive frames, got {len(images)}: of "
                    f"single frames give context_images, the {number - 1} around each"
                )
            frames = images
            windows = [slice(first, first + num_frames) for first in range(number)]
        else:
            frames, num_frames = self._in_order(images, context_images), len(images)
            windows = [slice(num_frames * k, num_frames * (k + 1)) for k in range(number)]
        features = self.features(as_float(frames), chosen)
        encoded = self.context_head.encode(features.flatten(0, 1))
        encoded = rearrange(encoded, "(frame v) d row col -> frame v d row col", v=len(chosen))
        middle = features[windows[self.num_context_frames]]
        static = self.head(middle.flatten(0, 1))
        context = self.context_head([encoded[window].flatten(0, 1) for window in windows])
        return MapsOfBothHeads(
            *(
                rearrange(maps, "(b v) k h w -> b (v k) h w", v=len(chosen))
                for maps in (static, context)
            )
        )

    def predict(
        self,
        images: Images,
        views: Sequence[int] | None = None,
        context_images: ContextImages | None = None,
    ) -> Prediction:
        """Return of each keypoint what the more confident head sees.

        Args:
            images: RGB; whole numbers 0 to 255, or floating-point numbers 0 to 1.
            views: which of the views the images are of, where a camera is missing; all in their
                order unless given.
            context_images: two frames before each one, and two after it; where there are none,
                the frame itself stands in for them.

        Raises:
            ShapeError: the images have other axes, or are not of so many views or frames.
            ArgumentValueError: there is no such view, or one stands there twice.
        """
        if context_images is None:
            self.checked_views(images, views)
            context_images = images[:, :, None].expand(
                -1, -1, 2 * self.num_context_frames, -1, -1, -1
            )
        return self._more_confident(self(images, views, context_images), images)

    def predict_sequence(self, images: Images, views: Sequence[int] | None = None) -> Prediction:
        """Return of each keypoint what the more confident head sees in consecutive frames.

        Args:
            images: RGB of at least five frames; whole numbers 0 to 255, or floating-point numbers
                0 to 1.
            views: which of the views the images are of, where a camera is missing; all in their
                order unless given.

        Returns:
            Those of all frames but the first two and the last two.

        Raises:
            ShapeError: the images have other axes, or are not of so many views or frames.
            ArgumentValueError: there is no such view, or one stands there twice.
        """
        return self._more_confident(self(images, views), images)

    def get_loss_inputs_labeled(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what losses need of a labelled batch: of the static head, then of the other.

        Args:
            batch: as that of other models, and ``context_images``: two frames before each one, and
                two after it.

        Returns:
            What other models return, with each frame twice: row ``b`` is what the static head sees
            of frame ``b``, row ``batch + b`` what the context-aware head sees of it.

        Raises:
            MissingInputError: ``images``, ``context_images`` or ``keypoints_targ`` is not there.
        """
        images = required(batch, "images")
        maps = self(images, None, required(batch, "context_images"))
        twice = _rows(batch, len(images), lambda values: torch.cat([values, values]))
        found = self.found_in(torch.cat(maps), images)
        return self.loss_inputs(found, twice) | self.targets(twice)

    def get_loss_inputs_unlabeled(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what losses need of consecutive frames without labels.

        Args:
            batch: as that of other models; or with ``context_images``, single frames.

        Returns:
            What other models return, of what the more confident heads see; of all frames but the
            first two and the last two, where the frames are consecutive.

        Raises:
            MissingInputError: ``images`` is not there.
            ShapeError: there are fewer than five frames.
        """
        images = required(batch, "images")
        if "context_images" in batch:
            return self.loss_inputs(self.predict(images, None, batch["context_images"]), batch)
        number = self.num_context_frames
        found = self.predict_sequence(images)
        middle = _rows(batch, len(images), lambda values: values[number:-number])
        return self.loss_inputs(found, middle)

    def _more_confident(self, maps: MapsOfBothHeads, images: Tensor) -> Prediction:
        static, context = (self.found_in(own, images) for own in maps)
        wins = context.confidences > static.confidences
        return Prediction(
            torch.where(wins[:, :, None, None], maps.context, maps.static),
            torch.where(wins[:, :, None], context.keypoints, static.keypoints),
            torch.where(wins, context.confidences, static.confidences),
        )

    def _in_order(
        self, images: Images, context_images: ContextImages
    ) -> Num[Tensor, "batch_x_window views 3 height width"]:
        """Return all first frames of windows, then all second ones, and so on."""
        number = self.num_context_frames
        expected = (*images.shape[:2], 2 * number, *images.shape[2:])
        if context_images.shape != expected:
            raise ShapeError(
                f"context_images must hold the {number} frames before and the {number} after each "
                f"one of images, shape {expected}, got {tuple(context_images.shape)}"
            )
        before, after = context_images[:, :, :number], context_images[:, :, number:]
        window = torch.cat([before, images[:, :, None], after], dim=2)
        return rearrange(window, "b v frame c h w -> (frame b) v c h w")


def _rows(
    batch: Mapping[str, Tensor], num_frames: int, change: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Return a batch with other frames but for the images, of which only the size is asked then."""
    return {
        name: change(values)
        if name not in _STAYS and values.ndim > 0 and len(values) == num_frames
        else values
        for name, values in batch.items()
    }
