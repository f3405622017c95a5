from __future__ import annotations

import os
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tables

from lploss.errors import DataError, MissingDependencyError
from lploss_builtin.data.poses import csv_file
from lploss_builtin.data.poses.reading import read_header, read_poses
from tests.lploss_builtin.data.keypoint_tables import (
    csv_text,
    frame_of,
    read_keypoints,
    write_predictions,
)
from tests.lploss_builtin.real_data import CASES, FOLDER, needs_cases, needs_real_data


def write(folder: Path, text: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_of_predictions(tmp_path):
    path = write(tmp_path, csv_text(["0,1.5,2,0.9,3,4,0.8", "1,5,6,1,,,0.1"], coords="xyl"))
    table = read_keypoints(path)
    assert table.path == path
    assert table.keypoint_names == ("nose", "tail")
    assert table.frames.tolist() == [0, 1]
    assert table.frames.dtype == np.int64
    np.testing.assert_array_equal(table.keypoints, [[1.5, 2, 3, 4], [5, 6, np.nan, np.nan]])
    np.testing.assert_array_equal(table.confidences, [[0.9, 0.8], [1, 0.1]])
    assert table.keypoints.dtype == table.confidences.dtype == np.float64


def test_csv_of_labels(tmp_path):
    text = csv_text(
        ["labeled-data/a.png,1,2,2,3,4,1", "labeled-data/b.png,,,0,NaN,NaN,0"], coords="xyv"
    )
    table = read_keypoints(write(tmp_path, text))
    assert table.frames.tolist() == ["labeled-data/a.png", "labeled-data/b.png"]
    np.testing.assert_array_equal(table.keypoints, [[1, 2, 3, 4], [np.nan] * 4])
    assert table.confidences is None


def test_columns_need_not_stand_together(tmp_path):
    text = "scorer,a,a,a,a\nbodyparts,nose,tail,nose,tail\ncoords,y,x,x,y\n0,1,2,3,4\n"
    table = read_keypoints(write(tmp_path, text))
    assert table.keypoint_names == ("nose", "tail")
    assert table.keypoints.tolist() == [[3, 1, 2, 4]]


def test_three_index_columns_of_older_label_files(tmp_path):
    text = (
        "scorer,,,rick,rick\nbodyparts,,,nose,nose\ncoords,,,x,y\n"
        "labeled-data,mouse,img1.png,1,2\nlabeled-data,mouse,img2.png,3,4\n"
    )
    table = read_keypoints(write(tmp_path, text))
    assert table.frames.tolist() == ["labeled-data/mouse/img1.png", "labeled-data/mouse/img2.png"]
    assert table.keypoints.tolist() == [[1, 2], [3, 4]]


def test_backslashes_in_paths_of_images(tmp_path):
    text = csv_text(["labeled-data\\a.png,1,2,3,4"])
    assert read_keypoints(write(tmp_path, text)).frames.tolist() == ["labeled-data/a.png"]


def test_the_column_of_sets_is_left_out(tmp_path):
    text = "scorer,a,a,set\nbodyparts,nose,nose,\ncoords,x,y,\nimg.png,1,2,train\n"
    assert read_keypoints(write(tmp_path, text)).keypoints.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "last", ["other,,", "set,a,", "set,,x"], ids=["other name", "body part", "coord"]
)
def test_only_that_column_is_left_out(tmp_path, last):
    cells = last.split(",")
    text = (
        f"scorer,a,a,{cells[0]}\nbodyparts,nose,nose,{cells[1]}\ncoords,x,y,{cells[2]}\n0,1,2,3\n"
    )
    with pytest.raises(DataError):
        read_keypoints(write(tmp_path, text))


