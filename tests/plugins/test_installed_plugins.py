"""Plugins as a user has them: real distributions on the path of a fresh interpreter."""

from __future__ import annotations

import pytest

BROKEN = {
    "imports": "import no_such_module",
    "driver": "raise RuntimeError('no driver')",
    "calls": """
        import lploss

        @lploss.hookimpl
        def lploss_losses():
            raise ValueError("no losses today")
    """,
    "spells": """
        import lploss

        @lploss.hookimpl
        def lploss_loses():
            return []
    """,
    "returns": """
        import lploss

        @lploss.hookimpl
        def lploss_losses():
            return {"bone": "returns_losses:Distance"}
    """,
    "hookless": "lploss_version = 1",
}

CAUSES = {
    "imports": "import of the manifest imports_manifest: ModuleNotFoundError: "
    "No module named 'no_such_module'",
    "driver": "import of the manifest driver_manifest: RuntimeError: no driver",
    "calls": "call of the hooks: ValueError: no losses today",
    "spells": "check of the hooks: PluginError: there is no hook lploss_loses; "
    "expected: lploss_losses",
    "returns": "call of the hooks: PluginError: lploss_losses() must return a list of LossSpec, "
    "got one that holds str: 'bone'",
    "hookless": "check of the hooks: PluginError: the entry point must name a manifest, a module "
    "with one of lploss_losses, lploss_inputs, lploss_models, lploss_commands, marked by "
    "@lploss.hookimpl; got the module hookless_manifest",
}

USE = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import lploss
    names = lploss.list_losses()
    lploss.list_losses()
for warning in caught:
    print(warning.category.__name__, warning.message)
print("distance" in names, "temporal" in names)
import torch
losses = lploss.LossFactory({"distance": {}, "temporal": {}})
print(losses(keypoints_pred=torch.tensor([[3.0, 4.0], [3.0, 4.0]])).loss.item())
"""


@pytest.fixture
def installed(site, run_python):
    """Install a good plugin beside all broken ones; run a program that sees them."""
    site.install_loss("good", "distance")
    for name, manifest in BROKEN.items():
        site.install_loss(name, f"{name}_loss", manifest=manifest)

    def run(source, **environment):
        return run_python(source, PYTHONPATH=str(site.folder), **environment)

    return run


def test_each_broken_plugin_is_warned_about_once_and_the_good_one_trains(installed):
    result = installed(USE)
    assert result.stderr == ""
    *warned, known, total = result.stdout.splitlines()
    assert sorted(warned) == [
        f"PluginLoadWarning plugin {name} 1.0 ({name}) is left out: {CAUSES[name]}. "
        "`lploss plugins` shows more."
        for name in sorted(BROKEN)
    ]
    assert known == "True True"
    # The mean of 3, 4, 3, 4, weighted by one half; nothing moves.
    assert float(total) == 1.75


def test_an_allow_list_imports_nothing_else_and_warns_of_nothing(installed):
    result = installed(USE, LPLOSS_PLUGINS="good,lploss")
    assert result.stdout.splitlines() == ["True True", "1.75"]


def test_strict_mode_stops_at_the_first_failure(installed):
    result = installed("import lploss; lploss.list_losses()", LPLOSS_STRICT="1")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        f"lploss.errors.PluginError: plugin calls 1.0 (calls) is left out: {CAUSES['calls']}"
    )
    assert "ValueError: no losses today" in result.stderr


def test_asking_for_the_loss_of_a_broken_plugin_names_the_cause(installed):
    result = installed("import lploss; lploss.create_loss('driver_loss')")
    assert result.returncode == 1
    assert "lploss.errors.UnknownLossError: there is no loss 'driver_loss'." in result.stderr
    assert f"  driver 1.0 (driver): {CAUSES['driver']}" in result.stderr
