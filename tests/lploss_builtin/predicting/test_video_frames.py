from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from lploss_builtin.data.frames.reader import FrameReader, UnreadableFrameError
from lploss_builtin.data.frames.sources import frame_source
from lploss_builtin.predicting.video_frames import read_video_frames
from tests.lploss_builtin.data.small_projects import write_image


def write_frames(folder, num_frames):
    """Images of one grey each: the number of the frame."""
    for number in range(num_frames):
        write_image(folder / f"img{number}.png", np.full((4, 6, 3), number, np.uint8))
    return frame_source(folder)


@pytest.fixture
def source(tmp_path):
    return write_frames(tmp_path / "clip", 11)


def numbers(frames):
    """Return the number of each frame, told by its pixels."""
    assert frames.images.shape[2:] == (3, 4, 6)
    assert torch.equal(frames.images.amin((-3, -2, -1)), frames.images.amax((-3, -2, -1)))
    return frames.images[..., 0, 0, 0].tolist()


def test_each_frame_once(source):
    found = list(read_video_frames([source], (4, 6), num_frames=11, batch_size=4))
    assert [(own.start, own.stop) for own in found] == [(0, 4), (4, 8), (8, 11)]
    assert [numbers(own) for own in found] == [
        [[0], [1], [2], [3]], [[4], [5], [6], [7]], [[8], [9], [10]],
    ]  # fmt: skip


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 11, 20])
@pytest.mark.parametrize("start", [0, 1, 6, 10])
@pytest.mark.parametrize("num_context", [0, 2])
def test_the_context(source, batch_size, start, num_context, monkeypatch):
    """Those around each frame, whatever the batches; and each is decoded once."""
    read = []
    monkeypatch.setattr(
        FrameReader,
        "read",
        recorded(FrameReader.read, lambda first, stop: read.append((first, stop))),
    )
    found = read_video_frames(
        [source, source],
        (4, 6),
        num_frames=11,
        start=start,
        batch_size=batch_size,
        num_context_frames=num_context,
    )
    rows = []
    for own in found:
        seen = numbers(own)
        assert own.is_read.all()
        for place, frame in enumerate(range(own.start, own.stop)):
            rows.append((frame, [row[0] for row in seen[place : place + 2 * num_context + 1]]))
        assert all(row[0] == row[1] for row in seen)
    around = range(-num_context, num_context + 1)
    assert rows == [
        (frame, [min(max(frame + step, 0), 10) for step in around]) for frame in range(start, 11)
    ]
    decoded = [frame for first, stop in read for frame in range(first, stop)]
    assert sorted(decoded) == sorted(2 * list(range(max(0, start - num_context), 11)))


def recorded(function, note):
    def call(reader, first, stop):
        note(first, stop)
        return function(reader, first, stop)

    return call


def test_only_a_few_are_read_ahead(tmp_path, monkeypatch):
    source = write_frames(tmp_path / "long", 40)
    read = []
    monkeypatch.setattr(
        FrameReader, "read", recorded(FrameReader.read, lambda first, stop: read.append(stop))
    )
    before = threading.active_count()
    frames = read_video_frames([source, source], (4, 6), num_frames=40, batch_size=4)
    next(frames)
    time.sleep(0.3)
    assert max(read) == 12
    next(frames)
    time.sleep(0.3)
    assert max(read) == 16
    frames.close()
    assert threading.active_count() == before


def test_a_view_that_ends_before(source, tmp_path):
    shorter = write_frames(tmp_path / "short", 5)
    found = list(read_video_frames([source, shorter], (4, 6), num_frames=11, batch_size=4))
    assert torch.cat([own.is_read for own in found]).tolist() == [
        [True, number < 5] for number in range(11)
    ]


def test_what_cannot_be_read(source):
    (source.path / "img5.png").write_text("nothing")
    frames = read_video_frames([source], (4, 6), num_frames=11, batch_size=4)
    assert next(frames).stop == 4
    with pytest.raises(UnreadableFrameError) as caught:
        next(frames)
    assert caught.value.frame == 5
    found = list(read_video_frames([source], (4, 6), num_frames=11, batch_size=4, keep_going=True))
    is_read = torch.cat([own.is_read for own in found])[:, 0]
    assert is_read.tolist() == [number != 5 for number in range(11)]
