"""Files of several individuals, in every format that has them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tables

from lploss.errors import DataError
from lploss_builtin.data.poses.labels import labelled_keypoints
from lploss_builtin.data.poses.reading import read_header, read_poses
from tests.lploss_builtin.data.poses.test_sleap_file import Labels, frame, instance, slp  # noqa: F401

POINTS = np.arange(24.0).reshape(3, 2, 2, 2)  # frames, individuals, keypoints, xy
LIKELIHOODS = np.linspace(0.1, 0.9, 12).reshape(3, 2, 2)


def multi_animal(folder, suffix):
    """A table as DeepLabCut writes it for several animals."""
    columns = pd.MultiIndex.from_product(
        [["net"], ["m1", "m2"], ["nose", "tail"], ["x", "y", "likelihood"]],
        names=["scorer", "individuals", "bodyparts", "coords"],
    )
    values = np.concatenate([POINTS, LIKELIHOODS[..., None]], axis=-1)
    table = pd.DataFrame(values.reshape(3, -1), columns=columns)
    path = folder / f"a{suffix}"
    if suffix == ".csv":
        table.to_csv(path)
    elif suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_hdf(path, key="df", format=suffix.removesuffix(".h5").strip(".") or "fixed")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".h5", ".table.h5", ".parquet"])
def test_tables_of_deeplabcut(tmp_path, suffix):
    path = multi_animal(tmp_path, suffix)
    table = read_poses(path)
    assert (table.individuals, table.keypoints) == (("m1", "m2"), ("nose", "tail"))
    np.testing.assert_array_equal(table.points, POINTS)
    np.testing.assert_allclose(table.confidences, LIKELIHOODS)
    assert table.frames.tolist() == [0, 1, 2]
    assert read_header(path).individuals == ("m1", "m2")
    second = table.select_individuals(("m2",))
    np.testing.assert_array_equal(second.points[:, 0], POINTS[:, 1])
    np.testing.assert_allclose(second.confidences[:, 0], LIKELIHOODS[:, 1])


def test_keypoints_that_only_some_individuals_have(tmp_path):
    """DeepLabCut calls what belongs to no animal the individual 'single'."""
    path = tmp_path / "a.csv"
    path.write_text(
        "scorer,n,n,n,n,n,n\nindividuals,m1,m1,single,single,m2,m2\n"
        "bodyparts,nose,nose,door,door,nose,nose\ncoords,x,y,x,y,x,y\n0,1,2,3,4,5,6\n"
    )
    table = read_poses(path)
    assert (table.individuals, table.keypoints) == (("m1", "single", "m2"), ("nose", "door"))
    nan = np.nan
    np.testing.assert_array_equal(
        table.points[0], [[[1, 2], [nan, nan]], [[nan, nan], [3, 4]], [[5, 6], [nan, nan]]]
    )


def test_notes_name_the_individual(tmp_path):
    path = multi_animal(tmp_path, ".csv")
    path.write_text(path.read_text().replace("0.9", "1.05"))
    (note,) = read_poses(path).notes
    assert note.endswith("were set to 0 or 1: 1 of 'm2/tail'.")


def test_visibility_is_that_of_each_individual(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "scorer,n,n,n,n,n\nindividuals,m1,m1,m2,m2,m2\nbodyparts,nose,nose,nose,nose,nose\n"
        "coords,x,y,x,y,visible\na.png,1,2,3,4,0\nb.png,1,2,3,4,1\n"
    )
    table = read_poses(path)
    np.testing.assert_array_equal(table.visibility[..., 0], [[np.nan, 0], [np.nan, 1]])
    np.testing.assert_array_equal(table.points[0, :, 0], [[1, 2], [np.nan, np.nan]])
    np.testing.assert_array_equal(table.points[1, :, 0], [[1, 2], [3, 4]])


def test_each_individual_is_a_labelled_pose(tmp_path):
    labelled = labelled_keypoints(multi_animal(tmp_path, ".csv"))
    np.testing.assert_array_equal(labelled.keypoints, POINTS.reshape(6, 4))
    assert labelled.keypoint_names == ("nose", "tail")


def sleap_analysis(path, names):
    with tables.open_file(str(path), "w") as file:
        file.create_array("/", "tracks", POINTS.transpose(1, 3, 2, 0))
        file.create_array("/", "node_names", [b"nose", b"tail"])
        file.create_array("/", "point_scores", LIKELIHOODS.transpose(1, 2, 0))
        if names is not None:
            file.create_array("/", "track_names", names)
    return path


@pytest.mark.parametrize(
    ("names", "expected"),
    [([b"female", b"male"], ("female", "male")), (None, ("track_0", "track_1"))],
)
def test_tracks_of_sleap_analysis_files(tmp_path, names, expected):
    table = read_poses(sleap_analysis(tmp_path / "a.h5", names))
    assert table.individuals == expected
    np.testing.assert_array_equal(table.points, POINTS)
    np.testing.assert_allclose(table.confidences, LIKELIHOODS)


def test_tracks_of_the_same_name(tmp_path):
    path = sleap_analysis(tmp_path / "a.h5", [b"mouse", b"mouse"])
    with pytest.raises(DataError, match=r"track_names must be 2 different names, .*'mouse'"):
        read_poses(path)


def tracked(name, points, scores=(0.5, 0.5)):
    found = instance(points, scores)
    found.track = SimpleNamespace(name=name)
    return found


def test_tracks_of_sleap_projects(slp):  # noqa: F811
    corrected = tracked("b", [[9, 9], [9, 9]], None)
    corrected.from_predicted = wrong = tracked("other", [[0, 0], [0, 0]])
    path = slp(
        Labels(
            [
                frame(4, [tracked("b", POINTS[1, 1]), tracked("a", POINTS[1, 0])]),
                frame(2, [tracked("a", POINTS[0, 0])]),
                # A person has corrected one animal; the other one is as it was predicted.
                frame(5, [tracked("a", POINTS[2, 0]), wrong], [corrected]),
                frame(6),
            ]
        )
    )
    table = read_poses(path)
    assert table.individuals == ("a", "b")
    assert table.frames.tolist() == [2, 4, 5]
    np.testing.assert_array_equal(table.points[:, 0], POINTS[:, 0])
    np.testing.assert_array_equal(table.points[1:, 1], [POINTS[1, 1], np.full((2, 2), 9.0)])
    assert np.isnan(table.points[0, 1]).all()
    assert table.confidences[2].tolist() == [[0.5, 0.5], [1, 1]]


def test_animals_without_a_track_or_twice_in_one(slp):  # noqa: F811
    pose = [[1, 2], [3, 4]]
    without = slp(Labels([frame(7, [tracked("a", pose), instance(pose)])]))
    with pytest.raises(DataError, match="frame 7: several animals, one of them without a track"):
        read_poses(without)
    twice = slp(Labels([frame(7, [tracked("a", pose), tracked("a", pose)])]))
    with pytest.raises(DataError, match="frame 7: the track 'a' holds several animals"):
        read_poses(twice)


def test_views_hold_the_same_individuals(tmp_path):
    left = multi_animal(tmp_path, ".csv")
    right = tmp_path / "right.csv"
    text = left.read_text()
    swapped = text.replace("m1", "m0").replace("m2", "m1").replace("m0", "m2")
    right.write_text(swapped)
    table = read_poses({"L": left, "R": right})
    assert table.individuals == ("m1", "m2")
    np.testing.assert_array_equal(table.points[:, :, 2:], POINTS[:, ::-1])
    right.write_text(text.replace("m2", "m3"))
    with pytest.raises(DataError, match=r"its individuals are not those of .*it lacks 'm2'"):
        read_poses({"L": left, "R": right})
