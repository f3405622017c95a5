from __future__ import annotations

import importlib.metadata
import textwrap
from unittest.mock import Mock

import pytest

from lploss import LossSpec, PluginLoadWarning
from lploss.discovery import Plugin, discover, failure_of, normalise


def hook(body: str, signature: str = "lploss_losses()") -> str:
    """Return the source of a manifest with one hook."""
    return f"import lploss\n\n@lploss.hookimpl\ndef {signature}:\n{textwrap.indent(body, '    ')}\n"


EMPTY = hook("return []")


NO_MANIFEST = (
    "the entry point must name a manifest, a module with one of lploss_losses, lploss_inputs, "
    "lploss_models, lploss_commands, marked by @lploss.hookimpl; got the"
)


def found(*sites, allow=None):
    paths = [str(site.folder) for site in sites]
    return discover(importlib.metadata.distributions(path=paths), allow)


def load(site, source):
    """Install one manifest and return its plugin."""
    site.install("acme", {"acme": "acme_manifest"}, {"acme_manifest": source})
    (plugin,) = found(site)
    return plugin


@pytest.mark.parametrize(
    ("name", "normal"),
    [("lploss", "lploss"), ("Acme_Losses", "acme-losses"), ("a..b__c-d", "a-b-c-d")],
)
def test_distributions_are_compared_by_their_normal_names(name, normal):
    assert normalise(name) == normal


def test_a_plugin_holds_everything_its_hooks_returned(site):
    plugin = load(
        site,
        """
        import lploss

        @lploss.hookimpl
        def lploss_losses():
            yield lploss.LossSpec("bone", "acme:Bone", "")

        @lploss.hookimpl
        def lploss_models():
            return (lploss.ModelSpec("tiny", "acme:Tiny", ""),)

        @lploss.hookimpl
        def lploss_inputs():
            return [lploss.InputSpec("lengths", "batch k", "px", "")]

        @lploss.hookimpl
        def lploss_commands():
            return []
        """,
    )
    about = (plugin.name, plugin.distribution, plugin.version, plugin.value)
    assert about == ("acme", "acme", "1.0", "acme_manifest")
    assert (plugin.status, plugin.failure) == ("ok", None)
    assert sorted(f"{spec.noun} {spec.name}" for spec in plugin.specs) == [
        "input lengths",
        "loss bone",
        "model tiny",
    ]
    assert 0 < plugin.seconds < 10


def test_plugins_are_ordered_by_distribution_and_name(make_site):
    first, second = make_site("first"), make_site("second")
    first.install(
        "zebra", {"b": "empty_manifest", "a": "empty_manifest"}, {"empty_manifest": EMPTY}
    )
    second.install("Acme_Losses", {"c": "empty_manifest"})
    plugins = [(plugin.distribution, plugin.name) for plugin in found(first, second)]
    assert plugins == [("acme-losses", "c"), ("zebra", "a"), ("zebra", "b")]


def test_a_manifest_may_be_an_object_in_a_module(site):
    source = """
        import lploss

        class Manifest:
            @lploss.hookimpl
            def lploss_losses(self):
                return [lploss.LossSpec("bone", "acme:Bone", "")]

        manifest = Manifest()
    """
    site.install("acme", {"acme": "acme_manifest:manifest"}, {"acme_manifest": source})
    (plugin,) = found(site)
    assert plugin.specs == (LossSpec("bone", "acme:Bone", ""),)


def test_other_entry_points_are_nobodys_plugin(site):
    site.install("tool", "[console_scripts]\nlploss-tool = no_such_module:main\n")
    site.install("bare", "")
    (site.folder / "none-1.0.dist-info").mkdir()
    assert found(site) == []


def test_a_distribution_on_two_paths_is_one_and_the_first_counts(make_site):
    first, second = make_site("first"), make_site("second")
    first.install("acme", {"new": "empty_manifest"}, {"empty_manifest": EMPTY}, version="2.0")
    second.install("Acme", {"old": "empty_manifest"}, version="1.0")
    assert [(plugin.name, plugin.version) for plugin in found(first, second)] == [("new", "2.0")]


def test_what_is_not_allowed_is_not_imported(site):
    site.install("acme", {"acme": "no_such_module"})
    site.install("other", {"other": "empty_manifest"}, {"empty_manifest": EMPTY})
    plugins = found(site, allow={"other"})
    assert [(plugin.distribution, plugin.status) for plugin in plugins] == [
        ("acme", "blocked"),
        ("other", "ok"),
    ]


