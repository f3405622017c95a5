"""The command ``lploss score``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lploss.terminal import echo
from lploss_builtin.scoring import ScoreOptions, score_files
from lploss_builtin.scoring.summary import progress_bar, show


def score(
    predictions: Annotated[
        list[Path],
        typer.Argument(metavar="PREDICTIONS...", help="Files: .csv, .h5, .parquet, .slp."),
    ],
    calibration: Annotated[
        Path | None,
        typer.Option(help="Calibrated cameras; the files are their views of one recording."),
    ] = None,
    views: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,...",
            help="The camera of each file, where the names of the files do not tell.",
        ),
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            help="Label file; losses that know plausible poses are fitted to it. Once a view."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Config, for the losses and their arguments.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A value of the config, e.g. losses.temporal.epsilon=20; may be repeated.",
        ),
    ] = None,
    losses: Annotated[
        str | None,
        typer.Option(help="Losses, separated by commas; what the config asks for, or all."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for tables, summary and pictures.")] = Path(
        "lploss-score"
    ),
    video: Annotated[
        list[Path] | None,
        typer.Option(help="The video for all files, or one for each, in their order; once a view."),
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Whether to draw.")] = True,
    metric_files: Annotated[
        bool,
        typer.Option(
            "--metric-files/--no-metric-files",
            help="Whether to write a file for each loss and file of predictions.",
        ),
    ] = True,
    beside: Annotated[
        bool,
        typer.Option(
            "--beside", help="Write metric files beside the predictions, not into the --out folder."
        ),
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Score the other files where one cannot be.")
    ] = False,
    processes: Annotated[
        int, typer.Option(min=1, metavar="N", help="Score so many files at once, in processes.")
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Score on the Dask cluster of this scheduler."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON instead of tables.")
    ] = False,
) -> None:
    """Score the frames of prediction files, and show the impossible ones.

    With --calibration the files are the views of one recording, scored together.

    Writes scores.parquet, scores.csv, summary.json, pictures, and metric files: one for each loss
    and file of predictions, such as predictions_temporal_norm.csv.

    Values are those before epsilon is taken off.
    """
    with progress_bar(len(predictions) if calibration is None else 1) as progress:
        summary = score_files(
            predictions,
            ScoreOptions(
                calibration=calibration,
                views=_names(views),
                labels=labels,
                config=config,
                overrides=set_ or (),
                losses=_names(losses),
                out=out,
                videos=video or (),
                pictures=pictures,
                metric_files=metric_files,
                beside=beside,
                keep_going=keep_going,
                processes=processes,
                scheduler=scheduler,
            ),
            progress=progress,
        )
    if json:
        echo(summary.to_json(), nl=False)
    else:
        show(summary)
    if summary.failed:
        raise typer.Exit(1)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]
