"""Reports of the conformance kit."""

from __future__ import annotations

import json

import pytest

from lploss.testing import CheckRecord, ConformanceReport

PASSED = CheckRecord("check_scalar", "passed", "", 0.25)
FAILED = CheckRecord("check_epsilon", "failed", "it is off\nWhy: w.\nMend: m.\n\nprint(loss)", 1.5)
EXPECTED = CheckRecord("check_compile", "expected_failure", "needs eig", 2.0)
INAPPLICABLE = CheckRecord("check_rotation", "not_applicable", "rotation is not stated")


def report(*records: CheckRecord, minimum: int = 0) -> ConformanceReport:
    return ConformanceReport("drift", records, minimum, num_examples=25, seed=7)


def test_counts_tell_what_was_run_and_how_it_ended() -> None:
    found = report(PASSED, PASSED, FAILED, EXPECTED, INAPPLICABLE)
    assert found.num_run == 4
    assert found.counts == {
        "run": 4,
        "passed": 2,
        "failed": 1,
        "expected_failure": 1,
        "not_applicable": 1,
    }
    assert [record.was_run for record in found.records] == [True, True, True, True, False]
    assert found.summary == (
        "drift: 4 checks run, 2 passed, 1 failed, 1 expected failures; 1 not applicable"
    )


@pytest.mark.parametrize(
    ("records", "ok"),
    [
        ([PASSED], True),
        ([PASSED, EXPECTED, INAPPLICABLE], True),
        ([PASSED, FAILED], False),
        ([], True),
    ],
)
def test_it_is_good_unless_a_check_failed(records: list[CheckRecord], ok: bool) -> None:
    assert report(*records).ok is ok


def test_it_is_not_good_where_too_few_checks_were_run() -> None:
    found = report(PASSED, EXPECTED, INAPPLICABLE, minimum=3)
    assert not found.ok
    assert found.too_few == (
        "only 2 checks were run, fewer than the minimum of 3: a report of so few says little"
    )
    assert report(PASSED, EXPECTED, FAILED, minimum=3).too_few is None
    assert report(PASSED, EXPECTED, PASSED, minimum=3).ok


def test_json_holds_all_of_it() -> None:
    found = report(PASSED, INAPPLICABLE, minimum=1).as_dict()
    assert json.loads(json.dumps(found)) == {
        "loss": "drift",
        "ok": True,
        "counts": {
            "run": 1,
            "passed": 1,
            "failed": 0,
            "expected_failure": 0,
            "not_applicable": 1,
        },
        "minimum": 1,
        "examples": 25,
        "seed": 7,
        "records": [
            {"check": "check_scalar", "status": "passed", "message": "", "seconds": 0.25},
            {
                "check": "check_rotation",
                "status": "not_applicable",
                "message": "rotation is not stated",
                "seconds": 0.0,
            },
        ],
    }


def test_the_table_has_a_row_for_each_check(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    report(PASSED, FAILED, EXPECTED, INAPPLICABLE).print_table()
    lines = capsys.readouterr().out.splitlines()
    rows = [" ".join(line.split()) for line in lines if "check_" in line]
    assert lines[0].strip() == "drift"
    assert rows == [
        "check_scalar passed 0.2",
        "check_epsilon failed 1.5 it is off",
        "check_compile expected failure 2.0 needs eig",
        "check_rotation not applicable 0.0 rotation is not stated",
    ]


def test_a_message_is_no_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    report(PASSED._replace(status="failed", message="got [bold]1[/bold] and [1]")).print_table()
    assert "got [bold]1[/bold] and [1]" in capsys.readouterr().out


def test_as_text_it_tells_what_failed_and_nothing_of_what_passed() -> None:
    assert str(report(PASSED, INAPPLICABLE)) == (
        "drift: 1 checks run, 1 passed, 0 failed, 0 expected failures; 1 not applicable"
    )
    assert str(report(PASSED, FAILED, minimum=20)) == (
        """\
drift: 2 checks run, 1 passed, 1 failed, 0 expected failures; 0 not applicable

only 2 checks were run, fewer than the minimum of 20: a report of so few says little

check_epsilon
    it is off
    Why: w.
    Mend: m.

    print(loss)"""
    )
