from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.frames.sources import frame_source
from lploss_builtin.data.frames.video_recordings import VideoRecording
from lploss_builtin.ops.geometry import Cameras
from lploss_builtin.training.video_sequences import VideoSequences
from tests.lploss_builtin.data.small_projects import write_image

VIEWS = ("left", "right")
HEIGHT, WIDTH = 24, 32


def grey(session: int, view: int, frame: int) -> int:
    """Return the shade of an image, which tells where it comes from."""
    return 100 * session + 50 * view + frame


def recording(folder: Path, session: int, num_frames: int) -> VideoRecording:
    sources = []
    for number, view in enumerate(VIEWS):
        place = folder / f"session{session}_{view}"
        for frame in range(num_frames):
            pixels = np.full((HEIGHT, WIDTH, 3), grey(session, number, frame), dtype=np.uint8)
            write_image(place / f"img{frame:03d}.png", pixels)
        sources.append(frame_source(place))
    return VideoRecording(f"session{session}", VIEWS, tuple(sources), num_frames)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Of 23 and of 14 frames: five and three sequences of four frames."""
    folder = tmp_path_factory.mktemp("videos")
    return recording(folder, 0, 23), recording(folder, 1, 14)


def made(recordings, **settings):
    settings = {"length": 4, "num_batches": 8, **settings}
    return VideoSequences(recordings, (12, 16), **settings)


def places(batch):
    """Return session and frames of a batch, as its pixels tell."""
    shades = batch["images"][:, 0, 0, 0, 0].tolist()
    assert [shade + 50 for shade in shades] == batch["images"][:, 1, 0, 0, 0].tolist()
    assert len({shade // 100 for shade in shades}) == 1
    return shades[0] // 100, [shade % 100 for shade in shades]


def test_a_batch(recordings):
    boxes = {"intrinsics": torch.eye(3).expand(2, 3, 3), "extrinsics": torch.eye(3, 4)}
    cameras = Cameras(boxes["intrinsics"].double(), boxes["extrinsics"].expand(2, 3, 4).double())
    sequences = made(recordings, cameras={"session0": cameras, "session1": cameras})
    batch = next(iter(sequences))
    assert batch["images"].shape == (4, 2, 3, 12, 16)
    assert batch["images"].dtype == torch.uint8
    assert batch["image_size"].tolist() == [12.0, 16.0]
    assert batch["bbox"].tolist() == [[0.0, 0.0, 24.0, 32.0] * 2] * 4
    # Half the size: px 3 of the frame is px 1.5 of the input.
    assert batch["affine"].tolist() == [[[[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]] * 2] * 4
    assert torch.equal(batch["intrinsics"], torch.eye(3).double().expand(4, 2, 3, 3))
    assert batch["index"].unique().numel() == 1


def test_without_cameras_there_are_none(recordings):
    assert "intrinsics" not in next(iter(made(recordings)))


def test_frames_are_consecutive_and_come_once_in_an_epoch(recordings):
    for epoch in range(5):
        sequences = made(recordings)
        sequences.set_epoch(epoch)
        found = [places(batch) for batch in sequences]
        assert all(frames == list(range(frames[0], frames[0] + 4)) for _, frames in found)
        counts = Counter((session, frame) for session, frames in found for frame in frames)
        assert len(counts) == 32
        assert set(counts.values()) == {1}


def test_another_epoch_has_other_places_and_another_order(recordings):
    orders = []
    for epoch in range(8):
        sequences = made(recordings)
        sequences.set_epoch(epoch)
        orders.append([(w.recording, w.start) for w in sequences.windows()])
    assert len({tuple(order) for order in orders}) == 8
    first = {min(start for session, start in order if session == 0) for order in orders}
    # 23 frames leave three beside five sequences.
    assert first <= {0, 1, 2, 3}
    assert len(first) > 1
    assert [own for order in orders for own in order] == [
        (window.recording, window.start)
        for epoch in range(8)
        for window in _of_epoch(made(recordings), epoch).windows()
    ]
    assert made(recordings, seed=1).windows() != made(recordings).windows()


def _of_epoch(sequences, epoch):
    sequences.set_epoch(epoch)
    return sequences


def test_processes_share_an_epoch_without_a_frame_twice(recordings):
    alone = [places(batch) for batch in made(recordings)]
    shared = [
        [places(batch) for batch in made(recordings, num_batches=4, rank=rank, num_processes=2)]
        for rank in (0, 1)
    ]
    assert [own for pair in zip(*shared, strict=True) for own in pair] == alone


def test_the_sequences_of_processes_are_augmented_apart(recordings):
    numbers = [
        [
            batch["index"][0].item()
            for batch in made(recordings, num_batches=4, rank=rank, num_processes=2)
        ]
        for rank in (0, 1)
    ]
    assert numbers == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_short_videos_are_cut_anew(recordings):
    found = [places(batch) for batch in made(recordings, num_batches=24)]
    rounds = [found[:8], found[8:16], found[16:]]
    for own in rounds:
        frames = Counter((session, frame) for session, fs in own for frame in fs)
        assert set(frames.values()) == {1}
    assert rounds[0] != rounds[1] != rounds[2]
    starts = {frames[0] for session, frames in found if session == 0}
    assert len(starts) > 5, "no frame is left over in every round"


def test_a_process_whose_sequences_cannot_be_read_takes_those_of_another(tmp_path):
    own = recording(tmp_path, 0, 8)
    (own.sources[0].path / "img001.png").write_bytes(b"nothing")
    for rank in (0, 1):
        sequences = made([own], num_batches=1, rank=rank, num_processes=2)
        assert [places(batch)[1][0] for batch in sequences] == [4]


def test_an_epoch_that_was_stopped_goes_on_with_its_next_batch(recordings):
    whole = list(made(recordings))
    sequences = made(recordings)
    sequences.start = 3
    rest = list(sequences)
    assert [places(batch) for batch in rest] == [places(batch) for batch in whole[3:]]
    assert [batch["index"][0] for batch in rest] == [batch["index"][0] for batch in whole[3:]]
    sequences.set_epoch(1)
    assert len(list(sequences)) == 8, "the epoch after that is a whole one"


def test_a_sequence_that_cannot_be_read_is_named_and_another_one_comes(tmp_path):
    own = recording(tmp_path, 0, 12)
    (own.sources[1].path / "img005.png").write_bytes(b"nothing")
    problems = []
    sequences = made([own], num_batches=2, unreadable=problems.append)
    found = {places(batch)[1][0] for epoch in range(4) for batch in _of_epoch(sequences, epoch)}
    assert found == {0, 8}
    assert problems
    assert all("img005.png" in problem for problem in problems)


def test_no_sequence_can_be_read(tmp_path):
    own = recording(tmp_path, 0, 5)
    for path in own.sources[0].path.iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(DataError) as raised:
        list(made([own]))
    assert str(raised.value) == "no sequence of the videos to train with can be read"


def test_videos_that_are_too_short(recordings):
    with pytest.raises(DataError) as raised:
        made(recordings, length=24)
    assert str(raised.value) == (
        "no video has the 24 consecutive frames of a sequence; the longest has 23. Give longer "
        "videos, or shorter sequences in section dali."
    )


def test_videos_shorter_than_a_sequence_are_passed_over(recordings):
    found = [places(batch) for batch in made(recordings, length=15, num_batches=3)]
    assert {session for session, _ in found} == {0}


@pytest.mark.parametrize("name", ["length", "num_batches"])
def test_numbers_out_of_range(recordings, name):
    with pytest.raises(ArgumentValueError) as raised:
        made(recordings, **{name: 0})
    assert str(raised.value) == f"{name} must be at least 1, got 0"
