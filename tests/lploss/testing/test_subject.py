"""What a loss under test may be given as."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

import lploss
from lploss import Loss, Registry
from lploss.errors import (
    ArgumentError,
    ArgumentValueError,
    LossDefinitionError,
    UnknownLossError,
)
from lploss.testing.subject import Subject
from lploss_builtin.losses.heatmap import HeatmapMSELoss
from lploss_builtin.losses.pca import PCALoss
from lploss_builtin.losses.temporal import TemporalLoss
from tests.conftest import Site


class Drift(Loss):
    """A loss that no plugin provides."""

    loss_name, kind = "drift", "unsupervised"

    def compute_loss(
        self, keypoints_pred: Float[Tensor, "batch two_x_num_keypoints"]
    ) -> Float[Tensor, "batch two_x_num_keypoints"]:
        return keypoints_pred.abs()


class Bones(Loss):
    """A loss whose constructor has an argument that must be given."""

    loss_name, kind = "bones", "unsupervised"

    def __init__(self, lengths, *, epsilon=0.0, log_weight=0.0):
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.register_buffer("lengths", torch.as_tensor(lengths))

    def compute_loss(self, keypoints_pred):
        return (keypoints_pred - self.lengths).abs()


class KnownBones(Bones):
    """The same, with an example."""

    loss_name = "known_bones"

    @classmethod
    def example(cls, name, /, **params):
        return cls(**{"lengths": [3.0, 4.0], **params})


class Unnamed(Loss):
    """An abstract class, without a name."""


def a_drift() -> Loss:
    return Drift(epsilon=2.0)


def built_by(code: tuple[str, ...]) -> Loss:
    namespace: dict[str, object] = {}
    exec("\n".join(code), namespace)
    loss = namespace["loss"]
    assert isinstance(loss, Loss)
    return loss


# ---------------------------------------------------------------- what stands for a loss


@pytest.mark.parametrize("name", ["temporal", "lploss/temporal"])
def test_a_name(name: str) -> None:
    subject = Subject.of(name)
    assert (subject.name, subject.cls) == (name, TemporalLoss)
    assert subject.entry is not None
    assert subject.entry.qualified_name == "lploss/temporal"
    assert subject.built().loss_name == "temporal"
    assert subject.build(epsilon=3.0).epsilon.item() == 3.0
    assert subject.code == (
        "import lploss",
        "loss = lploss.load_loss('lploss/temporal').example('temporal')",
    )
    assert type(built_by(subject.code)) is TemporalLoss


def test_a_name_of_several_that_one_class_serves() -> None:
    subject = Subject.of("pca_multiview")
    assert subject.cls is PCALoss
    assert subject.built().loss_name == "pca_multiview"
    assert subject.build(log_weight=2.0).loss_name == "pca_multiview"
    assert built_by(subject.code).loss_name == "pca_multiview"


def test_a_name_of_another_registry(site: Site) -> None:
    site.install_loss("acme-bones", "bone_angle")
    subject = Subject.of("bone_angle", site.registry())
    assert subject.built().loss_name == "bone_angle"
    assert subject.entry is not None
    assert subject.entry.plugin.distribution == "acme-bones"


def test_a_class_that_a_plugin_provides() -> None:
    subject = Subject.of(TemporalLoss)
    assert subject.name == "temporal"
    assert subject.entry is not None
    assert subject.code == Subject.of("temporal").code


def test_a_class_that_no_plugin_provides() -> None:
    subject = Subject.of(Drift)
    assert (subject.name, subject.cls, subject.entry) == ("drift", Drift, None)
    assert subject.code == (f"from {__name__} import Drift", "loss = Drift.example('drift')")
    assert isinstance(built_by(subject.code), Drift)


def test_a_class_with_the_name_of_another_one_is_no_plugins() -> None:
    class Temporal(Loss):
        loss_name, kind = "temporal", "unsupervised"

        def compute_loss(self, keypoints_pred):
            return keypoints_pred

    assert Subject.of(Temporal).entry is None


def test_a_class_with_an_example() -> None:
    loss = Subject.of(KnownBones).built()
    assert torch.equal(loss.get_buffer("lengths"), torch.tensor([3.0, 4.0]))
    assert Subject.of(KnownBones).build(epsilon=1.5).epsilon.item() == 1.5


def test_an_instance_is_copied() -> None:
    original = Bones([1.0, 2.0], epsilon=0.5)
    subject = Subject.of(original)
    assert (subject.name, subject.cls, subject.entry) == ("bones", Bones, None)
    built = subject.built()
    assert built is not original
    built.epsilon.fill_(7.0)
    assert subject.built().epsilon.item() == original.epsilon.item() == 0.5
    assert subject.code == ("loss = ...  # Bones(bones, inputs=['keypoints_pred'])",)


def test_an_instance_of_a_plugins_class() -> None:
    subject = Subject.of(lploss.create_loss("temporal", epsilon=4.0))
    assert subject.built().epsilon.item() == 4.0
    assert subject.build(epsilon=5.0).epsilon.item() == 5.0
    assert subject.entry is not None
    assert subject.entry.qualified_name == "lploss/temporal"


def test_a_function() -> None:
    subject = Subject.of(a_drift)
    assert (subject.name, subject.cls) == ("drift", Drift)
    assert subject.built().epsilon.item() == 2.0
    assert subject.code == (f"from {__name__} import a_drift", "loss = a_drift()")
    assert built_by(subject.code).epsilon.item() == 2.0


def test_what_cannot_be_imported_by_its_name_is_not_in_the_code() -> None:
    class Local(Loss):
        loss_name, kind = "local", "unsupervised"

        def compute_loss(self, keypoints_pred):
            return keypoints_pred

    (line,) = Subject.of(Local).code
    assert line.startswith("loss = ...  # test_what_cannot_be_imported_")
    assert line.endswith(".<locals>.Local.example('local')")
    assert Subject.of(lambda: Local()).code == (
        "loss = ...  # Local(local, inputs=['keypoints_pred'])",
    )


class Outer:
    """Holds what must be imported through it."""

    class Inner(Drift):
        loss_name = "inner"

    @staticmethod
    def make() -> Loss:
        return Outer.Inner()


@pytest.mark.parametrize("target", [Outer.Inner, Outer.make])
def test_what_stands_in_a_class_is_imported_through_it(target: Callable[[], Loss]) -> None:
    code = Subject.of(target).code
    assert code[0] == f"from {__name__} import Outer"
    assert isinstance(built_by(code), Outer.Inner)


# ---------------------------------------------------------------- what stands for none


def test_an_unknown_name_has_a_close_match() -> None:
    with pytest.raises(UnknownLossError, match=r"there is no loss 'temporl'\. Did you mean"):
        Subject.of("temporl")


def test_a_class_of_several_names_must_be_asked_for_by_name() -> None:
    with pytest.raises(ArgumentError) as caught:
        Subject.of(PCALoss)
    assert str(caught.value) == (
        "PCALoss serves several losses, pca_singleview, pca_multiview: check them by name"
    )


@pytest.mark.parametrize("target", [Loss, Unnamed])
def test_an_abstract_class_is_no_loss(target: type[Loss]) -> None:
    with pytest.raises(LossDefinitionError) as caught:
        Subject.of(target)
    assert str(caught.value) == (
        f"{target.__qualname__} does not define compute_loss, which every loss must have"
    )


EXPECTED = "expected a loss, its class, its name, or a function that returns a loss, got "


@pytest.mark.mistyped
@pytest.mark.parametrize(
    ("target", "got"),
    [
        (3, "3"),
        (None, "None"),
        (nn.MSELoss(), "MSELoss()"),
        (nn.MSELoss, "MSELoss() from <class 'torch.nn.modules.loss.MSELoss'>"),
        (dict, "{} from <class 'dict'>"),
    ],
)
def test_other_things_are_no_losses(target: object, got: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        Subject.of(target)  # type: ignore[arg-type]
    assert str(caught.value) == EXPECTED + got


# ---------------------------------------------------------------- building


@pytest.mark.parametrize("target", [Bones, "acme/bones"])
def test_a_loss_that_needs_arguments_must_have_an_example(
    target: str | type[Loss], site: Site
) -> None:
    site.install_losses("acme", {"bones": "Bones"}, f"from {__name__} import Bones")
    subject = Subject.of(target, site.registry())
    with pytest.raises(LossDefinitionError) as caught:
        subject.built()
    name = target if isinstance(target, str) else "bones"
    assert str(caught.value) == (
        f"loss '{name}' cannot be built for the checks: loss 'bones' must be given 'lengths'. "
        "Override the class method `example(cls, name, /, **params)` so that it gives the "
        "arguments that are needed, such as labels to fit."
    )


def test_what_a_constructor_refuses_is_told_as_it_is() -> None:
    class Refusing(Loss):
        loss_name, kind = "refusing", "unsupervised"

        def __init__(self):
            raise ArgumentValueError("not today")

        def compute_loss(self, keypoints_pred):
            return keypoints_pred

    with pytest.raises(ArgumentValueError, match=r"^not today$"):
        Subject.of(Refusing).built()


# ---------------------------------------------------------------- inputs


def test_inputs_of_a_plugin_and_what_is_known_of_them() -> None:
    inputs = Subject.of("temporal").inputs()
    assert list(inputs) == ["keypoints_pred", "confidences"]
    keypoints, confidences = inputs.values()
    assert keypoints.axes.text == "batch two_x_num_keypoints"
    assert (keypoints.is_required, confidences.is_required) == (True, False)
    assert (keypoints.coordinates, confidences.coordinates) == (2, 0)
    assert (keypoints.missing, confidences.missing) == ("nan", "nan")
    assert keypoints.has_batch
    assert keypoints.is_annotated
    assert keypoints.distribution == "lploss"
    strategy = keypoints.strategy()
    assert strategy is not None
    assert strategy.__module__ == "lploss_builtin.strategies"


def test_inputs_that_are_points_in_space_maps_or_sizes() -> None:
    in_space = Subject.of("supervised_pairwise_projections").inputs()
    assert {of_input.coordinates for of_input in in_space.values()} == {3}
    maps = Subject.of(HeatmapMSELoss).inputs()
    assert maps["heatmaps_targ"].missing == "zeros"
    size = Subject.of("supervised_reprojection_heatmap_mse").inputs()["image_size"]
    assert (size.missing, size.has_batch, size.is_required) == (None, False, False)


def test_an_input_without_annotation_has_the_axes_of_its_spec() -> None:
    of_input = Subject.of(Bones([1.0])).inputs()["keypoints_pred"]
    assert of_input.axes.text == "batch two_x_num_keypoints"
    assert of_input.drawn_dtypes == (torch.float32,)
    assert not of_input.is_annotated


def test_an_input_that_nobody_describes_may_be_missing_and_holds_no_points() -> None:
    class Forces(Loss):
        loss_name, kind = "forces", "unsupervised"

        def compute_loss(
            self, forces: Float[Tensor, "batch limbs"], gains: Float[Tensor, " limbs"]
        ) -> Float[Tensor, "batch limbs"]:
            return forces * gains

    forces, gains = Subject.of(Forces).inputs().values()
    assert (forces.missing, forces.coordinates, forces.strategy()) == ("nan", 0, None)
    assert (gains.missing, gains.has_batch) == (None, False)


def test_the_losses_own_distribution_describes_an_input_first(site: Site) -> None:
    manifest = """
        from lploss import InputSpec, LossSpec, hookimpl

        @hookimpl
        def lploss_losses():
            return [LossSpec("bone_angle", "acme_losses:Distance", "an angle")]

        @hookimpl
        def lploss_inputs():
            return [InputSpec("keypoints_pred", "batch num_keypoints 4", "m", "with roll")]
    """
    target = """
        from lploss import Loss

        class Distance(Loss):
            loss_name, kind = "bone_angle", "unsupervised"

            def compute_loss(self, keypoints_pred, confidences=None):
                return keypoints_pred.abs()
    """
    site.install_loss("acme", "bone_angle", manifest, target)
    found = importlib.metadata.distributions(path=[str(site.folder)])
    registry = Registry([importlib.metadata.distribution("lploss"), *found])
    inputs = Subject.of("bone_angle", registry).inputs()
    assert inputs["keypoints_pred"].axes.text == "batch num_keypoints 4"
    assert inputs["keypoints_pred"].distribution == "acme"
    assert inputs["confidences"].distribution == "lploss"


def test_a_registry_is_handed_on_by_each_kind_of_target(site: Site) -> None:
    registry = site.registry()
    targets: list[Loss | type[Loss] | Callable[[], Loss]] = [Drift, Drift(), a_drift]
    for target in targets:
        assert Subject.of(target, registry).registry is registry
        assert Subject.of(target, registry).inputs()["keypoints_pred"].spec is None
