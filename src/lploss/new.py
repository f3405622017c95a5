"""A new distribution with a loss, written from templates."""

from __future__ import annotations

import re
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import NamedTuple

from lploss.errors import ArgumentValueError
from lploss.registry import Registry, default_registry
from lploss.specs import LossSpec

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

# Where each template goes; what stands in braces is filled in.
_FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "init.py": "src/{package}/__init__.py",
    "manifest.py": "src/{package}/manifest.py",
    "loss.py": "src/{package}/loss.py",
    "test_loss.py": "tests/test_loss.py",
}


class NewDistribution(NamedTuple):
    """What was written.

    Attributes:
        folder: of the distribution.
        written: all files, relative to the folder.
        formula: the file in which the formula stands, relative to the folder.
    """

    folder: Path
    written: list[Path]
    formula: Path


def new_distribution(
    name: str, into: Path, registry: Registry = default_registry
) -> NewDistribution:
    """Write a distribution with one loss, whose formula is a placeholder.

    Args:
        name: name of the loss; the folder and the distribution are named after it.
        into: the folder in which its folder is made.
        registry: where the names of losses are looked up.

    Raises:
        ArgumentValueError: the name cannot be used, or the folder is there and not empty.
    """
    _check_name(name, registry)
    distribution = f"lploss-{name.replace('_', '-')}"
    words = name.removesuffix("_loss").split("_")
    fields = {
        "name": name,
        "distribution": distribution,
        "package": f"lploss_{name}",
        "class_name": "".join(word.capitalize() for word in [*words, "loss"]),
        "version": version("lploss"),
    }
    folder = into / distribution
    if into.exists() and not into.is_dir():
        raise ArgumentValueError(f"{into} is a file; give a folder: --into DIR")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArgumentValueError(
            f"{folder} is there already, and nothing is overwritten. Choose another name, remove "
            "it, or give another folder: --into DIR"
        )
    templates = files("lploss") / "templates" / "plugin"
    targets = {template: Path(target.format_map(fields)) for template, target in _FILES.items()}
    for template, target in targets.items():
        text = (templates / f"{template}.template").read_text(encoding="utf-8")
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        (folder / target).write_text(Template(text).substitute(fields), encoding="utf-8")
    return NewDistribution(folder, list(targets.values()), targets["loss.py"])


def _check_name(name: str, registry: Registry) -> None:
    if not _NAME.fullmatch(name):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
        plain = re.sub(r"[\W_]+", "_", words.lower()).strip("_").removeprefix("lploss_")
        hint = f" Did you mean {plain!r}?" if _NAME.fullmatch(plain) else ""
        raise ArgumentValueError(
            "the name of a new loss must be lower-case words with underscores between them, such "
            f"as 'bone_length'; got {name!r}.{hint}"
        )
    for entry in registry.entries(LossSpec):
        if entry.spec.name == name:
            raise ArgumentValueError(
                f"there is a loss {name!r} already, of {entry.plugin.distribution} "
                f"{entry.plugin.version}. Nobody could ask for yours without saying whose it is: "
                "choose another name."
            )
    from torch import nn

    if hasattr(nn.ModuleDict(), name):
        raise ArgumentValueError(
            f"a loss cannot be named {name!r}, because torch.nn.ModuleDict, which holds losses in "
            "trainers, has an attribute of this name. Choose another name."
        )
    if find_spec(f"lploss_{name}") is not None:
        raise ArgumentValueError(
            f"the package lploss_{name}, in which the loss would stand, is there already. Choose "
            "another name."
        )
