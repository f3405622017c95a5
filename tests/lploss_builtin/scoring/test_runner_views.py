"""Scoring the calibrated views of one recording."""

from __future__ import annotations

import json
import tomllib

import numpy as np
import pandas as pd
import pytest

from lploss.errors import ArgumentValueError, ConfigError, DataError
from lploss_builtin.scoring import ScoreOptions, score_files
from tests.lploss_builtin.commands import rig
from tests.lploss_builtin.data.keypoint_tables import write_predictions
from tests.lploss_builtin.data.tiny_video import write_video
from tests.lploss_builtin.real_data import FOLDER, needs_real_data
from tests.lploss_builtin.scoring.scoring_calls import score_with

NUM_FRAMES = 30


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def calibration(tmp_path):
    return rig.write_calibration(tmp_path / "calibration.toml")


@pytest.fixture
def views():
    """Predictions of each view, 1 px from where the keypoints are."""
    rng = np.random.default_rng(2)
    seen = rig.project(rig.points_in_space(NUM_FRAMES))
    return {view: keypoints + rng.normal(0, 1, keypoints.shape) for view, keypoints in seen.items()}


@pytest.fixture
def score(tmp_path, out, calibration):
    def score(views, /, losses=("multiview_reprojection",), **options):
        files = rig.write_views(tmp_path, views)
        given = {"calibration": calibration, "out": out, "pictures": False, **options}
        return score_with(list(files.values()), losses=losses, **given)

    return score


def table(out, loss):
    scores = pd.read_parquet(out / "scores.parquet")
    return scores[scores["loss"] == loss]


def values_of(out, loss, shape=(3, 3)):
    """Values by frame, then by view or pair, then by keypoint."""
    return table(out, loss)["value"].to_numpy().reshape(-1, *shape)


def test_the_distance_from_what_all_views_say(views, score, out, tmp_path):
    views["Top"][7, 1] += (30.0, -20.0)
    summary = score(views)
    expected = rig.reprojection_error(views)
    np.testing.assert_allclose(values_of(out, "multiview_reprojection"), expected, atol=2e-3)
    name = str(tmp_path / "walk_left1+right2+top.csv")
    scores = table(out, "multiview_reprojection")
    assert set(scores["file"]) == {name}
    assert scores["keypoint"].tolist()[:4] == [
        "Left-1/nose",
        "Left-1/neck",
        "Left-1/tail",
        "Right-2/nose",
    ]
    row = summary.row("multiview_reprojection", name)
    assert row.median == pytest.approx(np.median(expected), rel=5e-4)
    worst = row.worst_frames[0]
    view, keypoint = np.unravel_index(expected[7].argmax(), (3, 3))
    assert (worst.frame, worst.keypoint) == (7, f"{list(rig.VIEWS)[view]}/{rig.NAMES[keypoint]}")
    assert json.loads((out / "summary.json").read_text())["views"] == [
        {
            "view": view.view,
            "valid": 3 * NUM_FRAMES,
            "reprojection": view.reprojection,
            "left_one_out": view.left_one_out,
            "in_pairs": dict(view.in_pairs),
        }
        for view in summary.views
    ]
    medians = np.median(expected, axis=(0, 2))
    assert [view.reprojection for view in summary.views] == pytest.approx(medians, rel=1.5e-3)


@pytest.mark.parametrize("max_frames", [1, 7])
def test_piece_by_piece_is_the_same_as_at_once(views, score, tmp_path, max_frames):
    losses = ["temporal", "multiview_reprojection"]
    whole = score(views, losses, out=tmp_path / "whole")
    pieces = score(views, losses, out=tmp_path / "pieces", max_frames=max_frames)
    pd.testing.assert_frame_equal(
        *(pd.read_parquet(tmp_path / one / "scores.parquet") for one in ("whole", "pieces"))
    )
    assert whole.rows == pieces.rows
    assert whole.views == pieces.views


