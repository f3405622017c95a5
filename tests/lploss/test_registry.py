from __future__ import annotations

import copy
import importlib.metadata
import pickle
import textwrap
import warnings

import pytest
import torch

import lploss
from lploss import (
    CommandSpec,
    InputSpec,
    LossSpec,
    ModelSpec,
    PluginLoadWarning,
    Registry,
    UnknownLossError,
)
from lploss.errors import (
    AmbiguousNameError,
    ArgumentError,
    PluginError,
    UnknownInputError,
    UnknownModelError,
    UnknownNameError,
)
from lploss.registry import default_registry
from tests.conftest import LOSS_MODULE

BROKEN = "raise RuntimeError('no driver')"
BROKEN_WARNING = (
    "plugin broken 1.0 (broken) is left out: import of the manifest broken_manifest: RuntimeError: "
    "no driver. "
    "`lploss plugins` shows more."
)


def losses_of(registry):
    return registry.names(LossSpec)


def load_failure(registry, name):
    with pytest.raises(PluginError) as caught:
        registry.load(LossSpec, name)
    return caught.value


def test_a_broken_plugin_is_warned_about_once_and_the_others_work(site):
    site.install_loss("broken", "bone", manifest=BROKEN)
    site.install_loss("good", "distance")
    registry = site.registry()
    with pytest.warns(PluginLoadWarning) as caught:
        assert losses_of(registry) == ["distance"]
    assert [str(warning.message) for warning in caught] == [BROKEN_WARNING]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry.load(LossSpec, "distance").loss_name == "distance"
        assert losses_of(registry) == ["distance"]
    (failure,) = registry.failures.items()
    assert failure[0] == "broken 1.0 (broken)"
    assert "RuntimeError: no driver" in failure[1].traceback
    assert "broken_manifest.py" in failure[1].traceback


def test_a_warning_made_an_error_stops_nothing_the_second_time(site):
    site.install_loss("broken", "bone", manifest=BROKEN)
    site.install_loss("good", "distance")
    registry = site.registry()
    with pytest.raises(PluginLoadWarning):
        losses_of(registry)
    assert losses_of(registry) == ["distance"]


def test_strict_mode_raises_at_once_and_again(site, monkeypatch):
    monkeypatch.setenv("LPLOSS_STRICT", "yes")
    site.install_loss("broken", "bone", manifest=BROKEN)
    site.install_loss("good", "distance")
    registry = site.registry()
    for _ in range(2):
        with pytest.raises(PluginError) as caught:
            losses_of(registry)
        assert str(caught.value) == BROKEN_WARNING.removesuffix(". `lploss plugins` shows more.")
        assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("value", ["", "0"])
def test_strict_mode_is_off_unless_asked_for(site, monkeypatch, value):
    monkeypatch.setenv("LPLOSS_STRICT", value)
    assert not site.registry().strict
    assert site.registry(strict=True).strict


def test_the_allow_list_of_the_environment_blocks_everybody_else(site, monkeypatch):
    site.install_loss("acme-losses", "bone")
    site.install_loss("other", "distance")
    monkeypatch.setenv("LPLOSS_PLUGINS", " Acme_Losses ,")
    registry = site.registry()
    assert losses_of(registry) == ["bone"]
    with pytest.raises(UnknownLossError) as caught:
        registry.find(LossSpec, "distance")
    assert str(caught.value) == (
        "there is no loss 'distance'.\n"
        "Known: bone.\n"
        "These distributions are not on the allow-list (LPLOSS_PLUGINS): other."
    )
    monkeypatch.setenv("LPLOSS_PLUGINS", "")
    assert losses_of(site.registry()) == []
    assert losses_of(site.registry(allow=["Other"])) == ["distance"]


def test_refresh_finds_what_was_installed_since(site):
    registry = Registry()
    assert "late" not in losses_of(registry)
    site.install_loss("acme", "late")
    assert "late" not in losses_of(registry)
    registry.refresh()
    assert "late" in losses_of(registry)


def test_listing_imports_no_target(site):
    site.install_loss("broken", "bone", target=BROKEN)
    registry = site.registry()
    assert losses_of(registry) == ["bone"]
    assert registry.failures == {}


