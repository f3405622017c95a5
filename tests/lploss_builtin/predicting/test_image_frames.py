"""Images with those around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lploss.errors import DataError
from lploss_builtin.data.poses.reading import read_keypoints
from lploss_builtin.predicting import image_frames, predict_files
from lploss_builtin.predicting.find_recordings import Recording, ViewImages
from lploss_builtin.predicting.image_frames import ImageFrames
from tests.lploss_builtin.data.small_projects import picture, write_image
from tests.lploss_builtin.predicting.runs import SIZE, write_run

VIEWS = ("left", "right")


@pytest.fixture
def recording(tmp_path) -> Recording:
    """Two views of the frames 8 to 12; blue is the number, plus 20 in the second view."""
    numbers = range(8, 13)
    views = []
    for place, view in enumerate(VIEWS):
        folder = tmp_path / f"mo_{view}"
        for number in numbers:
            write_image(folder / f"img{number:03d}.png", picture(number + 20 * place))
        names = tuple(f"img{number:03d}.png" for number in numbers)
        views.append(ViewImages(view, folder, folder, names, f"mo_{view}.csv"))
    return Recording("mo", tuple(views), ("mo",) * 5)


def blue(images: torch.Tensor) -> list[int]:
    return images.select(-3, 2).float().mean(dim=(-1, -2)).flatten().round().int().tolist()


def test_those_around_each_are_told_by_their_numbers(recording):
    frames = ImageFrames(recording, (20, 30), num_context_frames=2)
    element = frames[2]
    assert element["context_images"].shape == (2, 4, 3, 20, 30)
    assert blue(element["images"]) == [10, 30]
    assert blue(element["context_images"]) == [8, 9, 11, 12, 28, 29, 31, 32]
    assert blue(frames[0]["context_images"][0]) == [8, 8, 9, 10]
    assert "context_images" not in ImageFrames(recording, (20, 30))[2]


def test_of_some_images_the_others_of_the_folder_are_around(recording):
    views = tuple(
        ViewImages(own.view, own.source, own.folder, own.names[2:3], own.file)
        for own in recording.views
    )
    alone = Recording("mo", views, ("mo",))
    element = ImageFrames(alone, (20, 30), num_context_frames=1)[0]
    assert blue(element["context_images"]) == [9, 11, 29, 31]


def test_each_image_is_read_once(recording, monkeypatch):
    read: list[Path] = []

    def read_image(path, *args):
        read.append(path)
        return original(path, *args)

    original = image_frames.read_image
    monkeypatch.setattr(image_frames, "read_image", read_image)
    frames = ImageFrames(recording, (20, 30), num_context_frames=2)
    for number in range(len(frames)):
        frames[number]
    assert len(read) == len(set(read)) == 10


def test_those_around_are_cropped_as_the_frame_is(recording):
    boxes = np.array([[4.0 * f, 8.0, 20.0, 30.0] for f in range(5)])
    views = tuple(
        ViewImages(own.view, own.source, own.folder, own.names, own.file, boxes)
        for own in recording.views
    )
    element = ImageFrames(Recording("mo", views, ("mo",) * 5), (20, 30), num_context_frames=1)[1]
    before = element["context_images"][0, 0].permute(1, 2, 0).numpy()
    assert np.array_equal(before, picture(8)[8:28, 4:34])
    cut_out = tuple(
        ViewImages(own.view, own.source, own.folder, own.names, own.file, boxes, True)
        for own in recording.views
    )
    for own in recording.views:  # each of its own size
        for number in range(8, 13):
            write_image(own.folder / f"img{number:03d}.png", picture(number, 20, 30 + number))
    element = ImageFrames(Recording("mo", cut_out, ("mo",) * 5), (20, 30), num_context_frames=1)[1]
    assert blue(element["context_images"]) == [8, 10, 8, 10]


def test_one_around_that_cannot_be_read(recording):
    (recording.views[1].folder / "img009.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"img009\.png cannot be read"):
        ImageFrames(recording, (20, 30), num_context_frames=1)[2]
    frames = ImageFrames(recording, (20, 30), num_context_frames=1, keep_going=True)
    element = frames[2]
    assert element["is_read"].tolist() == [True, True]
    assert blue(element["context_images"]) == [9, 11, 30, 31], "the frame itself stands in"
    element = frames[1]
    assert element["is_read"].tolist() == [True, False]
    assert blue(element["context_images"]) == [8, 10, 0, 0]
    assert list(frames.unreadable) == [(1, 1)]


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
