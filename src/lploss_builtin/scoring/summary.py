"""The summary of a scoring: for JSON, as tables for the terminal, and a progress bar."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lploss.terminal import console, printable, text
from lploss_builtin.progress import terminal_bar
from lploss_builtin.scoring.recording import Progress

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


# In a table on the screen: what the other columns take, and what names of files are left at least.
_WIDTH_OF_REST, _SHORTEST_NAME = 62, 12


@dataclass(frozen=True, slots=True)
class WorstEntry:
    """A frame with a great value: where it is, and whose value it is."""

    file: str
    frame: int | str
    keypoint: str
    value: float


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """What one loss says of one file, or of all files.

    Attributes:
        file: the file, as it was given; ``None`` for all files.
        loss: name of the loss.
        unit: of its values.
        count: number of values.
        valid: number of values that count.
        median: of the valid values, in that unit, as are the next ones.
        percentile_95: 95 % of the valid values are at most this.
        percentile_99: 99 % of the valid values are at most this.
        maximum: the greatest valid value.
        epsilon: values up to this cost nothing in training; one number, or one a keypoint.
        share_above_epsilon: share of the valid values that are greater than epsilon, 0 to 1.
        worst_frames: the frames with the greatest values, the greatest first.
    """

    file: str | None
    loss: str
    unit: str
    count: int
    valid: int
    median: float
    percentile_95: float
    percentile_99: float
    maximum: float
    epsilon: float | tuple[float, ...]
    share_above_epsilon: float
    worst_frames: tuple[WorstEntry, ...]


@dataclass(frozen=True, slots=True)
class ViewRow:
    """How far the keypoints of one calibrated view lie from what the views say together.

    Attributes:
        view: the view.
        valid: how many keypoints of it all views put somewhere; of these are the medians, px.
        reprojection: from where all views put them, weighted by their confidences.
        left_one_out: from where all other views put them; NaN where there is only one other.
        in_pairs: from where this view and one other put them, for each other view.
    """

    view: str
    valid: int
    reprojection: float
    left_one_out: float
    in_pairs: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """What a scoring has found.

    Attributes:
        rows: one for each loss and file, and one for each loss over all files.
        left_out: for each loss that could have been scored and was not, why.
        failed: for each file that could not be scored, why.
        notes: what else to know, for example why a loss has no valid value in a file.
        out: the folder with tables and pictures.
        pictures: the pictures, relative to ``out``.
        views: one row for each calibrated view, where there are some.
        metric_files: the metric files that were written.
    """

    rows: tuple[ScoreRow, ...]
    left_out: Mapping[str, str]
    failed: Mapping[str, str]
    notes: tuple[str, ...]
    out: Path
    pictures: tuple[str, ...] = field(default=())
    views: tuple[ViewRow, ...] = field(default=())
    metric_files: tuple[str, ...] = field(default=())

    @property
    def losses(self) -> list[str]:
        """Names of the losses that were scored."""
        return list(dict.fromkeys(row.loss for row in self.rows))

    def row(self, loss: str, file: str | None = None) -> ScoreRow:
        """Return the row of a loss and a file, or of a loss and all files.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if (row.loss, row.file) == (loss, file):
                return row
        raise KeyError(f"there is no row of loss {loss!r} and file {file!r}")

    def to_json(self) -> str:
        """Return the summary as JSON; what is not finite is null."""
        content = {
            "rows": [asdict(row) for row in self.rows],
            "views": [asdict(row) for row in self.views],
            "left_out": dict(self.left_out),
            "failed": dict(self.failed),
            "notes": list(self.notes),
            "out": str(self.out),
            "pictures": list(self.pictures),
            "metric_files": list(self.metric_files),
        }
        return printable(json.dumps(_finite(content), indent=2, ensure_ascii=False)) + "\n"

    def renderables(self, width: int = 80) -> Iterator[RenderableType]:
        """Yield one table for each loss, and what else is to be said, for a rich console.

        Args:
            width: of the console; long names of files are cut to leave room for the rest.
        """
        for loss in self.losses:
            yield self._table([row for row in self.rows if row.loss == loss], width)
        if self.views:
            yield self._table_of_views()
        for name, why in self.left_out.items():
            yield text(f"left out: {name}: {why}", "dim")
        for note in self.notes:
            yield text(f"note: {note}", "yellow")
        for name, why in self.failed.items():
            yield text(f"not scored: {why if name in why else f'{name}: {why}'}", "bold red")

    def _table(self, rows: Sequence[ScoreRow], width: int) -> RenderableType:
        epsilon = rows[0].epsilon
        shown = f"{epsilon:.4g} {rows[0].unit}" if isinstance(epsilon, float) else "one a keypoint"
        table = _new_table(rows[0].loss, f"epsilon {shown.rstrip()}")
        longest = max(_SHORTEST_NAME, width - _WIDTH_OF_REST)
        table.add_column("file", overflow="ellipsis", no_wrap=True, max_width=longest)
        for heading in ("valid", "median", "95 %", "99 %", "max", "> eps"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("worst frame", overflow="fold")
        labels = short_names([row.file for row in rows if row.file is not None])
        for row in rows:
            if row.file is None and len(rows) == 2:
                continue  # all files are the one above
            worst = row.worst_frames[0] if row.worst_frames else None
            table.add_row(
                text("all files" if row.file is None else labels[row.file]),
                _share(row.valid / row.count if row.count else math.nan),
                *map(_number, (row.median, row.percentile_95, row.percentile_99, row.maximum)),
                # Above an epsilon of 0 is almost every value, which says nothing.
                "-" if row.epsilon == 0 else _share(row.share_above_epsilon),
                text(f"{worst.frame} {worst.keypoint}" if worst else ""),
                style="bold" if row.file is None else "",
            )
        return table

    def _table_of_views(self) -> RenderableType:
        table = _new_table("views", "median px from where these views put a keypoint")
        table.add_column("view")
        for heading in ("valid", "all", "all others"):
            table.add_column(heading, justify="right", min_width=max(map(len, heading.split())))
        for row in self.views:
            table.add_column(text(f"with {row.view}"), justify="right")
        for row in self.views:
            errors = [row.in_pairs.get(other.view, math.nan) for other in self.views]
            table.add_row(
                text(row.view),
                str(row.valid),
                *map(_number, (row.reprojection, row.left_one_out, *errors)),
            )
        return table


def _new_table(title: str, rest: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    return Table(
        title=Text.assemble((printable(title), "bold"), "  ", printable(rest)),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="",
        pad_edge=False,
        padding=(0, 1),
    )


def short_names(files: Sequence[str]) -> dict[str, str]:
    """Return for each file the shortest end of its path, without suffix, that names it alone.

    Example:
        >>> short_names(["a/rat.csv", "b/rat.csv", "b/mouse.csv[m1]"])
        {'a/rat.csv': 'a_rat', 'b/rat.csv': 'b_rat', 'b/mouse.csv[m1]': 'mouse_m1'}
    """
    parts = {file: Path(_of_individual(file)).with_suffix("").parts for file in files}
    depth = dict.fromkeys(files, 1)

    def name(file: str) -> str:
        return "_".join(parts[file][-depth[file] :]).replace("/", "").replace(":", "")

    while True:
        names = [name(file) for file in files]
        doubled = [
            file for file in files if names.count(name(file)) > 1 and depth[file] < len(parts[file])
        ]
        if not doubled:
            break
        for file in doubled:
            depth[file] += 1
    return {
        file: name(file) if names.count(name(file)) == 1 else f"{name(file)}_{number}"
        for number, file in enumerate(files)
    }


def with_individual(path: Path, individual: str) -> Path:
    """Return the path of a file that is called after one individual of those in a file."""
    if not individual:
        return path
    cleaned = re.sub(r"[^\w.+-]", "_", individual)
    return path.with_name(f"{path.stem}_{cleaned}{path.suffix}")


def _of_individual(file: str) -> str:
    """Return a file of several individuals, with one in brackets, as `with_individual` does."""
    match = re.fullmatch(r"(.*\.\w+)\[(.*)\]", file)
    return str(with_individual(Path(match[1]), match[2])) if match else file


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _share(value: float) -> str:
    """Return a share in percent; what is not quite none or all does not look like it."""
    if math.isnan(value):
        return "-"
    percent = 100 * value
    if 0 < percent < 0.1:
        return "<0.1 %"
    if 99.9 < percent < 100:
        return ">99.9 %"
    return f"{percent:.3g} %"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def show(summary: ScoreSummary) -> None:
    """Print a summary as tables, and where the files are."""
    printer = console()
    for part in summary.renderables(printer.width):
        printer.print(part)
    files = f"scores.parquet, scores.csv, summary.json, pictures ({len(summary.pictures)})"
    files += f"; metric files ({len(summary.metric_files)})" if summary.metric_files else ""
    printer.print(text(f"{summary.out}: {files}", "green"), soft_wrap=True)


@contextmanager
def progress_bar(num_files: int) -> Iterator[Progress]:
    """Show on the terminal's error stream how far a scoring is; nothing where that is no terminal.

    Args:
        num_files: how many files, or recordings of several views, are scored.

    Yields:
        What to call while it goes on.
    """
    from rich.progress import TimeElapsedColumn

    with terminal_bar(console(stderr=True), TimeElapsedColumn()) as bar:
        task = bar.add_task("", total=num_files)
        begun: list[str] = []

        def progress(file: str, num_frames: int) -> None:
            if file not in begun:
                begun.append(file)
            description = f"{Path(file).name}: {num_frames} frames"
            total = max(num_files, len(begun))
            bar.update(task, completed=len(begun) - 1, total=total, description=description)

        yield progress
