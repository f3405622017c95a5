"""Where metric files go: into the output folder, or beside the predictions."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from lploss.errors import ArgumentValueError
from lploss_builtin.output import ReplacedFiles, replaced_files
from lploss_builtin.scoring.metric_files import MetricFile, is_metric_file
from lploss_builtin.scoring.summary import short_names

#: Folder of the metric files in the output folder.
METRIC_FOLDER = "metric_files"


def place_in_folder(files: Sequence[MetricFile], staged: ReplacedFiles, out: Path) -> list[str]:
    """Move metric files into the folder ``metric_files`` of the staged files.

    Args:
        files: all metric files of a run.
        staged: the files that will be moved to ``out``.
        out: the output folder.

    Returns:
        Where the files will be.
    """
    names = short_names([str(file.target) for file in files])
    placed = []
    for file in files:
        if file.written is not None:
            name = f"{names[str(file.target)]}.csv"
            (staged.folder / METRIC_FOLDER).mkdir(exist_ok=True)
            shutil.move(file.written, staged.folder / METRIC_FOLDER / name)
            placed.append(str(out / METRIC_FOLDER / name))
    return placed


def place_beside(
    files: Sequence[MetricFile],
    staged: ReplacedFiles,
    out: Path,
    stack: ExitStack,
    inputs: Iterable[Path] = (),
) -> tuple[list[str], list[str]]:
    """Put metric files beside the predictions, where they appear when ``stack`` is closed.

    If the folder of the predictions cannot be written to, or another file is in the way, a metric
    file goes to the output folder instead. Only metric files are replaced, and never an input.
    Metric files of earlier runs are removed if this run has no values for them.

    Args:
        files: all metric files of a run.
        staged: the files that will be moved to ``out``.
        out: the output folder.
        stack: closes the folders into which the files are written.
        inputs: files that must stay.

    Returns:
        Where the files will be; and notes.
    """
    protected = {path.resolve() for path in inputs}
    folders: dict[Path, ReplacedFiles | str] = {out: staged}
    placed: dict[Path, None] = {}
    elsewhere: list[MetricFile] = []
    notes: dict[str, None] = {}
    for file in files:
        target = file.target
        why = ""
        if target.resolve() in protected:
            why = f"{target} is one of the files that were given"
        elif target in placed:
            why = f"{target} is the metric file of other predictions as well"
        elif target.exists() and not is_metric_file(target):
            why = f"{target} is in the way, and no metric file"
        elif target.parent not in folders:
            try:
                folders[target.parent] = stack.enter_context(replaced_files(target.parent))
            except ArgumentValueError:
                folders[target.parent] = f"{target.parent} cannot be written to"
        folder = folders.get(target.parent, why)
        if file.written is None:
            # Values of an earlier run would look like those of this one.
            if not why and isinstance(folder, ReplacedFiles):
                folder.outdated.add(target.name)
            continue
        if not why and isinstance(folder, ReplacedFiles):
            try:
                shutil.copyfile(file.written, folder.folder / target.name)
            except OSError as error:
                why = f"{target.parent} cannot be written to ({error.strerror})"
        else:
            why = why or str(folder)
        if why:
            elsewhere.append(file)
            notes[f"{why}: metric files go to {out / METRIC_FOLDER}"] = None
        else:
            placed[target] = None
    return [*map(str, placed), *place_in_folder(elsewhere, staged, out)], list(notes)
