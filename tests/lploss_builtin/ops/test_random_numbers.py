from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from lploss_builtin.ops.random_numbers import normal, random_bits, uniform

FRAMES = torch.arange(200)


def mixed(value: int) -> int:
    value ^= value >> 30
    value = value * 0xBF58476D1CE4E5B9 % 2**64
    value ^= value >> 27
    value = value * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


def splitmix64(state: int, number: int = 1) -> list[int]:
    """The generator in Python's integers, which do not overflow."""
    return [mixed((state + n * 0x9E3779B97F4A7C15) % 2**64) for n in range(1, number + 1)]


def test_the_generator_of_these_tests_is_that_of_others() -> None:
    # The first numbers of java.util.SplittableRandom(0).
    assert splitmix64(0, 2) == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@pytest.mark.parametrize(("seed", "step"), [(0, 0), (1, 2), (-1, 5), (2**63, 2**40)])
def test_bits_are_those_of_exact_integers(seed: int, step: int) -> None:
    frames = [0, 1, 12345, -3]
    bits = random_bits(seed, step, torch.tensor(frames), 3)
    key = splitmix64(splitmix64(splitmix64(0)[0] ^ seed)[0] ^ step)[0]
    states = [mixed((frame * 0x9E3779B97F4A7C15 + key) % 2**64) for frame in frames]
    expected = [splitmix64(state, 3) for state in states]
    assert [[b % 2**64 for b in row] for row in bits.tolist()] == expected


def test_numbers_are_equally_likely() -> None:
    numbers = uniform(0, 3, FRAMES, 1000, stream="a").flatten().numpy()
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert numbers.mean() == pytest.approx(1 / 2, abs=3e-3)
    assert numbers.var() == pytest.approx(1 / 12, abs=1e-3)
    counts = np.histogram(numbers, bins=100, range=(0, 1))[0]
    assert 1e-3 < stats.chisquare(counts).pvalue < 1 - 1e-3


def test_every_bit_is_set_half_of_the_time() -> None:
    bits = random_bits(0, 3, FRAMES, 100, stream="a").flatten()
    shares = torch.stack([(bits >> n & 1).double().mean() for n in range(64)])
    assert (shares - 0.5).abs().max() < 4.5 * 0.5 / len(bits) ** 0.5


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (uniform(0, 0, FRAMES, 500), uniform(1, 0, FRAMES, 500)),
        (uniform(0, 0, FRAMES, 500), uniform(0, 1, FRAMES, 500)),
        (uniform(0, 1, FRAMES, 500), uniform(1, 0, FRAMES, 500)),
        (uniform(0, 0, FRAMES, 500), uniform(0, 0, FRAMES + 1, 500)),
        (uniform(0, 0, FRAMES, 500), uniform(0, 0, FRAMES, 500, stream=1)),
        (uniform(0, 0, FRAMES, 500, stream="a"), uniform(0, 0, FRAMES, 500, stream="b")),
        (uniform(0, 0, FRAMES, 500)[:, 1:], uniform(0, 0, FRAMES, 500)[:, :-1]),
    ],
    ids=["seed", "step", "seed and step", "frame", "stream", "name", "place"],
)
def test_neighbours_have_nothing_in_common(one: Tensor, other: Tensor) -> None:
    correlation = np.corrcoef(one.flatten().numpy(), other.flatten().numpy())[0, 1]
    assert abs(correlation) < 4 / one.numel() ** 0.5


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(8)), st.integers(-(2**70), 2**70), st.integers(0, 2**62))
def test_a_frame_has_its_numbers_wherever_it_stands(order: list[int], seed: int, step: int) -> None:
    index = torch.tensor([5, 0, 17, 3, 2**40, 8, 1, 9])
    numbers = uniform(seed, step, index, 2, 3, stream="a")
    assert torch.equal(uniform(seed, step, index[order], 2, 3, stream="a"), numbers[order])


def test_a_longer_draw_begins_as_the_shorter_one() -> None:
    assert torch.equal(uniform(0, 0, FRAMES, 9)[:, :4], uniform(0, 0, FRAMES, 4))


def test_normal_numbers_are_normal() -> None:
    numbers = normal(0, 3, FRAMES, 500, stream="a").flatten().double().numpy()
    assert numbers.mean() == pytest.approx(0, abs=0.01)
    assert stats.kstest(numbers, "norm").pvalue > 1e-3
    assert np.isfinite(numbers).all()


def test_one_number_or_none_a_frame() -> None:
    assert uniform(0, 0, FRAMES).shape == (200,)
    assert uniform(0, 0, FRAMES, 0).shape == (200, 0)
    assert uniform(0, 0, FRAMES[:0], 4).shape == (0, 4)


def test_numbers_of_today_are_those_of_tomorrow() -> None:
    numbers = uniform(7, 11, torch.tensor([13]), 3, stream="patch_masking")
    assert numbers.tolist() == [[0.2338922619819641, 0.9618423581123352, 0.7760506272315979]]


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    uniform(0, 0, FRAMES, 4)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
def test_a_gpu_has_the_same_bits() -> None:
    host = random_bits(3, 4, FRAMES, 100, stream="a")
    assert torch.equal(random_bits(3, 4, FRAMES.cuda(), 100, stream="a").cpu(), host)
    assert torch.equal(uniform(3, 4, FRAMES.cuda(), 100).cpu(), uniform(3, 4, FRAMES, 100))
