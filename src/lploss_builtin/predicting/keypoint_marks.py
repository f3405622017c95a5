"""Drawing keypoints into the frames of a video."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8

from lploss.errors import ArgumentValueError, did_you_mean
from lploss_builtin.dependencies import require

# Of the shorter side of a frame.
_RADIUS = 0.009
_SMALLEST = 2.0
_RIM = 1.0


def check_threshold(confidence_threshold: float) -> None:
    """Check from which likelihood on keypoints are shown.

    Raises:
        ArgumentValueError: it is no likelihood.
    """
    if not 0.0 <= confidence_threshold <= 1.0:
        raise ArgumentValueError(
            f"confidence_threshold must be between 0 and 1, got {confidence_threshold}"
        )


def keypoint_colours(num_keypoints: int, colormap: str) -> UInt8[np.ndarray, "num_keypoints 3"]:
    """Return a colour for each keypoint, evenly spread over a colormap of matplotlib.

    Raises:
        ArgumentValueError: there is no such colormap.
    """
    known = require("matplotlib", "train", "to colour keypoints").colormaps
    if colormap not in known:
        raise ArgumentValueError(
            f"there is no colormap {colormap!r}.{did_you_mean(colormap, known)} Those of "
            "matplotlib can be used, such as cool, viridis or hsv"
        )
    colours = known[colormap](np.linspace(0.0, 1.0, num_keypoints))
    rounded: UInt8[np.ndarray, "num_keypoints 3"] = (255 * colours[:, :3]).round().astype(np.uint8)
    return rounded


def draw_keypoints(
    frame: UInt8[np.ndarray, "height width 3"],
    keypoints: Float[np.ndarray, "num_keypoints 2"],
    is_shown: Bool[np.ndarray, "num_keypoints"],
    colours: UInt8[np.ndarray, "num_keypoints 3"],
) -> None:
    """Draw a disc with a dark rim at each keypoint into a frame.

    Args:
        frame: gets the discs.
        keypoints: x and y, px; a disc that reaches out of the frame is cut off.
        is_shown: which of them to draw.
        colours: of each keypoint.

    Example:
        >>> frame = np.zeros((9, 9, 3), dtype=np.uint8)
        >>> green = np.array([[0, 255, 0]], dtype=np.uint8)
        >>> draw_keypoints(frame, np.array([[3.0, 5.0]]), np.array([True]), green)
        >>> frame[5, 3].tolist()
        [0, 255, 0]
    """
    height, width, _ = frame.shape
    radius = max(_SMALLEST, _RADIUS * min(height, width))
    reach = radius + _RIM + 1.0
    for number in np.flatnonzero(is_shown & np.isfinite(keypoints).all(axis=1)).tolist():
        x, y = keypoints[number].tolist()
        if not (-reach < x < width - 1 + reach and -reach < y < height - 1 + reach):
            continue
        left, right = max(0, int(x - reach)), min(width, int(x + reach) + 2)
        top, bottom = max(0, int(y - reach)), min(height, int(y + reach) + 2)
        distance = np.hypot(np.arange(left, right) - x, (np.arange(top, bottom) - y)[:, None])[
            ..., None
        ]
        rim = np.clip(radius + _RIM + 0.5 - distance, 0.0, 1.0)
        disc = np.clip(radius + 0.5 - distance, 0.0, 1.0)
        patch = frame[top:bottom, left:right]
        mixed = patch * (1.0 - rim) + disc * colours[number]
        patch[:] = np.clip(mixed, 0.0, 255.0).round().astype(np.uint8)
