from __future__ import annotations

from pathlib import Path

import pytest

from lploss_builtin.data.frames.drawn_videos import is_drawn, without_drawn
from tests.lploss_builtin.data.videos import write_drawn_video, write_video


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
