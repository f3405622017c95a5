from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lploss_builtin.ops.affine import transform
from lploss_builtin.training.affine_fit import fit_affine_maps

ONE = torch.ones(1, dtype=torch.float64)


def fit(before: Tensor, after: Tensor, factor: Tensor = ONE) -> Tensor:
    return fit_affine_maps(before[None, None], after[None, None], factor)[0, 0]


def spread_points(number: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 100 * torch.rand(number, 2, generator=generator, dtype=torch.float64) + 300


def test_points_that_an_affine_map_moves_give_that_map() -> None:
    before = spread_points(8)
    matrix = torch.tensor([[1.1, 0.05, 12.0], [-0.02, 0.9, -7.0]], dtype=torch.float64)
    after = transform(before, matrix)
    found = fit(before, after)
    torch.testing.assert_close(found[:, :2], matrix[:, :2], atol=2e-3, rtol=0)
    torch.testing.assert_close(transform(before, found), after, atol=0.1, rtol=0)


def test_points_that_agree_on_no_map_give_that_of_least_squares() -> None:
    before = spread_points(20)
    after = 1.1 * before + 2 * torch.randn(20, 2, generator=torch.Generator().manual_seed(1))
    ones = torch.ones(20, 1, dtype=torch.float64)
    expected = np.linalg.lstsq(torch.cat([before, ones], 1).numpy(), after.numpy())[0].T
    moved, best = transform(before, fit(before, after)), transform(before, torch.tensor(expected))
    assert (moved - best).abs().max() < 0.02


def test_points_on_a_line_keep_its_surroundings_in_shape() -> None:
    before = torch.tensor([[0.0, 0.0], [50.0, 0.0], [100.0, 0.0]], dtype=torch.float64)
    turn = torch.tensor([[0.8, -0.6, 3.0], [0.6, 0.8, 4.0]], dtype=torch.float64)
    found = fit(before, transform(before, turn))
    torch.testing.assert_close(found, turn, atol=5e-3, rtol=0)


def test_two_points_make_a_similarity() -> None:
    before = torch.tensor([[10.0, 10.0], [110.0, 10.0]], dtype=torch.float64)
    after = torch.tensor([[0.0, 0.0], [0.0, 200.0]], dtype=torch.float64)
    expected = torch.tensor([[0.0, -2.0, 20.0], [2.0, 0.0, -20.0]], dtype=torch.float64)
    torch.testing.assert_close(fit(before, after), expected, atol=0.05, rtol=0)


@pytest.mark.parametrize("number", [1, 3])
def test_points_in_one_place_are_shifted_and_scaled(number: int) -> None:
    before = torch.tensor([[10.0, 20.0]] * number, dtype=torch.float64)
    found = fit(before, before + 5, torch.tensor([1.2], dtype=torch.float64))
    expected = torch.tensor([[1.2, 0.0, 3.0], [0.0, 1.2, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_no_points_give_the_identity() -> None:
    missing = torch.full((2, 2), math.nan, dtype=torch.float64)
    assert torch.equal(fit(missing, missing, ONE * 2), torch.eye(2, 3, dtype=torch.float64))
    assert torch.equal(fit(missing[:0], missing[:0]), torch.eye(2, 3, dtype=torch.float64))


def test_a_point_that_is_missing_on_one_side_counts_on_none() -> None:
    before, after = spread_points(6), 1.1 * spread_points(6)
    expected = fit(before[:4], after[:4])
    before[4], after[5, 0] = math.nan, math.inf
    torch.testing.assert_close(fit(before, after), expected, atol=1e-9, rtol=0)


def test_a_far_origin_does_no_harm() -> None:
    before = spread_points(5)
    near, far = fit(before, 1.1 * before), fit(before + 1e6, 1.1 * before)
    torch.testing.assert_close(near[:, :2], far[:, :2], atol=1e-6, rtol=0)
