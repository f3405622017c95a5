from __future__ import annotations

import textwrap

import numpy as np
import pytest

from lploss import load_config
from lploss.errors import ConfigError, MissingArgumentError, PluginError, UnknownLossError
from lploss.registry import default_registry
from lploss_builtin.data.poses.table import PoseNames
from lploss_builtin.scoring.keypoint_order import with_indices_of
from lploss_builtin.scoring.loss_choice import Material, choose_losses
from tests.lploss_builtin.data.keypoint_tables import pose_table

NAMES = ("a_top", "b_top", "a_bot", "b_bot")


def some_labels():
    rng = np.random.default_rng(0)
    points = rng.normal(0, 50, (60, 2, 3)) @ rng.normal(0, 1, (3, 4)) + rng.normal(
        0, 0.1, (60, 2, 4)
    )
    # Two keypoints in two views, each view x and y: a_top b_top a_bot b_bot.
    poses = points.reshape(60, 2, 2, 2).transpose(0, 2, 1, 3).reshape(60, 8)
    return pose_table(poses, NAMES, path="l.csv")


def material(
    config=None, *, labels=None, targets=False, confidences=True, registry=default_registry
):
    return Material(PoseNames(NAMES), load_config(config), labels, confidences, targets, registry)


def chosen(*args, names=None, **kwargs):
    losses, left_out = choose_losses(material(*args, **kwargs), names)
    return [loss.name for loss in losses], left_out


PAIRS = {"data": {"mirrored_column_matches": [[0, 1], [2, 3]]}}


def test_without_anything_asked_for_what_can_run_does():
    names, left_out = chosen()
    assert names == ["temporal"]
    assert left_out["heatmap_mse"] == "needs heatmaps_targ and heatmaps_pred, which no file gives"
    assert left_out["rmse"] == "needs keypoints_targ, which no file gives"
    assert left_out["pca_singleview"] == "needs labels (--labels FILE)"
    assert left_out["pca_multiview"] == "needs labels (--labels FILE)"
    assert left_out["multiview_reprojection"] == "needs calibrated views (--calibration FILE)"
    assert left_out["supervised_pairwise_projections"] == (
        "needs calibrated views (--calibration FILE), and keypoints_targ_3d, which no file gives"
    )


def test_labels_let_more_run():
    names, left_out = chosen(PAIRS, labels=some_labels(), targets=True)
    assert names == ["pca_multiview", "pca_singleview", "regression", "rmse", "temporal"]
    assert set(left_out) == {
        "heatmap_js",
        "heatmap_kl",
        "heatmap_mse",
        "multiview_reprojection",
        "supervised_pairwise_projections",
        "supervised_reprojection_heatmap_mse",
        "temporal_heatmap_kl",
        "temporal_heatmap_mse",
    }
    names, left_out = chosen(labels=some_labels())
    assert left_out["pca_multiview"] == "needs data.mirrored_column_matches"
    assert "pca_singleview" in names


def test_losses_of_the_config():
    config = {"model": {"losses_to_use": ["temporal"]}, "losses": {"pca_singleview": {}}}
    assert chosen(config) == (["temporal"], {})
    config = {"losses": {"temporal": {"epsilon": 3.0}, "pca_singleview": {}}}
    losses, left_out = choose_losses(material(config))
    assert [loss.one_epsilon for loss in losses] == [3.0]
    assert left_out == {"pca_singleview": "needs labels (--labels FILE)"}


def test_losses_that_the_config_turns_off():
    config = {"losses": {"temporal": {"log_weight": None}, "rmse": {}}}
    with pytest.raises(
        ConfigError,
        match="temporal: log_weight is null, the config turns it off\n  rmse: needs",
    ):
        chosen(config)
    assert chosen(config, names=["temporal"]) == (["temporal"], {})


def test_losses_asked_for_by_name():
    assert chosen({"losses": {"pca_singleview": {}}}, names=["temporal"]) == (["temporal"], {})
    config = {"losses": {"temporal": {"epsilon": 7.0}}}
    losses, _ = choose_losses(material(config), ["lploss/temporal"])
    assert [(loss.name, loss.one_epsilon) for loss in losses] == [("temporal", 7.0)]


@pytest.mark.parametrize(
    ("config", "names", "message"),
    [
        (None, ["pca_singleview"], r"'pca_singleview' needs labels \(--labels FILE\)\."),
        (
            None,
            ["pca_multiview"],
            r"'pca_multiview' needs labels \(--labels FILE\)\.",
        ),
        (None, ["rmse"], r"'rmse' needs keypoints_targ, which no file gives\.\nloss 'rmse' needs"),
        ({"model": {"losses_to_use": ["heatmap_kl"]}}, None, r"'heatmap_kl' needs heatmaps_targ"),
        (None, ["temporal", "lploss/temporal"], r"'temporal' is asked for twice\. Ask for it once"),
        ({"model": {"losses_to_use": ["rmse", "rmse"]}}, None, r"'rmse' is asked for twice"),
        (
            {"losses": {"temporal": {"epsilom": 1}}},
            None,
            r"no argument 'epsilom'\. Did you mean 'eps",
        ),
        ({"losses": {"temporal": {"epsilon": -1.0}}}, None, r"losses\.temporal: .* got -1\.0"),
        ({"losses": {"temporal": 3}}, ["temporal"], r"losses\.temporal must be a mapping"),
    ],
)
def test_losses_that_cannot_run(config, names, message):
    with pytest.raises(ConfigError, match=message):
        chosen(config, names=names)


