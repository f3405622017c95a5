"""What is done to the images of a training batch: augmentation, and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lploss_builtin.training.augmentation_2d import (
    ImageAugmentation,
    augment_geometric,
    augment_photometric,
)
from lploss_builtin.training.augmentation_3d import augment_3d
from lploss_builtin.training.context_windows import folded, unfolded
from lploss_builtin.training.patch_masking import mask_patches


class BatchAugmentation:
    """Augments batches of images; what it draws hangs on seed, step and frame alone.

    Args:
        image_augmentation: what is done to each view by itself.
        in_3d: whether the animal is moved and scaled in space, in all views alike.
        patch_size: height and width of the patches that are masked, px.
        seed: of the random numbers.
        partners: for each keypoint the one that takes its name in a mirror; ``None``: itself.
    """

    def __init__(
        self,
        image_augmentation: ImageAugmentation,
        *,
        in_3d: bool,
        patch_size: tuple[int, int],
        seed: int,
        partners: Sequence[int] | None = None,
    ) -> None:
        self._image_augmentation = image_augmentation.for_3d() if in_3d else image_augmentation
        # The predictions of a mirrored sequence would be those of other keypoints.
        self._of_sequence = replace(self._image_augmentation, flip_probability=0.0)
        self._in_3d, self._patch_size, self._seed = in_3d, patch_size, seed
        self._partners = partners
        self._num_moved: Tensor | int = 0
        self._num_frames = 0

    def __call__(
        self, batch: Mapping[str, Tensor], step: int, patch_mask_ratio: float = 0.0
    ) -> dict[str, Tensor]:
        """Return the batch with other images, and with the targets that go with them.

        The ``context_images`` around a frame change as the frame does, but are not masked: from
        them a network can tell what the frame does not show.

        Args:
            batch: what the data loader returned.
            step: a number that changes whenever a frame comes again, such as the epoch.
            patch_mask_ratio: share of the patches of each view that are masked.
        """
        with torch.no_grad():
            done = unfolded(batch)
            if self._in_3d:
                moved = augment_3d(done, seed=self._seed, step=step)
                done = dict(moved.batch)
                self._num_moved = self._num_moved + moved.is_augmented[: len(batch["index"])].sum()
                self._num_frames += len(batch["index"])
            done = augment_geometric(
                done,
                self._image_augmentation,
                seed=self._seed,
                step=step,
                partners=self._partners,
            )
            done["images"] = augment_photometric(
                done["images"],
                self._image_augmentation,
                seed=self._seed,
                step=step,
                index=done["index"],
            )
            done = folded(done, batch)
            done["images"], _ = mask_patches(
                done["images"],
                patch_mask_ratio,
                self._patch_size,
                seed=self._seed,
                step=step,
                index=done["index"],
            )
        return done

    def of_labels(
        self, labels: Mapping[str, Tensor], step: int, image_shape: Sequence[int]
    ) -> dict[str, Tensor]:
        """Return labels as they are once the images that they belong to have been augmented.

        Args:
            labels: what the data loader returned, without images.
            step: as for images.
            image_shape: ``views 3 height width`` of the images.

        Returns:
            What a call gives, with images on the meta device, which have no pixels.
        """
        with torch.no_grad():
            shape = (len(labels["index"]), *image_shape)
            done = {**labels, "images": torch.empty(shape, dtype=torch.uint8, device="meta")}
            if self._in_3d:
                done = augment_3d(done, seed=self._seed, step=step).batch
            return augment_geometric(
                done,
                self._image_augmentation,
                seed=self._seed,
                step=step,
                partners=self._partners,
            )

    def of_sequence(self, batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return consecutive frames of a video, all changed alike.

        Each view is turned, scaled and shifted as a labelled frame is, unless this is done in 3D;
        ``affine`` says how, so that it is undone on predictions. Nothing is masked or mirrored.

        Args:
            batch: with the same ``index`` for all frames.
            step: as for labelled frames.
        """
        with torch.no_grad():
            done = augment_geometric(batch, self._of_sequence, seed=self._seed, step=step)
            done["images"] = augment_photometric(
                done["images"],
                self._of_sequence,
                seed=self._seed,
                step=step,
                index=done["index"],
            )
        return done

    def report(self) -> str:
        """Return in words how many frames were moved in space; this waits for the device."""
        if not self._num_frames:
            return "3D augmentation: none"
        num_moved = int(self._num_moved)
        return (
            f"3D augmentation: {num_moved} of {self._num_frames} frames; the others have fewer "
            "than three keypoints that two views see, or would leave the images"
        )
