from __future__ import annotations

import sys
import textwrap

import pytest
import torch
from omegaconf import OmegaConf

import lploss
from lploss import (
    LossFactory,
    UnknownLossError,
    get_loss_classes,
    get_loss_factories,
    load_config,
)
from lploss.config import unknown_key
from lploss.config.factories import LossClasses
from lploss.errors import (
    AmbiguousNameError,
    ArgumentError,
    ConfigError,
    FitError,
    LossDefinitionError,
    MissingArgumentError,
    PluginError,
)
from lploss.specs import LossSpec


def test_classes_are_imported_when_they_are_looked_up(site):
    site.install_loss("acme", "distance")
    site.install_loss("broken", "bone", target="raise RuntimeError('no driver')")
    classes = LossClasses(site.registry())
    assert (list(classes), len(classes)) == (["bone", "distance"], 2)
    assert "bone" in classes
    assert "acme_losses" not in sys.modules
    assert classes["distance"].loss_name == "distance"
    assert classes["acme/distance"] is classes["distance"]
    with pytest.raises(PluginError, match="no driver"):
        classes["bone"]
    assert "distnace" not in classes
    assert classes.get("distnace") is None
    with pytest.raises(UnknownLossError, match="Did you mean 'distance'"):
        classes["distnace"]


def test_all_installed_losses_are_to_be_had_as_classes():
    classes = get_loss_classes()
    assert sorted(classes) == lploss.list_losses()
    assert classes["temporal"] is lploss.load_loss("temporal")


STUBS = """
    from lploss import Loss

    class Labels(Loss):
        loss_name, kind = "labels", "supervised"

        def compute_loss(self, keypoints_targ): ...

    class HeatmapMSE(Labels):
        loss_name = "heatmap_mse"

    class HeatmapKL(Labels):
        loss_name = "heatmap_kl"

    class Regression(Labels):
        loss_name = "regression"

    class Motion(Labels):
        loss_name, kind = "motion", "unsupervised"

    class Subspace(Labels):
        loss_name, kind = "subspace", "unsupervised"
        config_paths = {
            "matches": "data.mirrored_column_matches",
            "names": "data.keypoint_names",
        }

        def __init__(self, *, matches, names=("default",), data_module=None, **kwargs):
            super().__init__(**kwargs)
            self.matches, self.names, self.data_module = matches, names, data_module
            if data_module == "spoilt":
                raise ValueError("too few frames")
"""

STUB_CLASSES = {
    "labels": "Labels",
    "heatmap_mse": "HeatmapMSE",
    "heatmap_kl": "HeatmapKL",
    "regression": "Regression",
    "motion": "Motion",
    "subspace": "Subspace",
}


@pytest.fixture
def stubs(site):
    site.install_losses("stubs", STUB_CLASSES, STUBS)
    return site.registry(strict=True)


def names(factories):
    return {kind: list(factory.losses) for kind, factory in factories.items()}


@pytest.mark.parametrize(
    ("config", "supervised", "unsupervised"),
    [
        ({}, [], []),
        ({"model": {"model_type": "heatmap"}}, ["heatmap_mse"], []),
        (
            {"model": {"model_type": "heatmap_mhcrnn", "heatmap_loss_type": "kl"}},
            ["heatmap_kl"],
            [],
        ),
        (
            {"model": {"model_type": "regression", "losses_to_use": ["motion"]}},
            ["regression"],
            ["motion"],
        ),
        # A supervised loss runs because it stands there; an unsupervised one waits to be named.
        (
            {"model": {"model_type": "heatmap"}, "losses": {"labels": {}, "motion": {}}},
            ["heatmap_mse", "labels"],
            [],
        ),
        (
            {"model": {"losses_to_use": ["stubs/motion", "labels"]}, "losses": {"labels": None}},
            ["labels"],
            ["motion"],
        ),
        ({"model": {"losses_to_use": None}}, [], []),
    ],
)
def test_what_the_config_asks_for_runs(stubs, config, supervised, unsupervised):
    factories = get_loss_factories(config, registry=stubs)
    assert names(factories) == {"supervised": supervised, "unsupervised": unsupervised}


