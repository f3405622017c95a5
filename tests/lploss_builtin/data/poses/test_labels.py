from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from lploss.errors import DataError
from lploss_builtin.data.poses import labels
from lploss_builtin.data.poses.labels import LabelledKeypoints, labelled_keypoints, labels_of_all
from tests.lploss_builtin.real_data import CASES, needs_cases

POSES = np.arange(24.0).reshape(6, 4)
CSV = """scorer,me,me,me,me
bodyparts,nose,nose,tail,tail
coords,x,y,x,y
labeled-data/a.png,1,2,3,4
labeled-data/b.png,5,6,,
"""


class Batches:
    """As much of a Lightning data module as is asked of it."""

    def __init__(self, *batches: object) -> None:
        self.batches = batches
        self.stages: list[str] = []

    def setup(self, stage: str) -> None:
        self.stages.append(stage)

    def train_dataloader(self) -> list[object]:
        return list(self.batches)


@pytest.mark.parametrize(
    "source",
    [
        POSES,
        torch.tensor(POSES),
        POSES.reshape(6, 2, 2),
        LabelledKeypoints(POSES),
        SimpleNamespace(labelled_keypoints=lambda: torch.tensor(POSES)),
        [POSES[:, :2], POSES[:, 2:]],
        Batches({"keypoints": torch.tensor(POSES[:4])}, {"keypoints": torch.tensor(POSES[4:])}),
        Batches({"keypoints_targ": torch.tensor(POSES)}),
    ],
)
def test_each_source_gives_the_same(source: object) -> None:
    labelled = labelled_keypoints(source)
    assert labelled.keypoints.dtype == np.float64
    np.testing.assert_array_equal(labelled.keypoints, POSES)
    assert labelled.name(1) == "keypoint 1"


def test_a_file_brings_its_names(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(CSV)
    labelled = labelled_keypoints(path)
    np.testing.assert_array_equal(labelled.keypoints, [[1, 2, 3, 4], [5, 6, np.nan, np.nan]])
    assert labelled.name(1) == "tail"
    both = labelled_keypoints([str(path), path])
    assert (both.num_views, both.keypoint_names) == (2, ("nose", "tail", "nose", "tail"))


def test_a_data_module_is_set_up_before_it_is_read() -> None:
    module = Batches({"keypoints": POSES})
    labelled_keypoints(module)
    assert module.stages == ["fit"]


def test_keypoints_that_a_dataset_keeps_are_taken_before_augmentation() -> None:
    class Frames(torch.utils.data.Dataset[object]):
        keypoints = torch.tensor(POSES).reshape(6, 2, 2)
        keypoint_names = ("nose", "tail")

    dataset = Frames()
    module = SimpleNamespace(
        dataset=dataset,
        train_dataset=Subset(dataset, [0, 3, 4]),
        train_dataloader=lambda: DataLoader(dataset),
    )
    labelled = labelled_keypoints(module)
    np.testing.assert_array_equal(labelled.keypoints, POSES[[0, 3, 4]])
    assert labelled.keypoint_names == ("nose", "tail")
    del module.train_dataset
    np.testing.assert_array_equal(labelled_keypoints(module).keypoints, POSES)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (42, r"got builtins\.int"),
        ([], r"got builtins\.list"),
        (np.zeros((3, 3)), r"must have shape .* got \(3, 3\)"),
        (np.zeros((3, 0)), r"got \(3, 0\)"),
        (np.zeros(3), r"got \(3,\)"),
        ([np.zeros((3, 4)), np.zeros((2, 4))], r"same frames and keypoints, got shapes"),
        (Batches(), "yields no batch"),
        (Batches({"images": 1}), r"got a mapping with \['images'\]"),
        (Batches((1, 2)), "got tuple"),
    ],
)
def test_a_source_without_keypoints_is_refused(source: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        labelled_keypoints(source)


def given_by(monkeypatch: pytest.MonkeyPatch, *others: object) -> None:
    """Let other processes hold this; the own comes first."""
    monkeypatch.setattr(labels, "has_processes", bool)
    monkeypatch.setattr(labels, "gather", lambda own: [own, *others])


def test_labels_of_several_processes_are_joined_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nobody = LabelledKeypoints(POSES[:0])
    other = LabelledKeypoints(POSES[2:5], ("nose", "tail"), 2)
    given_by(monkeypatch, nobody, other)
    joined = labels_of_all(LabelledKeypoints(POSES[:2], None, 2))
    np.testing.assert_array_equal(joined.keypoints, POSES[:5])
    assert (joined.keypoint_names, joined.num_views) == (("nose", "tail"), 2)
    joined = labels_of_all(POSES[:0])
    np.testing.assert_array_equal(joined.keypoints, POSES[2:5])
    assert (joined.keypoint_names, joined.num_views) == (("nose", "tail"), 2)


def test_labels_are_not_shared_where_that_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    given_by(monkeypatch, LabelledKeypoints(POSES))
    np.testing.assert_array_equal(labels_of_all(POSES[:2], sync=False).keypoints, POSES[:2])


def test_what_all_processes_hold_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    poses = np.where(POSES == 7, np.nan, POSES)
    given_by(monkeypatch, LabelledKeypoints(poses.copy()), LabelledKeypoints(poses[:0]))
    np.testing.assert_array_equal(labels_of_all(poses).keypoints, poses)
    given_by(monkeypatch, LabelledKeypoints(poses[:0]))
    assert labels_of_all(poses[:0]).keypoints.shape == (0, 4)


def test_labels_of_different_views_are_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    given_by(monkeypatch, LabelledKeypoints(POSES, None, 2))
    with pytest.raises(DataError, match=r"got \[2, 2\] keypoints, \[1, 2\] views"):
        labels_of_all(POSES)


def test_an_error_goes_round(monkeypatch: pytest.MonkeyPatch) -> None:
    given_by(monkeypatch, "DataError: the file is empty")
    with pytest.raises(DataError) as caught:
        labels_of_all(POSES)
    assert str(caught.value) == (
        "process 1 cannot give its labelled keypoints: DataError: the file is empty"
    )
    with pytest.raises(DataError, match=r"got builtins\.int"):
        labels_of_all(3)


@pytest.mark.usefixtures("group_of_one")
def test_one_process_has_its_own_labels() -> None:
    np.testing.assert_array_equal(labels_of_all(POSES).keypoints, POSES)


@needs_cases
def test_keypoints_that_are_marked_as_not_labelled_are_not_fitted_to() -> None:
    rows = labelled_keypoints(CASES / "coco_visible.csv").keypoints
    assert np.isnan(rows[:, 2:]).all(axis=1).sum() == 5
    assert np.isfinite(rows[:, :2]).all()
