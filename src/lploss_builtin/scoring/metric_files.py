"""Metric files: the values of one loss in one view, a row per frame; and where they go."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64

from lploss.errors import ArgumentValueError
from lploss_builtin.data.cameras.view_names import side_by_side
from lploss_builtin.data.poses.table import PoseNames
from lploss_builtin.output import ReplacedFiles, replaced_files
from lploss_builtin.scoring.recording import Recording
from lploss_builtin.scoring.scored_loss import ScoredLoss
from lploss_builtin.scoring.summary import short_names, with_individual


@dataclass(frozen=True, slots=True)
class MetricTable:
    """A metric of one view, or what no view has for itself.

    Attributes:
        loss: name of the loss.
        metric: what the file is called after.
        unit: of the values.
        scale: the element-wise loss times this is the metric.
        view: the view; ``""`` where there is one without a name, and for values that belong to no
            single view: of pairs of views, of whole poses.
        columns: names of the columns.
        elements: for each column which value of the loss stands there, counted along its
            `ScoredLoss.element_names`; ``None`` where the loss has none.
    """

    loss: str
    metric: str
    unit: str
    scale: float
    view: str
    columns: tuple[str, ...]
    elements: tuple[int | None, ...]


def metric_tables(losses: Sequence[ScoredLoss], names: PoseNames) -> tuple[MetricTable, ...]:
    """Return the tables of all metrics: of each loss one for each view.

    A loss of some of the keypoints has the columns of all, as the source system does; one whose
    elements are no keypoints has their names.

    Args:
        losses: the losses; those without a metric have no table.
        names: names of the keypoints and views.
    """
    metrics = {loss.name: loss.metric for loss in losses if loss.metric is not None}
    called = metric_names({name: metric.name for name, metric in metrics.items()})
    return tuple(
        table
        for loss in losses
        if loss.metric is not None
        for table in _tables(loss, called[loss.name], loss.metric.scale, names)
    )


def metric_names(own: dict[str, str | None]) -> dict[str, str]:
    """Return what the metric of each loss is called; where two share a name, each as its loss.

    Args:
        own: for each loss the name of its metric; ``None``: that of the loss.

    Example:
        >>> metric_names({"rmse": "pixel_error", "bone_length": None})
        {'rmse': 'pixel_error', 'bone_length': 'bone_length'}
        >>> metric_names({"rmse": "pixel_error", "distance": "pixel_error"})
        {'rmse': 'rmse', 'distance': 'distance'}
    """
    called = {loss: metric or loss for loss, metric in own.items()}
    while True:
        # A loss may be called as the metric of another one: names of losses differ in the end.
        counts = Counter(called.values())
        shared = [loss for loss, name in called.items() if counts[name] > 1 and name != loss]
        if not shared:
            return called
        called |= {loss: loss for loss in shared}


def _tables(loss: ScoredLoss, called: str, scale: float, names: PoseNames) -> list[MetricTable]:
    found: dict[str, dict[str, int]] = {}
    for number, element in enumerate(loss.element_names):
        group, keypoint = names.split(element)
        is_of_view = group in names.views
        columns = found.setdefault(group if is_of_view else "", {})
        columns[keypoint if is_of_view else element] = number
    return [
        MetricTable(loss.name, called, loss.unit, scale, view, *columns)
        for view, of_view in found.items()
        for columns in [_columns(of_view, names)]
    ]


def _columns(
    numbers: dict[str, int], names: PoseNames
) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    columns = names.keypoints if set(numbers) <= set(names.keypoints) else tuple(numbers)
    return columns, tuple(map(numbers.get, columns))


_SET = "set"
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class MetricFile:
    """A metric file that was written.

    Attributes:
        written: its file until everything is finished; ``None`` where the loss has not a
            single value.
        target: where it belongs.
    """

    written: Path | None
    target: Path


def write_metric_files(
    folder: Path,
    losses: Sequence[ScoredLoss],
    names: PoseNames,
    predictions: Mapping[str, Path],
    frames: Mapping[str, Sequence[object]],
    values: Mapping[str, Float[np.ndarray, "frames _"]],
    sets: Sequence[str] | None = None,
) -> tuple[MetricFile, ...]:
    """Write the metric files of one recording.

    The first row holds an empty cell and the names of the keypoints, each other row a frame; its
    first cell is that of the predictions. What does not count is an empty cell.

    Args:
        folder: where they are written to; it is made.
        losses: the losses.
        names: names of the keypoints and views.
        predictions: for each view the file of predictions, beside which and after which its metric
            files are called; for ``""`` the one of all, if a value belongs to no single view.
        frames: for each view what the first cells hold; ``""`` stands for all others.
        values: the values of each loss.
        sets: to which part of the labels each frame belongs, for one more column.

    Returns:
        All files, those without a single value as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, table in enumerate(metric_tables(losses, names)):
        numbers = np.full((len(values[table.loss]), len(table.columns)), np.nan)
        for column, element in enumerate(table.elements):
            if element is not None:
                numbers[:, column] = values[table.loss][:, element]
        numbers *= table.scale
        path, source = folder / f"{number}.csv", predictions[table.view]
        has_value = not np.isnan(numbers).all()
        if has_value:
            rows = zip(frames.get(table.view, frames[""]), _cells(numbers), strict=True)
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(["", *table.columns, *([_SET] if sets is not None else [])])
                for row, (frame, cells) in enumerate(rows):
                    writer.writerow([frame, *cells, *([] if sets is None else [sets[row]])])
        target = source.with_name(f"{source.stem}_{table.metric}.csv")
        files.append(MetricFile(path if has_value else None, target))
    return tuple(files)


