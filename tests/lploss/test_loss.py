from __future__ import annotations

import copy
import io
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from lploss import Loss, Metric, MissingInputError, Reason
from lploss.errors import (
    ArgumentError,
    ArgumentValueError,
    InputTypeError,
    LossDefinitionError,
    ShapeError,
)
from lploss.loss import parameters_of

NAN = math.nan


class Distance(Loss):
    """Absolute error; NaN targets and unsure predictions are left out."""

    loss_name = "distance"
    kind = "supervised"

    def __init__(self, *, epsilon=0.0, threshold: float = 0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.threshold = self._number("threshold", threshold, 0.0, 1.0)

    def remove_nans(
        self,
        keypoints_targ: Float[Tensor, "batch num_keypoints"],
        confidences: Float[Tensor, "batch num_keypoints"] | None = None,
    ):
        unlabelled = keypoints_targ.isnan()
        left_out = {Reason.NOT_LABELLED: unlabelled}
        if confidences is not None:
            left_out[Reason.LOW_CONFIDENCE] = confidences < self.threshold
        return {"keypoints_targ": keypoints_targ.masked_fill(unlabelled, 0.0)}, left_out

    def compute_loss(
        self,
        keypoints_targ: Float[Tensor, "batch num_keypoints"],
        keypoints_pred: Float[Tensor, "batch num_keypoints"],
    ):
        return (keypoints_targ - keypoints_pred).abs()


class Speed(Loss):
    """Mean over all elements; a plain mask."""

    loss_name = "speed"
    kind = "unsupervised"
    denominator = "all"

    def remove_nans(
        self, keypoints_pred: Float[Tensor, "b k"], valid: Bool[Tensor, "b k"] | None = None
    ):
        return {}, valid

    def compute_loss(self, keypoints_pred: Float[Tensor, "b k"]):
        return keypoints_pred.abs()


class Twins(Loss):
    """One class, two names."""

    loss_names = ("first_twin", "second_twin")
    kind = "unsupervised"

    def __init__(self, *, loss_name: str, epsilon=0.0, log_weight: float = 0.0) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.loss_name = loss_name

    def compute_loss(self, keypoints_pred):
        return keypoints_pred


TARG = torch.tensor([[1.0, NAN], [3.0, 0.0]])
THREE = torch.tensor(3.0)
PRED = torch.tensor([[2.0, 9.0], [0.0, 6.0]])
# Element-wise 1, NaN, 3, 6: the mean over the valid ones is 10 / 3.
BATCH = {"keypoints_targ": TARG, "keypoints_pred": PRED}


def define(body, *bases, name="Broken", **attributes):
    """Create a class as a module would, from its attributes and ``compute_loss``."""
    attributes = {"loss_name": "broken", "kind": "supervised", "compute_loss": body} | attributes
    present = {key: value for key, value in attributes.items() if value is not None}
    return type(name, bases or (Loss,), {"__qualname__": name, **present})


def identity(self, keypoints_pred):
    return keypoints_pred


def test_inputs_are_read_off_the_signatures():
    assert Distance.inputs == {"keypoints_targ": True, "keypoints_pred": True, "confidences": False}
    assert Speed.inputs == {"keypoints_pred": True, "valid": False}


def test_an_input_is_required_if_one_of_the_steps_requires_it():
    def remove_nans(self, keypoints_pred=None, confidences=None):
        return {}, None

    def compute_loss(self, keypoints_pred, visibility=None):
        return keypoints_pred

    cls = define(compute_loss, remove_nans=remove_nans)
    assert cls.inputs == {"keypoints_pred": True, "visibility": False, "confidences": False}


def test_a_default_stands_in_for_an_optional_input():
    def compute_loss(self, keypoints_pred, scale=THREE):
        return keypoints_pred * scale

    loss = define(compute_loss)()
    assert loss(keypoints_pred=torch.ones(1, 1)).loss.item() == 1.5
    assert loss(keypoints_pred=torch.ones(1, 1), scale=None).loss.item() == 1.5
    assert loss(keypoints_pred=torch.ones(1, 1), scale=torch.tensor(1.0)).loss.item() == 0.5


def test_keys_that_the_loss_does_not_use_are_ignored():
    loss = Distance()
    with_more = loss(**BATCH, heatmaps_pred="anything", frame=3)
    assert with_more.loss.item() == loss(**BATCH).loss.item()


def test_a_missing_input_says_which_loss_which_input_and_what_was_there():
    with pytest.raises(MissingInputError) as caught:
        Distance()(keypoints_pred=PRED, confidences=PRED, keypoints_targ=None)
    assert str(caught.value) == (
        "loss 'distance' needs the input 'keypoints_targ', which the batch does not hold.\n"
        "The batch holds: confidences, keypoints_pred.\n"
        "It is: labels; NaN is not labelled; axes (batch two_x_num_keypoints), "
        "px in the original image."
    )


def test_a_misspelled_input_is_met_with_the_close_match():
    with pytest.raises(MissingInputError) as caught:
        Speed()(keypoint_pred=PRED)
    assert str(caught.value).splitlines()[0] == (
        "loss 'speed' needs the input 'keypoints_pred', which the batch does not hold."
        " Did you mean 'keypoint_pred'?"
    )


def test_an_empty_call_says_that_nothing_was_there():
    with pytest.raises(KeyError) as caught:
        define(lambda self, something_else: something_else)()()
    assert str(caught.value) == (
        "loss 'broken' needs the input 'something_else', which the batch does not hold.\n"
        "The batch holds: nothing."
    )


def test_wrong_axes_are_refused():
    with pytest.raises(ShapeError) as caught:
        Distance()(keypoints_targ=TARG, keypoints_pred=PRED[:1])
    assert str(caught.value) == (
        "loss 'distance': keypoints_pred must have axes (batch, num_keypoints); "
        "expected 2 along batch, got 1: shape (1, 2)"
    )


def test_what_is_no_tensor_is_refused():
    with pytest.raises(InputTypeError) as caught:
        Speed()(keypoints_pred=PRED.numpy())
    assert str(caught.value) == (
        "loss 'speed': keypoints_pred must be a torch.Tensor with axes (b, k), "
        "got numpy.ndarray. torch.as_tensor may help."
    )
    with pytest.raises(InputTypeError):
        Speed()(keypoints_pred=PRED.int())


class Masked(Loss):
    """Leaves out what a mask covers, whichever of two dtypes it has."""

    loss_name, kind = "masked", "supervised"

    def remove_nans(
        self,
        keypoints_pred: Float[Tensor, "batch num_keypoints"],
        covered: Bool[Tensor, "batch num_keypoints"] | UInt8[Tensor, "batch num_keypoints"],
    ):
        return {"covered": covered.bool()}, ~covered.bool()

    def compute_loss(
        self,
        keypoints_pred: Float[Tensor, "batch num_keypoints"],
        covered: Bool[Tensor, "batch num_keypoints"],
    ):
        return keypoints_pred.abs()


@pytest.mark.compiles
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
def test_a_batch_may_have_each_dtype_of_a_union(dtype):
    batch = {
        "keypoints_pred": torch.tensor([[2.0, 5.0]]),
        "covered": torch.tensor([[0, 1]]).to(dtype),
    }
    assert Masked().elementwise(**batch).tolist() == [[2.0, pytest.approx(math.nan, nan_ok=True)]]
    compiled = torch.compile(Masked(), fullgraph=True, backend="eager")
    assert compiled(**batch).loss.item() == 1.0


@pytest.mark.mistyped
def test_a_batch_of_another_dtype_is_refused_and_the_loss_is_named():
    with pytest.raises(InputTypeError) as caught:
        Masked()(keypoints_pred=torch.zeros(1, 2), covered=torch.zeros(1, 2, dtype=torch.int64))
    assert str(caught.value) == (
        "loss 'masked': covered must hold torch.bool or torch.uint8, got torch.int64. "
        "Call covered.bool()."
    )


def test_config_paths_name_parameters_of_the_constructor():
    with pytest.raises(LossDefinitionError) as caught:

        class Bones(Loss):
            loss_name, kind = "bones", "unsupervised"
            config_paths = {"keypoint_nams": "data.keypoint_names"}  # noqa: RUF012

            def __init__(self, keypoint_names=(), *, epsilon=0.0, log_weight=0.0):
                super().__init__(epsilon=epsilon, log_weight=log_weight)

            def compute_loss(self, keypoints_pred):
                return keypoints_pred.abs()

    assert "Bones.config_paths must name parameters of the constructor, got 'keypoint_nams'. " in (
        str(caught.value)
    )
    assert "Did you mean 'keypoint_names'?" in str(caught.value)


def test_targets_get_no_gradient():
    targ, pred = (tensor.clone().requires_grad_() for tensor in (TARG, PRED))
    Distance()(keypoints_targ=targ, keypoints_pred=pred).loss.backward()
    assert targ.grad is None
    assert pred.grad is not None


def test_a_target_without_an_annotation_may_be_anything():
    class Plain(Loss):
        loss_name, kind = "plain", "supervised"

        def compute_loss(self, keypoints_targ, keypoints_pred):
            return keypoints_pred - torch.as_tensor(keypoints_targ)

    batch = {"keypoints_targ": np.zeros((1, 2)), "keypoints_pred": torch.ones(1, 2)}
    assert Plain()(**batch).loss.item() == 0.5


def test_the_weighted_mean_by_hand():
    loss, logs = Distance(log_weight=math.log(4.0))(**BATCH, stage="train")
    assert loss.item() == pytest.approx(10 / 3 / 8)
    assert [entry["name"] for entry in logs] == ["train_distance_loss", "distance_weight"]
    assert [entry["value"].item() for entry in logs] == pytest.approx([10 / 3, 1 / 8])
    assert [entry.get("prog_bar") for entry in logs] == [True, None]


@pytest.mark.parametrize(
    ("stage", "name"),
    [(None, "distance_loss"), ("val", "val_distance_loss"), ("test", "test_distance_loss")],
)
def test_the_stage_is_the_prefix_of_the_name(stage, name):
    logs = Distance()(**BATCH, stage=stage).logs
    assert [entry["name"] for entry in logs] == [name, "distance_weight"]


def test_what_is_logged_carries_no_gradient():
    pred = PRED.clone().requires_grad_()
    loss, logs = Distance()(keypoints_targ=TARG, keypoints_pred=pred)
    assert loss.requires_grad
    assert not any(entry["value"].requires_grad for entry in logs)


def test_the_weight_is_applied_exactly_once():
    for log_weight in (-2.0, 0.0, 0.5, 11.0):
        loss = Distance(log_weight=log_weight)
        weight = 1 / (2 * math.exp(log_weight))
        assert loss.weight.item() == pytest.approx(weight)
        assert loss(**BATCH).loss.item() == pytest.approx(weight * 10 / 3)
        assert loss.evaluate(BATCH).scalar.item() == pytest.approx(10 / 3)
        assert loss.elementwise(**BATCH)[1, 1].item() == 6.0


def test_epsilon_is_subtracted_from_each_element():
    # Of 1, 3, 6 remain 0, 1, 4.
    loss = Distance(epsilon=2.0)
    assert loss.elementwise(**BATCH).tolist()[1] == [1.0, 4.0]
    assert loss(**BATCH).loss.item() == pytest.approx(5 / 3 / 2)


def test_epsilon_may_differ_a_keypoint():
    for epsilon in ([0.5, 5.0], (0.5, 5.0), torch.tensor([0.5, 5.0])):
        elements = Distance(epsilon=epsilon).elementwise(**BATCH)
        np.testing.assert_array_equal(elements, [[0.5, NAN], [2.5, 1.0]])


def test_a_larger_epsilon_never_costs_more_and_a_large_one_costs_nothing():
    scalars = [Distance(epsilon=e)(**BATCH).loss.item() for e in (0.0, 0.5, 1.0, 3.0, 6.0, 1e9)]
    assert scalars == sorted(scalars, reverse=True)
    assert scalars[-2:] == [0.0, 0.0]


def test_an_epsilon_a_keypoint_must_fit_the_keypoints():
    with pytest.raises(ArgumentValueError) as caught:
        Distance(epsilon=[1.0, 2.0, 3.0])(**BATCH)
    assert str(caught.value) == (
        "loss 'distance': epsilon holds 3 values, the element-wise loss has 2 along its last "
        "axis. Give one number, or one a keypoint."
    )


def test_elements_that_do_not_count_are_nan_when_read_one_by_one():
    np.testing.assert_array_equal(Distance().elementwise(**BATCH), [[1.0, NAN], [3.0, 6.0]])
    np.testing.assert_array_equal(Speed().elementwise(keypoints_pred=PRED), PRED)


def test_the_denominator_counts_valid_or_all_elements():
    valid = torch.tensor([[True, False], [False, True]])
    assert Speed()(keypoints_pred=PRED, valid=valid).loss.item() == 0.5 * (2 + 6) / 4
    assert Speed()(keypoints_pred=PRED).loss.item() == 0.5 * (2 + 9 + 0 + 6) / 4
    by_valid = define(Speed.compute_loss, Speed, denominator="valid")
    assert by_valid()(keypoints_pred=PRED, valid=valid).loss.item() == 0.5 * (2 + 6) / 2


def test_reduce_loss_can_sum():
    loss = Distance()
    valid = torch.tensor([[True, False], [True, True]])
    assert loss.reduce_loss(PRED, valid, method="sum").item() == 8.0
    assert loss.reduce_loss(PRED, method="sum").item() == 17.0
    assert loss.reduce_loss(PRED).item() == 4.25


def test_everything_an_evaluation_yields():
    confidences = torch.tensor([[1.0, 0.0], [0.2, 1.0]])
    loss = Distance(threshold=0.5, epsilon=0.5)
    evaluation = loss.evaluate({**BATCH, "confidences": confidences})
    assert evaluation.elementwise[0, 0].item() == 0.5
    assert evaluation.valid.tolist() == [[True, False], [False, True]]
    assert {str(reason): mask.tolist() for reason, mask in evaluation.left_out.items()} == {
        "not labelled": [[False, True], [False, False]],
        "low confidence": [[False, True], [True, False]],
    }
    assert evaluation.scalar.item() == 3.0
    weighted, logs = loss.weigh(evaluation.scalar, "val")
    assert weighted.item() == 1.5
    assert logs[0]["name"] == "val_distance_loss"


@pytest.mark.parametrize(
    "targ", [torch.full((2, 2), NAN), torch.zeros(0, 2)], ids=["all NaN", "empty batch"]
)
@pytest.mark.parametrize("epsilon", [0.0, [1.0, 2.0]])
def test_nothing_valid_gives_an_exact_zero_and_zero_gradients(targ, epsilon):
    pred = torch.ones_like(targ, requires_grad=True)
    loss = Distance(epsilon=epsilon)(keypoints_targ=targ, keypoints_pred=pred).loss
    loss.backward()
    assert loss.item() == 0.0
    assert pred.grad.eq(0).all()


def test_gradients_agree_with_finite_differences():
    pred = PRED.double().requires_grad_()
    loss = Distance(log_weight=0.3).double()
    targ = TARG.double()
    assert torch.autograd.gradcheck(
        lambda p: loss(keypoints_targ=targ, keypoints_pred=p).loss, (pred,)
    )


def test_double_precision_is_kept():
    loss = Distance(epsilon=0.5)
    batch = {name: value.double() / 3 for name, value in BATCH.items()}
    expected = (0.0 + 0.5 + 1.5) / 3 / 2
    assert loss(**batch).loss.dtype == torch.float64
    assert loss(**batch).loss.item() == pytest.approx(expected, abs=1e-15)
    assert loss.elementwise(**batch).dtype == torch.float64


def test_half_precision_inputs_are_reduced_in_single():
    batch = {name: value.bfloat16() for name, value in BATCH.items()}
    loss = Distance()(**batch).loss
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(5 / 3)


def test_the_state_is_two_buffers():
    loss = Distance(epsilon=[1.0, 2.0], log_weight=3.0)
    assert {name: value.tolist() for name, value in loss.state_dict().items()} == {
        "epsilon": [1.0, 2.0],
        "log_weight": 3.0,
    }
    assert list(loss.parameters()) == []
    other = Distance(epsilon=[0.0, 0.0])
    other.load_state_dict(loss.state_dict())
    assert other(**BATCH).loss.item() == loss(**BATCH).loss.item()


def saved_and_loaded(loss):
    file = io.BytesIO()
    torch.save(loss, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss)), saved_and_loaded]
)
def test_a_copy_gives_the_same_loss(copied):
    loss = Distance(epsilon=[0.5, 1.0], threshold=0.5, log_weight=3.0)
    twin = copied(loss)
    assert twin is not loss
    assert twin.threshold == 0.5
    assert twin(**BATCH).loss.item() == loss(**BATCH).loss.item()
    with pytest.raises(ShapeError):
        twin(keypoints_targ=TARG, keypoints_pred=PRED[:1])