def test_line_ends_of_windows_byte_order_mark_blank_lines_and_quotes(tmp_path):
    text = csv_text(['"a,b.png",1,2,3,4', "", '"c.png",5,6,7,8', ""])
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    table = read_keypoints(path)
    assert table.frames.tolist() == ["a,b.png", "c.png"]
    assert table.keypoints.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_infinite_coordinates_are_missing(tmp_path):
    table = read_keypoints(write(tmp_path, csv_text(["0,inf,2,-inf,4"])))
    np.testing.assert_array_equal(table.keypoints, [[np.nan, 2, np.nan, 4]])


def test_frames_may_be_written_as_whole_floats(tmp_path):
    table = read_keypoints(write(tmp_path, csv_text(["0.0,1,2,3,4", "1.0,1,2,3,4"])))
    assert table.frames.tolist() == [0, 1]
    assert read_header(table.path).frames_are_numbers


def test_fractions_are_no_frame_numbers(tmp_path):
    table = read_keypoints(write(tmp_path, csv_text(["0.5,1,2,3,4"])))
    assert table.frames.tolist() == ["0.5"]
    assert not read_header(table.path).frames_are_numbers


def values_of(num_frames: int, num_keypoints: int = 3) -> np.ndarray:
    values = np.random.default_rng(0).normal(100, 50, (num_frames, num_keypoints, 2))
    values[num_frames // 2, 0] = np.nan
    return values


NAMES = ("nose", "neck", "tail")


@pytest.mark.parametrize("suffix", [".csv", ".h5", ".parquet"])
@pytest.mark.parametrize("index", [None, [f"img{i}.png" for i in range(20)]], ids=["int", "path"])
def test_all_formats_hold_the_same(tmp_path, suffix, index):
    values = values_of(20)
    path = write_predictions(tmp_path / f"a{suffix}", values, NAMES, index, likelihood=0.75)
    table = read_keypoints(path)
    np.testing.assert_allclose(table.keypoints, values.reshape(20, -1), rtol=1e-15)
    np.testing.assert_array_equal(table.confidences, np.full((20, 3), 0.75))
    assert table.frames.tolist() == (index or list(range(20)))
    header = read_header(path)
    assert header.keypoint_names == NAMES
    assert header.has_confidences
    assert header.frames_are_numbers == (index is None)


def written(table: pd.DataFrame, folder: Path, suffix: str) -> Path:
    path = folder / f"a{suffix}"
    if suffix == ".h5":
        table.to_hdf(path, key="df", mode="w")
    else:
        table.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".h5", ".parquet"])
@pytest.mark.filterwarnings("ignore::pandas.errors.PerformanceWarning")
def test_index_of_three_levels_and_the_column_of_sets(tmp_path, suffix):
    index = pd.MultiIndex.from_tuples(
        [("labeled-data", "m", "1.png"), ("labeled-data", "m", "2.png")]
    )
    table = frame_of(np.arange(4.0).reshape(2, 1, 2), ["nose"])
    table.index = index
    table["set", "", ""] = ["train", "val"]
    read = read_keypoints(written(table, tmp_path, suffix))
    assert read.frames.tolist() == ["labeled-data/m/1.png", "labeled-data/m/2.png"]
    assert read.keypoints.tolist() == [[0, 1], [2, 3]]


def test_fixed_hdf5_tables_and_range_indices(tmp_path):
    table = frame_of(np.arange(12.0).reshape(6, 1, 2), ["nose"], index=range(10, 22, 2))
    table.to_hdf(tmp_path / "a.h5", key="anything", mode="w")
    table.to_parquet(tmp_path / "a.parquet")
    for name in ("a.h5", "a.parquet"):
        read = read_keypoints(tmp_path / name)
        assert read.frames.tolist() == [10, 12, 14, 16, 18, 20]
        assert read.keypoints[4:].tolist() == [[8, 9], [10, 11]]


