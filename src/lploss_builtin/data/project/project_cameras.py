"""The cameras of each session of a labelled project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float64
from torch.nn.functional import pad

from lploss.errors import DataError, did_you_mean
from lploss.reading import check_file, reading
from lploss_builtin.data.cameras.calibration import find_calibration, read_calibration
from lploss_builtin.data.findings import UNUSABLE_FILES, Findings, Kind
from lploss_builtin.data.project.project_files import ProjectFiles
from lploss_builtin.dependencies import require
from lploss_builtin.ops.geometry import Cameras

_MISSING = Kind(
    "Sessions without a calibration, where others have one",
    "Put calibrations/<session>.toml, or calibration.toml for all, into the project's folder; or "
    "take all calibrations away.",
)
_OTHER_CAMERAS = Kind(
    "Calibrations whose cameras are not the views",
    "Each view in data.view_names needs a camera of its very name.",
)
_OTHER_SIZES = Kind(
    "Cameras that were calibrated for images of another size",
    "The size of a camera is that of its images. Where these were cut out of larger frames, say "
    "where in data.bbox_file; where they were resized, scale matrix and size of the camera too.",
)
_OTHER_FRAMES = Kind(
    "Tables of calibrations that do not fit the frames",
    "The table in data.camera_params_file must have a row for each row of the label files, in "
    "their order, with the image and, in the column 'file', the path of its calibration; one for "
    "all frames of a session.",
)


def cameras_of_sessions(
    files: ProjectFiles, images: Sequence[str], sessions: Sequence[str], findings: Findings
) -> Mapping[str, Cameras] | None:
    """Return the cameras of each session, in the order of the views.

    Args:
        files: where the project's files are.
        images: path of each frame's image in the first view.
        sessions: session of each frame.
        findings: where problems go.

    Returns:
        The cameras, all with the same number of distortion coefficients; ``None`` where there is
        no calibration, or one with a problem.
    """
    if not files.view_names:
        return None
    paths = _paths(files, images, sessions, findings)
    found = {
        path: _read(path, files.view_names, findings) for path in dict.fromkeys(paths.values())
    }
    of_sessions = {session: found[path] for session, path in paths.items()}
    cameras = {session: own for session, own in of_sessions.items() if own is not None}
    if not cameras or len(cameras) < len(set(sessions)):
        return None
    return _same_coefficients(cameras)


def check_image_sizes(
    cameras: Mapping[str, Cameras],
    sessions: Sequence[str],
    images: Sequence[Sequence[Path]],
    frame_sizes: Float64[np.ndarray, "frames views 2"],
    are_cut_out: Sequence[bool],
    findings: Findings,
) -> None:
    """Report cameras that were calibrated for images of another size.

    Args:
        cameras: those of each session.
        sessions: session of each frame.
        images: each frame's images.
        frame_sizes: height and width of each image, px; of one that was cut out of a larger
            frame the least that this frame has. 0 where it is not known.
        are_cut_out: whether the images of each view were cut out of larger frames.
        findings: where problems go.
    """
    cases: dict[tuple[str, int], str] = {}
    for frame, session in enumerate(sessions):
        for view, (width, height) in enumerate(cameras[session].image_sizes or ()):
            needed_height, needed_width = frame_sizes[frame, view]
            fits = (needed_height, needed_width) == (height, width)
            if are_cut_out[view]:
                fits = needed_height <= height and needed_width <= width
            if fits or not needed_height or (session, view) in cases:
                continue
            name = (cameras[session].names or ())[view]
            what = "its box reaches to" if are_cut_out[view] else "it has"
            cases[session, view] = (
                f"session {session!r}, camera {name!r}: height {height:g}, width {width:g}; "
                f"{images[frame][view]}: {what} height {needed_height:g}, width {needed_width:g}"
            )
    findings.add(_OTHER_SIZES, cases.values())


def _paths(
    files: ProjectFiles, images: Sequence[str], sessions: Sequence[str], findings: Findings
) -> dict[str, Path]:
    """Return the calibration of each session that has one."""
    names = list(dict.fromkeys(sessions))
    given = files.calibration
    if given is not None:
        if given.suffix.lower() == ".csv":
            return _paths_in_table(given, files.folder, images, sessions, findings)
        return dict.fromkeys(names, given)
    found: dict[str, Path] = {}
    missing = []
    for session in names:
        try:
            found[session] = find_calibration(files.folder, session)
        except DataError as error:
            missing.append(str(error))
    if found:
        findings.add(_MISSING, missing)
    return found


def _paths_in_table(
    table: Path,
    folder: Path,
    images: Sequence[str],
    sessions: Sequence[str],
    findings: Findings,
) -> dict[str, Path]:
    pandas = require("pandas", "train", "to read tables of calibrations")
    try:
        check_file(table)
        with reading(table):
            rows = pandas.read_csv(table, index_col=0, dtype=str, keep_default_na=False)
    except DataError as error:
        findings.add(UNUSABLE_FILES, [str(error)])
        return {}
    if "file" not in rows:
        findings.add(_OTHER_FRAMES, [f"{table}: there is no column 'file'"])
        return {}
    paths = [folder / path for path in rows["file"]]
    names = [PurePosixPath(str(image).replace("\\", "/")).name for image in rows.index]
    expected = [PurePosixPath(image).name for image in images]
    if len(names) != len(expected):
        findings.add(
            _OTHER_FRAMES, [f"{table}: it has {len(names)} rows, the labels have {len(expected)}"]
        )
        return {}
    findings.add(
        _OTHER_FRAMES,
        [
            f"{table}: row {row} is {name}, in the labels it is {images[row - 1]}"
            for row, (name, other) in enumerate(zip(names, expected, strict=True), start=1)
            if name != other
        ],
    )
    found: dict[str, Path] = {}
    for session, path in zip(sessions, paths, strict=True):
        if found.setdefault(session, path) != path:
            case = f"{table}: session {session!r} has {found[session]} and {path}"
            findings.add(_OTHER_FRAMES, [case])
    return found


def _read(path: Path, view_names: Sequence[str], findings: Findings) -> Cameras | None:
    try:
        cameras = read_calibration(path)
    except DataError as error:
        findings.add(UNUSABLE_FILES, [str(error)])
        return None
    names = cameras.names or ()
    missing = [view for view in view_names if view not in names]
    findings.add(
        _OTHER_CAMERAS,
        [
            f"{path}: there is no camera {view!r}.{did_you_mean(view, names)} Its cameras are "
            f"{', '.join(names)}"
            for view in missing
        ],
    )
    return None if missing else cameras.select(view_names)


def _same_coefficients(cameras: Mapping[str, Cameras]) -> Mapping[str, Cameras]:
    """Return the cameras with the distortion of all as long as the longest: what is 0 is not."""
    longest = max(
        own.distortions.shape[-1] for own in cameras.values() if own.distortions is not None
    )
    return {
        session: own
        if own.distortions is None
        else replace(
            own, distortions=pad(own.distortions, (0, longest - own.distortions.shape[-1]))
        )
        for session, own in cameras.items()
    }
