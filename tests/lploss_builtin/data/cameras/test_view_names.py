from __future__ import annotations

import re
from pathlib import Path

import pytest

from lploss.errors import DataError
from lploss_builtin.data.cameras.view_names import (
    session_and_view,
    session_of,
    side_by_side,
    simplified,
    views_named_in,
)


@pytest.mark.parametrize(
    ("file", "names", "found"),
    [
        ("camA_member0.csv", ["Cam-A", "Cam-B"], ["Cam-A"]),
        ("cam_a.csv", ["Cam-A"], ["Cam-A"]),
        ("CAM A.csv", ["Cam-A"], ["Cam-A"]),
        ("2023_walk_camADLC_resnet50_ratJan1shuffle1_5000.csv", ["Cam-A", "rat"], ["Cam-A"]),
        ("DLC_camA.csv", ["Cam-A"], ["Cam-A"]),
        # The longest wins.
        ("far_left.csv", ["left", "far-left", "far"], ["far-left"]),
        # Letters within a word are none of its names.
        ("camA.csv", ["A", "B", "C"], ["A"]),
        ("stop.csv", ["top"], []),
        ("topTop.csv", ["top"], ["top"]),
        # Numbers are whole, and stay apart.
        ("cam12.csv", ["cam1", "cam2", "cam12"], ["cam12"]),
        ("cam1_2.csv", ["cam1", "cam2", "cam12"], ["cam1"]),
        ("cam1_2.csv", ["cam12"], []),
        ("run7cam2.csv", ["2", "7a"], ["2"]),
        ("rec_1_port_0.csv", ["0", "1"], ["0", "1"]),
        ("camA_camB.csv", ["Cam-A", "Cam-B"], ["Cam-A", "Cam-B"]),
        ("a.csv", ["Cam-A", "--"], []),
    ],
)
def test_views_that_a_file_is_named_after(file, names, found):
    assert views_named_in(Path("camB") / file, names) == found


def test_spellings_of_one_name():
    assert {simplified(name) for name in ("Cam-A", "camA", "CAM_a", " cam.a ")} == {"cama"}


@pytest.mark.parametrize(
    ("frame", "views", "session"),
    [
        ("labeled-data/s1_top/img0.png", ["top", "bot"], "s1"),
        ("labeled-data\\s1_top\\img0.png", ["top"], "s1"),
        ("/a/b/s_1_far_top/img0.png", ["top", "far_top"], "s_1"),
        ("s1_camA/img0.png", ["Cam-A"], "s1"),
        ("top_top/img0.png", ["top"], "top"),
    ],
)
def test_the_session_of_a_frame(frame, views, session):
    assert session_of(frame, views) == session


@pytest.mark.parametrize("frame", ["labeled-data/s1_side/img0.png", "_top/img0.png", "img0.png"])
def test_a_frame_of_no_view(frame):
    message = (
        f"{re.escape(frame)}: the image's folder must be called <session>_<view>, with one of the "
        r"views top, bot; got '"
    )
    with pytest.raises(DataError, match=message):
        session_of(frame, ["top", "bot"])


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["a.csv"], "a.csv"),
        (["d/camA_m0.csv", "d/camB_m0.csv", "d/camC_m0.csv"], "d/camA+B+C_m0.csv"),
        (["A/p.csv", "B/p.csv"], "A+B/p.csv"),
        (["s1/camA.csv", "s2/camB.csv"], "s1+2/camA+B.csv"),
        # Numbers stay whole.
        (["cam1.csv", "cam12.csv"], "cam1+12.csv"),
        (["m10.csv", "m20.csv"], "m10+20.csv"),
        (["a.csv", "aa.h5"], "a.csv+aa.h5"),
        (["x/A.csv", "/y/z/B.csv"], "A+B.csv"),
        ([f"{'x' * 60}_{n}_{'y' * 60}.csv" for n in "ab"], f"{'x' * 60}_a+b_{'y' * 60}.csv"),
        ([f"{n * 60}.csv" for n in "abc"], f"{'a' * 60}+2more.csv"),
    ],
)
def test_one_name_for_the_files_of_all_views(files, name):
    assert side_by_side(files) == name


VIEWS = ("top", "left_top", "cam1", "Cam-12")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("monday_top.mp4", ("monday", "top")),
        ("monday_left_top.mp4", ("monday", "left_top")),
        ("2024-01-02_trial_3_CAM1.avi", ("2024-01-02_trial_3", "cam1")),
        ("monday/top.mp4", ("monday", "top")),
        ("monday/cam12.mp4", ("monday", "Cam-12")),
        ("top_monday.mp4", ("monday", "top")),
        ("monday_cam1_trial2.mp4", ("monday_trial2", "cam1")),
        ("monday.top.mp4", ("monday", "top")),
    ],
)
def test_names_that_tell_the_view(name, expected):
    assert session_and_view(Path(name), VIEWS) == expected


@pytest.mark.parametrize("name", ["monday.mp4", "stop.mp4", "cam13.mp4", "cam1_and_top_1.mp4"])
def test_names_that_tell_none_or_several(name):
    assert session_and_view(Path(name), VIEWS) is None


def test_a_folder_of_images(tmp_path):
    folder = tmp_path / "monday_1.5_top"
    folder.mkdir()
    assert session_and_view(folder, VIEWS) == ("monday_1.5", "top")
