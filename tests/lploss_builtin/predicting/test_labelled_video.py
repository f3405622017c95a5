from __future__ import annotations

from fractions import Fraction

import av
import matplotlib
import numpy as np
import pytest

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.data.frames.sources import frame_source
from lploss_builtin.predicting import (
    LabelledVideo,
    predict_files,
    write_labelled_video,
)
from lploss_builtin.predicting.recording_state import STATE_FOLDER
from lploss_builtin.training.run import TrainingRun
from tests.lploss_builtin.data.keypoint_tables import write_predictions
from tests.lploss_builtin.data.small_projects import write_image
from tests.lploss_builtin.predicting.runs import FindsSpots, spots, write_run, write_spots
from tests.lploss_builtin.predicting.spot_videos import wandering, write_spot_video

HEIGHT, WIDTH = 64, 96
COLOURS = (255 * matplotlib.colormaps["hsv"]([0.0, 0.5, 1.0])[:, :3]).round()


@pytest.fixture
def grey_video(tmp_path):
    """Frames without anything in them, an odd number of px wide and high."""
    path = tmp_path / "grey.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(30000, 1001))
        stream.height, stream.width, stream.pix_fmt = HEIGHT - 1, WIDTH - 1, "bgr0"
        grey = np.full((HEIGHT - 1, WIDTH - 1, 3), 100, np.uint8)
        for _ in range(20):
            for packet in stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def decoded(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return np.stack(frames), stream


def table(folder, keypoints, likelihood=1.0):
    names = ("nose", "neck", "tail")[: keypoints.shape[1]]
    return write_predictions(folder / "found.csv", keypoints, names, likelihood=likelihood)


def test_each_frame_has_its_own_keypoints(grey_video, tmp_path):
    """Frame by frame, in size, rate and number those of the video."""
    keypoints = wandering(20)
    out = tmp_path / "drawn.mp4"
    write_labelled_video(frame_source(grey_video), table(tmp_path, keypoints), out, colormap="hsv")
    frames, stream = decoded(out)
    assert frames.shape == (20, HEIGHT, WIDTH, 3)
    assert stream.codec_context.name == "h264"
    assert stream.average_rate == Fraction(30000, 1001)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for frame, own in zip(frames.astype(float), keypoints, strict=True):
        is_far = np.full((HEIGHT, WIDTH), True)
        for point in own:
            is_far &= np.hypot(x - point[0], y - point[1]) > 7
        np.testing.assert_allclose(frame[is_far], 100, atol=40)
        # The last one lies over the others.
        column, row = own[2].round().astype(int)
        np.testing.assert_allclose(frame[row, column], COLOURS[2], atol=90)
        assert (np.abs(frame - 100).max(axis=-1) > 40).any(where=~is_far)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_is_unlikely_is_not_drawn(grey_video, tmp_path):
    keypoints = np.tile(np.array([[30.0, 30.0]]), (20, 1, 1))
    likelihoods = np.where(np.arange(20) % 2, 0.7, 0.5)[:, None]
    predictions = tmp_path / "found.csv"
    rows = ["scorer,a,a,a", "bodyparts,nose,nose,nose", "coords,x,y,likelihood"]
    rows += [f"{n},{x},{y},{own}" for n, ((x, y), own) in enumerate(
        zip(keypoints[:, 0], likelihoods[:, 0], strict=True)
    )]  # fmt: skip
    predictions.write_text("\n".join(rows) + "\n")
    write_labelled_video(
        frame_source(grey_video), predictions, tmp_path / "drawn.mp4", confidence_threshold=0.6
    )
    frames, _ = decoded(tmp_path / "drawn.mp4")
    is_drawn = np.abs(frames[:, 30, 30].astype(int) - 100).max(axis=-1) > 40
    assert is_drawn.tolist() == [bool(number % 2) for number in range(20)]


def test_without_likelihoods_all_are_drawn(grey_video, tmp_path):
    """Of fewer rows than frames, the first frames; what is missing or outside is not drawn."""
    keypoints = np.full((8, 3, 2), 30.0)
    keypoints[3] = np.nan
    keypoints[4] = 1e6
    predictions = table(tmp_path, keypoints, likelihood=None)
    write_labelled_video(frame_source(grey_video), predictions, tmp_path / "drawn.mp4")
    frames, _ = decoded(tmp_path / "drawn.mp4")
    is_drawn = np.abs(frames[:, 30, 30].astype(int) - 100).max(axis=-1) > 40
    assert is_drawn.tolist() == [True, True, True, False, False, True, True, True]


def test_the_keypoints_of_each_individual_are_drawn(grey_video, tmp_path):
    """A colour per keypoint, the same for all individuals."""
    places = {("a", "nose"): (20, 20), ("a", "tail"): (40, 20), ("b", "nose"): (60, 40)}
    places["b", "tail"] = (80, 40)
    header = [
        ("scorer", *["dlc"] * 12),
        ("individuals", *(animal for animal, _ in places for _ in range(3))),
        ("bodyparts", *(name for _, name in places for _ in range(3))),
        ("coords", *["x", "y", "likelihood"] * 4),
    ]
    row = [value for x, y in places.values() for value in (x, y, 1.0)]
    lines = [*header, *((frame, *row) for frame in range(20))]
    predictions = tmp_path / "found.csv"
    predictions.write_text("\n".join(",".join(map(str, line)) for line in lines) + "\n")
    out = tmp_path / "drawn.mp4"
    write_labelled_video(frame_source(grey_video), predictions, out, colormap="cool")
    frames, _ = decoded(out)
    ends = (255 * matplotlib.colormaps["cool"]([0.0, 1.0])[:, :3]).round()
    for (_, name), (x, y) in places.items():
        colour = ends[("nose", "tail").index(name)]
        np.testing.assert_allclose(frames[9, y, x].astype(float), colour, atol=90)


def test_a_folder_of_images(tmp_path):
    for number in range(3):
        write_image(tmp_path / f"clip/img{number}.png", np.full((20, 30, 3), 100, np.uint8))
    keypoints = np.array([[[5.0, 5.0]], [[15.0, 5.0]], [[25.0, 15.0]]])
    predictions = write_predictions(
        tmp_path / "found.csv", keypoints, ("nose",), [f"img{number}.png" for number in range(3)]
    )
    write_labelled_video(frame_source(tmp_path / "clip"), predictions, tmp_path / "drawn.mp4")
    frames, _ = decoded(tmp_path / "drawn.mp4")
    changed = np.abs(frames.astype(int) - 100).max(axis=-1)
    for own, (x, y) in zip(changed, keypoints[:, 0].astype(int), strict=True):
        assert own[y, x] > 40
        assert (own > 40).sum() < 60


def test_what_cannot_be_drawn(grey_video, tmp_path):
    source = frame_source(grey_video)
    out = tmp_path / "drawn.mp4"
    predictions = table(tmp_path, wandering(21))
    with pytest.raises(DataError) as caught:
        write_labelled_video(source, predictions, out)
    assert str(caught.value) == (
        f"{predictions} has more rows than {grey_video} has frames, which are 20: they are not of "
        "this video"
    )
    with pytest.raises(ArgumentValueError) as caught:
        write_labelled_video(source, predictions, out, colormap="virids")
    assert str(caught.value).startswith("there is no colormap 'virids'. Did you mean 'viridis'")
    with pytest.raises(ArgumentValueError) as caught:
        write_labelled_video(source, predictions, out, confidence_threshold=1.5)
    assert str(caught.value) == "confidence_threshold must be between 0 and 1, got 1.5"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["found.csv", "grey.mkv"]


def test_with_the_predictions(tmp_path, monkeypatch):
    """Once; predictions that are there are not made again for it, nor are drawn videos input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TrainingRun, "model", lambda run, which: FindsSpots())
    write_run(tmp_path / "run")
    write_spot_video(tmp_path / "videos/walk.mp4", wandering(6))

    def predict(**options):
        (recording,) = predict_files(
            "run", ["videos"], out="videos", device="cpu", **options
        ).recordings
        return recording

    assert predict().files == ("walk.csv",)
    table = (tmp_path / "videos/walk.csv").stat().st_mtime_ns
    found = predict(video=LabelledVideo(0.5, "hsv"))
    assert found.files == ("walk.csv", "walk_labelled.mp4")
    assert found.num_kept_frames == 6
    assert found.drawing_seconds > 0
    assert (tmp_path / "videos/walk.csv").stat().st_mtime_ns == table
    path = tmp_path / "videos/walk_labelled.mp4"
    frames, _ = decoded(path)
    for frame, own in zip(frames, wandering(6), strict=True):
        column, row = own[2].round().astype(int)
        np.testing.assert_allclose(frame[row, column].astype(float), COLOURS[2], atol=90)
    drawn = path.stat().st_mtime_ns
    assert predict(video=LabelledVideo(0.5, "hsv")).files == ("walk.csv", "walk_labelled.mp4")
    assert path.stat().st_mtime_ns == drawn
    predict(video=LabelledVideo(0.95, "hsv"))
    assert path.stat().st_mtime_ns != drawn
    names = {p.name for p in (tmp_path / "videos").iterdir()}
    assert names == {"walk.mp4", "walk.csv", "walk_labelled.mp4", STATE_FOLDER}
    with pytest.raises(ArgumentValueError, match="there is no colormap 'rainbows'"):
        predict(video=LabelledVideo(colormap="rainbows"))


def test_the_share_that_is_drawn(grey_video, tmp_path):
    """Of the keypoints that were found."""
    source, out = frame_source(grey_video), tmp_path / "drawn.mp4"
    keypoints = np.full((20, 3, 2), 30.0)
    keypoints[:5] = np.nan
    predictions = table(tmp_path, keypoints)
    rows = predictions.read_text().splitlines()
    # One of three keypoints, in the last five of the fifteen frames that have some.
    rows[-5:] = [row[: row.rindex(",")] + ",0.2" for row in rows[-5:]]
    predictions.write_text("\n".join(rows) + "\n")
    share = write_labelled_video(source, predictions, out, confidence_threshold=0.5)
    assert share == pytest.approx(40 / 45)
    assert write_labelled_video(source, table(tmp_path, keypoints, None), out) == 1.0
    assert np.isnan(write_labelled_video(source, table(tmp_path, keypoints * np.nan), out))


def test_videos_that_show_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TrainingRun, "model", lambda run, which: FindsSpots())
    write_run(tmp_path / "run")
    write_spot_video(tmp_path / "walk.mp4", wandering(3))
    write_image(tmp_path / "clip/img0.png", np.full((64, 96, 3), 100, np.uint8))

    def predict(*inputs, **options):
        return predict_files("run", inputs, out="out", device="cpu", **options)

    note = (
        "walk: 0 % of its keypoints are drawn: the others have a likelihood below 0.95, see "
        "--confidence"
    )
    for _ in range(2):  # the second time it is there already
        found = predict("walk.mp4", video=LabelledVideo(0.95))
        assert found.notes == (note,)
        assert found.recordings[0].drawn_share == 0.0
    assert predict("walk.mp4", video=LabelledVideo(0.5)).notes == ()
    assert predict("walk.mp4").notes == ()
    assert predict("clip").notes == ()


def test_images_become_a_video(tmp_path, monkeypatch):
    """In the size of the first; keypoints move with an image that is resized."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TrainingRun, "model", lambda run, which: FindsSpots())
    write_run(tmp_path / "run")
    shown = wandering(3)
    write_spots(tmp_path / "clip", shown)
    write_image(tmp_path / "clip/img3.png", spots(2 * shown[0], (2 * HEIGHT, 2 * WIDTH), 6.0))
    (recording,) = predict_files(
        "run", ["clip"], out="out", device="cpu", video=LabelledVideo(0.5, "hsv")
    ).recordings
    assert recording.files == ("clip.csv", "clip_labelled.mp4")
    assert recording.drawn_share == 1.0
    frames, _ = decoded(tmp_path / "out/clip_labelled.mp4")
    assert frames.shape == (4, HEIGHT, WIDTH, 3)
    for frame, own in zip(frames, [*shown, shown[0]], strict=True):
        column, row = own[2].round().astype(int)
        np.testing.assert_allclose(frame[row, column].astype(float), COLOURS[2], atol=90)


def test_a_video_that_was_cut_out(tmp_path, monkeypatch):
    """Its keypoints are px of the larger video; they are drawn where they are in the cut-out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TrainingRun, "model", lambda run, which: FindsSpots())
    write_run(tmp_path / "run")
    write_spot_video(tmp_path / "cut.mp4", wandering(2))
    (tmp_path / "box.csv").write_text(f",x,y,h,w\nany,200,100,{HEIGHT},{WIDTH}\n")
    predict_files(
        "run", ["cut.mp4"], out="out", bbox_files=["box.csv"], video=LabelledVideo(0.5, "hsv")
    )
    frames, _ = decoded(tmp_path / "out/cut_labelled.mp4")
    for frame, own in zip(frames, wandering(2), strict=True):
        column, row = own[2].round().astype(int)
        np.testing.assert_allclose(frame[row, column].astype(float), COLOURS[2], atol=90)


def test_a_labelled_video_says_what_it_is(grey_video, tmp_path):
    out = tmp_path / "drawn.mp4"
    write_labelled_video(frame_source(grey_video), table(tmp_path, wandering(20)), out)
    with av.open(str(out)) as container:
        comment = container.metadata["comment"]
    assert comment == "lploss: predicted keypoints are drawn in this video"
