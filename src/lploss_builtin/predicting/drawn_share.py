"""Notes on labelled videos that show little."""

from __future__ import annotations

from collections.abc import Iterable

from lploss_builtin.predicting.recording_plan import LabelledVideo
from lploss_builtin.predicting.summary import PredictedRecording

_LITTLE = 0.1


def notes_on_drawing(
    recordings: Iterable[PredictedRecording], style: LabelledVideo, *, has_images: bool
) -> list[str]:
    """Return notes on recordings of which few keypoints are drawn, and on images.

    Args:
        recordings: what was predicted.
        style: how it was to be drawn.
        has_images: whether images are among it.

    Example:
        >>> walk = PredictedRecording("walk", ("",), 9, 0.2, 0.0, (), drawn_share=0.004)
        >>> notes_on_drawing([walk], LabelledVideo(0.9), has_images=False)[0].partition(": the")[0]
        'walk: 0.4 % of its keypoints are drawn'
    """
    notes = [
        f"{own.name}: {100 * own.drawn_share:.2g} % of its keypoints are drawn: the others have a "
        f"likelihood below {style.confidence_threshold:g}, see --confidence"
        for own in recordings
        if own.drawn_share < _LITTLE
    ]
    if has_images:
        notes.append("nothing is drawn into images: --video is for videos")
    return notes
