"""The command ``lploss predict``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lploss.terminal import console, echo
from lploss_builtin.dependencies import require
from lploss_builtin.output import lock_folder
from lploss_builtin.progress import terminal_bar

if TYPE_CHECKING:
    from lploss_builtin.evaluation import TrainingEvaluation
    from lploss_builtin.predicting import PredictionSummary
    from lploss_builtin.predicting.runner import Progress


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a training.")],
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Videos or folders of videos; folders of images; or CSV files with paths of "
            "images in their first column.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the predictions; RUN/predictions unless given."),
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(metavar="best|last", help="Which weights of the training to use.")
    ] = "best",
    views: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME,...", help="Views to use; all that are there."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Calibrated cameras; else looked for beside the inputs."),
    ] = None,
    bbox: Annotated[
        list[Path] | None,
        typer.Option(help="File of bounding boxes that the model sees. Once a view."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Frames that are predicted at once.")
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda", help="Where the model runs.")
    ] = "auto",
    decoder: Annotated[
        str,
        typer.Option(
            metavar="auto|cpu|cuda",
            help="What decodes videos; cuda: NVIDIA's decoder, by torchcodec.",
        ),
    ] = "auto",
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going",
            help="Predict without images or frames that are missing or broken; their rows stay "
            "empty.",
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Predict again what is there, and remove files of earlier predictions that no "
            "longer match.",
        ),
    ] = False,
    video: Annotated[
        bool, typer.Option("--video", help="Write videos, too, in which the keypoints are drawn.")
    ] = False,
    confidence: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Likelihood from which on keypoints are drawn."),
    ] = 0.9,
    colormap: Annotated[
        str, typer.Option(help="Of matplotlib: a colour for each keypoint that is drawn.")
    ] = "cool",
    processes: Annotated[
        int, typer.Option(min=1, metavar="N", help="Recordings to predict at once, in processes.")
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Predict on the Dask cluster of this scheduler."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON instead of a table.")
    ] = False,
) -> None:
    """Predict the keypoints in videos and images with a trained model.

    Of several views all that are there are seen together: videos and folders are called
    <session>_<view>, CSV files have the view in their name. A camera that failed is simply left
    out; of one that lost single images or frames, the others are used with --keep-going.

    Writes a CSV for each view with x, y (px in the original image) and likelihood, and one with
    the points in space where cameras are known. Finished predictions are kept, and an interrupted
    call goes on where it was, when it is made again.
    """
    for module in ("timm", "lightning", "pandas", "PIL"):
        require(module, "train", "to predict with a trained model")
    from lploss_builtin.predicting import LabelledVideo, predict_files

    # The evaluation of the training writes to this folder, too.
    is_shared = out is not None and out.resolve() == run.resolve()
    lock = lock_folder(run, "lploss predict") if is_shared else nullcontext()
    with lock, progress_bar() as progress:
        summary = predict_files(
            run,
            inputs,
            out=out,
            checkpoint=checkpoint,
            views=None if views is None else [name.strip() for name in views.split(",")],
            calibration=calibration,
            bbox_files=bbox or (),
            batch_size=batch_size,
            device=device,
            decoder=decoder,
            keep_going=keep_going,
            overwrite=overwrite,
            video=LabelledVideo(confidence, colormap) if video else None,
            processes=processes,
            scheduler=scheduler,
            progress=progress,
        )
    if json:
        echo(summary.to_json(), nl=False)
    else:
        show(summary)
    if summary.unreadable or summary.failed:
        raise typer.Exit(1)


def show(summary: PredictionSummary | TrainingEvaluation) -> None:
    """Print a summary as tables, with its notes."""
    from rich.text import Text

    printer = console()
    for part in summary.renderables():
        printer.print(part, soft_wrap=isinstance(part, Text))


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show on the terminal's error stream how far it is; nothing where that is no terminal.

    Yields:
        What to call while it goes on.
    """
    from rich.progress import TimeRemainingColumn

    with terminal_bar(console(stderr=True), TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=None)

        def progress(recording: str, num_done: int, num_frames: int) -> None:
            bar.update(task, completed=num_done, total=num_frames, description=recording)

        yield progress
