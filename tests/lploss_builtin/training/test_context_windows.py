from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lploss_builtin.training.augmentation import BatchAugmentation
from lploss_builtin.training.context_windows import folded, unfolded
from lploss_builtin.training.image_augmentation import ImageAugmentation
from lploss_builtin.training.patch_masking import MEAN_COLOUR

SIZE = (32, 48)
ANY = ImageAugmentation.from_config("dlc")


def batch_of(num_frames: int = 3, num_views: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (num_frames, num_views, 5, 3, *SIZE)
    windows = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    points = torch.rand(num_frames, num_views * 4, 2, generator=generator) * 24 + 4
    return {
        "images": windows[:, :, 2],
        "context_images": windows[:, :, [0, 1, 3, 4]],
        "keypoints_targ": points.flatten(1),
        "visibility": torch.full((num_frames, num_views * 4), 2, dtype=torch.uint8),
        "affine": torch.eye(2, 3).expand(num_frames, num_views, 2, 3),
        "image_size": torch.tensor([float(side) for side in SIZE]),
        "index": torch.arange(num_frames) * 5,
    }


def calibrated(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the batch with two cameras side by side, and labels of points before them."""
    num_frames = len(batch["images"])
    intrinsics = torch.tensor([[40.0, 0.0, 24.0], [0.0, 40.0, 16.0], [0.0, 0.0, 1.0]])
    extrinsics = torch.eye(3, 4).repeat(2, 1, 1)
    extrinsics[1, 0, 3] = 1.0
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(num_frames, 1, 4, 3, generator=generator) * 0.5
    points[..., 2] = 8.0
    seen = points + extrinsics[:, None, :, 3]
    pixels = 40 * seen[..., :2] / seen[..., 2:] + torch.tensor([24.0, 16.0])
    return {
        **batch,
        "keypoints_targ": pixels.flatten(1),
        "intrinsics": intrinsics.double().expand(num_frames, 2, 3, 3),
        "extrinsics": extrinsics.double().expand(num_frames, 2, 3, 4),
    }


def test_there_and_back_nothing_changes():
    batch = batch_of()
    rows = unfolded(batch)
    assert rows["images"].shape == (15, 2, 3, *SIZE)
    assert rows["index"].tolist() == [0, 5, 10] * 5
    assert rows["image_size"].tolist() == list(SIZE)
    assert torch.equal(rows["images"][:3], batch["images"])
    assert torch.equal(rows["images"][6 + 2], batch["context_images"][2, :, 1])
    again = folded(rows, batch)
    assert again.keys() == batch.keys()
    assert all(torch.equal(again[name], batch[name]) for name in batch)


def test_a_batch_without_context_stays_as_it_is():
    batch = batch_of()
    del batch["context_images"]
    assert unfolded(batch) == folded(batch, batch) == batch


@pytest.mark.parametrize("in_3d", [False, True])
def test_a_window_is_augmented_as_its_frame_alone(in_3d):
    """Each frame of a window, in the place of the frame itself, comes out the same."""
    batch = calibrated(batch_of())
    augmentation = BatchAugmentation(ANY, in_3d=in_3d, patch_size=(16, 16), seed=3)
    done = augmentation(batch, step=4)
    assert done.keys() == batch.keys()
    assert not torch.equal(done["affine"], batch["affine"]) or in_3d
    assert not torch.equal(done["images"], batch["images"])
    plain = {name: values for name, values in batch.items() if name != "context_images"}
    alone = augmentation(plain, step=4)
    for name, values in alone.items():
        assert torch.equal(values, done[name]), name
    for number in range(4):
        images = batch["context_images"][:, :, number]
        moved = augmentation({**plain, "images": images}, step=4)
        assert torch.equal(done["context_images"][:, :, number], moved["images"])


def test_3d_augmentation_counts_frames_and_not_those_around_them():
    augmentation = BatchAugmentation(ImageAugmentation(), in_3d=True, patch_size=(16, 16), seed=3)
    augmentation(calibrated(batch_of()), step=0)
    assert augmentation.report().startswith("3D augmentation: 3 of 3 frames; ")


def test_only_the_frame_itself_is_masked():
    batch = batch_of()
    for name in ("images", "context_images"):
        batch[name] = torch.full_like(batch[name], 7)
    augmentation = BatchAugmentation(ImageAugmentation(), in_3d=False, patch_size=(16, 16), seed=3)
    done = augmentation(batch, step=0, patch_mask_ratio=0.5)
    assert (done["context_images"] == 7).all()
    colour = torch.tensor(MEAN_COLOUR).round()[:, None, None]
    assert (done["images"] == colour).float().mean() == 0.5
