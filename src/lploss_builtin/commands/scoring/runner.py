"""Scoring files of predictions: reading, evaluating, summarising, writing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from omegaconf import DictConfig

from lploss.config import load_config
from lploss.errors import ArgumentValueError, DataError, PluginError
from lploss.registry import Registry, default_registry
from lploss_builtin.commands.scoring.file_scorer import FileScorer, Progress
from lploss_builtin.commands.scoring.keypoint_order import (
    check_same_keypoints,
    common_order,
    labels_in_order,
    with_indices_of,
)
from lploss_builtin.commands.scoring.loss_choice import Material, choose_losses
from lploss_builtin.commands.scoring.loss_statistics import LossStatistics
from lploss_builtin.commands.scoring.pictures import draw_pictures
from lploss_builtin.commands.scoring.score_tables import FileTables, join_tables
from lploss_builtin.commands.scoring.staged_folder import staged_folder
from lploss_builtin.commands.scoring.summary import ScoreRow, ScoreSummary, short_names
from lploss_builtin.data.dependencies import require
from lploss_builtin.data.keypoint_files import read_header, read_keypoints
from lploss_builtin.data.keypoint_table import KeypointHeader
from lploss_builtin.data.video import check_video

_Path: TypeAlias = str | PathLike[str]


def score_files(
    predictions: Sequence[_Path],
    *,
    labels: _Path | None = None,
    config: _Path | Mapping[str, object] | DictConfig | None = None,
    overrides: Sequence[str] = (),
    losses: Sequence[str] | None = None,
    out: _Path = "lploss-score",
    videos: Sequence[_Path] = (),
    keep_going: bool = False,
    pictures: bool = True,
    max_frames: int = 4096,
    registry: Registry = default_registry,
    progress: Progress | None = None,
) -> ScoreSummary:
    """Evaluate losses on each frame and keypoint of files of predictions.

    The files are read one after the other and piece by piece, in memory that grows neither with
    their number nor with their length. Values are those before epsilon is taken off. They go
    to ``scores.parquet`` and ``scores.csv`` (columns file, frame, keypoint, loss, value, valid),
    their summary to ``summary.json``, and pictures to the folder ``pictures``, all in ``out``,
    where nothing appears before everything is finished.

    Args:
        predictions: files of predictions of the same keypoints.
        labels: a file with labels of at least these keypoints, for losses that are fitted to
            labelled poses, and for those that compare predictions of labelled frames with them.
        config: a full config, or its path. Its ``data.keypoint_names`` say what its indices of
            keypoints stand for.
        overrides: ``"section.key=value"``, applied to the config last.
        losses: names of the losses, which must all run. Without: those in
            ``model.losses_to_use``; else, of those in the config's section ``losses``, else of
            all that are registered, those that can run.
        out: the folder to write to.
        videos: for the pictures: the video of each file, or one for all.
        keep_going: score the other files where one cannot be scored.
        pictures: whether to draw.
        max_frames: how many frames are held at once, at least 1.
        registry: where the losses are looked up.
        progress: called while it goes on.

    Returns:
        The summary.

    Raises:
        DataError: a file cannot be used; nothing is written, unless ``keep_going``.
        ConfigError: the config cannot be used, or a loss cannot be built.
        UnknownLossError: nobody provides a loss.
        PluginError: the code of a loss fails; nothing is written, unless ``keep_going``.
        ArgumentValueError: a file is given twice, the videos are too many or too few, a name of
            a loss is empty, or ``out`` cannot be written to.
        MissingDependencyError: a package is not installed.
    """
    files = [str(path) for path in predictions]
    _check_arguments(files, videos, losses)
    for module in ("pandas", "pyarrow", "matplotlib"):
        require(module, "score", "to score files")
    video_of = dict(zip(files, _one_each(videos, len(files)), strict=True))
    headers, failed = _headers(files, keep_going)
    for video in dict.fromkeys(videos):
        check_video(video)
    first = next(iter(headers.values()))
    full = load_config(config, overrides)
    keypoint_names = common_order(first, full)
    label_table = labels_in_order(read_keypoints(labels), keypoint_names) if labels else None
    material = Material(
        keypoint_names,
        with_indices_of(full, keypoint_names),
        label_table,
        has_confidences=all(header.has_confidences for header in headers.values()),
        has_targets=label_table is not None
        and not all(header.frames_are_numbers for header in headers.values()),
        registry=registry,
    )
    chosen, left_out = choose_losses(material, losses)
    scorer = FileScorer(
        chosen,
        keypoint_names,
        label_table if material.has_targets else None,
        max_frames,
        progress or (lambda file, num_frames: None),
    )
    names = short_names(files)
    frames_are_numbers = all(header.frames_are_numbers for header in headers.values())
    total = {loss.name: LossStatistics(loss) for loss in chosen}
    rows: list[ScoreRow] = []
    notes: list[str] = []
    parts: list[FileTables] = []
    earlier = _pictures_in(Path(out))
    with staged_folder(Path(out)) as folder:
        for number, file in enumerate(headers):
            drawn = folder / "pictures" / names[file]
            try:
                with FileTables(folder / str(number), file, chosen, frames_are_numbers) as tables:
                    scored = scorer.score(file, tables)
                if pictures:
                    draw_pictures(drawn, names[file], file, scored, keypoint_names, video_of[file])
            except (DataError, PluginError) as error:
                if not keep_going:
                    raise
                failed[file] = str(error)
                tables.discard()
                shutil.rmtree(drawn, ignore_errors=True)
                continue
            parts.append(tables)
            notes += scored.notes
            for statistics in scored.statistics:
                rows.append(statistics.row(file))
                total[statistics.loss.name].merge(statistics)
        if not parts:
            raise _cannot_be_scored(failed)
        join_tables(parts, folder)
        summary = ScoreSummary(
            rows=(*rows, *(statistics.row(None) for statistics in total.values())),
            left_out=left_out,
            failed=failed,
            notes=tuple(notes),
            out=Path(out),
            pictures=tuple(
                path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.png"))
            ),
        )
        (folder / "summary.json").write_text(summary.to_json(), encoding="utf-8")
    for picture in earlier.difference(summary.pictures):
        (Path(out) / picture).unlink(missing_ok=True)
        with suppress(OSError):  # others are in it
            (Path(out) / picture).parent.rmdir()
    return summary


def _check_arguments(
    files: Sequence[str], videos: Sequence[object], losses: Sequence[str] | None
) -> None:
    if not files:
        raise ArgumentValueError("give at least one file of predictions")
    spellings: dict[Path, str] = {}
    for file in files:
        earlier = spellings.setdefault(Path(file).resolve(), file)
        if earlier != file:
            raise ArgumentValueError(f"the file {earlier} is given twice, also as {file}")
        if files.count(file) > 1:
            raise ArgumentValueError(f"the file {file} is given twice")
    if len(videos) not in (0, 1, len(files)):
        expected = (
            "at most one video for one file"
            if len(files) == 1
            else f"one video for all {len(files)} files, or one for each"
        )
        raise ArgumentValueError(f"give {expected}; got {len(videos)}")
    if losses is not None and (not losses or "" in losses):
        raise ArgumentValueError(
            "losses must be names of losses, separated by single commas on the command line; got "
            f"{', '.join(map(repr, losses)) or 'none'}. Leave them out for what the config asks "
            "for, or all."
        )


def _pictures_in(out: Path) -> set[str]:
    """Return the pictures that an earlier scoring left there, which would be taken for new ones."""
    try:
        listed = json.loads((out / "summary.json").read_text(encoding="utf-8"))["pictures"]
        found = {path.relative_to(out).as_posix() for path in (out / "pictures").rglob("*.png")}
        return found.intersection(listed)
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _one_each(videos: Sequence[_Path], num_files: int) -> list[_Path | None]:
    if len(videos) == num_files:
        return list(videos)
    return [videos[0] if videos else None] * num_files


def _headers(
    files: Sequence[str], keep_going: bool
) -> tuple[dict[str, KeypointHeader], dict[str, str]]:
    """Return the headers of the files that can be used; and why the others cannot."""
    headers: dict[str, KeypointHeader] = {}
    failed: dict[str, str] = {}
    for file in files:
        try:
            header = read_header(file)
            if headers:
                check_same_keypoints(header, next(iter(headers.values())).keypoint_names)
        except DataError as error:
            failed[file] = str(error)
        else:
            headers[file] = header
    if failed and not (keep_going and headers):
        raise _cannot_be_scored(failed)
    return headers, failed


def _cannot_be_scored(failed: Mapping[str, str]) -> DataError:
    if len(failed) == 1:
        return DataError(next(iter(failed.values())))
    return DataError(f"{len(failed)} files cannot be scored:\n" + "\n".join(failed.values()))