@pytest.mark.parametrize("suffix", [".csv", ".h5", ".parquet"])
def test_the_header_is_that_of_the_first_frame(tmp_path, suffix):
    path = write_predictions(tmp_path / f"a{suffix}", values_of(20), NAMES, likelihood=None)
    header = read_header(path)
    assert (header.path, header.keypoint_names) == (path, NAMES)
    assert (header.individuals, header.view_names) == (("",), ())
    assert not header.has_confidences


def test_a_long_csv_is_read_in_chunks_of_lines(tmp_path, monkeypatch):
    path = write_predictions(tmp_path / "a.csv", values_of(20), NAMES)
    whole = read_keypoints(path)
    monkeypatch.setattr(csv_file, "_LINES_AT_ONCE", 7)
    table = read_keypoints(path)
    np.testing.assert_array_equal(table.frames, whole.frames)
    np.testing.assert_array_equal(table.keypoints, whole.keypoints)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], "x" + lines[-1][2:]]))
    with pytest.raises(DataError, match=r"line 23, column 1: expected the number of a frame"):
        read_keypoints(path)


def test_select_takes_keypoints_in_an_order(tmp_path):
    table = read_poses(write_predictions(tmp_path / "a.csv", values_of(4), NAMES))
    chosen = table.select(("tail", "nose"))
    np.testing.assert_array_equal(chosen.points, table.points[:, :, [2, 0]])
    assert chosen.confidences.shape == (4, 1, 2)
    assert table.select(NAMES) is table
    no_confidences = read_poses(
        write_predictions(tmp_path / "b.csv", values_of(4), NAMES, likelihood=None)
    )
    assert no_confidences.select(("neck",)).confidences is None