def test_the_order_of_the_files_does_not_matter(views, score, out, tmp_path):
    one = score(views, ["temporal", "multiview_reprojection"])
    first = pd.read_parquet(out / "scores.parquet").drop(columns="file")
    other = score(dict(reversed(views.items())), ["temporal", "multiview_reprojection"])
    assert one.views == other.views
    pd.testing.assert_frame_equal(
        first, pd.read_parquet(out / "scores.parquet").drop(columns="file")
    )


def test_some_of_the_cameras_and_keypoints_in_another_order(
    views, score, out, tmp_path, calibration
):
    del views["Right-2"]
    left = write_predictions(tmp_path / "a.csv", views["Left-1"], rig.NAMES)
    top = write_predictions(tmp_path / "b.csv", views["Top"][:, ::-1], rig.NAMES[::-1])
    summary = score_files(
        [top, left],
        ScoreOptions(
            calibration=calibration,
            views=["Top", "Left-1"],
            losses=["multiview_reprojection"],
            config={"data": {"keypoint_names": ["neck", "nose", "tail"]}},
            out=out,
            pictures=False,
        ),
    )
    expected = rig.reprojection_error(views)[:, :, [1, 0, 2]]
    found = values_of(out, "multiview_reprojection", (2, 3))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert summary.notes == (f"{calibration}: no file is of Right-2",)
    assert [view.view for view in summary.views] == ["Left-1", "Top"]


def test_without_labels_all_that_can_run_does(views, score):
    summary = score(views, losses=None)
    assert summary.losses == ["multiview_reprojection", "temporal"]
    assert summary.left_out["supervised_reprojection_heatmap_mse"] == (
        "needs heatmaps_targ, which no file gives"
    )
    assert summary.left_out["supervised_pairwise_projections"] == (
        "needs keypoints_targ_3d, which no file gives"
    )
    assert summary.left_out["pca_multiview"] == "needs labels (--labels FILE)"


def test_confidences_weigh_the_views(views, tmp_path, calibration, out):
    views["Top"] += 25.0
    files = rig.write_views(tmp_path, {view: views[view] for view in ("Left-1", "Right-2")})
    files["Top"] = write_predictions(tmp_path / "top.csv", views["Top"], rig.NAMES, None, 0.0)
    score_files(
        list(files.values()),
        ScoreOptions(
            calibration=calibration, losses=["multiview_reprojection"], out=out, pictures=False
        ),
    )
    del views["Top"]
    np.testing.assert_allclose(
        values_of(out, "multiview_reprojection")[:, :2],
        rig.reprojection_error(views),
        atol=2e-3,
    )


def labels_of(tmp_path, num_frames=60):
    labelled = rig.project(rig.points_in_space(num_frames, seed=9))
    return list(rig.write_views(tmp_path, labelled, "labels_{}.csv", None, None).values())


def test_labels_fit_the_subspace_of_all_views(views, score, tmp_path, out):
    views["Top"][7, 1] += (60.0, -60.0)
    labels = labels_of(tmp_path)
    losses = ["pca_multiview"]
    summary = score(views, losses, labels=labels)
    assert summary.row("pca_multiview").worst_frames[0].frame == 7
    names = table(out, "pca_multiview")["keypoint"].unique().tolist()
    assert names[:4] == ["Left-1/nose", "Left-1/neck", "Left-1/tail", "Right-2/nose"]
    whole = values_of(out, "pca_multiview")
    # In any order: their names tell the view.
    score(views, losses, labels=labels[::-1])
    np.testing.assert_array_equal(values_of(out, "pca_multiview"), whole)
    # Two of the keypoints, which stand in the config by their number.
    config = {"data": {"keypoint_names": ["tail", "neck", "nose"]}}
    score(
        views,
        losses,
        labels=labels,
        config=config,
        overrides=["data.mirrored_column_matches=[2,0]"],
    )
    names = table(out, "pca_multiview")["keypoint"].unique().tolist()
    assert names[:3] == ["Left-1/nose", "Left-1/tail", "Right-2/nose"]


