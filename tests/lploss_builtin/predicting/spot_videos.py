"""Videos without loss, whose keypoints are known, and models that find them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from tests.lploss_builtin.predicting.runs import SIZE, FindsSpots, spots


def wandering(num_frames: int, seed: int = 0) -> np.ndarray:
    """Three keypoints that jump about from frame to frame, within an image of `SIZE`."""
    rng = np.random.default_rng(seed)
    return rng.uniform([20.0, 15.0], [76.0, 49.0], (num_frames, 3, 2)).round(1)


def write_spot_video(
    path: Path,
    keypoints: np.ndarray,
    size: tuple[int, int] = SIZE,
    rate: Fraction | int = 25,
) -> Path:
    """Write a video without loss; every tenth frame is a keyframe."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=rate, options={"qp": "0", "g": "10"})
        stream.height, stream.width, stream.pix_fmt = *size, "rgb24"
        for own in keypoints:
            frame = av.VideoFrame.from_ndarray(spots(own, size), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


class FindsSpotsAround(FindsSpots):
    """The first keypoint is where it was two frames ago, the last where it will be."""

    num_context_frames = 2

    def predict(
        self,
        images: Tensor,
        views: Sequence[int] | None,
        context_images: Tensor | None = None,
    ) -> tuple[None, Tensor, Tensor]:
        assert context_images is not None
        around = [context_images[:, :, 0], images, context_images[:, :, 3]]
        found = [super(FindsSpotsAround, self).predict(own, views) for own in around]
        keypoints = torch.stack(
            [own[1].unflatten(1, (-1, 3))[:, :, k] for k, own in enumerate(found)], dim=2
        )
        return None, keypoints.flatten(1, 2), found[1][2]

    def predict_sequence(
        self, images: Tensor, views: Sequence[int] | None
    ) -> tuple[None, Tensor, Tensor]:
        numbers = torch.arange(2, len(images) - 2)
        context = torch.stack([images[numbers + k] for k in (-2, -1, 1, 2)], dim=2)
        return self.predict(images[2:-2], views, context)
