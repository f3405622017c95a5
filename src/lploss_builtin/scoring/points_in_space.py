"""Telling files of points in space from predictions in images, beside which they lie."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path

from lploss_builtin.data.poses.columns import LEVELS


def holds_points_in_space(path: Path) -> bool:
    r"""Return whether a file holds points in space, such as the ``_3d.csv`` of `lploss predict`.

    It has the header of a CSV of predictions, with a coordinate ``z``.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "walk_3d.csv")
        >>> header = "scorer,net,net,net\nbodyparts,nose,nose,nose\ncoords,x,y,z\n"
        >>> _ = path.write_text(header)
        >>> holds_points_in_space(path)
        True
    """
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = list(islice(csv.reader(file), len(LEVELS)))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return [row[:1] for row in header] == [[level] for level in LEVELS] and "z" in header[-1]