def images(view):
    return [f"labeled-data/monday_{view}/img{number}.png" for number in range(4)]


def test_labelled_images_are_compared_in_space(tmp_path, calibration, out):
    points = rig.points_in_space(4)
    index = {view: images(view) for view in rig.VIEWS}
    shift = np.array([0.03, 0.04, 0.0])
    files = rig.write_views(tmp_path, rig.project(points + shift), index=index)
    labelled = rig.project(points)
    labelled["Top"][0, 0] = np.nan  # two views are enough
    labelled["Top"][2, 1] = labelled["Left-1"][2, 1] = np.nan
    labels = rig.write_views(tmp_path, labelled, "labels_{}.csv", index, None)
    summary = score_files(
        list(files.values()),
        ScoreOptions(
            calibration=calibration,
            labels=list(labels.values()),
            losses=["supervised_pairwise_projections", "rmse", "temporal"],
            out=out,
            pictures=True,
        ),
    )
    found = values_of(out, "supervised_pairwise_projections")
    expected = np.full((4, 3, 3), 0.05)
    expected[2, :, 1] = np.nan
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    scores = table(out, "supervised_pairwise_projections")
    assert scores["keypoint"].tolist()[2:5] == [
        "Left-1+Right-2/tail",
        "Left-1+Top/nose",
        "Left-1+Top/neck",
    ]
    assert scores["frame"].tolist()[0] == "monday/img0.png"
    assert summary.row("supervised_pairwise_projections").unit == "calibration units"
    assert summary.row("rmse").valid == 36 - 3
    assert [note.partition(": ")[2] for note in summary.notes] == [
        "its frames are images, not consecutive frames; temporal has no value there"
    ]
    assert len(summary.pictures) == 6, "temporal has no value"


