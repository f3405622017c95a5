from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from lploss import Loss, create_loss
from lploss.inputs import InputResolver
from lploss_builtin.data.cameras.calibration import read_calibration
from lploss_builtin.data.poses.table import PoseNames
from lploss_builtin.scoring.loss_scores import LossScores
from lploss_builtin.scoring.pictures import style
from lploss_builtin.scoring.pictures.draw import over_time
from lploss_builtin.scoring.pictures.worst_frames import window, worst_views
from lploss_builtin.scoring.recording import camera_inputs
from lploss_builtin.scoring.scored_loss import ScoredLoss
from tests.lploss_builtin.commands import rig
from tests.lploss_builtin.data.keypoint_tables import pose_table

VIEWS = PoseNames(rig.NAMES, tuple(rig.VIEWS))


@pytest.fixture
def cameras(tmp_path):
    return read_calibration(rig.write_calibration(tmp_path / "c.toml"))


def scores(cameras, views, confidences=None, loss="multiview_reprojection", names=VIEWS):
    """The values of a loss on these keypoints."""
    loss = create_loss(loss)
    resolver = InputResolver({name: loss.loss_name for name in loss.inputs if "all_views" in name})

    def batch(keypoints, given):
        inputs = {"keypoints_pred": torch.from_numpy(keypoints)}
        if given is not None:
            inputs["confidences"] = torch.from_numpy(given)
        return inputs | camera_inputs(cameras, len(keypoints))

    keypoints = np.concatenate([one.reshape(len(one), -1) for one in views.values()], axis=1)
    num = loss.num_previous_frames + 1
    example = batch(keypoints[:num], None if confidences is None else confidences[:num])
    scored = ScoredLoss(loss, names, resolver, example)
    frames = np.arange(len(keypoints))
    table = pose_table(keypoints, names.flat, frames, confidences)
    return LossScores(scored, "f", table, scored.values(batch(keypoints, confidences), frames, 0))


def texts(axes):
    return [text.get_text() for text in axes.texts]


def marked(axes):
    """Where the red circle is."""
    return [line.get_xydata().tolist() for line in axes.lines if line.get_markersize() == 14]


def test_a_row_a_frame_and_a_column_a_view(cameras):
    views = rig.project(rig.points_in_space(4))
    views["Top"][2, 1] += (8.0, 6.0)
    figure = worst_views(scores(cameras, views), "walk", VIEWS, cameras, [])
    assert figure.texts[0].get_text() == "multiview_reprojection   walk   worst frames"
    panels = np.array(figure.axes).reshape(4, 3)
    errors = rig.reprojection_error(views)[2, :, 1]
    worst = list(rig.VIEWS)[errors.argmax()]
    shown = [style.number(error) for error in errors]
    subtitles = [texts(axes)[0].partition("   without") for axes in panels[0]]
    assert [before for before, _, _ in subtitles] == [
        f"{view}   up to {error} px" for view, error in zip(rig.VIEWS, shown, strict=True)
    ]
    # The other two agree without the view that is wrong, and only without that one.
    pairs = [{v: k for v, k in views.items() if v != view} for view in views]
    without = [rig.reprojection_error(pair)[2, :, 1].max() for pair in pairs]
    assert [float(after.split()[-2]) for _, _, after in subtitles[:2]] == pytest.approx(
        without[:2], rel=5e-3
    )
    assert float(subtitles[2][2].split()[-2]) < 1e-6
    inks = [axes.texts[0].get_color() for axes in panels[0]]
    assert inks == [style.FAINT, style.FAINT, style.ALARM]
    assert texts(panels[0, 0])[1] == f"frame 2   {worst}/neck  {max(shown, key=float)} px"
    for axes, (view, keypoints) in zip(panels[0], views.items(), strict=True):
        # A line from where all views put the keypoint to where it was predicted.
        line = axes.lines[3].get_xydata()
        np.testing.assert_allclose(line[1], keypoints[2, 1])
        distance = np.linalg.norm(line[1] - line[0])
        assert distance == pytest.approx(errors[list(rig.VIEWS).index(view)], rel=1e-6)
        assert marked(axes) == ([[keypoints[2, 1].tolist()]] if view == worst else [])
        assert axes.get_aspect() == 1.0
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert bottom > top, "y goes down"
        assert ((keypoints[2] > (left, top)) & (keypoints[2] < (right, bottom))).all()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [*rig.NAMES, "all views together", "worst"]


