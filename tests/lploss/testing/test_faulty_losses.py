from __future__ import annotations

import contextlib
import inspect
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lploss import Loss
from lploss.testing import Subject, check_loss
from lploss.testing.check import CHECKS
from lploss.testing.conformance import NUM_EXAMPLES
from lploss.testing.report import CheckRecord
from tests.lploss.testing.faulty import (
    arguments,
    batches,
    derivations,
    devices,
    gradients,
    invalid,
    logs,
    precision,
    recombination,
    side_effects,
    sound,
    state,
    symmetries,
    weighting,
)
from tests.lploss.testing.faulty.fault import Fault
from tests.lploss.testing.faulty.processes import MANIFESTS
from tests.lploss.testing.faulty.sound import SOUND, Distance
from tests.lploss.testing.faulty.table import FAULTS

# They take seconds, and are run where they are the subject.
EXPENSIVE = {"check_compile", "check_two_processes"}


def marked(fault: Fault) -> object:
    marks = {"check_compile": [pytest.mark.compiles]}.get(fault.check, [])
    return pytest.param(fault, marks=marks, id=fault.name)


every_fault = pytest.mark.parametrize("fault", [marked(fault) for fault in FAULTS])
one_fault_a_check = pytest.mark.parametrize(
    "fault", [marked(fault) for fault in {fault.check: fault for fault in FAULTS}.values()]
)


@pytest.fixture(autouse=True)
def _random_numbers() -> Iterator[None]:
    """One of the losses seeds them when it is made."""
    with torch.random.fork_rng(devices=[]):
        yield


def records_of(loss: type[Loss], *checks: str, seed: int = 0, examples: int = NUM_EXAMPLES):
    report = check_loss(loss, checks=checks, seed=seed, examples=examples, shrink=False)
    return {record.check: record for record in report.records}


def failed(records: dict[str, CheckRecord]) -> set[str]:
    return {name for name, record in records.items() if record.status == "failed"}


def others(fault: Fault) -> list[str]:
    """Return the checks that a faulty loss must pass, or that do not apply."""
    return [name for name in CHECKS if name not in {fault.check, *fault.also, *EXPENSIVE}]


@pytest.mark.parametrize("examples", [5, pytest.param(4 * NUM_EXAMPLES, marks=pytest.mark.slow)])
@pytest.mark.mistyped  # check_arguments does
def test_the_sound_losses_pass_and_together_all_checks_apply_to_them(examples):
    applied = set()
    for loss in SOUND:
        records = records_of(loss, *(set(CHECKS) - EXPENSIVE), examples=examples)
        assert {r.check: r.message for r in records.values() if r.status == "failed"} == {}
        applied |= {name for name, record in records.items() if record.was_run}
    elsewhere = {"check_manifest_light", "check_config_paths"}
    assert set(CHECKS) - applied == {*elsewhere, *EXPENSIVE}


@pytest.mark.compiles
@pytest.mark.parametrize(
    "loss", [Distance, *(pytest.param(s, marks=pytest.mark.slow) for s in SOUND[1:])]
)
def test_the_sound_losses_pass_what_takes_long(loss):
    records = records_of(loss, *EXPENSIVE)
    assert {name: record.message for name, record in records.items()} == dict.fromkeys(
        EXPENSIVE, ""
    )


@every_fault
def test_a_faulty_loss_fails_the_check_that_is_there_for_it(fault):
    records = records_of(fault.loss, fault.check, *fault.also)
    assert failed(records) == {fault.check, *fault.also}


@pytest.mark.mistyped
@one_fault_a_check
def test_a_faulty_loss_fails_no_other_check_on_few_examples(fault):
    assert failed(records_of(fault.loss, *others(fault), examples=2)) - {fault.check} == set()


@pytest.mark.slow
@pytest.mark.mistyped
@every_fault
def test_a_faulty_loss_fails_no_other_check(fault):
    assert failed(records_of(fault.loss, *others(fault))) - {fault.check} == set()


@pytest.mark.slow
@every_fault
def test_a_fault_is_found_whatever_the_seed(fault):
    def is_found(seed: int) -> bool:
        return bool(failed(records_of(fault.loss, fault.check, seed=seed)))

    assert [seed for seed in range(10) if not is_found(seed)] == []


@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS)
def test_a_heavy_manifest_is_found(site, manifest):
    site.install(
        "acme-losses",
        {"acme": "acme_manifest"},
        {
            "acme_manifest": manifest,
            "acme_losses": inspect.getsource(sound),
            "acme_helper": "import numpy\n\nSUMMARY = 'a distance'\n",
        },
    )
    report = check_loss(Subject.of("distance", site.registry()), checks=["check_manifest_light"])
    (record,) = report.records
    assert record.status == "failed"


def derived(site, function, *checks, examples=NUM_EXAMPLES):
    """Check a loss whose input is derived by a function of this project's tests."""
    site.install(
        "acme",
        {"acme": "acme_manifest"},
        {"acme_manifest": derivations.MANIFEST.format(function=function.__name__)},
    )
    subject = Subject.of(derivations.Fastest, site.registry(strict=True))
    return check_loss(subject, checks=checks, examples=examples, shrink=False).records


