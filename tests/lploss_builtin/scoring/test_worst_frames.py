from __future__ import annotations

from pathlib import Path

import numpy as np

from lploss_builtin.data.poses.table import KeypointTable
from lploss_builtin.scoring.worst_frames import WorstFrames

NAMES = ("a", "b")


def add(worst, values, first=0, file="f", num_repeated=0, before=0, frames=None):
    values = np.array(values, dtype=float)
    num = len(values) + num_repeated
    if frames is None:
        frames = np.arange(num) + first - num_repeated
    keypoints = np.arange(num * 4, dtype=float).reshape(-1, 4)
    confidences = np.arange(num * 2, dtype=float).reshape(-1, 2)
    table = KeypointTable(Path(file), NAMES, frames, keypoints, confidences, num_repeated)
    worst.add(file, NAMES, table, first, values, before)


def found(worst):
    return [(one.file, one.frame, one.keypoint, one.value) for one in worst.found]


def test_greatest_values_of_all_pieces():
    worst = WorstFrames(3)
    add(worst, [[1, 5], [2, 0]])
    add(worst, [[7, 6], [5, 1], [np.nan, 3]], first=2)
    assert found(worst) == [("f", 2, "a", 7.0), ("f", 0, "b", 5.0), ("f", 3, "a", 5.0)]


def test_frames_without_a_value_are_none():
    worst = WorstFrames(3)
    add(worst, [[np.nan, np.nan], [np.nan, 0.0]])
    assert found(worst) == [("f", 1, "b", 0.0)]
    add(worst, np.zeros((0, 2)))
    assert len(worst.found) == 1


def test_poses_go_back_to_the_frames_looked_at():
    worst = WorstFrames(2)
    add(worst, [[1, 0], [9, 0]], num_repeated=1, before=1)
    assert worst.found[0].poses.tolist() == [[[4, 5], [6, 7]], [[8, 9], [10, 11]]]
    assert worst.found[0].confidences.tolist() == [4, 5]
    add(worst, [[10, 0]], before=1)
    assert worst.found[0].poses.tolist() == [[[0, 1], [2, 3]]]


def test_images_and_files():
    worst, other = WorstFrames(2), WorstFrames(2)
    add(worst, [[1, 0]], frames=np.array(["img.png"], dtype=object))
    add(other, [[2, 0], [0.5, 0]], file="g", first=8)
    worst.merge(other)
    assert found(worst) == [("g", 8, "a", 2.0), ("f", "img.png", "a", 1.0)]
    assert worst.found[0].row == 8
