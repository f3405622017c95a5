"""Predictions of a model, from images to keypoints that are ordinary tensors on the CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Bool, Float64, Int64, Num
from torch import Tensor, nn

from lploss.errors import ArgumentValueError, first_line
from lploss_builtin.data.frames.batches import started_ahead
from lploss_builtin.data.frames.images import NUM_THREADS
from lploss_builtin.data.project.labelled_frames import Batch, collate
from lploss_builtin.ops import affine
from lploss_builtin.predicting.frame_batches import FrameBatch
from lploss_builtin.predicting.summary import Stopwatch


class Found(NamedTuple):
    """Where the keypoints of some frames are.

    Attributes:
        keypoints: x and y, px in the model's input.
        confidences: 0 to 1.
    """

    keypoints: Float64[Tensor, "frames views num_keypoints 2"]
    confidences: Float64[Tensor, "frames views num_keypoints"]


#: Called with images, which of the model's views they are of (all where that is ``None``), and the
#: frames around each, where the model sees such.
Predict: TypeAlias = Callable[[Tensor, Sequence[int] | None, Tensor | None], Found]


def predict_readable_views(
    predict: Predict,
    images: Num[Tensor, "frames views 3 height width"],
    is_read: Bool[Tensor, "frames views"],
    views: Sequence[int] | None,
    context_images: Num[Tensor, "frames views context 3 height width"] | None = None,
) -> Found:
    """Return where the keypoints are in the images that could be read, and NaN in the others.

    The model is shown no image in place of one that is missing: frames of which the same views
    could be read are predicted together, from these views.

    Args:
        predict: the model.
        images: of all views; whatever stands in for those that could not be read.
        is_read: which images could be read.
        views: which of the model's views the images are of; all unless given.
        context_images: the frames around each, where the model sees such.

    Example:
        >>> def predict(images, views, context_images):
        ...     print(views, tuple(images.shape))
        ...     found = torch.ones(*images.shape[:2], 1, 2, dtype=torch.float64)
        ...     return Found(found, found[..., 0])
        >>> is_read = torch.tensor([[True, True], [True, False], [False, False], [True, True]])
        >>> found = predict_readable_views(predict, torch.zeros(4, 2, 3, 8, 8), is_read, [0, 3])
        [0] (1, 1, 3, 8, 8)
        [0, 3] (2, 2, 3, 8, 8)
        >>> found.confidences[..., 0]
        tensor([[1., 1.],
                [1., nan],
                [nan, nan],
                [1., 1.]], dtype=torch.float64)
    """
    if is_read.all():
        return predict(images, views, context_images)
    num_frames, num_views = is_read.shape
    numbers = range(num_views) if views is None else views
    # Of frames without any image one is predicted, which says how many keypoints there are.
    groups = list(_groups(is_read)) or [(torch.tensor([0]), torch.arange(num_views))]
    found = [
        predict(
            images[frames[:, None], seen],
            [numbers[view] for view in seen.tolist()],
            None if context_images is None else context_images[frames[:, None], seen],
        )
        for frames, seen in groups
    ]
    num_keypoints = found[0].confidences.shape[-1]
    confidences = torch.full((num_frames, num_views, num_keypoints), math.nan, dtype=torch.float64)
    keypoints = confidences[..., None].repeat(1, 1, 1, 2)
    for (frames, seen), own in zip(groups, found, strict=True):
        keypoints[frames[:, None], seen] = own.keypoints
        confidences[frames[:, None], seen] = own.confidences
    keypoints[~is_read] = math.nan
    confidences[~is_read] = math.nan
    return Found(keypoints, confidences)


def _groups(is_read: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the numbers of frames of which the same views could be read, and of these views."""
    for are_seen in torch.unique(is_read, dim=0):
        if are_seen.any():
            frames = (is_read == are_seen).all(dim=1).nonzero().flatten()
            yield frames, are_seen.nonzero().flatten()


