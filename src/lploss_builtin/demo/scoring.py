"""The command ``lploss demo score``: what scoring finds in the tracks of an animal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from lploss import load_loss
from lploss.errors import ArgumentValueError
from lploss.terminal import console, text
from lploss_builtin.demo.faulty_tracks import (
    FRAMES_A_FAULT_OF_EACH_KIND,
    IMPOSSIBLE,
    Fault,
    make_demo_project,
)
from lploss_builtin.dependencies import require
from lploss_builtin.output import replaced_files
from lploss_builtin.scoring import ScoreOptions, ScoreSummary, score_files
from lploss_builtin.scoring.summary import progress_bar, show

if TYPE_CHECKING:
    from rich.table import Table


def scoring_demo(out: Path, num_frames: int, seed: int) -> None:
    """Make the tracks of a walking animal, score them, and leave tables and pictures.

    The tracks hold faults, and the demo says how many of them each loss finds.

    Args:
        out: folder for the project that is made.
        num_frames: frames in each prediction file.
        seed: of all that is random.

    Raises:
        ArgumentValueError: there are too few frames for a fault of each kind.
    """
    if num_frames < FRAMES_A_FAULT_OF_EACH_KIND:
        raise ArgumentValueError(
            f"the demo needs at least {FRAMES_A_FAULT_OF_EACH_KIND} frames for a fault of each "
            f"kind, got {num_frames}"
        )
    with replaced_files(out, last="config.yaml") as staged:
        faults = make_demo_project(staged.folder, num_frames, seed)
    labels, config = out / "CollectedData.csv", out / "config.yaml"
    files = [out / "predictions" / name for name in faults]
    with progress_bar(len(files)) as progress:
        options = ScoreOptions(labels=labels, config=config, out=out / "scores")
        summary = score_files(files, options, progress=progress)
    show(summary)
    flagged = flagged_frames(summary, files, num_frames)
    previous = {loss: load_loss(loss).num_previous_frames for loss in flagged}
    any_loss = [np.logical_or.reduce(flags) for flags in zip(*flagged.values(), strict=True)]
    findings = compare(
        [*faults.values()],
        {**flagged, "any of them": any_loss},
        {**previous, "any of them": max(previous.values())},
    )
    printer = console()
    printer.print(
        text(
            f"Of {num_frames * len(files)} frames, {findings[0].faulty['all']} hold a keypoint "
            f"that was put {IMPOSSIBLE:g} px or more away from the animal ({out}/faults.csv). "
            "Frames with a value above epsilon are flagged: rightly where the loss looks at such a "
            "frame. Of the faulty frames, so many are flagged:"
        )
    )
    printer.print(_table(findings))
    printer.print("The same again, or with other losses and arguments:")
    command = (
        f"lploss score {out}/predictions/*.csv --labels {labels} --config {config} "
        f"--out {summary.out}"
    )
    printer.print(text(command, "bold"), soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Findings:
    """How the frames above epsilon compare with those that hold a fault.

    Attributes:
        loss: name of the loss.
        flagged: frames with a value above epsilon.
        flagged_rightly: of these, frames where the loss looks at a fault.
        faulty: for each kind of fault, and under ``all`` for any, the frames that hold one.
        found: of these, the frames that are flagged.
    """

    loss: str
    flagged: int
    flagged_rightly: int
    faulty: Mapping[str, int]
    found: Mapping[str, int]


def compare(
    faults: Sequence[Sequence[Fault]],
    flagged: Mapping[str, Sequence[Bool[np.ndarray, "_"]]],
    num_previous_frames: Mapping[str, int],
) -> list[Findings]:
    """Compare the frames above epsilon with the faults, file by file.

    Args:
        faults: the faults in each file.
        flagged: for each loss and file, which frames have a value above epsilon.
        num_previous_frames: for each loss, how many frames before its own a value looks at: a
            step away from a fault is flagged rightly.

    Example:
        >>> jump = Fault("jump", 1, "nose", 50.0)
        >>> flags = np.array([False, True, True, True])
        >>> found = compare([[jump]], {"temporal": [flags]}, {"temporal": 1})[0]
        >>> found.flagged, found.flagged_rightly, found.found
        (3, 2, {'jump': 1, 'all': 1})
    """
    kinds = [*dict.fromkeys(fault.kind for found in faults for fault in found)]
    findings = []
    for loss, flags_of_files in flagged.items():
        faulty, found = dict.fromkeys([*kinds, "all"], 0), dict.fromkeys([*kinds, "all"], 0)
        rightly = 0
        for of_file, flags in zip(faults, flags_of_files, strict=True):
            at = {kind: np.zeros(len(flags), dtype=bool) for kind in faulty}
            for fault in of_file:
                at[fault.kind][fault.frame] = at["all"][fault.frame] = True
            for kind, frames in at.items():
                faulty[kind] += int(frames.sum())
                found[kind] += int((frames & flags).sum())
            looked_at = at["all"].copy()
            for before in range(1, num_previous_frames[loss] + 1):
                looked_at[before:] |= at["all"][:-before]
            rightly += int((looked_at & flags).sum())
        total = sum(int(flags.sum()) for flags in flags_of_files)
        findings.append(Findings(loss, total, rightly, faulty, found))
    return findings


def flagged_frames(
    summary: ScoreSummary, files: Sequence[Path], num_frames: int
) -> dict[str, list[Bool[np.ndarray, "frames"]]]:
    """Return, for each loss and file of frames 0, 1, 2, ..., which have a value above epsilon."""
    pandas = require("pandas", "score", "to read the scores")
    scores = pandas.read_parquet(summary.out / "scores.parquet")
    flagged: dict[str, list[Bool[np.ndarray, "frames"]]] = {}
    for loss in summary.losses:
        above = scores[(scores["loss"] == loss) & (scores["value"] > summary.row(loss).epsilon)]
        flagged[loss] = [
            np.isin(np.arange(num_frames), above.loc[above["file"] == str(file), "frame"])
            for file in files
        ]
    return flagged


def _table(findings: Sequence[Findings]) -> Table:
    from rich import box
    from rich.table import Table

    kinds = [kind for kind in findings[0].faulty if kind != "all"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("loss", no_wrap=True)
    for heading in ("flagged", "precision", *kinds, "all faults", "recall"):
        table.add_column(heading, justify="right")
    for found in findings:
        table.add_row(
            found.loss,
            str(found.flagged),
            _percent(found.flagged_rightly, found.flagged),
            *(f"{found.found[kind]}/{found.faulty[kind]}" for kind in (*kinds, "all")),
            _percent(found.found["all"], found.faulty["all"]),
        )
    return table


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"
