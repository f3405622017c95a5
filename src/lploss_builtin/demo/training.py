"""The training demo: images of a synthetic rig, a network trained with them, and a page."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
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
from lploss_builtin.data.rig.project import RigOptions, make_rig_project
from lploss_builtin.demo.measuring import (
    errors_by_part,
    errors_of,
    failed_camera,
    mean_pose,
    predicted_by,
    read_held_out,
    write_errors,
    write_errors_in_space,
)
from lploss_builtin.demo.pictures import (
    draw_curves,
    draw_poses,
    draw_views,
    read_curves,
    read_weights,
)
from lploss_builtin.demo.report import DemoReport, write_page
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
    num = settings.num_frames + settings.num_test_frames
    with stages.stage("make", f"making {num} frames of an animal that four cameras film") as done:
        options = RigOptions(
            num_frames=settings.num_frames,
            num_sessions=settings.num_sessions,
            num_test_frames=settings.num_test_frames,
            seed=settings.seed,
        )
        made = make_rig_project(
            out / "project",
            options,
            config=settings.config(),
            progress=lambda num_done: done(num_done, num),
        )
    s = "" if settings.num_epochs == 1 else "s"
    what = f"training a multi-view transformer, {settings.num_epochs} epoch{s}"
    # A network this small gains little from more threads, and on a busy machine they slow it down.
    with stages.stage("train", what), _threads(1):
        shows_progress = stages.console.is_terminal
        run = train(load_config(made.config), out / "run", shows_progress=shows_progress)
    held_out = read_held_out(made)
    views = held_out.project.view_names
    what = f"predicting {len(held_out.frames)} frames of a walk that was held out"
    with stages.stage("predict", what) as done:
        predict_files(
            run.folder,
            list(made.test_labels.values()),
            progress=lambda recording, num_done, num: done(num_done, num),
        )
        network = run.model()
        trained = predicted_by("trained network", network, held_out)
        joined = "trained network, views joined"
        predicted = {
            "mean_pose": mean_pose("mean pose", held_out),
            "untrained": predicted_by(
                "untrained network", _untrained(run, settings.seed), held_out
            ),
            "trained": trained,
            "joined": replace(trained, name=joined, keypoints=trained.reprojected),
        }
        without = [
            predicted_by(
                f"trained network without {name}",
                network,
                held_out,
                [other for other in range(len(views)) if other != view],
            )
            for view, name in enumerate(views)
        ]
    with stages.stage("draw", "measuring and drawing"):
        cameras = {"": failed_camera(trained, held_out, None)}
        for view, (name, found) in enumerate(zip(views, without, strict=True)):
            cameras[name] = failed_camera(found, held_out, view)
        report = DemoReport(
            out,
            settings,
            {key: errors_of(found, held_out) for key, found in predicted.items()},
            errors_by_part(trained, held_out),
            cameras,
            read_weights(run.folder / "metrics.csv"),
            sum(parameter.numel() for parameter in network.parameters()),
            held_out.frames.image_size,
            held_out.project.sessions[0],
            stages.seconds,
        )
        write_errors(out / "errors.csv", [*predicted.values()], held_out)
        del predicted["joined"]
        write_errors_in_space(out / "errors_3d.csv", [*predicted.values(), *without], held_out)
        yardsticks = {
            report.predictors[key].name: report.predictors[key].all.mean for key in predicted
        }
        curves = read_curves(run.folder / "metrics.csv")
        style.save(draw_curves(curves, yardsticks), out / "loss_curves.png")
        style.save(draw_views(trained, held_out), out / "views.png")
        style.save(draw_poses(trained, held_out), out / "pose_3d.png")
        shutil.copyfile(run.folder / "schedules.png", out / "schedules.png")
    write_page(report)
    return report


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
