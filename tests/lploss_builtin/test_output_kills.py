"""A process that is killed at any step leaves what is wholly old, wholly new, or incomplete."""

from __future__ import annotations

import builtins
import io
import os
import shutil
import signal
import traceback
import warnings

import pytest

from lploss_builtin.output import replaced_files, whole_file, whole_folder, write_text
from lploss_builtin.predicting.recording_state import STATE_FOLDER, RecordingState
from lploss_builtin.training import history

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL"),
    pytest.mark.slow,
]

_STEPS = ("rename", "replace", "unlink", "remove", "rmdir", "mkdir", "open", "fsync")


def is_killed(task, folder, step):
    """Run a task in a process that kills itself before a step; return whether it got there.

    A step is a call that opens or changes a file, from the first one in the folder on.
    """
    with warnings.catch_warnings():
        # Libraries have started threads, which do nothing here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            _die_before(str(folder), step)
            task(folder)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def _die_before(folder, step):
    count = 0

    def dying(function):
        def call(path, *args, **options):
            nonlocal count
            is_path = isinstance(path, str | os.PathLike) and os.fspath(path).startswith(folder)
            if is_path or "dir_fd" in options or function.__name__ == "fsync":
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
            return function(path, *args, **options)

        return call

    for name in _STEPS:
        setattr(os, name, dying(getattr(os, name)))
    io.open = builtins.open = dying(io.open)


def killed_at_each_step(task, prepare, folder):
    """Yield what is in a folder, killed before each step, as often as there are steps."""
    step = 0
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        prepare(folder)
        if not is_killed(task, folder, step):
            break
        yield step
        step += 1
    assert step > 5, "the steps were not counted"


