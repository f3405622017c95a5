"""Predictions of a model, batch by batch, while the next images are being read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Float64, Int64
from torch import Tensor, nn

from lploss.errors import ArgumentValueError
from lploss_builtin.commands.predicting.readable_views import Found, predict_readable_views
from lploss_builtin.data.frame_images import NUM_THREADS
from lploss_builtin.data.labelled_frames import Batch, collate
from lploss_builtin.ops import affine

# So many batches are being read while one is predicted.
_BATCHES_AHEAD = 2


@runtime_checkable
class Frames(Protocol):
    """A data set of frames with ``images`` and ``index``.

    There is ``affine`` where they are cropped, and ``is_read`` (``views``) where some images could
    not be read.
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
) -> Iterator[FramePredictions]:
    """Predict the keypoints of all frames, in their order.

    The next images are read by several threads while a batch is predicted; what is held in memory
    does not grow with the number of frames. While it goes on, the model is in evaluation mode.

    Where images of a frame could not be read, its other views are predicted without them.

    Args:
        model: has a method ``predict(images, views)``, as
            `lploss_builtin.models.heatmap.HeatmapTransformer`; it is moved to the device.
        frames: such as `lploss_builtin.data.labelled_frames.LabelledFrames`.
        views: which of the model's views the frames hold, in their order; all unless given.
        batch_size: frames that are predicted at once, at least 1.
        device: where the model runs; where its parameters are unless given.
        precision: as Lightning spells it: with ``"bf16-mixed"`` most of the model runs in
            bfloat16, with ``"16-mixed"`` on a GPU in float16.

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
    if not callable(getattr(model, "predict", None)):
        raise ArgumentValueError(
            f"the model {type(model).__qualname__} cannot predict: it has no method "
            "predict(images, views), which returns heatmaps, keypoints and confidences"
        )
    if device is None:
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    return _predictions(model.to(device), frames, views, batch_size, device, precision)


def _predictions(
    model: Any,
    frames: Frames,
    views: Sequence[int] | None,
    batch_size: int,
    device: torch.device,
    precision: str | None,
) -> Iterator[FramePredictions]:
    def predict(images: Tensor, views: Sequence[int] | None) -> Found:
        on_device = images.to(device, non_blocking=True)
        with _evaluating(model), torch.inference_mode(), _autocast(device, precision):
            _, keypoints, confidences = model.predict(on_device, views)
        # Outside of it, so that these are tensors like any other.
        num_views = images.shape[1]
        return Found(
            rearrange(keypoints.cpu().double(), "b (v k) xy -> b v k xy", v=num_views),
            rearrange(confidences.cpu().double(), "b (v k) -> b v k", v=num_views),
        )

    for batch in _batches(frames, batch_size):
        images = batch["images"]
        is_read = batch.get("is_read", torch.ones(images.shape[:2], dtype=torch.bool))
        keypoints, confidences = predict_readable_views(predict, images, is_read, views)
        if "affine" in batch:
            keypoints = affine.transform(keypoints, affine.inverse(batch["affine"].double()))
        yield FramePredictions(batch["index"], keypoints, confidences)


def _batches(frames: Frames, batch_size: int) -> Iterator[Batch]:
    """Yield the batches in order, each read by several threads before it is asked for."""
    pool = ThreadPoolExecutor(NUM_THREADS)
    waiting: deque[list[Future[Batch]]] = deque()
    try:
        for first in range(0, len(frames), batch_size):
            numbers = range(first, min(first + batch_size, len(frames)))
            waiting.append([pool.submit(frames.__getitem__, number) for number in numbers])
            if len(waiting) > _BATCHES_AHEAD:
                yield _collected(waiting)
        while waiting:
            yield _collected(waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _collected(waiting: deque[list[Future[Batch]]]) -> Batch:
    return collate([element.result() for element in waiting.popleft()])


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode, and what of it was in training mode back."""
    in_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in in_training:
            module.training = True


def _autocast(device: torch.device, precision: str | None) -> AbstractContextManager[Any]:
    text = str(precision or "")
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    if text.startswith("bf16"):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    # Elsewhere float16 is slower than float32, and knows less.
    if text.startswith("16") and device.type == "cuda":
        return torch.autocast(device.type, dtype=torch.float16)
    return nullcontext()