HEADER_3 = "scorer,a,a\nbodyparts,nose,nose\ncoords,x,y\n"
BAD_CSV = {
    "empty": ("", r"a\.csv is empty\. Keypoint files start with three header rows"),
    "no header": (
        "1,2,3\n4,5,6\n",
        r"line 1: expected the header row 'scorer', got a row that starts with '1'",
    ),
    "two header rows": (
        "scorer,a,a\ncoords,x,y\n0,1,2\n",
        r"line 2: expected the header row 'bodyparts', got a row that starts with 'coords'",
    ),
    "cut in the header": (
        "scorer,a,a\nbodyparts,nose,nose\n",
        r"line 2: the file ends after this line",
    ),
    "x without y of one animal": (
        "scorer,a,a,a\nindividuals,m1,m1,m2\nbodyparts,nose,nose,nose\ncoords,x,y,x\n0,1,2,3\n",
        r"line 4: the keypoint 'nose' of 'm2' has x but no y\. Each keypoint needs both",
    ),
    "twice in one animal": (
        "scorer,a,a,a\nindividuals,m1,m1,m1\nbodyparts,nose,nose,nose\ncoords,x,y,x\n0,1,2,3\n",
        r"line 3, column 4: the keypoint 'nose' of 'm1' stands twice, its x also in column 2",
    ),
    "text in one animal": (
        "scorer,a,a\nindividuals,m1,m1\nbodyparts,nose,nose\ncoords,x,y\n0,1,oops\n",
        r"line 5, individual 'm1', keypoint 'nose', y: expected a number, .*, got 'oops'",
    ),
    "cut in a header of several animals": (
        "scorer,a,a\nindividuals,m1,m1\nbodyparts,nose,nose\n",
        r"line 3: the file ends after this line",
    ),
    "no frames": (HEADER_3, r"there are no frames after the 3 header rows"),
    "no keypoints": ("scorer\nbodyparts\ncoords\n0\n", r"line 2: there is no keypoint"),
    "ragged header": (
        "scorer,a,a\nbodyparts,nose\ncoords,x,y\n0,1,2\n",
        r"line 2: expected 3 columns as in line 1, got 2",
    ),
    "row too long": (
        HEADER_3 + "0,1,2\n1,2,3,4\n",
        r"line 5: expected 3 columns as in line 1, got 4",
    ),
    "row too short": (
        HEADER_3 + "0,1,2\n1,2\n",
        r"line 5: expected 3 columns as in line 1, got 2\. The file may have been cut off",
    ),
    "text": (
        HEADER_3 + "0,1,2\n\n1,2,oops\n",
        r"line 6, keypoint 'nose', y: expected a number, or nothing .*, got 'oops'",
    ),
    "python's number": (
        HEADER_3 + "0,1,1_0\n",
        r"line 4, keypoint 'nose', y: expected a number.*'1_0'",
    ),
    "frame": (
        HEADER_3 + "0,1,2\nx,1,2\n",
        r"line 5, column 1: expected the number of a frame .*, got 'x'",
    ),
    "frame too large": (
        HEADER_3 + "0,1,2\n99999999999999999999,1,2\n",
        r"line 5, column 1: the number of a frame must be from -2\*\*53 to 2\*\*53, got 9{20}\.",
    ),
    "first frame too large": (
        HEADER_3 + "1e300,1,2\n",
        r"line 4, column 1: the number of a frame must be .*, got 1e300",
    ),
    "frame too small": (
        HEADER_3 + "0,1,2\n\n-9007199254740993,1,2\n",
        r"line 6, column 1: the number of a frame must be .*, got -9007199254740993",
    ),
    "cell too large": (
        HEADER_3.replace("nose", "n" * 140_000) + "0,1,2\n",
        r"line 2: the line cannot be split into cells: field larger than field limit",
    ),
    "semicolons": (
        HEADER_3.replace(",", ";") + "0;1;2\n",
        r"line 1: the columns are separated by semicolons, expected commas\. Save",
    ),
    "tabs": (HEADER_3.replace(",", "\t"), r"line 1: the columns are separated by tabs"),
    "coord": (
        "scorer,a,a\nbodyparts,nose,nose\ncoords,x,visable\n0,1,2\n",
        r"line 3, column 3: expected x, y, likelihood or visible, got 'visable'\. Did you",
    ),
    "x without y": (
        "scorer,a,a,a\nbodyparts,nose,tail,tail\ncoords,x,x,y\n0,1,2,3\n",
        r"line 3: the keypoint 'nose' has x but no y\. Each keypoint needs both",
    ),
    "likelihood alone": (
        "scorer,a\nbodyparts,nose\ncoords,likelihood\n0,1\n",
        r"line 3: the keypoint 'nose' has likelihood but no x",
    ),
    "likelihood of one": (
        "scorer,a,a,a,a,a\nbodyparts,nose,nose,nose,tail,tail\ncoords,x,y,likelihood,x,y\n0,1,1,1,1,1\n",
        r"line 3: the keypoint 'tail' has no likelihood, 'nose' has one",
    ),
    "twice": (
        "scorer,a,a,a,a\nbodyparts,nose,nose,nose,nose\ncoords,x,y,x,y\n0,1,2,3,4\n",
        r"line 2, column 4: the keypoint 'nose' stands twice, its x also in column 2",
    ),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv(tmp_path, case):
    text, message = BAD_CSV[case]
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        read_keypoints(path)
    assert str(caught.value).startswith(str(path))


def test_line_ends_of_old_macs(tmp_path):
    path = tmp_path / "a.csv"
    for text in (csv_text(["0,1,2,3,4"]).replace("\n", "\r"), csv_text(["0,1,2,3\r,4"])):
        path.write_bytes(text.encode())
        with pytest.raises(DataError, match=r"line [14]: there is a carriage return within the"):
            read_keypoints(path)


def test_spaces_around_header_cells(tmp_path):
    text = "scorer , a, a\nbodyparts, nose, nose \ncoords, x, y\n0,1,2\n"
    table = read_keypoints(write(tmp_path, text))
    assert table.keypoint_names == ("nose",)
    assert table.keypoints.tolist() == [[1, 2]]


def test_gaps_before_a_text_are_no_fault(tmp_path):
    path = write(tmp_path, csv_text(["0,,,NaN,oops"]))
    with pytest.raises(DataError, match=r"line 4, keypoint 'tail', y: .* got 'oops'"):
        read_keypoints(path)


def test_numbers_in_other_digits(tmp_path):
    path = write(tmp_path, csv_text(["0,1,2,3,\N{ARABIC-INDIC DIGIT FOUR}"]))
    with pytest.raises(DataError, match=r"a\.csv, lines 4 to 4: "):
        read_keypoints(path)


def test_likelihood_that_is_no_number(tmp_path):
    path = write(tmp_path, csv_text(["0,1,2,3,4,5,high"], coords="xyl"))
    with pytest.raises(DataError, match=r"line 4, keypoint 'tail', likelihood: .* got 'high'"):
        read_keypoints(path)


def test_not_utf8(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(csv_text(["0,1,2,3,4"]).encode() + b"1,2,\xff3,4,5\n")
    with pytest.raises(DataError, match=r"line 5: the file is no UTF-8 text \(byte 5 .* 0xff\)"):
        read_keypoints(path)


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv does not exist"):
        read_keypoints(tmp_path / "a.csv")
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(DataError, match=r"b\.csv is a folder"):
        read_keypoints(tmp_path / "b.csv")
    with pytest.raises(DataError, match=r"keypoint files end in \.csv, .*, not in '\.json'"):
        read_keypoints(tmp_path / "a.json")


def test_files_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(path, *args):
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path, csv_text(["0,1,2,3,4"]))
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"a\.csv cannot be read: Permission denied"):
        read_keypoints(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.parquet", "cannot be read as Parquet"),
        ("a.h5", "cannot be read as HDF5. It may have been cut off"),
    ],
)
def test_binary_files_that_are_none(tmp_path, name, message):
    with pytest.raises(DataError, match=message):
        read_keypoints(write(tmp_path, "no such file", name))


