from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from lploss.errors import ArgumentValueError, ShapeError
from lploss_builtin.training.patch_masking import MEAN_COLOUR, mask_patches


def photos(*shape: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Images none of whose pixels has the colour of a mask."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(150, 256, shape, generator=generator).to(dtype)


def mask_of(images: Tensor, ratio: float, size: int, step: int = 0, seed: int = 0) -> Tensor:
    index = torch.arange(len(images))
    return mask_patches(images, ratio, size, seed=seed, step=step, index=index)[1]


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(0, 3),
    views=st.integers(1, 3),
    height=st.integers(1, 20),
    width=st.one_of(st.integers(1, 20), st.sampled_from([16, 32])),
    size=st.tuples(st.integers(1, 9), st.one_of(st.integers(1, 9), st.just(8))),
    ratio=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0])),
    dtype=st.sampled_from([torch.uint8, torch.float32]),
    step=st.integers(0, 1000),
)
def test_each_view_loses_its_share_and_some_patch_stays(
    batch: int,
    views: int,
    height: int,
    width: int,
    size: tuple[int, int],
    ratio: float,
    dtype: torch.dtype,
    step: int,
) -> None:
    images = photos(batch, views, 3, height, width, dtype=dtype)
    index = torch.arange(batch) + 10
    masked, mask = mask_patches(images, ratio, size, seed=1, step=step, index=index)
    rows, columns = math.ceil(height / size[0]), math.ceil(width / size[1])
    assert mask.shape == (batch, views, rows, columns)
    hidden = round(ratio * rows * columns)
    for counts in mask.sum(dim=(2, 3)).tolist():
        if hidden == rows * columns:
            assert sum(counts) == views * hidden - 1
        else:
            assert counts == [hidden] * views

    colour = [round(c) for c in MEAN_COLOUR] if dtype == torch.uint8 else MEAN_COLOUR
    expected = images.clone()
    for frame, view, row, column in mask.nonzero().tolist():
        top, left = row * size[0], column * size[1]
        for channel, value in enumerate(colour):
            expected[frame, view, channel, top : top + size[0], left : left + size[1]] = value
    assert torch.equal(masked, expected)
    assert masked.dtype == dtype


def test_without_masks_the_images_are_those_given() -> None:
    images = photos(2, 2, 3, 32, 32)
    masked, mask = mask_patches(images, 0.0, 16, seed=0, step=0, index=torch.arange(2))
    assert masked is images
    assert not mask.any()


def test_the_images_given_stay_as_they_are() -> None:
    images = photos(1, 1, 3, 32, 32)
    before = images.clone()
    mask_of(images, 0.5, 8)
    assert torch.equal(images, before)


def test_what_is_hidden_hangs_on_the_frame_and_not_on_its_place() -> None:
    images = photos(4, 2, 3, 32, 32)
    index = torch.tensor([8, 3, 5, 1])
    masked, mask = mask_patches(images, 0.5, 8, seed=0, step=3, index=index)
    for number in range(4):
        alone, its_mask = mask_patches(
            images[number : number + 1], 0.5, 8, seed=0, step=3, index=index[number : number + 1]
        )
        assert torch.equal(alone[0], masked[number])
        assert torch.equal(its_mask[0], mask[number])


def test_masks_differ_between_frames_views_steps_and_seeds() -> None:
    images = photos(2, 2, 3, 64, 64)
    masks = [
        mask_of(images, 0.5, 4),
        mask_of(images, 0.5, 4, step=1),
        mask_of(images, 0.5, 4, seed=1),
    ]
    views = torch.cat([mask.flatten(0, 1) for mask in masks]).flatten(1)
    agreement = (views[:, None] == views).double().mean(dim=-1)
    # Two of 256 patches of which half are hidden agree on half of them, give or take.
    assert (agreement - torch.eye(12) / 2 - 0.5).abs().max() < 0.15


def test_all_patches_are_hidden_equally_often() -> None:
    images = photos(500, 2, 3, 8, 8)
    counts = mask_of(images, 0.5, 2).sum(dim=(0, 1)).flatten().numpy()
    assert counts.sum() == 8 * 1000
    assert stats.chisquare(counts).pvalue > 1e-3


def test_the_patch_that_stays_is_any() -> None:
    images = photos(800, 2, 3, 4, 4)
    mask = mask_of(images, 1.0, 2)
    kept = np.bincount((~mask).flatten(1).int().argmax(dim=1).numpy(), minlength=8)
    assert kept.sum() == 800
    assert stats.chisquare(kept).pvalue > 1e-3


