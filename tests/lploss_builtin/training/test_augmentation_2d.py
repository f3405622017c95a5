from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lploss_builtin.ops.affine import transform
from lploss_builtin.training.augmentation_2d import (
    ImageAugmentation,
    augment_geometric,
)


def make_batch(frames: int, views: int, size: tuple[int, int] = (60, 80)) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([[0.5, 0.0, -10.0], [0.0, 0.25, 4.0]])
    keypoints = torch.rand(frames, 2 * views * 3, generator=generator) * 100
    return {
        "images": torch.zeros(frames, views, 3, *size, dtype=torch.uint8),
        "affine": scale.expand(frames, views, 2, 3),
        "keypoints_targ": keypoints,
        "visibility": torch.arange(views * 3).remainder(3).byte().expand(frames, -1),
        "index": torch.arange(frames) + 5,
    }


def moved(batch: dict[str, Tensor], **arguments: object) -> dict[str, Tensor]:
    return augment_geometric(batch, ImageAugmentation.from_config(arguments), seed=0, step=0)


def warp_of(before: dict[str, Tensor], after: dict[str, Tensor]) -> np.ndarray:
    """What happened to pixels of the input, as 3 x 3 matrices."""
    last = np.array([0.0, 0.0, 1.0])
    old, new = (
        np.concatenate(
            [b["affine"].double().numpy(), np.broadcast_to(last, (*b["affine"].shape[:2], 1, 3))], 2
        )
        for b in (before, after)
    )
    # Of an image that was resized by 0.5 and 0.25, the middle of pixel p is here, and not at 0.
    to_pixels = np.array([[1.0, 0.0, -0.25], [0.0, 1.0, -0.375], [0.0, 0.0, 1.0]])
    return to_pixels @ new @ np.linalg.inv(old) @ np.linalg.inv(to_pixels)


def test_nothing_to_do_gives_the_tensors_themselves() -> None:
    batch = make_batch(2, 2)
    after = moved(batch, gamma=0.5)
    assert after is not batch
    assert after.keys() == batch.keys()
    assert all(after[name] is batch[name] for name in batch)


def test_rotation_is_about_the_centre_by_at_most_the_angle() -> None:
    batch = make_batch(300, 2)
    warps = warp_of(batch, moved(batch, rotation=25.0, rotation_probability=0.4))
    centre = np.array([39.5, 29.5, 1.0])
    np.testing.assert_allclose(warps @ centre, np.broadcast_to(centre, (300, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(np.linalg.det(warps), 1.0, atol=1e-5)
    angles = np.degrees(np.arctan2(warps[..., 1, 0], warps[..., 0, 0]))
    assert 24 < np.abs(angles).max() < 25.001
    assert (np.abs(angles) > 1e-4).mean() == pytest.approx(0.4, abs=0.08)
    assert angles.mean() == pytest.approx(0, abs=2.5)


def test_scale_and_shift_stay_in_their_ranges() -> None:
    batch = make_batch(300, 2)
    warps = warp_of(batch, moved(batch, scale=[0.5, 2.0], shift=0.1))
    factors = warps[..., 0, 0]
    np.testing.assert_allclose(warps[..., 1, 1], factors, atol=1e-5)
    assert 0.499 < factors.min() < 0.52
    assert 1.92 < factors.max() < 2.001
    assert (factors < 1).mean() == pytest.approx(0.5, abs=0.09)
    shifts = (warps @ np.array([39.5, 29.5, 1.0]))[..., :2] - np.array([39.5, 29.5])
    assert (np.abs(shifts).max((0, 1)) <= np.array([8.001, 6.001])).all()
    assert (np.abs(shifts).max((0, 1)) > np.array([7.8, 5.8])).all()


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        (1, [[0, -79 / 59, 79], [59 / 79, 0, 0]]),
        (2, [[-1, 0, 79], [0, -1, 59]]),
        (3, [[0, 79 / 59, 0], [-59 / 79, 0, 59]]),
    ],
)
def test_quarter_turns_bring_corners_to_corners(turns: int, expected: list[list[float]]) -> None:
    batch = make_batch(1, 1)
    warp = warp_of(batch, moved(batch, quarter_turns=[turns]))[0, 0]
    np.testing.assert_allclose(warp[:2], expected, atol=1e-4)


def test_turns_are_equally_likely() -> None:
    batch = make_batch(400, 2, (32, 32))
    warps = warp_of(batch, moved(batch, quarter_turns=[0, 1, 2, 3]))
    angles = np.round(np.degrees(np.arctan2(warps[..., 1, 0], warps[..., 0, 0])) / 90) % 4
    counts = np.bincount(angles.astype(int).ravel(), minlength=4)
    assert np.abs(counts - 200).max() < 60


def test_images_are_where_the_map_says() -> None:
    batch = make_batch(6, 2)
    places = torch.tensor([[90.0, 90.0], [110.0, 130.0], [80.0, 150.0]])
    on_input = transform(places, batch["affine"][0, 0])
    y, x = np.mgrid[:60, :80]
    offset = torch.tensor([-0.25, -0.375])  # that of pixels in an image that was resized
    spots = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8) for a, b in (on_input + offset).tolist()]
    for number, spot in enumerate(spots):
        batch["images"][:, :, number] = torch.tensor(250 * spot).byte()
    after = moved(batch, rotation=30.0, scale=[0.9, 1.2], shift=0.05, flip_probability=0.5)
    now = transform(places.expand(6, 2, 3, 2), after["affine"]) + offset
    for frame in range(6):
        for view in range(2):
            for channel in range(3):
                image = after["images"][frame, view, channel].double().numpy()
                # What comes from outside has a colour, too.
                image = np.where(image > 130, image - 130, 0)
                found = (image * x).sum() / image.sum(), (image * y).sum() / image.sum()
                distance = math.dist(found, now[frame, view, channel].tolist())
                assert distance < 0.35
    assert torch.equal(after["keypoints_targ"], batch["keypoints_targ"])


