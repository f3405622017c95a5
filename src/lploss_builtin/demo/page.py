"""The HTML page that the training demo writes."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

from lploss_builtin.demo.measuring import Error, Errors
from lploss_builtin.demo.report import DemoReport, short

_TITLE = "A multi-view model that learns"
_NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six")


def write_page(report: DemoReport) -> None:
    """Write ``index.html`` into the folder of the demo; it holds the pictures that lie beside it.

    The page is HTML and CSS only; nothing is fetched from a network.
    """
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    parts = (
        _head(report),
        "<main>",
        _views(report),
        _errors(report),
        _space(report),
        _cameras(report),
        _training(report),
        _next(report),
        "</main>",
        _foot(report),
    )
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>lploss demo: {_TITLE.lower()}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )
    (report.folder / "index.html").write_text(page, encoding="utf-8")


def _head(report: DemoReport) -> str:
    network, pose = report.network, report.predictors["mean_pose"]
    height, width = report.image_size
    tiles = (
        (_px(network.all), "mean error in one view, on frames of a walk that no training saw"),
        (_times(pose, network), "closer than always saying the mean pose"),
        (_mm(network.in_space), "mean error in space, all views joined"),
        (_minutes(report), "from nothing to this page"),
    )
    shown = "".join(
        f'<div class="tile"><b>{value}</b><span>{what}</span></div>' for value, what in tiles
    )
    return f"""<header>
<p class="kicker">lploss demo</p>
<h1>{_TITLE}</h1>
<p class="lead">{_NUMBERS[len(report.view_names)]} calibrated cameras film an animal that walks
among obstacles. From {report.settings.num_frames} labelled frames a transformer with
{report.num_parameters / 1e6:.1f} million parameters has learned, from nothing, where its
{len(report.of_network)} keypoints are. It sees all views together, at {width} × {height} px
each.</p>
<div class="tiles">{shown}</div>
</header>"""


def _views(report: DemoReport) -> str:
    return f"""<section>
<h2>What it sees, and what it says</h2>
<p>Four frames of the walk that was held out, ranked by their error: a good one, a usual one, a
bad one and the worst. Nothing was picked by hand.</p>
{
        _picture(
            report,
            "views",
            "Held-out frames in all views, with prediction, truth and reprojection drawn in",
            "<b>Blue</b> is what the network says of each view. A <b>yellow cross</b> is "
            "where all views together put the keypoint in space, seen from this camera. A "
            "<b>white ring</b> is the truth, a <b>white square</b> the truth of a keypoint that "
            "something hides. A white line joins the two: the longer, the worse.",
            "large",
        )
    }
</section>"""


def _errors(report: DemoReport) -> str:
    most = max(errors.all.mean for errors in report.predictors.values())
    bars = "".join(
        f'<span class="{_own(key)}-name">{escape(errors.name)}</span>'
        f'<div class="{_own(key)}"><i style="width: {72 * errors.all.mean / most:.1f}%"></i>'
        f"{_px(errors.all)}</div>"
        for key, errors in report.predictors.items()
    )
    rows = (
        _row(
            errors.name,
            [_both(e) for e in (errors.visible, errors.occluded, errors.all, errors.in_space)],
            _own(key),
        )
        for key, errors in report.predictors.items()
    )
    columns = (
        f"visible, px <small>({report.network.visible.num})</small>",
        f"occluded, px <small>({report.network.occluded.num})</small>",
        "all, px",
        "in space, mm",
    )
    return f"""<section>
<h2>How far off it is</h2>
<p>An error is the distance to the truth, px of the images as they were taken. Numbers mean little
alone, so here are two yardsticks: always saying the mean pose of the training labels, and the
same network before its first step. A keypoint that one camera cannot see can still be found,
because the others do.</p>
<div class="bars">{bars}</div>
{_table("Held-out frames: mean error (median)", ("", *columns), rows)}
{_keypoints(report)}
</section>"""


def _keypoints(report: DemoReport) -> str:
    errors = [
        error.mean
        for of_views in report.of_network.values()
        for both in of_views.values()
        for error in both
        if error.num
    ]
    most = sorted(errors)[int(0.95 * (len(errors) - 1))] if errors else 1.0
    views = "".join(f'<th colspan="2" class="first">{escape(v)}</th>' for v in report.view_names)
    kinds = '<th class="first">visible</th><th>occluded</th>' * len(report.view_names)
    rows = []
    for keypoint, of_views in report.of_network.items():
        cells = "".join(
            _shaded(visible, most, " first") + _shaded(occluded, most, "")
            for visible, occluded in of_views.values()
        )
        rows.append(f"<tr><th>{escape(keypoint)}</th>{cells}</tr>")
    return (
        '<div class="wide"><table>\n<caption>The trained network: mean error of each keypoint in '
        "each view, px; the darker, the farther off; a dash: none in these frames</caption>\n"
        f"<thead><tr><th></th>{views}</tr><tr><th></th>{kinds}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


def _shaded(error: Error, most: float, more: str) -> str:
    share = min(1.0, error.mean / most) if error.num else 0.0
    title = f"{error.num} frames, median {error.median:.1f} px" if error.num else "no frames"
    return (
        f'<td class="shaded{more}" style="--share: {share:.2f}" title="{title}">{short(error)}</td>'
    )


def _space(report: DemoReport) -> str:
    caption = (
        "The same ranks as above, now by the error in space. Red lines join what was predicted to "
        "the truth; what lies far outside is left out. The animal is about 100 mm long without "
        "its tail."
    )
    return f"""<section>
