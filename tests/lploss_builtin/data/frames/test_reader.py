from __future__ import annotations

import pickle
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.frames.images import read_image
from lploss_builtin.data.frames.reader import FrameReader, UnreadableFrameError
from lploss_builtin.data.frames.sources import frame_source
from lploss_builtin.data.frames.video_decoder import VideoDecoder
from lploss_builtin.data.frames.video_index import video_index
from tests.lploss_builtin.data.videos import (
    KINDS,
    all_frames,
    moving_picture,
    number_in,
    write_kind,
    write_video,
)
from tests.lploss_builtin.real_data import FOLDER, needs_real_data


def boxed(source, box):
    return replace(source, boxes=np.array([box], dtype=float))


def check_random_windows(path, expected, num_windows=12, longest=9, seed=0):
    random = np.random.default_rng(seed)
    source = frame_source(path)
    assert source.num_frames == len(expected)
    with FrameReader(source) as reader:
        for _ in range(num_windows):
            start = int(random.integers(len(expected)))
            stop = min(start + int(random.integers(1, longest)), len(expected))
            np.testing.assert_array_equal(reader.read(start, stop), expected[start:stop])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_frames_are_those_of_a_decoding_from_start_to_end(tmp_path, kind):
    path = write_kind(tmp_path, kind)
    expected = all_frames(path)
    assert expected.shape == (60, kind.height, kind.width, 3)
    check_random_windows(path, expected)


@pytest.mark.parametrize("name", ["b_frames.mp4", "h264.avi", "vp9.webm"])
def test_frames_tell_their_own_numbers(tmp_path, name):
    """Independent of how the file is decoded: the number is in the picture."""
    path = write_kind(tmp_path, next(kind for kind in KINDS if kind.name == name))
    with FrameReader(frame_source(path)) as reader:
        for start in (37, 0, 59, 12, 11, 38):
            assert number_in(reader.read(start, start + 1)[0]) == start


def test_what_seeking_by_time_alone_would_give_is_another_frame(tmp_path):
    """The test above can fail: here the time of a frame, from its number and rate, is wrong."""
    times = [number + 5 * (number > 20) for number in range(60)]
    path = write_video(tmp_path / "a.mkv", options={"g": "12"}, times=times)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        container.seek(int(40 / 25 / stream.time_base), stream=stream)
        time = 40 / 25
        frame = next(frame for frame in container.decode(stream) if frame.time >= time - 1e-6)
        assert number_in(frame.to_ndarray(format="rgb24")) == 35
    with FrameReader(frame_source(path)) as reader:
        assert number_in(reader.read(40, 41)[0]) == 40
    check_random_windows(path, all_frames(path))


def test_times_that_begin_late_or_before_zero(tmp_path):
    late = write_video(tmp_path / "late.mkv", options={"g": "12"}, times=range(100, 160))
    check_random_windows(late, all_frames(late))
    # The encoder's delay is cut off by an edit list.
    early = write_video(
        tmp_path / "early.mp4",
        options={"g": "12", "bf": "3"},
        times=range(-4, 56),
        container_options={"avoid_negative_ts": "disabled"},
    )
    check_random_windows(early, all_frames(early))


def test_frames_that_an_edit_list_leaves_out(tmp_path):
    path = write_video(tmp_path / "a.mp4", options={"g": "12"})
    content = bytearray(path.read_bytes())
    place = content.index(b"elst")
    # Behind version, flags and the number of entries: duration, and where the film begins.
    begin = int.from_bytes(content[place + 16 : place + 20], "big")
    content[place + 16 : place + 20] = (begin + 7 * 512).to_bytes(4, "big")
    path.write_bytes(content)
    expected = all_frames(path)
    assert len(expected) == 53
    assert number_in(expected[0]) == 7
    check_random_windows(path, expected)