def test_a_loss_follows_its_trainer_to_another_device_and_precision():
    loss = Distance().to("meta")
    assert (loss.epsilon.device.type, loss.weight.device.type) == ("meta", "meta")
    batch = {name: value.to("meta") for name, value in BATCH.items()}
    assert loss(**batch).loss.device.type == "meta"
    assert Distance().to(torch.float64).weight.dtype == torch.float64


def test_hooks_of_the_module_fire():
    loss, seen = Distance(), []
    loss.register_forward_hook(lambda module, args, result: seen.append(result.loss.item()))
    loss(**BATCH)
    assert seen == [pytest.approx(5 / 3)]


def test_a_loss_says_what_it_is():
    assert repr(Speed()) == "Speed(speed, inputs=['keypoints_pred', 'valid'])"
    assert Speed().element_names(["nose", "tail"]) == ["nose", "tail"]


@pytest.mark.compiles
def test_a_loss_compiles_into_one_graph():
    loss = Distance(epsilon=[0.5, 1.0], log_weight=2.0)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    pred, twin = (PRED.clone().requires_grad_() for _ in range(2))
    eager = loss(keypoints_targ=TARG, keypoints_pred=pred, stage="train")
    result = compiled(keypoints_targ=TARG, keypoints_pred=twin, stage="train")
    eager.loss.backward()
    result.loss.backward()
    assert result.loss.item() == eager.loss.item()
    assert [entry["name"] for entry in result.logs] == [entry["name"] for entry in eager.logs]
    assert torch.equal(pred.grad, twin.grad)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"epsilom": 3.0},
            "loss 'distance' has no argument 'epsilom'. Did you mean 'epsilon'? "
            "It has: epsilon, threshold, log_weight.",
        ),
        (
            {"zzz": 3.0},
            "loss 'distance' has no argument 'zzz'. It has: epsilon, threshold, log_weight.",
        ),
    ],
)
def test_an_unknown_argument_is_met_with_the_close_match(params, message):
    with pytest.raises(ArgumentError) as caught:
        Distance(**params)
    assert str(caught.value) == message


