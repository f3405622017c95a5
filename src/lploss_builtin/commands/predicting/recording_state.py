"""How far a recording is: finished, begun, or neither."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lploss.errors import ArgumentValueError

#: Beside the predictions, what they were made from, and those that are not finished.
STATE_FOLDER = ".lploss-predictions"

_INPUTS, _DONE = "inputs.json", "done.json"


@dataclass(frozen=True, slots=True)
class Outdated:
    """Files that would no longer fit to those beside them.

    Attributes:
        views: what they were predicted from.
        files: their names.
    """

    views: tuple[str, ...]
    files: tuple[str, ...]


class RecordingState:
    """What is known of a recording in a folder of predictions.

    ``.lploss-predictions/<recording>.json`` says what finished predictions were made from, and
    ``.lploss-predictions/<recording>.unfinished/`` holds the files of those that are not. They
    are moved to their place when all of them are complete; a process that is killed in between
    leaves what the next one needs to go on.

    Args:
        out: the folder of the predictions.
        name: of the recording.

    Attributes:
        unfinished: folder of the files that are being written.
    """

    def __init__(self, out: Path, name: str) -> None:
        self._out = out
        folder = out / STATE_FOLDER
        self._record = folder / f"{name}.json"
        self._lock = folder / f"{name}.lock"
        self.unfinished = folder / f"{name}.unfinished"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from the recording, and wait for one that is at it.

        A process that ends lets it go, however it ends.

        Raises:
            ArgumentValueError: the folder of the predictions cannot be made or written to.
        """
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._lock)
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
            yield
        finally:
            lock.release()

    def finished(self, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return what was noted with predictions that are finished, and from these very inputs.

        Returns:
            The note; ``None`` where there is none, or a file has gone or has another size.
        """
        self._move_what_is_done()
        record = _read(self._record)
        if record.get("inputs") != inputs:
            return None
        for file, size in record["files"].items():
            with suppress(OSError):
                if (self._out / file).stat().st_size == size:
                    continue
            return None
        return dict(record["note"])

    def outdated(self, files: Iterable[str]) -> Outdated | None:
        """Return what finished predictions would leave, if they were replaced by others.

        Args:
            files: names of the files that replace them.

        Returns:
            The files that would stay and no longer fit; ``None`` where there are none.
        """
        record = _read(self._record)
        kept = set(files)
        left = [
            file
            for file in record.get("files", ())
            if Path(file).name == file and file not in kept and (self._out / file).is_file()
        ]
        views = record.get("inputs", {}).get("views", ())
        return Outdated(tuple(views), tuple(left)) if left else None

    def begin(self, inputs: Mapping[str, Any], *, anew: bool = False) -> None:
        """Make the folder for the files, and empty it if it is of other inputs.

        Args:
            inputs: all that the predictions are made from.
            anew: whether to empty it in any case.
        """
        if anew or _read(self.unfinished / _INPUTS) != inputs:
            shutil.rmtree(self.unfinished, ignore_errors=True)
        self.unfinished.mkdir(exist_ok=True)
        _write(self.unfinished / _INPUTS, inputs)

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
            inputs: all that the predictions were made from.
            files: names of all files.
            note: what `finished` is to return.
            outdated: names of files that are removed then, with what was noted of them.

        Raises:
            ArgumentValueError: there is a folder where a file should go.
        """
        for file in files:
            if (self._out / file).is_dir():
                raise ArgumentValueError(
                    f"{self._out / file} is a folder, where a file is to be written. Move it away, "
                    "or name another output folder."
                )
        sizes = {file: (self.unfinished / file).stat().st_size for file in files}
        record = {"inputs": dict(inputs), "files": sizes, "note": dict(note)}
        _write(self.unfinished / _DONE, {**record, "outdated": outdated})
        self._move_what_is_done()

    def _move_what_is_done(self) -> None:
        record = _read(self.unfinished / _DONE)
        if not record:
            return
        self._record.unlink(missing_ok=True)
        for file in record["files"]:
            with suppress(FileNotFoundError):  # moved before
                (self.unfinished / file).replace(self._out / file)
        for file in record.pop("outdated", ()):
            (self._out / file).unlink(missing_ok=True)
            (self._record.parent / f"{file}.json").unlink(missing_ok=True)
        _write(self._record, record)
        shutil.rmtree(self.unfinished)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file that is never seen half."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)
