from __future__ import annotations

import importlib.metadata
import json
import platform
import sys

import pytest
import torch

from lploss.registry import default_registry
from lploss_builtin.training import environment as module
from lploss_builtin.training.environment import environment


def test_versions_the_machine_and_the_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lploss", "train", "config.yaml"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = environment()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["packages"] == {
        "torch": torch.__version__,
        **{
            name: importlib.metadata.version(name)
            for name in ("lploss", "timm", "lightning", "kornia", "numpy", "omegaconf")
        },
    }
    assert platform.system() in found["machine"]
    assert found["device"] == "CPU"
    assert found["command"] == ["lploss", "train", "config.yaml"]
    assert found["plugins"]["lploss"] == importlib.metadata.version("lploss")
    assert found["plugins"] == {p.distribution: p.version for p in default_registry.plugins}


def test_distributions_of_plugins_with_their_versions(site):
    site.install_loss("acme", "acme_loss", version="2.5")
    site.install_loss("other-things", "other_loss")
    assert environment(site.registry())["plugins"] == {"acme": "2.5", "other-things": "1.0"}


def test_a_gpu_has_a_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA something")
    assert environment()["device"] == "NVIDIA something"


def test_a_package_that_is_not_there(monkeypatch):
    def version(name):
        if name == "timm":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.2"

    monkeypatch.setattr(module, "version", version)
    packages = environment()["packages"]
    assert (packages["timm"], packages["kornia"]) == ("not installed", "1.2")


@pytest.mark.parametrize("indent", [None, 2])
def test_it_is_written_as_json(indent):
    found = environment()
    assert json.loads(json.dumps(found, indent=indent)) == found
