"""From installed distributions to plugins: each one isolated from all others."""

from __future__ import annotations

import difflib
import importlib.metadata
import inspect
import re
import sys
import time
import traceback
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, TypeAlias

import pluggy

from lploss import hookspecs
from lploss.errors import PluginError, first_line
from lploss.specs import CommandSpec, InputSpec, LossSpec, ModelSpec, Spec

GROUP = "lploss"

# What each hook returns; the hooks themselves stand in `hookspecs`.
HOOKS: dict[str, type[Spec]] = {
    "lploss_losses": LossSpec,
    "lploss_inputs": InputSpec,
    "lploss_models": ModelSpec,
    "lploss_commands": CommandSpec,
}

# What takes long to import, and what a manifest has no use for.
HEAVY = (
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
    "jaxtyping",
    "omegaconf",
    "kornia",
    "timm",
    "lightning",
    "cv2",
)

Status: TypeAlias = Literal["ok", "failed", "blocked"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a plugin, or something that it provides, is not to be had."""

    stage: str
    error: BaseException
    traceback: str

    def __str__(self) -> str:
        return f"{self.stage}: {first_line(self.error)}"


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point of group ``lploss``, and what its manifest returned.

    Attributes:
        name: name of the entry point.
        distribution: normalised name of the distribution that provides it.
        version: version of that distribution.
        value: the entry point's value, the manifest module.
        status: ``"ok"``, ``"failed"`` or ``"blocked"`` (not on the allow-list).
        seconds: time to import the manifest and to call its hooks.
        specs: everything the hooks returned.
        failure: why the status is ``"failed"``.
        heavy: heavy packages that the manifest imported, and nothing before it.
    """

    name: str
    distribution: str
    version: str
    value: str
    status: Status
    seconds: float = 0.0
    specs: tuple[Spec, ...] = ()
    failure: Failure | None = None
    heavy: tuple[str, ...] = ()


def normalise(distribution: str) -> str:
    """Return a distribution's name in its normal form, e.g. ``acme-losses``.

    Example:
        >>> normalise("Acme_Losses")
        'acme-losses'
    """
    return re.sub(r"[-_.]+", "-", distribution).lower()


def failure_of(stage: str, error: BaseException) -> Failure:
    """Return the record of an error, with its traceback as text."""
    return Failure(stage, error, "".join(traceback.format_exception(error)))


def discover(
    distributions: Iterable[Any] | None = None,
    allow: Collection[str] | None = None,
) -> list[Plugin]:
    """Import the manifest of every plugin and call its hooks, one plugin at a time.

    Whatever a plugin raises is recorded and affects no other plugin. This includes exceptions that
    do not derive from `Exception`, such as the panics of Rust extensions, the outcomes of pytest,
    and ``sys.exit()``. Only `KeyboardInterrupt` passes: it comes from the user.

    Args:
        distributions: where to look; all installed distributions unless given.
        allow: normalised names of the only distributions to import; ``None`` allows all.

    Returns:
        One `Plugin` an entry point, ordered by distribution and name.
    """
    plugins: list[Plugin] = []
    seen: set[str] = set()
    if distributions is None:
        distributions = importlib.metadata.distributions()
    for distribution in distributions:
        try:
            text = distribution.read_text("entry_points.txt")
            if not text or GROUP not in text:
                continue
            entry_points = distribution.entry_points.select(group=GROUP)
            metadata = distribution.metadata
            name = normalise(metadata["Name"])
            # Asked for what is not there, a backport raises and the standard library does not.
            version = metadata["Version"] if "Version" in metadata else "?"  # noqa: SIM401
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # A damaged installation in the same environment must not hide the plugins.
            about = ("unreadable", str(getattr(distribution, "_path", distribution)), "?", "?")
            failure = failure_of("metadata of the distribution", error)
            plugins.append(Plugin(*about, "failed", failure=failure))
            continue
        # The first one on the path is the one that gets imported.
        if name not in seen:
            seen.add(name)
            plugins += [_load(name, version, point, allow) for point in entry_points]
    return sorted(plugins, key=lambda plugin: (plugin.distribution, plugin.name))


def _load(
    distribution: str, version: str, entry_point: Any, allow: Collection[str] | None
) -> Plugin:
    # Once importlib_metadata is imported, the entry point is one of its own class.
    about = (entry_point.name, distribution, version, entry_point.value)
    if allow is not None and distribution not in allow:
        return Plugin(*about, status="blocked")
    start = time.perf_counter()
    light = [package for package in HEAVY if package not in sys.modules]
    stage = f"import of the manifest {entry_point.value}"
    try:
        manifest = entry_point.load()
        stage = "check of the hooks"
        manager = _checked(manifest, entry_point.name)
        stage = "call of the hooks"
        specs = tuple(spec for hook in HOOKS for spec in _call(manager, hook))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        seconds = time.perf_counter() - start
        return Plugin(*about, "failed", seconds, failure=failure_of(stage, error))
    seconds = time.perf_counter() - start
    heavy = tuple(package for package in light if package in sys.modules)
    return Plugin(*about, "ok", seconds, specs, heavy=heavy)


def _checked(manifest: object, name: str) -> pluggy.PluginManager:
    """Register one manifest in a manager of its own, so that no other can be affected."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    attributes = vars(manifest) if isinstance(manifest, ModuleType) else dir(manifest)
    members = {attribute: getattr(manifest, attribute) for attribute in attributes}
    marked = [a for a, value in members.items() if hasattr(value, f"{hookspecs.PROJECT}_impl")]
    for attribute, value in members.items():
        is_hook = callable(value) and attribute.startswith(f"{hookspecs.PROJECT}_")
        if is_hook and attribute not in marked:
            raise PluginError(
                f"{attribute} is not marked as a hook: put @lploss.hookimpl above it, "
                "or give it a name that does not start with 'lploss_'"
            )
    if isinstance(manifest, type) or not marked:
        type_name = "class" if isinstance(manifest, type) else type(manifest).__name__
        came = f"{type_name} {getattr(manifest, '__name__', '')}".strip()
        raise PluginError(
            f"the entry point must name a manifest, a module with one of {', '.join(HOOKS)}, "
            f"marked by @lploss.hookimpl; got the {came}"
        )
    for attribute in marked:
        if attribute not in HOOKS:
            matches = difflib.get_close_matches(attribute, HOOKS, n=1) or [", ".join(HOOKS)]
            raise PluginError(f"there is no hook {attribute}; expected: {matches[0]}")
        if parameters := inspect.signature(members[attribute]).parameters:
            taken = ", ".join(parameters)
            raise PluginError(f"{attribute} must take no arguments, it takes {taken}")
    manager.register(manifest, name)
    manager.check_pending()
    return manager


def _call(manager: pluggy.PluginManager, hook: str) -> Iterator[Spec]:
    expected = HOOKS[hook]
    caller = getattr(manager.hook, hook)
    results = caller()
    if len(results) < len(caller.get_hookimpls()):  # pluggy drops None
        raise PluginError(f"{hook}() must return a list of {expected.__name__}, got None")
    for result in results:
        if isinstance(result, str | bytes) or not isinstance(result, Iterable):
            raise PluginError(
                f"{hook}() must return a list of {expected.__name__}, "
                f"got {type(result).__name__}: {result!r}"
            )
        for spec in result:
            if not isinstance(spec, expected):
                raise PluginError(
                    f"{hook}() must return a list of {expected.__name__}, "
                    f"got one that holds {type(spec).__name__}: {spec!r}"
                )
            yield spec
