"""The distribution under examples/plugin_bone_length, as a third party would ship it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.environments import Environment

pytestmark = pytest.mark.installs

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin_bone_length"

TRAINS = """
import torch
from lploss import LossFactory

torch.manual_seed(0)
# Legs of 30 and 20 px, each way in the image; a label in five is missing.
thigh, shank = 6.3 * torch.rand(2, 200)
knee = torch.stack([30 * thigh.cos(), 30 * thigh.sin()], dim=1)
paw = knee + torch.stack([20 * shank.cos(), 20 * shank.sin()], dim=1)
labels = 100 + torch.cat([0 * knee, knee, paw], dim=1)
labels[::5, 2:4] = torch.nan

names = ["hip", "knee", "paw"]
losses = LossFactory.from_config(
    {"bone_length": {"keypoint_names": names, "bones": [["hip", "knee"], ["knee", "paw"]]}},
    data_module=labels,
)
frames = torch.randn(64, 8)
network = torch.nn.Linear(8, 6)
for step in range(100):
    total, logs = losses(stage="train", keypoints_pred=network(frames))
    network.zero_grad()
    total.backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= 30 * 0.95**step * parameter.grad
    if step % 99 == 0:
        print(logs[0]["value"].item())
(record,) = losses.records()
print(record.loss, record.status, record.used, record.elements)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that nothing is written into the example."""
    folder = tmp_path_factory.mktemp("source") / "plugin"
    ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache", ".hypothesis")
    shutil.copytree(EXAMPLE, folder, ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def environment(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment into which the distribution is installed."""
    made = Environment(tmp_path_factory.mktemp("environment"))
    made.pip("install", str(source))
    return made


def providers(environment: Environment) -> dict[str, str]:
    rows = json.loads(environment.lploss("list", "--json"))
    return {row["name"]: row["provider"] for row in rows}


def test_it_is_listed_and_described(environment):
    assert providers(environment)["bone_length"] == "lploss-bone-length 1.0.0"
    described = environment.lploss("show", "keypoint_distances_pred")
    assert "batch num_keypoints num_keypoints" in described
    assert "lploss_bone_length.distances:keypoint_distances_pred" in described


def test_its_manifest_is_light(environment):
    rows = json.loads(environment.lploss("plugins", "--json"))
    (row,) = [row for row in rows if row["plugin"] == "bone_length"]
    assert (row["status"], row["imports"]) == ("ok", [])
    assert row["provides"] == ["loss bone_length", "input keypoint_distances_pred"]


def test_the_example_of_its_readme_runs_and_a_network_is_trained(environment, source, tmp_path):
    text = (source / "README.md").read_text("utf-8")
    program, shown = re.search(r"```python\n(.*?)```.*?```text\n(.*?)```", text, re.S).groups()
    printed = environment.run("-c", program + TRAINS, cwd=tmp_path)
    assert printed.startswith(shown)
    before, after, record = printed.removeprefix(shown).splitlines()
    # At first all keypoints lie within some px, 30 and 20 px too near to each other.
    assert 15 < float(before) < 30
    assert float(after) < 0.05 * float(before)
    assert record == f"bone_length ran {100 * 64 * 2} {100 * 64 * 2}"


def test_its_own_tests_pass(environment, source):
    printed = environment.pytest("-q", "--doctest-modules", "src", "tests", cwd=source)
    passed, skipped = re.search(r"(\d+) passed, (\d+) skipped", printed).groups()
    assert int(passed) >= 35
    # Of them check_constants and check_nan_predictions: the loss has no target, and its only input
    # is derived from predictions.
    assert int(skipped) <= 10


def test_its_readme_names_its_files(source):
    text = (source / "README.md").read_text("utf-8")
    files = re.findall(r"^\| `(.+?)` \|", text, re.M)
    assert len(files) == 6
    assert [file for file in files if not (source / file).exists()] == []


def test_pip_uninstalls_it(source, tmp_path):
    environment = Environment(tmp_path)
    environment.pip("install", str(source))
    assert "bone_length" in providers(environment)
    environment.pip("uninstall", "--yes", "lploss-bone-length")
    assert "bone_length" not in providers(environment)
    assert "temporal" in providers(environment)
