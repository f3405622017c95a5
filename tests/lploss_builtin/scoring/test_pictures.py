from __future__ import annotations

import numpy as np
import pytest
import torch

from lploss import create_loss
from lploss.inputs import InputResolver
from lploss_builtin.data.poses.table import PoseNames
from lploss_builtin.scoring.loss_scores import LossScores
from lploss_builtin.scoring.pictures import draw, style
from lploss_builtin.scoring.pictures.draw import distribution, over_time
from lploss_builtin.scoring.pictures.worst_frames import worst_poses
from lploss_builtin.scoring.scored_loss import ScoredLoss
from tests.lploss_builtin.data.keypoint_tables import pose_table

# Read as a formula, the second name would be an error.
NAMES = ("nose", "tail$_{$")


def scores(values, epsilon=0.0, first_frame=0):
    """The given steps of the first keypoint; the second one stays where it is."""
    loss = create_loss("temporal", epsilon=epsilon)
    example = {"keypoints_pred": torch.zeros(2, 4)}
    scored = ScoredLoss(loss, PoseNames(NAMES), InputResolver({}), example)
    values = np.stack([np.array(values, dtype=float), np.zeros(len(values))], axis=1)
    values[np.isnan(values).any(axis=1)] = np.nan
    frames = np.arange(first_frame, first_frame + len(values))
    keypoints = np.zeros((len(values), 4))
    keypoints[:, 0] = np.nancumsum(values[:, 0])
    return LossScores(scored, "f", pose_table(keypoints, NAMES, frames), values)


def texts(figure):
    axes = [text.get_text() for one in figure.axes for text in one.texts]
    return [text.get_text() for text in figure.texts] + axes


def test_values_over_time():
    figure = over_time(scores([np.nan, 1, 9, 2], 5.0, 100), "walk", PoseNames(NAMES))
    nose, tail = figure.axes
    line = nose.lines[0]
    np.testing.assert_array_equal(line.get_xdata(), [100, 101, 102, 103])
    np.testing.assert_array_equal(line.get_ydata(), [np.nan, 1, 9, 2])
    marked = [one for one in nose.lines if one.get_markersize() == 5 and one.get_marker() == "o"]
    assert [float(one.get_xdata()[0]) for one in marked] == [102, 103, 101]
    assert [one.get_ydata()[0] for one in nose.lines if one.get_linestyle() == "--"] == [5.0]
    assert [one.get_ydata()[0] for one in tail.lines if one.get_linestyle() == "--"] == [5.0]
    assert texts(figure) == [
        "temporal   walk",
        "circles: worst frames: 102, 103, 101     dashed: epsilon 5 px",
    ]
    assert tail.get_xlabel() == "frame"


@pytest.mark.parametrize(
    ("epsilon", "remark"),
    [
        (0.0, "circles: worst frames: 1"),
        (50.0, "circles: worst frames: 1     dashed: epsilon 50 px (above all values)"),
        ([1.0, 9.0], "circles: worst frames: 1     dashed: epsilon, one a keypoint"),
    ],
)
def test_remarks_on_epsilon(epsilon, remark):
    figure = over_time(scores([np.nan, 5], epsilon), "walk", PoseNames(NAMES))
    assert texts(figure)[1] == remark


def test_frames_that_are_not_consecutive_are_counted():
    found = scores([np.nan, 5, 3], first_frame=7)
    found.table.frames[2] = 20
    figure = over_time(found, "walk", PoseNames(NAMES))
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), [0, 1, 2])
    assert figure.axes[-1].get_xlabel() == "frames of the file, counted from 0"


def test_a_point_of_a_long_recording_is_the_greatest_of_its_frames(monkeypatch):
    monkeypatch.setattr(draw, "_MOST_POINTS", 4)
    figure = over_time(scores([np.nan] * 2 + [1, 9, 2, 3, 0, 5, 4]), "walk", PoseNames(NAMES))
    line = figure.axes[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), [0, 4, 8])
    np.testing.assert_array_equal(line.get_ydata(), [9, 5, 4])
    label = "frame (a point is the greatest value of 4 frames)"
    assert figure.axes[-1].get_xlabel() == label


def test_distribution_holds_all_values():
    figure = distribution(scores([np.nan, *[1.0] * 30, 9.0], 5.0), "walk")
    (axes,) = figure.axes
    heights = [bar.get_height() for bar in axes.patches]
    assert sum(heights) == 62  # the other keypoint: 31 zeros
    right_of_epsilon = [bar for bar in axes.patches if bar.get_x() >= 5.0]
    assert sum(bar.get_height() for bar in right_of_epsilon) == 1
    assert texts(figure)[0] == "temporal   walk   62 values, 1.61 % above epsilon 5"
    assert " epsilon 5 px" in texts(figure)
    assert " median 0.5" in texts(figure)


def test_distribution_of_an_epsilon_each_and_of_infinite_values():
    figure = distribution(scores([np.nan, 2, 3, np.inf], [2.5, 1.0]), "walk")
    assert texts(figure)[0].endswith("33.3 % above their epsilon, one a keypoint")
    # Infinity has no bar, and a percentile that is infinite no mark.
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == 5
    assert not any("99 %" in text for text in texts(figure))


def test_worst_poses():
    found = scores([np.nan, 1, 9, 2])
    figure = worst_poses(found, "walk", NAMES, {})
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in panels] == [
        "frame 2\nnose  9",
        "frame 3\nnose  2",
        "frame 1\nnose  1",
    ]
    bottom, top = panels[0].get_ylim()
    assert bottom > 0 > top, "y goes down"
    assert panels[0].get_aspect() == 1.0
    from_before = panels[0].lines[0]
    np.testing.assert_array_equal(from_before.get_xdata(), [1, 10])
    legend = [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]
    assert legend == [*NAMES, "worst", "from the frame before"]


def test_worst_poses_over_the_video():
    images = {2: np.zeros((20, 30, 3), dtype=np.uint8)}
    figure = worst_poses(scores([np.nan, 1, 9]), "walk", NAMES, images)
    assert [len(axes.images) for axes in figure.axes[:2]] == [1, 0]
    assert figure.axes[0].get_xlim() == (-0.5, 29.5)
    assert figure.axes[0].get_ylim() == (19.5, -0.5)


def test_names_are_no_formulas(tmp_path):
    figure = worst_poses(scores([np.nan, 9]), "a$_{$", NAMES, {})
    style.save(figure, tmp_path / "new" / "a.png")
    style.save(over_time(scores([np.nan, 9]), "a$_{$", PoseNames(NAMES)), tmp_path / "b.png")
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")


def test_drawing_leaves_matplotlib_as_it_is(tmp_path):
    import matplotlib as mpl
    from matplotlib._pylab_helpers import Gcf

    before = dict(mpl.rcParams)
    style.save(distribution(scores([np.nan, 9]), "walk"), tmp_path / "a.png")
    assert dict(mpl.rcParams) == before
    assert not Gcf.figs


def test_colours_and_markers_tell_fifty_keypoints_apart():
    assert len({(style.colour(n), style.marker(n)) for n in range(50)}) == 50
