from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner, Result

from lploss import Registry, cli
from tests.conftest import Site

COMMAND_MANIFEST = """
    from lploss import CommandSpec, InputSpec, LossSpec, ModelSpec, hookimpl

    @hookimpl
    def lploss_commands():
        return [
            CommandSpec("count", "acme_tools:count", "count up to a number"),
            CommandSpec("fail", "acme_tools:fail", "fail in a given way"),
            CommandSpec("stop", "acme_tools:stop", "be ended by a signal"),
            CommandSpec("gone", "acme_tools:gone", "not there", requires=("gone",)),
        ]

    @hookimpl
    def lploss_models():
        return [ModelSpec("tiny", "acme_tools:Tiny", "a network for a fly")]

    @hookimpl
    def lploss_inputs():
        return [
            InputSpec("speeds", "batch", "px", "of the animal", derived_by="acme_tools:speeds"),
            InputSpec("given", "batch", "px", "just there"),
        ]
"""
COMMAND_MODULE = """
    import os
    import signal
    import time
    import warnings

    import lploss.errors
    import lploss.signals

    def count(number: int, twice: bool = False) -> None:
        print(number * (2 if twice else 1))

    def fail(how: str) -> None:
        if how == "warn":
            warnings.warn("something else", UserWarning)
            return
        raise {
            "data": lploss.errors.DataError("line 3 of the file is odd"),
            "config": lploss.errors.ConfigError("no such key"),
            "disk": OSError(28, "No space left on device"),
            "bug": ZeroDivisionError("a bug"),
        }[how]

    def stop(name: str, how: str = "") -> None:
        number = getattr(signal, name)
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        except KeyboardInterrupt:
            if how == "again":
                os.kill(os.getpid(), number)  # soon after the first: nothing is interrupted
            print("cleaned up", flush=True)
            if how == "late":
                lploss.signals._SAME_SIGNAL_S = 0.0
                os.kill(os.getpid(), number)
                time.sleep(60)
            if how == "fails":
                raise lploss.errors.DataError("half a file")
            if how == "exits":  # as Lightning does
                raise SystemExit(1)
            raise

    def speeds(keypoints_pred):
        return keypoints_pred

    class Tiny:
        '''A tiny network.

        Args:
            width: number of channels.
        '''

        def __init__(self, width: int, depth: int = 2) -> None: ...
"""