BINARY = pytest.mark.parametrize("suffix", [".h5", ".parquet"])


@BINARY
@pytest.mark.filterwarnings("ignore::pandas.errors.PerformanceWarning")
def test_text_among_the_numbers_of_binary_files(tmp_path, suffix):
    table = frame_of(np.ones((2, 1, 2)), ["nose"]).astype(object)
    table.iloc[:, 1] = ["1.5", "oops"]
    message = {
        ".h5": r"keypoint 'nose', x: the values are pickled Python objects, which are not read",
        ".parquet": r"keypoint 'nose', y: expected numbers, got a column of (large_)?string",
    }[suffix]
    with pytest.raises(DataError, match=message):
        read_keypoints(written(table, tmp_path, suffix))


@BINARY
def test_binary_files_without_frames(tmp_path, suffix):
    table = frame_of(np.ones((0, 1, 2)), ["nose"])
    with pytest.raises(DataError, match="there are no frames"):
        read_keypoints(written(table, tmp_path, suffix))


@BINARY
def test_binary_files_of_other_columns(tmp_path, suffix):
    table = pd.DataFrame({"x": [1.0], "y": [2.0]})
    with pytest.raises(
        DataError, match=r"expected columns of three levels \(scorer, bodyparts, coords\)"
    ):
        read_keypoints(written(table, tmp_path, suffix))


@BINARY
def test_binary_files_of_incomplete_keypoints(tmp_path, suffix):
    table = frame_of(np.ones((1, 1, 1)), ["nose"], ["x"])
    with pytest.raises(DataError, match=r"a\.\w+: the keypoint 'nose' has x but no y"):
        read_keypoints(written(table, tmp_path, suffix))
    table = frame_of(np.ones((1, 1, 2)), ["nose"], ["x", "z"])
    with pytest.raises(DataError, match=r"a\.\w+, column 2: expected x, y, .* got 'z'"):
        read_keypoints(written(table, tmp_path, suffix))


