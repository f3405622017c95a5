from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lploss.config import load_config
from lploss.errors import ArgumentValueError
from lploss_builtin.data.cameras.calibration import find_calibration, read_calibration, session_of
from lploss_builtin.data.frames.reader import FrameReader
from lploss_builtin.data.frames.sources import frame_source
from lploss_builtin.data.frames.video_recordings import find_video_recordings
from lploss_builtin.data.rig.animal import KEYPOINT_NAMES
from lploss_builtin.data.rig.project import RigOptions, make_rig_project
from lploss_builtin.data.rig.sequence import simulate
from lploss_builtin.ops.geometry import project_points, triangulate_views
from tests.lploss_builtin.data.keypoint_tables import read_keypoints

VIEWS = ("left", "right", "top")
SMALL = RigOptions(num_frames=7, num_views=3, image_size=(48, 64), num_test_frames=4)
FILMED = replace(SMALL, num_video_frames=9)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_rig_project(tmp_path_factory.mktemp("rig"), SMALL)


def digests(folder):
    """Of all files but the config, which holds the path of its folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "config.yaml"
    }


def truth_of(project):
    table = pd.read_csv(project.truth, header=[0, 1, 2], index_col=0)
    assert list(table.columns.levels[0]) == ["synthetic_rig"]
    return table.index, table.to_numpy().reshape(len(table), -1, 3)


def test_the_layout_is_that_of_real_data(project):
    files = set(digests(project.folder))
    assert files == {
        *(f"CollectedData_{view}{end}.csv" for view in VIEWS for end in ("", "_new")),
        *(f"calibrations/session{number}.toml" for number in range(3)),
        "truth_3d.csv",
        *(
            f"labeled-data/session{number}_{view}/img{frame:05d}.png"
            for number, length in enumerate((4, 3, 4))
            for view in VIEWS
            for frame in range(length)
        ),
    }
    assert dict(project.labels) == {v: project.folder / f"CollectedData_{v}.csv" for v in VIEWS}


def test_the_config_is_a_valid_one(project):
    data = load_config(project.config).data
    assert data.data_dir == str(project.folder)
    assert list(data.csv_file) == [f"CollectedData_{view}.csv" for view in VIEWS]
    assert list(data.view_names) == list(VIEWS)
    assert list(data.keypoint_names) == list(KEYPOINT_NAMES)
    assert (data.num_keypoints, data.downsample_factor) == (12, 2)
    for size in (data.image_orig_dims, data.image_resize_dims):
        assert (size.height, size.width) == (48, 64)


def test_sections_are_put_into_the_config(tmp_path):
    more = {"training": {"max_epochs": 3}, "data": {"image_resize_dims": {"height": 32}}}
    project = make_rig_project(tmp_path, SMALL, config=more)
    config = load_config(project.config)
    assert config.training.max_epochs == 3
    assert config.data.image_resize_dims.height == 32
    assert config.data.num_keypoints == 12


def test_rows_are_aligned_and_images_are_there(project):
    for paths, length in ((project.labels, 7), (project.test_labels, 4)):
        tables = {view: pd.read_csv(paths[view], header=[0, 1, 2], index_col=0) for view in VIEWS}
        for view, table in tables.items():
            assert len(table) == length
            assert [*table.columns.get_level_values(2)] == ["x", "y", "visible"] * 12
            for name, other in zip(table.index, tables["left"].index, strict=True):
                assert name.replace(f"_{view}/", "_left/") == other
                with Image.open(project.folder / name) as image:
                    assert (image.size, image.mode) == ((64, 48), "RGB")
    held_out = {session_of(f, VIEWS) for f in read_keypoints(project.test_labels["top"]).frames}
    trained = {session_of(f, VIEWS) for f in read_keypoints(project.labels["top"]).frames}
    assert (trained, held_out) == ({"session0", "session1"}, {"session2"})


def test_what_is_read_back_is_the_truth_as_the_cameras_see_it(project):
    names, truth = truth_of(project)
    assert len(names) == 11
    for paths in (project.labels, project.test_labels):
        tables = {view: read_keypoints(paths[view]) for view in VIEWS}
        assert tables["left"].keypoint_names == KEYPOINT_NAMES
        frames = tables["left"].frames
        labels = np.stack([t.keypoints.reshape(-1, 12, 2) for t in tables.values()], axis=1)
        for row, frame in enumerate(frames):
            session = session_of(frame, VIEWS)
            cameras = read_calibration(find_calibration(project.folder, session))
            assert cameras.names == VIEWS
            assert cameras.image_sizes == ((64.0, 48.0),) * 3
            name = f"{session}/{frame.rsplit('/', 1)[1]}"
            points = torch.from_numpy(truth[list(names).index(name)])[None]
            seen = project_points(points, cameras)[0].numpy()
            there = ~np.isnan(labels[row])
            np.testing.assert_allclose(labels[row][there], seen[there], atol=1e-5)
            outside = (seen < 0) | (seen > (63, 47))
            np.testing.assert_array_equal(there.all(axis=-1), ~outside.any(axis=-1))
            twice = there.all(axis=-1).sum(axis=0) >= 2
            found = triangulate_views(torch.from_numpy(labels[row])[None], cameras)[0].numpy()
            np.testing.assert_allclose(found[twice], points[0].numpy()[twice], atol=1e-4)


def test_the_column_visible_says_what_is_hidden(project):
    sequence = simulate(4, num_views=3, image_size=(48, 64))
    for number, view in enumerate(VIEWS):
        table = pd.read_csv(project.labels[view], header=[0, 1, 2], index_col=0)
        visible = table.xs("visible", axis=1, level=2).to_numpy()
        np.testing.assert_array_equal(visible[:4], sequence.visibility[:, number])
        x = table.xs("x", axis=1, level=2).to_numpy()
        np.testing.assert_array_equal(np.isnan(x), visible == 0)


def test_calibrations_are_exact_and_differ_between_sessions(project):
    read = [
        read_calibration(project.folder / "calibrations" / f"session{n}.toml") for n in range(3)
    ]
    made = [
        simulate(1, num_views=3, image_size=(48, 64), session=number).cameras for number in range(3)
    ]
    for one, other in zip(read, made, strict=True):
        for key in ("intrinsics", "extrinsics", "distortions"):
            assert torch.equal(getattr(one, key), getattr(other, key))
    assert torch.equal(read[0].intrinsics, read[1].intrinsics)
    shift = (read[0].extrinsics - read[1].extrinsics).abs()
    assert 0.5 < shift.max() < 60


def test_the_same_arguments_give_the_same_files(project, tmp_path):
    seen = []
    again = make_rig_project(str(tmp_path / "again"), SMALL, progress=seen.append)
    assert digests(again.folder) == digests(project.folder)
    assert seen == list(range(1, 12))


def test_another_seed_gives_other_files(project, tmp_path):
    other = make_rig_project(tmp_path / "other", replace(SMALL, seed=1))
    one, two = digests(project.folder), digests(other.folder)
    assert one.keys() == two.keys()
    assert not any(one[name] == two[name] for name in one)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"num_frames": 1, "num_sessions": 2},
            "num_sessions must be at least 1, and num_frames at least num_sessions, got 2 sessions "
            "of 1 frames",
        ),
        ({"num_test_frames": 0}, "num_test_frames must be at least 1, got 0"),
        ({"num_video_frames": -1}, "num_video_frames must be at least 0, got -1"),
        (
            {"image_size": (48, 63), "num_video_frames": 2},
            "image_size must be even for videos, which store colours at half the size",
        ),
        ({"num_views": 9}, "num_views must be from 2 to 6, got 9"),
    ],
)
def test_arguments_out_of_range(tmp_path, arguments, message):
    with pytest.raises(ArgumentValueError, match=message):
        make_rig_project(tmp_path, RigOptions(**arguments))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArgumentValueError, match="must be an empty folder or not exist yet"):
        make_rig_project(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filmed")
    return make_rig_project(folder, FILMED)


def test_videos_of_a_session_without_labels(project, filmed):
    found = find_video_recordings([filmed.folder / "videos"], VIEWS)
    (recording,) = found.recordings
    assert (recording.name, recording.views, recording.num_frames) == ("session3", VIEWS, 9)
    assert found.left_out == found.notes == ()
    assert [source.path for source in recording.sources] == list(filmed.videos.values())
    assert load_config(filmed.config).data.video_dir == "videos"
    # All else is as without the videos.
    without, files = digests(project.folder), digests(filmed.folder)
    new = {f"videos/session3_{view}.mp4" for view in VIEWS} | {"calibrations/session3.toml"}
    assert set(files) - set(without) == new
    assert {name for name in without if files[name] != without[name]} == {"truth_3d.csv"}
    assert project.videos == {}


def test_what_is_true_of_the_videos(project, filmed):
    sequence = simulate(9, num_views=3, image_size=(48, 64), session=filmed.video_session)
    names, truth = truth_of(filmed)
    assert list(names[-9:]) == [f"session3/img{number:05d}.png" for number in range(9)]
    np.testing.assert_allclose(truth[-9:], sequence.keypoints_3d, atol=1e-6)
    np.testing.assert_array_equal(truth[:-9], truth_of(project)[1])
    expected = np.stack(list(sequence.images())).astype(float)
    cameras = read_calibration(filmed.folder / "calibrations" / "session3.toml")
    torch.testing.assert_close(cameras.intrinsics, sequence.cameras.intrinsics)
    for view, path in enumerate(filmed.videos.values()):
        with FrameReader(frame_source(path)) as reader:
            difference = reader.read(0, 9) - expected[:, view]
        assert np.abs(difference).mean() < 8
        # A frame is nearer to its own picture than to that before.
        assert (
            np.abs(difference[1:]).mean()
            < np.abs(difference[1:] + np.diff(expected[:, view], axis=0)).mean()
        )


def test_the_same_arguments_give_the_same_videos(filmed, tmp_path):
    again = make_rig_project(tmp_path, FILMED)
    assert digests(again.folder) == digests(filmed.folder)
