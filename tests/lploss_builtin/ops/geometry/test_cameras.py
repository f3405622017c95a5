from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from lploss.errors import ArgumentValueError, InputTypeError, LplossError, ShapeError
from lploss_builtin.ops.affine import crop_and_resize, transform
from lploss_builtin.ops.geometry import (
    Cameras,
    distort_points,
    left_one_out_error,
    pairwise_reprojection_error,
    project_points,
    triangulate_pairs,
    triangulate_views,
    undistort_points,
)
from tests.lploss_builtin.ops.geometry.rigs import (
    NUM_COEFFICIENTS,
    batched,
    random_points,
    random_rig,
)

MATRIX = [[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]]


def one_camera(
    matrix: object = MATRIX,
    rotation: object = (0.0, 0.0, 0.0),
    translation: object = (0.0, 0.0, 0.0),
    distortion: object = (),
) -> Cameras:
    return Cameras.from_opencv([matrix], [rotation], [translation], [distortion])


@pytest.mark.parametrize("seed", range(5))
def test_rodrigues_vectors_are_those_of_opencv(seed: int) -> None:
    vector = np.random.default_rng(seed).normal(size=3) * 10.0 ** (seed - 3)
    expected = cv2.Rodrigues(vector)[0]
    np.testing.assert_allclose(
        one_camera(rotation=vector).extrinsics[0, :, :3], expected, atol=1e-14
    )


def test_a_matrix_is_taken_for_a_rotation_as_it_is() -> None:
    rotation = cv2.Rodrigues(np.array([0.3, -0.2, 2.0]))[0]
    assert (one_camera(rotation=rotation).extrinsics[0, :, :3].numpy() == rotation).all()


def test_opencv_arrays_of_all_shapes_are_taken() -> None:
    flat = one_camera(np.array(MATRIX), [0.1, 0.2, 0.3], [1.0, 2.0, 3.0], [0.1, 0.2, 0.3, 0.4])
    column = one_camera(MATRIX, [[0.1], [0.2], [0.3]], [[1], [2], [3]], [[0.1, 0.2, 0.3, 0.4]])
    assert torch.equal(flat.extrinsics, column.extrinsics)
    assert flat.extrinsics[0, :, 3].tolist() == [1.0, 2.0, 3.0]
    assert flat.distortions is not None
    assert column.distortions is not None
    assert torch.equal(flat.distortions, column.distortions)


def test_cameras_are_read_in_float64() -> None:
    cameras = one_camera(np.array(MATRIX, dtype=np.float32))
    assert cameras.intrinsics.dtype == cameras.extrinsics.dtype == torch.float64


def test_fewer_coefficients_are_filled_up_with_zeros() -> None:
    cameras = Cameras.from_opencv(
        [MATRIX] * 3, [[0, 0, 0]] * 3, [[0, 0, 0]] * 3, [[0.1] * 4, None, [0.2] * 8]
    )
    assert cameras.distortions is not None
    assert cameras.distortions.tolist() == [[0.1] * 4 + [0.0] * 4, [0.0] * 8, [0.2] * 8]


def test_no_distortions_are_none() -> None:
    cameras = Cameras.from_opencv([MATRIX], [[0, 0, 0]], [[0, 0, 0]])
    assert cameras.distortions is not None
    assert cameras.distortions.shape == (1, 0)


def test_a_rig_without_cameras_is_a_rig() -> None:
    assert Cameras.from_opencv([], [], []).num_views == 0


@pytest.mark.parametrize("number", NUM_COEFFICIENTS)
def test_opencv_s_numbers_of_coefficients_are_taken(number: int) -> None:
    distortions = torch.zeros(2, number)
    assert Cameras(torch.eye(3).expand(2, 3, 3), torch.eye(3, 4).expand(2, 3, 4), distortions)


