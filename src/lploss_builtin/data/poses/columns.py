"""The columns and the index of a keypoint file: scorer, bodyparts, coords; frames or images."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TextIO

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from lploss.errors import DataError, did_you_mean
from lploss_builtin.data.poses.table import PoseTable
from lploss_builtin.dependencies import require

LEVELS = ("scorer", "bodyparts", "coords")
#: The levels of files that name individuals.
ALL_LEVELS = ("scorer", "individuals", "bodyparts", "coords")
_COORDS = ("x", "y", "likelihood", "visible")


@dataclass(frozen=True, slots=True)
class PoseColumns:
    """What stands in which column of a file.

    Attributes:
        individuals: names of the individuals, in the order in which they first stand there; a
            single one has no name.
        keypoints: names of the keypoints, in the order in which they first stand there.
        positions: for each individual, keypoint and coordinate its column.
    """

    individuals: tuple[str, ...]
    keypoints: tuple[str, ...]
    positions: Mapping[tuple[str, str, str], int]

    @property
    def used(self) -> tuple[int, ...]:
        """The columns that hold coordinates, likelihoods and ``visible``."""
        return tuple(self.positions.values())

    def label(self, position: int) -> str:
        """Return what stands in a column, for a message: ``keypoint 'nose', x``."""
        individual, keypoint, coord = list(self.positions)[self.used.index(position)]
        label = f"keypoint {keypoint!r}, {coord}"
        return f"individual {individual!r}, {label}" if individual else label

    def table(
        self,
        path: Path,
        frames: Shaped[np.ndarray, "frames"],
        numbers: Float64[np.ndarray, "frames columns"],
    ) -> PoseTable:
        """Return the table of a file.

        Infinite coordinates become missing, because no loss can use them. So do the coordinates of
        keypoints whose ``visible`` is 0, which are not labelled.

        Args:
            path: the file.
            frames: the frame of each row.
            numbers: what the `used` columns hold, in their order.
        """
        points = np.stack([self._values(numbers, "x"), self._values(numbers, "y")], axis=-1)
        points[~np.isfinite(points)] = np.nan
        held = {coord for _, _, coord in self.positions}
        visibility = self._values(numbers, "visible") if "visible" in held else None
        if visibility is not None:
            points[visibility == 0] = np.nan
        confidences = self._values(numbers, "likelihood") if "likelihood" in held else None
        return PoseTable(
            points, confidences, visibility, frames, self.individuals, self.keypoints, path
        )

    def _values(
        self, numbers: Float64[np.ndarray, "frames columns"], coord: str
    ) -> Float64[np.ndarray, "frames individuals num_keypoints"]:
        """Return one coordinate of all keypoints, NaN for those without a column."""
        places = {name: place for place, name in enumerate(self.positions)}
        chosen = np.array(
            [
                [places.get((individual, keypoint, coord), -1) for keypoint in self.keypoints]
                for individual in self.individuals
            ]
        )
        values: Float64[np.ndarray, "frames individuals num_keypoints"] = numbers[:, chosen]
        values[:, chosen < 0] = np.nan
        return values


def parse_columns(
    path: Path, columns: Sequence[Sequence[str]], *, first: int | None = None
) -> PoseColumns:
    """Find the keypoints among the columns of a file.

    Predictions of Lightning Pose on labelled frames carry one more column at the end, named
    ``set`` on the first level and empty on the others; exactly that is left out.

    Args:
        path: the file, for messages.
        columns: for each column, its scorer, its individual where these have names, its body part
            and its coordinate.
        first: number of the first column as a text editor counts, for files of text with header
            rows; ``None`` for other files.

    Raises:
        DataError: a column holds no coordinate, or a keypoint stands twice or not completely.

    Example:
        >>> columns = [("rick", "nose", "x"), ("rick", "nose", "y"), ("set", "", "")]
        >>> parse_columns(Path("labels.csv"), columns).positions
        {('', 'nose', 'x'): 0, ('', 'nose', 'y'): 1}
    """
    depth = len(columns[0]) if columns else len(LEVELS)

    def where(level: int, position: int | None = None) -> str:
        if first is None:
            return f"{path}" if position is None else f"{path}, column {position + 1}"
        line = f"{path}, line {depth + level}"
        return line if position is None else f"{line}, column {position + first}"

    if columns and columns[-1][0] == "set" and not any(columns[-1][1:]):
        columns = columns[:-1]
    positions: dict[tuple[str, str, str], int] = {}
    for position, (_, *individuals, bodypart, coord) in enumerate(columns):
        if coord not in _COORDS:
            raise DataError(
                f"{where(0, position)}: expected x, y, likelihood or visible, got {coord!r}."
                f"{did_you_mean(coord, _COORDS)} Each column is named by scorer, bodyparts and "
                "coords."
            )
        name = (individuals[0] if individuals else "", bodypart, coord)
        if name in positions:
            raise DataError(
                f"{where(-1, position)}: the keypoint {_called(*name[:2])} stands twice, its "
                f"{coord} also in column {positions[name] + (first or 1)}. Each keypoint needs a "
                "name of its own."
            )
        positions[name] = position
    if not positions:
        raise DataError(f"{where(-1)}: there is no keypoint, only a column of frames")
    keypoints = dict.fromkeys((individual, keypoint) for individual, keypoint, _ in positions)
    with_likelihood = [own for own in keypoints if (*own, "likelihood") in positions]
    for own in keypoints:
        for axis, other in (("x", "y"), ("y", "x")):
            if (*own, axis) not in positions:
                there = [coord for *names, coord in positions if tuple(names) == own]
                came = other if other in there else there[0]
                raise DataError(
                    f"{where(0)}: the keypoint {_called(*own)} has {came} but no {axis}. "
                    "Each keypoint needs both."
                )
        if with_likelihood and own not in with_likelihood:
            raise DataError(
                f"{where(0)}: the keypoint {_called(*own)} has no likelihood, "
                f"{_called(*with_likelihood[0])} has one. Give all keypoints a likelihood, or none."
            )
    return PoseColumns(
        tuple(dict.fromkeys(individual for individual, _ in keypoints)),
        tuple(dict.fromkeys(keypoint for _, keypoint in keypoints)),
        positions,
    )


def _called(individual: str, keypoint: str) -> str:
    return f"{keypoint!r} of {individual!r}" if individual else repr(keypoint)


def header_rows(
    scorer: str, keypoint_names: Sequence[str], coords: Sequence[str]
) -> list[list[str]]:
    """Return the header of a CSV: a row for each level, whose name is in the column of frames.

    Example:
        >>> for row in header_rows("rick", ["nose", "tail"], ["x", "y"]):
        ...     print(*row)
        scorer rick rick rick rick
        bodyparts nose nose tail tail
        coords x y x y
    """
    columns = [*product([scorer], keypoint_names, coords)]
    return [[name, *(column[level] for column in columns)] for level, name in enumerate(LEVELS)]


def write_rows(
    file: TextIO,
    frames: Sequence[str],
    values: Float64[np.ndarray, "frames num_keypoints coords"],
    *,
    header: Iterable[Sequence[str]] = (),
    last: Sequence[str] | None = None,
) -> None:
    """Write rows of a CSV: a frame, its numbers with nine digits, and cells that are empty for NaN.

    Args:
        file: opened with ``newline=""``.
        frames: what the frames are called.
        values: their numbers; what is not finite is missing.
        header: rows to write before them.
        last: values of one more column at the end.
    """
    pandas = require("pandas", "score", "to write CSV")
    csv.writer(file, lineterminator="\n").writerows(header)
    flat = np.where(np.isfinite(values), values, np.nan).reshape(len(values), -1)
    table = pandas.DataFrame(flat, index=frames)
    if last is not None:
        table["last"] = last
    table.to_csv(file, header=False, float_format="%.9g", lineterminator="\n")


# Above, a number that was once a float may not be the one that was meant.
_GREATEST = 2**53


def frame_numbers(
    texts: Sequence[object], where: Callable[[int], str]
) -> Int64[np.ndarray, "frames"] | None:
    """Return frames as whole numbers, or ``None`` where one of them is none.

    Args:
        texts: the frames, as numbers or text.
        where: returns, for a position among them, where it stands in the file, for messages.

    Raises:
        DataError: a number is beyond what can be a frame.

    Example:
        >>> frame_numbers(["0", "1.0"], "row {}".format)
        array([0, 1])
        >>> frame_numbers(["img0.png"], "row {}".format) is None
        True
    """
    numbers = _whole_numbers(texts)
    if numbers is None:
        return None
    for position, number in enumerate(numbers):
        if abs(number) > _GREATEST:
            raise DataError(
                f"{where(position)}: the number of a frame must be from -2**53 to 2**53, got "
                f"{texts[position]!s}. Correct it."
            )
    return np.array(numbers, dtype=np.int64)


def _whole_numbers(texts: Sequence[object]) -> list[int] | None:
    try:
        return [int(str(text)) for text in texts]
    except ValueError:
        pass
    try:
        numbers = [float(str(text)) for text in texts]
    except ValueError:
        return None
    return [int(number) for number in numbers] if all(map(float.is_integer, numbers)) else None


def not_a_number(path: Path, start: int, stop: int) -> DataError:
    """Return the error for rows whose index changes from numbers to text."""
    return DataError(
        f"{path}, rows {start + 1} to {stop}: the index must hold the numbers of frames, as it "
        "does in the first row"
    )


def image_paths(levels: Sequence[Sequence[object]]) -> Shaped[np.ndarray, "frames"]:
    """Return the path of each frame's image, with ``/`` between its parts.

    Args:
        levels: for each level of the index the entries of all frames. Older files of
            DeepLabCut have three: ``labeled-data``, folder, image.

    Example:
        >>> image_paths([["labeled-data"], ["mouse"], ["img0.png"]])
        array(['labeled-data/mouse/img0.png'], dtype=object)
    """
    paths = np.empty(len(levels[0]), dtype=object)
    paths[:] = [
        "/".join(str(part) for part in parts).replace("\\", "/")
        for parts in zip(*levels, strict=True)
    ]
    return paths
