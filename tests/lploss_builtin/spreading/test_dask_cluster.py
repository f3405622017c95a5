from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from lploss.errors import (
    ArgumentValueError,
    DataError,
    MissingDependencyError,
    ProcessError,
)
from lploss_builtin import spreading
from lploss_builtin.spreading import spread
from tests.lploss_builtin.clusters import new_cluster

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def scheduler(tasks):
    with new_cluster(2) as cluster:
        yield cluster.scheduler_address


def test_the_task_of_a_worker_that_is_killed_is_done_by_another(tasks, written, scheduler):
    killer = written.kill_who_halts()
    told = []
    with closing(
        spread(
            tasks.Write(written.folder, 7),
            range(30),
            scheduler=scheduler,
            folder=written.folder,
            progress=told.append,
        )
    ) as outcomes:
        assert [outcome.result for outcome in outcomes] == [number**2 for number in range(30)]
    killer.join(10)
    assert sorted(outcome.number for outcome in told) == list(range(30))
    # Dask does again what only the killed worker knew the result of, so others may be begun twice.
    begun = written.begun()
    assert begun.count(7) == 2
    assert set(begun) == set(range(30))
    assert len(written.processes()) > 1
    assert os.getpid() not in written.processes()
    written.check_each_once(30)


def test_errors_come_back(tasks, scheduler):
    found = list(spread(tasks.fail_at_three, [1, 3, 5], scheduler=scheduler))
    assert [outcome.error is None for outcome in found] == [True, False, True]
    with pytest.raises(DataError) as raised:
        _ = found[1].result
    assert str(raised.value) == "three.csv: has no frames"


def test_a_file_of_the_scheduler(tasks, scheduler, tmp_path):
    file = tmp_path / "scheduler.json"
    file.write_text(f'{{"address": "{scheduler}"}}')
    (outcome,) = spread(tasks.square, [3], scheduler=str(file))
    assert outcome.result == 9


def test_what_is_not_begun_is_taken_back(tasks, scheduler, written):
    with closing(spread(tasks.Write(written.folder), range(400), scheduler=scheduler)) as outcomes:
        assert next(outcomes).result == 0
    with distributed.Client(scheduler, set_as_default=False) as client:
        while any(client.processing().values()):
            time.sleep(0.02)
    assert len(written.begun()) < 400


def test_a_scheduler_that_cannot_be_reached(tasks, monkeypatch):
    monkeypatch.setattr(spreading, "_CONNECT_S", 0.3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ProcessError) as raised:
        list(spread(tasks.square, [1], scheduler=address))
    assert str(raised.value) == (
        f"the scheduler {address} cannot be reached within 0.3 s. Start it with `dask scheduler`, "
        "which prints its address, and check firewalls in between."
    )


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (
            "nonsense",
            "the scheduler must be an address such as tcp://host:8786, or a scheduler file *.json; "
            "got 'nonsense'",
        ),
        ("nothing.json", "there is no scheduler file nothing.json"),
    ],
)
def test_what_is_no_address(tasks, scheduler, message):
    with pytest.raises(ArgumentValueError) as raised:
        list(spread(tasks.square, [1], scheduler=scheduler))
    assert str(raised.value) == message


