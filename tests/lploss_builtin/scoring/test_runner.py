from __future__ import annotations

import json
import math
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lploss.errors import (
    ArgumentValueError,
    ConfigError,
    DataError,
    MissingDependencyError,
    PluginError,
    UnknownLossError,
)
from lploss_builtin.scoring import ScoreOptions, score_files
from tests.lploss_builtin.data.keypoint_tables import csv_text, write_predictions
from tests.lploss_builtin.data.tiny_video import write_video
from tests.lploss_builtin.real_data import CASES, FOLDER, needs_cases, needs_real_data
from tests.lploss_builtin.scoring.scoring_calls import score_with

NAMES = ("nose", "neck", "tail")
PAWS = ("paw1LH", "paw2LF", "paw3RF", "paw4RH")
COLUMNS = ["file", "frame", "keypoint", "loss", "value", "valid"]


def tracks(num_frames=50, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 3, (num_frames, 3, 2)).cumsum(axis=0) + 200


def steps(keypoints):
    """How far each keypoint moves, NaN in the first frame."""
    return np.vstack([np.full(3, np.nan), np.linalg.norm(np.diff(keypoints, axis=0), axis=-1)])


def score(*files, out, **options):
    # The real recordings are not written beside.
    given = {"pictures": False, "metric_files": False, "losses": ["temporal"], **options}
    return score_with(files, out=out, **given)


def table(out):
    return pd.read_parquet(out / "scores.parquet")


def values_of(out, loss="temporal", file=None):
    scores = table(out)
    scores = scores[(scores["loss"] == loss) & (file is None or scores["file"] == str(file))]
    return scores["value"].to_numpy().reshape(-1, scores["keypoint"].nunique())


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def predictions(tmp_path):
    return write_predictions(tmp_path / "a.csv", tracks(), NAMES)


def test_tables_hold_each_value(predictions, out):
    keypoints = tracks()
    score(predictions, out=out)
    scores = table(out)
    assert list(scores.columns) == COLUMNS
    assert len(scores) == 150
    np.testing.assert_allclose(values_of(out), steps(keypoints), rtol=2e-4)
    assert scores["valid"].tolist() == scores["value"].notna().tolist()
    first = scores.iloc[4]
    assert (first["file"], first["frame"], first["keypoint"], first["loss"]) == (
        str(predictions),
        1,
        "neck",
        "temporal",
    )
    csv = pd.read_csv(out / "scores.csv")
    assert list(csv.columns) == COLUMNS
    pd.testing.assert_frame_equal(csv, scores, check_dtype=False, check_categorical=False)
    assert sorted(path.name for path in out.iterdir()) == [
        "scores.csv",
        "scores.parquet",
        "summary.json",
    ]


def test_summary_is_that_of_the_values(predictions, out):
    summary = score(predictions, out=out, overrides=["losses.temporal.epsilon=5"])
    values = steps(tracks())
    valid = values[1:]
    row = summary.row("temporal", str(predictions))
    assert (row.count, row.valid) == (150, 147)
    assert row.median == pytest.approx(np.median(valid), rel=3e-4)
    assert row.percentile_95 == pytest.approx(np.percentile(valid, 95), rel=3e-4)
    assert row.percentile_99 == pytest.approx(np.percentile(valid, 99), rel=3e-4)
    assert row.maximum == pytest.approx(valid.max(), rel=3e-4)
    assert row.epsilon == 5
    assert row.share_above_epsilon == (valid > 5).mean()
    of_frames = np.nanmax(np.where(np.isnan(values), -1, values), axis=1)
    worst = np.argsort(-of_frames)[:5]
    assert [one.frame for one in row.worst_frames] == worst.tolist()
    assert [one.keypoint for one in row.worst_frames] == [
        NAMES[keypoint] for keypoint in np.argmax(values[worst], axis=1)
    ]
    assert [one.value for one in row.worst_frames] == pytest.approx(of_frames[worst], rel=3e-4)
    stored = json.loads((out / "summary.json").read_text())
    assert stored["rows"][0]["median"] == row.median
    assert summary.row("temporal").median == row.median


