"""PCA losses that several processes fit: the labels of all, and in all the same.

The oracle is one process with the labels of all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lploss.testing.processes import run_in_processes
from lploss_builtin.data.poses.labels import LabelledKeypoints
from tests.lploss_builtin.batches import labels
from tests.lploss_builtin.losses.fits_in_processes import PARAMS, fit


def with_gaps() -> np.ndarray:
    poses = labels(60).numpy().astype(float)
    poses[::7, 2:4] = np.nan
    poses[5] = np.nan
    return poses


POSES = with_gaps()
# The second process has no labels, and each of the others another number of them.
PARTS = [POSES[:37], POSES[:0], POSES[37:]]
NAMES = ("a", "b", "c", "d")
NAMED = [LabelledKeypoints(part, NAMES if len(part) else None, 2) for part in PARTS]
# For each case the loss, the labels of the three processes, and other arguments.
CASES: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "singleview": ("pca_singleview", PARTS, {}),
    "multiview": ("pca_multiview", PARTS, {}),
    "told to": ("pca_singleview", PARTS, {"sync": True}),
    "a view's own": ("pca_multiview", NAMED, {"mirrored_column_matches": [0, 1]}),
    "same everywhere": ("pca_singleview", [POSES] * 3, {}),
    "same where any": ("pca_singleview", [POSES, POSES[:0], POSES], {}),
    "not shared": ("pca_singleview", [POSES[:30], POSES[:40], POSES[20:]], {"sync": False}),
    "none": ("pca_singleview", [POSES[:0]] * 3, {}),
    "no source": ("pca_singleview", [POSES[:37], None, POSES[37:]], {}),
    "unreadable": ("pca_singleview", [POSES, 3, POSES], {}),
    "other keypoints": ("pca_singleview", [POSES, POSES[:, :6], POSES], {}),
    "other names": (
        "pca_singleview",
        [LabelledKeypoints(POSES, names) for names in (NAMES, NAMES[::-1], NAMES)],
        {},
    ),
}
UNREADABLE = (
    "labelled keypoints must come as a tensor or array (frames, 2 * keypoints), a path of a label "
    "file, an object with labelled_keypoints(), or a Lightning data module; got builtins.int"
)


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    """What each of three processes found."""
    payloads = [
        {case: (name, own[rank], params) for case, (name, own, params) in CASES.items()}
        for rank in range(3)
    ]
    target = "tests.lploss_builtin.losses.fits_in_processes:fits"
    return run_in_processes(target, payloads, timeout=300.0)


def assert_same(came: dict[str, Any], expected: dict[str, Any], **tolerance: float) -> None:
    assert came["state"].keys() == expected["state"].keys()
    for name, value in expected["state"].items():
        torch.testing.assert_close(came["state"][name], value, **tolerance)


@pytest.mark.parametrize(
    "case",
    ["singleview", "multiview", "told to", "same everywhere", "same where any", "no source"],
)
def test_the_fit_is_that_of_one_process_with_all_labels(found: list, case: str) -> None:
    expected = fit(CASES[case][0], POSES)
    for own in found:
        assert_same(own[case], expected, rtol=1e-5, atol=1e-5)
        # It reports on all rows, and counts once what all processes hold.
        assert own[case]["report"].rows_used == expected["report"].rows_used
        assert own[case]["report"].rows_complete == expected["report"].rows_complete
        assert own[case]["report"].rows_dropped == expected["report"].rows_dropped


@pytest.mark.parametrize("case", ["singleview", "multiview", "a view's own", "same where any"])
def test_the_fit_is_the_same_in_all_processes_to_the_bit(found: list, case: str) -> None:
    for own in found[1:]:
        assert_same(own[case], found[0][case], rtol=0, atol=0)
        assert own[case]["report"] == found[0][case]["report"]


def test_names_and_views_come_from_who_knows_them(found: list) -> None:
    for own in found:
        assert list(own["a view's own"]["report"].missing_share) == list(NAMES)
        assert own["a view's own"]["state"]["columns"].tolist() == [[0, 1], [2, 3]]


def test_without_sharing_each_process_fits_its_own_labels(found: list) -> None:
    for own, part in zip(found, CASES["not shared"][1], strict=True):
        assert_same(own["not shared"], fit("pca_singleview", part), rtol=1e-5, atol=1e-5)
    rows = [own["not shared"]["report"].rows_used for own in found]
    assert len(set(rows)) == 3


@pytest.mark.parametrize(
    ("case", "errors"),
    [
        ("none", ["FitError: loss 'pca_singleview': too few labels."] * 3),
        (
            "unreadable",
            [
                f"DataError: process 1 cannot give its labelled keypoints: DataError: {UNREADABLE}",
                f"DataError: {UNREADABLE}",
                f"DataError: process 1 cannot give its labelled keypoints: DataError: {UNREADABLE}",
            ],
        ),
        (
            "other keypoints",
            [
                "DataError: the labels of all processes must be of the same keypoints and views, "
                "got [4, 3, 4] keypoints, [1, 1, 1] views and the names []. A process without "
                "labels gives an array of shape (0, 8)."
            ]
            * 3,
        ),
        (
            "other names",
            [
                "DataError: the labels of all processes must be of the same keypoints and views, "
                "got [4, 4, 4] keypoints, [1, 1, 1] views and the names [['a', 'b', 'c', 'd'], "
                "['d', 'c', 'b', 'a']]. A process without labels gives an array of shape (0, 8)."
            ]
            * 3,
        ),
    ],
)
def test_an_error_of_one_process_is_one_of_all(found: list, case: str, errors: list[str]) -> None:
    for own, error in zip(found, errors, strict=True):
        assert own[case]["error"].startswith(error)


@pytest.mark.mistyped
@pytest.mark.parametrize("name", PARAMS)
def test_a_sync_that_there_is_not_is_refused(name: str) -> None:
    assert fit(name, POSES, sync="never")["error"] == (
        f"ArgumentValueError: loss {name!r}: sync must be 'auto', True or False, got 'never'"
    )