@pytest.mark.mistyped
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epsilon": -1.0}, "epsilon must be a finite number of at least 0, got -1.0"),
        ({"epsilon": [1.0, -1.0]}, "epsilon must be a finite number of at least 0, got -1.0"),
        ({"epsilon": NAN}, "epsilon must be a finite number of at least 0, got nan"),
        ({"epsilon": "1"}, "epsilon must be a finite number of at least 0, got '1'"),
        ({"epsilon": None}, "epsilon must be a finite number of at least 0, got None"),
        ({"epsilon": [[1.0]]}, "epsilon must be a finite number of at least 0, got [1.0]"),
        ({"log_weight": None}, "log_weight must be a finite number, got None"),
        ({"log_weight": True}, "log_weight must be a finite number, got True"),
        ({"log_weight": math.inf}, "log_weight must be a finite number, got inf"),
        ({"threshold": 1.5}, "threshold must be a finite number from 0 to 1, got 1.5"),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused(params, message):
    with pytest.raises(ArgumentValueError) as caught:
        Distance(**params)
    assert str(caught.value) == f"loss 'distance': {message}"


@pytest.mark.mistyped
@pytest.mark.parametrize("number", [2, 2.0, np.float32(2), np.int64(2), Fraction(4, 2)])
def test_every_kind_of_number_is_a_number(number):
    loss = Distance(epsilon=number, log_weight=number)
    assert (loss.epsilon.item(), loss.log_weight.item()) == (2.0, 2.0)
    assert Distance(epsilon=np.array([number, 1.0])).epsilon.tolist() == [2.0, 1.0]


