"""The distribution in examples/plugin_model, as a third party would ship it, trained and used."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from tests.environments import Environment
from tests.lploss_builtin.data.small_projects import write_project

pytestmark = pytest.mark.installs

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin_model"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that nothing is written into the example."""
    folder = tmp_path_factory.mktemp("source") / "plugin"
    ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache")
    shutil.copytree(EXAMPLE, folder, ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def environment(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment into which the distribution is installed."""
    made = Environment(tmp_path_factory.mktemp("environment"))
    made.pip("install", str(source))
    return made


def test_it_is_listed_and_its_manifest_is_light(environment):
    rows = json.loads(environment.lploss("plugins", "--json"))
    (row,) = [row for row in rows if row["plugin"] == "unet"]
    assert (row["status"], row["imports"]) == ("ok", [])
    assert row["provides"] == ["model heatmap_unet"]


def test_it_is_trained_and_predicts(environment, tmp_path):
    config = write_project(tmp_path, frames=8)
    data = OmegaConf.to_container(config.data)
    settings = {
        "data": {
            **{name: value for name, value in data.items() if value is not None},
            "image_resize_dims": {"height": 32, "width": 48},
        },
        "model": {"model_type": "heatmap_unet", "losses_to_use": ["multiview_reprojection"]},
        "losses": {"rmse": {"log_weight": 5.0}},
        "training": {
            "imgaug": "dlc",
            "train_batch_size": 4,
            "train_prob": 0.75,
            "val_prob": 0.25,
            "max_epochs": 2,
            "check_val_every_n_epoch": 1,
            "accelerator": "cpu",
            "num_workers": 0,
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    environment.lploss("train", "config.yaml", "--out", "run", cwd=tmp_path)
    report = (tmp_path / "run" / "losses.txt").read_text(encoding="utf-8")
    # The loss of heatmaps is that of its name; the others are those asked for.
    for loss in ("heatmap_mse", "rmse", "multiview_reprojection"):
        assert re.search(rf"\b{loss}\b", report)
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text(encoding="utf-8"))
    assert kept["model"]["model_type"] == "heatmap_unet"

    folders = ["labeled-data/mo_left", "labeled-data/mo_right"]
    environment.lploss("predict", "run", *folders, "--out", "predictions", cwd=tmp_path)
    with (tmp_path / "predictions" / "mo_left.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 3 + 8
    assert rows[1][1:] == [name for name in ("nose", "tail") for _ in range(3)]
    for row in rows[3:]:
        x, y, likelihood = map(float, row[1:4])
        assert 0 <= x <= 64
        assert 0 <= y <= 48
        assert 0 <= likelihood <= 1


def test_the_example_of_its_readme_runs(environment, source, tmp_path):
    text = (source / "README.md").read_text("utf-8")
    program, shown = re.search(r"```python\n(.*?)```.*?```text\n(.*?)```", text, re.S).groups()
    assert environment.run("-c", program, cwd=tmp_path) == shown


def test_its_own_tests_pass(environment, source):
    printed = environment.pytest("-q", "--doctest-modules", "src", "tests", cwd=source)
    assert "6 passed" in printed


def test_its_readme_names_its_files(source):
    text = (source / "README.md").read_text("utf-8")
    files = re.findall(r"^\| `(.+?)` \|", text, re.M)
    assert len(files) == 4
    assert [file for file in files if not (source / file).exists()] == []