def test_cameras_stay_in_float64(views, score, site, tmp_path):
    site.install_loss(
        "acme",
        "half_a_bit",
        target="""
        import torch
        from lploss import Loss

        class Distance(Loss):
            loss_name, kind = "half_a_bit", "unsupervised"

            def compute_loss(self, keypoints_pred, intrinsics, extrinsics, distortions):
                for given in (intrinsics, extrinsics, distortions):
                    if given.dtype is not torch.float64 or len(given) != len(keypoints_pred):
                        raise RuntimeError("not float64, or not one a frame")
                return keypoints_pred[:, ::2].abs()
    """,
    )
    summary = score(views, ["half_a_bit"], registry=site.registry())
    assert summary.row("half_a_bit").valid == 9 * NUM_FRAMES


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"calibration": None, "labels": ["a.csv", "b.csv"]},
            ArgumentValueError,
            "one label file, g",
        ),
        (
            {"calibration": None, "views": ["Top"]},
            ArgumentValueError,
            "views, here Top, need a cali",
        ),
        ({"calibration": "none.toml"}, DataError, r"calibration none\.toml does not exist"),
        ({"views": ["Left-1", "Right", "Top"]}, ArgumentValueError, "there is no camera 'Right'"),
        (
            {"labels": ["labels_top.csv"]},
            ArgumentValueError,
            "one label file for each of the 3 views",
        ),
        ({"videos": ["1.mp4", "2.mp4"]}, ArgumentValueError, "one video for each of the 3 views"),
        (
            {"overrides": ["data.mirrored_column_matches=[[0,1],[1,2]]"]},
            ConfigError,
            "mirrored_column_matches must be one list of indices below 3",
        ),
    ],
)
def test_what_cannot_be_done(views, score, tmp_path, out, monkeypatch, options, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        score(views, **options)
    assert not out.exists()


def test_files_that_do_not_go_together(views, score, out, tmp_path, calibration):
    short = {**views, "Top": views["Top"][:20]}
    for keep_going in (False, True):
        with pytest.raises(
            DataError, match=r"walk_top\.csv ends after 20 frames, .*goes on with fr"
        ):
            score(short, keep_going=keep_going)
        assert not out.exists()
    files = rig.write_views(tmp_path, views)
    write_predictions(files["Top"], views["Top"][:, :2], rig.NAMES[:2])
    with pytest.raises(DataError, match=r"walk_top\.csv: its keypoints .*: it lacks 'tail'"):
        score_files(list(files.values()), ScoreOptions(calibration=calibration, out=out))
    assert not out.exists()


def test_pictures_with_the_video_of_each_view(views, tmp_path, calibration, out):
    files = list(rig.write_views(tmp_path, views).values())
    videos = [write_video(tmp_path / f"{n}.mp4", NUM_FRAMES, 480, 640) for n in range(3)]
    options = {"calibration": calibration, "losses": ["temporal", "multiview_reprojection"]}
    summary = score_with(files, videos=videos, out=out, **options)
    assert list(summary.pictures) == [
        f"pictures/walk_left1+right2+top/{loss}_{what}.png"
        for loss in ("multiview_reprojection", "temporal")
        for what in ("distribution", "over_time", "worst_frames")
    ]
    videos[1] = write_video(tmp_path / "short.mp4", 10)
    message = r"short\.mp4 has 10 frames, .*walk_left1\+right2\+top\.csv goes up to frame 29"
    with pytest.raises(DataError, match=message):
        score_with(files, videos=videos, out=tmp_path / "other", **options)
    assert not (tmp_path / "other").exists()


@needs_real_data
def test_a_real_fly(tmp_path, out):
    folder = FOLDER / "fly-3cam"
    names = list(dict.fromkeys(pd.read_csv(folder / "camA_member0.csv").iloc[0, 1:]))
    stored = tomllib.loads((folder / "calibration.toml").read_text())
    views, cameras = {}, {}
    for number, letter in enumerate("ABC"):
        members = [
            pd.read_csv(folder / f"cam{letter}_member{n}.csv", header=[0, 1, 2], index_col=0)
            for n in range(3)
        ]
        stacked = np.stack([one.to_numpy().reshape(500, 12, 3)[..., :2] for one in members])
        views[letter] = np.median(stacked, axis=0)
        write_predictions(tmp_path / f"cam{letter}_median.csv", views[letter], names, None, None)
        keys = ("rotation", "translation", "matrix", "distortions")
        cameras[letter] = rig.Camera(*(np.array(stored[f"cam_{number}"][key]) for key in keys))
    summary = score_files(
        [tmp_path / f"cam{letter}_median.csv" for letter in "ABC"],
        ScoreOptions(
            calibration=folder / "calibration.toml",
            losses=["multiview_reprojection", "temporal"],
            out=out,
            pictures=False,
        ),
    )
    expected = rig.reprojection_error(views, cameras)
    found = values_of(out, "multiview_reprojection", (3, 12))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)
    row = summary.row("multiview_reprojection")
    assert row.maximum == pytest.approx(expected.max(), rel=1e-3)
    # A DLT whose rows are scaled to length 1 weighs the views differently, and finds 1.16; for
    # A 1.05, B 0.70, C 2.84.
    assert row.median == pytest.approx(1.21, abs=0.01)
    assert [view.view for view in summary.views] == ["Cam-A", "Cam-B", "Cam-C"]
    of_all, of_others = zip(*((v.reprojection, v.left_one_out) for v in summary.views), strict=True)
    assert of_all == pytest.approx((1.19, 0.99, 1.57), abs=0.01)
    assert of_others == pytest.approx((2.65, 1.62, 5.11), abs=0.02)
    assert summary.views[1].in_pairs == pytest.approx({"Cam-A": 0.47, "Cam-C": 0.49}, abs=0.01)
