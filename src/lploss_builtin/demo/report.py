"""The results of the training demo, for the console and as an HTML page."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from lploss.terminal import text
from lploss_builtin.demo.measuring import Error, Errors
from lploss_builtin.demo.settings import DemoSettings

if TYPE_CHECKING:
    from rich.console import RenderableType

_NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six")


@dataclass(frozen=True, slots=True)
class _Table:
    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, list[str]]


@dataclass(frozen=True, slots=True, eq=False)
class DemoReport:
    """What the demo has found.

    Attributes:
        folder: where everything lies.
        settings: how large the demo was.
        predictors: how far off the yardsticks, the network and its joined views are.
        parts: how far off the network is, by view, keypoint and visibility.
        cameras: how far off the network is without each camera, and with all of them under ``""``;
            see `lploss_builtin.demo.measuring.failed_camera`.
        losses: of each loss of the training its weight.
        num_parameters: of the network.
        image_size: height and width of what the network sees, px.
        test_session: name of the session that is held out.
        seconds: how long each stage took.
    """

    folder: Path
    settings: DemoSettings
    predictors: Mapping[str, Errors]
    parts: Mapping[tuple[str, str, str], Error]
    cameras: Mapping[str, tuple[Error, Error, Error]]
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
        return tuple(filter(None, self.cameras))

    @property
    def commands(self) -> dict[str, str]:
        """What to try next: what it does, and the command."""
        project, run = self.folder / "project", self.folder / "run"
        files = {view: f"CollectedData_{view}_new.csv" for view in self.view_names}
        predictions = " ".join(str(run / "predictions" / file) for file in files.values())
        calibration = project / "calibrations" / f"{self.test_session}.toml"
        del files[self.view_names[min(2, len(files) - 1)]]
        labels = " ".join(str(project / file) for file in files.values())
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
                f"lploss predict {run} {labels} --out {self.folder / 'predictions-of-three'}"
            ),
            "Find the frames on which the cameras do not agree.": (
                f"lploss score {predictions} --calibration {calibration} "
                f"--losses multiview_reprojection --out {self.folder / 'scores'}"
            ),
        }

    def renderables(self) -> Iterator[RenderableType]:
        """Yield the tables, and what to do next, for a rich console."""
        from rich import box
        from rich.table import Table

        for table in (self._errors(), self._keypoints(), self._cameras()):
            shown = Table(title=table.title, box=box.SIMPLE_HEAD, pad_edge=False)
            for number, heading in enumerate(table.columns):
                shown.add_column(text(heading), justify="right" if number else "left")
            for name, cells in table.rows.items():
                shown.add_row(text(name), *cells)
            yield shown
        yield text(f"open {self.folder / 'index.html'}", "green")

    def _errors(self) -> _Table:
        rows = {
            errors.name: [
                *map(_both, (errors.visible, errors.occluded, errors.all, errors.in_space))
            ]
            for errors in self.predictors.values()
        }
        columns = ("held-out frames", "visible, px", "occluded, px", "all, px", "in 3D, mm")
        return _Table("mean error (median)", columns, rows)

    def _keypoints(self) -> _Table:
        keypoints = dict.fromkeys(keypoint for _, keypoint, _ in self.parts if keypoint != "all")
        rows = {
            keypoint: [
                " / ".join(
                    _short(self.parts[view, keypoint, part]) for part in ("visible", "occluded")
                )
                for view in self.view_names
            ]
            for keypoint in keypoints
        }
        title = "the trained network: visible / occluded, px"
        return _Table(title, ("keypoint", *self.view_names), rows)

    def _cameras(self) -> _Table:
        rows = {
            f"without {view}" if view else "all": [*map(_both, errors)]
            for view, errors in self.cameras.items()
        }
        columns = ("cameras", "in the others, px", "where it would see, px", "in 3D, mm")
        return _Table("without a camera: mean error (median)", columns, rows)


def write_page(report: DemoReport) -> None:
    """Write ``index.html`` into the folder of the demo; it holds the pictures that lie beside it.

    The page is HTML and CSS only; nothing is fetched from a network.
    """
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    network, pose = report.network, report.predictors["mean_pose"]
    height, width = report.image_size
    times = f"{pose.all.mean / network.all.mean:.1f} ×" if network.all.mean else "–"
    tiles = {
        "mean error in one view, on frames of a walk that no training saw": (
            f"{_short(network.all)} px"
        ),
        "closer than always saying the mean pose": times,
        "mean error in space, all views joined": f"{_short(network.in_space)} mm",
        "from nothing to this page": f"{sum(report.seconds.values()) / 60:.1f} min",
    }
    shown = "".join(
        f'<div class="tile"><b>{value}</b><span>{what}</span></div>'
        for what, value in tiles.items()
    )
    most = max(errors.all.mean for errors in report.predictors.values())
    bars = "".join(
        f"<span>{escape(errors.name)}</span>"
        f'<div><i style="width: {72 * errors.all.mean / most:.1f}%"></i>{_short(errors.all)} px'
        "</div>"
        for errors in report.predictors.values()
    )
    losses = ", ".join(
        f"<code>{escape(name)}</code> (weight {weight:.2g})"
        for name, weight in report.losses.items()
    )
    steps = "\n".join(
        f'<p class="step">{escape(what)}</p>\n<pre><code>{escape(command)}</code></pre>'
        for what, command in report.commands.items()
    )
    files = {
        "errors.csv": "all errors: by predictor, view, keypoint and visibility",
        "errors_3d.csv": "the errors in space",
        "project/": "images, labels, calibrations, config, and the truth in space",
        "run/": "the training: config, checkpoints, metrics, report of the losses, predictions",
    }
    links = "\n".join(
        f'<tr><th><a href="{name}">{name}</a></th><td style="text-align: left">{what}</td></tr>'
        for name, what in files.items()
    )
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in report.seconds.items())
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>lploss demo: a multi-view model that learns</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="kicker">lploss demo</p>
<h1>A multi-view model that learns</h1>
<p class="lead">{_NUMBERS[len(report.view_names)]} calibrated cameras film an animal that walks
among obstacles. From {report.settings.num_frames} labelled frames a transformer with
{report.num_parameters / 1e6:.1f} million parameters has learned, from nothing, where its
keypoints are. It sees all views together, at {width} × {height} px each.</p>
<div class="tiles">{shown}</div>
</header>
<main>
<section>
<h2>What it sees, and what it says</h2>
<p>Four frames of the walk that was held out, ranked by their error: a good one, a usual one, a
bad one and the worst. Nothing was picked by hand.</p>
{_picture(report, "views", "Held-out frames in all views, with prediction, truth and reprojection")}
<p><b>Blue</b> is what the network says of each view. A <b>yellow cross</b> is where all views
together put the keypoint in space, seen from this camera. A <b>white ring</b> is the truth, a
<b>white square</b> the truth of a keypoint that something hides. A white line joins the two: the
longer, the worse.</p>
</section>
<section>
<h2>How far off it is</h2>
<p>An error is the distance to the truth, px of the images as they were taken. Numbers mean little
alone, so here are two yardsticks: always saying the mean pose of the training labels, and the
same network before its first step. A keypoint that one camera cannot see can still be found,
because the others do.</p>
<div class="bars">{bars}</div>
{_html(report._errors())}
{_html(report._keypoints())}
</section>
<section>
<h2>In space</h2>
<p>The cameras are calibrated, so what they see can be joined: each keypoint is put where the
views, each weighted by its confidence, agree best.</p>
{_picture(report, "pose_3d", "The pose in space against the truth")}
<p>The same ranks as above, now by the error in space. Red lines join what was predicted to the
truth; what lies far outside is left out. The animal is about 100 mm long without its tail.</p>
</section>
<section>
<h2>When a camera fails</h2>
<p>The network takes any of the views that it was trained with: the same weights, no black images
in place of the missing camera, nothing trained anew. Where the missing camera would have seen the
keypoints follows from the others.</p>
{_html(report._cameras())}
</section>
<section>
<h2>How it has learned</h2>
<p>The losses come from the registry of lploss, by the names in the config: {losses}.</p>
<dl>
<dt>Heatmap loss</dt><dd>The network draws a heatmap of each keypoint; the loss compares it with a
small spot at the label.</dd>
<dt>Reprojection loss</dt><dd>Pairs of views put the keypoint in space; seen from each camera it
should lie at the label. It begins when predictions are of some use.</dd>
<dt>Patch masking</dt><dd>More and more patches of the images are hidden, so that a view must be
understood from the others.</dd>
<dt>3D augmentation</dt><dd>The animal is scaled and moved in space, and all images are warped to
fit, so that the views still agree.</dd>
</dl>
{_picture(report, "loss_curves", "Error and losses over the epochs")}
<p>Training frames are made harder on purpose, so their error may lie above that of the validation
frames. These are taken from the same walks as the training frames, and so are easier than a walk
of their own: trust the table above.</p>
{_picture(report, "schedules", "What changes from epoch to epoch")}
</section>
<section>
<h2>Go on from here</h2>
<p>The project has the layout of Lightning Pose: put your own in its place. Any loss that
<code>lploss list</code> shows can be named in the config, one of your own as well.</p>
{steps}
</section>
</main>
<footer><div class="wide"><table><tbody>
{links}
</tbody></table></div>
<p>Seed {report.settings.seed}, {report.settings.num_epochs} epochs. Time: {seconds}.</p></footer>
</body>
</html>
"""
    (report.folder / "index.html").write_text(page, encoding="utf-8")


def _picture(report: DemoReport, name: str, alt: str) -> str:
    """Return a picture, inside of the page, that leads to its file in full size."""
    content = base64.b64encode((report.folder / f"{name}.png").read_bytes()).decode("ascii")
    return (
        f'<figure><div class="picture"><a href="{name}.png">'
        f'<img src="data:image/png;base64,{content}" alt="{escape(alt)}"></a></div></figure>'
    )


def _html(table: _Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "\n".join(
        f"<tr><th>{escape(name)}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        for name, cells in table.rows.items()
    )
    return (
        f'<div class="wide"><table>\n<caption>{escape(table.title)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _short(error: Error) -> str:
    """Return the mean in few digits; a dash where there is none."""
    return f"{error.mean:.1f}" if error.num else "–"


def _both(error: Error) -> str:
    return f"{error.mean:.1f} ({error.median:.1f})" if error.num else "–"
