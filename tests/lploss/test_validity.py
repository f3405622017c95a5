from __future__ import annotations

from pathlib import Path

import torch

from lploss import Reason
from lploss.validity import exclusive, left_out_and_valid, masks_of


def test_no_validity_means_that_all_count():
    assert left_out_and_valid(None) == ({}, None)
    assert list(masks_of(None)) == []


def test_no_reason_means_that_all_count():
    assert left_out_and_valid({}) == ({}, None)


def test_a_mask_leaves_out_without_a_reason():
    valid = torch.tensor([True, False])
    left_out, same = left_out_and_valid(valid)
    assert same is valid
    assert {reason: mask.tolist() for reason, mask in left_out.items()} == {
        "not valid": [False, True]
    }
    assert [mask is valid for mask in masks_of(valid)] == [True]


def test_an_element_stands_under_the_first_reason_only():
    validity = {
        Reason.NOT_LABELLED: torch.tensor([True, True, False, False]),
        Reason.LOW_CONFIDENCE: torch.tensor([True, False, True, False]),
        "too fast": torch.tensor([True, True, True, False]),
    }
    left_out, valid = left_out_and_valid(validity)
    assert {str(reason): mask.tolist() for reason, mask in exclusive(left_out)} == {
        "not labelled": [True, True, False, False],
        "low confidence": [False, False, True, False],
        "too fast": [False, False, False, False],
    }
    assert valid.tolist() == [False, False, False, True]
    assert list(masks_of(validity)) == list(validity.values())


def test_reasons_read_as_their_texts():
    assert f"{Reason.NOT_TRIANGULATED}" == "cannot be triangulated"
    assert {Reason.OUTSIDE: 1}["outside"] == 1


def test_each_reason_is_listed_where_it_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "contract.md").read_text("utf-8")
    for reason in Reason:
        assert f"        {reason.name}: " in (Reason.__doc__ or "")
        assert f"| `{reason.name}` | `{reason.value}` |" in page
