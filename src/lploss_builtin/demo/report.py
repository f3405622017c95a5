"""The results of the training demo, for the console."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lploss.terminal import text
from lploss_builtin.demo.measuring import Error, Errors, FailedCamera
from lploss_builtin.demo.settings import DemoSettings

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


@dataclass(frozen=True, slots=True, eq=False)
class DemoReport:
    """What the demo has found.

    Attributes:
        folder: where everything lies.
        settings: how large the demo was.
        predictors: how far off the yardsticks, the network and its joined views are.
        of_network: of each keypoint and view, how far off the network is: visible and occluded.
        cameras: how far off the network is with all cameras, and without each.
        losses: of each loss of the training its weight.
        num_parameters: of the network.
        image_size: height and width of what the network sees, px.
        test_session: name of the session that is held out.
        seconds: how long each stage took.
    """

    folder: Path
    settings: DemoSettings
    predictors: Mapping[str, Errors]
    of_network: Mapping[str, Mapping[str, tuple[Error, Error]]]
    cameras: tuple[FailedCamera, ...]
    losses: Mapping[str, float]
    num_parameters: int
    image_size: tuple[int, int]
    test_session: str
    seconds: Mapping[str, float]

    @property
    def network(self) -> Errors:
        """How far off the trained network is."""
        return self.predictors["trained"]

    @property
    def view_names(self) -> tuple[str, ...]:
        """Names of the cameras."""
        return tuple(next(iter(self.of_network.values())))

    @property
    def commands(self) -> dict[str, str]:
        """What to try next: what it does, and the command."""
        project, run = self.folder / "project", self.folder / "run"
        predictions = run / "predictions"
        files = " ".join(
            str(predictions / f"CollectedData_{view}_new.csv") for view in self.view_names
        )
        calibration = project / "calibrations" / f"{self.test_session}.toml"
        return {
            "Train longer, on more frames.": (
                f"lploss demo --epochs {3 * self.settings.num_epochs} "
                f"--frames {2 * self.settings.num_frames} --out {self.folder}-longer"
            ),
            "Train a network that sees each view by itself, and compare.": (
                f"lploss train {project / 'config.yaml'} model.model_type=heatmap "
                f"--out {self.folder / 'single-view'}"
            ),
            "Predict with the network, here without its third camera.": (
                f"lploss predict {run} "
                + " ".join(
                    str(project / f"CollectedData_{view}_new.csv")
                    for view in self.view_names
                    if view != self.view_names[min(2, len(self.view_names) - 1)]
                )
                + f" --out {self.folder / 'predictions-of-three'}"
            ),
            "Find the frames on which the cameras do not agree.": (
                f"lploss score {files} --calibration {calibration} "
                f"--losses multiview_reprojection --out {self.folder / 'scores'}"
            ),
        }

    def renderables(self) -> Iterator[RenderableType]:
        """Yield the tables, and what to do next, for a rich console."""
        columns = ("visible, px", "occluded, px", "all, px", "in 3D, mm")
        table = _table("mean error (median)", ("held-out frames", *columns))
        for errors in self.predictors.values():
            cells = (errors.visible, errors.occluded, errors.all, errors.in_space)
            table.add_row(text(errors.name), *map(_both, cells))
        yield table
        table = _table(
            "the trained network: visible / occluded, px", ("keypoint", *self.view_names)
        )
        for keypoint, of_views in self.of_network.items():
            table.add_row(
                text(keypoint), *(f"{short(v)} / {short(o)}" for v, o in of_views.values())
            )
        yield table
        left = ("in the others, px", "where it would see, px", "in 3D, mm")
        table = _table("without a camera: mean error (median)", ("cameras", *left))
        for camera in self.cameras:
            name = f"without {camera.view}" if camera.view else "all"
            table.add_row(text(name), *map(_both, (camera.others, camera.unseen, camera.in_space)))
        yield table
        yield text(f"open {self.folder / 'index.html'}", "green")


def short(error: Error) -> str:
    """Return the mean in few digits; a dash where there is none."""
    return f"{error.mean:.1f}" if error.num else "–"


def _both(error: Error) -> str:
    return f"{error.mean:.1f} ({error.median:.1f})" if error.num else "–"


def _table(title: str, columns: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(columns):
        table.add_column(text(heading), justify="right" if number else "left")
    return table
