"""The registry: which losses, models, inputs and commands there are, and whose they are."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Generic, TypeVar

from lploss import discovery
from lploss.discovery import Failure, Plugin, normalise
from lploss.errors import (
    AmbiguousNameError,
    PluginError,
    PluginLoadWarning,
    UnknownInputError,
    UnknownLossError,
    UnknownModelError,
    UnknownNameError,
    did_you_mean,
)
from lploss.specs import CommandSpec, InputSpec, LossSpec, ModelSpec, Spec

ALLOW_VARIABLE = "LPLOSS_PLUGINS"
STRICT_VARIABLE = "LPLOSS_STRICT"

_UNKNOWN: dict[type, type[UnknownNameError]] = {
    LossSpec: UnknownLossError,
    ModelSpec: UnknownModelError,
    InputSpec: UnknownInputError,
    CommandSpec: UnknownNameError,
}

_NO_METADATA = (
    "The package metadata of lploss is missing, so its losses, models and commands cannot be "
    "found: plugins are found through the entry points in the folder lploss-VERSION.dist-info. In "
    "a frozen application, include the metadata and the modules of lploss and of each plugin, e.g. "
    "by `pyinstaller --copy-metadata lploss --collect-submodules lploss_builtin`. Elsewhere, "
    "install lploss instead of only putting its source on the path."
)

S = TypeVar("S", bound=Spec)


@dataclass(frozen=True, slots=True)
class Entry(Generic[S]):
    """A spec and the plugin that provides it."""

    spec: S
    plugin: Plugin

    @property
    def qualified_name(self) -> str:
        """The name that is never ambiguous: ``distribution/name``."""
        return f"{self.plugin.distribution}/{self.spec.name}"


@dataclass(slots=True)
class _Found:
    """What a registry has found; shared with those that only prefer other distributions."""

    plugins: tuple[Plugin, ...] | None = None
    load_failures: dict[str, Failure] = field(default_factory=dict)


class Registry:
    """Finds what plugins provide, imports it when it is asked for, and remembers failures.

    Plugins are looked for on first use, once. The environment variable ``LPLOSS_PLUGINS``, a
    comma-separated list of distributions, is an allow-list: nothing else is imported, the
    built-ins (distribution ``lploss``) included. With ``LPLOSS_STRICT=1`` a plugin that fails
    raises at once instead of being left out with a warning.

    Args:
        distributions: where to look for plugins; all installed distributions unless given.
        allow: names of the only distributions to import; the environment decides unless given.
        strict: whether a failing plugin raises; the environment decides unless given.
        prefer: for names that several distributions provide, the distribution to take.

    Example:
        >>> "temporal" in Registry().names(LossSpec)
        True
    """

    def __init__(
        self,
        distributions: Iterable[Any] | None = None,
        *,
        allow: Collection[str] | None = None,
        strict: bool | None = None,
        prefer: Mapping[str, str] | None = None,
    ) -> None:
        self._distributions = None if distributions is None else list(distributions)
        self._allow = allow
        self._strict = strict
        self._prefer = dict(prefer or {})
        self._found = _Found()

    def __deepcopy__(self, memo: dict[int, Any]) -> Registry:
        # It stands for what is installed, of which there is one; and the errors that it keeps
        # may neither be copied nor pickled.
        return self

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self is default_registry:
            return "default_registry"
        state = {"_allow": self._allow, "_strict": self._strict, "_prefer": self._prefer}
        return Registry, (self._distributions,), state

    def preferring(self, prefer: Mapping[str, str] | None) -> Registry:
        """Return this registry with other preferences; what it has found is shared.

        Args:
            prefer: for names that several distributions provide, the distribution to take.

        Example:
            >>> ours = default_registry.preferring({"temporal": "lploss"})
            >>> ours.find(LossSpec, "temporal").qualified_name
            'lploss/temporal'
        """
        if not prefer:
            return self
        other = Registry(self._distributions, allow=self._allow, strict=self._strict, prefer=prefer)
        other._found = self._found
        return other

    @property
    def strict(self) -> bool:
        """Whether a failing plugin raises."""
        if self._strict is not None:
            return self._strict
        return os.environ.get(STRICT_VARIABLE, "") not in ("", "0")

    @property
    def allow(self) -> frozenset[str] | None:
        """Normalised names of the distributions that may be imported; ``None``: all."""
        names = self._allow
        if names is None:
            variable = os.environ.get(ALLOW_VARIABLE)
            if variable is None:
                return None
            names = [name.strip() for name in variable.split(",") if name.strip()]
        return frozenset(map(normalise, names))

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """All plugins, failed and blocked ones included."""
        if self._found.plugins is None:
            self.refresh()
        return self._found.plugins or ()

    def refresh(self) -> None:
        """Look for plugins again, e.g. after an installation in a running notebook.

        Raises:
            PluginError: in strict mode, for the first plugin that failed.
        """
        importlib.invalidate_caches()
        self._found.load_failures.clear()
        self._found.plugins = tuple(discovery.discover(self._distributions, self.allow))
        for plugin in self._found.plugins:
            if plugin.failure is not None:
                message = f"plugin {_whose(plugin)} is left out: {plugin.failure}"
                if self.strict:
                    self._found.plugins = None
                    raise PluginError(message) from plugin.failure.error
                warnings.warn(
                    f"{message}. `lploss plugins` shows more.", PluginLoadWarning, stacklevel=2
                )
        if self._lacks_metadata:
            warnings.warn(_NO_METADATA, PluginLoadWarning, stacklevel=2)

    @property
    def failures(self) -> dict[str, Failure]:
        """Failures so far: of plugins, and of the targets that were asked for."""
        return {_whose(p): p.failure for p in self.plugins if p.failure} | self._found.load_failures

    def entries(self, spec_type: type[S]) -> list[Entry[S]]:
        """Return all specs of a type, ordered by name; a name may occur twice."""
        found: list[Entry[S]] = [
            Entry(spec, plugin)
            for plugin in self.plugins
            for spec in plugin.specs
            if isinstance(spec, spec_type)
        ]
        return sorted(found, key=lambda entry: (entry.spec.name, entry.plugin.distribution))

    def names(self, spec_type: type[S]) -> list[str]:
        """Return the names of all specs of a type, ordered, each once."""
        return sorted({entry.spec.name for entry in self.entries(spec_type)})

    def find(self, spec_type: type[S], name: str) -> Entry[S]:
        """Return the entry of a name.

        Args:
            spec_type: `LossSpec`, `ModelSpec`, `InputSpec` or `CommandSpec`.
            name: the plain name, or ``distribution/name``.

        Raises:
            UnknownNameError: nobody provides the name.
            AmbiguousNameError: several distributions do, and nothing says which to take.
        """
        distribution, _, plain = name.rpartition("/")
        if not distribution:
            distribution = self._prefer.get(plain, "")
        found = [entry for entry in self.entries(spec_type) if entry.spec.name == plain]
        if distribution:
            found = [e for e in found if e.plugin.distribution == normalise(distribution)]
            name = f"{normalise(distribution)}/{plain}"
        if not found:
            raise self._unknown(spec_type, name)
        providers = " and ".join(sorted({_whose(entry.plugin) for entry in found}))
        if len({entry.plugin.distribution for entry in found}) > 1:
            choices = " or ".join(sorted({repr(entry.qualified_name) for entry in found}))
            raise AmbiguousNameError(
                f"the {spec_type.noun} {plain!r} is provided by {providers}. "
                f"Ask for {choices}, or put `prefer: {{{plain}: "
                f"{found[0].plugin.distribution}}}` into the config."
            )
        # A distribution may state the same spec in two plugins; that is one provider.
        if any(entry.spec != found[0].spec for entry in found):
            raise AmbiguousNameError(
                f"the {spec_type.noun} {plain!r} is stated in different ways by {providers}; only "
                "that distribution can mend this."
            )
        return found[0]

    def load(self, spec_type: type[S], name: str) -> Any:
        """Import and return the target of a name.

        Raises:
            UnknownNameError: nobody provides the name.
            AmbiguousNameError: several distributions do.
            PluginError: the target cannot be imported, or is not what it should be.
        """
        entry = self.find(spec_type, name)
        target = entry.spec.derived_by if isinstance(entry.spec, InputSpec) else entry.spec.target
        if target is None:
            raise PluginError(f"the input {name!r} can only be given, it is derived from nothing")
        try:
            loaded = import_target(target)
            if spec_type.target_check is not None:
                import_target(spec_type.target_check)(entry.spec.name, loaded)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # as in `discovery.discover`
            failure = discovery.failure_of(f"import of {target}", error)
            self._found.load_failures[entry.qualified_name] = failure
            hint = ""
            requires = getattr(entry.spec, "requires", ())
            if requires and isinstance(error, ImportError):
                extras = f"{entry.plugin.distribution}[{','.join(requires)}]"
                hint = f' It needs extras: pip install "{extras}"'
            if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType | type):
                hint = did_you_mean(str(error.name), dir(error.obj))
            raise PluginError(
                f"the {spec_type.noun} {name!r} of {_whose(entry.plugin)} cannot be loaded: "
                f"{failure}.{hint}"
            ) from error
        self._found.load_failures.pop(entry.qualified_name, None)
        return loaded

    @property
    def _lacks_metadata(self) -> bool:
        """Whether Python finds no entry points of lploss itself, as in a frozen application."""
        found = {plugin.distribution for plugin in self.plugins}
        return self._distributions is None and "lploss" not in found

    def _unknown(self, spec_type: type[S], name: str) -> UnknownNameError:
        names = self.names(spec_type)
        if "/" in name:
            names = [entry.qualified_name for entry in self.entries(spec_type)]
        lines = [f"there is no {spec_type.noun} {name!r}.{did_you_mean(name, names)}"]
        if self._lacks_metadata:
            lines.append(_NO_METADATA)
        if names or not self._lacks_metadata:
            lines.append(f"Known: {', '.join(names) if names else 'none'}.")
        if failed := [p for p in self.plugins if p.failure]:
            lines.append("These plugins failed to load, and may be the ones that provide it:")
            lines += [f"  {_whose(plugin)}: {plugin.failure}" for plugin in failed]
        if blocked := sorted({p.distribution for p in self.plugins if p.status == "blocked"}):
            lines.append(
                f"These distributions are not on the allow-list ({ALLOW_VARIABLE}): "
                f"{', '.join(blocked)}."
            )
        return _UNKNOWN[spec_type]("\n".join(lines))


def import_target(target: str) -> Any:
    """Import and return what ``package.module:Name`` names."""
    module, _, names = target.partition(":")
    value: Any = importlib.import_module(module)
    for name in names.split("."):
        value = getattr(value, name)
    return value


def _whose(plugin: Plugin) -> str:
    return f"{plugin.distribution} {plugin.version} ({plugin.name})"


default_registry = Registry()