def test_labels_alone_are_not_enough_for_several_views():
    message = r"'pca_multiview' needs data\.mirrored_column_matches\.\nlosses\.pca_multiview: loss"
    with pytest.raises(ConfigError, match=message):
        chosen(names=["pca_multiview"], labels=some_labels())


@pytest.mark.parametrize("config", [None, {"losses": {"temproal": {}}}])
def test_unknown_losses(config):
    with pytest.raises(UnknownLossError, match=r"no loss 'temproal'\. Did you mean 'temporal'\?"):
        chosen(config, names=None if config else ["temproal"])


def test_an_epsilon_for_other_keypoints_is_refused():
    with pytest.raises(Exception, match="epsilon"):
        chosen({"losses": {"temporal": {"epsilon": [1.0, 2.0]}}}, names=["temporal"])


def test_a_broken_plugin_is_left_out_or_raises_where_it_is_asked_for(site):
    site.install_loss("good", "distance")
    site.install_loss("bad", "broken", target="raise RuntimeError('no GPU')")
    site.install_loss(
        "ugly",
        "needs_more",
        target="""
        from lploss import Loss

        class Distance(Loss):
            loss_name, kind = "needs_more", "unsupervised"

            def __init__(self, size):
                raise RuntimeError("too small")

            def compute_loss(self, keypoints_pred):
                return keypoints_pred
    """,
    )
    registry = site.registry()
    with pytest.raises(ConfigError, match="no loss can be scored") as caught:
        chosen(registry=registry)
    assert "no GPU" in str(caught.value)
    with pytest.raises(PluginError, match="no GPU"):
        chosen(registry=registry, names=["broken"])


def test_a_loss_of_a_third_party_runs(site):
    site.install_loss(
        "acme",
        "bones",
        target="""
        from lploss import Loss

        class Distance(Loss):
            loss_name, kind = "bones", "unsupervised"

            def compute_loss(self, keypoints_pred):
                return (keypoints_pred[:, 2:] - keypoints_pred[:, :-2])[:, ::2].abs()

            def element_names(self, keypoint_names):
                return [f"{a}-{b}" for a, b in zip(keypoint_names[1:], keypoint_names)]
    """,
    )
    losses, left_out = choose_losses(material(registry=site.registry()))
    assert [loss.element_names for loss in losses] == [
        ("b_top-a_top", "a_bot-b_top", "b_bot-a_bot")
    ]
    assert left_out == {}


@pytest.mark.parametrize(
    ("losses", "error", "message"),
    [
        (
            {"temporal": {}, "pca_multiview": {"componets": 3}},
            ConfigError,
            r"losses\.pca_multiview: the loss has no argument 'componets'",
        ),
        ({"temproal": {"epsilon": 1.0}}, UnknownLossError, r"no loss 'temproal'"),
        ({"temproal": None}, UnknownLossError, r"no loss 'temproal'"),
        ({"rmse": 3}, ConfigError, r"losses\.rmse must be a mapping"),
    ],
)
@pytest.mark.parametrize("asked", ["model", "names", "nothing"])
@pytest.mark.parametrize("labels", [None, some_labels()], ids=["alone", "labels"])
def test_entries_that_are_not_scored_are_checked_too(losses, error, message, asked, labels):
    config = {"losses": losses}
    if asked == "model":
        config["model"] = {"losses_to_use": ["temporal"]}
    with pytest.raises(error, match=message):
        chosen(config, names=["temporal"] if asked == "names" else None, labels=labels)


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"components_to_keep": "many"}, marks=pytest.mark.mistyped),
        {"empirical_epsilon_percentile": 101},
    ],
)
def test_values_that_are_refused_are_not_taken_for_lacking_labels(params):
    name = next(iter(params))
    for loss in ("pca_singleview", "pca_multiview"):
        with pytest.raises(ConfigError, match=rf"losses\.{loss}: .*{name} must be"):
            chosen({"losses": {"temporal": {}, loss: params}})


@pytest.mark.mistyped
def test_matches_that_are_given_are_not_taken_for_lacking():
    config = {"losses": {"temporal": {}, "pca_multiview": {"mirrored_column_matches": 3}}}
    with pytest.raises(ConfigError, match=r"mirrored_column_matches must hold a list .*, got 3"):
        chosen(config, labels=some_labels())