@pytest.mark.mistyped
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            [(3, 3), (3, 4)],
            "intrinsics must have axes (views, 3, 3) or (batch, views, 3, 3), got shape (3, 3)",
        ),
        (
            [(2, 3, 4), (2, 3, 4)],
            "intrinsics must have axes (views, 3, 3) or (batch, views, 3, 3), got shape (2, 3, 4)",
        ),
        (
            [(2, 3, 3), (3, 3, 4)],
            "extrinsics must have shape (2, 3, 4) to go with intrinsics of shape (2, 3, 3), got "
            "(3, 3, 4)",
        ),
        (
            [(5, 2, 3, 3), (2, 3, 4)],
            "extrinsics must have shape (5, 2, 3, 4) to go with intrinsics of shape (5, 2, 3, 3), "
            "got (2, 3, 4)",
        ),
        (
            [(2, 3, 3), (2, 3, 4), (2, 6)],
            "distortions must have shape (2,) and one of 0, 4, 5, 8, 12, 14 coefficients, as "
            "OpenCV orders them, got shape (2, 6)",
        ),
        (
            [(2, 3, 3), (2, 3, 4), (3, 5)],
            "distortions must have shape (2,) and one of 0, 4, 5, 8, 12, 14 coefficients, as "
            "OpenCV orders them, got shape (3, 5)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_refused(shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        Cameras(*map(torch.zeros, shapes))


@pytest.mark.mistyped
@pytest.mark.parametrize("what", ["intrinsics", "extrinsics", "distortions"])
def test_arrays_are_no_tensors(what: str) -> None:
    rig = random_rig(0)
    arrays = {"intrinsics": rig.intrinsics, "extrinsics": rig.extrinsics}
    arrays[what] = np.zeros((3, 4))  # type: ignore[assignment]
    message = f"^{what} must be a torch.Tensor, got ndarray. Cameras.from_opencv takes arrays and"
    with pytest.raises(InputTypeError, match=message):
        Cameras(**arrays)


@pytest.mark.parametrize("what", ["names", "image_sizes"])
def test_as_many_names_and_sizes_as_cameras_are_asked_for(what: str) -> None:
    values = {"names": ("a",), "image_sizes": ((640.0, 480.0),)}[what]
    message = f"{what} must hold one entry for each of 2 cameras, got 1"
    with pytest.raises(ArgumentValueError, match=message):
        Cameras(torch.zeros(2, 3, 3), torch.zeros(2, 3, 4), **{what: values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"matrix": [[1.0, 0.0], [0.0, 1.0]]}, r"camera 0: its matrix must be 3 x 3, got \[\[1"),
        ({"matrix": np.full((3, 3), np.nan)}, r"camera 0: its matrix must be 3 x 3, got array"),
        (
            {"matrix": np.transpose(MATRIX)},
            r"matrix must be \[\[fx, skew, cx\], \[0, fy, cy\], \[0, 0, 1\]\] with fx and fy above "
            r"0, got \[\[500\.0, 0\.0, 0\.0\]",
        ),
        ({"matrix": np.diag([-500.0, 500.0, 1.0])}, r"with fx and fy above 0, got \[\[-500"),
        ({"matrix": np.diag([500.0, 500.0, 2.0])}, r"\[0, 0, 1\]\] with fx"),
        (
            {"rotation": [0.0, 1.0]},
            r"camera 0: its rotation must be a Rodrigues vector of three numbers or a 3 x 3 "
            r"matrix, got \[0\.0, 1\.0\]",
        ),
        ({"rotation": [0.0, 1.0, np.nan]}, r"must be a Rodrigues vector"),
        (
            {"rotation": 2 * np.eye(3)},
            r"its 3 x 3 rotation is none: R R\^T must be the identity and its determinant 1, got",
        ),
        ({"rotation": -np.eye(3)}, r"its 3 x 3 rotation is none"),
        ({"translation": [1.0]}, r"its translations must hold 3 finite numbers, got \[1\.0\]"),
        ({"translation": [1.0, 2.0, np.inf]}, r"its translations must hold 3 finite numbers"),
        (
            {"distortion": [0.1] * 7},
            r"its distortions must hold 0 or 4 or 5 or 8 or 12 or 14 finite numbers, got \[0\.1",
        ),
        ({"distortion": [np.nan] * 4}, r"its distortions must hold 0 or 4"),
    ],
)
def test_arrays_that_no_camera_has_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentValueError, match=message):
        one_camera(**arguments)


