"""Reading the calibration of a rig, and finding the one of a session."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from lploss.errors import ArgumentValueError, DataError, did_you_mean
from lploss.reading import check_file, reading
from lploss_builtin.data.cameras.view_names import session_of as session_of
from lploss_builtin.data.frames.images import natural
from lploss_builtin.ops.geometry import Cameras

_REQUIRED = ("matrix", "distortions", "rotation", "translation")
_KNOWN = (*_REQUIRED, "name", "size", "fisheye", "ignore", "cam_id", "port")
# Misspelled keys come closer to the right one than the keys of other tools do.
_CLOSE = 0.75

_Table = Mapping[str, Any]


def read_calibration(path: str | PathLike[str]) -> Cameras:
    r"""Read the cameras of a calibration file, in float64.

    These are TOML files of Anipose (tables ``[cam_0]``, ``[cam_1]``, ...) and of caliscope
    (``[cameras.0]``, or ``[cam_0]`` in its older ones), with the keys

    - ``matrix``: 3 x 3, px;
    - ``distortions``: OpenCV's coefficients, 0, 4, 5, 8, 12 or 14 of them;
    - ``rotation``: a Rodrigues vector or a 3 x 3 matrix, and ``translation``: world to camera;
    - ``size``: width and height of the images, px; may be left out;
    - ``name``: else ``cam_id``, else ``port``, else the number of the table is the camera's name.

    Cameras come in the order of their numbers. One with ``ignore = true`` is left out, as its
    own tool does. Tables without a camera, such as ``[metadata]``, are not read.

    Args:
        path: the file.

    Returns:
        The cameras, with names, and with image sizes where every camera has one.

    Raises:
        DataError: the file is missing, is not valid TOML, or holds no camera; or a camera lacks
            something, has values that cannot be a camera's, a name that another one has, or a
            fisheye lens, which is another model.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "calibration.toml")
        >>> _ = path.write_text('''
        ... [cam_0]
        ... name = "top"
        ... matrix = [[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]]
        ... distortions = [0.1, 0.0, 0.0, 0.0, 0.0]
        ... rotation = [0.0, 0.0, 0.0]
        ... translation = [0.0, 0.0, 9.0]
        ... ''')
        >>> read_calibration(path).names
        ('top',)
    """
    path = Path(path)
    check_file(path, "the calibration")
    with reading(path):
        return _read(path)


def _read(path: Path) -> Cameras:
    found = sorted(_cameras(path, _content(path)), key=lambda camera: natural(camera[0]))
    if not found:
        raise DataError(
            f"{path} holds no camera. Expected a table for each, such as [cam_0] or [cameras.0], "
            f"with {', '.join(_REQUIRED)}."
        )
    used = {label: table for label, table in found if not _is_set(path, label, table, "ignore")}
    if not used:
        raise DataError(f"{path}: each of its {len(found)} cameras has ignore = true")
    names: dict[str, str] = {}
    for label, table in used.items():
        _check(path, label, table)
        name = _name(path, label, table)
        if name in names:
            raise DataError(
                f"{path}: [{names[name]}] and [{label}] have the same name {name!r}. Each camera "
                "needs one of its own."
            )
        names[name] = label
    sizes = [_size(path, label, table) for label, table in used.items()]
    matrices, distortions, rotations, translations = (
        [table[key] for table in used.values()] for key in _REQUIRED
    )
    return Cameras.from_opencv(
        matrices,
        rotations,
        translations,
        distortions,
        image_sizes=None if None in sizes else [size for size in sizes if size],
        names=list(names),
    )


def find_calibration(folder: str | PathLike[str], session: str | None = None) -> Path:
    """Return the calibration of a session: its own, or else that of the whole project.

    Args:
        folder: the project's folder.
        session: the session; ``None``: any.

    Returns:
        ``calibrations/<session>.toml``, else ``calibration.toml``, in the folder.

    Raises:
        DataError: there is neither.
    """
    folder = Path(folder)
    of_sessions = folder / "calibrations"
    places = [folder / "calibration.toml"]
    if session is not None:
        places.insert(0, of_sessions / f"{session}.toml")
    for place in places:
        if place.exists() or place.is_symlink():
            return place
    hint = did_you_mean(session or "", [path.stem for path in of_sessions.glob("*.toml")])
    of = f" of session {session!r}" if session is not None else ""
    raise DataError(
        f"there is no calibration{of}: looked for {' and '.join(map(str, places))}.{hint}"
    )


def _content(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MOST_BYTES:
        raise DataError(
            f"{path} has {path.stat().st_size} bytes, expected at most {_MOST_BYTES}. {_EXPECTED}"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        # The time that tomllib takes is quadratic in the number of parts of a key.
        without_comments = re.sub(r"(?m)^[ \t]*#.*", "", text)
        pieces = re.split(r"[=,\[\]{}\n]", without_comments)
        if any(piece.count(".") >= _MOST_PARTS for piece in pieces):
            raise DataError(f"{path} holds a key of more than {_MOST_PARTS} parts. {_EXPECTED}")
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid TOML: {error}. {_EXPECTED}") from error


_EXPECTED = "Expected a calibration of Anipose or caliscope."
_MOST_BYTES = 1 << 20
_MOST_PARTS = 100


def _cameras(path: Path, content: _Table) -> Iterator[tuple[str, _Table]]:
    """Yield the tables of cameras, each with its label.

    Whatever holds a key of a camera is taken for one: a misspelled label would else be a camera
    that silently is not there.
    """
    nested = content.get("cameras")
    inner = nested.items() if isinstance(nested, dict) else ()
    for label, table in [*content.items(), *((f"cameras.{key}", value) for key, value in inner)]:
        is_labelled = re.fullmatch(r"cam_?\d+|cameras\..*", label) is not None
        if isinstance(table, dict):
            if is_labelled or any(key in table for key in _REQUIRED):
                # So caliscope writes what there is none of.
                yield label, {key: value for key, value in table.items() if value != "null"}
        elif is_labelled:
            raise DataError(
                f"{path}: {label} must be a table with {', '.join(_REQUIRED)}, got {table!r}"
            )


def _check(path: Path, label: str, table: _Table) -> None:
    """Check a camera by itself, so that the error can name its table."""
    absent = [key for key in _KNOWN if key not in table]
    for key in table:
        if key not in _KNOWN and difflib.get_close_matches(key, absent, cutoff=_CLOSE):
            raise DataError(f"{path}, [{label}]: unknown key {key!r}.{did_you_mean(key, absent)}")
    if lacking := [key for key in _REQUIRED if key in absent]:
        advice = (
            "The camera is not calibrated: calibrate it, or leave it out by ignore = true."
            if "matrix" not in lacking
            else f"A camera needs {', '.join(_REQUIRED)}."
        )
        raise DataError(f"{path}, [{label}]: there is no {' and no '.join(lacking)}. {advice}")
    if _is_set(path, label, table, "fisheye"):
        raise DataError(
            f"{path}, [{label}]: fisheye = true is another lens model than OpenCV's standard one, "
            "which is the only one known here. Calibrate without fisheye, or undistort the images."
        )
    for key in _REQUIRED:
        if not _holds_numbers(table[key]):
            raise DataError(
                f"{path}, [{label}]: {key} must hold numbers, in rows of the same length, got "
                f"{table[key]!r}"
            )
    matrix, distortions, rotation, translation = ([table[key]] for key in _REQUIRED)
    try:
        Cameras.from_opencv(matrix, rotation, translation, distortions)
    except ArgumentValueError as error:
        raise DataError(f"{path}, [{label}]: {str(error).removeprefix('camera 0: ')}") from error


def _holds_numbers(value: object) -> bool:
    """Return whether it is a number, or lists of numbers that are all of the same length."""
    if isinstance(value, list):
        lengths = {len(row) if isinstance(row, list) else None for row in value}
        return len(lengths) <= 1 and all(map(_holds_numbers, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_set(path: Path, label: str, table: _Table, key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise DataError(f"{path}, [{label}]: {key} must be true or false, got {value!r}")
    return value


def _name(path: Path, label: str, table: _Table) -> str:
    for key in ("name", "cam_id", "port"):
        if key in table:
            if not isinstance(table[key], str | int) or isinstance(table[key], bool):
                raise DataError(f"{path}, [{label}]: {key} must be a text, got {table[key]!r}")
            return str(table[key])
    return re.sub(r"^(cam_?(?=\d)|cameras\.)", "", label)


def _size(path: Path, label: str, table: _Table) -> tuple[float, float] | None:
    size = table.get("size")
    if size is None:
        return None
    if (
        not _holds_numbers(size)
        or not isinstance(size, list)
        or len(size) != 2
        or not min(size) > 0
    ):
        raise DataError(
            f"{path}, [{label}]: size must be [width, height] of the images, px, got {size!r}"
        )
    return size[0], size[1]
