"""What ``lploss new`` writes: installed, tested and uninstalled as it stands."""

from __future__ import annotations

import json
import re

import pytest

from tests.environments import Environment

pytestmark = pytest.mark.installs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("new")


@pytest.fixture(scope="module")
def environment(folder):
    """An environment with a new distribution, as its author installs it."""
    made = Environment(folder / "environment")
    made.lploss("new", "gait_phase", cwd=folder)
    made.pip("install", "-e", ".[test]", cwd=folder / "lploss-gait-phase")
    return made


def losses(environment):
    rows = json.loads(environment.lploss("list", "--json"))
    return {row["name"]: row["provider"] for row in rows}


def test_it_passes_its_own_tests(environment, folder, pytestconfig):
    # What takes longest is left to the tutorial, whose loss is much the same.
    long = ["check_compile", "check_two_processes", "enough_checks_were_run"]
    chosen = [] if pytestconfig.getoption("--slow") else ["-k", f"not ({' or '.join(long)})"]
    printed = environment.pytest("-q", *chosen, cwd=folder / "lploss-gait-phase")
    (passed,) = re.search(r"(\d+) passed, ", printed).groups()
    assert int(passed) >= 28


def test_it_is_listed_until_pip_uninstalls_it(environment):
    assert losses(environment)["gait_phase"] == "lploss-gait-phase 0.1.0"
    environment.pip("uninstall", "--yes", "lploss-gait-phase")
    assert "gait_phase" not in losses(environment)