@pytest.mark.parametrize("max_frames", [1, 7, 49])
def test_piece_by_piece_is_the_same_as_at_once(predictions, tmp_path, max_frames):
    whole = score(predictions, out=tmp_path / "whole")
    pieces = score(predictions, out=tmp_path / "pieces", max_frames=max_frames)
    pd.testing.assert_frame_equal(table(tmp_path / "whole"), table(tmp_path / "pieces"))
    assert whole.rows == pieces.rows


@pytest.mark.parametrize("suffix", [".h5", ".parquet"])
def test_all_formats_give_the_same(predictions, tmp_path, suffix):
    other = write_predictions(tmp_path / f"a{suffix}", tracks(), NAMES)
    score(predictions, out=tmp_path / "csv")
    score(other, out=tmp_path / "other")
    np.testing.assert_array_equal(values_of(tmp_path / "csv"), values_of(tmp_path / "other"))


def test_several_files_in_other_orders(tmp_path, out):
    one, other = tracks(20, 1), tracks(30, 2)
    first = write_predictions(tmp_path / "a.csv", one, NAMES)
    second = write_predictions(tmp_path / "b.csv", other[:, ::-1], NAMES[::-1])
    calls = []
    summary = score(
        first, second, out=out, max_frames=16, progress=lambda *call: calls.append(call)
    )
    np.testing.assert_allclose(values_of(out, file=first), steps(one), rtol=3e-4)
    np.testing.assert_allclose(values_of(out, file=second), steps(other), rtol=3e-4)
    both = np.concatenate([steps(one)[1:], steps(other)[1:]])
    assert summary.row("temporal").valid == both.size
    assert summary.row("temporal").median == pytest.approx(np.median(both), rel=3e-4)
    assert summary.row("temporal").maximum == pytest.approx(both.max(), rel=3e-4)
    assert calls == [
        (str(first), 0),
        (str(first), 16),
        (str(first), 20),
        (str(second), 0),
        (str(second), 16),
        (str(second), 30),
    ]


def test_frames_that_do_not_follow(tmp_path, out):
    index = [0, 1, 2, 10, 11]
    path = write_predictions(tmp_path / "a.csv", tracks(5), NAMES, index)
    summary = score(path, out=out, max_frames=3)
    assert np.isnan(values_of(out)).all(axis=1).tolist() == [True, False, False, True, False]
    assert summary.notes == (
        f"{path}: 1 times a frame does not follow the one before it; temporal has no value there",
    )
    assert table(out)["frame"].unique().tolist() == index


def test_images_have_no_steps(tmp_path, out):
    path = write_predictions(tmp_path / "a,b.csv", tracks(3), NAMES, ["b.png", "a.png", "c,d.png"])
    summary = score(path, out=out)
    assert summary.row("temporal").valid == 0
    assert math.isnan(summary.row("temporal").median)
    assert summary.notes == (
        f"{path}: its frames are images, not consecutive frames; temporal has no value there",
    )
    csv = pd.read_csv(out / "scores.csv")
    assert csv["frame"].unique().tolist() == ["b.png", "a.png", "c,d.png"]
    assert csv["file"].unique().tolist() == [str(path)]


def test_predictions_of_labelled_frames_are_compared_with_the_labels(tmp_path, out):
    keypoints = tracks(4)
    images = [f"labeled-data/{n}.png" for n in range(4)]
    path = write_predictions(tmp_path / "a.csv", keypoints + np.array([3.0, 4.0]), NAMES, images)
    other = write_predictions(tmp_path / "b.csv", keypoints, NAMES, ["x.png"] * 4)
    # Other order, one keypoint more, one image less, one keypoint not labelled.
    labelled = np.concatenate([keypoints[:, ::-1], np.zeros((4, 1, 2))], axis=1)[[3, 1, 0]]
    labelled[1, 0] = np.nan
    labels = write_predictions(
        tmp_path / "l.csv", labelled, (*NAMES[::-1], "paw"), [images[n] for n in (3, 1, 0)], None
    )
    summary = score(path, other, out=out, losses=["rmse"], labels=labels)
    distance = 5 / math.sqrt(2)
    expected = np.full((4, 3), distance)
    expected[2] = np.nan
    expected[1, 2] = np.nan
    np.testing.assert_allclose(values_of(out, "rmse", path), expected, rtol=1e-5)
    assert summary.row("rmse", str(other)).valid == 0
    assert summary.notes == (f"{other}: none of its frames stands in {labels}",)