def test_an_unknown_name_lists_close_matches_failures_and_what_is_blocked(site):
    site.install_loss("good", "distance")
    site.install_loss("broken", "bone", manifest=BROKEN)
    site.install_loss("blocked", "limb")
    registry = site.registry(allow=["good", "broken"])
    with pytest.warns(PluginLoadWarning), pytest.raises(UnknownLossError) as caught:
        registry.load(LossSpec, "distnace")
    assert str(caught.value) == (
        "there is no loss 'distnace'. Did you mean 'distance'?\n"
        "Known: distance.\n"
        "These plugins failed to load, and may be the ones that provide it:\n"
        "  broken 1.0 (broken): import of the manifest broken_manifest: RuntimeError: no driver\n"
        "These distributions are not on the allow-list (LPLOSS_PLUGINS): blocked."
    )


def test_without_package_metadata_the_error_says_so(site, monkeypatch):
    site.install_loss("acme", "distance")
    alone = list(importlib.metadata.distributions(path=[str(site.folder)]))
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: iter(alone))
    registry = Registry()
    with pytest.warns(PluginLoadWarning, match="metadata of lploss is missing"):
        assert losses_of(registry) == ["distance"]
    with pytest.raises(UnknownLossError) as caught:
        registry.load(LossSpec, "temporal")
    first, cause, known = str(caught.value).splitlines()
    assert (first, known) == ("there is no loss 'temporal'.", "Known: distance.")
    assert cause.startswith("The package metadata of lploss is missing, so its losses, models and")
    assert "--copy-metadata lploss" in cause
    alone.clear()
    registry = Registry()
    with pytest.warns(PluginLoadWarning), pytest.raises(UnknownLossError) as caught:
        registry.load(LossSpec, "temporal")
    assert str(caught.value) == f"{first}\n{cause}"


def test_metadata_that_is_only_blocked_is_not_called_missing():
    registry = Registry(allow=[])
    assert losses_of(registry) == []
    with pytest.raises(UnknownLossError, match="not on the allow-list") as caught:
        registry.load(LossSpec, "temporal")
    assert "metadata" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec_type", "error", "word"),
    [
        (LossSpec, UnknownLossError, "loss"),
        (ModelSpec, UnknownModelError, "model"),
        (InputSpec, UnknownInputError, "input"),
        (CommandSpec, UnknownNameError, "command"),
    ],
)
def test_each_type_of_spec_has_its_own_error(site, spec_type, error, word):
    with pytest.raises(error) as caught:
        site.registry().find(spec_type, "x")
    assert type(caught.value) is error
    assert str(caught.value) == f"there is no {word} 'x'.\nKnown: none."


def test_a_name_may_say_whose_it_is(site):
    site.install_loss("Acme_Losses", "distance")
    registry = site.registry()
    entry = registry.find(LossSpec, "acme.losses/distance")
    assert entry.qualified_name == "acme-losses/distance"
    with pytest.raises(UnknownLossError) as caught:
        registry.find(LossSpec, "acme/distance")
    assert str(caught.value) == (
        "there is no loss 'acme/distance'. Did you mean 'acme-losses/distance'?\n"
        "Known: acme-losses/distance."
    )


COLLISION = (
    "the loss 'distance' is provided by acme 1.0 (acme) and other 2.0 (other). "
    "Ask for 'acme/distance' or 'other/distance', or put `prefer: {distance: acme}` "
    "into the config."
)


def test_of_two_providers_none_wins_silently(site):
    site.install_loss("acme", "distance")
    site.install_loss("other", "distance", version="2.0")
    registry = site.registry()
    assert losses_of(registry) == ["distance"]
    assert [entry.qualified_name for entry in registry.entries(LossSpec)] == [
        "acme/distance",
        "other/distance",
    ]
    for look_up in (registry.find, registry.load):
        with pytest.raises(AmbiguousNameError) as caught:
            look_up(LossSpec, "distance")
        assert str(caught.value) == COLLISION
    assert registry.load(LossSpec, "other/distance").__module__ == "other_losses"
    assert (
        registry.preferring({"distance": "Acme"}).load(LossSpec, "distance").__module__
        == "acme_losses"
    )
    with pytest.raises(UnknownLossError, match=r"^there is no loss 'third/distance'"):
        registry.preferring({"distance": "third"}).load(LossSpec, "distance")


