"""The unlabelled videos that a config asks to train with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from lploss.config import value_at
from lploss.errors import ConfigError, DataError
from lploss_builtin.data.findings import Findings, Kind
from lploss_builtin.data.frames.video_nvidia import DECODERS
from lploss_builtin.data.frames.video_recordings import (
    FoundRecordings,
    VideoRecording,
    find_video_recordings,
)
from lploss_builtin.data.project.labelled_project import LabelledProject
from lploss_builtin.data.project.project_cameras import cameras_of_sessions
from lploss_builtin.data.project.project_files import project_files
from lploss_builtin.ops.geometry import Cameras

_TRAINED_WITHOUT = Kind(
    "Videos that are not trained with",
    "Mend them, or take them out of data.video_dir.",
    hinders=False,
)
_WORTH_KNOWING = Kind(
    "Videos that are not what one expects",
    "They are used as far as they go, unless they are named above.",
    hinders=False,
)


@dataclass(frozen=True, slots=True, eq=False)
class UnlabelledVideos:
    """Videos to train with, and how much of them is read at once.

    Attributes:
        recordings: the videos.
        length: consecutive frames of a batch, those of the context included.
        seed: of the random places.
        decoder: what decodes them: ``"cpu"``, ``"cuda"``, or ``"auto"``.
        cameras: those of each recording, by its name; empty where nothing is calibrated.
        notes: what is left out, and what else to know.
    """

    recordings: tuple[VideoRecording, ...]
    length: int
    seed: int
    decoder: str
    cameras: Mapping[str, Cameras]
    notes: tuple[str, ...]


def unlabelled_videos(
    config: DictConfig,
    project: LabelledProject,
    *,
    folder: Path | None = None,
    num_context_frames: int = 0,
    num_previous_frames: int = 0,
) -> UnlabelledVideos:
    """Find the videos in ``data.video_dir``, and check that they fit the labelled frames.

    Videos that do not fit are left out, and named.

    Args:
        config: the full config with defaults.
        project: the labelled frames.
        folder: where a relative ``data.data_dir`` starts.
        num_context_frames: how many frames before and after each one the model sees.
        num_previous_frames: the most that a loss compares a frame with.

    Raises:
        ConfigError: there is no such folder, a length is too short, or no such decoder.
        DataError: no video can be trained with; the message lists what is wrong with each.
    """
    place = project.folder / Path(config.data.video_dir).expanduser()
    if not place.is_dir():
        raise ConfigError(
            f"data.video_dir must be a folder of videos, and there is none at {place}. Without "
            "unlabelled video, set it to null: the losses in model.losses_to_use are then taken "
            "of the labelled frames."
        )
    if config.data.bbox_file:
        raise ConfigError(
            "data.bbox_file says where the labelled frames are cropped, and nothing says it of "
            "the videos in data.video_dir. Set data.video_dir to null, or train on whole frames."
        )
    length = _length(config, num_context_frames, num_previous_frames)
    decoder = config.dali.general.decoder
    if decoder not in DECODERS:
        raise ConfigError(
            f"dali.general.decoder must be one of {', '.join(DECODERS)}, got {decoder!r}"
        )
    # Whoever has many videos must learn of each that is not used.
    findings = Findings(num_shown=None)
    found = find_video_recordings([place], project.view_names)
    findings.add(_TRAINED_WITHOUT, found.left_out)
    findings.add(_WORTH_KNOWING, found.notes)
    kept = list(_of_this_size(found, project, length, findings))
    cameras: dict[str, Cameras] = {}
    if project.cameras is not None:
        cameras = _cameras(config, project, folder, kept, findings)
        kept = list(_as_calibrated(kept, cameras, findings))
    notes = findings.notes()
    if not kept:
        reasons = "\n".join(notes)
        raise DataError(
            f"model.losses_to_use asks for unlabelled video, and there is none to train with in "
            f"{place}:\n{reasons}"
        )
    return UnlabelledVideos(tuple(kept), length, config.dali.general.seed, decoder, cameras, notes)


def _length(config: DictConfig, num_context_frames: int, num_previous_frames: int) -> int:
    own = "context.train.batch_size" if num_context_frames else "base.train.sequence_length"
    key = f"dali.{own}"
    length: int = value_at(config, key)
    if length < 1 + num_previous_frames:
        why = (
            f", for a loss in model.losses_to_use compares a frame with the {num_previous_frames} "
            "before it"
        )
        raise ConfigError(
            f"{key} must be at least {1 + num_previous_frames}"
            f"{why if num_previous_frames else ''}, got {length}"
        )
    return length + 2 * num_context_frames


def _of_this_size(
    found: FoundRecordings, project: LabelledProject, length: int, findings: Findings
) -> Iterable[VideoRecording]:
    """Yield the recordings whose frames are as large as the labelled ones of their views."""
    sizes = [
        {(h, w) for h, w in project.image_sizes[:, view].tolist()}
        for view in range(project.num_views)
    ]
    for recording in found.recordings:
        others = [
            f"{source.path}: its frames have height {source.height} and width {source.width}, "
            f"labelled images {' or '.join(f'{h} and {w}' for h, w in sorted(known))}"
            for source, known in zip(recording.sources, sizes, strict=True)
            if (source.height, source.width) not in known
        ]
        if recording.num_frames < length:
            others.append(
                f"{recording.sources[0].path}: it has {recording.num_frames} frames, a batch "
                f"{length}"
            )
        findings.add(_TRAINED_WITHOUT, others)
        if not others:
            yield recording


def _cameras(
    config: DictConfig,
    project: LabelledProject,
    folder: Path | None,
    recordings: Iterable[VideoRecording],
    findings: Findings,
) -> dict[str, Cameras]:
    """Return the cameras of the recordings that have some."""
    cameras = dict(project.cameras or {})
    files = project_files(config, folder)
    is_table = files.calibration is not None and files.calibration.suffix.lower() == ".csv"
    for name in [own.name for own in recordings if own.name not in cameras]:
        problems = Findings()
        of_session = None if is_table else cameras_of_sessions(files, [name], [name], problems)
        if of_session:
            cameras |= of_session
        elif reasons := problems.problems():
            findings.add(_TRAINED_WITHOUT, [f"session {name!r}: {reasons}"])
    return cameras


def _as_calibrated(
    recordings: Iterable[VideoRecording], cameras: Mapping[str, Cameras], findings: Findings
) -> Iterable[VideoRecording]:
    """Yield the recordings with cameras that were calibrated for frames of their size."""
    for recording in recordings:
        own = cameras.get(recording.name)
        if own is None:
            case = f"session {recording.name!r} has no calibration, and labelled ones have"
            findings.add(_TRAINED_WITHOUT, [case])
            continue
        others = [
            f"{source.path}: its frames have height {source.height} and width {source.width}, its "
            f"camera was calibrated for {height:g} and {width:g}"
            for source, (width, height) in zip(
                recording.sources, own.image_sizes or (), strict=bool(own.image_sizes)
            )
            if (source.width, source.height) != (width, height)
        ]
        findings.add(_TRAINED_WITHOUT, others)
        if not others:
            yield recording
