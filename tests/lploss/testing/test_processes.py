from __future__ import annotations

import os
import pickle
import time
from pathlib import Path

import pytest
import torch

from lploss.errors import ArgumentValueError, LplossError, ProcessError
from lploss.testing import processes
from lploss.testing.processes import run_in_processes
from tests.lploss.testing.process_targets import Payload

TARGETS = "tests.lploss.testing.process_targets"


def test_each_process_gets_its_payload_and_all_form_a_group() -> None:
    found = run_in_processes(f"{TARGETS}:about", [Payload(1.0), Payload(10.0), Payload(100.0)])
    assert [own["rank"] for own in found] == [0, 1, 2]
    assert [own["payload"] for own in found] == [Payload(1.0), Payload(10.0), Payload(100.0)]
    assert len({os.getpid(), *(own["pid"] for own in found)}) == 4
    for own in found:
        assert (own["size"], own["backend"], own["threads"]) == (3, "gloo", 1)
        assert torch.equal(own["total"], torch.tensor([111.0]))
        # The kit takes long to import, and a process that does not use it does not.
        assert not own["kit"]


def test_a_failure_is_told_with_its_traceback_and_ends_the_others() -> None:
    with pytest.raises(ProcessError) as caught:
        run_in_processes(f"{TARGETS}:fail_in_one", [False, True])
    message = str(caught.value)
    assert message.startswith(f"process 1 of 2 failed in '{TARGETS}:fail_in_one':\nTraceback")
    assert message.endswith("ValueError: no luck\n")
    assert "process_targets.py" in message
    assert isinstance(caught.value, LplossError | RuntimeError)


def test_a_process_that_ends_is_told_with_what_it_wrote() -> None:
    with pytest.raises(ProcessError) as caught:
        run_in_processes(f"{TARGETS}:die_in_one", [False, True])
    assert str(caught.value) == (
        f"process 1 of 2 ended with status 3 before '{TARGETS}:die_in_one' returned. It wrote:\n"
        "last words"
    )


def test_a_call_that_another_process_does_not_make_is_told() -> None:
    with pytest.raises(ProcessError) as caught:
        run_in_processes(f"{TARGETS}:return_in_one", [False, True])
    assert str(caught.value).startswith(
        f"process 0 of 2 failed in '{TARGETS}:return_in_one', after 1 had returned:\nTraceback"
    )


def test_who_is_late_is_told_and_where_it_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    popen = processes.subprocess.Popen
    monkeypatch.setattr(
        processes.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )
    for timeout in (6, 20, 60):  # the shortest in which the processes start on this machine
        before = time.monotonic()
        started.clear()
        with pytest.raises(ProcessError) as caught:
            run_in_processes(f"{TARGETS}:sleep_in_one", [True, False], timeout=timeout)
        assert timeout <= time.monotonic() - before < timeout + 10
        message = str(caught.value)
        if "in sleep_in_one" in message and message.startswith("of 2 processes, 0 did"):
            break
    assert message.startswith(
        f"of 2 processes, 0 did not finish '{TARGETS}:sleep_in_one' in {timeout} s."
    )
    assert "in sleep_in_one" in message
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


@pytest.mark.parametrize("target", ["math", "math:", ":sqrt", ""])
def test_a_target_of_another_form_is_refused(target: str) -> None:
    with pytest.raises(ArgumentValueError) as caught:
        run_in_processes(target, [4.0])
    assert str(caught.value) == f"target must be 'module:function', got {target!r}"


def test_no_payloads_are_refused() -> None:
    with pytest.raises(ArgumentValueError) as caught:
        run_in_processes("math:sqrt", [])
    assert str(caught.value) == "payloads must hold one payload for each process, got none"


@pytest.mark.parametrize(
    ("target", "value", "failure"),
    [
        ("math:sqrt", 3.0, None),
        ("no_such_module:run", None, "No module named 'no_such_module'"),
        ("math:no_such_function", None, "module 'math' has no attribute 'no_such_function'"),
        (f"{TARGETS}:return_a_lambda", None, "return_a_lambda.<locals>.<lambda>"),
    ],
)
def test_what_a_started_process_writes_down(
    tmp_path: Path, target: str, value: object, failure: str | None
) -> None:
    """In this process, so that it takes no time, and its lines count as tested."""
    processes._payload(tmp_path, 0).write_bytes(pickle.dumps(9.0))
    packages = processes._namespace_packages()
    (tmp_path / "packages.pickle").write_bytes(pickle.dumps(packages))
    num_threads = torch.get_num_threads()
    try:
        processes._main(tmp_path, 0, 1, target, time.time() + 60)
    finally:
        torch.set_num_threads(num_threads)
    outcome = processes._outcomes_so_far(tmp_path, 1)[0]
    assert outcome.value == value
    assert (outcome.traceback is None) if failure is None else (failure in outcome.traceback)
    assert not torch.distributed.is_initialized()
