from __future__ import annotations

from pathlib import Path

import numpy as np

from lploss_builtin.predicting.input_kinds import inputs_by_kind
from tests.lploss_builtin.data.small_projects import write_image
from tests.lploss_builtin.data.videos import write_drawn_video


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def image(path):
    write_image(path, np.zeros((2, 2, 3), np.uint8))


def test_videos_in_folders_and_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("walk10.mp4", "walk9.AVI", "mo/left.mkv", "mo/a/top.mp4", ".hidden/no.mp4"):
        write(tmp_path / "videos" / name)
    for name in ("._walk.mp4", "notes.txt", "mo/a/b/too_deep.mp4"):
        write(tmp_path / "videos" / name)
    found = inputs_by_kind([Path("videos"), Path("none.mp4"), Path("list.csv"), Path("other")])
    videos = ["walk9.AVI", "walk10.mp4", "mo/left.mkv", "mo/a/top.mp4"]
    assert [str(path) for path in found.videos] == [f"videos/{n}" for n in videos] + ["none.mp4"]
    assert [str(path) for path in found.images] == ["list.csv", "other"]
    assert found.notes == ()


def test_a_folder_of_images_stays_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image(tmp_path / "clip/img0.png")
    write(tmp_path / "clip/inner/walk.mp4")
    found = inputs_by_kind([Path("clip")])
    assert (found.images, found.videos) == ((Path("clip"),), ())


def test_labelled_videos_are_no_input_but_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "videos/walk.mp4")
    write(tmp_path / "videos/walk_labelled.mp4")
    assert len(inputs_by_kind([Path("videos")]).videos) == 2
    write_drawn_video(tmp_path / "videos/other.mp4")
    found = inputs_by_kind([Path("videos")])
    assert [path.name for path in found.videos] == ["walk.mp4", "walk_labelled.mp4"]
    assert found.notes == (
        "videos: predicted keypoints are drawn in 1 of its videos, such as other.mp4: they are "
        "passed over. Name them to use them all the same.",
    )
    named = Path("videos/other.mp4")
    assert inputs_by_kind([named]).videos == (named,)


def test_images_beside_a_labelled_video_stay_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image(tmp_path / "clip/img0.png")
    write_drawn_video(tmp_path / "clip/clip_labelled.mp4")
    found = inputs_by_kind([Path("clip")])
    assert (found.images, found.videos, len(found.notes)) == ((Path("clip"),), (), 1)


def test_images_that_are_passed_over(tmp_path, monkeypatch):
    """As deep as videos are looked for."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "rig/videos/mo_left.mp4")
    write(tmp_path / "rig/labeled-data/notes.txt")
    image(tmp_path / "rig/.hidden/img0.png")
    assert inputs_by_kind([Path("rig")]).notes == ()
    image(tmp_path / "rig/labeled-data/mo_left/img0.png")
    found = inputs_by_kind([Path("rig")])
    assert (found.images, found.videos) == ((), (Path("rig/videos/mo_left.mp4"),))
    assert found.notes == (
        "rig holds videos: its images are passed over, the first in rig/labeled-data/mo_left. Name "
        "their folder to predict them.",
    )