def test_confidences_weigh_the_views_as_in_the_loss(cameras):
    views = rig.project(rig.points_in_space(2))
    views["Top"] += 9.0
    confidences = np.ones((2, 9))
    confidences[:, 6:] = 0.0
    found = scores(cameras, views, confidences)
    figure = worst_views(found, "walk", VIEWS, cameras, [])
    by_view = [float(texts(axes)[0].partition(" px")[0].split()[-1]) for axes in figure.axes[:3]]
    assert by_view[:2] == pytest.approx([0, 0], abs=1e-6)
    assert by_view[2] == pytest.approx(found.row.worst_frames[0].value, rel=5e-3)
    assert by_view[2] > 5


def test_of_two_views_nobody_can_say_which_is_wrong(cameras):
    views = rig.project(rig.points_in_space(1))
    del views["Top"]
    views["Right-2"][0, 1] += (0.0, 9.0)
    names = PoseNames(rig.NAMES, tuple(views))
    two = cameras.select(list(views))
    figure = worst_views(scores(two, views, names=names), "w", names, two, [])
    assert [len(texts(axes)) for axes in figure.axes] == [2, 1]
    assert not any("without" in texts(axes)[0] for axes in figure.axes)


def test_a_loss_that_looks_back_shows_the_frame_before(cameras):
    views = rig.project(rig.points_in_space(3))
    views["Right-2"][1, 2] += 50.0
    figure = worst_views(scores(cameras, views, loss="temporal"), "w", VIEWS, cameras, [])
    right = figure.axes[1]
    assert texts(right) == ["Right-2"]
    before = right.lines[6].get_xydata()
    np.testing.assert_allclose(before, views["Right-2"][:2, 2])
    assert marked(right) == [[views["Right-2"][1, 2].tolist()]]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[-2:] == ["the frame before", "worst"]


def test_over_the_videos(cameras):
    views = rig.project(rig.points_in_space(1))
    images = [{0: np.zeros((48, 64, 3), dtype=np.uint8)} for _ in range(3)]
    figure = worst_views(scores(cameras, views), "w", VIEWS, cameras, images)
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1]
    assert to_hex(figure.axes[0].lines[0].get_color()) == "#ffffff"


def test_what_is_missing_is_not_drawn(cameras, tmp_path):
    views = rig.project(rig.points_in_space(1))
    views["Top"][:] = np.nan
    figure = worst_views(scores(cameras, views), "a$_{$", VIEWS, cameras, [])
    top = figure.axes[2]
    assert texts(top)[0].startswith("Top   without it ")
    assert top.get_xlim()[0] <= 0
    assert top.get_xlim()[1] >= 640
    style.save(figure, tmp_path / "a.png")


@pytest.mark.parametrize(
    ("pose", "joined", "size", "low", "high"),
    [
        # As large as the pose and a quarter more on each side, in the shape of a panel.
        ([[0, 0], [58, 48]], [[0, 0], [58, 48]], None, (-14.5, -12), (72.5, 60)),
        # A pose of no size has some of the image about it.
        (
            [[30, 40], [30, 40]],
            [[30, 40]] * 2,
            None,
            (0, 40 - 30 * 24 / 29),
            (60, 40 + 30 * 24 / 29),
        ),
        # What is far away is shown as far as the pose is large.
        ([[0, 0], [100, 0]], [[0, 0], [900, 0]], None, (-50, -150 * 24 / 29), (250, 150 * 24 / 29)),
        # A pose that fills the image shows all of it.
        ([[20, 20], [560, 420]], [[20, 20]] * 2, (580, 480), (0, 0), (580, 480)),
        # So does one that is small in an image that is small, or that is not there.
        ([[20, 20], [30, 25]], [[20, 20]] * 2, (58, 48), (0, 0), (58, 48)),
        ([[np.nan, 1], [1, np.nan]], [[np.nan, 1]] * 2, (58, 48), (0, 0), (58, 48)),
        # But not one that reaches out of it.
        ([[0, 0], [58, 60]], [[0, 0]] * 2, (58, 48), (29 - 54.375, -15), (29 + 54.375, 75)),
        (
            [[np.nan, 1], [1, np.nan]],
            [[np.nan, 1]] * 2,
            None,
            (-29.5, 0.5 - 30 * 24 / 29),
            (30.5, 0.5 + 30 * 24 / 29),
        ),
    ],
)
def test_the_part_of_an_image_that_is_shown(pose, joined, size, low, high):
    found = window(np.array(pose, dtype=float), np.array([joined], dtype=float), size)
    np.testing.assert_allclose(found, (low, high), atol=1e-9)