def test_a_constructor_that_hands_arguments_on_has_those_of_its_parent():
    class Scaled(Distance):
        loss_name = "scaled"

        def __init__(self, *, scale: float = 1.0, **kwargs):
            super().__init__(**kwargs)
            self.scale = scale

    assert list(parameters_of(Scaled)) == ["scale", "epsilon", "threshold", "log_weight"]
    assert Scaled(scale=2.0, epsilon=1.0).epsilon.item() == 1.0
    with pytest.raises(ArgumentError) as caught:
        Scaled(scael=2.0)
    assert str(caught.value) == (
        "loss 'scaled' has no argument 'scael'. Did you mean 'scale'? "
        "It has: scale, epsilon, threshold, log_weight."
    )


def test_one_class_serves_several_names():
    first, second = Twins.create("first_twin"), Twins.create("second_twin", epsilon=1.0)
    assert (first.loss_name, second.loss_name) == ("first_twin", "second_twin")
    assert second(keypoints_pred=PRED).logs[0]["name"] == "second_twin_loss"
    with pytest.raises(ArgumentError, match=r"^loss 'first_twin/second_twin' has no argument 'x'"):
        Twins(x=1)


def test_create_builds_a_class_of_one_name_as_well():
    assert Distance.create("distance", epsilon=1.0).epsilon.item() == 1.0

    class Named(Distance):
        def __init__(self, *, name: str = "") -> None:
            super().__init__()
            self.name = name

    assert Named.create("distance", name="it").name == "it"


