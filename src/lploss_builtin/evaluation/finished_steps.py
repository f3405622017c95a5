"""The steps of an evaluation that are finished."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lploss_builtin.output import write_text

_RECORD = ".lploss-evaluation.json"


class FinishedSteps:
    """Records which steps are finished, so that the next evaluation does only the others.

    Args:
        folder: of the training; the record is ``.lploss-evaluation.json`` in it.
        inputs: everything that each step depends on, as JSON values. Steps from other inputs do
            not count as finished.
        overwrite: whether to repeat finished steps: then no step counts as finished.

    Attributes:
        kept: the steps that `finished` returned a note for.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     FinishedSteps(Path(folder), {"weights": "a"}).finish("videos", [], 3)
        ...     again = FinishedSteps(Path(folder), {"weights": "a"})
        ...     (again.finished("videos"), again.finished("images"))
        (3, None)
    """

    def __init__(self, folder: Path, inputs: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self._folder, self._path = folder, folder / _RECORD
        self._inputs = _as_json(inputs)
        record = {} if overwrite else _read(self._path)
        fits = record.get("inputs") == self._inputs and isinstance(record.get("steps"), dict)
        self._steps: dict[str, Any] = record["steps"] if fits else {}
        self.kept: list[str] = []

    def finished(self, step: str, sources: Sequence[Any] = ()) -> Any:
        """Return the note of a finished step.

        Args:
            step: its name.
            sources: what it depends on besides the inputs, as JSON values.

        Returns:
            The note; ``None`` if the step is not finished or is from other sources, or if one of
            its files is gone or has another size.
        """
        try:
            record = self._steps[step]
            sizes = [(self._folder / file).stat().st_size for file in record["files"]]
            # As text, for NaN is not equal to NaN.
            same = json.dumps(record["sources"]) == json.dumps(_as_json(sources))
            if not same or sizes != list(record["files"].values()):
                return None
            note = record["note"]
        except (OSError, KeyError, TypeError, AttributeError, ValueError):
            return None
        self.kept.append(step)
        return note

    def files(self, step: str) -> tuple[Path, ...]:
        """Return the files of a step that is finished."""
        return tuple(self._folder / file for file in self._steps[step]["files"])

    def finish(
        self, step: str, files: Iterable[Path], note: Any, sources: Sequence[Any] = ()
    ) -> None:
        """Record that a step is finished.

        Args:
            step: its name.
            files: the files that it has written.
            note: returned by `finished`, as JSON values; not ``None``.
            sources: what it depends on besides the inputs.
        """
        sizes = {
            str(file.relative_to(self._folder) if file.is_relative_to(self._folder) else file): (
                file.stat().st_size
            )
            for file in files
        }
        self._steps[step] = _as_json({"sources": sources, "files": sizes, "note": note})
        write_text(self._path, json.dumps({"inputs": self._inputs, "steps": self._steps}) + "\n")


def stamps(files: Iterable[Path]) -> list[Any]:
    """Return name, size and modification time of each file; only the name if it does not exist."""
    stamped = []
    for file in files:
        try:
            status = file.stat()
            stamped.append([str(file), status.st_size, status.st_mtime_ns])
        except OSError:
            stamped.append([str(file)])
    return stamped


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
