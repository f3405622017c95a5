"""Batches that the kit draws."""

from __future__ import annotations

import importlib.metadata
import math
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

import lploss
from lploss import Loss, Registry
from lploss.axes import Axes
from lploss.errors import LossDefinitionError, PluginError
from lploss.testing import check_loss, random_arrays
from lploss.testing.batches import (
    GENERIC,
    Example,
    Gaps,
    Likeness,
    Wish,
    axis_sizes,
    shape_of,
)
from lploss.testing.subject import Subject
from tests.conftest import Site
from tests.lploss.testing.drawing import examples_of, values_of

ANYWHERE = Wish(likenesses=(Likeness.ANYWHERE,), gaps=(Gaps.NONE,))
BUILT_IN = [
    name
    for name in lploss.list_losses()
    if lploss.load_loss(name).__module__.startswith("lploss_builtin")
]


class Scene(Loss):
    """Names cameras, points in space, and points in their images."""

    loss_name, kind = "scene", "supervised"

    def compute_loss(
        self,
        keypoints_pred: Float[Tensor, "batch two_x_views_x_num_keypoints"],
        keypoints_targ_3d: Float[Tensor, "batch num_keypoints 3"],
        intrinsics: Float[Tensor, "batch views 3 3"],
        extrinsics: Float[Tensor, "batch views 3 4"],
        distortions: Float[Tensor, "batch views num_coefficients"] | None = None,
    ) -> Float[Tensor, "batch num_keypoints"]:
        return keypoints_targ_3d.sum(dim=2)


class Pair(Loss):
    """Two inputs that nobody describes."""

    loss_name, kind = "pair", "unsupervised"

    def compute_loss(
        self, forces: Float[Tensor, "batch limbs 3"], torques: Float[Tensor, "batch limbs 3"]
    ) -> Float[Tensor, "batch limbs"]:
        return (forces - torques).norm(dim=2)


class Bare(Loss):
    """An input without axes."""

    loss_name, kind = "bare", "unsupervised"

    def compute_loss(self, forces):
        return forces.abs()


class Muscles(Loss):
    """An input that its author describes, and one that is drawn by default."""

    loss_name, kind = "muscles", "unsupervised"

    def compute_loss(self, muscles_pred, keypoints_pred):
        return muscles_pred.abs()


# ---------------------------------------------------------------- sizes and presence


def axes(text: str) -> Axes:
    found = Axes.parse(text)
    assert found is not None
    return found


def test_each_name_has_one_size_and_all_its_sizes_come_up() -> None:
    drawn = values_of(axis_sizes([axes("batch two_x_num_keypoints"), axes("batch views")], {}))
    assert all(set(sizes) == {"batch", "num_keypoints", "views"} for sizes in drawn)
    assert {sizes["batch"] for sizes in drawn} == {1, 2, 3, 4, 5}
    assert {sizes["num_keypoints"] for sizes in drawn} == {1, 2, 3, 4}
    assert {sizes["views"] for sizes in drawn} == {2, 3}


def test_height_and_width_of_a_map_are_drawn_apart() -> None:
    drawn = values_of(axis_sizes([axes("heatmap_height heatmap_width")], {}))
    found = {(sizes["heatmap_height"], sizes["heatmap_width"]) for sizes in drawn}
    assert found == {(height, width) for height in (1, 3, 5) for width in (2, 3, 4)}


def test_a_lens_has_as_many_coefficients_as_opencv_knows() -> None:
    drawn = values_of(axis_sizes([axes("views num_coefficients")], {}))
    assert {sizes["num_coefficients"] for sizes in drawn} == {0, 4, 5, 8}


def test_an_axis_that_nobody_knows_is_short() -> None:
    drawn = values_of(axis_sizes([axes("limbs")], {}))
    assert {sizes["limbs"] for sizes in drawn} == {1, 2, 3, 4}


def test_pairs_of_cameras_follow_from_the_views() -> None:
    drawn = values_of(axis_sizes([axes("batch cam_pairs num_keypoints 3")], {}))
    assert {(sizes["views"], sizes["cam_pairs"]) for sizes in drawn} == {(2, 1), (3, 3)}
    assert values_of(axis_sizes([axes("cam_pairs")], {"views": 4})) == [
        {"views": 4, "cam_pairs": 6}
    ]