@pytest.mark.parametrize("what", ["rotations", "translations", "distortions"])
def test_as_many_arrays_as_cameras_are_asked_for(what: str) -> None:
    arrays = {"rotations": [[0] * 3], "translations": [[0] * 3], "distortions": [[0] * 4]}
    arrays[what] = arrays[what] * 2
    message = f"^{what} must hold one entry for each of 1 cameras, got 2$"
    with pytest.raises(ArgumentValueError, match=message):
        Cameras.from_opencv([MATRIX], **arrays)


def test_errors_are_the_library_s_and_builtin() -> None:
    with pytest.raises(LplossError):
        one_camera(distortion=[0.1])
    with pytest.raises(ValueError, match="distortions"):
        one_camera(distortion=[0.1])


def named_rig() -> Cameras:
    rig = random_rig(0)
    return Cameras(
        rig.intrinsics, rig.extrinsics, rig.distortions, rig.image_sizes, ("top", "side", "back")
    )


def test_cameras_are_selected_in_the_order_asked_for() -> None:
    rig = named_rig()
    chosen = rig.select(["back", 0])
    assert chosen.names == ("back", "top")
    assert chosen.image_sizes is not None
    assert len(chosen.image_sizes) == 2
    seen = project_points(random_points(0), rig)
    assert torch.equal(project_points(random_points(0), chosen), seen[:, [2, 0]])


def test_cameras_of_a_batch_are_selected_too() -> None:
    chosen = batched(random_rig(0), 2).select([1])
    assert torch.equal(
        project_points(random_points(0), chosen),
        project_points(random_points(0), random_rig(0).select([1])),
    )


@pytest.mark.parametrize(
    ("rig", "view", "message"),
    [
        (
            named_rig(),
            "sied",
            "there is no camera 'sied'. Did you mean 'side'? The cameras are: top, side, back.",
        ),
        (named_rig(), 3, "there is no camera 3. The cameras are: top, side, back."),
        (random_rig(0), -1, "there is no camera -1. The cameras are: 0 to 2, without names."),
        (random_rig(0), "a", "there is no camera 'a'. The cameras are: 0 to 2, without names."),
    ],
)
def test_a_camera_that_is_not_there_is_named(rig: Cameras, view: str | int, message: str) -> None:
    with pytest.raises(ArgumentValueError, match=f"^{re.escape(message)}$"):
        rig.select([view])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda rig: pickle.loads(pickle.dumps(rig))])
def test_copies_see_the_same(copied: object) -> None:
    rig = named_rig()
    other = copied(rig)  # type: ignore[operator]
    assert other.names == rig.names
    assert other.image_sizes == rig.image_sizes
    points = random_points(1)
    assert torch.equal(project_points(points, other), project_points(points, rig))


def test_cameras_are_moved_to_a_precision_and_a_device() -> None:
    rig = named_rig().to("meta", torch.float32)
    tensors = (rig.intrinsics, rig.extrinsics, rig.distortions)
    assert all(tensor is not None and tensor.is_meta for tensor in tensors)
    assert all(tensor is not None and tensor.dtype == torch.float32 for tensor in tensors)
    assert rig.names == named_rig().names


@pytest.mark.parametrize("skew", [0.0, 7.0])
def test_new_pixels_are_those_of_the_old_ones_mapped(skew: float) -> None:
    rig = random_rig(2, skew=skew)
    generator = torch.Generator().manual_seed(0)
    # Any affine map without rotation, which an upper triangular camera matrix can hold.
    affine = torch.rand(2, 3, 2, 3, generator=generator, dtype=torch.float64) + 0.5
    affine[..., 1, 0] = 0.0
    affine[..., 2] *= 100
    points = random_points(2)
    expected = transform(project_points(points, rig), affine)
    seen = project_points(points, rig.with_pixels_of(affine))
    torch.testing.assert_close(seen, expected, atol=1e-10, rtol=0)


def test_cropped_images_have_cameras_of_their_own_in_a_batch() -> None:
    rig = named_rig()
    boxes = torch.tensor([100.0, 50.0, 300.0, 400.0]).repeat(4, 3, 1)
    cropped = rig.with_pixels_of(crop_and_resize(boxes, (256.0, 256.0)))
    assert cropped.intrinsics.shape == (4, 3, 3, 3)
    assert cropped.intrinsics.dtype == torch.float64
    assert cropped.image_sizes is None
    assert cropped.names == rig.names


