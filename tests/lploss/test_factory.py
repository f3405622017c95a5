from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from omegaconf import OmegaConf

import lploss
from lploss import Loss, LossFactory, MissingInputError, PluginLoadWarning, UnknownLossError
from lploss.errors import ArgumentError, ArgumentValueError, ConfigError, PluginError


class Plain(Loss):
    """Supervised, so not annealed."""

    loss_name = "plain"
    kind = "supervised"

    def compute_loss(self, keypoints_targ, keypoints_pred):
        return (keypoints_targ - keypoints_pred).abs()


class Total(Plain):
    """Its log entry has the name of the sum."""

    loss_name = "total"


class Eased(Loss):
    """Unsupervised, so annealed."""

    loss_name = "eased"
    kind = "unsupervised"

    def compute_loss(self, keypoints_pred):
        return keypoints_pred.abs()


class EasedByWord(Plain):
    """Supervised, and annealed because it says so."""

    loss_name = "eased_by_word"
    annealed = True


BATCH = {
    "keypoints_targ": torch.tensor([[0.0, 0.0], [0.0, 0.0]]),
    "keypoints_pred": torch.tensor([[1.0, -2.0], [3.0, -4.0]]),
}
# The mean of the element-wise loss is 2.5, weighted 1.25, for each of the three.


def three():
    return LossFactory({cls.loss_name: cls() for cls in (Plain, Eased, EasedByWord)})


def built_in():
    return LossFactory({"temporal": {"epsilon": 0.5, "log_weight": 5.0}, "rmse": {}})


@pytest.mark.parametrize(
    ("anneal_weight", "total"),
    [
        (None, 3.75),
        (1.0, 3.75),
        (0.5, 2.5),
        (0.0, 1.25),
        (torch.tensor(0.5), 2.5),
        (torch.tensor([0.5]), 2.5),
    ],
)
def test_the_total_is_the_sum_of_the_weighted_losses(anneal_weight, total):
    loss, logs = three()(anneal_weight=anneal_weight, **BATCH)
    assert loss.shape == ()
    assert loss.item() == total
    assert logs[-1]["value"].item() == total


def test_each_loss_and_the_total_are_logged():
    losses = LossFactory({"plain": Plain(log_weight=math.log(2.0)), "eased": Eased()})
    logs = losses(stage="train", anneal_weight=0.5, **BATCH).logs
    assert [(entry["name"], entry["value"].item()) for entry in logs] == [
        ("train_plain_loss", 2.5),
        ("plain_weight", pytest.approx(0.25)),
        ("train_plain_loss_weighted", pytest.approx(0.625)),
        ("train_eased_loss", 2.5),
        ("eased_weight", 0.5),
        ("train_eased_loss_weighted", 0.625),
        ("train_total_loss", pytest.approx(1.25)),
    ]


def test_without_a_stage_the_names_have_no_prefix():
    losses = LossFactory({"plain": Plain()}, total_name="supervised_loss")
    names = [entry["name"] for entry in losses(**BATCH).logs]
    assert names == ["plain_loss", "plain_weight", "plain_loss_weighted", "supervised_loss"]


def test_what_is_logged_carries_no_gradient():
    pred = BATCH["keypoints_pred"].clone().requires_grad_()
    loss, logs = three()(anneal_weight=0.5, **(BATCH | {"keypoints_pred": pred}))
    assert not any(entry["value"].requires_grad for entry in logs)
    loss.backward()
    # Each of four elements counts a quarter, weighted by 0.5, and twice annealed by 0.5.
    assert pred.grad.tolist() == [[0.25, -0.25], [0.25, -0.25]]


def test_an_anneal_weight_must_be_one_number():
    with pytest.raises(ArgumentValueError) as caught:
        three()(anneal_weight=torch.ones(2), **BATCH)
    assert str(caught.value) == "anneal_weight must be one number, got shape (2,)"


def test_keys_that_no_loss_uses_are_ignored():
    assert three()(frame="img07.png", **BATCH).loss.item() == 3.75


def test_a_missing_input_is_told_with_the_first_loss_that_needs_it():
    with pytest.raises(MissingInputError, match=r"^loss 'plain' needs the input 'keypoints_targ'"):
        three()(keypoints_pred=BATCH["keypoints_pred"])


def test_no_losses_give_an_exact_zero():
    losses = LossFactory({})
    total, logs = losses(stage="val", **BATCH)
    assert (total.shape, total.item()) == ((), 0.0)
    assert logs == [{"name": "val_total_loss", "value": total}]
    assert losses.records() == []


