from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from lploss.errors import InputTypeError
from lploss_builtin.training.image_augmentation import ImageAugmentation
from lploss_builtin.training.photometric import augment_photometric


def photos(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(30, 200, shape, generator=generator).to(torch.uint8)


def ramp(batch: int, views: int) -> Tensor:
    """Images whose rows hold each value from 0 to 255 once."""
    return torch.arange(256, dtype=torch.uint8).expand(batch, views, 3, 64, 256).contiguous()


def augmented(images: Tensor, step: int = 0, seed: int = 0, **arguments: float) -> Tensor:
    augmentation = ImageAugmentation.from_config(arguments)
    index = torch.arange(len(images)) + 5
    return augment_photometric(images, augmentation, seed=seed, step=step, index=index)


def changed_views(before: Tensor, after: Tensor) -> Tensor:
    return (before != after).flatten(2).any(-1)


def test_nothing_to_do_gives_the_images_themselves() -> None:
    images = photos(2, 2, 3, 8, 8)
    assert augmented(images) is images
    assert augmented(images, rotation=20.0) is images


def test_brightness_is_added() -> None:
    images = photos(100, 3, 3, 4, 4)
    after = augmented(images, brightness=0.1)
    difference = (after.int() - images.int()).flatten(2)
    assert torch.equal(difference.amin(-1), difference.amax(-1))
    amounts = difference[..., 0].double() / 255
    assert amounts.abs().max() <= 0.102
    assert amounts.std() == pytest.approx(0.1 / 3**0.5, rel=0.1)


def test_contrast_stretches_about_the_middle() -> None:
    table = augmented(ramp(30, 2), contrast=0.3)[:, :, 0, 0].double()
    slopes = (table[..., 160] - table[..., 96]) / 64
    assert slopes.min() < 0.75
    assert slopes.max() > 1.25
    middle = (table[..., 127] + table[..., 128]) / 2
    assert (middle - 127.5).abs().max() <= 1


def test_gamma_is_a_power_of_the_value() -> None:
    table = augmented(ramp(30, 2), gamma=1.0)[:, :, 0, 0].double() / 255
    exponents = table[..., 128].log() / np.log(128 / 255)
    assert exponents.min() + 0.01 >= 0.5
    assert exponents.min() < 0.55
    assert 1.9 < exponents.max() < 2.02
    values = torch.arange(256).double() / 255
    assert (values ** exponents[..., None] - table).abs().max() < 0.006
    assert table[..., 0].max() == 0
    assert table[..., 255].min() == 1


def test_equalization_is_that_of_opencv() -> None:
    images = (photos(2, 2, 3, 64, 64).float() ** 2 / 400).to(torch.uint8)
    after = augmented(images, equalization_probability=1.0)
    for frame in range(2):
        for channel in range(3):
            expected = cv2.equalizeHist(images[frame, 1, channel].numpy())
            np.testing.assert_allclose(after[frame, 1, channel], expected, atol=1)


def test_equalization_of_larger_images_looks_at_some_of_the_pixels() -> None:
    images = (photos(1, 1, 3, 256, 200).float() ** 2 / 400).to(torch.uint8)
    after = augmented(images, equalization_probability=1.0)
    expected = cv2.equalizeHist(images[0, 0, 0].numpy())
    assert np.abs(after[0, 0, 0].numpy().astype(int) - expected).mean() < 3


def test_equalization_leaves_a_plain_image_as_it_is() -> None:
    images = torch.full((1, 1, 3, 16, 16), 77, dtype=torch.uint8)
    assert torch.equal(augmented(images, equalization_probability=1.0), images)


def test_blur_is_a_path_through_each_pixel() -> None:
    images = torch.zeros(40, 1, 3, 21, 21, dtype=torch.uint8)
    images[..., 10, 10] = 250
    spots = augmented(images, blur_probability=1.0, blur_size=7)[:, 0, 0].double()
    assert (spots.sum(dim=(1, 2)) - 250).abs().max() < 10
    assert spots[:, :7].max() == spots[:, :, :7].max() == 0
    y, x = torch.meshgrid(*[torch.arange(21.0).double() - 10] * 2, indexing="ij")
    total = spots.sum(dim=(1, 2))
    xx, yy, xy = ((spots * c).sum(dim=(1, 2)) / total for c in (x * x, y * y, x * y))
    root = ((xx - yy) ** 2 / 4 + xy**2).sqrt()
    # A path of 7 px has a variance of 4 along itself, and little across.
    assert ((xx + yy) / 2 + root).sub(4).abs().max() < 1.0
    assert ((xx + yy) / 2 - root).max() < 0.5
    angles = 0.5 * torch.atan2(2 * xy, xx - yy)
    assert angles.min() < -1.2
    assert angles.max() > 1.2


def test_blur_does_not_darken_the_edges() -> None:
    images = torch.full((4, 1, 3, 12, 12), 200, dtype=torch.uint8)
    assert torch.equal(augmented(images, blur_probability=1.0), images)


def test_noise_has_the_spread_asked_for_and_is_grey() -> None:
    images = torch.full((4, 2, 3, 64, 64), 128, dtype=torch.uint8)
    difference = augmented(images, noise=0.05).int() - 128
    assert torch.equal(difference[:, :, 0], difference[:, :, 2])
    assert difference.double().std() == pytest.approx(0.05 * 255, rel=0.02)
    assert difference.double().mean() == pytest.approx(0, abs=0.3)


def test_dropout_blackens_a_share_of_small_cells() -> None:
    images = photos(40, 2, 3, 128, 128)
    after = augmented(images, dropout_probability=1.0, dropout_share=0.1)
    black = after == 0
    assert torch.equal(after[~black], images[~black])
    assert black.double().mean() == pytest.approx(0.1, abs=0.01)
    alike = (black[:, :, 0] == black[:, :, 1]).flatten(2).all(-1)
    assert 0.3 < alike.double().mean() < 0.7
    # Cells have sides of 1.3 % of the image, 2 px.
    cells = black.unflatten(-1, (64, 2)).unflatten(-3, (64, 2))
    assert torch.equal(cells.amax(dim=(-3, -1)), cells.amin(dim=(-3, -1)))


def test_spots_are_white_and_black() -> None:
    images = photos(60, 2, 3, 100, 100)
    after = augmented(images, spot_probability=1.0, spot_share=0.05)
    white, black = (after == 255), (after == 0)
    rest = ~(white | black)
    assert torch.equal(after[rest], images[rest])
    assert white.double().mean() == pytest.approx(0.05, abs=0.01)
    assert black.double().mean() == pytest.approx(0.05, abs=0.01)
    assert torch.equal(white[:, :, 0], white[:, :, 2])


@pytest.mark.parametrize(
    "arguments",
    [
        {"brightness": 1.0, "tone_probability": 0.3},
        {"equalization_probability": 0.3},
        {"blur_probability": 0.3},
        {"noise": 0.2, "noise_probability": 0.3},
        {"dropout_probability": 0.3, "dropout_share": 0.9},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_so_many_views_are_changed(arguments: dict[str, float]) -> None:
    images = photos(300, 2, 3, 16, 16)
    share = changed_views(images, augmented(images, **arguments)).double().mean()
    assert share == pytest.approx(0.3, abs=4 * (0.21 / 600) ** 0.5)


def test_numbers_hang_on_seed_step_and_frame_alone() -> None:
    images = photos(4, 2, 3, 24, 24)
    augmentation = ImageAugmentation.from_config("dlc")
    index = torch.tensor([3, 9, 2, 7])
    kwargs = {"seed": 1, "step": 4}
    whole = augment_photometric(images, augmentation, index=index, **kwargs)
    order = torch.tensor([2, 0])
    part = augment_photometric(images[order], augmentation, index=index[order], **kwargs)
    assert torch.equal(part, whole[order])
    for seed, step in ((1, 5), (2, 4)):
        other = augment_photometric(images, augmentation, index=index, seed=seed, step=step)
        assert not torch.equal(other, whole)


@pytest.mark.parametrize("at_once", [1, 2 * 24 * 24])
def test_so_many_views_at_once_change_nothing(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"noise": 0.1, "noise_probability": 0.5, "blur_probability": 0.5, "gamma": 0.5}
    arguments |= {"equalization_probability": 0.5, "dropout_probability": 0.5}
    images = photos(4, 3, 3, 24, 24)
    together = augmented(images, **arguments)
    monkeypatch.setattr("lploss_builtin.training.photometric._AT_ONCE", at_once)
    assert torch.equal(augmented(images, **arguments), together)


def test_the_images_given_stay_as_they_are() -> None:
    images = photos(4, 2, 3, 24, 24)
    before = images.clone()
    after = augmented(images, noise=0.1, blur_probability=1.0, gamma=1.0, spot_probability=1.0)
    assert torch.equal(images, before)
    assert after.dtype == torch.uint8
    assert augmented(images[:0], noise=0.1).shape == (0, 2, 3, 24, 24)


def test_the_smallest_images() -> None:
    images = photos(2, 1, 3, 1, 3)
    augmentation = ImageAugmentation.from_config("dlc-mv")
    for step in range(20):
        after = augment_photometric(images, augmentation, seed=0, step=step, index=torch.arange(2))
        assert after.shape == images.shape


@pytest.mark.mistyped
def test_images_that_are_normalised_already() -> None:
    with pytest.raises(InputTypeError) as caught:
        augmented(torch.zeros(1, 1, 3, 4, 4), noise=0.1)
    assert str(caught.value) == (
        "images must be uint8, 0 to 255, got torch.float32. Augment them before they are "
        "normalised."
    )


@pytest.mark.gpu
def test_a_gpu_does_the_same_without_waiting() -> None:
    images, index = photos(4, 2, 3, 64, 64), torch.arange(4)
    augmentation = ImageAugmentation.from_config("dlc")
    expected = augment_photometric(images, augmentation, seed=0, step=0, index=index)
    on_gpu, index = images.cuda(), index.cuda()
    augment_photometric(on_gpu, augmentation, seed=0, step=0, index=index)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        after = augment_photometric(on_gpu, augmentation, seed=0, step=0, index=index)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (after.cpu().int() - expected.int()).abs().max() <= 1
