"""What a training ran with: versions, plugins, the machine."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from lploss.registry import Registry, default_registry

_PACKAGES = ("lploss", "torch", "timm", "lightning", "kornia", "numpy", "omegaconf")


def environment(registry: Registry = default_registry) -> dict[str, Any]:
    """Return versions of the packages, the distributions of plugins, and the machine.

    Args:
        registry: whose plugins.

    Example:
        >>> sorted(environment())
        ['command', 'device', 'machine', 'packages', 'plugins', 'python']
    """
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = str(torch.__version__) if name == "torch" else version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    return {
        "python": platform.python_version(),
        "packages": packages,
        "plugins": {p.distribution: p.version for p in registry.plugins},
        "machine": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "command": sys.argv,
    }