def test_factories_are_built_from_a_file_or_a_loaded_config(stubs, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("model:\n  losses_to_use: [motion]\nlosses:\n  motion:\n    epsilon: 2.0\n")
    for cfg in (path, str(path), load_config(path), OmegaConf.load(path)):
        factories = get_loss_factories(cfg, registry=stubs)
        assert factories["unsupervised"].losses["motion"].epsilon.item() == 2.0


def test_the_arguments_of_a_loss_come_from_its_entry(stubs):
    config = {
        "training": {"train_prob": 0.5},
        "model": {"model_type": "heatmap", "losses_to_use": ["stubs/motion"]},
        "losses": {
            "heatmap_mse": {"log_weight": 1.5},
            "motion": {"epsilon": "${training.train_prob}"},
        },
    }
    factories = get_loss_factories(config, registry=stubs)
    assert factories["supervised"].losses["heatmap_mse"].log_weight.item() == 1.5
    assert factories["unsupervised"].losses["motion"].epsilon.item() == 0.5


def test_totals_are_named_by_the_kind(stubs):
    factories = get_loss_factories({}, registry=stubs, record=False)
    assert [factory().logs[-1]["name"] for factory in factories.values()] == [
        "supervised_loss",
        "unsupervised_loss",
    ]
    assert {factory.recorder for factory in factories.values()} == {None}


def test_a_loss_takes_what_it_needs_from_the_whole_config(stubs):
    config = {
        "data": {"mirrored_column_matches": [[0, 1], [2, 3]]},
        "model": {"losses_to_use": ["subspace"]},
    }
    data_module = object()
    loss = get_loss_factories(config, data_module, registry=stubs)["unsupervised"].losses[
        "subspace"
    ]
    assert loss.matches == [[0, 1], [2, 3]]
    assert type(loss.matches) is list
    assert loss.names == ("default",)
    assert loss.data_module is data_module
    config["losses"] = {"subspace": {"matches": [[4], [5]], "names": ["nose"]}}
    loss = get_loss_factories(config, registry=stubs)["unsupervised"].losses["subspace"]
    assert (loss.matches, loss.names, loss.data_module) == ([[4], [5]], ["nose"], None)


def test_a_misspelled_path_of_a_loss_is_no_absent_value(stubs, monkeypatch):
    subspace = stubs.load(LossSpec, "subspace")
    monkeypatch.setattr(subspace, "config_paths", {"matches": "data.mirored_column_matches"})
    with pytest.raises(LossDefinitionError) as caught:
        get_loss_factories({"model": {"losses_to_use": ["subspace"]}}, registry=stubs)
    assert str(caught.value) == (
        "Subspace.config_paths['matches'] is 'data.mirored_column_matches': there is no key "
        "'mirored_column_matches' in section 'data'. Did you mean 'mirrored_column_matches'?"
    )


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("data.keypoint_names", None),
        ("data.image_orig_dims.height", None),
        ("losses.bone_length.bones", None),
        ("data.csv_file.top", None),  # any form
        ("dataa.keypoint_names", "there is no key 'dataa' in the config. Did you mean 'data'"),
        ("data.keypoint_names.first", "there is no key 'first' in section 'data.keypoint_names'."),
    ],
)
def test_paths_are_looked_up_in_the_schema(path, problem):
    found = unknown_key(path)
    assert found is None if problem is None else str(found).startswith(problem)


def test_a_log_weight_of_null_turns_a_loss_off(stubs):
    config = {
        "model": {"model_type": "heatmap", "losses_to_use": ["motion"]},
        "losses": {"labels": {"log_weight": None}, "motion": {"log_weight": None}},
    }
    factories = get_loss_factories(config, registry=stubs)
    assert names(factories) == {"supervised": ["heatmap_mse"], "unsupervised": []}
    told = {
        kind: [(record.loss, record.status) for record in factory.records()]
        for kind, factory in factories.items()
    }
    assert told == {
        "supervised": [("heatmap_mse", "never called"), ("labels", "off: log_weight is null")],
        "unsupervised": [("motion", "off: log_weight is null")],
    }


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (
            {"model": {"losses_to_use": ["motion", "subspace", "motion"]}},
            ConfigError,
            "model.losses_to_use names motion twice",
        ),
        (
            {"model": {"losses_to_use": ["motion", "stubs/motion"]}},
            ConfigError,
            "the loss 'motion' is asked for twice, the second time as 'stubs/motion'",
        ),
        (
            {"losses": {"motoin": {}}},
            UnknownLossError,
            "there is no loss 'motoin'. Did you mean 'motion'?\n"
            "Known: heatmap_kl, heatmap_mse, labels, motion, regression, subspace.",
        ),
        (
            {"model": {"model_type": "heatmap", "heatmap_loss_type": "mae"}},
            UnknownLossError,
            "there is no loss 'heatmap_mae'. Did you mean 'heatmap_mse' or 'heatmap_kl'?\n"
            "Known: heatmap_kl, heatmap_mse, labels, motion, regression, subspace.",
        ),
        (
            {"losses": {"motion": {"epsilom": 1}}},
            ConfigError,
            "losses.motion: the loss has no argument 'epsilom'. Did you mean 'epsilon'? "
            "It has: epsilon, log_weight, nan_predictions.",
        ),
        (
            {"model": {"losses_to_use": ["subspace"]}},
            ConfigError,
            "losses.subspace: the loss must be given 'matches' (or data.mirrored_column_matches in "
            "the config). It has: matches, names, data_module, epsilon, log_weight, "
            "nan_predictions.",
        ),
        (
            {"model": {"losses_to_use": "${data.keypoints}"}},
            ConfigError,
            "model.losses_to_use: Interpolation key 'data.keypoints' not found",
        ),
        (
            {"losses": {"labels": {"epsilon": "${data.eps}"}}},
            ConfigError,
            "losses.labels.epsilon: Interpolation key 'data.eps' not found",
        ),
        (
            {
                "model": {"losses_to_use": ["subspace"]},
                "data": {"mirrored_column_matches": "${nowhere}"},
            },
            ConfigError,
            "data.mirrored_column_matches: Interpolation key 'nowhere' not found",
        ),
    ],
)
def test_what_cannot_run_raises(stubs, config, error, message):
    with pytest.raises(error) as caught:
        get_loss_factories(config, registry=stubs)
    assert str(caught.value) == message


