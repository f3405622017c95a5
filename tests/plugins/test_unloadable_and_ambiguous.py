"""Plugins that can be listed, beside each other: what cannot be loaded, and what is ambiguous.

All are installed at once and seen by one fresh interpreter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import MANIFEST, Site

PROGRAM = """
import contextlib, io, json
import lploss
from lploss.cli import app

table = io.StringIO()
with contextlib.redirect_stdout(table):
    app(["plugins"], standalone_mode=False)
report = io.StringIO()
with contextlib.redirect_stdout(report):
    app(["plugins", "--load", "--json"], standalone_mode=False)
said = {}
for name in (
    "misnamed", "raising", "temporal", "angle", "distance", "heavy_loss",
    "builtin-rival/temporal", "lploss/temporal", "one-angle/angle", "other-angle/angle",
):
    try:
        said[name] = lploss.load_loss(name).__module__
    except lploss.LplossError as error:
        said[name] = f"{type(error).__name__}: {error}"
preferred = lploss.LossFactory({"angle": {}}, prefer={"angle": "other-angle"})
said["preferred"] = type(preferred.losses["angle"]).__module__
print(json.dumps({
    "names": lploss.list_losses(),
    "said": said,
    "table": table.getvalue(),
    "plugins": {row["plugin"]: row for row in json.loads(report.getvalue())},
}))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Install everything and return what a program sees of it."""
    site, shadowed = (Site(tmp_path_factory.mktemp(name)) for name in ("site", "shadowed"))
    site.install_loss("good", "distance", version="2.0")
    shadowed.install_loss("good", "distance", version="1.0")
    misnamed = "class Distanze: ..."
    site.install_loss("misnaming", "misnamed", target=misnamed)
    site.install_loss("raises", "raising", target="raise RuntimeError('built against torch 1.0')")
    site.install_loss("builtin-rival", "temporal")
    site.install_loss("one-angle", "angle")
    site.install_loss("other-angle", "angle", version="3.1")
    manifest = MANIFEST.format(name="heavy_loss", module="heavy_losses", requires=())
    site.install_loss("heavy", "heavy_loss", manifest=f"    import torch\n{manifest}")
    path = os.pathsep.join([str(site.folder), str(shadowed.folder)])
    # The check of types would import what the heavy manifest is the first to import.
    bare = {name: value for name, value in os.environ.items() if not name.startswith("LPLOSS_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**bare, "PYTHONPATH": path, "COLUMNS": "240"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_all_are_listed_and_the_good_ones_load(seen):
    mine = {"angle", "distance", "heavy_loss", "misnamed", "raising", "temporal"}
    assert mine <= set(seen["names"])
    assert seen["said"]["distance"] == "good_losses"


def test_a_class_that_is_not_there_is_told_with_the_close_match(seen):
    assert seen["said"]["misnamed"] == (
        "PluginError: the loss 'misnamed' of misnaming 1.0 (misnaming) cannot be loaded: import of "
        "misnaming_losses:Distance: AttributeError: module 'misnaming_losses' has no attribute "
        "'Distance'. Did you mean 'Distanze'?"
    )


def test_a_module_that_raises_is_told_with_its_cause(seen):
    assert seen["said"]["raising"] == (
        "PluginError: the loss 'raising' of raises 1.0 (raises) cannot be loaded: import of "
        "raises_losses:Distance: RuntimeError: built against torch 1.0."
    )


def test_what_cannot_be_loaded_is_shown_by_plugins(seen):
    failed = {name for name, row in seen["plugins"].items() if row["status"] == "failed"}
    # Of an ambiguous name, each provider loads.
    assert failed == {"misnaming", "raises"}
    assert seen["plugins"]["raises"]["failure"] == (
        seen["said"]["raising"]
        .removeprefix("PluginError: ")
        .replace("'raising'", "'raises/raising'")
    )


def test_no_one_takes_the_name_of_a_built_in(seen):
    version = seen["plugins"]["temporal"]["version"]
    assert seen["said"]["temporal"] == (
        "AmbiguousNameError: the loss 'temporal' is provided by builtin-rival 1.0 (builtin_rival) "
        f"and lploss {version} (temporal). Ask for 'builtin-rival/temporal' or 'lploss/temporal', "
        "or put `prefer: {temporal: builtin-rival}` into the config."
    )
    assert seen["said"]["builtin-rival/temporal"] == "builtin_rival_losses"
    assert seen["said"]["lploss/temporal"] == "lploss_builtin.losses.temporal"


def test_of_two_plugins_neither_wins(seen):
    assert seen["said"]["angle"] == (
        "AmbiguousNameError: the loss 'angle' is provided by one-angle 1.0 (one_angle) and "
        "other-angle 3.1 (other_angle). Ask for 'one-angle/angle' or 'other-angle/angle', or put "
        "`prefer: {angle: one-angle}` into the config."
    )
    assert seen["said"]["one-angle/angle"] == "one_angle_losses"
    assert seen["said"]["other-angle/angle"] == "other_angle_losses"
    assert seen["said"]["preferred"] == "other_angle_losses"


def test_a_distribution_on_two_paths_is_one(seen):
    assert seen["plugins"]["good"]["version"] == "2.0"


def test_a_heavy_manifest_works_and_its_author_is_told(seen):
    heavy = seen["plugins"]["heavy"]
    assert (heavy["status"], seen["said"]["heavy_loss"]) == ("ok", "heavy_losses")
    assert "torch" in heavy["imports"]
    assert heavy["ms"] > 100
    assert f"{heavy['ms']} (imports torch, " in seen["table"]
    others = [row for name, row in seen["plugins"].items() if name != "heavy"]
    assert all(row["imports"] == [] and row["ms"] < heavy["ms"] for row in others)