@pytest.mark.parametrize(
    ("source", "failure"),
    [
        (
            "import no_such_module",
            "import of the manifest acme_manifest: ModuleNotFoundError: "
            "No module named 'no_such_module'",
        ),
        (
            "raise RuntimeError('built against another ABI')",
            "import of the manifest acme_manifest: RuntimeError: built against another ABI",
        ),
        (
            "def (",
            "import of the manifest acme_manifest: SyntaxError: invalid syntax "
            "(acme_manifest.py, line 1)",
        ),
        (
            hook('raise OSError("no licence")'),
            "call of the hooks: OSError: no licence",
        ),
        (
            hook('yield lploss.LossSpec("bone", "a:b", "")\nraise OSError("half way")'),
            "call of the hooks: OSError: half way",
        ),
        (
            hook("return []", "lploss_lossses()"),
            "check of the hooks: PluginError: there is no hook lploss_lossses; "
            "expected: lploss_losses",
        ),
        (
            hook("return []", "something()"),
            "check of the hooks: PluginError: there is no hook something; "
            "expected: lploss_losses, lploss_inputs, lploss_models, lploss_commands",
        ),
        (
            """
            def lploss_losses():
                return []
            """,
            "check of the hooks: PluginError: lploss_losses is not marked as a hook: put "
            "@lploss.hookimpl above it, or give it a name that does not start with 'lploss_'",
        ),
        (
            hook("return []", "lploss_losses(config)"),
            "check of the hooks: PluginError: lploss_losses must take no arguments, "
            "it takes config",
        ),
        (
            "import lploss",
            f"check of the hooks: PluginError: {NO_MANIFEST} module acme_manifest",
        ),
        (
            hook("return 3"),
            "call of the hooks: PluginError: lploss_losses() must return a list of LossSpec, "
            "got int: 3",
        ),
        (
            hook('return "bone"'),
            "call of the hooks: PluginError: lploss_losses() must return a list of LossSpec, "
            "got str: 'bone'",
        ),
        (
            hook('[lploss.LossSpec("bone", "a:b", "")]'),
            "call of the hooks: PluginError: lploss_losses() must return a list of LossSpec, "
            "got None",
        ),
        (
            hook('return [lploss.ModelSpec("tiny", "a:b", "")]'),
            "call of the hooks: PluginError: lploss_losses() must return a list of LossSpec, got "
            "one that holds ModelSpec: "
            "ModelSpec(name='tiny', target='a:b', summary='', requires=())",
        ),
        (
            hook('return [lploss.LossSpec("bone length", "a:b", "")]'),
            "call of the hooks: SpecError: LossSpec.name must be a plain name such as "
            "'bone_length', got 'bone length'",
        ),
    ],
)
def test_a_broken_plugin_is_recorded_with_its_cause(site, source, failure):
    plugin = load(site, source)
    assert plugin.status == "failed"
    assert plugin.specs == ()
    assert str(plugin.failure) == failure
    assert plugin.failure.traceback.startswith("Traceback (most recent call last):\n")
    assert type(plugin.failure.error).__name__ in plugin.failure.traceback


def test_an_entry_point_that_is_no_reference_is_recorded(site):
    site.install("acme", {"acme": "not a module!"})
    (plugin,) = found(site)
    assert (plugin.distribution, plugin.status) == ("acme", "failed")
    assert plugin.failure.stage == "import of the manifest not a module!"


def test_an_entry_point_that_names_a_class_is_recorded(site):
    source = """
        import lploss

        class Manifest:
            @lploss.hookimpl
            def lploss_losses(self):
                return []
    """
    site.install("acme", {"acme": "acme_manifest:Manifest"}, {"acme_manifest": source})
    (plugin,) = found(site)
    failure = f"check of the hooks: PluginError: {NO_MANIFEST} class Manifest"
    assert (plugin.status, str(plugin.failure)) == ("failed", failure)


@pytest.mark.parametrize(
    "damage",
    [
        lambda info: (info / "METADATA").unlink(),
        lambda info: (info / "METADATA").write_text("Version: 1.0\n"),
        lambda info: (info / "entry_points.txt").write_bytes(b"[lploss]\nacme = \xff\xfe\n"),
        lambda info: (info / "entry_points.txt").write_text("[lploss]\nacme\n"),
    ],
    ids=["no metadata", "no name", "not UTF-8", "no value"],
)
def test_a_damaged_installation_hides_no_other(site, damage):
    damage(site.install("acme", {"acme": "acme_manifest"}))
    site.install("other", {"other": "empty_manifest"}, {"empty_manifest": EMPTY})
    damaged, other = found(site)
    assert (other.distribution, other.status) == ("other", "ok")
    assert (damaged.name, damaged.status, damaged.version) == ("unreadable", "failed", "?")
    assert damaged.distribution == str(site.folder / "acme-1.0.dist-info")
    assert damaged.failure.stage == "metadata of the distribution"


