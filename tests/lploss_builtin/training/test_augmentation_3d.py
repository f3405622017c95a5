from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lploss.errors import ArgumentValueError, MissingInputError, ShapeError
from lploss_builtin.ops.affine import crop_and_resize, transform
from lploss_builtin.ops.geometry import Cameras, project_points, triangulate_views
from lploss_builtin.training.augmentation_3d import augment_3d
from tests.lploss_builtin.ops.geometry.rigs import batched, random_points, random_rig

CAMERAS = ("intrinsics", "extrinsics", "distortions")


def make_batch(points: Tensor, rig: Cameras, size: tuple[int, int] = (36, 64)) -> dict[str, Tensor]:
    """A batch whose labels are the points as a rig sees them; the images are empty."""
    frames, views = len(points), rig.num_views
    cameras = batched(rig, frames)
    bbox = torch.tensor([0.0, 0.0, 720.0, 1280.0]).expand(frames, views, 4)
    assert cameras.distortions is not None
    labels = project_points(points, rig).flatten(1).float()
    is_seen = labels.unflatten(1, (-1, 2)).isfinite().all(-1)
    return {
        "images": torch.zeros(frames, views, 3, *size, dtype=torch.uint8),
        "keypoints_targ": labels,
        "visibility": 2 * is_seen.byte(),
        "bbox": bbox.flatten(1),
        "affine": crop_and_resize(bbox, size),
        "image_size": torch.tensor(size).float(),
        "index": torch.arange(frames) + 3,
        "intrinsics": cameras.intrinsics,
        "extrinsics": cameras.extrinsics,
        "distortions": cameras.distortions,
    }


def labels_of(batch: dict[str, Tensor]) -> Tensor:
    views = batch["images"].shape[1]
    return batch["keypoints_targ"].double().unflatten(1, (views, -1, 2))


def hide(batch: dict[str, Tensor], hidden: Tensor) -> None:
    labels = labels_of(batch).float()
    labels[hidden] = math.nan
    batch["keypoints_targ"] = labels.flatten(1)
    batch["visibility"] = torch.where(hidden.flatten(1), 0, batch["visibility"]).byte()


def test_the_pose_is_scaled_about_its_centre_and_shifted_within_its_extent() -> None:
    points = 0.3 * random_points(0, 200, 5)
    done = augment_3d(make_batch(points, random_rig(0)), seed=0, step=0)
    assert done.is_augmented.all()
    before, after = points.numpy(), done.keypoints_3d.numpy()
    factors = np.ptp(after, axis=1) / np.ptp(before, axis=1)
    # The labels are float32: 1e-4 px or so.
    np.testing.assert_allclose(factors, factors[:, :1].repeat(3, axis=1), atol=1e-4)
    assert 0.8 <= factors.min() < 0.81
    assert 1.19 < factors.max() <= 1.2
    shifts = (np.median(after, axis=1) - np.median(before, axis=1)) / np.ptp(after, axis=1)
    assert np.abs(shifts).max() <= 0.25 + 1e-4
    assert np.abs(shifts).max() > 0.24
    assert np.abs(shifts.mean(axis=0)).max() < 0.05


def test_targets_are_where_the_cameras_see_the_moved_points() -> None:
    rig = random_rig(1, num_views=4)
    batch = make_batch(0.3 * random_points(1, 4, 6), rig)
    done = augment_3d(batch, seed=0, step=0)
    assert done.is_augmented.all()
    labels = labels_of(done.batch)
    assert labels.isfinite().all()
    torch.testing.assert_close(labels, project_points(done.keypoints_3d, rig), atol=1e-3, rtol=0)
    torch.testing.assert_close(triangulate_views(labels, rig), done.keypoints_3d, atol=1e-5, rtol=0)