def test_autocast_does_not_round_new_pixels() -> None:
    rig = named_rig().to(torch.float32)
    half = crop_and_resize(torch.tensor([[3.0, 7.0, 480.0, 640.0]] * 3), (240.0, 320.0))
    expected = rig.with_pixels_of(half).intrinsics
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(rig.with_pixels_of(half).intrinsics, expected)


def test_after_an_affine_map_that_rotates_nothing_is_seen() -> None:
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]).expand(3, 2, 3)
    turned = named_rig().with_pixels_of(turn)
    assert turned.intrinsics.isnan().all()
    assert project_points(torch.zeros(1, 1, 3), turned).isnan().all()


def test_pixels_are_changed_without_asking_the_device() -> None:
    rig = named_rig().to("meta")
    half = crop_and_resize(torch.zeros(3, 4, device="meta"), torch.zeros(2, device="meta"))
    assert rig.with_pixels_of(half).intrinsics.shape == (3, 3, 3)


SEEN = torch.zeros(2, 3, 4, 2)


@pytest.mark.mistyped
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rig: triangulate_views(SEEN.long(), rig), "must hold floating-point"),
        (lambda rig: triangulate_pairs(SEEN[:, :1], rig), r"\(batch, 3, num_keypoints, 2\)"),
        (lambda rig: undistort_points(SEEN[0], rig), r"got shape \(3, 4, 2\)"),
        (lambda rig: distort_points(SEEN[..., :1], rig), r"got shape \(2, 3, 4, 1\)"),
        (lambda rig: project_points(SEEN[0], rig), r"\(batch, num_keypoints, 3\)"),
        (lambda rig: triangulate_views(SEEN, rig, SEEN[:1, ..., 0]), "weights must have shape"),
        (lambda rig: left_one_out_error(SEEN, batched(rig, 5)), "batch of 5, points one of 2"),
    ],
)
def test_points_that_do_not_fit_the_cameras_are_refused(
    call: Callable[[Cameras], Tensor], message: str
) -> None:
    with pytest.raises(LplossError, match=message):
        call(random_rig(0, 3))


@pytest.mark.parametrize("function", [left_one_out_error, pairwise_reprojection_error])
@pytest.mark.parametrize("num_views", [1, 2])
def test_errors_between_too_few_views_are_none_at_all(
    function: Callable[[Tensor, Cameras], Tensor], num_views: int
) -> None:
    rig = random_rig(0, num_views)
    points = project_points(random_points(0), rig).requires_grad_()
    found = function(points, rig)
    assert found.shape == (
        (2, num_views, 5) if function is left_one_out_error else (2, num_views - 1, 2, 5)
    )
    assert found.isnan().all() or num_views == 2
    found.nansum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()


@pytest.mark.mistyped
@pytest.mark.parametrize(
    "change",
    [
        {"camera_matrices": 5},
        {"camera_matrices": ["a"]},
        {"rotations": [[1, [2], 3]]},
        {"image_sizes": [(640, 480, 3)]},
        {"image_sizes": [(-640, 480)]},
        {"distortions": [["k1"]]},
    ],
)
def test_arrays_that_are_none_are_refused(change: dict[str, object]) -> None:
    given = {
        "camera_matrices": [[[500, 0, 320], [0, 500, 240], [0, 0, 1]]],
        "rotations": [[0, 0, 0]],
        "translations": [[0, 0, 0]],
    }
    with pytest.raises(ArgumentValueError, match=r"must (be|hold) .*, got"):
        Cameras.from_opencv(**{**given, **change})


def test_names_of_cameras_differ() -> None:
    rig = random_rig(0, 2)
    with pytest.raises(ArgumentValueError, match="names must differ, got a, a"):
        Cameras(rig.intrinsics, rig.extrinsics, names=("a", "a"))


def test_cameras_say_what_they_are() -> None:
    assert repr(named_rig()) == "<Cameras top, side, back: shape (3,), torch.float64>"
    assert repr(batched(random_rig(0), 2)) == "<Cameras: shape (2, 3), torch.float64>"