Run = Callable[..., Result]


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line beside a plugin with commands."""
    site.install(
        "acme-tools",
        {"acme": "acme_manifest"},
        {"acme_manifest": COMMAND_MANIFEST, "acme_tools": COMMAND_MODULE},
    )
    return runner(site.registry(), monkeypatch)


def runner(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(cli, "default_registry", registry)
    return lambda *args: CliRunner().invoke(cli.app, list(args))


@pytest.fixture
def run_builtin() -> Run:
    return lambda *args: CliRunner().invoke(cli.app, list(args))


def test_list_shows_names_summaries_and_providers(run_builtin: Run) -> None:
    result = run_builtin("list")
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if "temporal " in line)
    assert line.split("  ")[1:2] == ["temporal"]
    assert "keypoints do not jump" in line
    assert "lploss 0." in line


def test_list_as_json(run_builtin: Run) -> None:
    found = json.loads(run_builtin("list", "inputs", "--json").stdout)
    assert {"name", "summary", "provider"} == set(found[0])
    assert "keypoints_pred" in [entry["name"] for entry in found]


def test_an_empty_list_is_a_table_without_rows(run: Run) -> None:
    result = run("list", "losses")
    assert result.exit_code == 0
    assert result.stdout.split()[:4] == ["losses", "name", "summary", "provider"]
    assert set("".join(result.stdout.split()[4:])) == {"─"}


def test_show_a_loss(run_builtin: Run) -> None:
    shown = json.loads(run_builtin("show", "temporal", "--json").stdout)
    assert shown["class"] == "lploss_builtin.losses.temporal:TemporalLoss"
    assert (shown["kind"], shown["mean over"], shown["annealed"]) == (
        "unsupervised",
        "all elements",
        True,
    )
    assert shown["provider"].endswith("plugin temporal")
    epsilon, threshold, weight, _ = shown["parameters"]
    assert epsilon["name"] == "epsilon"
    assert epsilon["type"] == "float | Sequence[float]"
    assert epsilon["default"] == "0.0"
    assert "px" in epsilon["meaning"]
    assert "0 to 1" in threshold["meaning"]
    assert weight["name"] == "log_weight"
    predictions, confidences = shown["inputs"]
    assert predictions == {
        "name": "keypoints_pred",
        "required": "yes",
        "axes": "batch two_x_num_keypoints",
        "unit": "px in the original image",
        "meaning": "predictions, augmentation undone; several views one after the other",
    }
    assert (confidences["name"], confidences["required"]) == ("confidences", "no")


@pytest.mark.parametrize("name", ["pca_multiview", "lploss/temporal", "keypoints_pred"])
def test_show_prints_tables(run_builtin: Run, name: str) -> None:
    result = run_builtin("show", name)
    assert result.exit_code == 0
    assert name.rpartition("/")[2] in result.stdout


def test_every_parameter_of_every_loss_is_explained(run_builtin: Run) -> None:
    for entry in json.loads(run_builtin("list", "--json").stdout):
        shown = json.loads(run_builtin("show", entry["name"], "--json").stdout)
        unexplained = [p["name"] for p in shown["parameters"] if not p["meaning"]]
        assert unexplained == [], entry["name"]
        assert all(given["unit"] for given in shown["inputs"])


def test_show_a_model_and_an_input(run: Run) -> None:
    model = json.loads(run("show", "tiny", "--json").stdout)
    assert model["parameters"] == [
        {"name": "width", "type": "int", "default": "required", "meaning": "number of channels."},
        {"name": "depth", "type": "int", "default": "2", "meaning": ""},
    ]
    assert json.loads(run("show", "speeds", "--json").stdout)["derived by"] == "acme_tools:speeds"
    assert "nothing: it is given" in run("show", "given").stdout


def test_show_of_an_unknown_name_ends_with_the_close_match(run_builtin: Run) -> None:
    result = run_builtin("show", "temproal")
    assert result.exit_code == 2
    assert "error: there is no loss 'temproal'. Did you mean 'temporal'" in result.stderr
    assert "Traceback" not in result.output


def test_plugins_shows_what_loaded_and_what_failed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install_loss("good-one", "good")
    site.install_loss("bad-one", "bad", manifest="raise RuntimeError('no library')")
    site.install_loss("worse", "worse", target="raise RuntimeError('no symbol')")
    run = runner(site.registry(), monkeypatch)
    rows = {row["distribution"]: row for row in json.loads(run("plugins", "--json").stdout)}
    assert [rows[name]["status"] for name in ("good-one", "bad-one", "worse")] == [
        "ok",
        "failed",
        "ok",
    ]
    assert rows["bad-one"]["failure"] == (
        "import of the manifest bad_one_manifest: RuntimeError: no library"
    )
    assert rows["good-one"]["provides"] == ["loss good"]
    assert rows["good-one"]["version"] == "1.0"
    assert rows["good-one"]["ms"] > 0
    loaded = {
        row["distribution"]: row for row in json.loads(run("plugins", "--load", "--json").stdout)
    }
    assert loaded["worse"]["status"] == "failed"
    assert "RuntimeError: no symbol" in loaded["worse"]["failure"]
    result = run("plugins")
    assert result.exit_code == 0
    assert "1 name" in result.stdout


def test_plugins_prints_failures_below_the_table_in_full(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    cause = "cannot find libcudart.so.12 in any of the folders of the loader [/red] " * 3
    site.install_loss("a-rather-long-name", "good")
    site.install_loss("bad-one", "bad", manifest=f"raise RuntimeError({cause!r})")
    site.install_loss("worse", "worse", target="raise RuntimeError('no symbol')")
    monkeypatch.setenv("COLUMNS", "80")
    run = runner(site.registry(), monkeypatch)
    table, below = run("plugins").stdout.split("bad-one 1.0 (bad_one) failed:\n")
    lines = table.splitlines()
    assert max(map(len, lines)) <= 80
    assert "failure" not in table
    for name in ("a_rather_long_name", "bad_one", "worse"):
        (line,) = (line for line in lines if f" {name} " in line)
        assert line.split()[3] == ("failed" if name == "bad_one" else "ok")
    assert below == (
        f"  import of the manifest bad_one_manifest: RuntimeError: {cause.strip()}\n\n"
    )
    loaded = run("plugins", "--load").stdout
    assert (
        "worse 1.0 (worse) failed:\n  the loss 'worse/worse' of worse 1.0 (worse) cannot" in loaded
    )


def test_a_plugin_that_fails_is_a_message_and_not_a_traceback(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install_loss("good-one", "good")
    site.install_loss("bad-one", "bad", manifest="raise RuntimeError('no library')")
    result = runner(site.registry(), monkeypatch)("list")
    assert result.exit_code == 0
    assert "good" in result.stdout
    assert result.stderr == (
        "warning: plugin bad-one 1.0 (bad_one) is left out: import of the manifest "
        "bad_one_manifest: RuntimeError: no library. `lploss plugins` shows more.\n"
    )


def test_help_names_the_commands_of_plugins_without_importing_them(run: Run) -> None:
    before = set(sys.modules)
    result = run("--help")
    assert result.exit_code == 0
    assert "count up to a number" in result.stdout
    assert "acme_tools" not in set(sys.modules) - before


def test_a_plugins_command_runs_with_its_arguments(run: Run) -> None:
    assert run("count", "21", "--twice").stdout == "42\n"
    assert "--twice" in run("count", "--help").stdout
    assert run("count", "many").exit_code == 2
    assert run("conut").exit_code == 2


@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("data", 1, "error: line 3 of the file is odd\n"),
        ("config", 2, "error: no such key\n"),
        ("disk", 1, "error: OSError: [Errno 28] No space left on device\n"),
    ],
)
def test_an_error_ends_as_one_message(run: Run, how: str, status: int, message: str) -> None:
    result = run("fail", how)
    assert (result.exit_code, result.stderr) == (status, message)


def test_debug_shows_the_traceback(run: Run) -> None:
    result = run("--debug", "fail", "data")
    assert type(result.exception).__name__ == "DataError"


def test_a_bug_is_not_hidden(run: Run) -> None:
    assert isinstance(run("fail", "bug").exception, ZeroDivisionError)


def test_other_warnings_stay_warnings(run: Run) -> None:
    result = run("fail", "warn")
    assert isinstance(result.exception, UserWarning)
    assert str(result.exception) == "something else"


def test_a_command_that_cannot_be_imported_names_the_extra(run: Run) -> None:
    result = run("gone")
    assert result.exit_code == 1
    assert "the command 'gone' of acme-tools 1.0 (acme) cannot be loaded" in result.stderr


def test_the_package_can_be_run_as_a_module() -> None:
    for program in ("lploss", "lploss.cli"):
        done = subprocess.run(
            [sys.executable, "-m", program, "--version"],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert done.stdout.startswith("lploss 0.")
        assert done.stderr == ""


def test_version(run_builtin: Run) -> None:
    assert run_builtin("--version").stdout.startswith("lploss 0.")


def test_version_without_package_metadata(
    run_builtin: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", Mock(side_effect=PackageNotFoundError))
    result = run_builtin("--version")
    assert result.exit_code == 0
    assert result.stdout == "lploss, version unknown: its package metadata is missing\n"


def test_the_script_runs(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lploss.cli", "list", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(done.stdout)) >= 10


def test_two_providers_of_a_command_do_not_spoil_the_help(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        manifest = f"""
            from lploss import CommandSpec, hookimpl

            @hookimpl
            def lploss_commands():
                return [CommandSpec("count", "{name}:count", "count")]
        """
        site.install(name, {name: f"{name}_manifest"}, {f"{name}_manifest": manifest})
    run = runner(site.registry(), monkeypatch)
    assert "provided by several distributions" in run("--help").stdout
    result = run("count")
    assert result.exit_code == 2
    assert "the command 'count' is provided by one 1.0 (one) and two 1.0 (two)" in result.stderr


def test_strict_mode_ends_the_help_with_a_message(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install_loss("bad", "bad", manifest="raise RuntimeError('no library')")
    result = runner(site.registry(strict=True), monkeypatch)("--help")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: plugin bad 1.0 (bad)")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("how", ["", "again", "fails", "exits"])
def test_a_signal_ends_a_command_in_order(
    run: Run, name: str, how: str, request: pytest.FixtureRequest
) -> None:
    # The tests themselves may have been started to ignore it.
    number = getattr(signal, name)
    request.addfinalizer(partial(signal.signal, number, signal.signal(number, signal.SIG_DFL)))
    handlers = [signal.getsignal(getattr(signal, each)) for each in ("SIGINT", "SIGTERM")]
    result = run("stop", name, *(["--how", how] if how else []))
    assert result.exit_code == 128 + number
    assert result.stdout == "cleaned up\n"
    assert result.stderr.splitlines()[-1] == f"ended by {name}"
    assert [signal.getsignal(getattr(signal, each)) for each in ("SIGINT", "SIGTERM")] == handlers


def test_a_second_signal_ends_it_at_once(run: Run, site: Site) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "lploss.cli", "stop", "SIGTERM", "--how", "late"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site.folder), *sys.path])},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGTERM, "cleaned up\n")


def test_a_signal_that_is_ignored_stays_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    try:
        result = run("stop", "SIGHUP")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (result.exit_code, result.output) == (0, "")