@settings(deadline=None, max_examples=40)
@given(
    views=st.integers(2, 4),
    num_keypoints=st.integers(1, 6),
    seed=st.integers(0, 1000),
    share=st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]),
    kind=st.sampled_from(["spread", "coincident", "on a line", "huge", "noisy", "one view only"]),
)
def test_whatever_is_labelled(
    views: int, num_keypoints: int, seed: int, share: float, kind: str
) -> None:
    rig = random_rig(seed, views)
    points = 0.3 * random_points(seed, 3, num_keypoints)
    if kind == "coincident":
        points = points[:, :1].expand_as(points)
    if kind == "on a line":
        points = points[:, :1] * torch.linspace(-1, 1, num_keypoints)[:, None]
    if kind == "huge":
        points = 10 * points
    batch = make_batch(points, rig)
    generator = torch.Generator().manual_seed(seed)
    if kind == "noisy":
        noise = 200 * torch.randn(batch["keypoints_targ"].shape, generator=generator)
        batch["keypoints_targ"] = batch["keypoints_targ"] + noise
    hidden = torch.rand(3, views, num_keypoints, generator=generator) < share
    if kind == "one view only":
        hidden[:, 1:] = True
    hide(batch, hidden)
    batch["images"] = torch.randint(0, 256, batch["images"].shape, generator=generator).byte()
    given_batch = {name: tensor.clone() for name, tensor in batch.items()}
    done = augment_3d(batch, seed=seed, step=1)

    for name, tensor in given_batch.items():
        torch.testing.assert_close(batch[name], tensor, rtol=0, atol=0, equal_nan=True)
    changed = {"images", "keypoints_targ", "visibility"}
    assert done.batch.keys() == batch.keys()
    assert all(done.batch[name] is batch[name] for name in batch.keys() - changed)
    assert all(done.batch[name].dtype == batch[name].dtype for name in batch)
    assert done.maps.isfinite().all()

    before, after = labels_of(batch), labels_of(done.batch)
    was, now = before.isfinite().all(-1), after.isfinite().all(-1)
    assert not after.isinf().any()
    assert not (now & ~was).any()
    assert torch.equal(done.batch["visibility"].view(was.shape) > 0, now)
    found = triangulate_views(before, rig)
    enough = found.isfinite().all(-1).sum(1) >= 3
    assert not (done.is_augmented & ~enough).any()
    if kind == "spread":
        assert torch.equal(done.is_augmented, enough)
    if kind == "one view only" or share == 1.0:
        assert not done.is_augmented.any()

    same = ~done.is_augmented
    for name in changed:
        torch.testing.assert_close(
            done.batch[name][same], batch[name][same], rtol=0, atol=0, equal_nan=True
        )
    assert torch.equal(done.maps[same], torch.eye(2, 3).double().expand_as(done.maps[same]))

    moved = done.is_augmented
    is_found = found[moved].isfinite().all(-1)[:, None].expand_as(now[moved])
    projected = project_points(done.keypoints_3d, rig)[moved]
    with_image = transform(before[moved], done.maps[moved])
    for expected, chosen in ((projected, is_found), (with_image, ~is_found)):
        chosen = chosen & now[moved]
        torch.testing.assert_close(after[moved][chosen], expected[chosen], atol=2e-3, rtol=1e-6)
    assert now[moved].flatten(1).any(1).all()
    inside = transform(after, batch["affine"].double())[now & moved[:, None, None]]
    assert ((inside >= -1e-3) & (inside <= torch.tensor([64.001, 36.001]))).all()
    if kind in ("spread", "on a line"):
        again = triangulate_views(after[moved], rig)
        both = again.isfinite().all(-1)
        pose = done.keypoints_3d[moved]
        torch.testing.assert_close(again[both], pose[both], atol=1e-4, rtol=0)


def blobs(places: np.ndarray, size: tuple[int, int]) -> Tensor:
    """An image with a bright spot at each place."""
    y, x = np.mgrid[: size[0], : size[1]]
    spots = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * 1.5**2)) for a, b in places]
    return torch.tensor(250 * np.sum(spots, axis=0)).byte().expand(3, *size)


def test_the_images_move_with_the_targets() -> None:
    size = (180, 320)
    rig = random_rig(3, num_views=3)
    points = torch.tensor(
        [[[0, 0, 0], [0.3, 0, 0.05], [0, 0.3, 0], [0, 0, 0.3], [0.3, 0.3, 0], [-0.3, 0, 0.2]]]
    ).double()
    points = (2 * points).expand(6, 6, 3)
    batch = make_batch(points, rig, size)
    places = transform(labels_of(batch), batch["affine"].double()).numpy()
    batch["images"] = torch.stack(
        [torch.stack([blobs(view, size) for view in frame]) for frame in places]
    )
    done = augment_3d(batch, seed=1, step=0)
    assert done.is_augmented.all()
    targets = transform(labels_of(done.batch), batch["affine"].double())
    assert np.abs(targets.numpy() - places).max() > 10
    errors = []
    for frame in range(6):
        for view in range(3):
            image = done.batch["images"][frame, view, 0].numpy()
            for x, y in targets[frame, view].tolist():
                errors.append(distance_to_spot(image, x, y))
    # The views are not affine: a body of 1.2 units seen from 5.
    assert np.median(errors) < 0.3
    assert np.quantile(errors, 0.9) < 1.0


def distance_to_spot(image: np.ndarray, x: float, y: float) -> float:
    """How far the brightest pixel near a place, refined by its neighbours, is from it."""
    window = 5
    top, left = max(round(y) - window, 0), max(round(x) - window, 0)
    part = image[top : top + 2 * window + 1, left : left + 2 * window + 1].astype(float)
    part = np.where(part > 150, part - 150, 0)
    rows, columns = np.indices(part.shape)
    total = part.sum()
    return float(
        np.hypot((columns * part).sum() / total + left - x, (rows * part).sum() / total + top - y)
    )