@pytest.mark.mistyped
@pytest.mark.parametrize(("function", "message"), derivations.FAULTY.items())
def test_a_faulty_derivation_fails_its_check_and_no_other(site, function, message):
    records = derived(site, function, *(set(CHECKS) - EXPENSIVE), examples=6)
    # The loss uses what is called a constant as if it were none.
    also = {"check_constants"} if function is derivations.constant_with_a_gradient else set()
    assert failed({record.check: record for record in records}) == {"check_derivations", *also}
    (record,) = [record for record in records if record.check == "check_derivations"]
    what, *_ = record.message.splitlines()
    start = f"speeds_pred, as {derivations.__name__}.{function.__name__} derives it from "
    assert what.startswith(start)
    assert re.search(message, what)


@pytest.mark.parametrize("function", derivations.SOUND)
def test_a_sound_derivation_passes(site, function):
    (record,) = derived(site, function, "check_derivations")
    assert (record.status, record.message) == ("passed", "")


def test_the_script_of_a_faulty_derivation_shows_it(site):
    (record,) = derived(site, derivations.difference_of_gaps, "check_derivations")
    # What builds the loss can be imported only where the tests are.
    script = record.message.split("\n\n", 1)[1]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(script, {})
    assert "nan" in output.getvalue()


def test_every_check_has_a_faulty_loss():
    others = {"check_manifest_light", "check_derivations"}
    assert {fault.check for fault in FAULTS} | others == set(CHECKS)
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_every_fault_is_told_in_one_sentence():
    for fault in FAULTS:
        assert fault.loss.__doc__, fault.name
        assert fault.loss.__doc__.endswith("."), fault.name
        assert fault.check not in fault.also, fault.name
        assert set(fault.also) <= set(CHECKS), fault.name


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_says_why_and_how_to_mend(name):
    check = CHECKS[name]
    assert name == check.name == check.run.__name__
    assert name.startswith("check_")
    for text in (check.why, check.mend):
        assert text[0].isupper()
        assert text.endswith(".")
        assert not text.endswith("..")
        assert ". " not in text
        assert "\n" not in text


def message_of(loss: type[Loss]) -> str:
    (fault,) = [fault for fault in FAULTS if fault.loss is loss]
    (record,) = check_loss(loss, checks=[fault.check]).records
    assert record.status == "failed"
    return record.message


NUMBER = r"-?\d[\d.e+-]*"


@pytest.mark.parametrize(
    ("loss", "first_line"),
    [
        (gradients.SquareRoot, r"the gradient for keypoints_\w+ must be finite, it is \[\[nan.*"),
        (
            gradients.Detached,
            rf"no gradient reaches any of keypoints_targ, keypoints_pred: the loss is {NUMBER} .*",
        ),
        (
            invalid.MeanOfNothing,
            r"where all of keypoints_\w+ is missing, the loss must be exactly 0, it is nan",
        ),
        (
            side_effects.MarksBothCoordinates,
            r"keypoints_targ was changed from \[\[.*\]\] to \[\[.*nan, nan.*\]\]",
        ),
        # The checks of types take random numbers themselves.
        pytest.param(
            side_effects.SeedsNumPy,
            r"a call changed numpy's random state",
            marks=pytest.mark.mistyped,
        ),
        pytest.param(
            side_effects.SeedsInItsConstructor,
            r"to build it changed torch's random state",
            marks=pytest.mark.mistyped,
        ),
        (
            weighting.WeighsTwice,
            rf"with log_weight -1 the loss must be 1\.359141 times {NUMBER}, {NUMBER}, it is "
            rf"{NUMBER}",
        ),
        (
            symmetries.GrowsWithTheMaps,
            rf"the mean over 3 keypoints is {NUMBER}, that over these and their copies {NUMBER}",
        ),
        (
            symmetries.Squared,
            rf"with all coordinates twice as large the loss must be {NUMBER}, it is {NUMBER}",
        ),
        (state.TensorInSlots, r"the tensor cameras\[0\]\.focal_length is a plain attribute"),
        (
            state.FittedNumber,
            rf"a new loss that loaded its state gives {NUMBER} instead of {NUMBER}",
        ),
        (
            batches.LeftOutInSilence,
            r"without keypoints_targ it must raise MissingInputError, it returned a value",
        ),
        (
            batches.AnnotatedAsTensor,
            r"keypoints_targ has no annotation that says its axes, so any shape is taken",
        ),
        (
            arguments.ClampsEpsilon,
            r"epsilon=-1\.0 must raise ArgumentValueError, it was taken; .*",
        ),
        pytest.param(
            arguments.NamesNoArgument,
            r"the error must name the argument factor, it says: expected a number of at least 0",
            marks=pytest.mark.mistyped,
        ),
        (
            logs.NamesNoStage,
            r"the logs must hold train_distance_loss, they hold distance_loss, distance_weight",
        ),
    ],
)
def test_a_message_says_what_was_expected_and_what_came(loss, first_line):
    message = message_of(loss)
    (fault,) = [fault for fault in FAULTS if fault.loss is loss]
    assert re.fullmatch(first_line, message.splitlines()[0])
    assert f"\nWhy: {CHECKS[fault.check].why}\nMend: {CHECKS[fault.check].mend}\n" in message