def test_a_class_without_compute_loss_cannot_be_used():
    class Half(Loss):
        kind = "supervised"

    with pytest.raises(TypeError, match="compute_loss"):
        Half()


def test_a_subclass_inherits_its_name_and_inputs():
    cls = define(None, Distance, name="Finer", loss_name=None, kind=None)
    assert cls.loss_names == ("distance",)
    assert cls.inputs == Distance.inputs
    assert cls()(**BATCH).loss.item() == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    ("bases", "attributes", "annealed"),
    [
        ((Loss,), {"kind": "supervised"}, False),
        ((Loss,), {"kind": "unsupervised"}, True),
        ((Loss,), {"kind": "supervised", "annealed": True}, True),
        ((Loss,), {"kind": "unsupervised", "annealed": False}, False),
        ((Distance,), {"kind": "unsupervised"}, True),
        ((Speed,), {"kind": "supervised"}, False),
    ],
)
def test_unsupervised_losses_are_annealed_unless_they_say_otherwise(bases, attributes, annealed):
    cls = define(identity, *bases, remove_nans=Loss.remove_nans, **attributes)
    assert cls.annealed is annealed
    # What a class says itself holds for its subclasses.
    if "annealed" in attributes:
        assert define(identity, cls, kind="unsupervised").annealed is annealed