def test_a_preference_for_another_name_decides_nothing(site):
    site.install_loss("acme", "distance")
    site.install_loss("other", "distance", version="2.0")
    with pytest.raises(AmbiguousNameError):
        site.registry().preferring({"bone": "acme"}).find(LossSpec, "distance")


def test_a_built_in_is_a_provider_like_any_other(site):
    site.install_loss("acme", "temporal")
    registry = Registry()
    assert "temporal" in losses_of(registry)
    with pytest.raises(AmbiguousNameError) as caught:
        registry.load(LossSpec, "temporal")
    assert "is provided by acme 1.0 (acme) and lploss" in str(caught.value)
    assert "Ask for 'acme/temporal' or 'lploss/temporal'" in str(caught.value)
    assert registry.load(LossSpec, "lploss/temporal").__name__ == "TemporalLoss"


def test_the_same_statement_twice_in_a_distribution_is_one_provider(site):
    site.install_loss("acme", "distance")
    info = site.folder / "acme-1.0.dist-info"
    (info / "entry_points.txt").write_text("[lploss]\na = acme_manifest\nb = acme_manifest\n")
    registry = site.registry()
    assert len(registry.entries(LossSpec)) == 2
    assert registry.load(LossSpec, "distance").loss_name == "distance"


def test_two_statements_of_one_distribution_must_agree(site):
    site.install(
        "acme",
        {"a": "a_manifest", "b": "b_manifest"},
        {
            f"{name}_manifest": f"""
            from lploss import LossSpec, hookimpl

            @hookimpl
            def lploss_losses():
                return [LossSpec("distance", "{name}:Distance", "")]
            """
            for name in "ab"
        },
    )
    with pytest.raises(AmbiguousNameError) as caught:
        site.registry().find(LossSpec, "distance")
    assert str(caught.value) == (
        "the loss 'distance' is stated in different ways by acme 1.0 (a) and acme 1.0 (b); "
        "only that distribution can mend this."
    )


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        (
            "import no_such_module",
            "ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("raise RuntimeError('no driver')", "RuntimeError: no driver"),
        ("class Panic(BaseException): ...\nraise Panic('no driver')", "Panic: no driver"),
        ("import pytest; pytest.skip('no GPU', allow_module_level=True)", "Skipped: no GPU"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("x = 1", "AttributeError: module 'acme_losses' has no attribute 'Distance'"),
        (
            """
            from lploss import Loss

            class Distance(Loss):
                loss_name, kind = "distance", "supervised"

                def compute(self, keypoints_pred): ...
            """,
            "PluginError: Distance does not define compute_loss, which every loss must have",
        ),
        ("Distance = 3", "PluginError: expected a subclass of lploss.Loss, got 3"),
        (
            "class Distance: pass",
            "PluginError: expected a subclass of lploss.Loss, got <class 'acme_losses.Distance'>",
        ),
        (
            """
            from lploss import Loss

            class Distance(Loss):
                loss_name, kind = "length", "supervised"

                def compute_loss(self, keypoints_pred): ...
            """,
            "PluginError: the class says that its name is 'length', the LossSpec says 'distance'",
        ),
        (
            """
            from lploss import Loss

            class Distance(Loss):
                loss_name, kind = "distance", "supervised"

                def compute_loss(self, **batch): ...
            """,
            "LossDefinitionError: Distance.compute_loss must name its inputs, it has **batch: the "
            "names say what the loss takes from the batch. Keys of the batch that it does not "
            "name are ignored anyway.",
        ),
    ],
)
def test_a_target_that_cannot_be_loaded_is_told_with_its_cause(site, target, cause):
    site.install_loss("acme", "distance", target=target)
    site.install_loss("good", "bone")
    registry = site.registry()
    error = load_failure(registry, "distance")
    cause = f"import of acme_losses:Distance: {cause}"
    assert str(error) == f"the loss 'distance' of acme 1.0 (acme) cannot be loaded: {cause}."
    assert error.__cause__ is registry.failures["acme/distance"].error
    assert str(registry.failures["acme/distance"]) == cause
    assert "Traceback" in registry.failures["acme/distance"].traceback
    assert registry.load(LossSpec, "bone").loss_name == "bone"