LIMBS = """
    from lploss import Loss
    from lploss.errors import NotFittedError

    class Limbs(Loss):
        loss_name, kind = "symmetric_limbs", "unsupervised"
        config_paths = {"keypoint_names": "data.keypoint_names", "views": "data.view_names"}

        def __init__(
            self, keypoint_names, data_module=None, *, views=None, epsilon=0.0, log_weight=0.0
        ):
            super().__init__(epsilon=epsilon, log_weight=log_weight)
            self.given = (list(keypoint_names), views)

        def compute_loss(self, keypoints_pred):
            return keypoints_pred[:, ::2]

    class Fitted(Limbs):
        loss_name = "fitted_limbs"

        def compute_loss(self, keypoints_pred):
            raise NotFittedError("give labels")

    class Chosen(Limbs):
        loss_name = "chosen_limbs"

        def __init__(self, keypoint_names, pairs, data_module, **kwargs):
            super().__init__(keypoint_names, data_module, **kwargs)

    class Odd(Limbs):
        loss_name = "odd_limbs"

        def __init__(self, keypoint_names, data_module=None, *, views=None):
            raise ZeroDivisionError("no limb")
"""


@pytest.fixture
def limbs(site):
    classes = {
        "symmetric_limbs": "Limbs",
        "fitted_limbs": "Fitted",
        "chosen_limbs": "Chosen",
        "odd_limbs": "Odd",
    }
    site.install_losses("acme", classes, textwrap.dedent(LIMBS))
    return site.registry()


def limbs_material(registry, config=None, names=NAMES, views=()):
    pose = PoseNames(names, views)
    full = with_indices_of(load_config(config), pose)
    return Material(pose, full, None, True, False, registry)


def test_names_of_keypoints_and_views_come_from_the_predictions(limbs):
    for config, names, views, expected in (
        (None, NAMES, (), (list(NAMES), None)),
        (None, ("nose", "tail"), ("top", "side"), (["nose", "tail"], ["top", "side"])),
        # Those of the config are others, or in another order, than those of the batch.
        (
            {"data": {"keypoint_names": ["x", "tail"]}},
            ("tail", "nose"),
            (),
            (["tail", "nose"], None),
        ),
    ):
        (loss,) = choose_losses(limbs_material(limbs, config, names, views), ["symmetric_limbs"])[0]
        assert loss._loss.given == expected


@pytest.mark.parametrize(
    ("name", "config", "error", "message"),
    [
        (
            "fitted_limbs",
            None,
            ConfigError,
            r"'fitted_limbs' needs labels \(--labels FILE\)\.\ngive",
        ),
        (
            "chosen_limbs",
            None,
            MissingArgumentError,
            r"^losses\.chosen_limbs: the loss must be given 'pairs' and 'data_module'\. It has:",
        ),
        (
            "chosen_limbs",
            {"losses": {"chosen_limbs": {"pairs": [["a", "b"]]}}},
            ConfigError,
            r"'chosen_limbs' needs labels \(--labels FILE\)\.\nlosses\.chosen_limbs: the loss must "
            r"be given 'data_module'",
        ),
        ("odd_limbs", None, PluginError, r"raised ZeroDivisionError: no limb"),
    ],
)
def test_labels_are_only_called_missing_where_they_are(limbs, name, config, error, message):
    with pytest.raises(error, match=message):
        choose_losses(limbs_material(limbs, config), [name])


def test_a_loss_that_was_not_asked_for_is_left_out_with_the_argument_that_it_lacks(limbs):
    chosen, left_out = choose_losses(limbs_material(limbs))
    assert [loss.name for loss in chosen] == ["symmetric_limbs"]
    assert left_out == {
        "fitted_limbs": "needs labels (--labels FILE)",
        "chosen_limbs": "losses.chosen_limbs: the loss must be given 'pairs' and 'data_module'. It "
        "has: keypoint_names, pairs, data_module, views, epsilon, log_weight.",
        "odd_limbs": "ZeroDivisionError: no limb",
    }


RAISES = """
    from lploss import Loss

    class Distance(Loss):
        loss_name, kind = "raises", "unsupervised"

        def compute_loss(self, keypoints_pred):
            raise RuntimeError({text!r})
"""


@pytest.mark.parametrize(("text", "line"), [("no\nGPU", "RuntimeError: no"), ("", "RuntimeError")])
def test_a_loss_that_raises(site, text, line):
    site.install_loss("acme", "raises", target=RAISES.format(text=text))
    registry = site.registry()
    with pytest.raises(ConfigError, match=rf"no loss can be scored:\n  raises: {line}$"):
        chosen(registry=registry)
    message = rf"the loss 'raises' cannot be evaluated: Distance of \w+ raised {line}\. Leave"
    for config, names in ((None, ["raises"]), ({"losses": {"raises": {}}}, None)):
        with pytest.raises(PluginError, match=message):
            chosen(config, registry=registry, names=names)
