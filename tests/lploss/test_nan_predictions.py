"""A network that has diverged never looks like a perfect one."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import nn

import lploss
from lploss import Loss, LossFactory, Reason
from lploss.errors import ArgumentValueError, ConfigError
from lploss.testing.processes import run_in_processes

NAN, INF = math.nan, math.inf


class Error(Loss):
    """Distance to a label, where label and prediction are finite."""

    loss_name = "error"
    kind = "supervised"

    def remove_nans(self, keypoints_targ, keypoints_pred):
        spoilt, missing = ~keypoints_pred.isfinite(), ~keypoints_targ.isfinite()
        return {
            "keypoints_targ": keypoints_targ.masked_fill(missing, 0.0),
            "keypoints_pred": keypoints_pred.masked_fill(spoilt, 0.0),
        }, {Reason.NOT_LABELLED: missing, Reason.NAN_PREDICTION: spoilt}

    def compute_loss(self, keypoints_targ, keypoints_pred):
        return (keypoints_targ - keypoints_pred).abs()


class Dependent(Loss):
    """Sees what is derived from a prediction, and leaves out what could not be derived."""

    loss_name = "dependent"
    kind = "unsupervised"

    def remove_nans(self, ratios_pred):
        spoilt = ~ratios_pred.isfinite()
        return {"ratios_pred": ratios_pred.masked_fill(spoilt, 0.0)}, {"no ratio": spoilt}

    def compute_loss(self, ratios_pred):
        return ratios_pred


class OwnArguments(Error):
    """Its constructor hands nothing on but epsilon and log_weight."""

    loss_name = "own_arguments"

    def __init__(self, *, epsilon=0.0, log_weight=0.0):
        super().__init__(epsilon=epsilon, log_weight=log_weight)


TARG = torch.tensor([[0.0, NAN], [0.0, 0.0]])
# Of the labelled ones, 2 and 4 away: a mean of 3, weighted 1.5; one labelled and one unlabelled
# prediction are not finite.
PRED = torch.tensor([[2.0, INF], [4.0, NAN]])
FINITE = torch.tensor([[2.0, 7.0], [4.0, 6.0]])


def gradient(loss, pred, **batch):
    pred = pred.clone().requires_grad_()
    return torch.autograd.grad(loss(keypoints_pred=pred, **batch).loss, pred)[0]


@pytest.mark.parametrize("make", [Error, lambda **mode: LossFactory({"error": Error(**mode)})])
def test_one_prediction_that_is_not_finite_makes_the_loss_and_its_gradients_nan(make):
    assert make()(keypoints_targ=TARG, keypoints_pred=PRED).loss.isnan()
    assert gradient(make(), PRED, keypoints_targ=TARG).isnan().all()
    left_out = make(nan_predictions="leave_out")
    assert left_out(keypoints_targ=TARG, keypoints_pred=PRED).loss.item() == 1.5
    assert gradient(left_out, PRED, keypoints_targ=TARG).tolist() == [[0.25, 0.0], [0.25, 0.0]]


@pytest.mark.parametrize("make", [Error, lambda: LossFactory({"error": Error()})])
def test_finite_predictions_are_as_they_were(make):
    assert make()(keypoints_targ=TARG, keypoints_pred=FINITE).loss.item() == 2.0
    sixth = torch.tensor(1 / 6)
    assert torch.equal(
        gradient(make(), FINITE, keypoints_targ=TARG),
        torch.tensor([[sixth, 0.0], [sixth, sixth]]),
    )


@pytest.mark.parametrize("make", [Error, lambda: LossFactory({"error": Error()})])
def test_it_is_seen_without_a_single_label_and_in_a_keypoint_without_one(make):
    unlabelled = torch.full((2, 2), NAN)
    assert make()(keypoints_targ=unlabelled, keypoints_pred=PRED).loss.isnan()
    assert gradient(make(), PRED, keypoints_targ=unlabelled).isnan().all()
    assert make()(keypoints_targ=TARG, keypoints_pred=torch.tensor([[2.0, NAN], [4.0, 6.0]]))[
        0
    ].isnan()
    assert make()(keypoints_targ=unlabelled, keypoints_pred=FINITE).loss.item() == 0.0
    assert gradient(make(), FINITE, keypoints_targ=unlabelled).count_nonzero() == 0


def test_targets_and_other_inputs_get_no_gradient_by_it():
    targ = TARG.clone().requires_grad_()
    confidences = torch.ones(2, 2, requires_grad=True)
    pred = PRED.clone().requires_grad_()
    total = LossFactory({"error": Error()})(
        keypoints_targ=targ, keypoints_pred=pred, confidences=confidences
    ).loss
    for_pred, *others = torch.autograd.grad(total, [pred, targ, confidences], allow_unused=True)
    assert for_pred.isnan().all()
    assert others == [None, None]


@pytest.mark.parametrize("name", ["heatmap_mse", "heatmap_kl", "heatmap_js", "regression", "rmse"])
@pytest.mark.parametrize("where", ["weights", "bias", "output"])
def test_the_parameters_of_a_diverged_network_get_gradients_of_nan(name, where):
    torch.manual_seed(0)  # a unit that is off for all frames would get a gradient of 0
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2 * 4))
    with torch.no_grad():
        if where == "weights":
            network[0].weight.fill_(INF)
        elif where == "bias":
            network[2].bias[0] = NAN
    found = network(torch.rand(5, 3))
    if where == "output":  # the weights are finite, and overflow comes after the last of them
        found = found * 1e38 * 1e38
    if name.startswith("heatmap"):
        maps = found.view(5, 2, 2, 2)
        batch = {"heatmaps_pred": maps, "heatmaps_targ": torch.zeros(5, 2, 2, 2)}
    else:
        batch = {"keypoints_pred": found, "keypoints_targ": torch.full((5, 8), NAN)}
    total = LossFactory({name: {}})(**batch).loss
    assert total.isnan()
    total.backward()
    assert all(parameter.grad.isnan().any() for parameter in network.parameters())


def test_a_scaler_of_gradients_skips_the_step():
    weight = nn.Parameter(torch.tensor([[2.0, 1.0]]))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = torch.amp.GradScaler("cpu")
    losses = LossFactory({"error": Error()})
    total = losses(keypoints_targ=torch.tensor([[0.0, NAN]]), keypoints_pred=weight / 0.0).loss
    scaler.scale(total).backward()
    scaler.step(optimizer)
    scaler.update()
    assert weight.tolist() == [[2.0, 1.0]]
    assert scaler.get_scale() == 2.0**15


def test_each_loss_and_the_total_are_logged_as_nan():
    losses = LossFactory({"error": Error(), "temporal": {}})
    logs = losses(stage="val", keypoints_targ=TARG, keypoints_pred=PRED).logs
    values = {entry["name"]: entry["value"].item() for entry in logs}
    assert math.isnan(values["val_error_loss"])
    assert math.isnan(values["val_error_loss_weighted"])
    assert math.isnan(values["val_total_loss"])
    assert values["error_weight"] == 0.5


def test_the_recorder_counts_a_nan_prediction_before_any_other_reason():
    losses = LossFactory({"error": Error()})
    losses(keypoints_targ=TARG, keypoints_pred=PRED)
    (record,) = losses.records()
    # The unlabelled keypoint stands under the prediction, though its mask came first.
    assert record.left_out == {"NaN prediction": 2, "not labelled": 0}
    assert record.used == 2
    assert math.isnan(record.value)


def test_element_wise_values_leave_them_out_in_both_modes():
    for mode in ("propagate", "leave_out"):
        loss = Error(nan_predictions=mode)
        elements = loss.elementwise(keypoints_targ=TARG, keypoints_pred=PRED)
        torch.testing.assert_close(elements, torch.tensor([[2.0, NAN], [4.0, NAN]]), equal_nan=True)
        evaluation = loss.evaluate({"keypoints_targ": TARG, "keypoints_pred": PRED})
        assert evaluation.valid.tolist() == [[True, False], [True, False]]


def test_the_mode_is_an_argument_of_every_loss_and_of_the_factory():
    assert Error().nan_predictions == "propagate"
    for name in lploss.list_losses():
        loss = lploss.load_loss(name).example(name, nan_predictions="leave_out")
        assert loss.nan_predictions == "leave_out", name
    own = OwnArguments()
    for mode in ("leave_out", "propagate"):
        assert LossFactory({"own_arguments": own}, nan_predictions=mode).losses
        assert own.nan_predictions == mode
    factory = LossFactory({"rmse": {"nan_predictions": "leave_out"}, "regression": {}})
    assert [loss.nan_predictions for loss in factory.losses.values()] == ["leave_out", "propagate"]
    factory = LossFactory.from_config({"rmse": {}}, nan_predictions="leave_out")
    assert factory.losses["rmse"].nan_predictions == "leave_out"
    factories = lploss.get_loss_factories(
        {"losses": {"rmse": {"nan_predictions": "leave_out"}, "regression": {}}}
    )
    modes = {name: own.nan_predictions for name, own in factories["supervised"].losses.items()}
    assert modes == {"rmse": "leave_out", "regression": "propagate"}


@pytest.mark.mistyped
def test_another_mode_is_refused():
    with pytest.raises(ArgumentValueError) as caught:
        Error(nan_predictions="ignore")
    assert str(caught.value) == (
        "loss 'error': nan_predictions must be 'propagate' or 'leave_out', got 'ignore'"
    )
    with pytest.raises(ArgumentValueError, match=r"^nan_predictions must be .*, got True$"):
        LossFactory({"error": Error()}, nan_predictions=True)
    with pytest.raises(ConfigError, match=r"^losses\.rmse: loss 'rmse': nan_predictions must be"):
        LossFactory.from_config({"rmse": {"nan_predictions": None}})


def test_the_mode_is_copied_and_is_no_part_of_the_state():
    loss = Error(nan_predictions="leave_out")
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert other.nan_predictions == "leave_out"
    assert list(loss.state_dict()) == ["epsilon", "log_weight"]
    factory = pickle.loads(pickle.dumps(LossFactory({"rmse": {}})))
    batch = {"keypoints_targ": torch.zeros(1, 2), "keypoints_pred": torch.tensor([[NAN, 0.0]])}
    assert factory(**batch).loss.isnan()
    assert copy.deepcopy(factory)(**batch).loss.isnan()


@pytest.mark.compiles
@pytest.mark.parametrize("pred", [PRED, FINITE], ids=["not finite", "finite"])
def test_it_can_be_compiled_without_a_graph_break(pred):
    batch = {"keypoints_targ": torch.zeros(2, 2), "keypoints_pred": pred.clone().requires_grad_()}
    losses = LossFactory({"rmse": {}, "temporal": {}}, record=False)
    compiled = torch.compile(losses, fullgraph=True, backend="aot_eager")
    for found in (losses(**batch).loss, compiled(**batch).loss):
        (slope,) = torch.autograd.grad(found, batch["keypoints_pred"])
        assert bool(found.isnan()) is (pred is PRED)
        assert bool(slope.isnan().all()) is (pred is PRED)


def test_second_derivatives_are_those_of_the_loss():
    pred = FINITE.double().requires_grad_()
    loss = LossFactory({"regression": {}})
    assert torch.autograd.gradgradcheck(
        lambda pred: loss(keypoints_targ=torch.zeros(2, 2).double(), keypoints_pred=pred).loss, pred
    )


class TestDerivedInputs:
    """The loss sees 1 / x of a prediction x, which is infinite at a finite 0."""

    @pytest.fixture
    def registry(self, site):
        site.install(
            "acme",
            {"acme": "acme_manifest"},
            {
                "acme_manifest": (
                    "from lploss import InputSpec, hookimpl\n\n"
                    "@hookimpl\ndef lploss_inputs():\n"
                    "    return [\n"
                    "        InputSpec('ratios_pred', 'batch n', '', '', "
                    "derived_by='acme_ratios:ratios_pred'),\n"
                    "        InputSpec('inverse_pred', 'batch n', '', '', "
                    "derived_by='acme_ratios:inverse_pred'),\n"
                    "    ]\n"
                ),
                "acme_ratios": (
                    "def inverse_pred(keypoints_pred):\n    return 1 / keypoints_pred\n\n"
                    "def ratios_pred(inverse_pred, scales_targ):\n"
                    "    return scales_targ * inverse_pred\n"
                ),
            },
        )
        return site.registry()

    def batch(self, *pred):
        return {
            "keypoints_pred": torch.tensor([list(pred)], requires_grad=True),
            "scales_targ": torch.tensor([[1.0, NAN, 4.0]]),
        }

    def test_what_finite_predictions_do_not_tell_is_left_out(self, registry):
        losses = LossFactory({"dependent": Dependent()}, registry=registry)
        # 1 / 0 is infinite and NaN / 2 is NaN: what counts is 4 / 2.
        batch = self.batch(0.0, 2.0, 2.0)
        total = losses(**batch).loss
        assert total.item() == 1.0
        (slope,) = torch.autograd.grad(total, batch["keypoints_pred"])
        assert slope[0, 2].item() == -0.5
        (record,) = losses.records()
        assert record.left_out == {"NaN prediction": 0, "no ratio": 2}

    def test_a_prediction_behind_them_that_is_not_finite_makes_the_loss_nan(self, registry):
        losses = LossFactory({"dependent": Dependent()}, registry=registry)
        batch = self.batch(1.0, NAN, 2.0)
        total = losses(**batch).loss
        assert total.isnan()
        (slope,) = torch.autograd.grad(total, batch["keypoints_pred"])
        assert slope.isnan().all()
        (record,) = losses.records()
        assert record.left_out == {"NaN prediction": 3, "no ratio": 0}
        assert record.used == 0

    def test_it_is_left_out_where_that_is_asked_for(self, registry):
        losses = LossFactory(
            {"dependent": Dependent()}, registry=registry, nan_predictions="leave_out"
        )
        assert losses(**self.batch(1.0, NAN, 2.0)).loss.item() == 0.5 * (1.0 + 2.0) / 2
        (record,) = losses.records()
        assert record.left_out == {"no ratio": 1}

    def test_a_target_behind_them_may_be_missing(self, registry):
        losses = LossFactory({"dependent": Dependent()}, registry=registry)
        assert losses(**self.batch(1.0, 2.0, 2.0)).loss.item() == 0.5 * (1.0 + 2.0) / 2

    def test_what_is_given_though_it_could_be_derived_is_no_prediction(self, registry):
        losses = LossFactory({"dependent": Dependent()}, registry=registry)
        assert losses(ratios_pred=torch.tensor([[3.0, NAN]])).loss.item() == 1.5
        # Beside the prediction that is behind it, that one tells.
        total = losses(
            ratios_pred=torch.tensor([[3.0, NAN]]), keypoints_pred=torch.tensor([[1.0, NAN]])
        ).loss
        assert total.isnan()


RIG = {
    "intrinsics": torch.tensor([[[500.0, 0, 100], [0, 500, 100], [0, 0, 1]]]).repeat(2, 1, 1),
    # The second camera looks at the origin from the side.
    "extrinsics": torch.tensor(
        [
            [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 5]],
            [[0.0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 5]],
        ]
    ),
}


@pytest.mark.parametrize(
    ("name", "value", "num_elements"),
    [
        # 3D errors of 0.1 and 0.3.
        ("supervised_pairwise_projections", 0.5 * 0.2, 2),
        # All points are outside of the maps: 64 pixels of (1 / 64) ** 2.
        ("supervised_reprojection_heatmap_mse", 0.5 / 64, 4),
        # The first keypoint is off by 2 px in both views, the second in none.
        ("multiview_reprojection", 0.5 * 1.0, 4),
    ],
)
def test_of_3d_losses_nan_keypoints_make_nan_and_parallel_rays_do_not(name, value, num_elements):
    losses = LossFactory({name: {}})
    batch = {
        **RIG,
        # The points (0, 0.1, 0) and (0, 0.5, 0).
        "keypoints_targ": torch.tensor([[100.0, 110, 100, 150, 100, 110, 100, 150]]),
        "heatmaps_targ": torch.full((1, 4, 8, 8), 1 / 64),
    }
    # Rays that pass each other on both sides of the origin, and the point (0, 0.2, 0).
    pred = torch.tensor([[100.0, 102, 100, 120, 100, 98, 100, 120]])
    assert losses(keypoints_pred=pred, **batch).loss.item() == pytest.approx(value, rel=1e-3)
    for place in (0, 7):
        spoilt = pred.clone()
        spoilt[0, place] = NAN
        spoilt.requires_grad_()
        total = losses(keypoints_pred=spoilt, **batch).loss
        assert total.isnan()
        assert torch.autograd.grad(total, spoilt)[0].isnan().all()
    (record,) = losses.records()
    assert record.left_out["NaN prediction"] == 2 * num_elements
    # Two cameras beside each other that look the same way, and see both keypoints at one place.
    beside = {
        "intrinsics": RIG["intrinsics"],
        "extrinsics": torch.tensor(
            [
                [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 5]],
                [[1.0, 0, 0, -1], [0, 1, 0, 0], [0, 0, 1, 5]],
            ]
        ),
    }
    same = torch.tensor([[100.0, 100, 120, 110]]).repeat(1, 2).requires_grad_()
    total = losses(keypoints_pred=same, **{**batch, **beside}).loss
    assert total.isfinite()
    assert torch.autograd.grad(total, same)[0].isfinite().all()


def test_one_process_with_nan_makes_the_loss_nan_in_all_processes():
    good = {"keypoints_targ": [[1.0, 1.0]], "keypoints_pred": [[3.0, 1.0]]}
    spoilt = {"keypoints_targ": [[1.0, 1.0]], "keypoints_pred": [[NAN, 1.0]]}
    # It has no element that counts, so its mean is over nothing.
    unlabelled = {"keypoints_targ": [[NAN, NAN]], "keypoints_pred": [[NAN, 1.0]]}
    empty = {"keypoints_targ": torch.zeros(0, 2), "keypoints_pred": torch.zeros(0, 2)}
    cases = {
        "spoilt": ("propagate", spoilt, good),
        "unlabelled": ("propagate", unlabelled, good),
        "empty beside": ("propagate", spoilt, empty),
        "left out": ("leave_out", spoilt, good),
        "finite": ("propagate", good, good),
    }
    first, second = run_in_processes(
        "tests.lploss.data_parallel:errors_and_gradients",
        [
            {name: (mode, batches[rank]) for name, (mode, *batches) in cases.items()}
            for rank in (0, 1)
        ],
        timeout=300.0,
    )
    for name in ("spoilt", "unlabelled", "empty beside"):
        for value, slope, num_all_reduces in (first[name], second[name]):
            assert math.isnan(value), name
            assert all(math.isnan(number) for row in slope for number in row), name
            assert num_all_reduces == 1, name
    # Half the squared error is 2, weighted 1; a slope of 1, twice that where only one counts.
    assert first["left out"] == (1.0, [[0.0, 0.0]], 1)
    assert second["left out"] == (1.0, [[2.0, 0.0]], 1)
    assert first["finite"] == second["finite"] == (1.0, [[1.0, 0.0]], 1)