def test_labels_with_a_frame_twice(tmp_path, out):
    path = write_predictions(tmp_path / "a.csv", tracks(2), NAMES, ["1.png", "2.png"])
    labels = write_predictions(tmp_path / "l.csv", tracks(2), NAMES, ["1.png", "1.png"], None)
    with pytest.raises(DataError, match=r"l\.csv: the frame 1\.png stands twice"):
        score(path, out=out, losses=["rmse"], labels=labels)


def test_labels_of_other_keypoints(predictions, tmp_path, out):
    labels = write_predictions(tmp_path / "l.csv", tracks(2), ("nose", "Neck", "ear"), None, None)
    with pytest.raises(
        DataError, match=r"Missing: 'neck'\. Did you mean 'Neck'\?; 'tail'\. It holds"
    ):
        score(predictions, out=out, labels=labels)
    assert not out.exists()


BAD = csv_text(["0,1,2,3,4,5,6", "1,1,2,oops,4,5,6"], NAMES)


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text(BAD)
    return path


def test_nothing_is_left_of_a_failure(predictions, bad, tmp_path, out):
    with pytest.raises(DataError, match=r"bad\.csv, line 5, keypoint 'neck', x: .* got 'oops'"):
        score(predictions, bad, out=out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "bad.csv"]


def test_earlier_scores_stay_after_a_failure(predictions, bad, out):
    score(predictions, out=out)
    before = {path: path.read_bytes() for path in out.rglob("*")}
    with pytest.raises(DataError):
        score(bad, out=out)
    assert {path: path.read_bytes() for path in out.rglob("*")} == before


