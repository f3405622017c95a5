"""Sequences of consecutive frames of videos, in random order, to train on without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from einops import rearrange, repeat

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.frames.batches import FrameWindow, WindowFrames, read_windows
from lploss_builtin.data.frames.images import ImageSize
from lploss_builtin.data.frames.video_recordings import VideoRecording
from lploss_builtin.data.project.labelled_frames import Batch
from lploss_builtin.ops.affine import crop_and_resize
from lploss_builtin.ops.geometry import Cameras


class VideoSequences:
    """Batches of consecutive frames, from random places of several videos.

    In each epoch every recording is cut, from a random frame on, into sequences that do not
    overlap; the sequences of all recordings come in random order, and processes take turns. So no
    frame comes twice in an epoch, in whichever process, unless the videos are too short for it:
    then they are cut anew, elsewhere. All hangs on the seed and the epoch alone.

    A batch holds ``images`` (``frames views 3 height width``, uint8), ``bbox``, ``affine``,
    ``image_size`` and, where there are cameras, ``intrinsics``, ``extrinsics`` and
    ``distortions``: as `LabelledFrames`. ``index`` is the same
    number for all frames of a sequence, so that they are augmented alike.

    Frames are read in the background. A sequence that cannot be read is named, and another one
    comes in its place.

    Args:
        recordings: the videos.
        image_size: height and width of the model's input, px.
        length: frames of a sequence.
        num_batches: of an epoch, for each process.
        seed: of the run.
        cameras: those of each recording, by its name.
        rank: number of this process.
        num_processes: of all that share the videos.
        decoder: what decodes videos: ``decoder`` of `FrameReader`.
        unreadable: called with what is wrong where a sequence cannot be read.

    Raises:
        ArgumentValueError: a number is out of its range.
        DataError: no recording is as long as a sequence.

    Attributes:
        start: number of the first batch of the next epoch; that of later ones is 0.
    """

    start = 0

    def __init__(
        self,
        recordings: Sequence[VideoRecording],
        image_size: ImageSize,
        *,
        length: int,
        num_batches: int,
        seed: int = 0,
        cameras: Mapping[str, Cameras] | None = None,
        rank: int = 0,
        num_processes: int = 1,
        decoder: str = "cpu",
        unreadable: Callable[[str], None] | None = None,
    ) -> None:
        for name, number in {"length": length, "num_batches": num_batches}.items():
            if number < 1:
                raise ArgumentValueError(f"{name} must be at least 1, got {number}")
        self.recordings, self.image_size, self.length = tuple(recordings), image_size, length
        self._num_batches, self._seed = num_batches, seed
        self._rank, self._num_processes = rank, num_processes
        self._decoder = decoder
        self._unreadable = unreadable or (lambda problem: None)
        self._epoch = 0
        if not any(own.num_frames >= length for own in self.recordings):
            longest = max((own.num_frames for own in self.recordings), default=0)
            raise DataError(
                f"no video has the {length} consecutive frames of a sequence; the longest has "
                f"{longest}. Give longer videos, or shorter sequences in section dali."
            )
        self._constants = [
            _constants(own, image_size, (cameras or {}).get(own.name)) for own in self.recordings
        ]

    def __len__(self) -> int:
        return self._num_batches

    @property
    def sampler(self) -> VideoSequences:
        """Itself: Lightning tells the epoch to what is called so."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Take the sequences of another epoch, from its first batch on."""
        if epoch != self._epoch:
            self.start = 0
        self._epoch = epoch

    def windows(self) -> list[FrameWindow]:
        """Return the sequences of the epoch in their order; those of all processes."""
        random = np.random.default_rng([self._seed, self._epoch])
        windows: list[FrameWindow] = []
        while len(windows) < self._num_batches * self._num_processes:
            windows += self._cut(random)
        return windows

    def _cut(self, random: np.random.Generator) -> list[FrameWindow]:
        """Return sequences that do not overlap, in random order."""
        found = []
        for number, recording in enumerate(self.recordings):
            num_sequences = recording.num_frames // self.length
            spare = recording.num_frames - num_sequences * self.length
            first = int(random.integers(spare + 1)) if num_sequences else 0
            found += [
                FrameWindow(number, first + place * self.length, first + (place + 1) * self.length)
                for place in range(num_sequences)
            ]
        return [found[place] for place in random.permutation(len(found))]

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of this process.

        Raises:
            DataError: no sequence can be read.
        """
        windows = self.windows()
        own = windows[self._rank :: self._num_processes]
        planned = own[self.start : self._num_batches]
        for batch, read in enumerate(self._read(planned), self.start):
            if read.error is not None:
                self._unreadable(str(read.error))
                spare = own[self._num_batches :]
                turn = batch % len(spare) if spare else 0
                read = self._first_readable([*spare[turn:], *spare[:turn], *own, *windows])
            index = torch.full((self.length,), batch * self._num_processes + self._rank)
            yield {"images": read.images, "index": index, **self._of_frames(read.window.recording)}

    def _read(self, windows: Iterable[FrameWindow]) -> Iterator[WindowFrames]:
        return read_windows(
            self.recordings, windows, self.image_size, raise_errors=False, decoder=self._decoder
        )

    def _first_readable(self, windows: Iterable[FrameWindow]) -> WindowFrames:
        for window in windows:
            (read,) = self._read([window])
            if read.error is None:
                return read
            self._unreadable(str(read.error))
        raise DataError("no sequence of the videos to train with can be read")

    def _of_frames(self, recording: int) -> Batch:
        """Return what all frames of a recording share, for each frame of a sequence."""
        batch = {
            name: repeat(values, "... -> frames ...", frames=self.length)
            for name, values in self._constants[recording].items()
        }
        batch["image_size"] = torch.tensor(self.image_size, dtype=torch.float32)
        return batch


def _constants(recording: VideoRecording, image_size: ImageSize, cameras: Cameras | None) -> Batch:
    """Return the crop of each view, which is the whole frame, and the cameras."""
    boxes = torch.tensor(
        [[0.0, 0.0, source.height, source.width] for source in recording.sources],
        dtype=torch.float64,
    )
    height, width = map(float, image_size)
    constants = {
        "bbox": rearrange(boxes, "view xyhw -> (view xyhw)").float(),
        "affine": crop_and_resize(boxes, (height, width)).float(),
    }
    for name in ("intrinsics", "extrinsics", "distortions"):
        if cameras is not None and (values := getattr(cameras, name)) is not None:
            constants[name] = values
    return constants