<h2>In space</h2>
<p>The cameras are calibrated, so what they see can be joined: each keypoint is put where the
views, each weighted by its confidence, agree best.</p>
{_picture(report, "pose_3d", "The pose in space against the truth", caption, "narrow")}
</section>"""


def _cameras(report: DemoReport) -> str:
    rows = (
        _row(
            f"without {camera.view}" if camera.view else f"all {len(report.view_names)} cameras",
            [_both(error) for error in (camera.others, camera.unseen, camera.in_space)],
            "" if camera.view else "own",
        )
        for camera in report.cameras
    )
    columns = (
        "",
        "in the views that are left, px",
        "in the missing view, seen by the others, px",
        "in space, mm",
    )
    return f"""<section>
<h2>When a camera fails</h2>
<p>The network takes any of the views that it was trained with: the same weights, no black images
in place of the missing camera, nothing trained anew. Where the missing camera would have seen the
keypoints follows from the others.</p>
{_table("Held-out frames: mean error (median)", columns, rows)}
</section>"""


def _training(report: DemoReport) -> str:
    losses = ", ".join(
        f"<code>{escape(name)}</code> (weight {weight:.2g})"
        for name, weight in report.losses.items()
    )
    curves = (
        "Training frames are made harder on purpose, so their error may lie above that of the "
        "validation frames. These are taken from the same walks as the training frames, and so are "
        "easier than a walk of their own: trust the table above."
    )
    schedules = "What changes from epoch to epoch; drawn before the training starts."
    return f"""<section>
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
{_picture(report, "loss_curves", "Error and losses over the epochs", curves, "narrow")}
{_picture(report, "schedules", "Schedules over the epochs", schedules, "narrow")}
</section>"""


def _next(report: DemoReport) -> str:
    steps = "\n".join(
        f'<p class="step">{escape(what)}</p>\n<pre><code>{escape(command)}</code></pre>'
        for what, command in report.commands.items()
    )
    return f"""<section>
<h2>Go on from here</h2>
<p>The project has the layout of Lightning Pose: put your own in its place. Any loss that
<code>lploss list</code> shows can be named in the config, one of your own as well.</p>
{steps}
</section>"""


def _foot(report: DemoReport) -> str:
    files = {
        "errors.csv": "all errors: by predictor, view, keypoint and visibility",
        "errors_3d.csv": "the errors in space",
        "project/": "images, labels, calibrations, config, and the truth in space",
        "run/": "the training: config, checkpoints, metrics, report of the losses, predictions",
    }
    rows = (
        f'<tr><th><a href="{name}">{name}</a></th><td style="text-align: left">{what}</td></tr>'
        for name, what in files.items()
    )
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in report.seconds.items())
    return (
        '<footer><div class="wide"><table><tbody>\n'
        + "\n".join(rows)
        + f"\n</tbody></table></div>\n<p>Seed {report.settings.seed}, "
        f"{report.settings.num_epochs} epochs. Time: {seconds}.</p></footer>"
    )


def _picture(report: DemoReport, name: str, alt: str, caption: str, width: str) -> str:
    """Return a picture, inside of the page, that leads to its file in full size."""
    content = base64.b64encode((report.folder / f"{name}.png").read_bytes()).decode("ascii")
    return (
        f'<figure><div class="picture {width}"><a href="{name}.png">'
        f'<img src="data:image/png;base64,{content}" alt="{escape(alt)}"></a></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _table(caption: str, columns: Sequence[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{column}</th>" for column in columns)
    return (
        f'<div class="wide"><table>\n<caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>"
    )


def _row(name: str, cells: Iterable[str], kind: str) -> str:
    shown = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr class="{kind}"><th>{escape(name)}</th>{shown}</tr>'


def _own(key: str) -> str:
    """Return the class of what is the network's."""
    return "own" if key in ("trained", "joined") else "other"


def _both(error: Error) -> str:
    if not error.num:
        return "–"
    return f"{error.mean:.1f} <small>({error.median:.1f})</small>"


def _px(error: Error) -> str:
    return f"{short(error)} px"


def _mm(error: Error) -> str:
    return f"{short(error)} mm"


def _times(yardstick: Errors, network: Errors) -> str:
    return f"{yardstick.all.mean / network.all.mean:.1f} ×" if network.all.mean else "–"


def _minutes(report: DemoReport) -> str:
    total = sum(report.seconds.values())
    return f"{total / 60:.1f} min" if total >= 60 else f"{total:.0f} s"
