from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.project.context_frames import context_note, context_paths
from lploss_builtin.data.project.labelled_frames import LabelledFrames, collate
from lploss_builtin.data.project.labelled_project import read_project
from tests.lploss_builtin.data.small_projects import picture, write_project


@pytest.fixture
def folder(tmp_path):
    def fill(*names: str) -> Path:
        for name in names:
            (tmp_path / name).touch()
        return tmp_path

    return fill


def around(path: Path, number: int = 2) -> list[str]:
    return [own.name for own in context_paths(path, number)]


def test_they_are_told_by_the_number(folder):
    there = folder(*(f"img{number:05d}.png" for number in range(7, 14)))
    assert around(there / "img00010.png") == [
        "img00008.png",
        "img00009.png",
        "img00011.png",
        "img00012.png",
    ]
    assert around(there / "img00010.png", 1) == ["img00009.png", "img00011.png"]
    assert around(there / "img00010.png", 0) == []


def test_names_without_zeros_in_front(folder):
    there = folder("7.jpg", "8.jpg", "9.jpg", "10.jpg", "11.jpg")
    assert around(there / "9.jpg") == ["7.jpg", "8.jpg", "10.jpg", "11.jpg"]
    assert around(there / "10.jpg") == ["8.jpg", "9.jpg", "11.jpg", "11.jpg"]


def test_a_number_that_needs_one_more_digit(folder):
    there = folder("img098.png", "img099.png", "img100.png", "img1000.png", "img999.png")
    assert around(there / "img099.png", 1) == ["img098.png", "img100.png"]
    assert around(there / "img999.png", 1) == ["img999.png", "img1000.png"]


def test_the_last_number_of_a_name_counts_whatever_is_before_it(folder):
    there = folder("cam2_s03-1.png", "cam2_s03-2.png", "cam3_s03-3.png", "cam2_s03-3.jpg")
    # Of another camera, and of another kind.
    assert around(there / "cam2_s03-2.png", 1) == ["cam2_s03-1.png", "cam2_s03-2.png"]


def test_where_there_is_none_the_next_one_towards_the_image_stands_in(folder):
    there = folder("img01.png", "img03.png", "img04.png", "img06.png")
    assert around(there / "img03.png") == ["img01.png", "img03.png", "img04.png", "img04.png"]
    assert around(there / "img01.png") == ["img01.png", "img01.png", "img01.png", "img03.png"]
    assert around(there / "img04.png", 3) == [
        "img01.png",
        "img03.png",
        "img03.png",
        "img04.png",
        "img06.png",
        "img06.png",
    ]


def test_nothing_comes_before_zero_and_names_need_a_number(folder):
    there = folder("img0.png", "img1.png", "img-1.png", "nose.png")
    assert around(there / "img0.png", 1) == ["img0.png", "img1.png"]
    assert around(there / "nose.png", 1) == ["nose.png", "nose.png"]


def test_what_is_lacking_is_told(folder):
    there = folder("img1.png", "img2.png", "img3.png", "img4.png", "img5.png")
    assert context_note([there / "img3.png"], 2) is None
    assert context_note([there / "img3.png", there / "img4.png"], 2) == (
        f"1 of 2 images, such as {there / 'img4.png'}, lack some of the 2 frames before and after "
        "them, which the model sees as well: the nearest ones that exist stand in. They must lie "
        "in the same folder, with the next numbers in their names."
    )
    assert context_note([there / "img5.png"], 0) is None


def test_images_numbered_as_they_were_picked_are_told(folder):
    """Where more than half of the images have more labelled than other images around them."""
    there = folder(*(f"img{number:02d}.png" for number in range(7)))
    images = [there / f"img{number:02d}.png" for number in range(7)]
    expected = (
        "{} of {} images, such as {}, have mostly labelled images around them, by the numbers in "
        "their names. If these are not consecutive frames of a video, what the model sees as "
        "context is noise: number the images as the frames of the video, and put those before and "
        "after them into the folder."
    )
    note = context_note(images, 2)
    assert note is not None
    assert note.endswith(" " + expected.format(7, 7, images[0]))
    # Of the middle one alone both neighbours are labelled; with two on each side, half of them.
    assert context_note(images[2:5], 1) is None
    assert context_note(images[2:5], 2) is None
    assert context_note(images[1:6], 1) == expected.format(3, 5, images[2])
    assert context_note(images, 0) is None