def test_without_dask(tasks, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "lploss\[cluster\]"'):
        list(spread(tasks.square, [1], scheduler="tcp://127.0.0.1:1"))


def test_workers_with_other_versions(tasks, scheduler, monkeypatch):
    here = os.getpid()

    def read():
        import os

        return {"Python": "3.12", "lploss": "0.2" if os.getpid() == here else "0.1"}

    monkeypatch.setattr(spreading, "_version_reader", lambda: read)
    with pytest.raises(ProcessError) as raised:
        list(spread(tasks.square, [1], scheduler=scheduler))
    first, *each, last = str(raised.value).splitlines()
    assert first == f"workers of {scheduler} do not fit:"
    assert {line.partition(": ")[2] for line in each} == {"lploss 0.1 instead of 0.2"}
    assert last == (
        "All workers need the packages that are installed here, and the same folders under the "
        "same paths."
    )


def test_a_worker_that_joins_with_other_versions():
    here = spreading._version_reader()()
    with pytest.raises(ProcessError) as raised:
        spreading._call(b"", {**here, "lploss": "7.0"}, b"")
    assert str(raised.value) == (
        f"a worker that joined has other versions: lploss {here['lploss']} instead of 7.0"
    )


def test_workers_that_do_not_see_the_folder(tasks, scheduler, tmp_path, monkeypatch):
    monkeypatch.setattr(spreading, "_FOLDER_S", 0.0)
    with pytest.raises(ProcessError) as raised:
        list(spread(tasks.square, [1], scheduler=scheduler, folder=tmp_path / "elsewhere"))
    assert f"does not see {tmp_path / 'elsewhere'}\n" in str(raised.value)


def test_a_cluster_without_workers(tasks, monkeypatch):
    monkeypatch.setattr(spreading, "_FIRST_WORKER_S", 0.2)
    with new_cluster(0) as cluster, pytest.raises(ProcessError) as raised:
        list(spread(tasks.square, [1], scheduler=cluster.scheduler_address))
    assert "has no worker, and got none within 0.2 s. Start some with `dask worker" in str(
        raised.value
    )


@pytest.mark.slow
def test_a_task_that_always_kills_its_worker_is_named(tasks):
    with new_cluster(2) as cluster:
        names = [f"{number}.csv" for number in range(8)]
        found = list(
            spread(tasks.die_at_two, range(8), names=names, scheduler=cluster.scheduler_address)
        )
    assert [outcome.number for outcome in found if outcome.error is not None] == [2]
    with pytest.raises(ProcessError) as raised:
        _ = found[2].result
    assert str(raised.value) == (
        "2.csv: every worker that did it died, even when it was the only task. If memory is short, "
        "use fewer processes or give workers more memory."
    )


@pytest.fixture
def by_hand(tasks, tmp_path):
    """The file of a scheduler, its process, and that of its worker, which nobody replaces."""
    file = tmp_path / "scheduler.json"
    environment = {**os.environ, "PYTHONPATH": str(Path(tasks.__file__).parent)}
    started = []
    for program, options in (("scheduler", ["--port", "0"]), ("worker", ["--no-nanny"])):
        command = [sys.executable, "-m", f"distributed.cli.dask_{program}", *options]
        command += ["--no-dashboard", "--scheduler-file", str(file)]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        while not file.exists():
            time.sleep(0.05)
    yield str(file), *started
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_cluster_that_loses_all_workers(tasks, by_hand, written, monkeypatch):
    monkeypatch.setattr(spreading, "_NO_WORKER_S", 1.0)
    scheduler, _, worker = by_hand
    with closing(spread(tasks.Write(written.folder), range(300), scheduler=scheduler)) as outcomes:
        assert next(outcomes).result == 0
        worker.kill()
        with pytest.raises(ProcessError, match=r"scheduler\.json has had no worker for 1 s$"):
            list(outcomes)


@pytest.mark.slow
def test_a_scheduler_that_goes(tasks, by_hand, written):
    scheduler, process, _ = by_hand
    with closing(spread(tasks.Write(written.folder), range(300), scheduler=scheduler)) as outcomes:
        assert next(outcomes).result == 0
        process.kill()
        with pytest.raises(ProcessError, match=r"stopped before all tasks were done"):
            list(outcomes)


@pytest.mark.slow
def test_a_worker_where_lploss_is_not_installed(tasks, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    for path in Path(distributed.__file__).parents[1].iterdir():
        if "lploss" not in path.name and path.suffix != ".pth":
            (site / path.name).symlink_to(path)
    start = (
        f"import sys; sys.path.append({str(site)!r}); "
        "from distributed.cli.dask_worker import main; main()"
    )
    with new_cluster(0) as cluster:
        address = cluster.scheduler_address
        options = ["--no-nanny", "--no-dashboard", address]
        worker = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", start, *options], stderr=subprocess.DEVNULL
        )
        try:
            with pytest.raises(ProcessError) as raised:
                list(spread(tasks.square, [1], scheduler=address))
        finally:
            worker.kill()
            worker.wait()
    assert f"lploss none instead of {spreading._version_reader()()['lploss']}" in str(raised.value)
