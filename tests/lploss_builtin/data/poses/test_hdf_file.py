from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tables

from lploss.errors import DataError
from lploss_builtin.data.poses.reading import read_poses
from tests.lploss_builtin.data.keypoint_tables import frame_of, read_keypoints
from tests.lploss_builtin.real_data import CASES, needs_cases

VALUES = np.arange(12.0).reshape(3, 2, 2)
NAMES = ("nose", "tail")
FORMATS = pytest.mark.parametrize("layout", ["fixed", "table"])


class Attack:
    """Unpickling it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def written(path: Path, layout: str, table: pd.DataFrame | None = None, **options: object) -> Path:
    table = frame_of(VALUES, NAMES) if table is None else table
    table.to_hdf(path, key="df_with_missing", mode="w", format=layout, **options)
    return path


@FORMATS
@pytest.mark.parametrize("dtype", ["float64", "float32", "int16", "uint8"])
@pytest.mark.parametrize(
    "index", [[3, 4, 9], [0.0, 1.0, 2.0], ["a/1.png", "a/2.png", "a/ü3.png"]], ids=str
)
def test_what_pandas_writes(tmp_path, layout, dtype, index):
    table = frame_of(VALUES, NAMES, index=index).astype(dtype)
    read = read_keypoints(written(tmp_path / "a.h5", layout, table))
    assert read.frames.tolist() == index
    assert read.keypoint_names == NAMES
    np.testing.assert_array_equal(read.keypoints, VALUES.reshape(3, 4))


@FORMATS
def test_columns_of_several_types_and_compression(tmp_path, layout):
    table = frame_of(VALUES, NAMES)
    table["rick", "nose", "y"] = np.array([7, 8, 9])
    table["rick", "tail", "x"] = np.array([1.5, np.nan, 2.5], dtype="float32")
    path = written(tmp_path / "a.h5", layout, table, complevel=5, complib="zlib")
    expected = [[0, 7, 1.5, 3], [4, 8, np.nan, 7], [8, 9, 2.5, 11]]
    np.testing.assert_array_equal(read_keypoints(path).keypoints, expected)


def test_texts_that_hold_numbers(tmp_path):
    table = frame_of(VALUES, NAMES).astype(object)
    table["rick", "tail", "y"] = ["1.5", "2.5", "oops"]
    for column in table.columns[:-1]:
        table[column] = table[column].astype(float)
    path = written(tmp_path / "a.h5", "table", table)
    with pytest.raises(
        DataError, match=r"a\.h5, frame 2, keypoint 'tail', y: expected a number, got 'oops'"
    ):
        read_keypoints(path)


@pytest.mark.parametrize("dtype", ["datetime64[ns]", "timedelta64[ns]"])
def test_columns_that_store_other_things_as_numbers(tmp_path, dtype):
    table = frame_of(VALUES, NAMES)
    table["rick", "tail", "y"] = table["rick", "tail", "y"].astype("int64").astype(dtype)
    path = written(tmp_path / "a.h5", "table", table)
    with pytest.raises(DataError, match=r"keypoint 'tail', y: expected numbers, got a column of"):
        read_keypoints(path)


@FORMATS
def test_an_index_of_dates(tmp_path, layout):
    table = frame_of(VALUES, NAMES)
    table.index = pd.date_range("2020-01-01", periods=3)
    with pytest.raises(DataError, match=r"of the type 'datetime64.*expected numbers or text"):
        read_keypoints(written(tmp_path / "a.h5", layout, table))


@needs_cases
@pytest.mark.parametrize("name", ["one_individual.h5", "two_individuals.h5"])
def test_several_animals(name):
    table = read_poses(CASES / name)
    expected = pd.read_hdf(CASES / name)
    assert table.individuals == tuple(expected.columns.unique("individuals"))
    for number, individual in enumerate(table.individuals):
        own = expected.xs(individual, level="individuals", axis=1)
        for position, keypoint in enumerate(table.keypoints):
            of_pandas = own.xs(keypoint, level="bodyparts", axis=1).to_numpy()[:, :2]
            np.testing.assert_array_equal(table.points[:, number, position], of_pandas)


# Attacks: each puts a pickle where pandas or PyTables unpickles it.


def object_array(path: Path, where: str, name: str, value: object) -> None:
    with tables.open_file(str(path), "a") as file:
        if f"{where}/{name}" in file:
            file.remove_node(where, name)
        array = file.create_vlarray(where, name, tables.ObjectAtom())
        array.append(value)
        array._v_attrs.kind = "object"


def attribute(path: Path, where: str, name: str, value: object) -> None:
    with h5py.File(path, "a") as file:
        file[where].attrs[name] = np.bytes_(pickle.dumps(value, 0))


GROUP = "/df_with_missing"
ATTACKS: dict[str, tuple[str, Callable[[Path, Attack], None]]] = {
    f"{layout}: {node} {name}": (
        layout,
        lambda path, attack, node=node, name=name: attribute(path, node, name, attack),
    )
    for layout, node, names in (
        ("fixed", "/", ("TITLE", "CLASS", "VERSION", "FILTERS", "PYTABLES_FORMAT_VERSION")),
        ("fixed", GROUP, ("TITLE", "CLASS", "pandas_type", "info", "encoding", "axis0_variety")),
        ("fixed", GROUP, ("axis0_nlevels", "nblocks", "anything")),
        ("fixed", f"{GROUP}/axis1", ("TITLE", "CLASS", "FLAVOR", "kind", "name", "index_class")),
        ("fixed", f"{GROUP}/block0_values", ("value_type", "shape", "transposed")),
        ("table", GROUP, ("info", "non_index_axes", "index_cols", "values_cols", "table_type")),
        ("table", f"{GROUP}/table", ("values_block_0_kind", "values_block_0_dtype", "CLASS")),
        ("table", f"{GROUP}/table", ("values_block_0_meta", "index_kind", "FIELD_0_FILL")),
    )
    for name in names
} | {
    f"object array {name}": (
        "fixed",
        lambda path, attack, name=name: object_array(path, GROUP, name, attack),
    )
    for name in ("axis0_level1", "axis0_label1", "axis1", "block0_items_level2", "block0_values")
}


@pytest.mark.filterwarnings("ignore::tables.NaturalNameWarning")
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_pickle_is_run(tmp_path, attack):
    layout, place = ATTACKS[attack]
    path = written(tmp_path / "a.h5", layout)
    place(path, Attack(tmp_path / "marker"))
    with suppress(DataError):
        np.testing.assert_array_equal(read_keypoints(path).keypoints, VALUES.reshape(3, 4))
    assert not (tmp_path / "marker").exists()


def test_the_attack_works_on_other_readers(tmp_path):
    path = written(tmp_path / "a.h5", "table")
    attribute(path, GROUP, "non_index_axes", Attack(tmp_path / "marker"))
    with suppress(Exception):
        pd.read_hdf(path)
    assert (tmp_path / "marker").is_dir()


def test_no_pickle_is_run_in_sleap_files(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["tracks"] = np.zeros((1, 2, 1, 3))
    object_array(path, "/", "node_names", [Attack(tmp_path / "marker")])
    with pytest.raises(DataError, match="expected text in node_names"):
        read_keypoints(path)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["values_block_0_kind", "non_index_axes"])
def test_names_of_columns_in_pickles_of_any_protocol(tmp_path, protocol, name):
    path = written(tmp_path / "a.h5", "table")
    columns = [("rick", name, axis) for name in NAMES for axis in "xy"]
    where, value = (
        (GROUP, [(1, columns)]) if name == "non_index_axes" else (f"{GROUP}/table", columns)
    )
    with h5py.File(path, "a") as file:
        file[where].attrs[name] = np.void(pickle.dumps(value, protocol))
    assert read_keypoints(path).keypoint_names == NAMES
    with h5py.File(path, "a") as file:
        attack = Attack(tmp_path / "marker")
        file[where].attrs[name] = np.void(pickle.dumps([attack], protocol))
    with pytest.raises(DataError, match="a pickle that holds more than text and numbers"):
        read_keypoints(path)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",  # would reserve 16 GiB for the memo
        b"p9999999999\n.",
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",  # a text of 2**63 bytes
        b"(" * 50_000 + b".",
        b"",
    ],
    ids=["memo", "memo as text", "length", "marks", "empty"],
)
def test_pickles_that_exhaust_memory(tmp_path, data):
    path = written(tmp_path / "a.h5", "table")
    with h5py.File(path, "a") as file:
        file[GROUP].attrs["non_index_axes"] = np.void(data) if data else h5py.Empty("S1")
    with pytest.raises(DataError):
        read_keypoints(path)


# Datasets that lead elsewhere, or are larger than the file.


def replaced(path: Path, name: str, replace: Callable[[h5py.Group], None]) -> Path:
    written(path, "fixed")
    with h5py.File(path, "a") as file:
        del file[GROUP][name]
        replace(file[GROUP])
    return path


def test_links_to_other_files(tmp_path):
    other = written(tmp_path / "other.h5", "fixed")
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    for target in (other, fifo):
        path = replaced(
            tmp_path / "a.h5",
            "axis1",
            lambda group, target=target: group.__setitem__(
                "axis1", h5py.ExternalLink(target, f"{GROUP}/axis1")
            ),
        )
        with pytest.raises(DataError, match="there is no dataset 'axis1' in /df_with_missing"):
            read_keypoints(path)


def test_values_in_other_files(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(np.arange(12.0).tobytes())

    def outside(group):
        group.create_dataset(
            "block0_values", (3, 4), "f8", external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
        )
        group["block0_values"].attrs["transposed"] = 1

    def virtual(group):
        layout = h5py.VirtualLayout((3, 4), "f8")
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", f"{GROUP}/block0_values", (3, 4))
        group.create_virtual_dataset("block0_values", layout)

    for replace in (outside, virtual):
        path = replaced(tmp_path / "a.h5", "block0_values", replace)
        with pytest.raises(DataError, match="there is no dataset 'block0_values'"):
            read_keypoints(path)


def test_a_dataset_that_is_larger_than_the_file(tmp_path):
    def huge(group):
        group.create_dataset("axis1", (2**40,), "i8", chunks=(1024,)).attrs["kind"] = "integer"

    path = replaced(tmp_path / "a.h5", "axis1", huge)
    with pytest.raises(DataError, match=r"axis1 claims to hold 8796093022208 bytes, which is"):
        read_keypoints(path)


def test_values_of_another_shape(tmp_path):
    def other(group):
        group["block0_values"] = np.ones((2, 4))
        group["block0_values"].attrs["transposed"] = 1

    path = replaced(tmp_path / "a.h5", "block0_values", other)
    with pytest.raises(DataError, match=r"4 columns and 3 rows has values of the shape \(2, 4\)"):
        read_keypoints(path)


# Other files that end in .h5.


@needs_cases
def test_damaged_files():
    with pytest.raises(DataError, match=r"nosuchnode\.h5 cannot be read: "):
        read_keypoints(CASES / "nosuchnode.h5")
    # Only what PyTables stores beside the data is damaged here, which made PyTables crash.
    read = read_keypoints(CASES / "segv_0.h5")
    assert read.keypoint_names == ("nose", "tail")
    assert read.keypoints.shape == (6, 4)
    assert np.isfinite(read.keypoints).all()


def test_files_of_other_tools(tmp_path):
    for mark, message in (("instances", r"let its name end in \.slp"), ("x", "found none")):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file[mark] = 1
        with pytest.raises(DataError, match=message):
            read_keypoints(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["_NCProperties"] = "version=2"
    with pytest.raises(DataError, match="is a netCDF file"):
        read_keypoints(tmp_path / "a.h5")


def test_a_series_is_not_a_table(tmp_path):
    pd.Series([1.0, 2.0]).to_hdf(tmp_path / "a.h5", key="values", mode="w")
    with pytest.raises(DataError, match="/values holds a 'series' of pandas"):
        read_keypoints(tmp_path / "a.h5")


def test_scores_of_another_shape_than_the_tracks(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["tracks"] = np.zeros((1, 2, 1, 3))
        file["node_names"] = [b"nose"]
        file["point_scores"] = np.zeros((1, 2, 3))
    with pytest.raises(DataError, match=r"point_scores have the shape \(1, 2, 3\)"):
        read_keypoints(tmp_path / "a.h5")


def test_damaged_text_that_hdf5_reads_without_end(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["tracks"] = np.zeros((1, 2, 2, 3))
        file["node_names"] = ["nose", "tail"]  # of variable length
    assert read_keypoints(path).keypoint_names == NAMES
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    # Behind the header of the heap and the two names, 24 bytes each, is free space.
    size = slice(heap + 16 + 2 * 24 + 8, heap + 16 + 2 * 24 + 16)
    assert int.from_bytes(content[size], "little") == 4096 - 16 - 2 * 24
    content[size] = (64).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.h5 cannot be read as HDF5: its text is damaged"):
        read_keypoints(path)
