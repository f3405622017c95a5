from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lploss import reduction
from lploss.reduction import across_processes, count, masked_sum, mean_of

NAN = math.nan


@st.composite
def losses_and_masks(draw):
    """Draw float64 losses with their masks; what is masked may be NaN or infinite."""
    batch, keypoints = draw(st.integers(0, 6)), draw(st.integers(1, 4))
    size = batch * keypoints
    finite = st.floats(0, 1e6, allow_subnormal=False)
    loss = draw(st.lists(finite, min_size=size, max_size=size))
    valid = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    junk = draw(st.sampled_from([NAN, math.inf, 0.0]))
    loss = [value if counts else junk for value, counts in zip(loss, valid, strict=True)]
    shape = (batch, keypoints)
    return (
        torch.tensor(loss, dtype=torch.float64).reshape(shape),
        torch.tensor(valid, dtype=torch.bool).reshape(shape),
    )


def mean(loss, valid, denominator="valid"):
    return mean_of(masked_sum(loss, valid), count(loss, valid, denominator))


def test_a_masked_mean_by_hand():
    loss = torch.tensor([[1.0, NAN], [3.0, 8.0]])
    valid = torch.tensor([[True, False], [True, True]])
    assert masked_sum(loss, valid).item() == 12.0
    assert count(loss, valid).item() == 3
    assert count(loss, valid, "all") == count(loss, None) == 4
    assert mean(loss, valid).item() == 4.0
    assert mean(loss, valid, "all").item() == 3.0


@settings(deadline=None)
@given(losses_and_masks())
def test_the_mean_is_that_of_numpy_over_the_selected_elements(drawn):
    loss, valid = drawn
    selected = loss.numpy()[valid.numpy()]
    expected = selected.mean() if selected.size else 0.0
    assert mean(loss, valid).item() == pytest.approx(expected, rel=1e-12)
    expected_all = selected.sum() / max(loss.numel(), 1)
    assert mean(loss, valid, "all").item() == pytest.approx(expected_all, rel=1e-12)


@settings(deadline=None)
@given(losses_and_masks(), st.integers(2, 4), st.sampled_from(["valid", "all"]))
def test_a_duplicated_batch_has_the_same_mean(drawn, times, denominator):
    loss, valid = drawn
    many = mean(loss.repeat(times, 1), valid.repeat(times, 1), denominator)
    assert many.item() == pytest.approx(mean(loss, valid, denominator).item(), rel=1e-12)


@settings(deadline=None)
@given(losses_and_masks(), st.integers(0, 6), st.sampled_from(["valid", "all"]))
def test_the_parts_of_a_batch_recombine_to_its_mean(drawn, at, denominator):
    loss, valid = drawn
    parts = [(loss[:at], valid[:at]), (loss[at:], valid[at:])]
    total = sum(masked_sum(part, mask) for part, mask in parts)
    number = sum(count(part, mask, denominator) for part, mask in parts)
    whole = mean(loss, valid, denominator).item()
    assert mean_of(total, number).item() == pytest.approx(whole, rel=1e-12)


@settings(deadline=None)
@given(losses_and_masks())
def test_each_valid_element_gets_the_same_gradient_and_the_others_none(drawn):
    loss, valid = drawn
    loss.requires_grad_()
    mean(loss, valid).backward()
    expected = valid.double().numpy() / max(int(valid.sum()), 1)
    np.testing.assert_allclose(loss.grad.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("denominator", ["valid", "all"])
@pytest.mark.parametrize("shape", [(0, 3), (2, 3)])
def test_nothing_valid_gives_an_exact_zero(shape, denominator):
    loss = torch.full(shape, NAN, requires_grad=True)
    scalar = mean(loss, torch.zeros(shape, dtype=torch.bool), denominator)
    scalar.backward()
    assert scalar.item() == 0.0
    assert loss.grad.eq(0).all()


def test_an_empty_batch_without_a_mask_gives_an_exact_zero():
    assert mean(torch.zeros(0, 3), None).item() == 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype):
    loss = torch.ones(70_000, dtype=dtype)
    assert masked_sum(loss, None).dtype == torch.float32
    assert masked_sum(loss, None).item() == 70_000
    assert masked_sum(loss, loss == 1).item() == 70_000


def test_double_precision_is_kept():
    loss = torch.full((3,), 0.1, dtype=torch.float64)
    assert masked_sum(loss, None).item() == pytest.approx(0.3, abs=1e-16)
    assert masked_sum(loss, loss > 0).dtype == torch.float64


@pytest.fixture
def shared_with(monkeypatch):
    """Let there be one more process, with the given sums and numbers."""

    def pretend(*numbers):
        monkeypatch.setattr(reduction.dist, "get_world_size", lambda: 2)
        monkeypatch.setattr(
            reduction.dist,
            "all_reduce",
            lambda tensor: tensor.add_(torch.tensor(numbers, dtype=torch.float64)),
        )

    return pretend


def test_means_across_two_processes_by_hand(shared_with):
    # Here the mean of three elements is 4, there the sum of five is 28; and 6 / 2, and 0 / 6.
    shared_with(28.0, 0.0, 5.0, 6.0)
    means = [torch.tensor(4.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)]
    first, second = across_processes(means, [3, torch.tensor(2)])
    assert (first.item(), second.item()) == (5.0, 0.75)
    (first + second).backward()
    # Of the mean over all, an element here counts 1 / 8; twice that, to be averaged over two.
    assert [mean.grad.item() for mean in means] == [2 * 3 / 8, 2 * 2 / 8]


@pytest.mark.parametrize("own", [NAN, math.inf, 7.0])
def test_a_mean_over_nothing_has_no_influence(shared_with, own):
    shared_with(28.0, 4.0)
    mean = torch.tensor(own, requires_grad=True)
    (shared,) = across_processes([mean], [torch.tensor(0)])
    shared.backward()
    assert (shared.item(), mean.grad.item()) == (7.0, 0.0)
    shared_with(0.0, 0.0)
    assert across_processes([mean], [0])[0].item() == 0.0


def test_each_shared_mean_keeps_its_precision(shared_with):
    shared_with(0.0, 0.0, 0.0, 2.0**25)
    means = [torch.tensor(1 / 3), torch.tensor(1.0, dtype=torch.float64)]
    first, second = across_processes(means, [1, 1])
    assert (first.dtype, second.dtype) == (torch.float32, torch.float64)
    assert first.item() == torch.tensor(1 / 3).item()
    # In single precision, 2 ** 25 + 1 elements would be one fewer.
    assert second.item() == 1 / (2**25 + 1)
