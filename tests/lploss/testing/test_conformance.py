"""Running the checks over a loss."""

from __future__ import annotations

import io
import subprocess
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from lploss import Loss, Properties, Reason
from lploss.errors import (
    ArgumentError,
    ArgumentValueError,
    LossDefinitionError,
)
from lploss.testing import CheckRecord, Subject, check_loss
from lploss.testing import conformance as conformance_module
from lploss.testing.batches import Example
from lploss.testing.check import CHECKS, Case, Check
from lploss.testing.conformance import script_of
from tests.conftest import Site


class Drift(Loss):
    """A sound loss."""

    loss_name, kind = "drift", "unsupervised"

    def remove_nans(self, keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"]):
        finite = keypoints_pred.isfinite()
        return {"keypoints_pred": torch.where(finite, keypoints_pred, 0.0)}, {
            Reason.NAN_PREDICTION: ~finite
        }

    def compute_loss(
        self, keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"]
    ) -> Float[Tensor, "batch two_x_num_keypoints"]:
        return keypoints_pred.abs()


class SpoiltByTwo(Drift):
    """A loss that is NaN where there are at least two frames of at least two keypoints."""

    loss_name = "spoilt_by_two"

    def compute_loss(
        self, keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"]
    ) -> Float[Tensor, "batch two_x_num_keypoints"]:
        num_frames, num_columns = keypoints_pred.shape
        return keypoints_pred.abs() * (
            float("nan") if num_frames >= 2 and num_columns >= 4 else 1.0
        )


class Raising(Drift):
    """A loss that raises an error of its own."""

    loss_name = "raising"

    def compute_loss(self, keypoints_pred):
        raise ValueError("no luck\nat all")


class RaisingInTorch(Drift):
    """A loss that torch refuses."""

    loss_name = "raising_in_torch"

    def compute_loss(self, keypoints_pred):
        return keypoints_pred @ keypoints_pred  # the line that must be named


class Warning(Drift):
    """A loss that warns."""

    loss_name = "warning"

    def compute_loss(self, keypoints_pred):
        warnings.warn("so be it", stacklevel=1)
        return keypoints_pred.abs()


class NeedsLengths(Drift):
    """A loss that cannot be built without an argument."""

    loss_name = "needs_lengths"

    def __init__(self, lengths, *, epsilon=0.0, log_weight=0.0):
        super().__init__(epsilon=epsilon, log_weight=log_weight)


def only(loss: object, check: str, **options: object) -> CheckRecord:
    (record,) = check_loss(loss, checks=[check], **options).records  # type: ignore[arg-type]
    return record


@pytest.fixture
def few_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the checks that take seconds."""
    slow = ("check_compile", "check_two_processes", "check_no_synchronisation")
    quick = {name: check for name, check in CHECKS.items() if name not in slow}
    monkeypatch.setattr(conformance_module, "CHECKS", quick)


# ---------------------------------------------------------------- a report


@pytest.mark.mistyped  # check_arguments does
def test_a_sound_loss_passes_what_applies(few_checks: None) -> None:
    report = check_loss(Drift)
    assert report.ok, str(report)
    assert [record.check for record in report.records] == list(conformance_module.CHECKS)
    assert {record.status for record in report.records} == {"passed", "not_applicable"}
    assert {record.check for record in report.records if not record.was_run} == {
        "check_config_paths",
        "check_constants",
        "check_derivations",
        "check_duplicated_keypoints",
        "check_invalid_has_no_influence",  # an element has one number
        "check_keypoint_order",
        "check_manifest_light",
        "check_rotation",
        "check_scaling",
        "check_translation",
        "check_view_order",
        "check_zero_at_target",
    }
    assert (report.loss, report.num_examples, report.seed, report.minimum) == ("drift", 25, 0, 20)
    assert all(record.message == "" for record in report.records if record.status == "passed")
    assert all(record.seconds > 0 for record in report.records)


def test_checks_are_run_in_the_order_in_which_they_are_asked_for() -> None:
    report = check_loss(Drift, checks=["check_epsilon", "check_scalar"], examples=3, seed=5)
    assert [record.check for record in report.records] == ["check_epsilon", "check_scalar"]
    assert (report.num_examples, report.seed, report.minimum) == (3, 5, 0)
    assert report.ok


def test_a_minimum_may_be_asked_of_some_checks() -> None:
    report = check_loss(Drift, checks=["check_scalar", "check_rotation"], minimum=2)
    assert (report.num_run, report.ok) == (1, False)
    assert check_loss(Drift, checks=["check_scalar", "check_rotation"], minimum=1).ok


def test_all_checks_are_asked_for_twenty(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: CHECKS[name] for name in list(CHECKS)[:4]}
    monkeypatch.setattr(conformance_module, "CHECKS", few)
    report = check_loss(Drift)
    assert (report.minimum, report.num_run, report.ok) == (20, 4, False)
    assert report.too_few is not None
    assert check_loss(Drift, minimum=4).ok


def test_a_loss_may_be_any_that_can_be_built(site: Site) -> None:
    assert only(Drift(epsilon=1.0), "check_scalar").status == "passed"
    assert only(lambda: Drift(), "check_scalar").status == "passed"
    assert only("lploss/rmse", "check_scalar").status == "passed"
    # keypoints_pred has no annotation there, and no plugin of this registry describes it.
    site.install_loss("acme", "acme_distance")
    with pytest.raises(LossDefinitionError, match="nothing says which axes 'keypoints_pred' has"):
        check_loss(Subject.of("acme_distance", site.registry()))


def test_as_many_examples_as_asked_for_are_tried_from_the_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conformance_module, "CHECKS", {"check_scalar": CHECKS["check_scalar"]})

    class Counting(Drift):
        loss_name = "counting"
        seen: list[tuple[float, ...]] = []  # noqa: RUF012  # for all copies of the loss

        def compute_loss(self, keypoints_pred):
            Counting.seen.append(tuple(keypoints_pred.flatten().tolist()))
            return keypoints_pred.abs()

    def seen(**options: int) -> list[tuple[float, ...]]:
        Counting.seen.clear()
        assert check_loss(Counting, checks=["check_scalar"], **options).ok
        return list(Counting.seen)

    assert len(seen(examples=1)) == 2  # in single and in double precision
    assert len(seen(examples=9)) == 18
    assert seen(seed=1) == seen(seed=1) != seen(seed=2)


def test_a_check_leaves_the_loss_of_the_next_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def spoil(case: Case) -> None:
        found.append(case.loss.epsilon.item())
        case.loss.epsilon.fill_(5.0)

    spoiling = {name: Check(name, "w.", "m.", "pass", spoil) for name in ("check_1", "check_2")}
    monkeypatch.setattr(conformance_module, "CHECKS", spoiling)
    loss = Drift(epsilon=0.5)
    check_loss(loss, checks=["check_1", "check_2"])
    assert (found, loss.epsilon.item()) == ([0.5, 0.5], 0.5)


def test_warnings_of_a_loss_are_not_repeated_for_each_example() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert only(Warning, "check_scalar").status == "passed"


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize("examples", [0, -3])
def test_there_is_at_least_one_example(examples: int) -> None:
    with pytest.raises(ArgumentValueError) as caught:
        check_loss(Drift, examples=examples)
    assert str(caught.value) == f"examples must be at least 1, got {examples}"


def test_an_unknown_check_has_close_matches() -> None:
    with pytest.raises(ArgumentValueError) as caught:
        check_loss(Drift, checks=["check_scaler"])
    assert str(caught.value) == (
        "there is no check 'check_scaler'. Did you mean 'check_scalar' or 'check_scaling' or "
        f"'check_compile'? Known: {', '.join(CHECKS)}."
    )


def test_an_unknown_check_is_told_before_the_others_are_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(case: Case) -> None:
        raise AssertionError("it was run")

    check = Check("check_first", "w.", "m.", "pass", run)
    monkeypatch.setattr(conformance_module, "CHECKS", {"check_first": check})
    conformance = conformance_module.Conformance(Drift)
    with pytest.raises(ArgumentValueError, match="there is no check 'check_second'"):
        conformance.report(["check_first", "check_second"])
    assert conformance.report(["check_first"]).num_run == 1


def test_an_expectation_of_an_unknown_check_is_refused() -> None:
    with pytest.raises(ArgumentValueError, match="there is no check 'check_compil'"):
        check_loss(Drift, expected_failures={"check_compil": "eig"})


@pytest.mark.mistyped
@pytest.mark.parametrize("reason", ["", "  ", None])
def test_an_expectation_must_say_why(reason: object) -> None:
    with pytest.raises(ArgumentValueError) as caught:
        check_loss(Drift, expected_failures={"check_compile": reason})  # type: ignore[dict-item]
    assert str(caught.value) == (
        f"expected_failures must say why check_compile is expected to fail, got {reason!r}"
    )


def test_a_loss_that_cannot_be_built_is_an_error_and_no_report() -> None:
    with pytest.raises(LossDefinitionError, match="Override the class method `example"):
        check_loss(NeedsLengths)


# ---------------------------------------------------------------- variants


class Optional(Drift):
    """Has a bug that one option alone shows."""

    loss_name = "optional"

    def __init__(self, *, rooted=False, scale=1.0, epsilon=0.0, log_weight=0.0):
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.rooted, self.scale = rooted, self._number("scale", scale)

    def compute_loss(self, keypoints_pred):
        size = self.scale * keypoints_pred.abs()
        return (size - size.detach()).sqrt() if self.rooted else size


class WithVariants(Optional):
    """Names the options."""

    loss_name = "with_variants"

    @classmethod
    def variants(cls, name):
        return [{"scale": 2.0}, {"rooted": True}]


def test_a_bug_of_a_variant_is_found_and_its_arguments_are_named() -> None:
    check = "check_gradients_finite"
    assert only(Optional, check).status == "passed"
    record = only(WithVariants, check)
    assert record.status == "failed"
    assert record.message.startswith("with rooted=True: the gradient for keypoints_pred must be")
    assert ".example('with_variants', rooted=True)" in record.message
    assert only(WithVariants(), check).status == "passed"


def test_only_the_arguments_that_are_given_are_checked() -> None:
    check = "check_gradients_finite"
    assert only(Subject.of(WithVariants, arguments={"scale": 3.0}), check).status == "passed"
    assert only(Subject.of(Optional, arguments={"rooted": True}), check).status == "failed"
    with pytest.raises(ArgumentError, match=r"arguments \(scale\) go with the name or the class"):
        Subject.of(Optional(), arguments={"scale": 3.0})


class Refitted(Drift):
    """Is fitted to labels, and computes by an argument that no checkpoint holds."""

    loss_name = "refitted"

    def __init__(self, data_module=None, *, power=1, epsilon=0.0, log_weight=0.0):
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.power = self._number("power", power)
        self.register_buffer("centre", torch.tensor(0.0 if data_module is None else data_module))

    @classmethod
    def example(cls, name, /, **params):
        return cls(**{"data_module": 3.0, **params})

    def compute_loss(self, keypoints_pred):
        return (keypoints_pred - self.centre).abs() ** self.power


@pytest.mark.parametrize("build", [Refitted(5.0, power=3), lambda: Refitted(5.0, power=3)])
def test_a_loss_is_restored_into_one_of_the_same_arguments(build: object) -> None:
    assert only(build, "check_state_dict").status == "passed"
    assert only(Subject.of(Refitted, arguments={"power": 2}), "check_state_dict").status == "passed"


# ---------------------------------------------------------------- expected failures


def test_an_expected_failure_is_good() -> None:
    report = check_loss(
        SpoiltByTwo,
        checks=["check_scalar", "check_copies"],
        expected_failures={"check_scalar": "the formula has a pole"},
    )
    assert report.ok
    assert [(record.status, record.message) for record in report.records] == [
        ("expected_failure", "the formula has a pole"),
        ("passed", ""),
    ]


def test_a_check_that_passes_though_it_was_expected_to_fail_fails() -> None:
    record = only(
        Drift, "check_scalar", expected_failures={"check_scalar": "the formula has a pole"}
    )
    assert record.status == "failed"
    assert record.message == (
        "passed, though it was expected to fail: the formula has a pole. Remove the expectation."
    )


def test_a_check_that_does_not_apply_though_it_was_expected_to_fail_fails() -> None:
    record = only(Drift, "check_rotation", expected_failures={"check_rotation": "it is in px"})
    assert record.status == "failed"
    assert record.message == (
        "does not apply (properties.rotation is not stated), though it was expected to fail: it "
        "is in px. Remove the expectation."
    )


def test_expectations_of_checks_that_are_not_run_do_not_matter() -> None:
    assert (
        only(Drift, "check_scalar", expected_failures={"check_compile": "eig"}).status == "passed"
    )


# ---------------------------------------------------------------- messages


def test_a_failing_example_is_as_small_as_it_can_be() -> None:
    record = only(SpoiltByTwo, "check_scalar")
    assert record.status == "failed"
    what, why, mend, nothing, *script = record.message.splitlines()
    assert what == "the loss must be finite, it is nan"
    assert why == f"Why: {CHECKS['check_scalar'].why}"
    assert mend == f"Mend: {CHECKS['check_scalar'].mend}"
    assert nothing == ""
    namespace: dict[str, dict[str, Tensor]] = {}
    output = io.StringIO()
    with redirect_stdout(output):
        exec("\n".join(script), namespace)
    assert namespace["batch"]["keypoints_pred"].shape == (2, 4)
    assert output.getvalue().startswith("tensor(nan")


def test_without_shrinking_the_first_failing_example_is_shown() -> None:
    shapes = set()
    for seed in range(8):
        record = only(SpoiltByTwo, "check_scalar", shrink=False, seed=seed)
        namespace: dict[str, dict[str, Tensor]] = {}
        with redirect_stdout(io.StringIO()):
            exec(record.message.partition("\n\n")[2], namespace)
        shapes.add(tuple(namespace["batch"]["keypoints_pred"].shape))
    assert len(shapes) > 1
    assert all(num_frames >= 2 and columns >= 4 for num_frames, columns in shapes)


def test_the_same_seed_finds_the_same_example() -> None:
    first, second = (only(SpoiltByTwo, "check_scalar", seed=3) for _ in range(2))
    assert first.message == second.message


def test_an_error_that_a_loss_raises_is_a_failure_and_says_where() -> None:
    record = only(Raising, "check_definition")
    assert record.status == "failed"
    what, where, *_ = record.message.splitlines()
    assert what == "it raised ValueError: no luck"
    assert where.startswith("  in test_conformance.py, line ")
    assert where.endswith(': raise ValueError("no luck\\nat all")')


def test_an_error_of_torch_is_told_with_the_line_of_the_loss() -> None:
    record = only(RaisingInTorch, "check_definition", examples=50)
    what, where, *_ = record.message.splitlines()
    assert what.startswith("it raised RuntimeError: ")
    assert "mat1 and mat2 shapes cannot be multiplied" in what
    assert where.endswith("return keypoints_pred @ keypoints_pred  # the line that must be named")


def test_a_fault_of_the_kit_is_told_as_such_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> None:
        raise KeyError("size")

    check = Check("check_x", "w.", "m.", "pass", broken)
    monkeypatch.setattr(conformance_module, "CHECKS", {"check_x": check})
    record = only(Drift, "check_x")
    assert record.message.startswith("it raised KeyError: 'size'\n")


SPOILT = """
    from jaxtyping import Float
    from torch import Tensor
    from lploss import Loss

    class Spoilt(Loss):
        loss_name, kind = "spoilt", "unsupervised"

        def compute_loss(self, keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"]):
            return keypoints_pred.sqrt()
"""


def test_the_script_of_a_failure_runs_by_itself(
    site: Site, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    site.install("acme", modules={"acme_losses": SPOILT})
    record = only(import_module("acme_losses").Spoilt, "check_scalar")
    assert record.status == "failed"
    done = run_python(record.message.partition("\n\n")[2], PYTHONPATH=str(site.folder))
    assert done.stdout.startswith("tensor(nan"), done.stderr


class InMain(Drift):
    """A loss of a notebook."""

    loss_name = "in_main"
    __module__ = "__main__"


def test_a_class_of_a_notebook_is_not_sent_to_other_processes() -> None:
    record = only(InMain, "check_two_processes")
    assert (record.status, record.message) == (
        "not_applicable",
        "the class is in __main__, which other processes cannot import",
    )


def test_a_loss_that_cannot_be_copied_is_checked_all_the_same() -> None:
    class Uncopied(Drift):
        loss_name = "uncopied"

        def __deepcopy__(self, memo):
            raise TypeError("no copies")

    conformance = conformance_module.Conformance(Uncopied)
    assert conformance.record("check_scalar").status == "passed"
    copies = conformance.record("check_copies")
    assert copies.message.startswith("copy.deepcopy raised TypeError: no copies\n")


# ---------------------------------------------------------------- the checks themselves


def test_each_check_says_why_it_matters_and_how_to_mend() -> None:
    assert len(CHECKS) >= 35
    for name, check in CHECKS.items():
        assert name == check.name == check.run.__name__
        for text in (check.why, check.mend):
            assert text[0].isupper()
            assert text.endswith(".")
            assert "\n" not in text
        compile(check.shows, name, "exec")


def test_a_check_is_run_once() -> None:
    conformance = conformance_module.Conformance(Drift)
    assert conformance.record("check_scalar") is conformance.record("check_scalar")
    assert conformance.report(["check_scalar"]).records[0] is conformance.record("check_scalar")


def test_properties_that_are_stated_are_checked() -> None:
    class Still(Drift):
        loss_name = "still"
        properties = Properties(translation=True, scaling=1)

    report = check_loss(Still, checks=["check_translation", "check_scaling"])
    assert [record.status for record in report.records] == ["failed", "passed"]


# ---------------------------------------------------------------- a failing example as Python

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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=100, deadline=None, database=None)
@given(bits=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50))
def test_every_number_comes_back(dtype: type[np.floating], bits: list[int]) -> None:
    """NaN and what is nearly zero included."""
    size = np.dtype(dtype).itemsize
    of_size = np.array([number % 2 ** (8 * size) for number in bits], dtype=f"u{size}")
    value = torch.from_numpy(of_size.view(dtype))
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
