"""Which frames a model is trained on, which it is validated with, which are kept for tests."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lploss.errors import ArgumentValueError, DataError

# The source system adds fewer to the frames of training.
_FEWEST_TEST_FRAMES = 5


@dataclass(frozen=True, slots=True)
class Split:
    """Numbers of the frames of each part.

    Attributes:
        train: those that the model is trained on.
        val: those that it is validated with while it trains.
        test: those that it never sees.
    """

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]


def split(
    num_frames: int,
    train: float = 0.95,
    val: float | None = None,
    *,
    train_frames: float | None = None,
    seed: int = 0,
) -> Split:
    """Split frames at random, the very way of the source system.

    Args:
        num_frames: how many there are, at least 2.
        train: share of the frames to train on, above 0, below 1.
        val: share of those to validate with, above 0; ``None``: half of the others. At least one
            frame is one of them.
        train_frames: how many of the frames to train on are kept: above 1 a number, up to 1 a
            share, at least one frame; ``None``: all.
        seed: of the random order.

    Returns:
        The parts, each in random order. Test frames are what is left; fewer than five are trained
        on instead.

    Raises:
        ArgumentValueError: a share is no share, or they sum to more than 1.
        DataError: there are too few frames.

    Example:
        >>> parts = split(100, 0.8, 0.1, seed=3)
        >>> len(parts.train), len(parts.val), len(parts.test)
        (80, 10, 10)
    """
    _check_shares(train, val, train_frames)
    if num_frames < 2:
        raise DataError(
            f"there must be at least 2 labelled frames, one to train on and one to validate with, "
            f"got {num_frames}"
        )
    # Rounded, because 1 - 0.95 is a little more than a twentieth.
    share = round((1.0 - train) / 2, 5) if val is None else val
    num_train, num_val = math.floor(train * num_frames), math.floor(share * num_frames)
    num_test = num_frames - num_train - num_val
    if num_test < _FEWEST_TEST_FRAMES:
        num_train, num_test = num_train + num_test, 0
    if num_val == 0:
        num_train, num_val = num_train - 1, 1
    if num_train < 1:
        raise DataError(
            f"of {num_frames} labelled frames a share of {train} leaves none to train on. Label "
            "more frames, or raise training.train_prob."
        )
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(num_frames, generator=generator).tolist()
    kept = num_train
    if train_frames is not None and train_frames != 1:
        wanted = train_frames if train_frames > 1 else train_frames * num_train
        kept = max(1, min(num_train, int(wanted)))
    after_train, after_val = num_train, num_train + num_val
    return Split(tuple(order[:kept]), tuple(order[after_train:after_val]), tuple(order[after_val:]))


def _check_shares(train: float, val: float | None, train_frames: float | None) -> None:
    if not 0 < train < 1:
        raise ArgumentValueError(
            f"training.train_prob must be a share above 0 and below 1, got {train}"
        )
    # In floating point 0.95 + 0.05 may be a little more than 1.
    if val is not None and not (val > 0 and train + val <= 1 + 1e-9):
        raise ArgumentValueError(
            "training.val_prob must be a share above 0 that leaves, with training.train_prob, at "
            f"most the whole, got {val} beside {train}"
        )
    if train_frames is not None and not train_frames > 0:
        raise ArgumentValueError(
            f"training.train_frames must be a number of frames or a share above 0, got "
            f"{train_frames}"
        )
