from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from lploss.errors import ShapeError
from lploss_builtin.training.warp import warp_images

FILL = (10.0, 20.0, 30.0)


def smooth_photos(batch: int, views: int, height: int, width: int) -> Tensor:
    noise = np.random.default_rng(0).uniform(0, 255, (batch * views, height, width, 3))
    blurred = [cv2.GaussianBlur(image, (0, 0), 3) for image in noise]
    images = torch.tensor(np.stack(blurred)).permute(0, 3, 1, 2)
    return images.unflatten(0, (batch, views)).contiguous()


def maps_about(batch: int, views: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(batch, views, 2, 3, generator=generator, dtype=torch.float64)
    return torch.eye(2, 3) + maps * torch.tensor([0.1, 0.1, 4.0])


def with_opencv(image: Tensor, matrix: Tensor) -> np.ndarray:
    height, width = image.shape[1:]
    array = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    moved = cv2.warpAffine(
        array,
        matrix.numpy(),
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=FILL,
    )
    return moved.transpose(2, 0, 1)


def test_images_are_moved_as_opencv_moves_them() -> None:
    images, maps = smooth_photos(2, 3, 40, 50), maps_about(2, 3)
    moved = warp_images(images, maps, fill=FILL)
    for frame in range(2):
        for view in range(3):
            expected = with_opencv(images[frame, view], maps[frame, view])
            # OpenCV rounds the place that it interpolates at to 1/32 px.
            np.testing.assert_allclose(moved[frame, view], expected, atol=3.0)
            assert np.abs(moved[frame, view].numpy() - expected).mean() < 0.2


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_types_stay_and_integers_are_rounded(dtype: torch.dtype) -> None:
    images, maps = smooth_photos(1, 2, 20, 30).to(dtype), maps_about(1, 2)
    moved = warp_images(images, maps, fill=FILL)
    assert moved.dtype == dtype
    exact = warp_images(images.double(), maps, fill=FILL)
    largest = {torch.uint8: 0.5, torch.float32: 1e-3, torch.float16: 0.07}[dtype]
    assert (moved.double() - exact).abs().max() < largest + 1e-3


def test_whole_pixels_are_moved_exactly() -> None:
    image = torch.arange(3 * 4 * 5, dtype=torch.uint8).view(1, 1, 3, 4, 5)
    shift = torch.tensor([[[[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]]]])
    moved = warp_images(image, shift, fill=(200, 201, 202))
    assert torch.equal(moved[..., :3, 2:], image[..., 1:, :3])
    assert moved[0, 0, :, 3, 0].tolist() == [200, 201, 202]
    assert moved[0, 0, :, 0, 1].tolist() == [200, 201, 202]


def test_a_quarter_turn_of_a_square_is_exact() -> None:
    image = torch.arange(3 * 5 * 5, dtype=torch.uint8).view(1, 1, 3, 5, 5)
    turn = torch.tensor([[[[0.0, -1.0, 4.0], [1.0, 0.0, 0.0]]]])
    assert torch.equal(warp_images(image, turn), image.rot90(-1, (3, 4)))


def test_a_view_that_is_not_moved_stays_exactly_as_it_is() -> None:
    images = torch.rand(2, 2, 3, 9, 7) * 255
    maps = torch.eye(2, 3).repeat(2, 2, 1, 1)
    maps[0, 1, 0, 2] = 1.0
    moved = warp_images(images, maps)
    same = [[torch.equal(moved[b, v], images[b, v]) for v in range(2)] for b in range(2)]
    assert same == [[True, False], [True, True]]


def test_so_many_images_at_once_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images, maps = smooth_photos(2, 3, 20, 30).to(torch.uint8), maps_about(2, 3)
    maps[1, 0] = torch.eye(2, 3)
    together = warp_images(images, maps)
    for at_once in (1, 4 * 20 * 30):
        monkeypatch.setattr("lploss_builtin.training.warp._PIXELS_AT_ONCE", at_once)
        assert torch.equal(warp_images(images, maps), together)


def test_one_pixel_or_none() -> None:
    image = torch.full((1, 1, 3, 1, 1), 77, dtype=torch.uint8)
    assert torch.equal(warp_images(image, torch.eye(2, 3)[None, None]), image)
    assert warp_images(image[:0], torch.zeros(0, 1, 2, 3)).shape == (0, 1, 3, 1, 1)


def test_autocast_rounds_nothing() -> None:
    images, maps = smooth_photos(1, 1, 20, 30).float(), maps_about(1, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moved = warp_images(images, maps)
    assert torch.equal(moved, warp_images(images, maps))


@pytest.mark.mistyped
def test_maps_of_other_images() -> None:
    with pytest.raises(ShapeError) as caught:
        warp_images(torch.zeros(2, 3, 3, 4, 4), torch.zeros(2, 2, 2, 3))
    assert str(caught.value) == (
        "there must be a map for each of (2, 3) frames and views, got maps of shape (2, 2, 2, 3)"
    )
