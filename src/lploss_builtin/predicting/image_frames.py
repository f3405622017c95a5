"""The frames of a recording as a data set of PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image
from torch.utils.data import Dataset

from lploss.errors import DataError
from lploss_builtin.data.frames.images import NUM_THREADS, ImageSize, read_image
from lploss_builtin.data.project.context_frames import context_paths
from lploss_builtin.data.project.labelled_frames import Batch
from lploss_builtin.ops.affine import crop_and_resize
from lploss_builtin.predicting.find_recordings import Recording, ViewImages


class ImageFrames(Dataset[Batch]):
    """Frames without labels, cropped and resized to the model's input.

    An element holds ``images`` (``views 3 height width``, uint8), ``bbox`` (x, y, height and width
    of each view's crop, px in the original image), ``affine`` (from px of the original image to
    those of the input), ``image_size`` and ``index``: as
    `LabelledFrames`; and ``is_read`` (``views``, bool). Where a model sees the frames around each
    one, there is ``context_images`` as well. Images are read when they are asked for, sizes
    included.

    Args:
        recording: the frames.
        image_size: height and width of the model's input, px.
        keep_going: whether an image that cannot be read is black, with ``is_read`` false, instead
            of an error; in place of one around the frame, the frame itself is taken.
        num_context_frames: how many images before each one, and how many after it, are read, too:
            those whose names hold the numbers before and after its own.

    Attributes:
        unreadable: number of the frame and of the view of each image that could not be read, and
            why.
    """

    def __init__(
        self,
        recording: Recording,
        image_size: ImageSize,
        *,
        keep_going: bool = False,
        num_context_frames: int = 0,
    ) -> None:
        self.recording = recording
        self.image_size = image_size
        self.unreadable: dict[tuple[int, int], str] = {}
        self._keep_going, self._num_context_frames = keep_going, num_context_frames
        self._read_image: Callable[..., UInt8[np.ndarray, "height width 3"]] = read_image
        if num_context_frames:
            # What is around one frame is soon asked for as a frame, or around the next one.
            num_kept = (NUM_THREADS + 2 * num_context_frames) * len(recording.views)
            self._read_image = lru_cache(num_kept)(read_image)

    def __len__(self) -> int:
        return self.recording.num_frames

    def __getitem__(self, index: int) -> Batch:
        """Return one frame.

        Raises:
            DataError: one of its images cannot be read, unless ``keep_going``.
        """
        index = range(len(self))[index]
        read = [self._read_or_black(view, index) for view in range(len(self.recording.views))]
        pixels = np.stack([own for own, _ in read])
        bbox = torch.tensor([box for _, box in read], dtype=torch.float64)
        are_read = [(index, view) not in self.unreadable for view in range(len(read))]
        height, width = map(float, self.image_size)
        element = {
            "images": torch.from_numpy(rearrange(pixels, "v h w rgb -> v rgb h w")),
            "bbox": bbox.flatten().float(),
            "affine": crop_and_resize(bbox, (height, width)).float(),
            "image_size": torch.tensor([height, width]),
            "is_read": torch.tensor(are_read),
            "index": torch.tensor(index),
        }
        if self._num_context_frames:
            around = np.stack([self._context(view, index, own) for view, own in enumerate(pixels)])
            of_views = rearrange(around, "v frame h w rgb -> v frame rgb h w")
            element["context_images"] = torch.from_numpy(of_views)
        return element

    def _context(
        self, view: int, index: int, pixels: UInt8[np.ndarray, "height width 3"]
    ) -> UInt8[np.ndarray, "context height width 3"]:
        """Return the images around one, whose own pixels are given."""
        images = self.recording.views[view]
        path = images.path(index)
        around = context_paths(path, self._num_context_frames)
        if (index, view) in self.unreadable:
            return np.stack([pixels] * len(around))
        # Images that were cut out are whole as they are, whatever the size of each.
        crop = None
        if images.boxes is not None and not images.are_cut_out:
            x, y, height, width = images.boxes[index].tolist()
            crop = (x, y, height, width)
        read = {path: pixels}
        for own in around:
            if own not in read:
                try:
                    read[own] = self._read_image(own, crop, self.image_size)
                except DataError:
                    if not self._keep_going:
                        raise
                    read[own] = pixels
        return np.stack([read[own] for own in around])

    def _read_or_black(self, view: int, index: int) -> tuple[np.ndarray, tuple[float, ...]]:
        try:
            return self._read(self.recording.views[view], index)
        except DataError as error:
            if not self._keep_going:
                raise
            self.unreadable[index, view] = str(error)
            return np.zeros((*self.image_size, 3), dtype=np.uint8), (0.0, 0.0, 1.0, 1.0)

    def _read(self, view: ViewImages, index: int) -> tuple[np.ndarray, tuple[float, ...]]:
        """Return the pixels of the input, and the box that they are of in the original image."""
        path = view.path(index)
        if index in view.unlisted:
            raise DataError(f"{view.source} lacks {view.names[index]}, which other views have")
        if view.boxes is None:
            pixels = self._read_image(path, None, self.image_size)
            return pixels, (0.0, 0.0, *_size(path))
        x, y, height, width = view.boxes[index].tolist()
        crop = (0.0, 0.0, height, width) if view.are_cut_out else (x, y, height, width)
        return self._read_image(path, crop, self.image_size), (x, y, height, width)


def _size(path: Path) -> tuple[float, float]:
    with Image.open(path) as file:
        return float(file.height), float(file.width)