def test_values_over_time_have_a_column_a_view(cameras):
    views = rig.project(rig.points_in_space(4))
    figure = over_time(scores(cameras, views), "walk", VIEWS)
    panels = np.array(figure.axes).reshape(3, 3)
    assert [axes.get_title(loc="left") for axes in panels[0]] == list(rig.VIEWS)
    assert [axes.get_ylabel() for axes in panels[:, 0]] == list(rig.NAMES)
    assert [axes.get_ylabel() for axes in panels[:, 1]] == ["", "", ""]
    assert [axes.get_xlabel() for axes in panels[2]] == ["frame"] * 3
    values = scores(cameras, views).values
    np.testing.assert_array_equal(panels[1, 2].lines[0].get_ydata(), values[:, 7])
    # A keypoint has one colour in all views.
    colours = [[axes.lines[0].get_color() for axes in row] for row in panels]
    assert [set(row) for row in colours] == [{style.colour(number)} for number in range(3)]


@pytest.mark.parametrize(
    ("num_views", "columns", "off"), [(2, 2, 0), (3, 3, 0), (4, 2, 0), (5, 3, 1), (7, 3, 2)]
)
def test_many_views_take_several_rows(num_views, columns, off):
    names = PoseNames(("nose", "tail"), tuple("abcdefg"[:num_views]))
    loss = create_loss("temporal")
    example = {"keypoints_pred": torch.zeros(2, 4 * num_views)}
    scored = ScoredLoss(loss, names, InputResolver({}), example)
    keypoints = np.arange(8.0 * num_views).reshape(2, -1)
    values = np.stack([np.full(2 * num_views, np.nan), np.arange(2.0 * num_views)])
    table = pose_table(keypoints, names.flat)
    figure = over_time(LossScores(scored, "f", table, values), "walk", names)
    assert figure.axes[0].get_subplotspec().get_gridspec().ncols == columns
    assert sum(not axes.axison for axes in figure.axes) == 2 * off
    drawn = [axes for axes in figure.axes if axes.axison]
    assert sorted(axes.lines[0].get_ydata()[1] for axes in drawn) == [*range(2 * num_views)]
    assert sum(bool(axes.get_xlabel()) for axes in drawn) == columns


class Speeds(Loss):
    loss_name, kind = "speeds", "unsupervised"

    def compute_loss(self, keypoints_pred):
        return keypoints_pred[:, :2].abs()

    def element_names(self, keypoint_names):
        return ["slow", "fast"]


def test_elements_that_are_of_no_view(cameras):
    loss, views = Speeds(), rig.project(rig.points_in_space(3))
    keypoints = np.concatenate([one.reshape(3, -1) for one in views.values()], axis=1)
    batch = {"keypoints_pred": torch.from_numpy(keypoints)}
    scored = ScoredLoss(loss, VIEWS, InputResolver({}), batch)
    table = pose_table(keypoints, VIEWS.flat)
    found = LossScores(scored, "f", table, scored.values(batch, table.frames, 0))
    over = over_time(found, "walk", VIEWS)
    assert [axes.get_ylabel() for axes in over.axes] == ["slow", "fast"]
    worst = worst_views(found, "walk", VIEWS, cameras, [])
    assert not any(marked(axes) for axes in worst.axes)
    assert not any("without" in texts(axes)[0] for axes in worst.axes)