@pytest.mark.parametrize(
    "arguments", [{"flip_probability": 1.0}, {"quarter_turns": [2]}, {"rotation": 40.0}], ids=str
)
def test_a_resized_image_is_moved_as_its_labels_are(arguments: dict[str, object]) -> None:
    places = torch.tensor([[100.0, 140.0], [300.0, 411.0], [222.0, 77.0]])
    rgb = np.zeros((512, 512, 3), dtype=np.uint8)
    for channel, (x, y) in enumerate(places.int().tolist()):
        rgb[y - 3 : y + 4, x - 3 : x + 4, channel] = 250
    small = np.asarray(Image.fromarray(rgb).resize((128, 128), Image.Resampling.BILINEAR))
    to_input = torch.tensor([[0.25, 0.0, 0.0], [0.0, 0.25, 0.0]])
    batch = {
        "images": torch.from_numpy(small.copy()).permute(2, 0, 1)[None, None],
        "affine": to_input[None, None],
        "index": torch.tensor([3]),
    }
    offsets = []
    for each in (batch, moved(batch, **arguments)):
        targets = transform(places, each["affine"][0, 0])
        for channel, (x, y) in enumerate(targets.tolist()):
            part = each["images"][0, 0, channel].double()
            rows, columns = (slice(max(round(a) - 5, 0), round(a) + 6) for a in (y, x))
            spot = (part[rows, columns] - part[rows, columns].min()).clamp(min=0)
            where = [
                (
                    spot.sum(dim=1 - dim) * torch.arange(len(spot) if not dim else spot.shape[1])
                ).sum()
                / spot.sum()
                + side.start
                for dim, side in ((1, columns), (0, rows))
            ]
            offsets.append([float(where[0]) - x, float(where[1]) - y])
    # Resizing leaves this; nothing else is added.
    np.testing.assert_allclose(offsets, -0.375, atol=0.06)


def test_partners_are_swapped_in_the_views_that_are_mirrored() -> None:
    batch = make_batch(50, 2)
    augmentation = ImageAugmentation().with_flips()
    partners = (2, 1, 0)
    after = augment_geometric(batch, augmentation, seed=0, step=0, partners=partners)
    is_flipped = warp_of(batch, after)[..., 0, 0] < 0
    assert 0.3 < is_flipped.mean() < 0.7
    for name, width in (("keypoints_targ", 2), ("visibility", 1)):
        before = batch[name].reshape(50, 2, 3, width).numpy()
        expected = np.where(is_flipped[..., None, None], before[:, :, [2, 1, 0]], before)
        np.testing.assert_array_equal(after[name].reshape(50, 2, 3, width), expected)


def test_numbers_hang_on_seed_step_and_frame_alone() -> None:
    batch = make_batch(4, 2)
    augmentation = ImageAugmentation.from_config("dlc-top-down")
    whole = augment_geometric(batch, augmentation, seed=1, step=2)
    part = {name: tensor[[3, 1]] for name, tensor in batch.items()}
    part = augment_geometric(part, augmentation, seed=1, step=2)
    assert torch.equal(part["affine"], whole["affine"][[3, 1]])
    assert torch.equal(part["images"], whole["images"][[3, 1]])
    for seed, step in ((1, 3), (2, 2)):
        other = augment_geometric(batch, augmentation, seed=seed, step=step)
        assert not torch.equal(other["affine"], whole["affine"])


def test_a_single_pixel_and_no_frames() -> None:
    for batch in (make_batch(1, 1, (1, 1)), make_batch(0, 2)):
        after = moved(batch, quarter_turns=[1], rotation=10.0)
        assert after["images"].shape == batch["images"].shape
        assert after["affine"].isfinite().all()


@pytest.mark.gpu
def test_a_gpu_does_the_same_without_waiting() -> None:
    batch = make_batch(4, 2)
    augmentation = ImageAugmentation.from_config("dlc-top-down").with_flips()
    expected = augment_geometric(batch, augmentation, seed=0, step=0, partners=(2, 1, 0))
    on_gpu = {name: tensor.cuda() for name, tensor in batch.items()}
    augment_geometric(on_gpu, augmentation, seed=0, step=0, partners=(2, 1, 0))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        after = augment_geometric(on_gpu, augmentation, seed=0, step=0, partners=(2, 1, 0))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(after["affine"].cpu(), expected["affine"])