def test_a_film_cut_out_of_a_longer_one_begins_with_the_first_frame_that_can_be_decoded(tmp_path):
    whole = write_video(tmp_path / "whole.ts", options={"g": "12", "bf": "0"})
    cut = tmp_path / "cut.ts"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if number >= 5 and packet.size:
                packet.stream = stream
                target.mux(packet)
    expected = all_frames(cut)
    assert number_in(expected[0]) == 12
    source = frame_source(cut)
    assert source.num_frames == 48
    assert "begins within a film: its first 7 frames cannot be decoded" in source.notes[0]
    check_random_windows(cut, expected)


def test_going_on_does_not_seek(tmp_path, monkeypatch):
    begun = []
    begin = VideoDecoder._begin
    monkeypatch.setattr(
        VideoDecoder, "_begin", lambda *given: (begun.append(given[1]), begin(*given))
    )
    path = write_video(tmp_path / "a.mp4", options={"g": "250"})
    with FrameReader(frame_source(path)) as reader:
        reader.read(0, 16)
        reader.read(16, 32)
        # Windows with a margin overlap.
        np.testing.assert_array_equal(reader.read(28, 40), all_frames(path)[28:40])
        assert begun == [0]
        reader.read(4, 5)
        assert begun == [0, 4]


def test_no_frames_and_too_many(tmp_path):
    path = write_video(tmp_path / "a.mp4", 5)
    with FrameReader(frame_source(path), (10, 12)) as reader:
        assert reader.read(3, 3).shape == (0, 10, 12, 3)
        for start, stop in ((0, 6), (-1, 2), (3, 2)):
            with pytest.raises(ArgumentValueError, match=r"a\.mp4 has 5 frames; those from"):
                reader.read(start, stop)


def test_colours_are_those_of_opencv(tmp_path):
    path = write_video(tmp_path / "a.mp4", 10)
    capture = cv2.VideoCapture(str(path))
    expected = np.stack([capture.read()[1][..., ::-1] for _ in range(10)])
    capture.release()
    with FrameReader(frame_source(path)) as reader:
        np.testing.assert_array_equal(reader.read(0, 10), expected)


