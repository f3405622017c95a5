"""Random numbers that depend on what they are for, and on nothing that was drawn before.

Each number is a hash of a seed, a step, the number of a frame, the name of what it is drawn for
and its place. So it is the same on every device, whatever the number of workers and processes,
however a frame came into the batch, and after a run was resumed.
"""

from __future__ import annotations

import hashlib
import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_WORD = 1 << 64
# Of splitmix64: what its state grows by from one number to the next, and by what it multiplies.
_GROWTH = 0x9E3779B97F4A7C15
_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SHIFTS = (30, 27, 31)

# So many bits does a float32 hold exactly.
_FLOAT32_BITS = 24


def random_bits(
    seed: int, step: int, index: Int64[Tensor, "batch"], *shape: int, stream: str | int = 0
) -> Int64[Tensor, "batch *shape"]:
    """Return 64 random bits for each frame and place.

    Args:
        seed: of the run; any integer.
        step: of the run; any integer.
        index: number of each frame in its dataset. Frames with the same number get the same bits.
        shape: of what is drawn for each frame.
        stream: what they are drawn for; other names give other bits.

    Returns:
        ``(batch, *shape)``, any integer of 64 bits.

    Source: Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014.

    Example:
        >>> random_bits(0, 0, torch.tensor([7]), 2, stream="doctest").shape
        torch.Size([1, 2])
    """
    key = _mixed_number(_mixed_number(_number_of(stream) ^ seed) ^ step)
    frames = _mixed(index * _signed(_GROWTH) + _signed(key))
    places = torch.arange(1, math.prod(shape) + 1, device=index.device) * _signed(_GROWTH)
    return _mixed(frames[:, None] + places).view(len(index), *shape)


def uniform(
    seed: int, step: int, index: Int64[Tensor, "batch"], *shape: int, stream: str | int = 0
) -> Float[Tensor, "batch *shape"]:
    """Return float32 numbers from 0 to below 1, equally likely; arguments as of `random_bits`.

    Example:
        >>> numbers = uniform(0, 0, torch.tensor([7, 3]), 2, stream="doctest")
        >>> turned = uniform(0, 0, torch.tensor([3, 7]), 2, stream="doctest")
        >>> torch.equal(numbers, turned.flip(0))
        True
    """
    bits = random_bits(seed, step, index, *shape, stream=stream)
    return _shifted(bits, 64 - _FLOAT32_BITS).float() * 2.0**-_FLOAT32_BITS


def normal(
    seed: int, step: int, index: Int64[Tensor, "batch"], *shape: int, stream: str | int = 0
) -> Float[Tensor, "batch *shape"]:
    """Return float32 numbers of mean 0 and standard deviation 1; arguments as of `random_bits`.

    Other than the bits, their last digits may differ between devices.

    Source: Box and Muller, A note on the generation of random normal deviates, 1958.

    Example:
        >>> normal(0, 0, torch.tensor([7]), 3, stream="doctest").shape
        torch.Size([1, 3])
    """
    bits = random_bits(seed, step, index, *shape, stream=stream)
    above_zero = (_shifted(bits, 64 - _FLOAT32_BITS) + 1).float() * 2.0**-_FLOAT32_BITS
    lower = bits & ((1 << _FLOAT32_BITS) - 1)
    angle = lower.float() * (2 * math.pi * 2.0**-_FLOAT32_BITS)
    return (-2 * above_zero.log()).sqrt() * angle.cos()


def _number_of(stream: str | int) -> int:
    # Not hash(), which differs from one interpreter to the next.
    if isinstance(stream, str):
        return int.from_bytes(hashlib.blake2b(stream.encode(), digest_size=8).digest(), "little")
    return _mixed_number(stream)


def _mixed_number(value: int) -> int:
    """Return what `_mixed` does of the next state, of one number of the host."""
    value = (value + _GROWTH) % _WORD
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
        value = (value ^ (value >> shift)) * factor % _WORD
    return value ^ (value >> _SHIFTS[-1])


def _mixed(states: Int64[Tensor, "..."]) -> Int64[Tensor, "..."]:
    """Return the hash of each state; products keep their lowest 64 bits, as they should."""
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
        states = _shifted(states, shift).bitwise_xor_(states).mul_(_signed(factor))
    return _shifted(states, _SHIFTS[-1]).bitwise_xor_(states)


def _shifted(bits: Int64[Tensor, "..."], by: int) -> Int64[Tensor, "..."]:
    """Return the bits moved down, with zeros above; torch alone would repeat the sign."""
    return (bits >> by).bitwise_and_((1 << (64 - by)) - 1)


def _signed(value: int) -> int:
    """Return the integer of the same 64 bits that an int64 holds."""
    return (value + _WORD // 2) % _WORD - _WORD // 2
