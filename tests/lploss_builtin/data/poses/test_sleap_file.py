from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from lploss.errors import DataError
from tests.lploss_builtin.data.keypoint_tables import read_keypoints


def instance(points, scores=None):
    fields = [("xy", "<f8", (2,)), *([("score", "<f8")] if scores is not None else [])]
    array = np.zeros(len(points), dtype=fields)
    array["xy"] = points
    if scores is not None:
        array["score"] = scores
    return SimpleNamespace(numpy=lambda: np.array(points, dtype=float), points=array)


def frame(number, predicted=(), user=()):
    return SimpleNamespace(
        frame_idx=np.int64(number), predicted_instances=list(predicted), user_instances=list(user)
    )


class Labels(list):
    def __init__(self, frames, num_videos=1, num_skeletons=1):
        super().__init__(frames)
        self.videos = ["video"] * num_videos
        self.skeletons = [SimpleNamespace(node_names=["nose", "tail"])] * num_skeletons


@pytest.fixture
def slp(tmp_path, monkeypatch):
    """A file whose content a stand-in for sleap_io gives."""

    def make(content):
        def load_slp(path, open_videos):
            assert not open_videos
            if isinstance(content, Exception):
                raise content
            return content

        monkeypatch.setitem(sys.modules, "sleap_io", SimpleNamespace(load_slp=load_slp))
        path = tmp_path / "a.slp"
        path.touch()
        return path

    return make


def test_a_point_without_a_score_has_the_likelihood_1(slp):
    scores = [np.nan, 1.02]
    table = read_keypoints(slp(Labels([frame(0, [instance([[1, 2], [3, 4]], scores)])])))
    assert table.confidences.tolist() == [[1.0, 1.0]]
    (note,) = table.notes
    assert note.endswith("Those within 0.1 of it were set to 0 or 1: 1 of 'tail'.")


def test_predictions_and_labels(slp):
    path = slp(
        Labels(
            [
                frame(4, [instance([[5, 6], [7, np.nan]], [0.5, 0.25])]),
                frame(2, [instance([[0, 0], [0, 0]], [0, 0])], [instance([[1, 2], [3, 4]])]),
                frame(3),
            ]
        )
    )
    table = read_keypoints(path)
    assert table.keypoint_names == ("nose", "tail")
    assert table.frames.tolist() == [2, 4]
    np.testing.assert_array_equal(table.keypoints, [[1, 2, 3, 4], [5, 6, 7, np.nan]])
    assert table.confidences.tolist() == [[1, 1], [0.5, 0.25]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Labels([], num_videos=2), "expected one video, got 2. Export one file for each"),
        (Labels([], num_skeletons=0), "expected one skeleton, got 0"),
        (Labels([frame(1)]), "there are no frames"),
        (
            Labels([frame(7, [instance([[1, 2], [3, 4]])] * 2)]),
            "frame 7: several animals, one of them without a track",
        ),
        (OSError("cut off"), "cannot be read as a SLEAP file: OSError: cut off"),
    ],
    ids=["videos", "skeletons", "empty", "animals", "broken"],
)
def test_files_that_cannot_be_used(slp, content, message):
    with pytest.raises(DataError, match=message):
        read_keypoints(slp(content))


def test_a_file_that_sleap_io_has_written(tmp_path):
    sleap_io = pytest.importorskip("sleap_io", reason="sleap-io is not installed")
    skeleton = sleap_io.Skeleton(["nose", "tail"])
    video = sleap_io.Video(filename="a.mp4", open_backend=False)
    frames = [
        sleap_io.LabeledFrame(
            video=video,
            frame_idx=number,
            instances=[
                sleap_io.PredictedInstance.from_numpy(
                    np.array([[number, 1.0], [2.0, 3.0]]),
                    skeleton=skeleton,
                    point_scores=np.array([0.5, 0.75]),
                    score=0.5,
                )
            ],
        )
        for number in (0, 1, 5)
    ]
    path = tmp_path / "a.slp"
    sleap_io.Labels(frames).save(str(path))
    table = read_keypoints(path)
    assert table.frames.tolist() == [0, 1, 5]
    assert table.keypoints.tolist() == [[0, 1, 2, 3], [1, 1, 2, 3], [5, 1, 2, 3]]
    assert table.confidences.tolist() == [[0.5, 0.75]] * 3
