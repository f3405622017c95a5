from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lploss.errors import ArgumentValueError
from lploss_builtin.data.rig.cameras import VIEW_NAMES, camera_centres
from lploss_builtin.data.rig.sequence import TOLERANCE, simulate
from lploss_builtin.ops.geometry import distort_points, triangulate_views, undistort_points
from tests.lploss_builtin.data.rig.test_capsules import distances_to_segment


@pytest.fixture(scope="module")
def sequence():
    return simulate(40, num_views=6, seed=3)


@pytest.fixture(scope="module")
def films(sequence):
    return np.stack(list(sequence.images()))


def seen_by_opencv(sequence, view):
    cameras = sequence.cameras
    points, _ = cv2.projectPoints(
        sequence.keypoints_3d.reshape(-1, 3),
        sequence.rotations[view],
        cameras.extrinsics[view, :, 3].numpy(),
        cameras.intrinsics[view].numpy(),
        cameras.distortions[view].numpy(),
    )
    return points.reshape(*sequence.keypoints_3d.shape[:2], 2)


@settings(max_examples=12, deadline=None)
@given(
    num_views=st.integers(2, 6),
    height=st.integers(16, 70),
    width=st.integers(16, 70),
    seed=st.integers(0, 1000),
    session=st.integers(0, 20),
)
def test_every_rig_and_size(num_views, height, width, seed, session):
    sequence = simulate(
        3, num_views=num_views, image_size=(height, width), seed=seed, session=session
    )
    assert sequence.cameras.names == VIEW_NAMES[:num_views]
    assert sequence.cameras.image_sizes == ((width, height),) * num_views
    assert sequence.keypoints.shape == (3, num_views, 12, 2)
    for view in range(num_views):
        expected = seen_by_opencv(sequence, view)
        inside = ((expected >= 0) & (expected <= (width - 1, height - 1))).all(axis=-1)
        np.testing.assert_array_equal(sequence.visibility[:, view] > 0, inside)
        np.testing.assert_allclose(
            sequence.keypoints[:, view], np.where(inside[..., None], expected, np.nan), atol=1e-8
        )
    assert (sequence.visibility > 0).mean() > 0.5
    for views in sequence.images():
        assert views.shape == (num_views, height, width, 3)
        assert views.dtype == np.uint8
        assert views.std() > 10


def test_lenses_bend_by_pixels_and_can_be_undone_all_over_the_image(sequence):
    grid = torch.stack(
        torch.meshgrid(
            torch.linspace(0, 127, 9, dtype=torch.float64),
            torch.linspace(0, 127, 9, dtype=torch.float64),
            indexing="xy",
        ),
        dim=-1,
    ).reshape(1, 1, -1, 2)
    straight = undistort_points(grid.expand(1, 6, -1, 2), sequence.cameras)
    assert straight.isfinite().all()
    torch.testing.assert_close(
        distort_points(straight, sequence.cameras), grid.expand(1, 6, -1, 2), atol=1e-6, rtol=0
    )
    bend = (straight - grid).norm(dim=-1).amax(dim=-1)
    assert (bend > 4).all()
    assert (bend < 30).all()


def test_labels_triangulate_to_the_truth(sequence):
    points = torch.from_numpy(sequence.keypoints)
    found = triangulate_views(points, sequence.cameras).numpy()
    num_seen = (sequence.visibility > 0).sum(axis=1)
    assert (num_seen >= 2).mean() > 0.95
    enough = num_seen >= 2
    np.testing.assert_allclose(found[enough], sequence.keypoints_3d[enough], atol=1e-5)


