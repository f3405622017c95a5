"""What was predicted: for JSON, and as a table for the screen."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, get_args

from torch import Tensor

from lploss.terminal import printable, text

if TYPE_CHECKING:
    from rich.console import RenderableType


class MeanValue:
    """The mean of all values that are numbers; NaN where there is none.

    Example:
        >>> import torch
        >>> mean = MeanValue()
        >>> mean.add(torch.tensor([1.0, float("nan")]))
        >>> mean.add(torch.tensor([3.0]))
        >>> mean.value
        2.0
    """

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, values: Tensor) -> None:
        """Count in the values that are numbers."""
        self._sum += values.nansum().item()
        self._count += int((~values.isnan()).sum())

    @property
    def value(self) -> float:
        """The mean of what was added."""
        return self._sum / self._count if self._count else math.nan


_Item = TypeVar("_Item")

#: What whoever predicts waits for: frames that are decoded, the model, or files.
Part: TypeAlias = Literal["decoding", "model", "writing"]

PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(slots=True)
class Stopwatch:
    """Adds up how long the parts of a prediction took, by the clock on the wall.

    Frames are decoded in the background: of that, only the time counts in which nothing else
    could be done.

    Attributes:
        seconds: how long each part took.

    Example:
        >>> stopwatch = Stopwatch()
        >>> with stopwatch.measure("model"):
        ...     time.sleep(0.01)
        >>> stopwatch.seconds["model"] >= 0.01, stopwatch.seconds["writing"]
        (True, 0.0)
    """

    seconds: dict[Part, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))

    @contextmanager
    def measure(self, part: Part) -> Iterator[None]:
        """Count the time of a block, one that fails included."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - start

    def waiting(self, part: Part, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yield the items, and count the time that each of them is waited for."""
        iterator = iter(items)
        while True:
            with self.measure(part):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item


# A camera that failed may have lost thousands of images.
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class PredictedRecording:
    """What was predicted of one recording.

    Attributes:
        name: what it is called.
        views: its views; one without a name is empty.
        num_frames: how many frames it has.
        likelihood: mean over frames, views and keypoints, 0 to 1; NaN where the model cannot tell.
        reprojection_error: mean over frames and keypoints of how far the views lie from the
            point in space, px; NaN where no cameras are known.
        files: names of the files that were written.
        unreadable: what could not be read of it, whose rows are empty.
        num_kept_frames: how many frames had been predicted before, by an earlier call.
        seconds: how long it was waited for frames, for the model and for files.
        drawing_seconds: how long it took to draw labelled videos.
        drawn_share: of the keypoints, which share is likely enough to be drawn into labelled
            videos, 0 to 1; NaN where none were asked for.
        decoder: what decoded videos: ``"cpu"``; ``"cuda"``: NVIDIA's decoder, as far as that can
            decode them. ``None``: they are images.
    """

    name: str
    views: tuple[str, ...]
    num_frames: int
    likelihood: float
    reprojection_error: float
    files: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    num_kept_frames: int = 0
    seconds: Mapping[Part, float] = field(default_factory=dict)
    drawing_seconds: float = 0.0
    drawn_share: float = math.nan
    decoder: str | None = None

    @property
    def frames_per_second(self) -> float:
        """How many frames were predicted in a second; NaN where none was."""
        total, num_new = sum(self.seconds.values()), self.num_frames - self.num_kept_frames
        return num_new / total if total and num_new else math.nan

    @property
    def shares(self) -> dict[Part, float]:
        """Which share of the time each part took, 0 to 1; nothing where no frame was predicted."""
        total = sum(self.seconds.values())
        if math.isnan(self.frames_per_second):
            return {}
        return {part: own / total for part, own in self.seconds.items()}


@dataclass(frozen=True, slots=True)
class PredictionSummary:
    """What was predicted.

    Attributes:
        recordings: one entry each.
        unreadable: what is wrong with images and frames that are missing or could not be read,
            whose rows are empty.
        notes: what else to know.
        out: the folder with the files.
        failed: what could not be predicted at all, and why, a line each.
    """

    recordings: tuple[PredictedRecording, ...]
    unreadable: tuple[str, ...]
    notes: tuple[str, ...]
    out: Path
    failed: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the summary as JSON; what is not finite is null."""
        content = {
            "recordings": [_as_json(recording) for recording in self.recordings],
            "failed": list(self.failed),
            "unreadable": list(self.unreadable),
            "notes": list(self.notes),
            "out": str(self.out),
        }
        return printable(json.dumps(content, indent=2, ensure_ascii=False)) + "\n"

    def renderables(self) -> Iterator[RenderableType]:
        """Yield tables of the recordings, and what else is to be said, for a rich console."""
        from rich.table import Table

        table = Table("recording", "views")
        for title in ("frames", "mean likelihood", "mean reprojection error, px"):
            table.add_column(title, justify="right")
        for own in self.recordings:
            numbers = (_number(own.likelihood, 3), _number(own.reprojection_error, 2))
            names = text(own.name), text(", ".join(filter(None, own.views)))
            table.add_row(*names, str(own.num_frames), *numbers)
        yield table
        if any(own.shares for own in self.recordings):
            yield self._times()
        lines = [f"failed: {reason}" for reason in self.failed]
        lines += [f"not predicted: {reason}" for reason in self.unreadable[:_SHOWN]]
        if len(self.unreadable) > _SHOWN:
            lines.append(f"not predicted: {len(self.unreadable) - _SHOWN} more, which --json names")
        for line in lines:
            yield text(line, "red")
        for note in self.notes:
            yield text(note, "yellow")
        num_files = sum(len(own.files) for own in self.recordings)
        yield text(f"{self.out}: {num_files} files", "green")

    def _times(self) -> RenderableType:
        """Return a table of what the time of each recording was spent on."""
        from rich.table import Table

        table = Table("recording")
        for title in ("predicted now", "frames/s", "decoding", "model", "writing"):
            table.add_column(title, justify="right")
        for own in self.recordings:
            cells = [str(own.num_frames - own.num_kept_frames), _number(own.frames_per_second, 1)]
            cells += [f"{own.shares[part]:.0%}" if own.shares else "" for part in PARTS]
            table.add_row(text(own.name), *cells)
        return table


def _as_json(recording: PredictedRecording) -> dict[str, Any]:
    content = asdict(recording)
    del content["seconds"], content["unreadable"]
    content["frames_per_second"] = recording.frames_per_second
    content["shares_of_time"] = recording.shares
    return {name: _finite(value) for name, value in content.items()}


def _number(value: float, num_decimals: int) -> str:
    return f"{value:.{num_decimals}f}" if math.isfinite(value) else ""


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