def test_an_interrupt_leaves_nothing(predictions, tmp_path, out):
    def interrupt(file, num_frames):
        if num_frames:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(predictions, out=out, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_headers_are_checked_first(predictions, tmp_path, out):
    calls = []
    with pytest.raises(DataError) as caught:
        score(
            predictions,
            tmp_path / "none.csv",
            tmp_path / "none.txt",
            out=out,
            progress=lambda *call: calls.append(call),
        )
    assert str(caught.value).splitlines() == [
        "2 files cannot be scored:",
        f"{tmp_path}/none.csv does not exist",
        f"{tmp_path}/none.txt: keypoint files end in .csv, .h5, .hdf5, .parquet, .slp, not in "
        "'.txt'",
    ]
    assert calls == []


def test_keep_going_scores_the_others(predictions, bad, tmp_path, out):
    missing = tmp_path / "missing.csv"
    summary = score(missing, bad, predictions, out=out, keep_going=True)
    assert summary.failed == {
        str(missing): f"{missing} does not exist",
        str(bad): f"{bad}, line 5, keypoint 'neck', x: expected a number, or nothing where it is "
        "missing, got 'oops'",
    }
    assert table(out)["file"].unique().tolist() == [str(predictions)]
    assert pd.read_csv(out / "scores.csv")["file"].unique().tolist() == [str(predictions)]
    assert [row.file for row in summary.rows] == [str(predictions), None]
    assert json.loads((out / "summary.json").read_text())["failed"] == summary.failed
    assert sorted(path.name for path in out.iterdir()) == [
        "scores.csv",
        "scores.parquet",
        "summary.json",
    ]


def test_a_loss_that_fails_on_some_frames(tmp_path, out, site):
    site.install_loss(
        "acme",
        "picky",
        target="""
        from lploss import Loss

        class Distance(Loss):
            loss_name, kind = "picky", "unsupervised"

            def compute_loss(self, keypoints_pred):
                if len(keypoints_pred) == 7:
                    raise IndexError("seven")
                return keypoints_pred[:, ::2].abs()
    """,
    )
    seven = write_predictions(tmp_path / "a.csv", tracks(7), NAMES, range(3, 10))
    good = write_predictions(tmp_path / "b.csv", tracks(5), NAMES)
    options = {"out": out, "losses": ["picky"], "registry": site.registry()}
    message = (
        r"a\.csv, frames 3 to 9: the loss 'picky' cannot be evaluated: Distance of \w+ raised "
        r"IndexError: seven\."
    )
    with pytest.raises(PluginError, match=message):
        score(seven, good, **options)
    assert not out.exists()
    summary = score(seven, good, keep_going=True, **options)
    assert list(summary.failed) == [str(seven)]
    assert table(out)["file"].unique().tolist() == [str(good)]


def test_keep_going_needs_one_file_that_goes(bad, tmp_path, out):
    with pytest.raises(DataError, match=r"^.*none\.csv does not exist$"):
        score(tmp_path / "none.csv", out=out, keep_going=True)
    with pytest.raises(DataError, match=r"line 5, keypoint 'neck'"):
        score(bad, out=out, keep_going=True)
    assert not out.exists()


def test_files_of_other_keypoints(predictions, tmp_path, out):
    other = write_predictions(tmp_path / "b.csv", tracks(3), ("nose", "neck", "paw"))
    with pytest.raises(DataError, match=r"b\.csv: .* it lacks 'tail'; it alone has 'paw'"):
        score(predictions, other, out=out)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"losses": ["temporal", "temporal"]}, ConfigError, "asked for twice"),
        ({"losses": ["temproal"]}, UnknownLossError, "Did you mean 'temporal'"),
        ({"config": "none.yaml"}, ConfigError, "none.yaml does not exist"),
        ({"config": {"losses": {"temporal": {"epsilon": -1.0}}}}, ConfigError, "got -1.0"),
        ({"overrides": ["losses.temporal"]}, ConfigError, "must read section.key=value"),
        ({"labels": "none.csv"}, DataError, "none.csv does not exist"),
        (
            {"videos": ["1.mp4", "2.mp4"]},
            ArgumentValueError,
            "at most one video for one file; got 2",
        ),
        ({"videos": ["none.mp4"]}, DataError, "none.mp4 does not exist"),
        (
            {"losses": ["temporal", ""]},
            ArgumentValueError,
            "names of losses, .*; got 'temporal', ''",
        ),
        ({"losses": []}, ArgumentValueError, "losses must be names of losses, .*; got none"),
        ({"max_frames": 0}, ArgumentValueError, "max_frames must be at least 1"),
    ],
)
def test_what_cannot_be_done(predictions, tmp_path, out, monkeypatch, options, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        score(predictions, out=out, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_no_file_and_a_file_twice(predictions, out):
    with pytest.raises(ArgumentValueError, match="give at least one file of predictions"):
        score(out=out)
    with pytest.raises(ArgumentValueError, match=r"the file .*a\.csv is given twice"):
        score(predictions, predictions, out=out)
    other = predictions.parent / "folder" / ".." / predictions.name
    with pytest.raises(ArgumentValueError, match=r"a\.csv is given twice, also as .*\.\./a\.csv"):
        score(predictions, other, out=out)


@pytest.mark.parametrize("module", ["pandas", "pyarrow", "matplotlib"])
def test_a_missing_package_is_named(predictions, out, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingDependencyError, match=rf'{module} is needed .*pip install "lploss\[s'
    ):
        score(predictions, out=out)


def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    def peak(num_files):
        paths = [
            write_predictions(tmp_path / f"{num_files}_{number}.csv", np.ones((2000, 3, 2)), NAMES)
            for number in range(num_files)
        ]
        tracemalloc.start()
        score(*paths, out=tmp_path / f"out{num_files}", losses=["temporal"])
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found

    peak(1)  # imports
    assert peak(6) < 1.2 * peak(1)


def pictures_of(out):
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))


def test_pictures_with_a_video(tmp_path, out):
    path = write_predictions(tmp_path / "a.csv", tracks(12) / 8, NAMES)
    video = write_video(tmp_path / "a.mp4", num_frames=12)
    summary = score(path, out=out, videos=[video], pictures=True)
    expected = [
        f"pictures/a/temporal_{what}.png" for what in ("distribution", "over_time", "worst_frames")
    ]
    assert pictures_of(out) == expected == list(summary.pictures)
    for name in expected:
        assert (out / name).read_bytes().startswith(b"\x89PNG")


def test_videos_are_checked_first(tmp_path, out):
    path = write_predictions(tmp_path / "a.csv", tracks(12), NAMES)
    calls = []
    with pytest.raises(DataError, match=r"a\.csv cannot be read as a video"):
        score(path, out=out, videos=[path], progress=lambda *call: calls.append(call))
    assert calls == []


