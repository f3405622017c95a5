"""How the values of one loss are distributed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lploss_builtin.scoring.loss_statistics import LossStatistics
from lploss_builtin.scoring.pictures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NUM_BARS = 80


def distribution(statistics: LossStatistics, file: str) -> Figure:
    """Draw how often which value occurs, counts on a logarithmic scale, with epsilon.

    Args:
        statistics: of one file.
        file: short name of the file.
    """
    loss, row = statistics.loss, statistics.row(file)
    figure = style.new_figure(7.5, 3.6)
    axes = figure.subplots()
    style.plain(axes)
    middles, counts = statistics.histogram.occupied()
    finite = np.isfinite(middles)
    edges = np.linspace(0.0, float(middles[finite].max(initial=0.0)) or 1.0, _NUM_BARS + 1)
    heights, _ = np.histogram(middles[finite], edges, weights=counts[finite])
    epsilon = loss.one_epsilon
    above = np.zeros(_NUM_BARS, dtype=bool) if epsilon is None else edges[:-1] >= epsilon
    axes.bar(
        edges[:-1],
        heights,
        width=np.diff(edges),
        align="edge",
        color=np.where(above, style.ALARM, "#7d9bb5").tolist(),
        edgecolor="white",
        linewidth=0.3,
    )
    axes.set_yscale("log")
    axes.set_ylim(0.7, max(float(heights.max()), 1.0) * 6)
    axes.set_xlim(0.0, edges[-1] * 1.02)
    words: dict[str, Any] = {
        "transform": axes.get_xaxis_transform(),
        "va": "top",
        "fontsize": 8,
        "zorder": 5,
        "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.8},
    }
    marks = (("median", row.median), ("95 %", row.percentile_95), ("99 %", row.percentile_99))
    for level, (text, value) in zip((0.98, 0.90, 0.82), marks, strict=True):
        if np.isfinite(value):
            axes.axvline(value, ymax=level, color=style.INK, linewidth=0.7, alpha=0.6)
            axes.text(
                value,
                level,
                f" {text} {style.number(value)}",
                color=style.INK,
                **words,
            )
    rest = f"{row.valid:,} values"
    if epsilon is None:
        rest += f", {100 * row.share_above_epsilon:.3g} % above their epsilon, one a keypoint"
    elif row.valid:
        rest += f", {100 * row.share_above_epsilon:.3g} % above epsilon {style.number(epsilon)}"
        if 0 < epsilon <= edges[-1]:
            axes.axvline(epsilon, color=style.ALARM, linewidth=1.2, linestyle=(0, (4, 3)))
            axes.text(
                epsilon,
                0.74,
                f" epsilon {style.number(epsilon)} {loss.unit}",
                color=style.ALARM,
                **words,
            )
    style.title(figure, loss.name, file, rest)
    axes.set_xlabel(f"value, {loss.unit}" if loss.unit else "value", fontsize=9, color=style.INK)
    axes.set_ylabel("number of values", fontsize=9, color=style.INK)
    return figure
