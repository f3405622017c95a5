"""Predicting each frame from those of its views that could be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float64, Num
from torch import Tensor


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