def test_pictures_of_an_earlier_scoring_go(tmp_path, out):
    first = write_predictions(tmp_path / "a.csv", tracks(12), NAMES)
    second = write_predictions(tmp_path / "b.csv", tracks(12), NAMES)
    score(first, out=out, pictures=True)
    mine = out / "pictures" / "mine.png"
    mine.write_text("not listed in the summary")
    score(second, out=out, pictures=True)
    assert {name.split("/")[1] for name in pictures_of(out)} == {"b", "mine.png"}
    assert not (out / "pictures" / "a").exists()
    (out / "summary.json").write_text("[]")
    with pytest.raises(DataError, match=r"summary\.json, .* is damaged"):
        score(second, out=out)
    assert len(pictures_of(out)) == 4


@pytest.mark.parametrize(
    "options",
    [
        {"overrides": ["losses.temporal.epsilon=[1.0, 5.0, 100.0]"]},
        {"overrides": ["losses.temporal.epsilon=1000"]},
        {"max_frames": 2000},
    ],
    ids=["one epsilon a keypoint", "epsilon above all", "many frames"],
)
def test_pictures_of_other_kinds(tmp_path, out, options):
    num_frames = 9000 if "max_frames" in options else 30
    index = None if num_frames == 9000 else [*range(15), *range(20, 35)]
    path = write_predictions(tmp_path / "a.csv", tracks(num_frames), NAMES, index)
    score(path, out=out, pictures=True, **options)
    assert len(pictures_of(out)) == 3


def test_no_pictures_of_a_loss_without_values(tmp_path, out):
    images = [f"labeled-data/a-folder-with-a-long-name/{n}.png" for n in range(4)]
    path = write_predictions(tmp_path / "a.csv", tracks(4), NAMES, images)
    labels = write_predictions(tmp_path / "l.csv", tracks(4), NAMES, images, None)
    score(path, out=out, pictures=True, losses=["temporal", "rmse"], labels=labels)
    assert {Path(name).name.split("_")[0] for name in pictures_of(out)} == {"rmse"}


def test_a_video_that_is_not_the_one(tmp_path, out):
    path = write_predictions(tmp_path / "a.csv", tracks(12), NAMES)
    good = write_predictions(tmp_path / "b.csv", tracks(5), NAMES)
    video = write_video(tmp_path / "a.mp4", num_frames=10)
    message = r"a\.mp4 has 10 frames, .*a\.csv goes up to frame 11 \(frames count from 0\)"
    with pytest.raises(DataError, match=message):
        score(path, out=out, videos=[video], pictures=True)
    summary = score(path, good, out=out, videos=[video], pictures=True, keep_going=True)
    assert list(summary.failed) == [str(path)]
    assert {name.split("/")[1] for name in pictures_of(out)} == {"b"}
    images = write_predictions(tmp_path / "c.csv", tracks(2), NAMES, ["1.png", "2.png"])
    with pytest.raises(DataError, match=r"c\.csv: its frames are images, so the video"):
        score(images, out=out, videos=[video], pictures=True)


def test_indices_of_the_config_are_those_of_its_names(tmp_path, out):
    # Two keypoints in two views; the files hold them in another order than the config.
    rng = np.random.default_rng(0)
    views = rng.normal(0, 1, (2, 2, 3))
    points = rng.normal(0, 40, (80, 2, 3))
    both = np.einsum("vij,fkj->fvki", views, points).reshape(80, 4, 2) + 200
    names = ["a_top", "b_top", "a_bot", "b_bot"]
    shuffled = [2, 1, 3, 0]
    labels = write_predictions(tmp_path / "l.csv", both[:60], names, None, None)
    broken = both[60:].copy()
    broken[7, 3] += 50.0
    path = write_predictions(tmp_path / "p.csv", broken[:, shuffled], [names[n] for n in shuffled])
    for known in (names, ["unseen", *names]):
        shift = len(known) - 4
        config = {
            "data": {
                "keypoint_names": known,
                "mirrored_column_matches": [[shift, shift + 1], [shift + 2, shift + 3]],
            }
        }
        score(path, out=out, losses=["pca_multiview"], labels=labels, config=config)
        scores = table(out)
        above = scores[scores["value"] > 0.01]
        assert set(above["frame"]) == {7}
        assert set(above["keypoint"]) <= {"b_top", "b_bot"}


