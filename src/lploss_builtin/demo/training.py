"""The training demo: images of a synthetic rig, a network trained with them, and a page."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import TimeRemainingColumn
from rich.text import Text
from torch import nn

from lploss import load_config
from lploss.errors import ArgumentValueError
from lploss_builtin.data.rig.project import RigOptions, RigProject, make_rig_project
from lploss_builtin.demo.curves import draw_curves, read_curves, read_weights
from lploss_builtin.demo.measuring import (
    Error,
    HeldOut,
    Predicted,
    errors_by_part,
    errors_of,
    failed_camera,
    mean_pose,
    predicted_by,
    read_held_out,
    write_errors,
    write_errors_in_space,
)
from lploss_builtin.demo.page import write_page
from lploss_builtin.demo.pictures import draw_poses, draw_views
from lploss_builtin.demo.report import DemoReport
from lploss_builtin.demo.settings import DemoSettings
from lploss_builtin.models.building import build_model
from lploss_builtin.predicting import predict_files
from lploss_builtin.progress import terminal_bar
from lploss_builtin.scoring.pictures import style
from lploss_builtin.training.run import TrainingRun, train

_MARK = "demo.json"
_OWN = ("project", "run")


def prepare_folder(out: Path, settings: DemoSettings) -> None:
    """Make the folder, or remove from it what an earlier demo has made.

    Raises:
        ArgumentValueError: there is something in the way that no demo has made.
    """
    if out.exists() and not out.is_dir():
        raise ArgumentValueError(f"the output folder {out} is a file; name a folder")
    for name in _OWN:
        path = out / name
        if path.exists():
            if not (out / _MARK).is_file() or path.is_symlink() or not path.is_dir():
                raise ArgumentValueError(
                    f"{path} is in the way, and no earlier demo has made it. Name another folder "
                    "by --out."
                )
            shutil.rmtree(path)
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(settings), indent=2) + "\n"
        (out / _MARK).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ArgumentValueError(
            f"the output folder {out} cannot be made or written to: {error.strerror}"
        ) from error


#: Called with how much of a stage is done, and how much there is.
StageProgress = Callable[[int, int], None]


class Stages:
    """Says on a console which stage has begun, with a bar on a terminal, and how long it took.

    Args:
        console: where to.
        num_stages: how many stages there are.
    """

    def __init__(self, console: Console, num_stages: int) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}
        self._num_stages = num_stages

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[StageProgress]:
        """Begin a stage.

        Args:
            name: what its time is filed under.
            what: what is being done.

        Yields:
            What to call while it goes on.
        """
        number = len(self.seconds) + 1
        self.console.print(Text(f"{number}/{self._num_stages} {what}"), soft_wrap=True)
        start = time.perf_counter()
        bar = terminal_bar(self.console, TimeRemainingColumn())
        task = bar.add_task("done", total=None, visible=False)

        def progress(num_done: int, num: int) -> None:
            # Lightning shows a bar of its own, and there can be only one at a time.
            bar.start()
            bar.update(task, completed=num_done, total=num, visible=True)

        try:
            yield progress
        finally:
            bar.stop()
        self.seconds[name] = time.perf_counter() - start


NUM_STAGES = 4


def make_training_demo(out: Path, settings: DemoSettings, stages: Stages) -> DemoReport:
    """Make a rig, train a network with its images, and show what it has learned.

    Args:
        out: folder for everything; an earlier demo in it is replaced.
        settings: how large it is.
        stages: says how far it is.

    Returns:
        What was found.

    Raises:
        ArgumentValueError: there is something else in the folder that would be overwritten.
    """
    prepare_folder(out, settings)
    made = _make_project(out, settings, stages)
    run = _train(made, out, settings, stages)
    held_out = read_held_out(made)
    what = f"predicting {len(held_out.frames)} frames of a walk that was held out"
    with stages.stage("predict", what) as done:
        predict_files(
            run.folder,
            list(made.test_labels.values()),
            progress=lambda recording, num_done, num: done(num_done, num),
        )
        trained = run.model()
        predicted = _predictions(trained, _untrained(run, settings.seed), held_out)
        without = [_without(trained, held_out, view) for view in range(held_out.project.num_views)]
    with stages.stage("draw", "measuring and drawing"):
        report = DemoReport(
            out,
            settings,
            {key: errors_of(found, held_out) for key, found in predicted.items()},
            _of_network(predicted["trained"], held_out),
            (
                failed_camera(predicted["trained"], held_out, None),
                *(failed_camera(found, held_out, view) for view, found in enumerate(without)),
            ),
            read_weights(run.folder / "metrics.csv"),
            sum(parameter.numel() for parameter in trained.parameters()),
            held_out.frames.image_size,
            held_out.project.sessions[0],
            stages.seconds,
        )
        write_errors(out / "errors.csv", [*predicted.values()], held_out)
        separate = [found for key, found in predicted.items() if key != "joined"]
        write_errors_in_space(out / "errors_3d.csv", [*separate, *without], held_out)
        _draw(report, run, predicted, held_out)
    write_page(report)
    return report


def _make_project(out: Path, settings: DemoSettings, stages: Stages) -> RigProject:
    num = settings.num_frames + settings.num_test_frames
    with stages.stage("make", f"making {num} frames of an animal that four cameras film") as done:
        return make_rig_project(
            out / "project",
            RigOptions(
                num_frames=settings.num_frames,
                num_sessions=settings.num_sessions,
                num_test_frames=settings.num_test_frames,
                seed=settings.seed,
            ),
            config=settings.config(),
            progress=lambda num_done: done(num_done, num),
        )


def _train(made: RigProject, out: Path, settings: DemoSettings, stages: Stages) -> TrainingRun:
    num, s = settings.num_epochs, "" if settings.num_epochs == 1 else "s"
    what = f"training a multi-view transformer, {num} epoch{s}"
    # So small a network gains little from more threads, which wait for each other at every turn
    # where the machine has something else to do.
    with stages.stage("train", what), _threads(1):
        return train(
            load_config(made.config), out / "run", shows_progress=stages.console.is_terminal
        )


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Let torch compute in so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _untrained(run: TrainingRun, seed: int) -> nn.Module:
    """Return the network as it was before its first step."""
    config = run.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(
            config,
            num_views=len(config.data.view_names),
            num_keypoints=config.data.num_keypoints,
            pretrained=False,
        ).eval()


def _predictions(
    trained: nn.Module, untrained: nn.Module, held_out: HeldOut
) -> dict[str, Predicted]:
    found = predicted_by("trained network", trained, held_out)
    return {
        "mean_pose": mean_pose("mean pose", held_out),
        "untrained": predicted_by("untrained network", untrained, held_out),
        "trained": found,
        "joined": replace(found, name="trained network, views joined", keypoints=found.reprojected),
    }


def _without(model: nn.Module, held_out: HeldOut, view: int) -> Predicted:
    names = held_out.project.view_names
    views = [number for number in range(len(names)) if number != view]
    return predicted_by(f"trained network without {names[view]}", model, held_out, views)


def _of_network(
    predicted: Predicted, held_out: HeldOut
) -> dict[str, dict[str, tuple[Error, Error]]]:
    parts, project = errors_by_part(predicted, held_out), held_out.project
    return {
        keypoint: {
            view: (parts[view, keypoint, "visible"], parts[view, keypoint, "occluded"])
            for view in project.view_names
        }
        for keypoint in project.keypoint_names
    }


def _draw(
    report: DemoReport, run: TrainingRun, predicted: Mapping[str, Predicted], held_out: HeldOut
) -> None:
    out = report.folder
    yardsticks = {
        errors.name: errors.all.mean for key, errors in report.predictors.items() if key != "joined"
    }
    curves = read_curves(run.folder / "metrics.csv")
    style.save(draw_curves(curves, yardsticks), out / "loss_curves.png")
    style.save(draw_views(predicted["trained"], held_out), out / "views.png")
    style.save(draw_poses(predicted["trained"], held_out), out / "pose_3d.png")
    (out / "schedules.png").write_bytes((run.folder / "schedules.png").read_bytes())
