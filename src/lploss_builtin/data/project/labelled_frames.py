"""The labelled frames of a project as a data set of PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeAlias

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float64, UInt8
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.frames.images import NUM_THREADS, ImageSize, read_image
from lploss_builtin.data.project.context_frames import context_note, context_paths
from lploss_builtin.data.project.labelled_project import LabelledProject
from lploss_builtin.ops.affine import crop_and_resize

#: Called with the number of frames that are done, and of all.
LoadingProgress: TypeAlias = Callable[[int, int], None]

#: What a model is trained on, of one frame or of several.
Batch: TypeAlias = dict[str, Tensor]


class LabelledFrames(Dataset[Batch]):
    """Labelled frames, cropped and resized to the model's input.

    An element holds ``images`` (``views 3 height width``, uint8), ``keypoints_targ`` (px in the
    original image, NaN where not labelled), ``visibility`` (0 not labelled, 1 occluded, 2
    visible), ``bbox`` (x, y, height and width of each view's crop, px in the original image),
    ``affine`` (from px of the original image to those of the input), ``image_size`` (height and
    width of the input), ``index`` (number of the frame) and, where the project is calibrated,
    ``intrinsics``, ``extrinsics`` and ``distortions``. For a model that sees frames around each one
    there is ``context_images`` (``views two_x_num_context_frames 3 height width``, uint8): those
    before it, then those after it, cropped as the frame is, see
    `lploss_builtin.data.project.context_frames.context_paths`.

    A frame whose images cannot be read is black and has no labels, where this is asked for;
    ``is_readable`` says so. No loss counts it.

    Images are read when they are asked for; or `load` reads all of them once, with several
    threads, into memory. What is pickled, to another process, does not take them along.

    Args:
        project: the frames.
        image_size: height and width of the model's input, px.
        cache_bytes: `load` does nothing where the images take more.
        keep_going: whether a frame that cannot be read is returned as one without labels, rather
            than being an error.
        num_context_frames: how many frames before each one, and how many after it, are read, too.

    Raises:
        ArgumentValueError: the size is none, or the number of frames below 0.

    Attributes:
        project: the frames.
        image_size: height and width of the model's input, px.
        num_context_frames: how many frames before each one, and how many after it, there are.
        view_names: names of the views; empty where there is one view without a name.
        keypoint_names: a name for each keypoint of ``keypoints_targ``.
    """

    def __init__(
        self,
        project: LabelledProject,
        image_size: ImageSize,
        *,
        cache_bytes: int = 2**30,
        keep_going: bool = False,
        num_context_frames: int = 0,
    ) -> None:
        if num_context_frames < 0:
            raise ArgumentValueError(
                f"num_context_frames must be at least 0, got {num_context_frames}"
            )
        if len(image_size) != 2 or not min(image_size) > 0:
            raise ArgumentValueError(
                f"image_size must be height and width of the model's input, px, got {image_size}"
            )
        self.project = project
        self.image_size = image_size
        self.view_names = project.view_names
        self.keypoint_names = project.pose_names.flat
        self.num_context_frames = num_context_frames
        # Of each frame those before it, itself, and those after it.
        self._images: UInt8[Tensor, "frames window views 3 height width"] | None = None
        self._is_loaded = np.zeros(len(project.frames), dtype=bool)
        self._cache_bytes, self._keeps_going = cache_bytes, keep_going
        keypoints = rearrange(project.keypoints, "f v k xy -> f (v k xy)")
        visibility = rearrange(project.visibility, "f v k -> f (v k)")
        bboxes = torch.from_numpy(project.bboxes)
        height, width = map(float, image_size)
        self._columns: Batch = {
            "keypoints_targ": torch.from_numpy(keypoints).float(),
            "visibility": torch.from_numpy(visibility),
            "bbox": rearrange(bboxes, "f v xyhw -> f (v xyhw)").float(),
            "affine": crop_and_resize(bboxes, (height, width)).float(),
            "index": torch.arange(len(project.frames)),
        }
        self._size = torch.tensor([height, width])
        self._cameras = _cameras(project)

    def __len__(self) -> int:
        return len(self.project.frames)

    def __getitem__(self, index: int) -> Batch:
        """Return one frame.

        Raises:
            DataError: one of its images cannot be read; the message names frame and file.
        """
        index = range(len(self))[index]
        element = {name: values[index] for name, values in self._columns.items()}
        element["image_size"] = self._size
        is_readable = True
        try:
            window = self._window(index)
        except DataError:
            if not self._keeps_going:
                raise
            is_readable = False
            window = torch.zeros(self._window_shape, dtype=torch.uint8)
            element["keypoints_targ"] = torch.full_like(element["keypoints_targ"], torch.nan)
            element["visibility"] = torch.zeros_like(element["visibility"])
        middle = self.num_context_frames
        element["images"] = window[middle]
        if middle:
            around = torch.cat([window[:middle], window[middle + 1 :]])
            in_views = rearrange(around, "frame v c h w -> v frame c h w")
            element["context_images"] = in_views.contiguous()
        if self._keeps_going:
            element["is_readable"] = torch.tensor(is_readable)
        if self._cameras:
            element |= self._cameras[self.project.sessions[index]]
        return element

    def problem_of(self, index: int) -> str | None:
        """Return why a frame cannot be read, with its name; ``None`` where it can."""
        try:
            self._window(index)
        except DataError as error:
            return str(error)
        return None

    @property
    def context_note(self) -> str | None:
        """What to know of frames that lack some of those around them; ``None``: none does."""
        paths = dict.fromkeys(path for views in self.project.images for path in views)
        return context_note(paths, self.num_context_frames)

    def __getstate__(self) -> dict[str, Any]:
        not_loaded = np.zeros(len(self), dtype=bool)
        return {**self.__dict__, "_images": None, "_is_loaded": not_loaded}

    @property
    def keypoints(self) -> Float64[Tensor, "frames two_x_num_keypoints"]:
        """Labels of all frames, px in the original images, NaN where not labelled."""
        rows = rearrange(self.project.keypoints, "f v k xy -> f (v k xy)")
        return torch.from_numpy(rows)

    @property
    def num_bytes(self) -> int:
        """How much memory the images of all frames take."""
        return len(self) * math.prod(self._window_shape)

    @property
    def _window_shape(self) -> tuple[int, ...]:
        return 2 * self.num_context_frames + 1, self.project.num_views, 3, *self.image_size

    @property
    def is_loaded(self) -> bool:
        """Whether the images are in memory, and processes that read them would be of no use."""
        return self._images is not None

    def load(self, progress: LoadingProgress | None = None) -> bool:
        """Read all images into memory, if they fit.

        An image that cannot be read is left out; it fails when its frame is asked for.

        Args:
            progress: called while it goes on.

        Returns:
            Whether they fit.
        """
        if self.num_bytes > self._cache_bytes:
            return False
        if self._images is not None:
            return True
        images = torch.empty((len(self), *self._window_shape), dtype=torch.uint8)

        def load_frame(index: int) -> None:
            try:
                images[index] = self._read(index)
            except DataError:
                return
            self._is_loaded[index] = True

        with ThreadPoolExecutor(NUM_THREADS) as pool:
            tasks = [pool.submit(load_frame, index) for index in range(len(self))]
            for num_done, task in enumerate(as_completed(tasks), start=1):
                task.result()
                if progress is not None:
                    progress(num_done, len(self))
        self._images = images
        return True

    def _window(self, index: int) -> UInt8[Tensor, "window views 3 height width"]:
        if self._images is not None and self._is_loaded[index]:
            return self._images[index]
        return self._read(index)

    def _read(self, index: int) -> UInt8[Tensor, "window views 3 height width"]:
        views = []
        for path, crop in zip(self.project.images[index], self.project.crops[index], strict=True):
            x, y, height, width = crop.tolist()
            around = context_paths(path, self.num_context_frames)
            middle = self.num_context_frames
            window = (*around[:middle], path, *around[middle:])
            try:
                # Where frames stand in for others, they are read once.
                pixels = {
                    own: read_image(own, (x, y, height, width), self.image_size)
                    for own in dict.fromkeys(window)
                }
            except DataError as error:
                raise DataError(f"frame {self.project.frames[index]}: {error}") from error
            views.append(np.stack([pixels[own] for own in window]))
        frames = rearrange(np.stack(views), "v frame h w rgb -> frame v rgb h w")
        # Other strides round differently in a network, and batches of data workers are contiguous.
        return torch.from_numpy(np.ascontiguousarray(frames))


def collate(elements: Sequence[Batch]) -> Batch:
    """Return the batch of some elements of `LabelledFrames`: for ``collate_fn`` of a data loader.

    Example:
        >>> size = torch.tensor([64.0, 96.0])
        >>> batch = collate([{"index": torch.tensor(7), "image_size": size}] * 2)
        >>> batch["index"], batch["image_size"]
        (tensor([7, 7]), tensor([64., 96.]))
    """
    batch: Batch = default_collate(
        [{name: v for name, v in element.items() if name != "image_size"} for element in elements]
    )
    # All images of a batch have the same size.
    batch["image_size"] = elements[0]["image_size"]
    return batch


def _cameras(project: LabelledProject) -> dict[str, Batch]:
    return {
        session: {
            name: values
            for name in ("intrinsics", "extrinsics", "distortions")
            if (values := getattr(cameras, name)) is not None
        }
        for session, cameras in (project.cameras or {}).items()
    }
