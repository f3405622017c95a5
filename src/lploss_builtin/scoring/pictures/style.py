"""What the pictures share: figures without global state, colours, plain axes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lploss.terminal import printable
from lploss_builtin.dependencies import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#26323b"
FAINT = "#8b98a3"
ALARM = "#d1242f"

# Colours that stay apart for readers who do not see red and green apart, at equal lightness.
_COLOURS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#6a51a3",
    "#8c6d31",
    "#17a2a2",
    "#7f7f7f",
)


def new_figure(
    width: float,
    height: float,
    *,
    left: float = 0.7,
    right: float = 0.2,
    top: float = 0.5,
    bottom: float = 0.55,
    between: tuple[float, float] = (0.0, 0.0),
) -> Figure:
    """Return an empty figure whose axes leave these margins; all in inches.

    Margins that are stated take a third of the time of margins that matplotlib finds.

    Args:
        width: of the figure.
        height: of the figure.
        left: margin on the left.
        right: margin on the right.
        top: margin above.
        bottom: margin below.
        between: horizontal and vertical space between axes, as a share of their size.
    """
    figure: Figure = require("matplotlib.figure", "score", "to draw").Figure(
        figsize=(width, height), facecolor="white"
    )
    figure.subplots_adjust(
        left=left / width,
        right=1.0 - right / width,
        top=1.0 - top / height,
        bottom=bottom / height,
        wspace=between[0],
        hspace=between[1],
    )
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; its texts are shown as they are, ``$`` included."""
    as_plain_text(figure)
    canvas = require("matplotlib.backends.backend_agg", "score", "to draw").FigureCanvasAgg(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.print_png(str(path))


def as_plain_text(figure: Figure) -> None:
    """Let matplotlib show the texts of a figure as they are: without formulas between ``$``.

    The numbers at ticks are its own, and stay formulas where the scale is logarithmic.
    """
    text_type = require("matplotlib.text", "score", "to draw").Text
    axis_type = require("matplotlib.axis", "score", "to draw").Axis
    at_ticks = set()
    for axis in figure.findobj(axis_type):
        at_ticks |= {*axis.findobj(text_type)} - {axis.label}
    for text in figure.findobj(text_type):
        if text not in at_ticks:
            text.set_parse_math(False)
            text.set_text(printable(text.get_text()))


def colour(number: int) -> str:
    """Return the colour of a keypoint."""
    return _COLOURS[number % len(_COLOURS)]


def marker(number: int) -> str:
    """Return the marker of a keypoint; where colours come again, markers differ."""
    return "osD^v"[number // len(_COLOURS) % 5]


def draw_keypoint(axes: Axes, number: int, x: float, y: float, edge: str) -> None:
    """Draw a keypoint in its colour and with its marker, with an edge of the given colour."""
    axes.plot(
        x,
        y,
        marker(number),
        markersize=5,
        color=colour(number),
        markeredgecolor=edge,
        markeredgewidth=0.5,
        zorder=3,
    )


def title(figure: Figure, loss: str, file: str, rest: str = "") -> None:
    """Put a title at the top left of a figure."""
    text = f"{loss}   {file}" + (f"   {rest}" if rest else "")
    _write(figure, text, 0.0, "left", 11, INK)


def remark(figure: Figure, text: str) -> None:
    """Put a remark at the top right of a figure."""
    _write(figure, text, 1.0, "right", 8.5, ALARM)


def _write(figure: Figure, text: str, side: float, ha: str, size: float, ink: str) -> None:
    width, height = figure.get_size_inches()
    x = side + (0.12 if side == 0.0 else -0.12) / width
    y = 1.0 - 0.22 / height
    figure.text(x, y, text, ha=ha, va="center", fontsize=size, color=ink)


def plain(axes: Axes) -> None:
    """Leave of the frame what reads the values."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8, length=3, width=0.6)


def number(value: float) -> str:
    """Return a value in at most three digits, or all of those before the point."""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def short(frame: int | str) -> str:
    """Return the frame, of a long path its end."""
    text = str(frame)
    return text if len(text) < 32 else f"...{text[-28:]}"
