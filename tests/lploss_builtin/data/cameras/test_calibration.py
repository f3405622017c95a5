from __future__ import annotations

import os
import time
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lploss.errors import DataError
from lploss_builtin.data.cameras.calibration import find_calibration, read_calibration
from tests.lploss_builtin.real_data import CASES, FOLDER, needs_cases, needs_real_data

KEYS = {
    "name": '"Cam-A"',
    "size": "[832, 632]",
    "matrix": "[[800.0, 0.0, 416.0], [0.0, 810.0, 316.0], [0.0, 0.0, 1.0]]",
    "distortions": "[-0.3, 0.1, 0.0, 0.0, 0.0]",
    "rotation": "[0.1, -0.2, 0.3]",
    "translation": "[1.0, 2.0, 3.0]",
}


def table(label="cam_0", **changes):
    """The text of one camera; a key that is changed to None is left out."""
    keys = {**KEYS, **changes}
    lines = [f"{key} = {value}" for key, value in keys.items() if value is not None]
    return "\n".join([f"[{label}]", *lines, ""])


@pytest.fixture
def read(tmp_path):
    def read(*tables):
        path = tmp_path / "calibration.toml"
        path.write_text("\n".join(tables))
        return read_calibration(path)

    return read


def test_cameras_of_anipose(read):
    cameras = read(
        table("cam_10", name='"last"', distortions="[]"),
        table("cam_2", name='"first"', size="[64.0, 48.0]"),
        "[metadata]\nadjusted = true\nerror = 2.1\n",
    )
    assert cameras.names == ("first", "last")
    assert cameras.image_sizes == ((64.0, 48.0), (832, 632))
    assert cameras.intrinsics.dtype == torch.float64
    np.testing.assert_array_equal(cameras.intrinsics[0], [[800, 0, 416], [0, 810, 316], [0, 0, 1]])
    rotation, _ = cv2.Rodrigues(np.array([0.1, -0.2, 0.3]))
    np.testing.assert_allclose(cameras.extrinsics[1, :, :3], rotation, atol=1e-12)
    assert cameras.extrinsics[1, :, 3].tolist() == [1, 2, 3]
    assert cameras.distortions.tolist() == [[-0.3, 0.1, 0, 0, 0], [0, 0, 0, 0, 0]]


def test_rotation_as_a_matrix(read):
    rotation, _ = cv2.Rodrigues(np.array([0.1, -0.2, 0.3]))
    cameras = read(table(rotation=rotation.tolist()))
    np.testing.assert_allclose(cameras.extrinsics, read(table()).extrinsics, atol=1e-9)


def test_cameras_of_caliscope(read):
    cameras = read(
        "CreationDate = 2023-05-06T11:12:27.631355\n[charuco]\ncolumns = 4\n",
        table("cameras.11", name=None, cam_id="7"),
        table("cameras.2", name=None, port="5", size=None),
        table("cameras.3", name=None, exposure='"null"'),
        table("cameras.4", name=None, ignore="true", rotation=None),
    )
    assert cameras.names == ("5", "3", "7")
    assert cameras.image_sizes is None, "one has none"