def smooth_video(path, height=240, width=320, colours=(1.0, 1.0, 1.0)):
    y, x = np.mgrid[:height, :width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number in range(3):
            wave = 128 + 90 * np.sin(x / 9 + number) * np.cos(y / 7)
            picture = np.stack([share * wave for share in colours], axis=-1).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("size", [(96, 128), (100, 90), (300, 400)])
@pytest.mark.parametrize(("colours", "mean", "most"), [((1, 1, 1), 1.0, 4), ((1, 0.7, 0.4), 2, 9)])
def test_resized_as_images_are(tmp_path, size, colours, mean, most):
    path = smooth_video(tmp_path / "a.mp4", colours=colours)
    Image.fromarray(all_frames(path)[1]).save(tmp_path / "1.png")
    expected = read_image(tmp_path / "1.png", None, size).astype(float)
    with FrameReader(frame_source(path), size) as reader:
        difference = np.abs(reader.read(1, 2)[0] - expected)
    assert difference.mean() < mean
    assert difference.max() <= most


def test_cropped_as_images_are(tmp_path):
    path = smooth_video(tmp_path / "a.mp4")
    Image.fromarray(all_frames(path)[2]).save(tmp_path / "2.png")
    box = (30.5, 20.0, 111.0, 99.5)
    with FrameReader(boxed(frame_source(path), box), (64, 48)) as reader:
        found = reader.read(2, 3)[0]
    np.testing.assert_array_equal(found, read_image(tmp_path / "2.png", box, (64, 48)))
    with FrameReader(boxed(frame_source(path), box)) as reader:
        assert reader.read(0, 1).shape == (1, 111, 100, 3)


def test_crop_that_is_not_within(tmp_path):
    path = write_video(tmp_path / "a.mp4", 2)
    with pytest.raises(DataError, match=r"a\.mp4 has height 48 and width 66, its box x 60, y 0"):
        FrameReader(boxed(frame_source(path), (60, 0, 10, 10)))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_as_players_show_it(tmp_path, degrees):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 66, "yuv420p"
        stream.set_display_rotation(degrees)
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(moving_picture(number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    capture = cv2.VideoCapture(str(path))
    expected = np.stack([capture.read()[1][..., ::-1] for _ in range(5)])
    capture.release()
    source = frame_source(path)
    assert (source.height, source.width) == expected.shape[1:3]
    assert (source.height, source.width) == ((48, 66) if degrees == 180 else (66, 48))
    with FrameReader(source) as reader:
        np.testing.assert_array_equal(reader.read(0, 5), expected)
    with FrameReader(source, (33, 24)) as reader:
        assert reader.read(0, 5).shape == (5, 33, 24, 3)


def test_folder_of_images(tmp_path):
    for number in range(12):
        Image.fromarray(moving_picture(number)).save(tmp_path / f"img{number}.png")
    (tmp_path / "notes.csv").write_text("x")
    source = frame_source(tmp_path)
    assert source.names[9:11] == ("img9.png", "img10.png")
    with FrameReader(source) as reader:
        assert [number_in(frame) for frame in reader.read(8, 12)] == [8, 9, 10, 11]
    with FrameReader(boxed(source, (6, 4, 30, 40)), (20, 30)) as reader:
        expected = read_image(tmp_path / "img3.png", (6, 4, 30, 40), (20, 30))
        np.testing.assert_array_equal(reader.read(3, 4)[0], expected)
    path = tmp_path / "img5.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with FrameReader(source) as reader:
        frames, is_readable = reader.read_where_possible(4, 7)
        assert is_readable.tolist() == [True, False, True]
        assert not frames[1].any()
        with pytest.raises(UnreadableFrameError, match=r"img5\.png cannot be read") as caught:
            reader.read(4, 7)
    assert (caught.value.frame, caught.value.num_readable) == (5, 1)


def test_a_reader_can_be_pickled(tmp_path):
    path = write_video(tmp_path / "a.mp4", 20)
    with FrameReader(frame_source(path), (24, 33)) as reader:
        expected = reader.read(5, 9)
        with pickle.loads(pickle.dumps(reader)) as other:
            np.testing.assert_array_equal(other.read(5, 9), expected)
        assert pickle.loads(pickle.dumps(reader.error(7, 5))).num_readable == 2


def test_a_file_that_was_changed(tmp_path):
    source = frame_source(write_video(tmp_path / "a.mp4", 20))
    write_video(tmp_path / "a.mp4", 30)
    with (
        FrameReader(source) as reader,
        pytest.raises(DataError, match=r"has 30 frames now, and had 20 before: it was changed"),
    ):
        reader.read(0, 1)


def test_where_times_turn_out_wrong_frames_are_counted(tmp_path, monkeypatch):
    """As if the packets told other times than the frames: half of them the same."""
    path = write_video(tmp_path / "a.mp4", options={"g": "12"})
    expected = all_frames(path)
    index = video_index(path)
    index.times.setflags(write=True)
    index.times[30:] += 100
    try:
        check_random_windows(path, expected)
    finally:
        index.times[30:] -= 100


@needs_real_data
def test_a_real_video():
    path = FOLDER / "mirror-mouse" / "videos" / "test_vid.mp4"
    source = frame_source(path)
    assert (source.num_frames, source.height, source.width) == (994, 406, 396)
    assert source.frame_rate == pytest.approx(250)
    assert source.notes == ()
    capture = cv2.VideoCapture(str(path))
    frames = {}
    for number in range(994):
        picture = capture.read()[1]
        if number in (0, 249, 250, 251, 500, 993):
            frames[number] = picture[..., ::-1]
    capture.release()
    with FrameReader(source) as reader:
        for number in (500, 250, 249, 993, 251, 0):
            np.testing.assert_array_equal(reader.read(number, number + 1)[0], frames[number])


@needs_real_data
@pytest.mark.slow
def test_all_windows_of_a_real_video():
    path = FOLDER / "mirror-mouse" / "videos" / "test_vid.mp4"
    check_random_windows(path, all_frames(path), num_windows=40, longest=40)
