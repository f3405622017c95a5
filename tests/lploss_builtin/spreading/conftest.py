"""Tasks in a module that fresh processes can import, and what they leave."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """The module, where processes find it that are started later."""
    folder = tmp_path_factory.mktemp("modules")
    shutil.copy(Path(__file__).with_name("tasks_to_spread.py"), folder)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(folder))
        yield importlib.import_module("tasks_to_spread")
    del sys.modules["tasks_to_spread"]


class Written:
    """The folder that `Write` writes to, and what stands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "out").mkdir(parents=True)

    def kill_who_halts(self) -> threading.Thread:
        """Kill the process that has halted in the middle of a file, as soon as one has."""

        def kill() -> None:
            while not (self.folder / "halted").exists():
                time.sleep(0.02)
            os.kill(int((self.folder / "halted").read_text()), signal.SIGKILL)

        thread = threading.Thread(target=kill, daemon=True)
        thread.start()
        return thread

    def begun(self) -> list[int]:
        """The tasks in the order in which they were begun, each as often as it was."""
        return [int(line.split()[0]) for line in (self.folder / "begun").read_text().splitlines()]

    def processes(self) -> set[int]:
        """The processes that did tasks."""
        return {int(line.split()[1]) for line in (self.folder / "begun").read_text().splitlines()}

    def check_each_once(self, num_tasks: int) -> None:
        """Check that each folder is there, whole, and nothing beside what a kill has left."""
        folders = {path.name: path for path in (self.folder / "out").iterdir()}
        complete = {name: path for name, path in folders.items() if not name.startswith(".")}
        assert sorted(map(int, complete)) == list(range(num_tasks))
        for name, path in complete.items():
            lines = (path / "scores.csv").read_text().splitlines()
            assert lines == [f"{name},{row}" for row in range(20)]


@pytest.fixture
def written(tmp_path):
    return Written(tmp_path / "written")