@BINARY
def test_frame_numbers_that_turn_to_text(tmp_path, suffix):
    table = frame_of(np.ones((3, 1, 2)), ["nose"], index=["0", "1", "x"])
    path = written(table, tmp_path, suffix)
    with pytest.raises(DataError, match=r"rows 1 to 3: the index must hold the numbers of frames"):
        read_keypoints(path)


@BINARY
@pytest.mark.parametrize("frame", [2**60, 1e300])
def test_frame_numbers_of_binary_files_that_are_too_large(tmp_path, suffix, frame):
    table = frame_of(np.ones((2, 1, 2)), ["nose"], index=[0, frame])
    path = written(table, tmp_path, suffix)
    with pytest.raises(DataError, match=r"row 2: the number of a frame must be from"):
        read_keypoints(path)


def test_parquet_with_a_column_of_frames(tmp_path):
    table = frame_of(np.ones((3, 1, 2)), ["nose"], index=[3, 7, 8])
    path = written(table, tmp_path, ".parquet")
    assert read_keypoints(path).frames.tolist() == [3, 7, 8]


def test_parquet_without_an_index(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [str(("rick", "nose", axis)) for axis in "xy"]
    pq.write_table(pa.table({name: [1, None] for name in names}), tmp_path / "a.parquet")
    table = read_keypoints(tmp_path / "a.parquet")
    assert table.frames.tolist() == [0, 1]
    np.testing.assert_array_equal(table.keypoints, [[1, 1], [np.nan, np.nan]])


def test_hdf5_of_several_tables_or_none(tmp_path):
    table = frame_of(np.ones((1, 1, 2)), ["nose"])
    table.to_hdf(tmp_path / "a.h5", key="one", mode="w")
    table.to_hdf(tmp_path / "a.h5", key="two", mode="a")
    with pytest.raises(DataError, match=r"expected one table .* found 2: /one, /two"):
        read_keypoints(tmp_path / "a.h5")
    tables.open_file(str(tmp_path / "b.h5"), "w").close()
    with pytest.raises(DataError, match=r"expected one table .* found none"):
        read_keypoints(tmp_path / "b.h5")


def sleap_analysis(path: Path, tracks: np.ndarray, scores: np.ndarray | None = None) -> Path:
    with tables.open_file(str(path), "w") as file:
        file.create_array("/", "tracks", tracks)
        file.create_array("/", "node_names", [b"nose", b"tail"])
        if scores is not None:
            file.create_array("/", "point_scores", scores)
    return path


def test_sleap_analysis_files(tmp_path):
    # Axes tracks, xy, nodes, frames.
    tracks = np.zeros((1, 2, 2, 3))
    tracks[0, 0] = [[0, 1, 2], [10, 11, 12]]
    tracks[0, 1] = [[5, 6, 7], [15, 16, np.nan]]
    scores = np.array([[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]])
    path = sleap_analysis(tmp_path / "a.h5", tracks, scores)
    table = read_keypoints(path)
    assert table.keypoint_names == ("nose", "tail")
    assert table.frames.tolist() == [0, 1, 2]
    expected = [[0, 5, 10, 15], [1, 6, 11, 16], [2, 7, 12, np.nan]]
    np.testing.assert_array_equal(table.keypoints, expected)
    assert table.confidences.tolist() == [[0.1, 0.4], [0.2, 0.5], [0.3, 0.6]]
    assert read_keypoints(sleap_analysis(tmp_path / "b.h5", tracks)).confidences is None


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 1, 2, 2), r"expected tracks of axes .* got the shape \(3, 1, 2, 2\)"),
    ],
)
def test_sleap_analysis_files_that_cannot_be_used(tmp_path, shape, message):
    with pytest.raises(DataError, match=message):
        read_keypoints(sleap_analysis(tmp_path / "a.h5", np.zeros(shape)))


