from __future__ import annotations

from pathlib import Path

import pytest

from lploss_builtin.data.cameras.session_names import session_and_view

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