CHAIN = """
    from __future__ import annotations

    from collections.abc import Sequence

    from lploss import Loss

    class Chain(Loss):
        loss_name, kind = "chain", "unsupervised"

        def __init__(
            self,
            links: Sequence[Sequence[str]],
            length: float,
            strict: bool = False,
            closed=True,
            mode: bool | str = "auto",
            label: str | None = None,
            *,
            epsilon=0.0,
            log_weight=0.0,
        ):
            super().__init__(epsilon=epsilon, log_weight=log_weight)
            self.given = (links, length, strict, closed, mode, label)

        def compute_loss(self, keypoints_pred): ...
"""


@pytest.fixture
def chain(site):
    site.install_losses("acme", {"chain": "Chain"}, textwrap.dedent(CHAIN))
    return site.registry(strict=True)


def test_names_and_truth_values_of_a_file_are_what_the_loss_is_annotated_with(chain, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "model: {losses_to_use: [chain]}\nlosses:\n  chain:\n    links: [[on, no], [001, 12:30]]\n"
        "    length: 3\n    strict: yes\n    closed: Off\n    mode: no\n    label: null\n"
    )
    loss = get_loss_factories(path, registry=chain)["unsupervised"].losses["chain"]
    assert loss.given == ([["on", "no"], ["001", "12:30"]], 3, True, False, "no", None)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        (
            {},
            MissingArgumentError,
            "losses.chain: the loss must be given 'links' and 'length'. It has: links, length, "
            "strict, closed, mode, label, epsilon, log_weight.",
        ),
        (
            {"links": [["on", 1.5]], "length": 3},
            ConfigError,
            "losses.chain: links must hold text, got 1.5. Put it into quotes.",
        ),
        (
            {"links": [], "label": True},
            ConfigError,
            "losses.chain: label must hold text, got True. Put it into quotes.",
        ),
        (
            OmegaConf.create({"links": [["a", "???"]], "length": 3}),
            ConfigError,
            "losses.chain: links is missing: ??? stands for a value that must be given",
        ),
    ],
)
def test_arguments_that_are_missing_or_no_names_are_refused(chain, params, error, message):
    with pytest.raises(ConfigError) as caught:
        LossFactory.from_config({"chain": params}, registry=chain)
    assert type(caught.value) is error
    assert str(caught.value) == message


def test_an_argument_that_is_missing_in_python_is_named(chain):
    with pytest.raises(ArgumentError) as caught:
        LossFactory({"chain": {"length": 3}}, registry=chain)
    assert str(caught.value) == "loss 'chain' must be given 'links'"


def test_an_error_of_a_constructor_says_which_loss(stubs):
    config = {"model": {"losses_to_use": ["subspace"]}, "losses": {"subspace": {"matches": []}}}
    with pytest.raises(ConfigError) as caught:
        get_loss_factories(config, "spoilt", registry=stubs)
    assert str(caught.value) == "losses.subspace: too few frames"


def test_the_config_may_prefer_a_provider(site):
    for distribution in ("acme", "other"):
        site.install_loss(distribution, "distance")
    config = {"model": {"losses_to_use": ["distance"]}}
    with pytest.raises(AmbiguousNameError):
        get_loss_factories(config, registry=site.registry())
    config["prefer"] = {"distance": "other"}
    factories = get_loss_factories(config, registry=site.registry())
    assert type(factories["unsupervised"].losses["distance"]).__module__ == "other_losses"


def test_an_unknown_model_type_lists_each_known_one_once():
    with pytest.raises(ConfigError) as caught:
        get_loss_factories({"model": {"model_type": "heetmap"}})
    _, _, known = str(caught.value).partition(" Known: ")
    assert "Did you mean 'heatmap'" in str(caught.value)
    names = known.removesuffix(".").split(", ")
    assert names == sorted(
        {"regression", "heatmap", "heatmap_mhcrnn", "heatmap_multiview_transformer"}
        | set(lploss.list_models())
    )


@pytest.mark.parametrize("model_type", ["heatmpa", "regresion", "trnasformer"])
def test_a_model_type_that_nobody_knows_is_refused(model_type):
    with pytest.raises(ConfigError, match=f"there is no model.model_type '{model_type}'"):
        get_loss_factories({"model": {"model_type": model_type}})


def test_labels_that_cannot_be_fitted_are_no_fault_of_the_config():
    config = {"model": {"losses_to_use": ["pca_singleview"]}}
    with pytest.raises(FitError, match="too few labels"):
        get_loss_factories(config, torch.zeros(3, 8))