def test_sleap_analysis_file_without_frames(tmp_path):
    with tables.open_file(str(tmp_path / "a.h5"), "w") as file:
        file.create_earray("/", "tracks", tables.Float64Atom(), shape=(1, 2, 2, 0))
        file.create_array("/", "node_names", [b"nose", b"tail"])
    with pytest.raises(DataError, match="there are no frames"):
        read_keypoints(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("a.parquet", "pyarrow", "score"),
        ("a.h5", "h5py", "score"),
        ("a.slp", "sleap_io", "sleap"),
    ],
)
def test_dependencies_that_are_missing(tmp_path, monkeypatch, name, module, extra):
    import sys

    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingDependencyError, match=re.escape(f"{module} is needed to read")
    ) as caught:
        read_keypoints(write(tmp_path, "", name))
    assert f'pip install "lploss[{extra}]"' in str(caught.value)


def test_pandas_is_missing(tmp_path, monkeypatch):
    import sys

    path = write(tmp_path, csv_text(["0,1,2,3,4"]))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        MissingDependencyError, match=r"pandas is needed to read keypoint files: pip"
    ):
        read_keypoints(path)


@needs_real_data
def test_real_files():
    tracks = read_keypoints(FOLDER / "mirror-mouse-tracks" / "member0.csv")
    assert tracks.keypoints.shape == (2000, 16)
    assert tracks.confidences.shape == (2000, 8)
    assert tracks.keypoint_names[0] == "paw1LH_top"
    labels = read_keypoints(FOLDER / "mirror-mouse" / "CollectedData.csv")
    assert labels.keypoints.shape == (90, 34)
    assert np.isnan(labels.keypoints).mean() == pytest.approx(0.088, abs=0.0005)
    assert labels.frames[0] == "labeled-data/img01.png"
    assert labels.confidences is None


_SUFFIXES = pytest.mark.parametrize("suffix", [".csv", ".h5", ".parquet"])


def any_format(rows: list[list[float]], names: list[str], coords: list[str], path: Path) -> Path:
    """Write rows in the format that the suffix says."""
    columns = pd.MultiIndex.from_product(
        [["s"], names, coords], names=["scorer", "bodyparts", "coords"]
    )
    table = pd.DataFrame(rows, columns=columns)
    if path.suffix == ".csv":
        table.to_csv(path)
        return path
    return written(table, path.parent, path.suffix)


def likelihoods(folder: Path, values: list[float], suffix: str = ".csv") -> Path:
    """Write points at (1, 2) of one keypoint with these likelihoods."""
    rows = [[1.0, 2.0, value] for value in values]
    return any_format(rows, ["nose"], ["x", "y", "likelihood"], folder / f"a{suffix}")


@_SUFFIXES
def test_likelihoods_are_made_to_lie_from_0_to_1_and_a_note_says_how_often(tmp_path, suffix):
    values = [0.5, 1.1, -0.1, 57.0, -3.0, np.inf, -np.inf, np.nan, 1.0, 0.0]
    path = likelihoods(tmp_path, values, suffix)
    table = read_keypoints(path)
    nan = np.nan
    expected = [0.5, 1.0, 0.0, nan, nan, nan, nan, 1.0, 1.0, 0.0]
    np.testing.assert_array_equal(table.confidences[:, 0], expected)
    is_gone = np.isnan(expected)
    np.testing.assert_array_equal(table.keypoints[:, 0], np.where(is_gone, nan, 1.0))
    np.testing.assert_array_equal(table.keypoints[:, 1], np.where(is_gone, nan, 2.0))
    (note,) = table.notes
    assert note == (
        f"{path}: likelihoods must be from 0 to 1. Those within 0.1 of it were set to 0 or 1: 2 of "
        "'nose'. Points whose likelihood is further outside count as missing: 4 of 'nose'. "
        "Correct the file; divide likelihoods in percent by 100."
    )
    assert read_poses(path).select(("nose",)).notes == table.notes