class ModelPredictor:
    """Predicts with a model, which it puts into evaluation mode for that time only.

    Args:
        model: has a method ``predict(images, views)``, as
            `lploss_builtin.models.heatmap.HeatmapModel`; it is moved to the device. One
            that sees frames in their context has an attribute ``num_context_frames`` above 0,
            takes ``context_images`` as a third argument, and may have ``predict_sequence``.
        views: which of the model's views the images are of, in their order; all unless given.
        device: where the model runs; where its parameters are unless given.
        precision: as Lightning spells it: with ``"bf16-mixed"`` most of the model runs in
            bfloat16, with ``"16-mixed"`` on a GPU in float16.

    Raises:
        ArgumentValueError: the model cannot predict.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        views: Sequence[int] | None = None,
        device: torch.device | None = None,
        precision: str | None = None,
    ) -> None:
        if not callable(getattr(model, "predict", None)):
            raise ArgumentValueError(
                f"the model {type(model).__qualname__} cannot predict: it has no method "
                "predict(images, views), which returns heatmaps, keypoints and confidences"
            )
        if device is None:
            device = next(
                (parameter.device for parameter in model.parameters()), torch.device("cpu")
            )
        self._model: Any = model.to(device)
        self._views, self._device, self._precision = views, device, precision

    @property
    def num_context_frames(self) -> int:
        """How many frames the model sees on each side of the one that it predicts."""
        return int(getattr(self._model, "num_context_frames", 0))

    def predict(
        self,
        images: Num[Tensor, "frames views 3 height width"],
        is_read: Bool[Tensor, "frames views"] | None = None,
        context_images: Num[Tensor, "frames views context 3 height width"] | None = None,
    ) -> Found:
        """Return where the keypoints are, px in the images; NaN where an image was not read.

        Args:
            images: of all views.
            is_read: which images could be read; all unless given. Of a frame that lacks some,
                the others are predicted without them.
            context_images: the frames around each, where the model sees such.
        """
        if is_read is None:
            is_read = torch.ones(images.shape[:2], dtype=torch.bool)
        return predict_readable_views(self._predict, images, is_read, self._views, context_images)

    def predict_batch(self, batch: FrameBatch) -> Found:
        """Return where the keypoints are in consecutive frames, px in the model's input."""
        if batch.context_images is not None:
            return self.predict(batch.images, batch.is_read, batch.context_images)
        return self.predict_sequence(batch.images, batch.is_read)

    def predict_sequence(
        self,
        images: Num[Tensor, "frames_and_context views 3 height width"],
        is_read: Bool[Tensor, "frames_and_context views"],
    ) -> Found:
        """Return where the keypoints are in consecutive frames.

        Args:
            images: the frames, and so many on each side of them as the model sees of a context.
            is_read: which images could be read. In a context the nearest frame between it and
                the predicted one stands for one that could not.
        """
        num = self.num_context_frames
        if not num:
            return self.predict(images, is_read)
        if is_read.all() and callable(getattr(self._model, "predict_sequence", None)):
            return self._run(self._model.predict_sequence, images, self._views)
        middle = slice(num, len(images) - num)
        numbers = _context(is_read, num)
        view = torch.arange(images.shape[1])[:, None]
        return self.predict(images[middle], is_read[middle], images[numbers, view])

    def _predict(
        self, images: Tensor, views: Sequence[int] | None, context_images: Tensor | None
    ) -> Found:
        if context_images is None:
            return self._run(self._model.predict, images, views)
        return self._run(self._model.predict, images, views, context_images)

    def _run(
        self, method: Any, images: Tensor, views: Sequence[int] | None, *more: Tensor
    ) -> Found:
        on_device = [own.to(self._device, non_blocking=True) for own in (images, *more)]
        with (
            _evaluating(self._model),
            torch.inference_mode(),
            _autocast(self._device, self._precision),
        ):
            _, keypoints, confidences = method(on_device[0], views, *on_device[1:])
        # Outside of it, so that these are tensors like any other.
        num_views = images.shape[1]
        return Found(
            rearrange(keypoints.cpu().double(), "b (v k) xy -> b v k xy", v=num_views),
            rearrange(confidences.cpu().double(), "b (v k) -> b v k", v=num_views),
        )


def device_of(name: str) -> torch.device:
    """Return the device of a name; of ``"auto"`` a GPU where there is one.

    Raises:
        ArgumentValueError: it cannot be used.

    Example:
        >>> device_of("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ArgumentValueError(
            f"the device {name!r} cannot be used: {first_line(error)}"
        ) from error
    return device


def _context(
    is_read: Bool[Tensor, "frames_and_context views"], num: int
) -> Int64[Tensor, "frames views context"]:
    """Return which frames each frame of the middle is shown with.

    Example:
        >>> _context(torch.tensor([[True], [False], [True], [True], [False]]), 2)
        tensor([[[0, 2, 3, 3]]])
    """
    num_frames = len(is_read) - 2 * num
    middle = torch.arange(num, num + num_frames)[:, None].expand(-1, is_read.shape[1])
    view = torch.arange(is_read.shape[1])
    sides = []
    for step in (-1, 1):
        nearest, side = middle, []
        for distance in range(1, num + 1):
            number = middle + step * distance
            nearest = torch.where(is_read[number, view], number, nearest)
            side.append(nearest)
        sides += side[::-1] if step < 0 else side
    return torch.stack(sides, dim=-1)


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
