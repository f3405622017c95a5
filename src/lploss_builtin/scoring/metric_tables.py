"""Which values go into which metric file: one for each loss and view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lploss_builtin.data.poses.names import PoseNames
from lploss_builtin.scoring.scored_loss import ScoredLoss


@dataclass(frozen=True, slots=True)
class MetricTable:
    """A metric of one view, or what no view has for itself.

    Attributes:
        loss: name of the loss.
        metric: what the file is called after.
        unit: of the values.
        scale: the element-wise loss times this is the metric.
        view: the view; ``""`` where there is one without a name, and for values that belong to no
            single view: of pairs of views, of whole poses.
        columns: names of the columns.
        elements: for each column which value of the loss stands there, counted along its
            `ScoredLoss.element_names`; ``None`` where the loss has none.
    """

    loss: str
    metric: str
    unit: str
    scale: float
    view: str
    columns: tuple[str, ...]
    elements: tuple[int | None, ...]


def metric_tables(losses: Sequence[ScoredLoss], names: PoseNames) -> tuple[MetricTable, ...]:
    """Return the tables of all metrics: of each loss one for each view.

    A loss of some of the keypoints has the columns of all, as the source system does; one whose
    elements are no keypoints has their names.

    Args:
        losses: the losses; those without a metric have no table.
        names: names of the keypoints and views.
    """
    called = metric_names({loss.name: loss.metric_name for loss in losses})
    return tuple(
        table for loss in losses if loss.name in called for table in _tables(loss, called, names)
    )


def metric_names(own: dict[str, str | None]) -> dict[str, str]:
    """Return what the metric of each loss is called; where two share a name, each as its loss.

    Args:
        own: for each loss its ``metric_name``; ``None``: the name of the loss, ``""``: no metric.

    Example:
        >>> metric_names({"rmse": "pixel_error", "bone_length": None, "regression": ""})
        {'rmse': 'pixel_error', 'bone_length': 'bone_length'}
        >>> metric_names({"rmse": "pixel_error", "distance": "pixel_error"})
        {'rmse': 'rmse', 'distance': 'distance'}
    """
    called = {loss: metric or loss for loss, metric in own.items() if metric != ""}
    while True:
        # A loss may be called as the metric of another one: names of losses differ in the end.
        counts = Counter(called.values())
        shared = [loss for loss, name in called.items() if counts[name] > 1 and name != loss]
        if not shared:
            return called
        called |= {loss: loss for loss in shared}


def _tables(loss: ScoredLoss, called: dict[str, str], names: PoseNames) -> list[MetricTable]:
    found: dict[str, dict[str, int]] = {}
    for number, element in enumerate(loss.element_names):
        group, keypoint = names.split(element)
        is_of_view = group in names.views
        columns = found.setdefault(group if is_of_view else "", {})
        columns[keypoint if is_of_view else element] = number
    return [
        MetricTable(loss.name, called[loss.name], loss.unit, loss.metric_scale, view, *columns)
        for view, of_view in found.items()
        for columns in [_columns(of_view, names)]
    ]


def _columns(
    numbers: dict[str, int], names: PoseNames
) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    columns = names.keypoints if set(numbers) <= set(names.keypoints) else tuple(numbers)
    return columns, tuple(map(numbers.get, columns))
