"""What must be the same wherever a task is done, for its results to be the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

from lploss.registry import default_registry

Versions: TypeAlias = Mapping[str, str]

# It travels as text: so a machine of another Python, or without lploss, can say so.
_READ = """{
    "Python": ".".join(__import__("platform").python_version_tuple()[:2])
} | {
    name: next(
        (
            found.version.partition("+")[0]
            for found in __import__("importlib.metadata").metadata.distributions(name=name)
        ),
        "none",
    )
    for name in names
}"""


def reader_of_versions() -> Callable[[], dict[str, str]]:
    """Return what reads, once, the versions of Python, torch, lploss and all that has plugins here.

    Of Python the first two numbers count, of torch not for which device it was built.
    """
    plugins = {plugin.distribution for plugin in default_registry.plugins}
    names = ("lploss", "torch", *sorted(plugins - {"lploss"}))
    return partial(eval, _READ, {"names": names})


def differences(here: Versions, there: Versions) -> str:
    """Return which versions differ, and how; nothing where none does.

    Example:
        >>> differences({"Python": "3.12", "lploss": "0.2"}, {"Python": "3.12", "lploss": "none"})
        'lploss none instead of 0.2'
    """
    return ", ".join(
        f"{name} {there.get(name, 'none')} instead of {version}"
        for name, version in here.items()
        if there.get(name) != version
    )