def test_a_distant_body_moves_as_its_image_does_to_a_fraction_of_a_pixel() -> None:
    size = (180, 320)
    matrix = [[20000.0, 0.0, 640.0], [0.0, 20000.0, 360.0], [0.0, 0.0, 1.0]]
    turn = cv2.Rodrigues(np.array([0.0, 0.7, 0.0]))[0]
    rig = Cameras.from_opencv(
        [matrix] * 2, [np.eye(3), turn], [[0, 0, 100], [0, 0, 100]], [[0.0] * 5] * 2
    )
    generator = torch.Generator().manual_seed(0)
    points = 2 * torch.rand(4, 8, 3, generator=generator, dtype=torch.float64) - 1
    batch = make_batch(points, rig, size)
    places = transform(labels_of(batch), batch["affine"].double())
    done = augment_3d(batch, seed=2, step=0)
    assert done.is_augmented.all()
    targets = transform(labels_of(done.batch), batch["affine"].double())
    with_image = transform(transform(places, inverse_of(batch["affine"])), done.maps)
    with_image = transform(with_image, batch["affine"].double())
    assert (with_image - targets).norm(dim=-1).max() < 1.0
    batch["images"] = torch.stack(
        [torch.stack([blobs(v[:1], size) for v in frame]) for frame in places.numpy()]
    )
    images = augment_3d(batch, seed=2, step=0).batch["images"][:, :, 0].numpy()
    for frame in range(4):
        for view in range(2):
            x, y = with_image[frame, view, 0].tolist()
            assert distance_to_spot(images[frame, view], x, y) < 0.2


def inverse_of(affine: Tensor) -> Tensor:
    maps = [cv2.invertAffineTransform(m) for m in affine.double().flatten(0, 1).numpy()]
    return torch.tensor(np.stack(maps)).view(affine.shape)


def test_a_label_of_one_view_moves_with_its_image() -> None:
    rig = random_rig(4, num_views=2)
    batch = make_batch(0.3 * random_points(4, 1, 5), rig)
    hidden = torch.zeros(1, 2, 5, dtype=torch.bool)
    hidden[0, 1, 4] = True
    hide(batch, hidden)
    done = augment_3d(batch, seed=0, step=0)
    assert done.is_augmented.item()
    assert done.keypoints_3d[0, 4].isnan().all()
    before, after = labels_of(batch), labels_of(done.batch)
    expected = transform(before[0, 0, 4:], done.maps[0, 0])
    torch.testing.assert_close(after[0, 0, 4:], expected, atol=1e-3, rtol=0)
    assert after[0, 1, 4].isnan().all()


def test_a_label_that_leaves_the_image_is_taken_away() -> None:
    rig = random_rig(5, num_views=2)
    batch = make_batch(0.3 * random_points(5, 8, 5), rig)
    labels = labels_of(batch)
    low, high = labels.amin(2), labels.amax(2)
    # A crop about the animal with no room around it.
    box = torch.stack(
        [low[..., 0], low[..., 1], (high - low)[..., 1], (high - low)[..., 0]], dim=-1
    ).float()
    batch["affine"] = crop_and_resize(box, (36, 64))
    done = augment_3d(batch, seed=0, step=0, scale=(1.0, 1.0))
    assert done.is_augmented.all()
    projected = project_points(done.keypoints_3d, rig)
    corner = box[..., None, :2].double()
    extent = box[..., None, 2:].flip(-1).double()
    is_inside = ((projected >= corner) & (projected <= corner + extent)).all(-1)
    assert torch.equal(labels_of(done.batch).isfinite().all(-1), is_inside)
    assert torch.equal(done.batch["visibility"].view(8, 2, 5) == 2, is_inside)
    assert 0.2 < is_inside.double().mean() < 0.95


def test_a_point_that_would_pass_behind_a_camera_keeps_the_frame_as_it_is() -> None:
    pinhole = [[500.0, 0.0, 640.0], [0.0, 500.0, 360.0], [0.0, 0.0, 1.0]]
    rig = Cameras.from_opencv(
        [pinhole] * 2, [[0, 0, 0]] * 2, [[0, 0, 1], [-0.1, 0, 1]], [[0.0] * 5] * 2
    )
    body = torch.tensor([[[0, 0, 0], [0.01, 0, 0.1], [0, 0.01, 0.1], [0.01, 0.01, 0.2]]]).double()
    batch = make_batch(body.expand(60, 4, 3), rig)
    done = augment_3d(batch, seed=0, step=0, shift=10.0)
    # The body is at depth 1, and is shifted by up to 2 either way.
    assert 0.1 < done.is_augmented.double().mean() < 0.8
    assert (done.keypoints_3d[done.is_augmented][..., 2] > -1).all()
    assert done.batch["keypoints_targ"].isfinite().all()


