"""The checks as tests of pytest."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from lploss.testing import Subject, conformance, decorator
from lploss.testing.check import CHECKS
from tests.conftest import Site

pytest_plugins = ["pytester"]

LOSS = """
    from jaxtyping import Float
    from torch import Tensor

    from lploss import Loss, Properties
    from lploss.testing import loss_checks

    class Drift(Loss):
        loss_name, kind = "drift", "supervised"
        properties = Properties({properties})

        def compute_loss(
            self,
            keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
            keypoints_targ: Float[Tensor, "batch two_x_num_keypoints"],
        ) -> Float[Tensor, "batch two_x_num_keypoints"]:
            return (keypoints_pred - keypoints_targ).abs()
"""

THREE_LINES = """
    @loss_checks({arguments})
    def test_conformance(check):
        check()
"""

CHOSEN = (
    "check_scalar",
    "check_zero_at_target",
    "check_inputs_untouched",
    "check_rotation",
    "check_scaling",
    "check_logs",
)


@pytest.fixture
def few_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave six checks, none of which takes long."""
    few = {name: CHECKS[name] for name in CHOSEN}
    for module in (conformance, decorator):
        monkeypatch.setattr(module, "CHECKS", few)


def written(arguments: str, properties: str = "") -> str:
    loss = textwrap.dedent(LOSS.format(properties=properties))
    return loss + textwrap.dedent(THREE_LINES.format(arguments=arguments))


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(test_drift=source)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:randomly", *options)


def test_three_lines_are_enough(few_checks: None, pytester: pytest.Pytester) -> None:
    three_lines = "from lploss.testing import loss_checks\n" + textwrap.dedent(
        THREE_LINES.format(arguments='"rmse", examples=3, minimum=5')
    )
    result = run(pytester, three_lines, "-v")
    result.assert_outcomes(passed=7)
    result.stdout.fnmatch_lines(
        [
            "*::test_conformance[[]check_scalar] PASSED*",
            "*::test_conformance[[]enough_checks_were_run] PASSED*",
        ]
    )


def test_what_does_not_apply_is_skipped_and_says_why(
    few_checks: None, pytester: pytest.Pytester
) -> None:
    # Without remove_nans a gap makes the loss NaN.
    failing = 'expected_failures={"check_scalar": "gaps are for later"}'
    result = run(pytester, written(f"Drift, minimum=1, {failing}"), "-rsx")
    result.assert_outcomes(passed=3, skipped=3, xfailed=1)
    result.stdout.fnmatch_lines_random(
        [
            "SKIPPED*not applicable: properties.zero_at_target is not stated",
            "SKIPPED*not applicable: properties.rotation is not stated",
            "XFAIL *check_scalar] - gaps are for later",
        ]
    )


def test_a_failure_shows_the_message_and_nothing_of_the_kit(
    few_checks: None, pytester: pytest.Pytester
) -> None:
    result = run(pytester, written("Drift, minimum=1"))
    result.assert_outcomes(passed=3, skipped=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*test_conformance[[]check_scalar]*",
            "the loss must be finite, it is nan",
            "Why: *",
            "Mend: *",
            "",
            "import torch",
            "from test_drift import Drift",
            "loss = Drift.example('drift')",
            'nan = float("nan")',
            "batch = {",
            "}",
            "print(loss(?*batch).loss)",
            "*1 failed, 3 passed, 3 skipped*",
        ]
    )
    text = result.stdout.str()
    assert "lploss/testing" not in text
    assert "Traceback" not in text
    assert "Falsifying" not in text


@pytest.mark.parametrize(
    ("arguments", "too_few"),
    [
        ("Drift, minimum=3", None),
        ("Drift, minimum=4", "only 3 checks were run, fewer than the minimum of 4:*"),
        ('"rmse"', "only 6 checks were run, fewer than the minimum of 20:*"),
    ],
)
def test_too_few_checks_are_a_failure(
    arguments: str, too_few: str | None, few_checks: None, pytester: pytest.Pytester
) -> None:
    result = run(pytester, written(arguments), "-k", "enough_checks_were_run")
    result.assert_outcomes(**{"failed" if too_few else "passed": 1}, deselected=6)
    if too_few:
        result.stdout.fnmatch_lines([too_few])


def test_each_check_is_run_once_and_in_order(
    few_checks: None, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []
    record = conformance.Conformance._run

    def counting(self: conformance.Conformance, check: Any, *more: Any) -> object:
        ran.append(check.name)
        return record(self, check, *more)

    monkeypatch.setattr(conformance.Conformance, "_run", counting)
    run(pytester, written('"rmse", minimum=6')).assert_outcomes(passed=7)
    assert ran == list(CHOSEN)


def test_examples_and_seed_are_handed_on(few_checks: None, pytester: pytest.Pytester) -> None:
    source = """
        from lploss.testing import loss_checks
        from lploss_builtin.losses.regression import RMSELoss

        batches = []

        class Counting(RMSELoss):
            loss_name = "counting"

            def remove_nans(self, keypoints_targ, keypoints_pred):
                batches.append(keypoints_targ)
                return super().remove_nans(keypoints_targ, keypoints_pred)

        @loss_checks(Counting, examples=4, seed=11)
        def test_first(check):
            del batches[:]
            check()
            assert len(batches) == 8
            test_first.seen = [batch.tolist() for batch in batches[:4]]

        @loss_checks(Counting, examples=4, seed=11)
        def test_second(check):
            del batches[:]
            check()
            assert str([batch.tolist() for batch in batches[:4]]) == str(test_first.seen)
    """
    result = run(pytester, textwrap.dedent(source), "-k", "check_scalar")
    result.assert_outcomes(passed=2, deselected=12)


# ---------------------------------------------------------------- what goes wrong before


BROKEN = """
    raise RuntimeError("this library is broken")
"""


def test_a_broken_plugin_fails_in_tests_and_not_in_collection(
    few_checks: None, pytester: pytest.Pytester, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install_loss("acme", "acme_loss", target=BROKEN)
    registry = site.registry()

    class Here(conformance.Conformance):
        def __init__(self, target: str, **options: Any) -> None:
            super().__init__(Subject.of(target, registry), **options)

    monkeypatch.setattr(decorator, "Conformance", Here)
    source = written('"acme_loss"') + "\n\ndef test_another():\n    assert 1 + 1 == 2\n"
    result = run(pytester, source, "-v")
    result.assert_outcomes(passed=1, failed=7)
    result.stdout.fnmatch_lines(
        [
            "the loss cannot be checked: the loss 'acme_loss' of acme 1.0 (acme) cannot be "
            "loaded: import of acme_losses:Distance: RuntimeError: this library is broken.",
            '  in acme_losses.py, line 2: raise RuntimeError("this library is broken")',
        ]
    )
    assert "lploss/testing" not in result.stdout.str()


# ---------------------------------------------------------------- in an interpreter of its own


def test_it_works_in_a_project_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_drift=written('"rmse", examples=5'))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "check_scalar or check_view_order"],
        cwd=pytester.path,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    others = len(CHECKS) + 1 - 2
    expected = f"1 passed, 1 skipped, {others} deselected"
    assert expected in done.stdout, done.stdout + done.stderr
