"""The state of the predictions of a recording: finished, begun, or neither."""

from __future__ import annotations

import json
import logging
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from filelock import Timeout

from lploss.errors import ArgumentValueError, DataError, first_line
from lploss.reading import check_file
from lploss_builtin.output import file_lock, finish_moves, is_inside, move_files, write_text

#: Folder beside the predictions, for their inputs and for files that are not finished.
STATE_FOLDER = ".lploss-predictions"

_INPUTS = "inputs.json"

_T = TypeVar("_T")


class RecordingState:
    """The state of a recording in a folder of predictions.

    ``.lploss-predictions/<recording>.json`` holds the inputs of finished predictions, and
    ``.lploss-predictions/<recording>.unfinished/`` the files of predictions that are not finished.
    Files are moved to their place when all of them are complete. If the process is killed, the
    next one continues from these files.

    The content of these files is checked when it is read, because the folder may come from another
    lab. Links in it are refused, and no file outside the folder of predictions is ever changed.

    Args:
        out: the folder of the predictions.
        name: name of the recording.

    Attributes:
        unfinished: folder of the files that are being written.
    """

    def __init__(self, out: Path, name: str) -> None:
        self._out = out
        self._name = name
        folder = out / STATE_FOLDER
        self._record = folder / f"{name}.json"
        self._lock = folder / f"{name}.lock"
        self.unfinished = folder / f"{name}.unfinished"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the recording, and wait while another process holds the lock.

        The lock is released when its process ends, even if it is killed.

        Raises:
            ArgumentValueError: the folder of the predictions cannot be made or written to.
            DataError: a link or another kind of file is where files should be written.
        """
        for path in (self._lock.parent, self.unfinished):
            if path.is_symlink() or (path.exists() and not path.is_dir()):
                raise self._damaged(path, "it is a link or a file, expected a folder")
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            lock = file_lock(self._lock)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                logging.getLogger(__name__).warning(
                    "%s: another process predicts it: waiting", self._record.stem
                )
                lock.acquire()
        except OSError as error:
            raise ArgumentValueError(
                f"the output folder {self._out} cannot be written to: {error.strerror or error}"
            ) from error
        try:
            for path in self.unfinished.glob("*"):
                mode = path.lstat().st_mode
                is_own_folder = stat.S_ISDIR(mode) and path.name.startswith(".")
                if not stat.S_ISREG(mode) and not is_own_folder:
                    raise self._damaged(path, "it is a link, or not a file")
            yield
        finally:
            lock.release()

    def finished(
        self, inputs: Mapping[str, Any], read_note: Callable[[Mapping[str, Any]], _T]
    ) -> _T | None:
        """Return the note of predictions that are finished and were made from the same inputs.

        Args:
            inputs: everything that the predictions depend on.
            read_note: converts the note; an error means that the note is damaged.

        Returns:
            What ``read_note`` returns; ``None`` if there are no such predictions, or if one of
            their files is missing or has another size.

        Raises:
            DataError: a file of the state is damaged.
        """
        if finish_moves(self.unfinished, self._out):
            shutil.rmtree(self.unfinished)
        record = self._read_record()
        if record is None or record["inputs"] != inputs:
            return None
        for file, size in record["files"].items():
            try:
                if (self._out / file).stat().st_size != size:
                    return None
            except OSError:
                return None
        # Left by a process that was killed after it had moved the files.
        if self._read(self.unfinished / _INPUTS) in (None, inputs):
            shutil.rmtree(self.unfinished, ignore_errors=True)
        try:
            return read_note(record["note"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._damaged(self._record, f"its note: {first_line(error)}") from error

    def outdated(self, files: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the files that would be left if finished predictions were replaced.

        Args:
            files: names of the new files.

        Returns:
            The files that would be left and no longer match, and the views that they were
            predicted from; both are empty if there are no such files.
        """
        record = self._read_record()
        if record is None:
            return (), ()
        new_files = set(files)
        left = [
            file
            for file in record["files"]
            if file not in new_files and (self._out / file).is_file()
        ]
        views = record["inputs"].get("views", ())
        return (tuple(left), tuple(map(str, views))) if left else ((), ())

    def begin(self, inputs: Mapping[str, Any], *, anew: bool = False) -> None:
        """Create the folder for the files, or empty it if it belongs to other inputs.

        Args:
            inputs: everything that the predictions depend on.
            anew: whether to empty it in any case.
        """
        content = dict(inputs)
        if anew or self._read(self.unfinished / _INPUTS) != content:
            shutil.rmtree(self.unfinished, ignore_errors=True)
        self.unfinished.mkdir(exist_ok=True)
        write_text(self.unfinished / _INPUTS, _json(content))

    def finish(
        self,
        inputs: Mapping[str, Any],
        files: tuple[str, ...],
        note: Mapping[str, Any],
        *,
        outdated: tuple[str, ...] = (),
    ) -> None:
        """Move the files to their place.

        Args:
            inputs: everything that the predictions depend on.
            files: names of all files.
            note: what `finished` passes to ``read_note``.
            outdated: names of files that are removed, together with their records.

        Raises:
            ArgumentValueError: there is a folder where a file should go, or a file cannot be
                replaced.
        """
        sizes = {file: (self.unfinished / file).stat().st_size for file in files}
        # The record means that the files are complete, so it appears last.
        record = f"{STATE_FOLDER}/{self._record.name}"
        (self.unfinished / STATE_FOLDER).mkdir(exist_ok=True)
        content = {"inputs": dict(inputs), "files": sizes, "note": dict(note)}
        write_text(self.unfinished / record, _json(content))
        records = [f"{STATE_FOLDER}/{file}.json" for file in outdated]
        move_files(self.unfinished, self._out, [*files, record], [*outdated, *records])
        shutil.rmtree(self.unfinished)

    def _read_record(self) -> dict[str, Any] | None:
        record = self._read(self._record)
        if record is None:
            return None
        inputs, files, note = (record.get(name) for name in ("inputs", "files", "note"))
        if not (isinstance(inputs, dict) and isinstance(files, dict) and isinstance(note, dict)):
            raise self._damaged(self._record, "it needs the mappings inputs, files and note")
        if not isinstance(inputs.get("views", []), list):
            raise self._damaged(self._record, "its views are not a list")
        for file in files:
            if not is_inside(file) or Path(file).name != file:
                raise self._damaged(
                    self._record, f"{file!r} is not the name of a file in the same folder"
                )
        return record

    def _read(self, path: Path) -> dict[str, Any] | None:
        if not path.exists():
            return None
        try:
            check_file(path)
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, DataError, ValueError, RecursionError) as error:
            raise self._damaged(path, first_line(error)) from error
        if not isinstance(content, dict):
            raise self._damaged(path, "it does not hold a mapping")
        return content

    def _damaged(self, path: Path, why: str) -> DataError:
        return DataError(
            f"{path}, which belongs to the predictions of {self._name}, cannot be used: {why}. "
            "Delete it to predict the recording again, or name another output folder."
        )


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