def test_a_body_without_motion_stays() -> None:
    rig = random_rig(6)
    batch = make_batch(0.3 * random_points(6, 3, 5), rig)
    done = augment_3d(batch, seed=0, step=0, scale=(1.0, 1.0), shift=0.0)
    assert done.is_augmented.all()
    torch.testing.assert_close(
        done.batch["keypoints_targ"], batch["keypoints_targ"], atol=1e-3, rtol=0
    )
    still = torch.eye(2, 3).double().expand_as(done.maps)
    torch.testing.assert_close(done.maps[..., :2], still[..., :2], atol=1e-4, rtol=0)


def test_frames_hang_on_seed_step_and_their_number_alone() -> None:
    rig = random_rig(7)
    batch = make_batch(0.3 * random_points(7, 4, 5), rig)
    whole = augment_3d(batch, seed=1, step=2).keypoints_3d
    part = augment_3d({n: t[2:] if len(t) == 4 else t for n, t in batch.items()}, seed=1, step=2)
    torch.testing.assert_close(part.keypoints_3d, whole[2:], atol=1e-9, rtol=0)
    for seed, step in ((1, 3), (2, 2)):
        other = augment_3d(batch, seed=seed, step=step).keypoints_3d
        assert (other - whole).abs().amin(dim=(1, 2)).min() > 1e-4


def test_points_in_space_that_the_batch_holds_move_along() -> None:
    rig = random_rig(8)
    points = 0.3 * random_points(8, 2, 5)
    batch = make_batch(points, rig) | {"keypoints_targ_3d": points.float()}
    done = augment_3d(batch, seed=0, step=0)
    moved = done.batch["keypoints_targ_3d"].double()
    torch.testing.assert_close(moved, done.keypoints_3d, atol=1e-5, rtol=0)


def test_without_distortion_visibility_or_frames() -> None:
    rig = random_rig(9, num_coefficients=0)
    batch = make_batch(0.3 * random_points(9, 2, 5), rig)
    del batch["distortions"], batch["visibility"]
    done = augment_3d(batch, seed=0, step=0)
    assert done.is_augmented.all()
    assert "visibility" not in done.batch
    none = augment_3d(
        {n: t[:0] if n != "image_size" else t for n, t in batch.items()}, seed=0, step=0
    )
    assert none.is_augmented.shape == (0,)


def test_autocast_rounds_nothing() -> None:
    batch = make_batch(0.3 * random_points(10, 2, 5), random_rig(10))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = augment_3d(batch, seed=0, step=0)
    assert torch.equal(rounded.maps, augment_3d(batch, seed=0, step=0).maps)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"scale": (1.2, 0.8)},
            "scale must be the least and the largest factor, above 0, got (1.2, 0.8)",
        ),
        (
            {"scale": (0.0, 1.0)},
            "scale must be the least and the largest factor, above 0, got (0.0, 1.0)",
        ),
        ({"shift": -0.1}, "shift must be a share of the extent, at least 0, got -0.1"),
    ],
)
def test_ranges_that_cannot_be(arguments: dict[str, object], message: str) -> None:
    batch = make_batch(random_points(0, 1, 3), random_rig(0))
    with pytest.raises(ArgumentValueError) as caught:
        augment_3d(batch, seed=0, step=0, **arguments)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_a_batch_without_cameras() -> None:
    with pytest.raises(MissingInputError) as caught:
        augment_3d({"images": torch.zeros(1, 2, 3, 4, 4)}, seed=0, step=0)
    assert str(caught.value) == (
        "3D augmentation needs keypoints_targ, affine, index, intrinsics, extrinsics, which the "
        "batch does not hold: it has images. Cameras come from the calibration of the data; "
        "without one, turn training.imgaug_3d off."
    )


def test_keypoints_that_the_views_cannot_share() -> None:
    batch = make_batch(random_points(0, 1, 3), random_rig(0))
    batch["keypoints_targ"] = torch.zeros(1, 10)
    with pytest.raises(ShapeError) as caught:
        augment_3d(batch, seed=0, step=0)
    assert str(caught.value) == (
        "keypoints_targ must hold x and y of as many keypoints in each of 3 views, got 10 "
        "numbers a frame"
    )


@pytest.mark.gpu
def test_a_gpu_does_the_same_without_waiting() -> None:
    batch = make_batch(0.3 * random_points(0, 4, 5), random_rig(0))
    expected = augment_3d(batch, seed=0, step=0)
    on_gpu = {name: tensor.cuda() for name, tensor in batch.items()}
    augment_3d(on_gpu, seed=0, step=0)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        done = augment_3d(on_gpu, seed=0, step=0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(done.is_augmented.cpu(), expected.is_augmented)
    torch.testing.assert_close(done.maps.cpu(), expected.maps, atol=1e-9, rtol=1e-9)
