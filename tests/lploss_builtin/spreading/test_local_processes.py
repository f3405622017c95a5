from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import torch

from lploss.errors import DataError, ProcessError
from lploss_builtin.spreading import spread


def test_results_in_the_order_of_the_tasks(tasks, written):
    told = []
    outcomes = list(
        spread(tasks.Write(written.folder), range(12), processes=2, progress=told.append)
    )
    assert [outcome.result for outcome in outcomes] == [number**2 for number in range(12)]
    assert [outcome.number for outcome in outcomes] == list(range(12))
    assert sorted(outcome.number for outcome in told) == list(range(12))
    assert os.getpid() not in written.processes()
    written.check_each_once(12)


def test_as_many_at_a_time_as_there_are_processes(tasks, tmp_path):
    outcomes = spread(tasks.Meet(tmp_path), range(2), processes=2)
    assert [outcome.result for outcome in outcomes] == [2, 2]


def test_the_task_of_a_process_that_is_killed_is_done_by_another(tasks, written):
    killer = written.kill_who_halts()
    with closing(spread(tasks.Write(written.folder, 5), range(20), processes=2)) as outcomes:
        assert [outcome.result for outcome in outcomes] == [number**2 for number in range(20)]
    killer.join(10)
    # Dask repeats what only the killed worker knew the result of, so others may be begun twice.
    assert written.begun().count(5) == 2
    assert set(written.begun()) == set(range(20))
    assert len(written.processes()) > 1
    written.check_each_once(20)


@pytest.mark.parametrize("function", ["die_at_two", "leave_at_two"])
def test_a_task_that_always_ends_its_process_is_named(tasks, function):
    names = [f"{number}.csv" for number in range(4)]
    found = list(spread(getattr(tasks, function), range(4), names=names, processes=2))
    assert [outcome.error is None for outcome in found] == [True, True, False, True]
    with pytest.raises(ProcessError) as raised:
        _ = found[2].result
    assert str(raised.value) == (
        "2.csv: every worker that did it died, even when it was the only task. If memory is short, "
        "use fewer processes or give workers more memory."
    )


def test_errors_come_back_with_where_they_were_raised(tasks):
    found = list(spread(tasks.fail_at_three, [1, 3, 5], processes=2))
    assert [outcome.error is None for outcome in found] == [True, False, True]
    with pytest.raises(DataError) as raised:
        _ = found[1].result
    assert str(raised.value) == "three.csv: has no frames"
    note = raised.value.__notes__[0]
    assert note.startswith("In another process:\nTraceback")
    assert "in fail_at_three" in note


def test_threads_are_shared(tasks):
    before = torch.get_num_threads()
    torch.set_num_threads(6)
    try:
        found = {outcome.result for outcome in spread(tasks.threads, range(2), processes=2)}
    finally:
        torch.set_num_threads(before)
    assert found == {"3"}


def test_who_wants_no_more_ends_all(tasks, written):
    outcomes = spread(tasks.Write(written.folder, 1), range(4), processes=2)
    with closing(outcomes):
        next(outcomes)
        while not (written.folder / "halted").exists():
            time.sleep(0.02)
    assert not any(psutil.pid_exists(process) for process in written.processes())
    assert not (written.folder / "out" / "1").exists()


SCRIPT = """
    import signal
    import sys
    from pathlib import Path
    # Whoever runs the tests in the background may have them ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path.insert(0, {modules!r})
    import {module} as tasks
    from lploss_builtin.spreading import spread
    {guard}
        for outcome in spread(tasks.{function}, range(4), processes=2):
            print(outcome.result)
"""


def script(tasks, function, guard):
    folder = Path(tasks.__file__).parent
    file = folder / "script.py"
    file.write_text(
        textwrap.dedent(SCRIPT).format(
            modules=str(folder), module=tasks.__name__, function=function, guard=guard
        )
    )
    return [sys.executable, str(file)]


@pytest.mark.slow
def test_a_script_without_a_guard_is_told(tasks):
    done = subprocess.run(
        script(tasks, "square", "if True:"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert (
        "ProcessError: processes cannot be started. A script must start them under "
        '`if __name__ == "__main__":`, or use one process.'
    ) in done.stderr


def test_each_process_leaves_interrupts_to_the_one_that_started_it(tasks, tmp_path):
    done = subprocess.run(
        script(tasks, f"LeavesInterrupts({str(tmp_path)!r})", 'if __name__ == "__main__":'),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    left = dict(line.split() for line in done.stdout.splitlines())
    assert len(left) == 2
    assert set(left.values()) == {"True"}


def test_an_interrupt_ends_all_processes(tasks, written):
    function = f"Write({str(written.folder)!r}, 2)"
    process = subprocess.Popen(
        script(tasks, function, 'if __name__ == "__main__":'),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (written.folder / "halted").exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert said.count("KeyboardInterrupt") == 1  # that of the script itself
    assert not any(psutil.pid_exists(number) for number in written.processes())
    assert not (written.folder / "out" / "2").exists()
