from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from lploss_builtin.data.frames.video_recordings import (
    find_video_recordings,
    is_drawn,
    without_drawn,
)
from tests.lploss_builtin.data.videos import (
    moving_picture,
    write_drawn_video,
    write_sound,
    write_video,
)

VIEWS = ("left", "right")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A video of 10 frames, one of 9, and one of another rate."""
    folder = tmp_path_factory.mktemp("made")
    return {
        "whole": write_video(folder / "whole.mp4", 10),
        "short": write_video(folder / "short.mp4", 9),
        "slow": write_video(folder / "slow.mp4", 10, rate=24),
    }


@pytest.fixture
def put(made, tmp_path):
    def put(**names):
        for name, kind in names.items():
            path = tmp_path / f"{name.replace('__', '/')}.mp4"
            path.parent.mkdir(exist_ok=True)
            shutil.copy(made[kind], path)
        return tmp_path

    return put


def names_of(found):
    return [(own.name, own.views, own.num_frames) for own in found.recordings]


def test_views_are_put_together_by_their_names(put):
    folder = put(a_right="whole", a_left="whole", b10_left="whole", b10_right="whole")
    put(b9__left="whole", b9__right="whole")
    (folder / "notes.csv").write_text("x")
    (folder / ".DS_Store").write_text("x")
    (folder / "._a_left.mp4").write_text("x")
    found = find_video_recordings([folder], VIEWS)
    assert names_of(found) == [(name, VIEWS, 10) for name in ("a", "b10", "b9")]
    assert [source.path.name for source in found.recordings[0].sources] == [
        "a_left.mp4",
        "a_right.mp4",
    ]
    assert found.left_out == found.notes == ()


def test_drawn_videos_are_passed_over_but_by_name(put):
    """In whatever folder, and whatever they are called; a folder of images stays one."""
    folder = put(a_right="whole", a_left="whole")
    drawn = write_drawn_video(folder / "a_left_labelled.mp4")
    (folder / "labeled_videos").mkdir()
    write_drawn_video(folder / "labeled_videos/b_left.mp4")
    found = find_video_recordings([folder], VIEWS)
    assert (names_of(found), found.left_out) == ([("a", VIEWS, 10)], ())
    passed_over = (
        "{}: predicted keypoints are drawn in 1 of its videos, such as {}: they are passed over. "
        "Name them to use them all the same."
    )
    assert found.notes == (
        passed_over.format(folder, "a_left_labelled.mp4"),
        passed_over.format(folder / "labeled_videos", "b_left.mp4"),
    )
    assert names_of(find_video_recordings([drawn], ())) == [("a_left_labelled", ("",), 2)]
    images = folder / "images"
    images.mkdir()
    Image.fromarray(moving_picture(0)).save(images / "img0.png")
    write_drawn_video(images / "images_labelled.mp4")
    found = find_video_recordings([images], ())
    assert names_of(found) == [("images", ("",), 1)]
    assert found.notes == (passed_over.format(images, "images_labelled.mp4"),)


def test_one_view_without_a_name(put):
    folder = put(b="whole", a="short")
    found = find_video_recordings([folder / "b.mp4", folder], ())
    assert names_of(found) == [("b", ("",), 10), ("a", ("",), 9)]


def test_one_view_with_a_name_needs_not_be_told(put):
    folder = put(a="whole", b_top="whole")
    assert names_of(find_video_recordings([folder], ["top"])) == [
        ("a", ("top",), 10),
        ("b", ("top",), 10),
    ]


def test_folders_of_images(tmp_path, put):
    put(a_left="short")
    right = tmp_path / "a_right"
    right.mkdir()
    for number in range(9):
        Image.fromarray(moving_picture(number)).save(right / f"{number}.png")
    found = find_video_recordings([tmp_path], VIEWS)
    assert names_of(found) == [("a", VIEWS, 9)]
    assert found.recordings[0].sources[1].names[-1] == "8.png"
    assert names_of(find_video_recordings([right], ())) == [("a_right", ("",), 9)]


def test_images_beside_videos_are_passed_over(put):
    folder = put(a="whole")
    Image.fromarray(moving_picture(0)).save(folder / "logo.png")
    found = find_video_recordings([folder], ())
    assert names_of(found) == [("a", ("",), 10)]
    assert (
        "it holds videos; its images (1, the first is logo.png) are passed over" in (found.notes[0])
    )


def test_a_view_that_is_a_frame_short(put):
    found = find_video_recordings([put(a_left="whole", a_right="short")], VIEWS)
    assert names_of(found) == [("a", VIEWS, 9)]
    assert found.notes == (
        "a: its views differ in their number of frames: left 10, right 9. The first 9 of each are "
        "used",
    )


def test_another_frame_rate(put):
    folder = put(a_left="whole", a_right="slow", b_left="slow", b_right="slow")
    found = find_video_recordings([folder], VIEWS)
    assert [own.name for own in found.recordings] == ["b"]
    assert found.left_out == (
        "a: left out, because its views differ in frames a second: left 25, right 24",
    )


def test_a_view_that_is_missing(put):
    folder = put(a_left="whole", b_left="whole", b_right="whole")
    found = find_video_recordings([folder], VIEWS)
    assert names_of(found) == [("b", VIEWS, 10)]
    assert found.left_out == ("a: left out, because it lacks the views right",)
    assert names_of(find_video_recordings([folder], VIEWS, ["left"])) == [
        ("a", ("left",), 10),
        ("b", ("left",), 10),
    ]
    any_views = find_video_recordings([folder], VIEWS, allow_missing_views=True)
    assert names_of(any_views) == [("a", ("left",), 10), ("b", VIEWS, 10)]


def test_two_files_of_a_view(put):
    folder = put(a_left="whole", a_right="whole", a__left="whole")
    found = find_video_recordings([folder], VIEWS)
    assert found.recordings == ()
    assert found.left_out == (
        f"a: several files are of its view left: {folder}/a_left.mp4, {folder}/a/left.mp4. Name "
        "one of them",
    )


def test_a_name_without_a_view(put):
    folder = put(a="whole")
    found = find_video_recordings([folder], VIEWS)
    assert found.left_out == (
        f"{folder}/a.mp4: its name must tell one of the views left, right, as in "
        "<session>_left.mp4",
    )


def test_files_that_cannot_be_read_are_named(tmp_path, put):
    put(a_left="whole", a_right="whole", b_left="whole")
    (tmp_path / "b_right.mp4").write_text("no video")
    (tmp_path / "c_left.mp4").touch()
    write_sound(tmp_path / "d_left.wav").rename(tmp_path / "d_left.mp4")
    found = find_video_recordings([tmp_path, tmp_path / "nothing"], VIEWS)
    assert names_of(found) == [("a", VIEWS, 10)]
    starts = [line.split(": ")[0] for line in found.left_out]
    assert starts == [
        f"{tmp_path}/nothing",
        f"{tmp_path}/b_right.mp4 cannot be read as a video",
        "b",
        f"the video {tmp_path}/c_left.mp4 is empty",
        f"{tmp_path}/d_left.mp4 holds no video, only audio. Name the file with the images.",
    ]


def test_an_empty_folder(tmp_path):
    found = find_video_recordings([tmp_path], ())
    assert found.left_out == (f"{tmp_path}: the folder holds no videos and no images",)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "mov"])
def test_a_drawn_video_is_told_by_itself(tmp_path, suffix):
    assert is_drawn(write_drawn_video(tmp_path / f"walk.{suffix}"))
    assert not is_drawn(write_video(tmp_path / f"other.{suffix}", 2, comment="filmed on Monday"))
    assert not is_drawn(write_video(tmp_path / f"plain_labelled.{suffix}", 2))


def test_what_is_no_video_is_not_drawn(tmp_path):
    for name, content in (("empty.mp4", b""), ("text.mp4", b"no video at all")):
        (tmp_path / name).write_bytes(content)
        assert not is_drawn(tmp_path / name)
    assert not is_drawn(tmp_path / "none.mp4")


def test_what_is_left_out_is_told(tmp_path):
    plain = [write_video(tmp_path / f"{name}.mp4", 2) for name in "ab"]
    drawn = [write_drawn_video(tmp_path / f"{name}.mp4") for name in "cd"]
    assert without_drawn(plain) == (plain, None)
    assert without_drawn([plain[0], *drawn, plain[1]]) == (
        plain,
        f"{tmp_path}: predicted keypoints are drawn in 2 of its videos, such as c.mp4: they are "
        "passed over. Name them to use them all the same.",
    )
    assert without_drawn(list[Path]()) == ([], None)
