from __future__ import annotations

import pytest
import torch
from torch.utils.data import random_split

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.project.split import split


@pytest.mark.parametrize(
    ("num_frames", "train", "val", "sizes"),
    [
        (100, 0.8, 0.1, (80, 10, 10)),
        (100, 0.95, 0.05, (95, 5, 0)),
        # The halves of what is left.
        (200, 0.8, None, (160, 20, 20)),
        # Fewer than five are not kept for tests: 90 * 0.95 = 85.5, 90 * 0.05 = 4.5.
        (90, 0.95, 0.05, (86, 4, 0)),
        (44, 0.8, 0.1, (35, 4, 5)),
        # 10 * 0.05 = 0.5, but one frame is needed to validate.
        (10, 0.95, 0.05, (9, 1, 0)),
        (2, 0.95, 0.05, (1, 1, 0)),
    ],
)
def test_sizes_of_the_source_system(num_frames, train, val, sizes):
    parts = split(num_frames, train, val, seed=5)
    assert (len(parts.train), len(parts.val), len(parts.test)) == sizes
    assert sorted(parts.train + parts.val + parts.test) == list(range(num_frames))
    # The order is that of PyTorch's own split.
    generator = torch.Generator().manual_seed(5)
    expected = random_split(range(num_frames), sizes, generator=generator)
    assert [list(part.indices) for part in expected] == [
        list(part) for part in (parts.train, parts.val, parts.test)
    ]


@pytest.mark.parametrize(
    ("train_frames", "kept"),
    [(None, 80), (1, 80), (1.0, 80), (0.5, 40), (0.001, 1), (7, 7), (80, 80), (1000, 80)],
)
def test_fewer_frames_to_train_on(train_frames, kept):
    whole = split(100, 0.8, 0.1)
    parts = split(100, 0.8, 0.1, train_frames=train_frames)
    assert parts.train == whole.train[:kept]
    assert (parts.val, parts.test) == (whole.val, whole.test)


def test_another_seed_is_another_order():
    assert split(50, seed=1) == split(50, seed=1)
    assert split(50, seed=1) != split(50, seed=2)


def test_too_few_frames():
    with pytest.raises(DataError, match=r"at least 2 labelled frames, .* got 1$"):
        split(1)
    message = (
        r"of 10 labelled frames a share of 0\.05 leaves none to train on\. Label more frames, or "
        r"raise training\.train_prob\."
    )
    with pytest.raises(DataError, match=message):
        split(10, 0.05, 0.1)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"train": 1.0}, "training.train_prob must be a share above 0 and below 1, got 1.0"),
        (
            {"train": 0.9, "val": 0.2},
            "training.val_prob must be a share above 0 that leaves, with training.train_prob, at "
            "most the whole, got 0.2 beside 0.9",
        ),
        (
            {"train_frames": -1},
            "training.train_frames must be a number of frames or a share above 0, got -1",
        ),
    ],
)
def test_shares_that_are_none(shares, message):
    with pytest.raises(ArgumentValueError) as raised:
        split(100, **shares)
    assert str(raised.value) == message