def test_more_are_hidden_in_the_same_order() -> None:
    images = photos(2, 2, 3, 32, 32)
    few, many = mask_of(images, 0.25, 4), mask_of(images, 0.75, 4)
    assert not (few & ~many).any()


def test_another_colour() -> None:
    images = photos(1, 1, 3, 4, 4, dtype=torch.float32)
    index = torch.zeros(1, dtype=torch.int64)
    masked, mask = mask_patches(images, 0.25, 2, seed=0, step=0, index=index, fill=(1.5, 2.5, -3.0))
    row, column = mask[0, 0].nonzero()[0].tolist()
    assert masked[0, 0, :, 2 * row, 2 * column].tolist() == [1.5, 2.5, -3.0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.bfloat16])
def test_images_that_are_part_of_others_or_turned(dtype: torch.dtype) -> None:
    many = photos(3, 2, 3, 16, 33, dtype=dtype)
    index = torch.arange(2)
    for images in (many[1:, ..., 1:], many[1:, ..., :32].mT, many.flatten()[1:3073]):
        images = images.view(2, 1, 3, 16, 32) if images.ndim == 1 else images
        masked, mask = mask_patches(images, 0.5, 8, seed=0, step=0, index=index)
        same, its_mask = mask_patches(images.clone(), 0.5, 8, seed=0, step=0, index=index)
        assert torch.equal(mask, its_mask)
        assert torch.equal(masked, same)
        hidden = mask.repeat_interleave(8, 2).repeat_interleave(8, 3)[:, :, None]
        assert torch.equal(masked == images, ~hidden.expand_as(images))


def test_gradients_reach_only_what_is_seen() -> None:
    images = photos(1, 2, 3, 8, 8, dtype=torch.float32).requires_grad_()
    masked, mask = mask_patches(images, 0.5, 4, seed=0, step=0, index=torch.zeros(1).long())
    masked.sum().backward()
    assert images.grad is not None
    seen = (~mask).repeat_interleave(4, 2).repeat_interleave(4, 3)[:, :, None]
    assert torch.equal(images.grad, seen.expand_as(images).float())


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"ratio": 1.5}, ArgumentValueError, "ratio must be from 0 to 1, got 1.5"),
        ({"ratio": math.nan}, ArgumentValueError, "ratio must be from 0 to 1, got nan"),
        (
            {"patch_size": 0},
            ArgumentValueError,
            "patch_size must be the side of a patch, or its height and width, at least 1 px, got 0",
        ),
        ({"fill": (0.0,)}, ArgumentValueError, "fill must be red, green and blue, got (0.0,)"),
        pytest.param(
            {"images": torch.zeros(2, 3, 8, 8)},
            ShapeError,
            "images must have axes (batch, views, 3, height, width), got shape (2, 3, 8, 8)",
            marks=pytest.mark.mistyped,
        ),
        pytest.param(
            {"index": torch.arange(3)},
            ShapeError,
            "index must hold a number for each of 2 frames, got shape (3,)",
            marks=pytest.mark.mistyped,
        ),
    ],
)
def test_arguments_that_cannot_be(
    changed: dict[str, object], error: type[Exception], message: str
) -> None:
    arguments: dict[str, object] = {
        "images": photos(2, 1, 3, 8, 8),
        "ratio": 0.5,
        "patch_size": 4,
        "seed": 0,
        "step": 0,
        "index": torch.arange(2),
    }
    with pytest.raises(error) as caught:
        mask_patches(**(arguments | changed))  # type: ignore[arg-type]
    assert str(caught.value) == message


@pytest.mark.gpu
def test_a_gpu_hides_the_same_without_waiting() -> None:
    images, index = photos(4, 2, 3, 64, 64), torch.arange(4)
    expected, expected_mask = mask_patches(images, 0.5, 16, seed=0, step=0, index=index)
    on_gpu, index = images.cuda(), index.cuda()
    mask_patches(on_gpu, 1.0, 16, seed=0, step=0, index=index)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        masked, mask = mask_patches(on_gpu, 0.5, 16, seed=0, step=0, index=index)
        mask_patches(on_gpu, 1.0, 16, seed=0, step=0, index=index)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(mask.cpu(), expected_mask)
    assert torch.equal(masked.cpu(), expected)
