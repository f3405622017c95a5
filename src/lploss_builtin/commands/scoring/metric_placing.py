"""Moving metric files beside the predictions, once everything is finished."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from lploss_builtin.commands.scoring.metric_files import MetricFile, is_metric_file
from lploss_builtin.commands.scoring.summary import short_names

#: Folder in that of the results, for what cannot lie beside the predictions.
ELSEWHERE = "metric_files"


class MetricPlacing:
    """Puts metric files beside the predictions when the block is left without an error.

    Until then they lie in hidden folders there, so that putting them in place is renaming. Where
    that cannot be, because the folder cannot be written to or another file is in the way, they go
    to the folder of the results. No input is ever replaced, nor anything but a metric file.

    Args:
        inputs: files that must stay.
    """

    def __init__(self, inputs: Iterable[Path]) -> None:
        self._inputs = {path.resolve() for path in inputs}
        self._hidden: dict[Path, Path | None] = {}
        self._moves: dict[Path, Path] = {}
        self._outdated: list[Path] = []

    def __enter__(self) -> MetricPlacing:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                for target, source in self._moves.items():
                    source.replace(target)
                for path in self._outdated:
                    path.unlink(missing_ok=True)
        finally:
            for hidden in self._hidden.values():
                if hidden is not None:
                    shutil.rmtree(hidden, ignore_errors=True)

    def stage(
        self, files: Sequence[MetricFile], folder: Path, out: Path
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Take the files to where they will be put in place.

        Args:
            files: all metric files of a run.
            folder: becomes the folder of the results; what cannot lie beside the predictions goes
                there, into a folder of its own.
            out: the folder of the results.

        Returns:
            Where the files will be; and notes.
        """
        names = short_names([str(file.target) for file in files])
        placed: list[str] = []
        notes: dict[str, None] = {}
        for file in files:
            why = self._in_the_way(file.target)
            if file.written is None:
                # The values of an earlier run would be taken for those of this one.
                self._outdated += [file.target] if not why and file.target.exists() else []
                continue
            why = why or self._take(file.written, file.target)
            if why:
                elsewhere = folder / ELSEWHERE / f"{names[str(file.target)]}.csv"
                elsewhere.parent.mkdir(exist_ok=True)
                shutil.move(file.written, elsewhere)
                notes[f"{why}: metric files go to {out / ELSEWHERE}"] = None
                placed.append(str(out / ELSEWHERE / elsewhere.name))
            else:
                placed.append(str(file.target))
        return tuple(placed), tuple(notes)

    def _in_the_way(self, target: Path) -> str:
        """Return why a file may not be there; nothing where it may."""
        if target.resolve() in self._inputs:
            return f"{target} is one of the files that were given"
        if target in self._moves:
            return f"{target} is the metric file of other predictions as well"
        if target.exists() and not is_metric_file(target):
            return f"{target} is in the way, and no metric file"
        return ""

    def _take(self, written: Path, target: Path) -> str:
        """Take a file beside its target; return why that cannot be."""
        parent = target.parent
        if parent not in self._hidden:
            self._hidden[parent] = None
            with suppress(OSError):
                self._hidden[parent] = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=parent))
        hidden = self._hidden[parent]
        if hidden is None:
            return f"{parent} cannot be written to"
        waiting = hidden / target.name
        try:
            shutil.copyfile(written, waiting)
        except OSError as error:
            return f"{parent} cannot be written to ({error.strerror})"
        self._moves[target] = waiting
        return ""