@pytest.mark.parametrize("typical", [False, True])
def test_sizes_that_are_given_are_kept(typical: bool) -> None:
    of_input = [axes("batch two_x_num_keypoints")]
    drawn = values_of(axis_sizes(of_input, {"batch": 0, "num_keypoints": 17}, typical=typical))
    assert drawn
    assert all(sizes == {"batch": 0, "num_keypoints": 17} for sizes in drawn)


def test_a_given_size_of_an_axis_that_no_input_has_is_left_out() -> None:
    assert values_of(axis_sizes([axes("batch")], {"batch": 2, "num_keypoints": 4})) == [
        {"batch": 2}
    ]


def test_typical_sizes_are_always_the_same() -> None:
    of_inputs = [axes("batch cam_pairs num_keypoints"), axes("heatmap_height heatmap_width limbs")]
    expected = {
        "batch": 4,
        "cam_pairs": 3,
        "heatmap_height": 3,
        "heatmap_width": 4,
        "limbs": 3,
        "num_keypoints": 3,
        "views": 3,
    }
    drawn = values_of(axis_sizes(of_inputs, {}, typical=True))
    assert drawn
    assert all(sizes == expected for sizes in drawn)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("batch two_x_num_keypoints", (4, 6)),
        ("batch views_x_num_keypoints 2", (4, 6, 2)),
        ("batch two_x_views_x_num_keypoints", (4, 12)),
        ("batch cam_pairs 3 4", (4, 1, 3, 4)),
        ("batch _", (4, 3)),
        ("2", (2,)),
        ("", ()),
    ],
)
def test_a_shape_is_made_of_factors(text: str, expected: tuple[int, ...]) -> None:
    sizes = {"batch": 4, "num_keypoints": 3, "views": 2, "cam_pairs": 1}
    assert shape_of(axes(text), sizes) == expected


@pytest.mark.parametrize("name", BUILT_IN)
def test_axes_of_one_name_have_one_size_across_inputs(name: str) -> None:
    loss = Subject.of(name).built()
    for example in examples_of(name, number=12):
        sizes = dict(loss.axis_sizes)
        for of_input in example.batch:
            axes = example.inputs[of_input].axes
            axes.check(name, of_input, example.batch[of_input], sizes)
        for axis, size in sizes.items():
            assert math.prod(example.sizes[factor] for factor in axis.split("_x_")) == size


def test_sizes_that_a_loss_demands_are_kept() -> None:
    for example in examples_of("pca_singleview"):
        assert example.sizes["num_keypoints"] == 4
        assert example.batch["keypoints_pred"].shape[1] == 8


def test_sizes_that_a_check_wants_are_kept() -> None:
    shapes = {
        tuple(example.batch["confidences"].shape)
        for example in examples_of("temporal", Wish(sizes={"batch": 0}, optional=True))
    }
    assert shapes == {(0, 1), (0, 2), (0, 3), (0, 4)}
    typical = examples_of("temporal", Wish(typical=True), number=5)
    assert {tuple(example.batch["keypoints_pred"].shape) for example in typical} == {(5, 6)}


def test_optional_inputs_are_there_now_and_then_or_as_wanted() -> None:
    def there(optional: bool | None) -> set[bool]:
        return {
            "confidences" in example.batch
            for example in examples_of("temporal", Wish(optional=optional))
        }

    assert there(None) == {True, False}
    assert there(True) == {True}
    assert there(False) == {False}


def test_inputs_stand_in_the_order_of_the_loss_in_single_precision() -> None:
    for example in examples_of(Scene, Wish(optional=True), number=10):
        assert list(example.batch) == list(Scene.inputs)
        assert {value.dtype for value in example.batch.values()} == {torch.float32}


def test_the_same_seed_draws_the_same_examples() -> None:
    first, second = (examples_of("temporal", seed=3) for _ in range(2))
    assert len(first) == len(second) == 40
    for one, other in zip(first, second, strict=True):
        assert list(one.batch) == list(other.batch)
        for name, value in one.batch.items():
            torch.testing.assert_close(other.batch[name], value, rtol=0, atol=0, equal_nan=True)
    other_seed = examples_of("temporal", seed=4)
    assert any(
        one.batch["keypoints_pred"].shape != other.batch["keypoints_pred"].shape
        or not torch.equal(one.batch["keypoints_pred"], other.batch["keypoints_pred"])
        for one, other in zip(first, other_seed, strict=True)
    )