def test_ctrl_c_during_an_import_is_not_taken_for_a_failure(site):
    site.install_loss("acme", "distance", target="raise KeyboardInterrupt")
    registry = site.registry()
    with pytest.raises(KeyboardInterrupt):
        registry.load(LossSpec, "distance")
    assert registry.failures == {}


@pytest.mark.parametrize(
    ("target", "end"),
    [
        (
            "class Distnace: ...",
            "module 'acme_losses' has no attribute 'Distance'. Did you mean 'Distnace'?",
        ),
        (
            "import no_such_module",
            "ModuleNotFoundError: No module named 'no_such_module'. "
            'It needs extras: pip install "acme[fast,gpu]"',
        ),
        ("raise OSError('disk')", "OSError: disk."),
    ],
)
def test_a_failure_says_what_would_help(site, target, end):
    site.install_loss("acme", "distance", target=target, requires=("fast", "gpu"))
    assert str(load_failure(site.registry(), "distance")).endswith(end)


def test_a_failure_is_forgotten_once_the_target_loads(site):
    site.install_loss("acme", "distance", target="import no_such_module")
    registry = site.registry()
    load_failure(registry, "distance")
    assert list(registry.failures) == ["acme/distance"]
    mended = textwrap.dedent(LOSS_MODULE.format(name="distance"))
    (site.folder / "acme_losses.py").write_text(mended)
    assert registry.load(LossSpec, "distance").loss_name == "distance"
    assert registry.failures == {}


def test_a_target_may_be_nested_in_a_class(site):
    source = """
        from lploss import Loss

        class Outer:
            class Distance(Loss):
                loss_name, kind = "distance", "supervised"

                def compute_loss(self, x): ...
    """
    site.install_losses("acme", {"distance": "Outer.Distance"}, source)
    assert site.registry().load(LossSpec, "distance").__qualname__ == "Outer.Distance"


def test_the_default_registry_pickles_as_itself():
    assert pickle.loads(pickle.dumps(default_registry)) is default_registry
    assert copy.deepcopy(default_registry) is default_registry


def test_a_registry_is_pickled_without_what_it_found(site):
    manifest = """
        class Unpicklable(Exception):
            def __init__(self, one, two):
                super().__init__(one)

        raise Unpicklable("a", "b")
    """
    site.install_loss("broken", "bone", manifest=manifest)
    site.install_loss("good", "distance")
    registry = site.registry(allow=["good"], strict=True)
    assert losses_of(registry) == ["distance"]
    twin = pickle.loads(pickle.dumps(registry))
    assert twin is not registry
    assert (twin.allow, twin.strict) == ({"good"}, True)
    assert losses_of(twin) == ["distance"]
    lenient = site.registry()
    with pytest.warns(PluginLoadWarning):
        assert copy.deepcopy(lenient).names(LossSpec) == ["distance"]
    pickle.dumps(lenient)


def test_a_loss_is_created_by_its_name():
    loss = lploss.create_loss("lploss/temporal", epsilon=20.0, log_weight=5.0)
    assert (loss.loss_name, loss.epsilon.item(), loss.log_weight.item()) == ("temporal", 20.0, 5.0)
    assert type(loss) is lploss.load_loss("temporal")
    with pytest.raises(ArgumentError, match="Did you mean 'epsilon'"):
        lploss.create_loss("temporal", epsilom=20.0)
    with pytest.raises(UnknownLossError, match="Did you mean 'temporal'"):
        lploss.create_loss("temproal")
    with pytest.raises(UnknownLossError):
        lploss.load_loss("")


def test_a_model_is_created_by_its_name(site, monkeypatch):
    manifest = """
        from lploss import ModelSpec, hookimpl

        @hookimpl
        def lploss_models():
            return [ModelSpec("line", "torch.nn:Linear", "a line")]
    """
    site.install("acme", {"acme": "acme_manifest"}, {"acme_manifest": manifest})
    monkeypatch.setattr("lploss.registry.default_registry", site.registry())
    assert lploss.list_models() == ["line"]
    model = lploss.create_model("line", in_features=2, out_features=3)
    assert isinstance(model, torch.nn.Linear)
    assert model.weight.shape == (3, 2)
    with pytest.raises(UnknownModelError):
        lploss.create_model("lien")
