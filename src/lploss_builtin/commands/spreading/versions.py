"""What must be the same wherever a task is done, for its results to be the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from lploss.registry import default_registry

Versions: TypeAlias = Mapping[str, str]


def reader_of_versions() -> Callable[[], dict[str, str]]:
    """Return what reads the versions of Python, torch, lploss and all that has plugins here.

    Of Python the first two numbers count, of torch not for which device it was built.

    It is a nested function that uses nothing of its module, and so travels as code: a machine
    where lploss is not installed can run it and say so.
    """
    plugins = {plugin.distribution for plugin in default_registry.plugins}
    names = ("lploss", "torch", *sorted(plugins - {"lploss"}))

    def read() -> dict[str, str]:
        import platform
        from importlib.metadata import PackageNotFoundError, version

        found = {"Python": ".".join(platform.python_version_tuple()[:2])}
        for name in names:
            try:
                found[name] = version(name).partition("+")[0]
            except PackageNotFoundError:
                found[name] = "none"
        return found

    return read


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
