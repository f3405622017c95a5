from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from lploss.errors import DataError
from lploss_builtin.data.frames import reader
from lploss_builtin.data.frames.reader import FrameReader, UnreadableFrameError
from lploss_builtin.data.frames.sources import FrameSource, frame_source
from lploss_builtin.predicting import predict_files
from lploss_builtin.predicting.frame_batches import FrameReading, read_batches
from tests.lploss_builtin.data.keypoint_tables import read_keypoints
from tests.lploss_builtin.data.small_projects import picture, write_image
from tests.lploss_builtin.predicting.runs import SIZE, write_run


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
    found = list(read_batches([source], range(11), FrameReading((4, 6), 4)))
    assert [(own.start, own.stop) for own in found] == [(0, 4), (4, 8), (8, 11)]
    assert [numbers(own) for own in found] == [
        [[0], [1], [2], [3]], [[4], [5], [6], [7]], [[8], [9], [10]],
    ]  # fmt: skip


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 11, 20])
@pytest.mark.parametrize("start", [0, 1, 6, 10])
@pytest.mark.parametrize("num_context", [0, 2])
def test_the_context(source, batch_size, start, num_context, monkeypatch):
    """Those around each image, whatever the batches; and each is read once."""
    read = []

    def read_image(path, *args):
        read.append(path.name)
        return original(path, *args)

    original = reader.read_image
    monkeypatch.setattr(reader, "read_image", read_image)
    how = FrameReading((4, 6), batch_size, num_context)
    rows = []
    for own in read_batches([source, source], range(start, 11), how):
        assert own.is_read.all()
        images = own.images[:, :, None]
        if own.context_images is not None:
            before, after = own.context_images.chunk(2, dim=2)
            images = torch.cat([before, images, after], dim=2)
        assert torch.equal(images[:, 0], images[:, 1])
        seen = images[:, 0, :, 0, 0, 0].tolist()
        rows += list(zip(range(own.start, own.stop), seen, strict=True))
    around = range(-num_context, num_context + 1)
    assert rows == [
        (frame, [min(max(frame + step, 0), 10) for step in around]) for frame in range(start, 11)
    ]
    names = [f"img{frame}.png" for frame in range(max(0, start - num_context), 11)]
    assert sorted(read) == sorted(2 * names)


def test_only_a_few_are_read_ahead(tmp_path, monkeypatch):
    source = write_frames(tmp_path / "long", 40)
    read = []
    original = FrameReader.read_where_possible

    def noted(self, start, stop):
        read.append(stop)
        return original(self, start, stop)

    monkeypatch.setattr(FrameReader, "read_where_possible", noted)
    before = threading.active_count()
    frames = read_batches([source, source], range(40), FrameReading((4, 6), 4))
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
    found = list(read_batches([source, shorter], range(11), FrameReading((4, 6), 4)))
    assert torch.cat([own.is_read for own in found]).tolist() == [
        [True, number < 5] for number in range(11)
    ]


def test_what_cannot_be_read(source):
    (source.path / "img5.png").write_text("nothing")
    frames = read_batches([source], range(11), FrameReading((4, 6), 4))
    assert next(frames).stop == 4
    with pytest.raises(UnreadableFrameError) as caught:
        next(frames)
    assert caught.value.frame == 5
    found = list(read_batches([source], range(11), FrameReading((4, 6), 4, keep_going=True)))
    is_read = torch.cat([own.is_read for own in found])[:, 0]
    assert is_read.tolist() == [number != 5 for number in range(11)]


VIEWS = ("left", "right")


@pytest.fixture
def sources(tmp_path) -> list[FrameSource]:
    """Two views of the frames 8 to 12; blue is the number, plus 20 in the second view."""
    sources = []
    for place, view in enumerate(VIEWS):
        folder = tmp_path / f"mo_{view}"
        for number in range(8, 13):
            write_image(folder / f"img{number:03d}.png", picture(number + 20 * place))
        sources.append(frame_source(folder))
    return sources


def blue(images: torch.Tensor) -> list[int]:
    return images.select(-3, 2).float().mean(dim=(-1, -2)).flatten().round().int().tolist()


def batch_of(sources, frame, num_context, *, keep_going=False):
    how = FrameReading((20, 30), 1, num_context, keep_going=keep_going)
    return next(read_batches(sources, range(frame, sources[0].num_frames), how))


def test_of_some_images_the_others_of_the_folder_are_around(sources):
    alone = [replace(own, names=own.names[2:3], num_frames=1) for own in sources]
    assert blue(batch_of(alone, 0, 1).context_images) == [9, 11, 29, 31]


def test_those_around_are_cropped_as_the_frame_is(sources):
    boxes = np.array([[4.0 * f, 8.0, 20.0, 30.0] for f in range(5)])
    batch = batch_of([replace(own, boxes=boxes) for own in sources], 1, 1)
    assert batch.boxes.tolist() == [2 * [boxes[1].tolist()]]
    before = batch.context_images[0, 0, 0].permute(1, 2, 0).numpy()
    assert np.array_equal(before, picture(8)[8:28, 4:34])
    for own in sources:  # each of its own size
        for number in range(8, 13):
            write_image(own.path / f"img{number:03d}.png", picture(number, 20, 30 + number))
    cut_out = [replace(own, boxes=boxes, are_cut_out=True) for own in sources]
    assert blue(batch_of(cut_out, 1, 1).context_images) == [8, 10, 8, 10]


def test_one_around_that_cannot_be_read(sources):
    (sources[1].path / "img009.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"img009\.png cannot be read"):
        batch_of(sources, 2, 1)
    batch = batch_of(sources, 2, 1, keep_going=True)
    assert batch.is_read.tolist() == [[True, True]]
    assert blue(batch.context_images) == [9, 11, 30, 31], "the frame itself stands in"
    batch = batch_of(sources, 1, 1, keep_going=True)
    assert batch.is_read.tolist() == [[True, False]]
    assert blue(batch.context_images) == [8, 10, 0, 0]


@pytest.mark.parametrize("model_type", ["heatmap_mhcrnn", "regression"])
def test_folders_of_images_are_predicted(model_type, tmp_path):
    model = write_run(tmp_path / "run", model_type=model_type)
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, size=(6, *SIZE, 3), dtype=np.uint8)
    for number, pixels in enumerate(pictures):
        write_image(tmp_path / "images" / f"img{number}.png", pixels)
    predict_files(tmp_path / "run", [tmp_path / "images"], out=tmp_path / "out")
    found = read_keypoints(tmp_path / "out" / "images.csv")
    frames = torch.from_numpy(pictures).permute(0, 3, 1, 2)[:, None]
    with torch.no_grad():
        if model_type == "heatmap_mhcrnn":
            # At both ends the nearest frame is there again.
            expected = model.predict_sequence(frames[[0, 0, *range(6), 5, 5]])
        else:
            expected = model.predict(frames)
    written = torch.from_numpy(found.keypoints).float().view(6, -1, 2)
    torch.testing.assert_close(written, expected.keypoints, atol=0.01, rtol=0)
