"""What was predicted: for JSON, and as a table for the screen."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

# A camera that failed may have lost thousands of images.
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class PredictedRecording:
    """What was predicted of one recording.

    Attributes:
        name: what it is called.
        views: its views; one without a name is empty.
        num_frames: how many frames it has.
        likelihood: mean over frames, views and keypoints, 0 to 1.
        reprojection_error: mean over frames and keypoints of how far the views lie from the
            point in space, px; NaN where no cameras are known.
        files: names of the files that were written.
    """

    name: str
    views: tuple[str, ...]
    num_frames: int
    likelihood: float
    reprojection_error: float
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PredictionSummary:
    """What was predicted.

    Attributes:
        recordings: one entry each.
        unreadable: what is wrong with images that are missing or could not be read, whose rows
            are empty.
        notes: what else to know.
        out: the folder with the files.
    """

    recordings: tuple[PredictedRecording, ...]
    unreadable: tuple[str, ...]
    notes: tuple[str, ...]
    out: Path

    def to_json(self) -> str:
        """Return the summary as JSON; what is not finite is null."""
        recordings = [
            {name: _finite(value) for name, value in asdict(recording).items()}
            for recording in self.recordings
        ]
        content = {
            "recordings": recordings,
            "unreadable": list(self.unreadable),
            "notes": list(self.notes),
            "out": str(self.out),
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    def renderables(self) -> Iterator[RenderableType]:
        """Yield a table of the recordings, and what else is to be said, for a rich console."""
        from rich.table import Table
        from rich.text import Text

        table = Table("recording", "views")
        for title in ("frames", "mean likelihood", "mean reprojection error, px"):
            table.add_column(title, justify="right")
        for own in self.recordings:
            error = "" if math.isnan(own.reprojection_error) else f"{own.reprojection_error:.2f}"
            numbers = (str(own.num_frames), f"{own.likelihood:.3f}", error)
            table.add_row(Text(own.name), Text(", ".join(filter(None, own.views))), *numbers)
        yield table
        for reason in self.unreadable[:_SHOWN]:
            yield Text(f"not predicted: {reason}", style="red")
        if len(self.unreadable) > _SHOWN:
            more = f"not predicted: {len(self.unreadable) - _SHOWN} more, which --json names"
            yield Text(more, style="red")
        for note in self.notes:
            yield Text(note, style="yellow")
        num_files = sum(len(own.files) for own in self.recordings)
        yield Text(f"{self.out}: {num_files} files", style="green")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
