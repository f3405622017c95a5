from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lploss_builtin.ops.affine import crop_and_resize, inverse, transform


def random_maps(seed: int, *batch: int) -> Tensor:
    """Maps that neither flatten nor blow up."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(*batch, 2, 3, generator=generator, dtype=torch.float64)
    return maps + 3 * torch.eye(2, 3, dtype=torch.float64)


def random_pixels(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 1000 * torch.rand(*shape, 2, generator=generator, dtype=torch.float64)


def test_points_go_where_opencv_puts_them() -> None:
    maps, points = random_maps(0, 4), random_pixels(0, 4, 7)
    expected = np.stack(
        [cv2.transform(p[None], m)[0] for p, m in zip(points.numpy(), maps.numpy(), strict=True)]
    )
    np.testing.assert_allclose(transform(points, maps), expected, rtol=1e-13)


def test_the_inverse_is_that_of_opencv() -> None:
    maps = random_maps(1, 5)
    expected = np.stack([cv2.invertAffineTransform(one) for one in maps.numpy()])
    np.testing.assert_allclose(inverse(maps), expected, rtol=1e-10)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_the_inverse_leads_back(seed: int) -> None:
    maps, points = random_maps(seed, 3), random_pixels(seed, 3, 4)
    determinant = torch.linalg.det(maps[..., :2])
    maps = torch.where((determinant.abs() > 0.1)[:, None, None], maps, torch.eye(2, 3).double())
    back = transform(transform(points, maps), inverse(maps))
    torch.testing.assert_close(back, points, atol=1e-8, rtol=0)


def test_corners_of_the_box_go_to_corners_of_the_input() -> None:
    x, y, height, width = box = (100.0, 50.0, 200.0, 400.0)
    corners = torch.tensor([[x, y], [x + width, y], [x, y + height], [x + width, y + height]])
    moved = transform(corners, crop_and_resize(torch.tensor(box), (128.0, 256.0)))
    assert moved.tolist() == [[0.0, 0.0], [256.0, 0.0], [0.0, 128.0], [256.0, 128.0]]


def test_a_crop_that_is_not_resized_is_a_shift() -> None:
    box = torch.tensor([30.0, 20.0, 64.0, 128.0])
    moved = transform(torch.tensor([[31.0, 25.0]]), crop_and_resize(box, (64.0, 128.0)))
    assert moved.tolist() == [[1.0, 5.0]]


def test_each_box_may_have_an_input_of_its_own() -> None:
    boxes = torch.tensor([[0.0, 0.0, 100.0, 100.0]] * 2)
    sizes = torch.tensor([[50.0, 50.0], [25.0, 200.0]])
    scales = crop_and_resize(boxes, sizes).diagonal(dim1=-2, dim2=-1)
    assert scales.tolist() == [[0.5, 0.5], [2.0, 0.25]]


def test_one_map_serves_all_views_and_frames() -> None:
    maps, points = random_maps(2), random_pixels(2, 3, 4, 5)
    torch.testing.assert_close(
        transform(points, maps), transform(points, maps.expand(3, 4, 2, 3)), atol=0, rtol=0
    )


def test_missing_points_stay_missing_and_spoil_no_gradient() -> None:
    points = random_pixels(3, 1, 3)
    points[0, 1] = torch.nan
    points.requires_grad_()
    moved = transform(points, random_maps(3, 1))
    assert moved.isnan().all(dim=-1).tolist() == [[False, True, False]]
    torch.where(moved.isnan(), 0.0, moved).sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()
    assert points.grad[0, 1].tolist() == [0.0, 0.0]


def test_autocast_rounds_nothing() -> None:
    maps, points = random_maps(4).float(), random_pixels(4, 6).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moved = transform(points, maps)
        back = inverse(maps)
    assert torch.equal(moved, transform(points, maps))
    assert torch.equal(back, inverse(maps))


def test_no_points_are_no_error() -> None:
    assert transform(torch.zeros(2, 0, 2), torch.zeros(2, 2, 3)).shape == (2, 0, 2)
    assert crop_and_resize(torch.zeros(0, 4), (8.0, 8.0)).shape == (0, 2, 3)


@pytest.mark.parametrize("operation", [crop_and_resize, inverse, transform])
def test_gradients(operation: object) -> None:
    boxes = torch.tensor([[10.0, 20.0, 64.0, 128.0]], dtype=torch.float64, requires_grad=True)
    sizes = torch.tensor([[32.0, 32.0]], dtype=torch.float64, requires_grad=True)
    inputs = {
        crop_and_resize: (boxes, sizes),
        inverse: (random_maps(5, 2).requires_grad_(),),
        transform: (random_pixels(5, 2, 3).requires_grad_(), random_maps(5, 2).requires_grad_()),
    }
    assert torch.autograd.gradcheck(operation, inputs[operation])  # type: ignore[index, arg-type]
