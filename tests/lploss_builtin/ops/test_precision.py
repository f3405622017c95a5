from __future__ import annotations

import torch

from lploss_builtin.ops.precision import at_least_float32, without_autocast


def test_products_keep_their_precision_under_autocast() -> None:
    third = torch.full((1, 1), 1 / 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = third @ third
        with without_autocast(third.device):
            exact = third @ third
    assert rounded.dtype == torch.bfloat16
    assert exact.dtype == torch.float32


def test_a_device_that_knows_no_autocast_is_fine() -> None:
    with without_autocast(torch.device("meta")):
        pass


def test_only_half_precision_is_raised() -> None:
    for dtype, expected in (
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        assert at_least_float32(torch.zeros(1, dtype=dtype)).dtype == expected