@needs_real_data
def test_real_tracks(out):
    files = [FOLDER / "mirror-mouse-tracks" / f"member{n}.csv" for n in range(3)]
    config = {
        "data": {
            "keypoint_names": [f"{paw}_{view}" for view in ("top", "bot") for paw in PAWS],
            "mirrored_column_matches": [[0, 1, 2, 3], [4, 5, 6, 7]],
        }
    }
    labels = FOLDER / "mirror-mouse" / "CollectedData.csv"
    summary = score(
        *files, out=out, losses=["temporal", "pca_multiview"], labels=labels, config=config
    )
    row = summary.row("temporal")
    assert row.count == 3 * 2000 * 8
    assert row.median == pytest.approx(4.5, abs=0.05)
    assert row.percentile_99 == pytest.approx(19, abs=0.5)
    assert row.maximum == pytest.approx(189, abs=0.5)

    # The same by hand, from the files.
    raw = [pd.read_csv(path, header=[0, 1, 2], index_col=0) for path in files]
    moved = [
        np.hypot(
            np.diff(one.xs("x", axis=1, level=2), axis=0),
            np.diff(one.xs("y", axis=1, level=2), axis=0),
        )
        for one in raw
    ]
    np.testing.assert_allclose(values_of(out, "temporal", files[1])[1:], moved[1], atol=2e-4)

    scores = table(out)
    of_pca = scores[scores["loss"] == "pca_multiview"]
    both = of_pca["value"].to_numpy().reshape(-1, 2, 4)
    residual = np.linalg.norm(both, axis=1)
    assert np.median(residual[:2000]) == pytest.approx(1.72, abs=0.02)


@needs_real_data
def test_real_labels(tmp_path, out):
    labels = FOLDER / "mirror-mouse" / "CollectedData.csv"
    known = list(dict.fromkeys(pd.read_csv(labels, header=None, nrows=2).iloc[1, 1:]))
    config = {
        "data": {
            "keypoint_names": known,
            "mirrored_column_matches": [
                [known.index(f"{paw}_{view}") for paw in PAWS] for view in ("top", "bot")
            ],
        }
    }
    summary = score(
        labels, out=out, losses=["pca_multiview", "pca_singleview"], labels=labels, config=config
    )
    scores = table(out)
    both = scores[scores["loss"] == "pca_multiview"]["value"].to_numpy().reshape(-1, 2, 4)
    residual = np.linalg.norm(both, axis=1)
    assert np.nanmedian(residual) == pytest.approx(1.68, abs=0.02)

    # A pose with a gap has no place in or outside of the subspace.
    raw = pd.read_csv(labels, header=[0, 1, 2], index_col=0)
    complete = raw.notna().all(axis=1).to_numpy()
    single = scores[scores["loss"] == "pca_singleview"]["value"].to_numpy().reshape(90, 17)
    assert (~np.isnan(single).any(axis=1) == complete).all()
    assert summary.row("pca_singleview").valid == 17 * complete.sum()


@needs_cases
def test_labels_that_are_marked_as_not_labelled_do_not_count(tmp_path):
    summary = score_files(
        [CASES / "coco_pred.csv"],
        ScoreOptions(
            labels=CASES / "coco_visible.csv",
            losses=["rmse"],
            out=tmp_path / "out",
            pictures=False,
            metric_files=False,
        ),
    )
    values = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    # Predictions are 1 px off along x; five labels of the tail are not there.
    counted = values[values["valid"]]
    assert counted["value"].to_numpy() == pytest.approx(math.sqrt(0.5), rel=1e-5)
    assert (summary.rows[0].count, summary.rows[0].valid) == (40, 35)


def test_likelihoods_outside_their_range_are_noted_with_file_and_keypoint(tmp_path):
    path = write_predictions(tmp_path / "a.csv", tracks(), NAMES)
    table = pd.read_csv(path, header=[0, 1, 2], index_col=0)
    table.iloc[3, 2], table.iloc[4, 5] = 57.0, 1.02
    table.to_csv(path)
    summary = score_files(
        [path], ScoreOptions(losses=["temporal"], out=tmp_path / "out", pictures=False)
    )
    (note,) = [note for note in summary.notes if "likelihoods" in note]
    assert note.startswith(f"{path}: likelihoods must be from 0 to 1.")
    assert "1 of 'neck'" in note
    assert "count as missing: 1 of 'nose'" in note