def test_likelihoods_from_0_to_1_are_left_as_they_are(tmp_path):
    table = read_keypoints(likelihoods(tmp_path, [0.0, 0.25, 1.0]))
    assert table.confidences.tolist() == [[0.0], [0.25], [1.0]]
    assert table.notes == ()


def test_an_unusable_likelihood_of_one_view_leaves_the_other_views_alone(tmp_path):
    for view in ("top", "side"):
        (tmp_path / view).mkdir()
    files = {
        "top": likelihoods(tmp_path / "top", [0.5, np.inf]),
        "side": likelihoods(tmp_path / "side", [0.5, 1.05]),
    }
    table = read_keypoints(files)
    np.testing.assert_array_equal(
        table.keypoints, [[1.0, 2.0, 1.0, 2.0], [np.nan, np.nan, 1.0, 2.0]]
    )
    np.testing.assert_array_equal(table.confidences, [[0.5, 0.5], [np.nan, 1.0]])
    assert [note.partition(": ")[0] for note in table.notes] == list(map(str, files.values()))


@_SUFFIXES
def test_a_keypoint_that_is_marked_as_not_labelled_is_missing(tmp_path, suffix):
    rows = [[1.0, 2.0, 2.0, 0.0, 0.0, 0.0], [3.0, 4.0, np.nan, 5.0, 6.0, 1.0]]
    path = any_format(rows, ["nose", "tail"], ["x", "y", "visible"], tmp_path / f"a{suffix}")
    table = read_keypoints(path)
    np.testing.assert_array_equal(
        table.keypoints, [[1.0, 2.0, np.nan, np.nan], [3.0, 4.0, 5.0, 6.0]]
    )
    assert table.confidences is None


@needs_cases
def test_points_that_a_person_has_corrected_in_sleap_have_the_likelihood_1():
    truth = np.load(CASES / "truth.npz")
    table = read_keypoints(CASES / "corrected.analysis.h5")
    np.testing.assert_allclose(table.keypoints.reshape(truth["mid"].shape), truth["mid"])
    assert truth["corrected"].any()
    np.testing.assert_array_equal(table.confidences == 1.0, truth["corrected"])
    assert table.notes == ()


@needs_cases
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("meta_bad.parquet", "its pandas metadata cannot be read: JSONDecodeError"),
        ("range_nostep.parquet", "its index is a range with start None and step None, expected"),
    ],
)
def test_damaged_parquet(name, message):
    with pytest.raises(DataError, match=f"{name}: {message}"):
        read_keypoints(CASES / name)


@pytest.mark.parametrize(
    "name",
    ["(" * 100_000, "-" * 100_000 + "1", "(" + "1," * 1_000_000 + ")", "9" * 5000],
    ids=["parentheses", "signs", "length", "digits"],
)
def test_names_of_columns_that_exhaust_memory(tmp_path, name):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({name: [1.0]}), tmp_path / "a.parquet")
    tracemalloc.start()
    with pytest.raises(DataError, match="expected columns of three levels") as caught:
        read_keypoints(tmp_path / "a.parquet")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000_000
    assert len(str(caught.value)) < 10_000


@pytest.mark.parametrize("suffix", [".csv", ".h5", ".parquet", ".slp"])
def test_a_pipe_is_refused(tmp_path, suffix):
    os.mkfifo(tmp_path / f"a{suffix}")
    with pytest.raises(DataError, match=f"a{re.escape(suffix)} is a pipe, not a file"):
        read_keypoints(tmp_path / f"a{suffix}")


def test_an_error_while_the_rows_are_read_names_the_file(tmp_path, monkeypatch):
    path = write_predictions(tmp_path / "a.parquet", np.ones((2, 1, 2)), ["nose"])

    def fail(*args):
        raise MemoryError("cannot allocate")

    monkeypatch.setattr("lploss_builtin.data.poses.columns.PoseColumns.table", fail)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read: MemoryError: cannot allocate"):
        read_keypoints(path)