# ---------------------------------------------------------------- what is drawn


def test_heatmaps_are_distributions() -> None:
    wish = Wish(gaps=(Gaps.NONE,))
    for name in ("heatmap_mse", "temporal_heatmap_kl", "supervised_reprojection_heatmap_mse"):
        for example in examples_of(name, wish, number=15):
            for of_input, value in example.batch.items():
                if of_input.startswith("heatmaps"):
                    assert value.min() >= 0
                    torch.testing.assert_close(value.sum(dim=(2, 3)), torch.ones(value.shape[:2]))


def test_confidences_go_from_0_to_1() -> None:
    examples = examples_of("temporal", Wish(gaps=(Gaps.NONE,), optional=True))
    drawn = torch.cat([example.batch["confidences"].flatten() for example in examples])
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert drawn.min() < 0.05
    assert drawn.max() > 0.95


def test_keypoints_lie_in_an_image() -> None:
    examples = examples_of("temporal", ANYWHERE)
    drawn = torch.cat([example.batch["keypoints_pred"].flatten() for example in examples])
    assert 0 <= drawn.min() < 5
    assert 250 < drawn.max() <= 256


def seen(example: Example) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what the cameras of a scene see of its points, without their lenses, and depths."""
    points, intrinsics, extrinsics = (
        example.batch[name].double().numpy()
        for name in ("keypoints_targ_3d", "intrinsics", "extrinsics")
    )
    rotations, translations = extrinsics[..., :3], extrinsics[..., 3]
    there = np.einsum("bvij,bkj->bvki", rotations, points) + translations[:, :, None]
    focal = intrinsics[:, :, [0, 1], [0, 1]]
    centre = intrinsics[:, :, [0, 1], [2, 2]]
    flat = there[..., :2] / there[..., 2:]
    return flat * focal[:, :, None] + centre[:, :, None], there[..., 2]


def test_cameras_look_at_the_scene() -> None:
    examples = examples_of(Scene, ANYWHERE, number=40)
    assert {example.sizes["views"] for example in examples} == {2, 3}
    for example in examples:
        pixels, depths = seen(example)
        assert depths.min() >= 4.0 - 1e-3
        assert pixels.min() >= 0.0
        assert pixels.max() <= 256.0


def test_every_camera_sees_the_whole_ball_in_which_points_lie() -> None:
    for example in examples_of(Scene, ANYWHERE, number=40):
        directions = np.random.default_rng(0).normal(
            size=(len(example.batch["intrinsics"]), 500, 3)
        )
        ball = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
        full = example.with_batch({**example.batch, "keypoints_targ_3d": torch.from_numpy(ball)})
        pixels, _ = seen(full)
        assert pixels.min() >= 0.0
        assert pixels.max() <= 256.0
        points = example.batch["keypoints_targ_3d"]
        assert points.norm(dim=-1).max() <= 1.001


def test_rotations_are_orthonormal_and_cameras_differ() -> None:
    for example in examples_of(Scene, ANYWHERE):
        rotations = example.batch["extrinsics"][..., :3].double()
        identity = torch.eye(3, dtype=torch.float64).expand_as(rotations)
        torch.testing.assert_close(rotations @ rotations.mT, identity, rtol=0, atol=1e-6)
        torch.testing.assert_close(
            torch.linalg.det(rotations), torch.ones(rotations.shape[:2], dtype=torch.float64)
        )
        axes_of_view = rotations[:, :, 2]
        cosines = axes_of_view @ axes_of_view.mT - torch.eye(rotations.shape[1]) * 2
        assert cosines.max() < 0.9999


def test_camera_matrices_are_upper_triangular_and_lenses_gentle() -> None:
    for example in examples_of(Scene, Wish(optional=True), number=20):
        matrices = example.batch["intrinsics"]
        torch.testing.assert_close(matrices, matrices.triu())
        assert (matrices[..., 2, 2] == 1).all()
        lens = example.batch["distortions"]
        assert lens.shape[2] in (0, 4, 5, 8)
        assert (lens.abs() <= 0.02).all()


@pytest.mark.parametrize("optional", [False, True])
def test_views_see_the_same_points(optional: bool) -> None:
    """Pairs of views then triangulate: what they see lies on a common point, up to 1 px or so."""
    wish = Wish(likenesses=(Likeness.ANYWHERE,), gaps=(Gaps.NONE,), optional=optional)
    for example in examples_of(Scene, wish, number=30):
        batch = {name: value.double().numpy() for name, value in example.batch.items()}
        num_frames, num_views = batch["intrinsics"].shape[:2]
        points = batch["keypoints_pred"].reshape(num_frames, num_views, -1, 2)
        for frame in range(num_frames):
            for keypoint in range(points.shape[2]):
                # Each pixel leaves two planes; the point is where all planes of all views meet.
                planes = []
                for view in range(num_views):
                    matrix = batch["intrinsics"][frame, view] @ batch["extrinsics"][frame, view]
                    x, y = points[frame, view, keypoint]
                    planes += [x * matrix[2] - matrix[0], y * matrix[2] - matrix[1]]
                stacked = np.stack([plane / np.linalg.norm(plane[:3]) for plane in planes])
                point, *_ = np.linalg.lstsq(stacked[:, :3], -stacked[:, 3], rcond=None)
                distances = stacked[:, :3] @ point + stacked[:, 3]
                assert np.abs(distances).max() < 0.1  # of a ball of radius 1


def test_image_sizes_and_crops_are_positive() -> None:
    class Crops(Loss):
        loss_name, kind = "crops", "unsupervised"

        def compute_loss(
            self,
            bbox: Float[Tensor, "batch views_x_4"],
            image_size: Float[Tensor, "2"],
            visibility: Float[Tensor, "batch num_keypoints"],
        ) -> Float[Tensor, "batch num_keypoints"]:
            return visibility

    examples = examples_of(Crops)
    for example in examples:
        crops = example.batch["bbox"].unflatten(1, (-1, 4))
        assert (crops[..., :2] >= 0).all()
        assert (crops[..., 2:] >= 128).all()
        assert example.batch["image_size"].shape == (2,)
        assert set(example.batch["image_size"].tolist()) <= {16.0, 24.0}
    drawn = torch.cat([example.batch["visibility"].flatten() for example in examples])
    assert set(drawn.tolist()) == {0.0, 1.0, 2.0}


# ---------------------------------------------------------------- likenesses


def of_likeness(likeness: Likeness, loss: str = "regression") -> list[Example]:
    return examples_of(loss, Wish(likenesses=(likeness,), gaps=(Gaps.NONE,)), number=30)


def test_predictions_may_equal_their_targets() -> None:
    for example in of_likeness(Likeness.EXACT):
        assert torch.equal(example.batch["keypoints_pred"], example.batch["keypoints_targ"])
    for example in of_likeness(Likeness.EXACT, "heatmap_kl"):
        assert torch.equal(example.batch["heatmaps_pred"], example.batch["heatmaps_targ"])


def test_predictions_of_each_pair_of_views_may_equal_the_one_target() -> None:
    for example in of_likeness(Likeness.EXACT, "supervised_pairwise_projections"):
        pred, targ = example.batch["keypoints_pred_3d"], example.batch["keypoints_targ_3d"]
        assert pred.shape == (len(targ), example.sizes["cam_pairs"], *targ.shape[1:])
        assert torch.equal(pred, targ[:, None].expand_as(pred))


def test_predictions_may_lie_near_their_targets_or_far_away() -> None:
    for example in of_likeness(Likeness.NEAR):
        distance = (example.batch["keypoints_pred"] - example.batch["keypoints_targ"]).abs()
        assert distance.max() <= 2.56 + 0.1
    far = of_likeness(Likeness.FAR)
    farthest = [
        (example.batch["keypoints_pred"] - example.batch["keypoints_targ"]).abs().max().item()
        for example in far
    ]
    assert max(farthest) > 5000
    for example in of_likeness(Likeness.FAR, "heatmap_mse"):  # what sums to 1 has no far
        assert (example.batch["heatmaps_pred"] > 0).all()


def test_predictions_may_stand_still() -> None:
    for loss, name in (("temporal", "keypoints_pred"), ("temporal_heatmap_mse", "heatmaps_pred")):
        for example in of_likeness(Likeness.STILL, loss):
            value = example.batch[name]
            assert torch.equal(value, value[:1].expand_as(value))


def test_all_keypoints_of_a_prediction_may_lie_at_one_place() -> None:
    for loss, name in (
        ("temporal", "keypoints_pred"),
        ("supervised_pairwise_projections", "keypoints_pred_3d"),
    ):
        for example in of_likeness(Likeness.COLLAPSED, loss):
            value = example.batch[name]
            points = value.unflatten(-1, (-1, 2)) if value.ndim == 2 else value
            assert torch.equal(points, points[..., :1, :].expand_as(points))


def test_a_map_may_lie_in_one_pixel() -> None:
    for example in of_likeness(Likeness.COLLAPSED, "temporal_heatmap_kl"):
        maps = example.batch["heatmaps_pred"].flatten(2)
        assert ((maps > 0).sum(dim=2) == 1).all()
        torch.testing.assert_close(maps.sum(dim=2), torch.ones(maps.shape[:2]))


def test_an_empty_batch_has_all_likenesses() -> None:
    for likeness in Likeness:
        wish = Wish(likenesses=(likeness,), sizes={"batch": 0})
        for example in examples_of("supervised_pairwise_projections", wish, number=5):
            assert {len(value) for value in example.batch.values()} == {0}


# ---------------------------------------------------------------- gaps


def with_gaps(gaps: Gaps, loss: str = "regression") -> list[Example]:
    return examples_of(loss, Wish(likenesses=(Likeness.ANYWHERE,), gaps=(gaps,)), number=30)


def test_by_default_some_targets_have_gaps_and_some_have_none() -> None:
    gaps = [example.batch["keypoints_targ"].isnan() for example in examples_of("regression")]
    assert any(mask.all() for mask in gaps)
    assert any(mask.any() and not mask.all() for mask in gaps)
    assert any(not mask.any() for mask in gaps)


def test_gaps_may_be_points_coordinates_samples_or_all() -> None:
    for example in with_gaps(Gaps.ITEMS):
        gaps = example.batch["keypoints_targ"].isnan().unflatten(1, (-1, 2))
        assert torch.equal(gaps[..., 0], gaps[..., 1])
    halves = [
        example.batch["keypoints_targ"].isnan().unflatten(1, (-1, 2))
        for example in with_gaps(Gaps.COORDINATES)
    ]
    assert any((half[..., 0] != half[..., 1]).any() for half in halves)
    for example in with_gaps(Gaps.SAMPLES):
        gaps = example.batch["keypoints_targ"].isnan()
        assert torch.equal(gaps.all(dim=1), gaps.any(dim=1))
    for example in with_gaps(Gaps.ALL):
        assert example.batch["keypoints_targ"].isnan().all()
    for example in with_gaps(Gaps.NONE):
        assert example.batch["keypoints_targ"].isfinite().all()


def test_a_map_that_is_not_labelled_is_zero_everywhere() -> None:
    found = set()
    for example in with_gaps(Gaps.ITEMS, "heatmap_mse"):
        assert example.batch["heatmaps_targ"].isfinite().all()
        is_zero = example.batch["heatmaps_targ"] == 0
        assert torch.equal(is_zero.all(dim=(2, 3)), is_zero.any(dim=2).any(dim=2))
        found |= set(is_zero.flatten().tolist())
    assert found == {True, False}


def test_what_is_never_missing_has_no_gaps() -> None:
    for example in examples_of(Scene, Wish(gaps=(Gaps.ALL,), optional=True), number=10):
        for name in ("intrinsics", "extrinsics", "distortions"):
            assert example.batch[name].isfinite().all()
        assert example.batch["keypoints_targ_3d"].isnan().all()


def test_inputs_have_their_gaps_apart() -> None:
    examples = with_gaps(Gaps.ITEMS)
    assert any(
        not torch.equal(
            example.batch["keypoints_targ"].isnan(), example.batch["keypoints_pred"].isnan()
        )
        for example in examples
    )


# ---------------------------------------------------------------- precision


def test_coordinates_have_few_decimals_so_that_an_example_can_be_read() -> None:
    for example in examples_of("regression", GENERIC, number=10):
        scaled = example.batch["keypoints_targ"].double() * 1000
        torch.testing.assert_close(scaled, scaled.round(), rtol=0, atol=0.02)


def test_random_arrays_of_one_seed_differ_between_inputs() -> None:
    for example in examples_of(Pair):
        assert not torch.equal(example.batch["forces"], example.batch["torques"])


def test_random_arrays_are_made_from_a_generator() -> None:
    drawn = values_of(random_arrays(lambda random: random.uniform(2.0, 3.0, size=(2, 3))), 5)
    assert all(value.shape == (2, 3) for value in drawn)
    assert all(2 <= value.min() <= value.max() < 3 for value in drawn)
    assert len({value.tobytes() for value in drawn}) == 5


# ---------------------------------------------------------------- inputs of others


def test_an_input_is_drawn_from_its_axes_alone() -> None:
    examples = examples_of(Pair, ANYWHERE)
    values = torch.cat([example.batch["forces"].flatten() for example in examples])
    assert values.isfinite().all()
    assert values.min() < -3
    assert values.max() > 3
    for example in examples:
        shape = (example.sizes["batch"], example.sizes["limbs"], 3)
        assert example.batch["forces"].shape == example.batch["torques"].shape == shape


def test_an_input_with_neither_axes_nor_spec_cannot_be_drawn() -> None:
    with pytest.raises(LossDefinitionError) as caught:
        Subject.of(Bare).inputs()
    assert str(caught.value) == (
        "loss 'bare': nothing says which axes 'forces' has, so no example can be drawn. Annotate "
        'the parameter of compute_loss, e.g. forces: Float[Tensor, "batch num_keypoints"], or '
        "describe the input by an InputSpec."
    )


MANIFEST = """
    from lploss import InputSpec, hookimpl

    @hookimpl
    def lploss_inputs():
        return [
            InputSpec(
                "muscles_pred",
                "batch num_keypoints",
                "N",
                "pull of each muscle",
                missing=None,
                strategy={strategy!r},
            )
        ]
