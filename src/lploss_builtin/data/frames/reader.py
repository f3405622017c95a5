"""Reading frames by their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.frames.images import NUM_THREADS, ImageSize, read_image
from lploss_builtin.data.frames.sources import FrameSource
from lploss_builtin.data.frames.video_decoder import DamageError, InexactTimesError, VideoDecoder
from lploss_builtin.data.frames.video_index import VideoIndex, video_index
from lploss_builtin.data.frames.video_nvidia import NvidiaDecoder, NvidiaMismatchError, decoder_of
from lploss_builtin.dependencies import require


class FrameConverter:
    """Converts frames from the colours of their codec, and resizes them with antialiasing.

    A frame in its own size is what OpenCV gives. Colours and size are changed in one step, which
    is several times faster than to resize the image; what differs from that is half a grey level
    of 255 on average.
    """

    def __init__(self) -> None:
        self._reformatter: Any = None

    def rgb(self, frame: Any, image_size: ImageSize) -> UInt8[np.ndarray, "height width 3"]:
        """Return the pixels of a frame.

        Args:
            frame: as PyAV has it.
            image_size: height and width of the result, px.
        """
        module = require("av.video.reformatter", "train", "to read video")
        if self._reformatter is None:
            self._reformatter = module.VideoReformatter()
        # In one thread: several views are read at the same time.
        how: dict[str, Any] = {"format": "rgb24", "threads": 1}
        if image_size != (frame.height, frame.width):
            kind = module.Interpolation
            flags = kind.BILINEAR | kind.ACCURATE_RND | kind.FULL_CHR_H_INT | kind.FULL_CHR_H_INP
            how |= {"height": image_size[0], "width": image_size[1], "interpolation": int(flags)}
            # One plane a colour, put together by NumPy: half the time, for the same values but for
            # a grey level in one of two thousand.
            how["format"] = "gbrp"
        return self._reformatter.reformat(frame, **how).to_ndarray()


# Windows with a margin overlap by a few frames.
_NUM_KEPT = 8
_NUM_THREADS = 4

# An image, and what is cut out of it.
_Image: TypeAlias = tuple[Path, tuple[float, float, float, float] | None]


class UnreadableFrameError(DataError):
    """A frame cannot be read.

    Attributes:
        frame: its number; the first of those that were asked for and cannot be read.
        num_readable: how many of the frames that were asked for come before it.
    """

    def __init__(self, message: str, frame: int = 0, num_readable: int = 0) -> None:
        super().__init__(message)
        self.frame, self.num_readable = frame, num_readable

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.frame, self.num_readable)


class FrameReader:
    """Reads frames of a video or of a folder of images, by their numbers.

    Every frame is the one that has its number when the video is decoded from start to end; one
    that the decoder loses leaves a gap, and shifts no other. To go on where the last call ended
    costs no seeking. The file is opened when it is first read. A reader can be pickled, and is for
    one thread.

    Args:
        source: the video or the folder.
        image_size: height and width of what is returned, px; that of the source, or of its box,
            unless given. Resized with antialiasing, as images are.
        num_threads: how many threads decode a video.
        decoder: ``"cpu"``; ``"cuda"``: NVIDIA's, by torchcodec; ``"auto"``: that where it is at
            hand. What it cannot decode is decoded on the CPU all the same.

    Raises:
        ArgumentValueError: there is no such decoder.
        DataError: the box of the source is not within its frames.
        MissingDependencyError: torchcodec is not installed, or there is no CUDA device.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from lploss_builtin.data.frames.sources import frame_source
        >>> folder = Path(tempfile.mkdtemp())
        >>> for number in range(3):
        ...     Image.new("L", (8, 6), 50 * number).save(folder / f"img{number}.png")
        >>> with FrameReader(frame_source(folder)) as reader:
        ...     reader.read(1, 3)[:, 0, 0].tolist()
        [[50, 50, 50], [100, 100, 100]]
    """

    def __init__(
        self,
        source: FrameSource,
        image_size: ImageSize | None = None,
        *,
        num_threads: int = _NUM_THREADS,
        decoder: str = "cpu",
    ) -> None:
        self._uses_gpu = decoder_of(decoder) == "cuda"
        self._gpu: NvidiaDecoder | None = None
        self.source, self._num_threads = source, num_threads
        self._crop = crop = source.crop(0) if source.names is None else None
        if crop is not None:
            _check_crop(source, crop)
        own_size = (
            (source.height, source.width) if crop is None else (round(crop[2]), round(crop[3]))
        )
        self._size = image_size or own_size
        self._index: VideoIndex | None = None
        self._decoder: VideoDecoder | None = None
        self._converter = FrameConverter()
        self._is_timed = True
        self._kept: dict[int, UInt8[np.ndarray, "height width 3"]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._kept_images: dict[_Image, UInt8[np.ndarray, "height width 3"] | None] = {}
        self._is_lost = np.zeros(source.num_frames, dtype=bool)

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        empty: dict[str, Any] = {
            "_index": None,
            "_decoder": None,
            "_gpu": None,
            "_kept": {},
            "_pool": None,
            "_kept_images": {},
            "_converter": FrameConverter(),
        }
        return {**self.__dict__, **empty}

    def close(self) -> None:
        """Close the file; it is opened again when it is read."""
        if self._decoder is not None:
            self._decoder.close()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._decoder = self._gpu = self._pool = None
        self._kept, self._kept_images = {}, {}

    def read(self, start: int, stop: int) -> UInt8[np.ndarray, "frames height width 3"]:
        """Return the frames from ``start`` on, up to the one before ``stop``, RGB.

        Raises:
            ArgumentValueError: the source has not so many frames.
            UnreadableFrameError: one of them cannot be read.
            DataError: the file cannot be opened any more.
        """
        frames, is_readable = self.read_where_possible(start, stop)
        if not is_readable.all():
            raise self.error(start + int(np.argmin(is_readable)), start)
        return frames

    def read_where_possible(
        self, start: int, stop: int
    ) -> tuple[UInt8[np.ndarray, "frames height width 3"], Bool[np.ndarray, "frames"]]:
        """Return frames, and which of them could be read; the others are black.

        Raises:
            ArgumentValueError: the source has not so many frames.
            DataError: the file cannot be opened any more.
        """
        if not 0 <= start <= stop <= self.source.num_frames:
            raise ArgumentValueError(
                f"{self.source.path} has {self.source.num_frames} frames; those from {start} to "
                f"before {stop} were asked for (frames count from 0)"
            )
        if (frames := self._read_on_gpu(start, stop)) is not None:
            return frames, np.ones(stop - start, dtype=bool)
        frames = np.zeros((stop - start, *self._size, 3), dtype=np.uint8)
        is_readable = np.zeros(stop - start, dtype=bool)
        for number, pixels in self._found(start, stop):
            frames[number - start] = pixels
            is_readable[number - start] = True
        return frames, is_readable

    def _read_on_gpu(
        self, start: int, stop: int
    ) -> UInt8[np.ndarray, "frames height width 3"] | None:
        """Return frames that the GPU decodes; ``None`` where it cannot."""
        if not self._uses_gpu or self.source.names is not None or start == stop:
            return None
        try:
            if self._gpu is None:
                self._gpu = NvidiaDecoder(self._indexed())
            return self._gpu.read(start, stop, self._size, self._crop)
        except (NvidiaMismatchError, RuntimeError, ValueError, IndexError, ImportError, OSError):
            # A codec, a colour format or a library that it lacks, damage, no memory left.
            self._uses_gpu, self._gpu = False, None
            return None

    def error(self, frame: int, start: int) -> UnreadableFrameError:
        """Return what is to be raised for a frame that cannot be read.

        Args:
            frame: its number.
            start: the first frame that was asked for.
        """
        return UnreadableFrameError(self._reason(frame), frame, frame - start)

    def _found(
        self, start: int, stop: int
    ) -> Iterator[tuple[int, UInt8[np.ndarray, "height width 3"]]]:
        if self.source.names is not None:
            yield from self._images(start, stop)
            return
        # A copy: what is kept changes with each frame.
        kept = {number: self._kept[number] for number in range(start, stop) if number in self._kept}
        yield from kept.items()
        while start in kept:
            start += 1
        for number, pixels in self._decoded(start, stop):
            self._keep(number, pixels)
            if number not in kept:
                yield number, pixels

    def _decoded(
        self, start: int, stop: int
    ) -> Iterator[tuple[int, UInt8[np.ndarray, "height width 3"]]]:
        """Yield the frames that can be decoded."""
        index = self._indexed()
        while start < stop:
            if self._is_lost[start]:
                start += 1
                continue
            if self._decoder is None:
                self._decoder = VideoDecoder(index, self._num_threads, is_timed=self._is_timed)
            try:
                try:
                    for number, frame in self._decoder.frames(start, stop):
                        start = number + 1
                        yield number, self._pixels(frame)
                except DamageError:
                    for number, frame in self._around_damage(start, stop):
                        start = number + 1
                        yield number, self._pixels(frame)
            except InexactTimesError:
                self._decoder.close()
                self._decoder, self._is_timed = None, False

    def _around_damage(self, start: int, stop: int) -> Iterator[tuple[int, Any]]:
        """Yield frames, one thread decoding, up to the first damaged one, and note the damage.

        More threads lose frames that could be decoded, and so may a keyframe that is none.
        """
        decoder = VideoDecoder(self._indexed(), 1, is_timed=self._is_timed)
        try:
            for num_keyframes_back in (0, 1):
                try:
                    for number, frame in decoder.frames(
                        start, stop, num_keyframes_back=num_keyframes_back
                    ):
                        start = number + 1
                        yield number, frame
                    return
                except DamageError as error:
                    damage = error.frames
            damage = damage if start in damage else range(start, start + 1)
            self._is_lost[damage.start : damage.stop] = True
        finally:
            decoder.close()

    def _images(
        self, start: int, stop: int
    ) -> Iterator[tuple[int, UInt8[np.ndarray, "height width 3"]]]:
        """Yield the images that can be read; several threads read them, each of them once."""
        source = self.source
        keys = {
            number: (source.image(number), source.crop(number))
            for number in range(start, stop)
            if number not in source.unlisted
        }
        unique = list(dict.fromkeys(keys.values()))
        new = [key for key in unique if key not in self._kept_images]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(NUM_THREADS)
        images = self._kept_images | dict(zip(new, self._pool.map(self._image, new), strict=True))
        for number, key in keys.items():
            if (pixels := images[key]) is not None:
                yield number, pixels
        self._kept_images = {key: images[key] for key in unique[-_NUM_KEPT:]}

    def _image(self, key: _Image) -> UInt8[np.ndarray, "height width 3"] | None:
        try:
            return read_image(*key, self._size)
        except DataError:
            return None

    def _keep(self, number: int, pixels: UInt8[np.ndarray, "height width 3"]) -> None:
        self._kept[number] = pixels
        while len(self._kept) > _NUM_KEPT:
            del self._kept[next(iter(self._kept))]

    def _indexed(self) -> VideoIndex:
        if self._index is None:
            self._index = video_index(self.source.path)
            if self._index.num_frames != self.source.num_frames:
                raise DataError(
                    f"{self.source.path} has {self._index.num_frames} frames now, and had "
                    f"{self.source.num_frames} before: it was changed. Start again."
                )
        return self._index

    def _pixels(self, frame: Any) -> UInt8[np.ndarray, "height width 3"]:
        turns = self._indexed().rotation // 90
        if self._crop is None:
            size = self._size if turns % 2 == 0 else self._size[::-1]
            return np.rot90(self._converter.rgb(frame, size), turns)
        x, y, crop_height, crop_width = self._crop
        whole = np.rot90(self._converter.rgb(frame, (frame.height, frame.width)), turns)
        height, width = self._size
        resized = Image.fromarray(np.ascontiguousarray(whole)).resize(
            (width, height), Image.Resampling.BILINEAR, box=(x, y, x + crop_width, y + crop_height)
        )
        return np.asarray(resized)

    def _reason(self, frame: int) -> str:
        source = self.source
        if frame in source.unlisted:
            return f"{source.path} lacks {source.row_name(frame)}, which other views have"
        if source.names is not None:
            try:
                read_image(source.image(frame), source.crop(frame), self._size)
            except DataError as error:
                return str(error)
        return (
            f"the video {self.source.path} is damaged: frame {frame} of {self.source.num_frames} "
            "cannot be decoded (frames count from 0), or builds on one that cannot. Copy the file "
            "again from where it came, or convert it."
        )


def _check_crop(source: FrameSource, crop: tuple[float, float, float, float]) -> None:
    x, y, height, width = crop
    inside = x >= 0 and y >= 0 and x + width <= source.width and y + height <= source.height
    if not inside or height <= 0 or width <= 0:
        raise DataError(
            f"{source.path} has height {source.height} and width {source.width}, its box x {x:g}, "
            f"y {y:g}, height {height:g}, width {width:g} is not within"
        )
