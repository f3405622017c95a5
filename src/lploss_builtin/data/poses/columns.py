"""The columns and the index of a keypoint file: scorer, bodyparts, coords; frames or images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from lploss.errors import DataError, did_you_mean

LEVELS = ("scorer", "bodyparts", "coords")
_COORDS = ("x", "y", "likelihood", "visible")


@dataclass(frozen=True, slots=True)
class KeypointColumns:
    """Where the columns of the keypoints stand among the columns of a file.

    Attributes:
        keypoint_names: names of the keypoints, in the order in which they first stand there.
        coordinates: position of the column of each coordinate ``x0 y0 x1 y1 ...``.
        confidences: position of the column of each likelihood; ``None`` where there is none.
        visible: position of the column ``visible`` of each keypoint; ``None`` for one without.
    """

    keypoint_names: tuple[str, ...]
    coordinates: tuple[int, ...]
    confidences: tuple[int, ...] | None
    visible: tuple[int | None, ...] = ()

    @property
    def used(self) -> tuple[int, ...]:
        """Positions of the columns of coordinates, likelihoods and ``visible``."""
        visible = (position for position in self.visible if position is not None)
        return (*self.coordinates, *(self.confidences or ()), *visible)

    def label(self, position: int) -> str:
        """Return what stands in a column, for a message: ``keypoint 'nose', x``."""
        if position in self.coordinates:
            keypoint, axis = divmod(self.coordinates.index(position), 2)
            return f"keypoint {self.keypoint_names[keypoint]!r}, {'xy'[axis]}"
        if position in self.visible:
            return f"keypoint {self.keypoint_names[self.visible.index(position)]!r}, visible"
        keypoint = (self.confidences or ()).index(position)
        return f"keypoint {self.keypoint_names[keypoint]!r}, likelihood"

    def split(
        self, numbers: Float64[np.ndarray, "frames columns"]
    ) -> tuple[
        Float64[np.ndarray, "frames two_x_num_keypoints"],
        Float64[np.ndarray, "frames num_keypoints"] | None,
    ]:
        """Return the coordinates and the likelihoods of rows that hold the `used` columns.

        Infinite coordinates become missing, because no loss can use them. So do the coordinates of
        keypoints whose ``visible`` is 0, which are not labelled.
        """
        num_coordinates, num_confidences = len(self.coordinates), len(self.confidences or ())
        coordinates, confidences, visible = np.split(
            numbers, [num_coordinates, num_coordinates + num_confidences], axis=1
        )
        coordinates = np.where(np.isfinite(coordinates), coordinates, np.nan)
        keypoints = [k for k, position in enumerate(self.visible) if position is not None]
        for keypoint, values in zip(keypoints, visible.T, strict=True):
            coordinates[values == 0, 2 * keypoint : 2 * keypoint + 2] = np.nan
        if self.confidences is None:
            return coordinates, None
        return coordinates, np.ascontiguousarray(confidences)


def parse_columns(
    path: Path, columns: Sequence[Sequence[str]], *, first: int | None = None
) -> KeypointColumns:
    """Find the keypoints among the columns of a file.

    Predictions of Lightning Pose on labelled frames carry one more column at the end, named
    ``set`` on the first level and empty on the others; exactly that is left out.

    Args:
        path: the file, for messages.
        columns: for each column, its scorer, body part and coordinate.
        first: number of the first column as a text editor counts, for files of text with header
            rows; ``None`` for other files.

    Raises:
        DataError: a column holds no coordinate, or a keypoint stands twice or not completely.

    Example:
        >>> columns = [("rick", "nose", "x"), ("rick", "nose", "y"), ("set", "", "")]
        >>> parse_columns(Path("labels.csv"), columns).coordinates
        (0, 1)
    """

    def where(level: int, position: int | None = None) -> str:
        if first is None:
            return f"{path}" if position is None else f"{path}, column {position + 1}"
        line = f"{path}, line {level + 1}"
        return line if position is None else f"{line}, column {position + first}"

    if columns and tuple(columns[-1]) == ("set", "", ""):
        columns = columns[:-1]
    positions: dict[str, dict[str, int]] = {}
    for position, (_, bodypart, coord) in enumerate(columns):
        if coord not in _COORDS:
            raise DataError(
                f"{where(2, position)}: expected x, y, likelihood or visible, got {coord!r}."
                f"{did_you_mean(coord, _COORDS)} Each column is named by scorer, bodyparts and "
                "coords."
            )
        found = positions.setdefault(bodypart, {})
        if coord in found:
            raise DataError(
                f"{where(1, position)}: the keypoint {bodypart!r} stands twice, its {coord} also "
                f"in column {found[coord] + (first or 1)}. Each keypoint needs a name of its own."
            )
        found[coord] = position
    if not positions:
        raise DataError(f"{where(1)}: there is no keypoint, only a column of frames")
    with_likelihood = [name for name, found in positions.items() if "likelihood" in found]
    for name, found in positions.items():
        for axis, other in (("x", "y"), ("y", "x")):
            if axis not in found:
                came = other if other in found else next(iter(found))
                raise DataError(
                    f"{where(2)}: the keypoint {name!r} has {came} but no {axis}. "
                    "Each keypoint needs both."
                )
        if with_likelihood and "likelihood" not in found:
            raise DataError(
                f"{where(2)}: the keypoint {name!r} has no likelihood, {with_likelihood[0]!r} "
                "has one. Give all keypoints a likelihood, or none."
            )
    return KeypointColumns(
        tuple(positions),
        tuple(found[axis] for found in positions.values() for axis in "xy"),
        tuple(found["likelihood"] for found in positions.values()) if with_likelihood else None,
        tuple(found.get("visible") for found in positions.values()),
    )


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


def several_animals(path: Path) -> DataError:
    """Return the error for a file that holds several individuals."""
    return DataError(
        f"{path} holds several animals (a level 'individuals'). Split it into one file for each "
        "individual, with the levels scorer, bodyparts, coords."
    )


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