def test_what_a_class_says_of_its_metric_is_not_said_of_another_loss():
    def compute_loss(self, keypoints_pred, confidences=None):
        return keypoints_pred

    metric = Metric(name="offset", scale=2.0, without=("confidences",))
    cls = define(compute_loss, loss_name="one", kind="supervised", metric=metric)
    same, other = type("Same", (cls,), {}), type("Other", (cls,), {"loss_name": "other"})
    assert same.metric == metric
    assert other.metric == Distance.metric == Metric(name=None, scale=1.0, without=())


@pytest.mark.parametrize("step", ["forward", "evaluate", "weigh", "elementwise"])
@pytest.mark.parametrize("mixed_in", [False, True])
def test_the_order_of_the_steps_cannot_be_changed(step, mixed_in):
    method = {step: lambda self, **inputs: None}
    bases = (type("Mixin", (), method), Loss) if mixed_in else (Loss,)
    with pytest.raises(LossDefinitionError) as caught:
        define(identity, *bases, **({} if mixed_in else method))
    assert str(caught.value) == (
        f"Broken.{step} must not be overridden: the order of the steps and the weight belong to "
        "Loss. Put the maths into compute_loss and the masks into remove_nans."
    )


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"compute_loss": lambda self, **kwargs: 0},
            "Broken.compute_loss must name its inputs, it has **kwargs: the names say what the "
            "loss takes from the batch. Keys of the batch that it does not name are ignored "
            "anyway.",
        ),
        (
            {"compute_loss": lambda self, keypoints_pred, *args: 0},
            "Broken.compute_loss must name its inputs, it has *args: the names say what the "
            "loss takes from the batch. Keys of the batch that it does not name are ignored "
            "anyway.",
        ),
        (
            {"compute_loss": identity, "remove_nans": lambda self, **inputs: ({}, None)},
            "Broken.remove_nans must name its inputs, it has **inputs: the names say what the "
            "loss takes from the batch. Keys of the batch that it does not name are ignored "
            "anyway.",
        ),
        (
            {"compute_loss": lambda self, keypoints_pred, /: 0},
            "Broken.compute_loss: keypoints_pred must not be positional-only, inputs are passed "
            "by name",
        ),
        (
            {"compute_loss": lambda self, stage: 0},
            "Broken.compute_loss: an input cannot be named 'stage', trainers pass something else "
            "under this name",
        ),
        ({"compute_loss": lambda self: 0}, "Broken.compute_loss must name its inputs"),
        ({"loss_name": None}, "Broken must have a name: loss_name = 'broken'"),
        (
            {"loss_name": "a.b"},
            "Broken: a loss cannot be named 'a.b'; expected a plain name such as 'bone_length', "
            "and none that torch.nn.ModuleDict has itself",
        ),
        (
            {"loss_name": "values"},
            "Broken: a loss cannot be named 'values'; expected a plain name such as "
            "'bone_length', and none that torch.nn.ModuleDict has itself",
        ),
        (
            {"loss_name": None, "loss_names": ("one", "two")},
            "Broken serves several names, one, two: its constructor must take loss_name",
        ),
        (
            {"kind": None},
            'Broken.kind must be "supervised" (needs labels) or "unsupervised", got None',
        ),
        (
            {"kind": "semi"},
            'Broken.kind must be "supervised" (needs labels) or "unsupervised", got \'semi\'',
        ),
        ({"denominator": "some"}, 'Broken.denominator must be "valid" or "all", got \'some\''),
        (
            {"metric": "bone_error"},
            "Broken.metric must be a lploss.Metric, or None for no metric; got 'bone_error'",
        ),
        (
            {"metric": Metric(name="a/b")},
            "Broken.metric.name must be a plain name such as 'bone_length', for it is part of a "
            "file's name; got 'a/b'. Give metric = None for no metric.",
        ),
        (
            {"metric": Metric(scale=0.0)},
            "Broken.metric.scale must be a number above 0, got 0.0",
        ),
        (
            {"metric": Metric(without=("keypoints_pred",))},
            "Broken.metric.without must hold names of optional inputs of the loss, got "
            "'keypoints_pred'",
        ),
        (
            {"metric": Metric(without=("confidence",))},
            "Broken.metric.without must hold names of optional inputs of the loss, got "
            "'confidence'",
        ),
    ],
)
def test_a_class_that_breaks_the_contract_is_refused_where_it_is_created(attributes, message):
    with pytest.raises(LossDefinitionError) as caught:
        define(**{"body": identity, **attributes})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("remove_nans", "compute_loss", "message"),
    [
        (
            lambda self, keypoints_pred: ({}, torch.ones(2, dtype=torch.bool)),
            identity,
            "remove_nans must return boolean masks in the shape of what compute_loss returns, "
            "(2, 2), got torch.bool of shape (2,)",
        ),
        (
            lambda self, keypoints_pred: (
                {},
                {"a": torch.zeros(1, 2, dtype=torch.bool), "b": keypoints_pred > 0},
            ),
            identity,
            "remove_nans must return boolean masks in the shape of what compute_loss returns, "
            "(2, 2), got torch.bool of shape (1, 2)",
        ),
        (
            lambda self, keypoints_pred: ({}, keypoints_pred),
            identity,
            "remove_nans must return boolean masks in the shape of what compute_loss returns, "
            "(2, 2), got torch.float32 of shape (2, 2)",
        ),
        (
            lambda self, keypoints_pred: ({"keypoint_pred": keypoints_pred}, None),
            identity,
            "remove_nans replaces 'keypoint_pred', which is no input of the loss. "
            "Did you mean 'keypoints_pred'?",
        ),
        (
            None,
            lambda self, keypoints_pred: keypoints_pred.mean(),
            "compute_loss must return the element-wise loss, a tensor with the batch axis first, "
            "got shape ()",
        ),
        (
            None,
            lambda self, keypoints_pred: None,
            "compute_loss must return the element-wise loss, a tensor with the batch axis first, "
            "got None",
        ),
    ],
)
def test_a_step_that_breaks_the_contract_is_told_when_it_runs(remove_nans, compute_loss, message):
    loss = define(compute_loss, remove_nans=remove_nans)()
    with pytest.raises(LossDefinitionError) as caught:
        loss(keypoints_pred=PRED)
    assert str(caught.value) == f"loss 'broken': {message}"


@pytest.mark.mistyped
def test_a_reduction_that_there_is_not_is_refused():
    with pytest.raises(ArgumentValueError, match="method must be 'mean' or 'sum', got 'median'"):
        Distance().reduce_loss(PRED, method="median")