def visible(folder):
    """Return the content of the files that are not hidden, as users of the folder see them."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and not any(n.startswith(".") for n in path.relative_to(folder).parts)
    }


def leftovers(folder):
    return [path for path in folder.rglob("*") if "unfinished" in path.name]


def write_all(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


OLD = {"pictures/a.png": "old", "pictures/b.png": "old", "scores.csv": "old", "summary.json": "old"}
NEW = {"pictures/b.png": "new", "scores.csv": "new", "summary.json": "new", "views.csv": "new"}
MINE = {"mine.txt": "mine"}


def replace(folder):
    with replaced_files(folder, last="summary.json") as staged:
        write_all(staged.folder, NEW)
        staged.outdated.add("pictures/a.png")


def test_files_that_are_replaced_together(tmp_path):
    folder, seen = tmp_path / "out", set()
    for step in killed_at_each_step(replace, lambda out: write_all(out, OLD | MINE), folder):
        found = visible(folder)
        assert found.pop("mine.txt") == "mine"
        if found not in (OLD, NEW):
            assert "summary.json" not in found, step
            assert len(set(found.values())) <= 1, f"old beside new at step {step}: {found}"
        seen.add("old" if found == OLD else "new" if found == NEW else "incomplete")
        replace(folder)
        assert visible(folder) == NEW | MINE
        assert leftovers(folder) == []
    assert seen == {"old", "new", "incomplete"}
    assert visible(folder) == NEW | MINE


def test_another_call_completes_what_was_begun(tmp_path):
    """Whatever it writes into the same folder."""
    folder = tmp_path / "out"
    for _ in killed_at_each_step(replace, lambda out: write_all(out, OLD), folder):
        write_text(folder / "note.txt", "hello")
        found = visible(folder)
        assert found.pop("note.txt") == "hello"
        assert found in (OLD, NEW)
        assert leftovers(folder) == []


def write_one(folder):
    with whole_file(folder / "summary.json") as path, path.open("w") as file:
        file.write("ne")
        file.flush()
        file.write("w")


def test_one_file(tmp_path):
    folder, seen = tmp_path / "out", set()
    old = {"summary.json": "old"}
    for _ in killed_at_each_step(write_one, lambda out: write_all(out, old), folder):
        found = visible(folder)
        assert found in (old, {"summary.json": "new"})
        seen.add(found["summary.json"])
        write_one(folder)
        assert (visible(folder), leftovers(folder)) == ({"summary.json": "new"}, [])
    assert seen == {"old", "new"}


def make_folder(folder):
    with whole_folder(folder / "monday") as place:
        write_all(place, {"a.csv": "new", "deep/b.csv": "new"})


def test_a_folder_that_appears_at_once(tmp_path):
    folder, seen = tmp_path / "out", set()
    for _ in killed_at_each_step(make_folder, lambda out: None, folder):
        found = visible(folder)
        seen.add(len(found))
        assert found in ({}, {"monday/a.csv": "new", "monday/deep/b.csv": "new"})
        make_folder(folder)
        assert len(visible(folder)) == 2
        assert leftovers(folder) == []
    assert seen == {0, 2}


def predict(folder, weights, files, outdated=()):
    state, inputs = RecordingState(folder, "walk"), {"weights": weights}
    with state.alone():
        if state.finished(inputs, lambda note: note["weights"]) == weights:
            return
        state.begin(inputs)
        for name in files:
            (state.unfinished / name).write_text(weights)
        state.finish(inputs, files, {"weights": weights}, outdated=outdated)


def predict_old(folder):
    predict(folder, "older", ("left.csv", "right.csv", "top.csv"))


def predict_new(folder):
    predict(folder, "new", ("left.csv", "right.csv"), ("top.csv",))


def test_predictions(tmp_path):
    """The record that says what they were made from is there where they are complete."""
    folder, seen = tmp_path / "out", set()
    old = dict.fromkeys(("left.csv", "right.csv", "top.csv"), "older")
    new = dict.fromkeys(("left.csv", "right.csv"), "new")
    for step in killed_at_each_step(predict_new, predict_old, folder):
        found = visible(folder)
        record = folder / STATE_FOLDER / "walk.json"
        assert len(set(found.values())) <= 1, f"old beside new at step {step}: {found}"
        if record.exists():
            weights = "older" if '"weights": "older"' in record.read_text() else "new"
            assert found == (old if weights == "older" else new)
            seen.add(weights)
        else:
            seen.add("incomplete")
        predict_new(folder)
        assert (visible(folder), leftovers(folder)) == (new, [])
    assert seen == {"older", "new", "incomplete"}


ROWS = "epoch,step,loss\r\n0,0,9.0\r\n0,1,8.0\r\n1,2,7.5\r\n"


def train_on(folder):
    """Go on behind the second step, as a training that is resumed."""
    history.set_aside(folder / "metrics.csv", 2)
    with (folder / "metrics.csv").open("w", newline="") as file:
        file.write("epoch,step,loss\r\n1,2,7.0\r\n")
    history.join(folder / "metrics.csv")


def test_the_history_of_a_training(tmp_path):
    folder = tmp_path / "run"
    for step in killed_at_each_step(
        train_on, lambda run: (run / "metrics.csv").write_bytes(ROWS.encode()), folder
    ):
        texts = [path.read_text() for path in folder.glob("metrics*.csv")]
        for row in ("0,0,9.0\n", "0,1,8.0\n"):
            assert any(row in text for text in texts), f"lost at step {step}: {texts}"
        train_on(folder)
        assert [path.name for path in folder.iterdir()] == ["metrics.csv"]
        assert (folder / "metrics.csv").read_bytes().decode() == (
            "epoch,step,loss\r\n0,0,9.0\r\n0,1,8.0\r\n1,2,7.0\r\n"
        )


def test_files_of_a_process_that_lives_are_left_alone(tmp_path):
    with replaced_files(tmp_path) as staged:
        (staged.folder / "a.txt").write_text("a")
        child = os.fork()
        if child == 0:
            try:
                write_text(tmp_path / "b.txt", "b")
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert (staged.folder / "a.txt").exists()
    assert visible(tmp_path) == {"a.txt": "a", "b.txt": "b"}
