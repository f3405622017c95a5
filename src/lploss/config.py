"""Reading a config, strictly: a key that is not known is an error, never ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lploss.errors import ConfigError, did_you_mean
from lploss.schema import Config


def load_config(
    source: str | PathLike[str] | Mapping[str, Any] | DictConfig | None = None,
    overrides: Sequence[str] = (),
) -> DictConfig:
    """Read a config and check it against the schema.

    Args:
        source: path of a YAML file, or a mapping; ``None`` for the defaults.
        overrides: ``"section.key=value"``, applied last.

    Returns:
        The config; a key that is not set is ``None``.

    Raises:
        ConfigError: the file is missing or no YAML, holds a key twice, an unknown key, or a
            value of the wrong type. The message names file, line and key.

    Example:
        >>> load_config({"model": {"losses_to_use": ["temporal"]}}).model.losses_to_use
        ['temporal']
    """
    if isinstance(source, str | PathLike):
        raw, tree, name = _read(Path(source))
    elif source is None or isinstance(source, Mapping | DictConfig):
        raw, tree, name = _created(source or {}, None, "the config"), None, "the config"
    else:
        raise ConfigError(
            f"a config must be a path or a mapping, got {type(source).__name__}: {source!r}"
        )
    # In YAML a section whose keys are all commented out is null.
    values = cast("dict[str, Any]", OmegaConf.to_container(raw))
    filled = [key for key, value in values.items() if value is not None or key not in _SECTIONS]
    config = _merged(OmegaConf.structured(Config), OmegaConf.masked_copy(raw, filled), tree, name)
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"an override must read section.key=value, got {override!r}")
        try:
            update = OmegaConf.from_dotlist([override])
        except yaml.MarkedYAMLError as error:
            raise ConfigError(f"the override {override!r}: {error.problem}") from error
        except OmegaConfBaseException as error:
            raise ConfigError(f"the override {override!r}: {_first_line(error)}") from error
        config = _merged(config, update, None, f"the override {override!r}")
    return config


_SECTIONS = {f.name for f in fields(Config)}


def _created(source: Any, tree: yaml.Node | None, name: str) -> DictConfig:
    try:
        return cast(DictConfig, OmegaConf.create(source))
    except OmegaConfBaseException as error:
        where = f"{name}{_line(tree, error.full_key or '')}"
        raise ConfigError(f"{where}: {error.full_key}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _read(path: Path) -> tuple[DictConfig, yaml.Node | None, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the config {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the config {path} is no text: {error}") from error
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        if tree is not None and not isinstance(tree, yaml.MappingNode):
            came = "a list" if isinstance(tree, yaml.SequenceNode) else repr(tree.value)
            raise ConfigError(
                f"{path} must hold sections such as `data:` and `losses:`, got {came}"
            )
        return _created(text if tree else {}, tree, str(path)), tree, str(path)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {_first_line(error)}") from error


def _merged(base: DictConfig, update: DictConfig, tree: yaml.Node | None, name: str) -> DictConfig:
    try:
        return cast(DictConfig, OmegaConf.merge(base, update))
    except OmegaConfBaseException as error:
        values = cast("dict[str, Any]", OmegaConf.to_container(update))
        # OmegaConf does not say where a value stands that should be a section.
        key = error.full_key or _misplaced(values, Config)
        where = f"{name}{_line(tree, key)}"
        if error.key is not None and error.object_type is not None and _is_unknown(error):
            known = [f.name for f in fields(error.object_type)]
            section = key.rpartition(".")[0]
            raise ConfigError(
                f"{where}: there is no key {str(error.key)!r}"
                f"{f' in section {section!r}' if section else ''}."
                f"{did_you_mean(str(error.key), known)} Known: {', '.join(known)}."
            ) from error
        expected = _expected(key)
        if expected is None:
            raise ConfigError(f"{where}: {key}: {_first_line(error)}") from error
        raise ConfigError(f"{where}: {key} must be {expected}, got {_at(values, key)!r}") from error


def _parts(key: str) -> list[str]:
    return key.replace("[", ".").replace("]", "").split(".")


def _at(values: Any, key: str) -> Any:
    for part in _parts(key):
        values = values[int(part)] if isinstance(values, list) else values[part]
    return values


def _misplaced(values: Mapping[str, Any], section: type) -> str:
    """Return the dotted key of the first plain value that stands where a section belongs."""
    for name, annotation in _hints(section).items():
        value = values.get(name)
        if value is None or not is_dataclass(annotation):
            continue
        if isinstance(value, str) and "${" in value:
            continue
        if not isinstance(value, Mapping):
            return name
        if inner := _misplaced(value, cast(type, annotation)):
            return f"{name}.{inner}"
    return ""


def _hints(section: type) -> dict[str, Any]:
    """Return what the schema says of the keys of a section, without "or None"."""
    hints = get_type_hints(section)
    return {
        name: get_args(hint)[0] if get_origin(hint) is Union else hint
        for name, hint in hints.items()
    }


def _expected(key: str) -> str | None:
    """Return what the schema wants at a dotted key, in words, where it knows."""
    annotation: Any = Config
    for part in _parts(key):
        if is_dataclass(annotation):
            annotation = _hints(cast(type, annotation)).get(part)
        else:
            annotation = (get_args(annotation) or (None,))[-1]
    if is_dataclass(annotation):
        return f"a section with keys such as {fields(annotation)[0].name}"
    return _KINDS.get(get_origin(annotation) or annotation)


_KINDS = {
    bool: "true or false",
    dict: "a mapping",
    float: "a number",
    int: "a whole number",
    list: "a list",
    str: "a text",
}


def _is_unknown(error: OmegaConfBaseException) -> bool:
    if not is_dataclass(error.object_type):
        return False
    return str(error.key) not in {f.name for f in fields(error.object_type)}


def _line(node: yaml.Node | None, key: str) -> str:
    """Return ``, line N`` for a dotted key in the tree of a YAML text."""
    line = None
    for part in _parts(key):
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == part]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and part.isdecimal():
            node = node.value[int(part)]
            line = node.start_mark.line
        else:
            break
    return "" if line is None else f", line {line + 1}"


def plain(node: Any) -> Any:
    """Return an OmegaConf node as plain dictionaries and lists; anything else as it is.

    Raises:
        ConfigError: an interpolation cannot be resolved.
    """
    if not isinstance(node, DictConfig | ListConfig):
        return node
    try:
        return OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {_first_line(error)}") from error


def value_at(config: DictConfig, path: str) -> Any:
    """Return what stands at a dotted path, as plain Python; ``None`` where nothing does."""
    try:
        return plain(OmegaConf.select(config, path))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {_first_line(error)}") from error
