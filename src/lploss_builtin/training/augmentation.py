"""What is done to the images of a training batch: augmentation, and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lploss_builtin.training.augmentation_2d import (
    ImageAugmentation,
    augment_geometric,
    augment_photometric,
)
from lploss_builtin.training.augmentation_3d import augment_3d
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
        self._in_3d, self._patch_size, self._seed = in_3d, patch_size, seed
        self._partners = partners
        self._num_moved: Tensor | int = 0
        self._num_frames = 0

    def __call__(
        self, batch: Mapping[str, Tensor], step: int, patch_mask_ratio: float = 0.0
    ) -> dict[str, Tensor]:
        """Return the batch with other images, and with the targets that go with them.

        Args:
            batch: what the data loader returned.
            step: a number that changes whenever a frame comes again, such as the epoch.
            patch_mask_ratio: share of the patches of each view that are masked.
        """
        with torch.no_grad():
            done = dict(batch)
            if self._in_3d:
                moved = augment_3d(done, seed=self._seed, step=step)
                done = dict(moved.batch)
                self._num_moved = self._num_moved + moved.is_augmented.sum()
                self._num_frames += len(moved.is_augmented)
            done = augment_geometric(
                done,
                self._image_augmentation,
                seed=self._seed,
                step=step,
                partners=self._partners,
            )
            images = augment_photometric(
                done["images"],
                self._image_augmentation,
                seed=self._seed,
                step=step,
                index=done["index"],
            )
            done["images"], _ = mask_patches(
                images,
                patch_mask_ratio,
                self._patch_size,
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