def _cells(numbers: Float64[np.ndarray, "frames columns"]) -> Iterator[list[str]]:
    """Yield rows of numbers with all digits of a float32; nothing where one does not count."""
    # One format for a row is much faster than one for each number.
    template = ",".join(["%.8g"] * numbers.shape[1])
    for start in range(0, len(numbers), _ROWS_AT_ONCE):
        for row in numbers[start : start + _ROWS_AT_ONCE].tolist():
            yield (template % tuple(row)).replace("nan", "").split(",")


def called_after(recordings: Sequence[Recording]) -> list[dict[str, Path]]:
    """Return for each recording after which files its metric files are called.

    See `write_metric_files`.

    Example:
        >>> files = {"left": "a/left_walk.csv", "right": "a/right_walk.csv"}
        >>> (found,) = called_after([Recording("walk", files, ())])
        >>> {view: path.as_posix() for view, path in found.items()}
        {'left': 'a/left_walk.csv', 'right': 'a/right_walk.csv', '': 'a/left+right_walk.csv'}
    """
    found = []
    for recording in recordings:
        files = recording.files
        if isinstance(files, Mapping):
            paths = {view: Path(file) for view, file in files.items()}
            first, names = next(iter(paths.values())), [path.name for path in paths.values()]
            found.append({**paths, "": first.with_name(Path(side_by_side(names)).name)})
        else:
            found.append({"": Path(files)})
        found[-1] = {
            view: with_individual(path, recording.individual) for view, path in found[-1].items()
        }
    # The same predictions may lie there in two formats.
    counts = Counter(path.with_suffix("") for own in found for path in own.values())
    return [
        {
            view: path
            if counts[path.with_suffix("")] == 1
            else path.with_name(f"{path.stem}_{path.suffix.removeprefix('.')}.csv")
            for view, path in own.items()
        }
        for own in found
    ]


def is_metric_file(path: Path) -> bool:
    """Return whether a file looks like one of metrics: no file of keypoints, boxes or anything.

    Its first row starts with an empty cell, and all rows after it are numbers, but for their first
    cell, and for a last column that is called ``set``.
    """
    if path.suffix.lower() != ".csv" or "_" not in path.stem or not path.is_file():
        return False
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            header, first = next(rows, []), next(rows, [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    names = header[1:]
    if len(header) < 2 or header[0] or not all(names) or len(first) != len(header):
        return False
    if names == ["x", "y", "h", "w"]:  # boxes
        return False
    numbers = first[1:-1] if names[-1] == _SET else first[1:]
    return all(_is_number_or_empty(cell) for cell in numbers)


def _is_number_or_empty(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


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
