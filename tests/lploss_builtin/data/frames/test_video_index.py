from __future__ import annotations

from lploss_builtin.data.frames import video_index as module
from lploss_builtin.data.frames.video_index import video_index
from tests.lploss_builtin.data.videos import write_video


def test_many_videos_are_read_through_once_each(tmp_path, monkeypatch):
    video = write_video(tmp_path / "video.mp4", 2)
    links = [tmp_path / f"video{number:03d}.mp4" for number in range(300)]
    for link in links:
        link.symlink_to(video)
    found = [video_index(link) for link in links]
    monkeypatch.setattr(module, "_read_packets", None)
    for link, index in zip(links, found, strict=True):
        assert video_index(link) is index
