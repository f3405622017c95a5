from __future__ import annotations

import av
import numpy as np
import pytest

from lploss_builtin.data.frames.reader import FrameReader, UnreadableFrameError
from lploss_builtin.data.frames.sources import frame_source
from tests.lploss_builtin.data.videos import all_frames, write_video


def packet_places(path):
    """Position, size and time of each packet, in the order of the file."""
    with av.open(str(path)) as container:
        packets = container.demux(video=0)
        return [(packet.pos, packet.size, packet.pts) for packet in packets if packet.size]


def damage(path, packet, fill):
    """Overwrite the middle of a packet; return the number of its frame."""
    places = packet_places(path)
    position, size, time = places[packet]
    content = bytearray(path.read_bytes())
    begin, end = position + 8, position + size
    content[begin:end] = fill(end - begin)
    path.write_bytes(content)
    return sorted(own[2] for own in places).index(time)


NOISE = np.random.default_rng(5)
FILLS = {"zeros": bytes, "noise": lambda size: NOISE.integers(0, 256, size, np.uint8).tobytes()}

CODECS = {
    "h264": {"codec": "libx264", "options": {"g": "12", "bf": "3"}},
    "open": {"codec": "libx264", "options": {"x264-params": "open-gop=1:keyint=12:bframes=3"}},
    "hevc": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=12"}},
}


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("codec", CODECS)
def test_what_builds_on_a_damaged_frame_is_lost_and_nothing_else_moves(tmp_path, codec, fill):
    path = write_video(tmp_path / "a.mp4", **CODECS[codec])
    expected = all_frames(path)
    number = damage(path, 26, FILLS[fill])
    source = frame_source(path)
    assert source.num_frames == 60
    with FrameReader(source) as reader:
        frames, is_readable = reader.read_where_possible(0, 60)
    lost = np.flatnonzero(~is_readable)
    assert number in lost
    # Frames that are shown before it may build on it, up to the keyframe before and behind.
    assert 24 - 4 <= lost[0] <= number
    assert lost.tolist() == list(range(lost[0], 36))
    np.testing.assert_array_equal(frames[is_readable], expected[is_readable])
    assert not frames[~is_readable].any()


@pytest.mark.parametrize("codec", CODECS)
def test_random_windows_lose_the_same_frames(tmp_path, codec):
    path = write_video(tmp_path / "a.mp4", **CODECS[codec])
    damage(path, 26, bytes)
    source = frame_source(path)
    with FrameReader(source) as reader:
        frames, is_readable = reader.read_where_possible(0, 60)
    random = np.random.default_rng(2)
    with FrameReader(source) as reader:
        for start in random.integers(0, 55, 25).tolist():
            found, could = reader.read_where_possible(start, start + 5)
            np.testing.assert_array_equal(found, frames[start : start + 5])
            np.testing.assert_array_equal(could, is_readable[start : start + 5])


def test_the_error_names_the_first_frame_that_fails(tmp_path):
    path = write_video(tmp_path / "a.mp4", options={"g": "12", "bf": "0"})
    assert damage(path, 30, bytes) == 30
    with FrameReader(frame_source(path)) as reader:
        with pytest.raises(
            UnreadableFrameError,
            match=r"the video .*a\.mp4 is damaged: frame 30 of 60 cannot be decoded",
        ) as caught:
            reader.read(26, 40)
        assert (caught.value.frame, caught.value.num_readable) == (30, 4)
        assert len(reader.read(36, 40)) == 4


def test_of_single_images_only_the_damaged_one_is_lost(tmp_path):
    path = write_video(tmp_path / "a.avi", codec="mjpeg", pixels="yuvj420p")
    expected = all_frames(path)
    damage(path, 30, bytes)
    with FrameReader(frame_source(path)) as reader:
        frames, is_readable = reader.read_where_possible(0, 60)
    assert np.flatnonzero(~is_readable).tolist() == [30]
    np.testing.assert_array_equal(frames[is_readable], expected[is_readable])


def test_without_times_no_frame_behind_a_damaged_one_has_a_number(tmp_path):
    path = write_video(tmp_path / "a.avi", options={"g": "12", "bf": "0"})
    expected = all_frames(path)
    damage(path, 30, bytes)
    with FrameReader(frame_source(path)) as reader:
        frames, is_readable = reader.read_where_possible(0, 60)
        assert is_readable.tolist() == 30 * [True] + 30 * [False]
        np.testing.assert_array_equal(frames[:30], expected[:30])
        assert not reader.read_where_possible(40, 50)[1].any()


@pytest.mark.parametrize("share", [0.5, 0.6, 0.7, 0.8])
def test_a_file_cut_at_its_end_holds_the_frames_before(tmp_path, share):
    path = write_video(
        tmp_path / "a.mp4",
        options={"g": "12", "bf": "3"},
        container_options={"movflags": "faststart"},
    )
    expected = all_frames(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    source = frame_source(path)
    assert source.num_frames < 60
    with FrameReader(source) as reader:
        frames = reader.read(0, source.num_frames)
    np.testing.assert_array_equal(frames, expected[: source.num_frames])


def test_a_cut_matroska_does_not_call_a_later_frame_by_an_earlier_number(tmp_path):
    path = write_video(tmp_path / "a.mkv", options={"g": "12", "bf": "3"})
    expected = all_frames(path)
    whole = path.read_bytes()
    places = packet_places(path)
    for packet in (25, 26, 27, 28):
        path.write_bytes(whole[: places[packet][0]])
        source = frame_source(path)
        with FrameReader(source) as reader:
            frames = reader.read(0, source.num_frames)
        assert 20 < source.num_frames <= packet
        np.testing.assert_array_equal(frames, expected[: source.num_frames])