@pytest.mark.parametrize(("label", "name"), [("cam_3", "3"), ("top", "top"), ("camera", "camera")])
def test_names_of_tables(read, label, name):
    assert read(table(label, name=None)).names == (name,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cam_0 = ", r"is not valid TOML: .* Expected a calibration of Anipose or caliscope\."),
        ("\udcff", r"is not valid TOML: 'utf-8' codec"),
        ("[metadata]\nerror = 1.0\n", r"holds no camera\. Expected .* \[cam_0\] or \[cameras\.0"),
        ("cameras = 3", "holds no camera"),
        ("cam_0 = 3", r"cam_0 must be a table with matrix, .* translation, got 3"),
        ("[cameras]\n0 = 3", r"cameras\.0 must be a table .* got 3"),
        (table(ignore="true"), "each of its 1 cameras has ignore = true"),
        (table(ignore="1"), r"\[cam_0\]: ignore must be true or false, got 1"),
        (table(fisheye="true"), r"\[cam_0\]: fisheye = true is another lens model"),
        (table(fisheye="0"), r"\[cam_0\]: fisheye must be true or false, got 0"),
        (
            table("cam_1", matrix=None, matirx=KEYS["matrix"]),
            r"\[cam_1\]: unknown key 'matirx'\. Did you mean 'matrix'\?",
        ),
        (table(fish_eye="true"), r"unknown key 'fish_eye'\. Did you mean 'fisheye'\?"),
        (
            table("cameras.2", rotation=None, translation='"null"'),
            r"\[cameras\.2\]: there is no rotation and no translation\. The camera is not calibrat",
        ),
        ("[cam_1]\nport = 1\n", r"\[cam_1\]: there is no matrix and no .* A camera needs matrix,"),
        (
            table("cam_0") + table("cam_1"),
            r"\[cam_0\] and \[cam_1\] have the same name 'Cam-A'\. Each camera needs one",
        ),
        (table(name="[1]"), r"\[cam_0\]: name must be a text, got \[1\]"),
        (table(name=None, port="true"), r"\[cam_0\]: port must be a text, got True"),
        (table(size="[832]"), r"\[cam_0\]: size must be \[width, height\] .* got \[832\]"),
        (table(size="[832, -1]"), r"size must be .* got \[832, -1\]"),
        (table(size='["a", 1]'), r"size must be .* got \['a', 1\]"),
        (table(size="832"), r"size must be .* got 832"),
        (
            table(rotation='["a", 0.0, 0.0]'),
            r"\[cam_0\]: rotation must hold numbers, in rows of the same length, got \['a', 0\.0",
        ),
        (table(matrix="[[1.0, 2.0], [3.0]]"), r"\[cam_0\]: matrix must hold numbers, in rows of"),
        (table(matrix="[[true]]"), r"matrix must hold numbers"),
        (table(matrix="[1.0]"), r"\[cam_0\]: its matrix must be 3 x 3, got \[1\.0\]"),
        (
            table(distortions="[0.1]"),
            r"\[cam_0\]: its distortions must hold 0 or 4 or 5 .* numbers",
        ),
        (table(translation="[0.1, nan, 1]"), r"\[cam_0\]: its translations must hold 3 finite"),
        (
            table(rotation="[[1, 0, 0], [0, 1, 0], [0, 0, -1]]"),
            r"\[cam_0\]: its 3 x 3 rotation is ",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path, text, message):
    path = tmp_path / "calibration.toml"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(DataError, match=message) as caught:
        read_calibration(path)
    assert str(path) in str(caught.value)


def test_a_key_of_another_tool_is_no_misspelling(read):
    assert read(table(error="0.4", rotation_count="1", frame="3")).names == ("Cam-A",)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match=r"the calibration .*none\.toml does not exist"):
        read_calibration(tmp_path / "none.toml")
    with pytest.raises(DataError, match="is a folder, not a file"):
        read_calibration(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "calibration.toml"
    path.touch()
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(DataError, match=r"calibration\.toml cannot be read: Permission denied"):
        read_calibration(path)


def test_the_calibration_of_a_session(tmp_path):
    folder = tmp_path / "calibrations"
    folder.mkdir()
    own, common = folder / "monday.toml", tmp_path / "calibration.toml"
    own.touch()
    with pytest.raises(DataError) as caught:
        find_calibration(tmp_path, "mondai")
    assert str(caught.value) == (
        f"there is no calibration of session 'mondai': looked for {folder}/mondai.toml and "
        f"{common}. Did you mean 'monday'?"
    )
    with pytest.raises(DataError, match=rf"no calibration: looked for {common}\.$"):
        find_calibration(tmp_path)
    common.touch()
    assert find_calibration(tmp_path, "monday") == own
    assert find_calibration(str(tmp_path), "tuesday") == common
    assert find_calibration(tmp_path) == common


@needs_real_data
def test_real_calibrations():
    fly = read_calibration(FOLDER / "fly-3cam" / "calibration.toml")
    assert fly.names == ("Cam-A", "Cam-B", "Cam-C")
    assert fly.image_sizes == ((832, 632),) * 3
    raw = tomllib.loads((FOLDER / "fly-3cam" / "calibration.toml").read_text())["cam_2"]
    np.testing.assert_array_equal(fly.intrinsics[2], raw["matrix"])
    np.testing.assert_array_equal(fly.distortions[2], raw["distortions"])
    rotation, _ = cv2.Rodrigues(np.array(raw["rotation"]))
    np.testing.assert_allclose(fly.extrinsics[2, :, :3], rotation, atol=1e-12)
    np.testing.assert_array_equal(fly.extrinsics[2, :, 3], raw["translation"])

    board = read_calibration(FOLDER / "charuco-4cam" / "camera_array.toml")
    human = read_calibration(FOLDER / "charuco-4cam" / "human_f7c314b" / "config.toml")
    assert board.names == human.names == ("0", "1", "2", "3")
    for one, other in (
        (board.intrinsics, human.intrinsics),
        (board.extrinsics, human.extrinsics),
        (board.distortions, human.distortions),
    ):
        assert torch.equal(one, other)


CAMERA = (
    "[cam_0]\nmatrix = [[500, 0, 320], [0, 500, 240], [0, 0, 1]]\ndistortions = []\n"
    "rotation = [0, 0, 0]\ntranslation = [0, 0, 9]\n"
)
DAMAGED = {
    "a number beyond floats": CAMERA.replace("500, 0", "9" * 400 + ", 0", 1),
    "a number of many digits": CAMERA.replace("500, 0", "9" * 5000 + ", 0", 1),
    "nesting": CAMERA.replace("[0, 0, 0]", "[" * 900 + "]" * 900),
    "inline tables": "a = " + "{a = " * 2000 + "1" + "}" * 2000,
    "long keys": ".".join("a" * 20_000) + " = 1",
    "long quoted keys": "[" + ".".join(["'a b'"] * 20_000) + "]",
    "length": CAMERA + "# nothing\n" * 200_000,
}


@pytest.mark.parametrize("case", DAMAGED)
def test_calibrations_that_libraries_fail_on_are_refused_by_name(tmp_path, case):
    path = tmp_path / "calibration.toml"
    path.write_text(DAMAGED[case], encoding="utf-8")
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        read_calibration(path)
    assert str(path) in str(caught.value)
    assert time.monotonic() - start < 10


@needs_cases
@pytest.mark.parametrize("name", ["bigint.toml", "deep2.toml"])
def test_calibrations_with_odd_values(name):
    with pytest.raises(DataError, match=name):
        read_calibration(CASES / name)


@needs_cases
def test_digits_of_other_kinds_in_the_name_of_a_table():
    assert read_calibration(CASES / "superscript.toml").names == ("a",)


def test_long_lines_of_numbers_are_fine(tmp_path):
    path = tmp_path / "calibration.toml"
    path.write_text(CAMERA + f"[metadata]\nerrors = [{', '.join(['0.25'] * 5000)}]\n")
    assert len(read_calibration(path).names) == 1


def test_a_line_of_dots_in_a_comment_is_fine(tmp_path):
    path = tmp_path / "calibration.toml"
    path.write_text(f"# {'.' * 150}\n{CAMERA}  # {'.' * 40}\n")
    assert len(read_calibration(path).names) == 1


@pytest.mark.parametrize(("num_parts", "is_refused"), [(100, False), (101, True)])
def test_keys_of_many_parts(tmp_path, num_parts, is_refused):
    path = tmp_path / "calibration.toml"
    path.write_text(f"{CAMERA}[metadata]\n{'.'.join('a' * num_parts)} = 1\n")
    if is_refused:
        with pytest.raises(DataError, match="holds a key of more than 100 parts"):
            read_calibration(path)
    else:
        assert len(read_calibration(path).names) == 1


def test_a_calibration_that_is_a_pipe_is_refused(tmp_path):
    path = tmp_path / "calibration.toml"
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"the calibration .* is a pipe, not a file"):
        read_calibration(find_calibration(tmp_path))