def test_visibility_is_that_of_points_along_the_line_of_sight():
    sequence = simulate(40, num_views=6, image_size=(16, 16), seed=5)
    body, obstacles = sequence.poses.body, sequence.obstacles
    rng = np.random.default_rng(0)
    found = {"by an obstacle": 0, "by its body": 0, "visible": 0, "grazed": 0}
    for _ in range(150):
        frame, view, keypoint = rng.integers((40, 6, 12))
        if sequence.visibility[frame, view, keypoint] == 0:
            continue
        centre = camera_centres(sequence.cameras)[view]
        line = sequence.keypoints_3d[frame, keypoint] - centre
        length = np.linalg.norm(line)
        distances = np.arange(100.0, length - TOLERANCE, 0.5)
        points = centre + distances[:, None] * line / length

        def is_hidden_by(starts, ends, radii, points):
            for start, end, radius in zip(starts, ends, radii, strict=True):
                reach = radius + np.linalg.norm(end - start) / 2
                near = points[np.linalg.norm(points - (start + end) / 2, axis=-1) < reach]
                if (distances_to_segment(near, start, end) < radius).any():
                    return True
            return False

        in_thing = is_hidden_by(obstacles.starts, obstacles.ends, obstacles.radii, points[::2])
        # The animal is shorter than the last stretch.
        in_body = is_hidden_by(body.starts[frame], body.ends[frame], body.radii, points[-360:])
        is_visible = sequence.visibility[frame, view, keypoint] == 2
        if (in_thing or in_body) == is_visible:
            found["grazed"] += 1
        elif is_visible:
            found["visible"] += 1
        else:
            found["by an obstacle" if in_thing else "by its body"] += 1
    assert found["visible"] > 75
    assert found["by an obstacle"] >= 3
    assert found["by its body"] >= 15
    # Where a line passes through less of a body than lies between two points.
    assert found["grazed"] <= 1


def test_most_keypoints_are_in_sight():
    shares = []
    for session in range(3):
        visibility = simulate(150, image_size=(16, 16), session=session).visibility
        shares.append(np.bincount(visibility.ravel(), minlength=3) / visibility.size)
    outside, hidden, visible = np.mean(shares, axis=0)
    assert outside < 0.05
    assert 0.12 < hidden < 0.25
    assert visible > 0.72


def test_the_animal_is_drawn_where_it_is_seen_and_nowhere_else(sequence, films):
    scene = sequence.scene()
    rays, centres = scene.rays, scene.centres
    empty = np.clip(scene.colours * scene.tints, 0.0, 1.0) * 255
    difference = np.abs(films - empty).mean(axis=-1)
    # Without the animal the images are the same but for the noise.
    assert np.median(difference) < 4
    at = np.nan_to_num(sequence.keypoints).round().astype(int)
    frames, views = np.indices(sequence.visibility.shape)[:2]
    near = np.max(
        [
            difference[
                frames,
                views,
                np.clip(at[..., 1] + dy, 0, 127),
                np.clip(at[..., 0] + dx, 0, 127),
            ]
            for dx in (-1, 0, 1)
            for dy in (-1, 0, 1)
        ],
        axis=0,
    )
    assert (near[sequence.visibility == 2] > 15).mean() > 0.97
    # A pillar in front of the animal looks as it does without the animal.
    ground = np.where(rays[..., 2] < -1e-3, -centres[:, 2, None, None] / rays[..., 2], np.inf)
    is_pillar = (scene.depths < 330) & (scene.depths < ground - 1.0)
    assert is_pillar.sum() > 500
    assert (difference[:, is_pillar] < 25).mean() > 0.999


def test_cameras_differ_and_films_are_steady(films):
    assert films.shape == (40, 6, 128, 128, 3)
    means = films.mean(axis=(0, 2, 3))
    assert (np.ptp(means, axis=0) > 3).all()
    assert (np.abs(np.diff(films[:, 0].astype(float), axis=0)).mean(axis=(1, 2, 3)) < 12).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_frames": 0}, "num_frames must be at least 1, got 0"),
        ({"num_views": 1}, "num_views must be from 2 to 6, got 1"),
        ({"num_views": 7}, "num_views must be from 2 to 6, got 7"),
        (
            {"image_size": (128, 8)},
            r"image_size must be \(height, width\) of at least 16 px each, got \(128, 8\)",
        ),
        ({"seed": -1}, "seed and session must be at least 0, got seed -1 and session 0"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ArgumentValueError, match=message):
        simulate(**{"num_frames": 3, **arguments})
