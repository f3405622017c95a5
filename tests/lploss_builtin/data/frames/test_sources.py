from __future__ import annotations

import sys

import pytest
from PIL import Image

from lploss.errors import DataError, MissingDependencyError
from lploss_builtin.data.frames.sources import frame_source
from lploss_builtin.data.frames.video_index import video_index
from tests.lploss_builtin.data.videos import KINDS, write_kind, write_sound, write_video


@pytest.mark.parametrize("kind", KINDS[::4], ids=lambda kind: kind.name)
def test_what_a_video_is(tmp_path, kind):
    source = frame_source(write_kind(tmp_path, kind, 20))
    assert (source.num_frames, source.height, source.width) == (20, kind.height, kind.width)
    assert source.frame_rate == pytest.approx(25, rel=1e-3)
    assert source.names is None


def test_what_images_are(tmp_path):
    for number in (10, 9, 1):
        Image.new("L", (8, 6)).save(tmp_path / f"img{number}.png")
    (tmp_path / ".DS_Store").write_text("x")
    source = frame_source(tmp_path)
    assert (source.num_frames, source.height, source.width) == (3, 6, 8)
    assert source.names == ("img1.png", "img9.png", "img10.png")
    assert source.frame_rate is None


def test_images_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match=r"the folder .* holds no images"):
        frame_source(tmp_path)
    Image.new("L", (8, 6)).save(tmp_path / "1.png")
    Image.new("L", (9, 6)).save(tmp_path / "2.png")
    with pytest.raises(
        DataError, match=r"1\.png has height 6 and width 8, 2\.png has height 6 and width 9"
    ):
        frame_source(tmp_path)
    (tmp_path / "2.png").write_text("no image")
    with pytest.raises(DataError, match=r"the image .*2\.png cannot be read: it holds no image\."):
        frame_source(tmp_path)


def test_files_that_are_no_videos(tmp_path):
    with pytest.raises(DataError, match=r"the video .*a\.mp4 does not exist"):
        frame_source(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").touch()
    with pytest.raises(DataError, match=r"the video .*b\.mp4 is empty: it has 0 bytes"):
        frame_source(tmp_path / "b.mp4")
    (tmp_path / "c.mp4").write_text("no video")
    with pytest.raises(DataError, match=r"c\.mp4 cannot be read as a video: .* convert it"):
        frame_source(tmp_path / "c.mp4")
    with pytest.raises(DataError, match=r"d\.wav holds no video, only audio"):
        frame_source(write_sound(tmp_path / "d.wav"))
    (tmp_path / "e.txt").write_text("characters, which FFmpeg would draw\n" * 40)
    with pytest.raises(DataError, match=r"e\.txt cannot be read as a video"):
        frame_source(tmp_path / "e.txt")
    Image.new("L", (8, 6)).save(tmp_path / "f.png")
    with pytest.raises(DataError, match=r"f\.png cannot be read as a video: it is one image"):
        frame_source(tmp_path / "f.png")


def test_a_codec_that_nobody_knows(tmp_path):
    path = write_video(tmp_path / "a.mp4", 10)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"))
    with pytest.raises(DataError, match=r"a\.mp4 has a codec that cannot be decoded here"):
        frame_source(path)


def test_a_video_without_frames(tmp_path):
    path = write_video(tmp_path / "a.avi", 10, "mjpeg", pixels="yuvj420p")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"movi") + 4])
    with pytest.raises(DataError, match=r"the video .*a\.avi has no frames"):
        frame_source(path)


def test_a_video_of_which_no_frame_can_be_decoded(tmp_path):
    path = write_video(tmp_path / "a.avi", 10, "mjpeg", pixels="yuvj420p")
    content = bytearray(path.read_bytes())
    begin = content.index(b"movi") + 4
    for _ in range(10):
        size = int.from_bytes(content[begin + 4 : begin + 8], "little")
        content[begin + 8 : begin + 8 + size] = bytes(size)
        begin += 8 + size + size % 2
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"no frame of the video .*a\.avi can be decoded \(codec mjpeg\)"
    ):
        frame_source(path)


def test_a_header_that_says_more_frames_or_fewer(tmp_path):
    path = write_video(tmp_path / "a.avi", 20, "mjpeg", pixels="yuvj420p")
    content = bytearray(path.read_bytes())
    place = content.index(b"strh") + 8 + 32
    assert int.from_bytes(content[place : place + 4], "little") == 20
    for claimed in (7, 500):
        content[place : place + 4] = claimed.to_bytes(4, "little")
        path.write_bytes(content)
        source = frame_source(path)
        assert source.num_frames == 20
        assert f"its header says {claimed} frames, it holds 20" in source.notes[0]


def test_a_file_that_was_cut_off(tmp_path):
    path = write_video(
        tmp_path / "a.mp4", 60, options={"g": "12"}, container_options={"movflags": "faststart"}
    )
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    source = frame_source(path)
    assert 20 < source.num_frames < 50
    assert "its header says 60 frames" in source.notes[0]
    plain = write_video(tmp_path / "b.mp4", 60)
    plain.write_bytes(plain.read_bytes()[: int(0.7 * plain.stat().st_size)])
    with pytest.raises(DataError, match=r"b\.mp4 cannot be read as a video: .*it was cut off"):
        frame_source(plain)


def test_a_header_that_says_a_longer_time(tmp_path):
    path = write_video(tmp_path / "a.mkv", 60, "ffv1")
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
    source = frame_source(path)
    assert source.num_frames == pytest.approx(36, abs=2)
    assert "its header says 2.40 s, it holds 1." in source.notes[0]


def test_a_rate_that_varies(tmp_path):
    times = [number + 3 * (number // 4) for number in range(40)]
    source = frame_source(write_video(tmp_path / "a.mkv", 40, times=times))
    assert source.num_frames == 40
    assert source.frame_rate == pytest.approx(25 * 39 / times[-1], rel=1e-3)
    assert source.notes == ()


def test_times_that_jump(tmp_path):
    times = [number + 8 * (number > 30) for number in range(60)]
    source = frame_source(write_video(tmp_path / "a.mkv", 60, times=times))
    assert source.num_frames == 60
    assert (
        "its times jump behind frame 30 (jumps: 1), as if frames were missing (in all: 8)"
        in (source.notes[0])
    )


def test_a_format_without_times(tmp_path):
    source = frame_source(write_video(tmp_path / "a.h264", 20))
    assert source.num_frames == 20
    assert "a.h264 does not tell the times of its frames" in source.notes[0]


def test_an_unchanged_file_is_read_once(tmp_path):
    path = write_video(tmp_path / "a.mp4", 5)
    assert video_index(path) is video_index(path)
    first = video_index(path)
    write_video(path, 6)
    assert video_index(path) is not first


def test_av_is_missing(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", 5)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r'av is needed to read video: pip install "l'):
        frame_source(path)