def test_losses_are_built_by_name():
    losses = LossFactory({"temporal": {"log_weight": 5.0}, "lploss/rmse": None})
    assert list(losses.losses) == ["temporal", "rmse"]
    assert losses.losses["temporal"].log_weight.item() == 5.0


def test_an_existing_loss_is_taken_as_it_is():
    loss = Plain(log_weight=3.0)
    losses = LossFactory({"plain": loss})
    assert losses.losses["plain"] is loss
    assert losses(**BATCH).loss.item() == pytest.approx(2.5 / 2 / math.exp(3))


def test_preferences_decide_between_providers(site):
    for distribution in ("acme", "other"):
        site.install_loss(distribution, "distance")
    registry = site.registry()
    losses = LossFactory({"distance": {}}, prefer={"distance": "other"}, registry=registry)
    assert type(losses.losses["distance"]).__module__ == "other_losses"
    losses = LossFactory({"acme/distance": {}}, registry=registry)
    assert type(losses.losses["distance"]).__module__ == "acme_losses"


@pytest.mark.mistyped
@pytest.mark.parametrize(
    ("losses", "error", "message"),
    [
        (
            {"temporal": {}, "lploss/temporal": {}},
            ConfigError,
            "the loss 'temporal' is asked for twice, the second time as 'lploss/temporal'",
        ),
        (
            {"plain": Plain(), "mine/plain": Plain()},
            ConfigError,
            "the loss 'plain' is asked for twice, the second time as 'mine/plain'",
        ),
        (
            {"total": Total()},
            ConfigError,
            "the loss 'total' would be logged as 'total_loss', which is the name of the sum: give "
            "another total_name",
        ),
        (
            {"temporal": 5.0},
            ConfigError,
            "losses.temporal must be a mapping of arguments or a loss, got float: 5.0",
        ),
        (
            ["temporal"],
            ConfigError,
            "losses must be a mapping from names to arguments such as {'temporal': {}}, got list: "
            "['temporal']",
        ),
        (
            {"temporal": {"epsilom": 1.0}},
            ArgumentError,
            "loss 'temporal' has no argument 'epsilom'. Did you mean 'epsilon'? "
            "It has: epsilon, prob_threshold, log_weight, nan_predictions.",
        ),
        (
            {"temporal": {"prob_threshold": 5.0}},
            ArgumentValueError,
            "loss 'temporal': prob_threshold must be a finite number from 0 to 1, got 5.0",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(losses, error, message):
    with pytest.raises(error) as caught:
        LossFactory(losses)
    assert str(caught.value) == message


def test_an_unknown_name_is_refused(site):
    with pytest.raises(UnknownLossError, match="Did you mean 'temporal'"):
        LossFactory({"temproal": {}})
    site.install_loss("acme", "distance", target="raise OSError('disk')")
    with pytest.raises(PluginError, match="OSError: disk"):
        LossFactory({"distance": {}}, registry=site.registry())


def test_a_mapping_of_plain_yaml_builds_losses():
    losses = {"temporal": {"log_weight": 5.0, "epsilon": [1.0, 2.0]}, "rmse": None}
    for given in (losses, OmegaConf.create(losses)):
        built = LossFactory.from_config(given).losses
        assert list(built) == ["temporal", "rmse"]
        assert built["temporal"].epsilon.tolist() == [1.0, 2.0]


def test_a_log_weight_of_null_turns_a_loss_off():
    losses = LossFactory.from_config({"temporal": {"log_weight": None}, "rmse": {}})
    assert list(losses.losses) == ["rmse"]
    assert [(record.loss, record.status) for record in losses.records()] == [
        ("rmse", "never called"),
        ("temporal", "off: log_weight is null"),
    ]


def test_a_config_decides_whether_anything_is_recorded():
    assert LossFactory.from_config({"rmse": {}}, record=False).recorder is None


@pytest.mark.mistyped
@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (
            {"temporal": {"epsilom": 1.0}},
            "losses.temporal: the loss has no argument 'epsilom'. Did you mean 'epsilon'? "
            "It has: epsilon, prob_threshold, log_weight, nan_predictions.",
        ),
        (
            {"temporal": {"epsilon": "far"}},
            "losses.temporal: loss 'temporal': epsilon must be a finite number of at least 0, "
            "got 'far'",
        ),
        ({"temporal": 5}, "losses.temporal must be a mapping of arguments, got int: 5"),
        (
            ["temporal"],
            "losses must be a mapping from names to arguments, got list: ['temporal']",
        ),
        (
            {"temporal": {}, "lploss/temporal": {}},
            "the loss 'temporal' is asked for twice, the second time as 'lploss/temporal'",
        ),
        (
            {"temporal": {3: 4}},
            "losses.temporal: the loss has no argument 3. It has: epsilon, prob_threshold, "
            "log_weight, nan_predictions.",
        ),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(losses, message):
    with pytest.raises(ConfigError) as caught:
        LossFactory.from_config(losses)
    assert str(caught.value) == message


def test_the_state_is_that_of_the_losses():
    losses = LossFactory({"temporal": {"epsilon": 2.0, "log_weight": 5.0}})
    assert {name: value.item() for name, value in losses.state_dict().items()} == {
        "losses.temporal.epsilon": 2.0,
        "losses.temporal.log_weight": 5.0,
    }
    other = LossFactory({"temporal": {}})
    other.load_state_dict(losses.state_dict())
    assert other.losses["temporal"].weight.item() == losses.losses["temporal"].weight.item()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))])
