"""Predictions of a model, batch by batch, while the next images are being read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float64, Int64
from torch import Tensor, nn

from lploss.errors import ArgumentValueError
from lploss_builtin.data.frames.batches import started_ahead
from lploss_builtin.data.frames.images import NUM_THREADS
from lploss_builtin.data.project.labelled_frames import Batch, collate
from lploss_builtin.ops import affine
from lploss_builtin.predicting.model_predictor import ModelPredictor
from lploss_builtin.predicting.summary import Stopwatch


@runtime_checkable
class Frames(Protocol):
    """A data set of frames with ``images`` and ``index``.

    There is ``affine`` where they are cropped, ``is_read`` (``views``) where some images could
    not be read, and ``context_images`` for models that see the frames around one, too.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Batch: ...


@dataclass(frozen=True, slots=True, eq=False)
class FramePredictions:
    """Where the keypoints of some frames are.

    Attributes:
        index: numbers of the frames in their data set.
        keypoints: x and y, px in the original images; NaN where an image could not be read.
        confidences: 0 to 1; NaN likewise.
    """

    index: Int64[Tensor, "frames"]
    keypoints: Float64[Tensor, "frames views num_keypoints 2"]
    confidences: Float64[Tensor, "frames views num_keypoints"]


def predict_frames(
    model: nn.Module,
    frames: Frames,
    *,
    views: Sequence[int] | None = None,
    batch_size: int = 16,
    device: torch.device | None = None,
    precision: str | None = None,
    stopwatch: Stopwatch | None = None,
) -> Iterator[FramePredictions]:
    """Predict the keypoints of all frames, in their order.

    The next images are read by several threads while a batch is predicted; what is held in memory
    does not grow with the number of frames. While it goes on, the model is in evaluation mode.

    Where images of a frame could not be read, its other views are predicted without them.

    Args:
        model: has a method ``predict(images, views)``, as
            `lploss_builtin.models.heatmap.HeatmapModel`; it is moved to the device.
        frames: such as `lploss_builtin.data.project.labelled_frames.LabelledFrames`.
        views: which of the model's views the frames hold, in their order; all unless given.
        batch_size: frames that are predicted at once, at least 1.
        device: where the model runs; where its parameters are unless given.
        precision: as Lightning spells it: with ``"bf16-mixed"`` most of the model runs in
            bfloat16, with ``"16-mixed"`` on a GPU in float16.
        stopwatch: gets the time that reading and the model took.

    Yields:
        The frames of each batch.

    Raises:
        ArgumentValueError: the batch size is no size, or the model cannot predict.
        DataError: an image cannot be read.

    Example:
        >>> class Centre(nn.Module):
        ...     def predict(self, images, views):
        ...         num_frames, num_views = images.shape[:2]
        ...         centre = torch.tensor([32.0, 32.0]).expand(num_frames, num_views, 2)
        ...         return None, centre, torch.ones(num_frames, num_views)
        >>> image = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
        >>> size = torch.tensor([64.0, 64.0])
        >>> frame = {"images": image, "index": torch.tensor(0), "image_size": size}
        >>> for found in predict_frames(Centre(), [frame]):
        ...     print(found.keypoints)
        tensor([[[[32., 32.]]]], dtype=torch.float64)
    """
    if batch_size < 1:
        raise ArgumentValueError(f"batch_size must be at least 1, got {batch_size}")
    predictor = ModelPredictor(model, views=views, device=device, precision=precision)
    return _predictions(predictor, frames, batch_size, stopwatch or Stopwatch())


def _predictions(
    predictor: ModelPredictor, frames: Frames, batch_size: int, stopwatch: Stopwatch
) -> Iterator[FramePredictions]:
    for batch in stopwatch.waiting("decoding", _batches(frames, batch_size)):
        with stopwatch.measure("model"):
            found = predictor.predict(
                batch["images"], batch.get("is_read"), batch.get("context_images")
            )
            keypoints = found.keypoints
            if "affine" in batch:
                keypoints = affine.transform(keypoints, affine.inverse(batch["affine"].double()))
        yield FramePredictions(batch["index"], keypoints, found.confidences)


def _batches(frames: Frames, batch_size: int) -> Iterator[Batch]:
    """Yield the batches in order, each read by several threads before it is asked for."""
    pool = ThreadPoolExecutor(NUM_THREADS)
    try:
        batches = (
            [
                pool.submit(frames.__getitem__, number)
                for number in range(start, min(start + batch_size, len(frames)))
            ]
            for start in range(0, len(frames), batch_size)
        )
        for batch in started_ahead(batches):
            yield collate([element.result() for element in batch])
    finally:
        pool.shutdown(cancel_futures=True)