"""

STRATEGIES = """
    import numpy as np

    from lploss.testing import random_arrays

    def muscles(shape, sizes, keypoints_pred=None):
        assert shape == (sizes["batch"], sizes["num_keypoints"])
        if keypoints_pred is None:
            return random_arrays(lambda random: random.uniform(5.0, 6.0, size=shape))
        return random_arrays(lambda random: keypoints_pred[:, ::2] + 1000.0)

    def wrong(shape):
        return random_arrays(lambda random: np.zeros((*shape, 2)))

    def impossible(shape):
        return random_arrays(lambda random: len(shape) / 0)

    def greedy(shape, masses):
        return random_arrays(lambda random: masses)
"""


@pytest.fixture
def muscles(site: Site) -> Callable[[str], Registry]:
    """A distribution that describes the input ``muscles_pred``, beside the built-in ones."""

    def make(strategy: str) -> Registry:
        modules = {
            "anatomy_manifest": MANIFEST.format(strategy=strategy),
            "anatomy_strategies": STRATEGIES,
        }
        site.install("anatomy", {"anatomy": "anatomy_manifest"}, modules)
        found = importlib.metadata.distributions(path=[str(site.folder)])
        return Registry([*found, importlib.metadata.distribution("lploss")])

    return make


class MusclesAlone(Loss):
    loss_name, kind = "muscles_alone", "unsupervised"

    def compute_loss(self, muscles_pred):
        return muscles_pred.abs()


def test_an_author_may_say_how_an_input_is_drawn(muscles: Callable[[str], Registry]) -> None:
    registry = muscles("anatomy_strategies:muscles")
    for example in examples_of(MusclesAlone, ANYWHERE, registry=registry):
        value = example.batch["muscles_pred"]
        assert value.shape == (example.sizes["batch"], example.sizes["num_keypoints"])
        assert 5.0 <= value.min() <= value.max() <= 6.0


def test_an_input_may_depend_on_another_one(muscles: Callable[[str], Registry]) -> None:
    registry = muscles("anatomy_strategies:muscles")
    for example in examples_of(Muscles, ANYWHERE, registry=registry):
        expected = example.batch["keypoints_pred"][:, ::2] + 1000.0
        # Coordinates are rounded after all inputs were drawn.
        torch.testing.assert_close(example.batch["muscles_pred"], expected, rtol=0, atol=0.051)


def test_a_strategy_of_the_wrong_shape_is_an_error(muscles: Callable[[str], Registry]) -> None:
    registry = muscles("anatomy_strategies:wrong")
    with pytest.raises(PluginError) as caught:
        examples_of(MusclesAlone, Wish(typical=True), registry=registry)
    assert str(caught.value) == (
        "the strategy of the input 'muscles_pred' of anatomy must draw arrays of shape (4, 3) "
        "(batch num_keypoints), it drew one of shape (4, 3, 2)"
    )


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        ("anatomy_strategies:muscels", "AttributeError: module 'anatomy_strategies' has no "),
        ("anatomy_strategy:muscles", "ModuleNotFoundError: No module named 'anatomy_strategy'"),
    ],
)
def test_a_strategy_that_cannot_be_imported_is_an_error(
    muscles: Callable[[str], Registry], strategy: str, reason: str
) -> None:
    of_input = Subject.of(MusclesAlone, muscles(strategy)).inputs()["muscles_pred"]
    with pytest.raises(PluginError) as caught:
        of_input.strategy()
    assert str(caught.value).startswith(
        f"the strategy {strategy} of the input 'muscles_pred' of anatomy cannot be loaded: {reason}"
    )


def test_a_strategy_that_draws_nothing_is_told_before_any_check(
    muscles: Callable[[str], Registry],
) -> None:
    with pytest.raises(PluginError, match=r"must draw arrays of shape \("):
        check_loss(Subject.of(MusclesAlone, muscles("anatomy_strategies:wrong")))


def test_an_error_of_a_strategy_is_told_with_its_line(muscles: Callable[[str], Registry]) -> None:
    with pytest.raises(PluginError) as caught:
        check_loss(Subject.of(MusclesAlone, muscles("anatomy_strategies:impossible")))
    assert re.fullmatch(
        r"no example can be drawn for the loss 'muscles_alone': ZeroDivisionError: division by "
        r"zero\n  in anatomy_strategies\.py, line \d+: .*len\(shape\) / 0\)",
        str(caught.value),
    )


def test_a_strategy_that_wants_what_is_not_there_is_told(
    muscles: Callable[[str], Registry],
) -> None:
    with pytest.raises(PluginError) as caught:
        check_loss(Subject.of(MusclesAlone, muscles("anatomy_strategies:greedy")))
    assert str(caught.value) == (
        "no example can be drawn for the loss 'muscles_alone': TypeError: greedy() missing 1 "
        "required positional argument: 'masses'"
    )


# ---------------------------------------------------------------- examples


def test_an_example_can_be_mapped_cast_and_cut() -> None:
    class Sized(Loss):
        loss_name, kind = "sized", "unsupervised"

        def compute_loss(
            self,
            keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"],
            image_size: Float[Tensor, "2"],
        ) -> Float[Tensor, "batch two_x_num_keypoints"]:
            return keypoints_pred

    (example,) = examples_of(Sized, Wish(sizes={"batch": 5}, gaps=(Gaps.NONE,)), number=1)
    cut = example.frames(1, 3)
    assert torch.equal(cut.batch["keypoints_pred"], example.batch["keypoints_pred"][1:3])
    assert torch.equal(cut.batch["image_size"], example.batch["image_size"])
    assert {value.dtype for value in example.to(torch.float64).batch.values()} == {torch.float64}
    assert {value.dtype for value in example.batch.values()} == {torch.float32}
    doubled = example.map(lambda of_input, value: 2 * value if of_input.coordinates else value)
    assert torch.equal(doubled.batch["keypoints_pred"], 2 * example.batch["keypoints_pred"])
    assert torch.equal(doubled.batch["image_size"], example.batch["image_size"])
    assert isinstance(random_arrays(lambda random: random.normal(size=1)), st.SearchStrategy)