def test_a_copy_gives_the_same_total(copied):
    losses = built_in()
    expected = losses(**BATCH).loss.item()
    twin = copied(losses)
    assert twin is not losses
    assert twin(**BATCH).loss.item() == expected


def test_a_failed_plugin_does_not_spoil_copies(site):
    manifest = """
        class Odd(Exception):
            def __init__(self, one, two):
                super().__init__(one)

        raise Odd("a", "b")
    """
    site.install_loss("broken", "bone", manifest=manifest)
    site.install_loss("good", "distance")
    with pytest.warns(PluginLoadWarning):
        losses = LossFactory({"distance": {}}, registry=site.registry())
    twins = [copy.deepcopy(losses)]
    twins.append(pickle.loads(pickle.dumps(losses)))
    for twin in twins:
        assert twin(**BATCH).loss.item() == 1.25
        assert list(twin.losses) == ["distance"]


def test_double_precision_is_kept():
    batch = {name: value.double() / 3 for name, value in BATCH.items()}
    total = three()(anneal_weight=0.5, **batch).loss
    assert total.dtype == torch.float64
    assert total.item() == pytest.approx(2.5 / 3, abs=1e-15)


@pytest.mark.compiles
@pytest.mark.parametrize("anneal_weight", [0.5, torch.tensor(0.5)])
def test_all_losses_compile_into_one_graph(anneal_weight):
    losses = built_in()
    compiled = torch.compile(losses, fullgraph=True, backend="aot_eager")
    pred, twin = (BATCH["keypoints_pred"].clone().requires_grad_() for _ in range(2))
    targ = BATCH["keypoints_targ"]
    inputs = {"stage": "train", "anneal_weight": anneal_weight, "keypoints_targ": targ}
    eager = losses(keypoints_pred=pred, **inputs)
    result = compiled(keypoints_pred=twin, **inputs)
    eager.loss.backward()
    result.loss.backward()
    assert result.loss.item() == pytest.approx(eager.loss.item(), rel=1e-6)
    assert [entry["name"] for entry in result.logs] == [entry["name"] for entry in eager.logs]
    torch.testing.assert_close(pred.grad, twin.grad)


def test_a_loss_may_log_in_its_own_way():
    class Quiet(Loss):
        loss_name, kind = "quiet", "supervised"

        def compute_loss(self, keypoints_pred):
            return keypoints_pred.abs()

        def log_loss(self, loss, stage=None):
            return super().log_loss(loss, stage)[:1]

    result = LossFactory({"quiet": Quiet()})(keypoints_pred=torch.ones(2, 2))
    assert [entry["name"] for entry in result.logs] == [
        "quiet_loss",
        "quiet_loss_weighted",
        "total_loss",
    ]


def test_scaling_the_total_in_place_leaves_the_logs_and_the_records():
    factory = LossFactory({"temporal": {}})
    result = factory(keypoints_pred=torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True))
    with torch.no_grad():
        result.loss.div_(4)
    assert [entry["value"].item() for entry in result.logs] == [5.0, 0.5, 2.5, 2.5]
    assert factory.records()[0].weighted == 2.5


def test_the_precision_of_one_loss_is_not_that_of_another():
    factory = LossFactory({"temporal": {}, "rmse": {}})
    factory.losses["temporal"].double()
    batch = {"keypoints_targ": torch.zeros(2, 2), "keypoints_pred": torch.ones(2, 2)}
    dtypes = {entry["name"]: entry["value"].dtype for entry in factory(**batch).logs}
    assert dtypes["temporal_weight"] == torch.float64
    assert dtypes["rmse_weight"] == dtypes["rmse_loss_weighted"] == torch.float32


def test_a_loss_given_under_another_name_is_refused():
    with pytest.raises(ConfigError) as caught:
        LossFactory({"mine": lploss.create_loss("rmse")})
    assert str(caught.value) == (
        "the loss given as 'mine' is called 'rmse', and so it is logged. Give it as 'rmse'."
    )