@pytest.mark.parametrize(
    ("loss", "what"),
    [
        (
            batches.ReturnsTheWrongShape,
            "compute_loss contradicts its annotation: loss 'distance': the element-wise loss must "
            "have axes (batch, num_keypoints); expected 2 axes, got 1: shape (4,)",
        ),
        (
            batches.MasksOfTheWrongShape,
            "loss 'distance': remove_nans must return boolean masks in the shape of what "
            "compute_loss returns, (4, 3), got torch.bool of shape (4, 6)",
        ),
        (batches.RaisesAlways, "it raised RuntimeError: size mismatch"),
    ],
)
def test_one_cause_is_one_failure(loss, what):
    report = check_loss(loss)
    (record,) = [record for record in report.records if record.status == "failed"]
    assert record.check == "check_definition"
    assert record.message.startswith(what)
    assert {r.message for r in report.records if r is not record} == {
        "not run: check_definition failed"
    }
    assert report.too_few is None
    assert len(str(report).splitlines()) < 25


def test_a_check_that_is_not_run_is_no_success():
    report = check_loss(batches.ReturnsTheWrongShape, checks=["check_scalar"])
    assert [(record.check, record.status) for record in report.records] == [
        ("check_definition", "failed"),
        ("check_scalar", "not_applicable"),
    ]
    assert not report.ok


def test_a_message_names_the_line_that_waits_for_the_device():
    _, where, *_ = message_of(devices.AsksForAValue).splitlines()
    assert re.fullmatch(r"  in devices\.py, line \d+: return distances if .*\.item\(\).*", where)


def test_a_message_says_in_which_line_an_error_was_raised():
    _, where, *_ = message_of(invalid.GuessesAnAxis).splitlines()
    assert re.fullmatch(r"  in invalid\.py, line \d+: targ, pred = \(k\.reshape\(.*", where)


# Elsewhere a distribution has a package of the same name.
PRELUDE = f"""
import contextlib, io, json, sys, types

tests = types.ModuleType("tests")
tests.__path__ = [{str(Path(__file__).parents[2])!r}]
sys.modules["tests"] = tests
"""
RUN = """
outputs = {}
for name, script in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            exec(script, {})
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
    outputs[name] = output.getvalue()
assert "lploss.testing" not in sys.modules and "hypothesis" not in sys.modules
print(json.dumps(outputs))
"""


def printed_by(*losses: type[Loss]) -> list[str]:
    """Run the scripts of the messages, all in one interpreter without the kit."""
    scripts = {loss.__name__: message_of(loss).split("\n\n", 1)[1] for loss in losses}
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + RUN, json.dumps(scripts)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return list(json.loads(done.stdout).values())


def test_the_scripts_of_messages_show_the_faults_without_the_kit():
    root, twice, ignored, marked, expanded, clamped, empty, plain, copied, *compared = printed_by(
        gradients.SquareRoot,
        weighting.WeighsTwice,
        weighting.IgnoresEpsilon,
        side_effects.MarksBothCoordinates,
        precision.ExpandedSquare,
        arguments.ClampsEpsilon,
        invalid.GuessesAnAxis,
        state.PlainTensor,
        state.KeepsALambda,
        symmetries.GrowsWithTheMaps,
        recombination.GrowsWithTheBatch,
        recombination.StepUnstated,
        symmetries.FromTheLast,
        symmetries.FirstPairCountsMost,
        symmetries.Relative,
        symmetries.AlongTheAxes,
        symmetries.Squared,
    )
    assert "'keypoints_pred': tensor([[nan" in root
    assert len({tensor for tensor in twice.splitlines() if tensor}) == 3
    assert len({tensor for tensor in ignored.splitlines() if tensor}) == 1
    before, after = marked.split("} {")
    assert before.count("nan") < after.count("nan")
    for text in compared:
        pairs = [halves(numbers_in(line)) for line in text.splitlines()]
        assert any(one != pytest.approx(other, rel=1e-4) for one, other in pairs)
    maps = numbers_in(compared[0])
    assert maps[1] == pytest.approx(2.0 * maps[0], rel=1e-3)
    single, double = expanded.splitlines()
    assert numbers_in(single) != pytest.approx(numbers_in(double), rel=1e-3)
    assert clamped == ""
    assert empty.startswith("RuntimeError: cannot reshape tensor of 0 elements")
    assert plain == "tensor(2.)\n"
    assert "Can't pickle" in copied or "Can't get local object" in copied


def halves(numbers: list[float]) -> tuple[list[float], list[float]]:
    return numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]


def numbers_in(text: str) -> list[float]:
    return [float(number) for number in re.findall(rf"(?<=[\[( ]){NUMBER}(?=[,\]) ])", text)]
