"""A failing example as Python."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lploss.testing.batches import Example
from lploss.testing.reproduce import script_of
from lploss.testing.subject import Subject

NAN, INF = float("nan"), float("inf")
BUILD = ("import lploss", "loss = lploss.create_loss('regression')")


def example_of(batch: Mapping[str, Tensor]) -> Example:
    return Example(dict(batch), {}, {})


def rebuilt(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Run the script of a batch, and return the batch that it builds."""
    namespace: dict[str, dict[str, Tensor]] = {}
    exec(script_of((), example_of(batch), "pass"), namespace)
    return namespace["batch"]


def assert_same(first: Tensor, second: Tensor) -> None:
    assert (first.dtype, first.shape) == (second.dtype, second.shape)
    a, b = first.detach(), second.detach()
    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(a.signbit()[~a.isnan()], b.signbit()[~b.isnan()])


def bits_of(values: list[int], dtype: np.dtype) -> Tensor:
    """Return numbers with these bits, NaN and what is nearly zero included."""
    bits = np.array(values, dtype=f"u{dtype.itemsize}")
    return torch.from_numpy(bits.view(dtype))


@settings(max_examples=100, deadline=None, database=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def test_every_number_in_single_precision_comes_back(bits: list[int]) -> None:
    value = bits_of(bits, np.dtype(np.float32))
    assert_same(rebuilt({"value": value})["value"], value)


@settings(max_examples=50, deadline=None, database=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50))
def test_every_number_in_double_precision_comes_back(bits: list[int]) -> None:
    value = bits_of(bits, np.dtype(np.float64))
    assert_same(rebuilt({"value": value})["value"], value)


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor([[1.5, NAN], [-0.0, 1e-30]]),
        torch.tensor([INF, -INF, 0.1]),
        torch.tensor(7.25),
        torch.tensor([[[0.1]]], dtype=torch.float64),
        torch.tensor([1.0, NAN], dtype=torch.float16),
        torch.tensor([[1, -2]]),
        torch.tensor([True, False]),
        torch.zeros(0, 6),
        torch.zeros(3, 0, 2, dtype=torch.float64),
        torch.ones(2, 3).expand(4, 2, 3),
        torch.arange(6.0).reshape(2, 3).T,
    ],
    ids=lambda value: f"{value.dtype}{tuple(value.shape)}",
)
def test_shapes_and_precisions_come_back(value: Tensor) -> None:
    assert_same(rebuilt({"value": value})["value"], value)


def test_what_requires_a_gradient_is_written_as_well() -> None:
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    assert_same(rebuilt({"value": value * 2})["value"], torch.tensor([2.0, 4.0]))


def test_what_is_not_in_this_memory_is_written_as_zeros_of_its_shape() -> None:
    script = script_of((), example_of({"value": torch.zeros(2, 3, device="meta")}), "pass")
    assert 'torch.zeros((2, 3), device="meta")' in script


def test_the_script_reads_well() -> None:
    batch = {
        "keypoints_pred": torch.tensor([[0.1, NAN], [-INF, 2.0]]),
        "confidences": torch.tensor([[1.0], [0.5]], dtype=torch.float64),
    }
    assert script_of(BUILD, example_of(batch), "loss(**batch).loss.backward()") == (
        """\
import torch
import lploss
loss = lploss.create_loss('regression')
nan, inf = float("nan"), float("inf")
batch = {
    "keypoints_pred": torch.tensor([[0.1, nan], [-inf, 2.0]], requires_grad=True),
    "confidences": torch.tensor([[1.0], [0.5]], dtype=torch.float64, requires_grad=True),
}
loss(**batch).loss.backward()"""
    )


def test_of_a_batch_to_compare_with_only_what_differs_is_written() -> None:
    batch = {"value": torch.tensor([1.0]), "is_there": torch.tensor([True])}
    other = example_of({**batch, "value": torch.tensor([2.0])})
    assert script_of((), example_of(batch), "compare", other).splitlines()[-5:] == [
        "other = {",
        "    **batch,",
        '    "value": torch.tensor([2.0]),',
        "}",
        "compare",
    ]


def test_gradients_are_asked_for_only_where_they_are_shown() -> None:
    batch = {"value": torch.tensor([1.0]), "is_there": torch.tensor([True])}
    assert "requires_grad" not in script_of((), example_of(batch), "print(loss(**batch))")
    script = script_of((), example_of(batch), "loss(**batch).loss.backward()")
    assert '"value": torch.tensor([1.0], requires_grad=True)' in script
    assert '"is_there": torch.tensor([True], dtype=torch.bool)' in script


def test_names_of_what_is_not_finite_are_there_only_where_they_are_needed() -> None:
    assert "float(" not in script_of((), example_of({"value": torch.ones(2)}), "pass")
    only_nan = script_of((), example_of({"value": torch.tensor([NAN])}), "pass")
    assert '\nnan = float("nan")\n' in only_nan
    assert "inf" not in only_nan


def test_without_a_batch_only_the_loss_is_built() -> None:
    expected = "\n".join(["import torch", *BUILD, "print(loss)"])
    assert script_of(BUILD, None, "print(loss)") == expected
    # Nothing is called with a batch that is not there.
    assert script_of(BUILD, None, "print(loss(**batch))") == expected.rpartition("\n")[0]


def test_the_script_needs_no_kit(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    batch = {
        "keypoints_targ": torch.tensor([[0.0, 0.0], [NAN, NAN]]),
        "keypoints_pred": torch.tensor([[3.0, 4.0], [5.0, 6.0]]),
    }
    code = Subject.of("regression").code
    script = script_of(code, example_of(batch), "print(loss(**batch).loss.item())")
    done = run_python(f"{script}\nimport sys\nprint('hypothesis' in sys.modules)")
    assert done.stdout.split()[1:] == ["False"], done.stderr
    # One keypoint, (3^2 + 4^2) / 2 px^2, and the weight of a half.
    assert float(done.stdout.split()[0]) == 6.25