@pytest.fixture
def project(tmp_path):
    """Two views of six frames each; blue is the number of the frame, plus 10 in the second view."""
    config = write_project(tmp_path, frames=6, sessions=("mo",))
    return read_project(config, folder=tmp_path)


def blue(images: torch.Tensor) -> list[int]:
    return images.select(-3, 2).float().mean(dim=(-1, -2)).flatten().round().int().tolist()


@pytest.mark.parametrize("load", [True, False])
def test_frames_of_a_project_with_those_around_them(project, load):
    frames = LabelledFrames(project, (20, 30), num_context_frames=2)
    assert frames.num_bytes == 6 * 5 * 2 * 3 * 20 * 30
    if load:
        assert frames.load()
    batch = collate([frames[3], frames[0]])
    assert batch["context_images"].shape == (2, 2, 4, 3, 20, 30)
    assert batch["context_images"].dtype == torch.uint8
    assert blue(batch["images"]) == [3, 13, 0, 10]
    assert blue(batch["context_images"][0]) == [1, 2, 4, 5, 11, 12, 14, 15]
    assert blue(batch["context_images"][1]) == [0, 0, 1, 2, 10, 10, 11, 12]
    plain = LabelledFrames(project, (20, 30))
    assert torch.equal(plain[3]["images"], frames[3]["images"])
    assert torch.equal(plain[4]["images"][0], frames[3]["context_images"][0, 2])
    again = pickle.loads(pickle.dumps(frames))
    assert torch.equal(again[3]["context_images"], frames[3]["context_images"])


def test_memory_counts_the_frames_around(project):
    one = 6 * 2 * 3 * 20 * 30
    assert LabelledFrames(project, (20, 30), cache_bytes=one).load()
    assert not LabelledFrames(project, (20, 30), cache_bytes=one, num_context_frames=1).load()
    assert LabelledFrames(project, (20, 30), cache_bytes=3 * one, num_context_frames=1).load()


def test_a_project_tells_what_it_lacks(project):
    assert LabelledFrames(project, (20, 30)).context_note is None
    note = LabelledFrames(project, (20, 30), num_context_frames=2).context_note
    assert note is not None
    assert note.startswith("8 of 12 images, such as ")


def test_a_frame_around_that_cannot_be_read(project):
    path = project.images[4][1]
    path.write_bytes(b"no image")
    frames = LabelledFrames(project, (20, 30), num_context_frames=1)
    with pytest.raises(
        DataError, match=r"frame .*img03\.png: the image .*img04\.png cannot be read"
    ):
        frames[3]
    kept = LabelledFrames(project, (20, 30), num_context_frames=1, keep_going=True)[3]
    assert not kept["is_readable"]
    assert kept["context_images"].shape == (2, 2, 3, 20, 30)
    assert kept["context_images"].max() == kept["images"].max() == 0
    assert kept["keypoints_targ"].isnan().all()


def test_frames_around_are_cropped_as_the_frame_is(tmp_path):
    config = write_project(tmp_path, views=("left", "right"), frames=3, sessions=("mo",))
    for view in ("left", "right"):
        rows = [f"labeled-data/mo_{view}/img{f:02d}.png,{4 * f},8,20,30" for f in range(3)]
        (tmp_path / f"bboxes_{view}.csv").write_text("\n".join([",x,y,h,w", *rows]) + "\n")
    config.data.bbox_file = ["bboxes_left.csv", "bboxes_right.csv"]
    project = read_project(config, folder=tmp_path)
    element = LabelledFrames(project, (20, 30), num_context_frames=1)[1]
    for frame, number in ((element["images"][0], 1), (element["context_images"][0, 0], 0)):
        expected = picture(number)[8:28, 4:34]
        assert np.array_equal(frame.permute(1, 2, 0).numpy(), expected)


def test_a_number_below_zero_is_refused(project):
    with pytest.raises(ArgumentValueError, match="num_context_frames must be at least 0, got -1"):
        LabelledFrames(project, (20, 30), num_context_frames=-1)