def test_a_distribution_without_a_version_is_still_found(site):
    info = site.install("acme", {"acme": "empty_manifest"}, {"empty_manifest": EMPTY})
    (info / "METADATA").write_text("Name: acme\n")
    (plugin,) = found(site)
    assert (plugin.distribution, plugin.version, plugin.status) == ("acme", "?", "ok")


def test_all_installed_distributions_are_searched_unless_told_otherwise():
    plugins = [plugin for plugin in discover() if plugin.distribution == "lploss"]
    assert {plugin.name for plugin in plugins} >= {"heatmap", "regression", "temporal"}
    assert all(isinstance(plugin, Plugin) and plugin.status == "ok" for plugin in plugins)


def test_a_failure_keeps_the_chain_of_causes():
    try:
        try:
            raise KeyError("cause")
        except KeyError as error:
            raise OSError("effect") from error
    except OSError as error:
        failure = failure_of("a stage", error)
    assert str(failure) == "a stage: OSError: effect"
    assert "KeyError: 'cause'" in failure.traceback


NOT_AN_EXCEPTION = """
    class PanicException(BaseException):
        pass

    def fail():
        raise PanicException("called `Option::unwrap()` on a `None` value")
"""


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("import acme_panic; acme_panic.fail()", "PanicException: called `Option::unwrap()`"),
        ("import pytest; pytest.skip('no GPU', allow_module_level=True)", "Skipped: no GPU"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise BaseExceptionGroup('two', [SystemExit(1)])", "BaseExceptionGroup: two"),
        ("import asyncio; raise asyncio.CancelledError('stop')", "CancelledError: stop"),
    ],
)
@pytest.mark.parametrize(
    ("stage", "manifest"),
    [
        ("import of the manifest acme_manifest", "{failure}"),
        (
            "check of the hooks",
            """
            class Lazy:
                def __getattr__(self, name):
                    {failure}
            lazy = Lazy()
            """,
        ),
        (
            "call of the hooks",
            hook("{failure}"),
        ),
        (
            "call of the hooks",
            hook('yield lploss.LossSpec("bone", "acme:Bone", "")\n{failure}'),
        ),
    ],
)
def test_what_is_no_exception_disables_one_plugin_alone(site, stage, manifest, failure, message):
    source = textwrap.dedent(manifest).format(failure=failure)
    modules = {"acme_manifest": source, "acme_panic": NOT_AN_EXCEPTION}
    site.install("acme", {"acme": "acme_manifest"}, modules)
    site.install_loss("other", "angle")
    broken, other = found(site)
    assert (broken.status, other.status) == ("failed", "ok")
    assert str(broken.failure).startswith(f"{stage}: {message}")
    with pytest.warns(PluginLoadWarning, match="plugin acme 1.0"):
        assert site.registry().names(LossSpec) == ["angle"]


def class_of_metadata(site):
    """The class that Python reads metadata with; a backport that was imported replaces it."""
    (distribution,) = importlib.metadata.distributions(path=[str(site.folder)])
    return type(distribution)


@pytest.mark.parametrize("manifest", ["raise KeyboardInterrupt", EMPTY])
def test_ctrl_c_is_not_taken_for_a_failure_of_a_plugin(site, manifest, monkeypatch):
    site.install("acme", {"acme": "acme_manifest"}, {"acme_manifest": manifest})
    if manifest is EMPTY:
        monkeypatch.setattr(
            class_of_metadata(site), "read_text", Mock(side_effect=KeyboardInterrupt)
        )
    with pytest.raises(KeyboardInterrupt):
        found(site)


def test_metadata_that_cannot_be_read_for_whatever_reason_is_recorded(site, monkeypatch):
    site.install("acme", {"acme": "empty_manifest"}, {"empty_manifest": EMPTY})
    monkeypatch.setattr(class_of_metadata(site), "read_text", Mock(side_effect=GeneratorExit))
    (plugin,) = found(site)
    assert str(plugin.failure) == "metadata of the distribution: GeneratorExit"


def test_an_exception_whose_message_cannot_be_shown_disables_one_plugin_alone(site):
    site.install_loss(
        "acme",
        "bone",
        manifest="""
        class Broken(Exception):
            def __str__(self):
                raise TypeError("not a text")
        raise Broken
        """,
    )
    site.install_loss("other", "angle")
    with pytest.warns(PluginLoadWarning, match="Broken: its message cannot be shown"):
        assert site.registry().names(LossSpec) == ["angle"]


def test_a_plugin_that_wants_to_end_the_process_is_left_out(site):
    site.install_loss("acme", "distance", manifest="import sys; sys.exit(3)")
    site.install_loss("other", "angle")
    with pytest.warns(PluginLoadWarning, match="SystemExit: 3"):
        assert site.registry().names(LossSpec) == ["angle"]
