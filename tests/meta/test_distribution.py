"""The wheel works alone: without the source tree, and with nothing of it on the path."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--quiet",
            "-w",
            str(folder),
            str(ROOT),
        ],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("lploss-*.whl"))


def test_wheel_holds_both_packages_their_types_and_the_entry_points(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        points = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert {"lploss/py.typed", "lploss_builtin/py.typed"} <= set(names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {
        "lploss",
        "lploss_builtin",
    }
    templates = {name for name in names if name.startswith("lploss/templates/")}
    assert templates == {
        str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.template")
    }
    for plugin in ("heatmap", "regression", "temporal", "pca", "score"):
        assert f"{plugin} = lploss_builtin.plugins.{plugin}" in points
    assert "lploss = lploss.cli:main" in points
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_wheel_works_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """What it depends on is borrowed: a folder on PYTHONPATH brings no editable installation."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", str(wheel)],
        check=True,
        capture_output=True,
    )
    borrowed = next(path for path in sys.path if path.endswith("site-packages"))
    program = """
import lploss, pathlib, sys
home = pathlib.Path(sys.prefix)
assert home in pathlib.Path(lploss.__file__).parents, lploss.__file__
loss = lploss.create_loss("temporal")
assert home in pathlib.Path(sys.modules[type(loss).__module__].__file__).parents
import torch
print(loss(keypoints_pred=torch.zeros(3, 4)).loss.item(), len(lploss.list_losses()))
"""
    options = {
        "env": {**os.environ, "PYTHONPATH": borrowed},
        "cwd": tmp_path,
        "capture_output": True,
        "text": True,
        "check": True,
    }
    done = subprocess.run([python, "-c", program], **options)  # type: ignore[call-overload]
    value, number = done.stdout.split()
    assert float(value) == 0.0
    assert int(number) >= 10
    script = subprocess.run([environment / "bin" / "lploss", "list"], **options)  # type: ignore[call-overload]
    assert "pca_multiview" in script.stdout
