"""Reading a config, strictly: a key that is not known is an error, never ignored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lploss.config.schema import RETIRED, Config
from lploss.errors import ConfigError, did_you_mean
from lploss.reading import check_file, reading

_MISSING = "???"


def load_config(
    source: str | PathLike[str] | Mapping[str, Any] | DictConfig | None = None,
    overrides: Sequence[str] = (),
) -> DictConfig:
    """Read a config and check it against the schema.

    Where the schema has text, such as the names of keypoints, views and losses, values without
    quotes stay as they are written: ``[on, 001, 12:30]`` are three texts, not ``True``, 1 and 750.

    Args:
        source: path of a YAML file, or a mapping; ``None`` for the defaults.
        overrides: ``"section.key=value"``, applied last. A mapping is merged into the one that
            the config holds; ``{}`` and ``null`` clear it.

    Returns:
        The config; a key that is not set is ``None``.

    Raises:
        ConfigError: the file is missing or no YAML, holds a key twice, an unknown key, a value
            of the wrong type, or ``???`` for a value that no override gives. The message names
            file, line and key.

    Example:
        >>> load_config({"model": {"losses_to_use": ["temporal"]}}).model.losses_to_use
        ['temporal']
    """
    name = source if isinstance(source, str | PathLike) else ""
    with reading(f"the config {name}".rstrip(), error=ConfigError):
        return _load_config(source, overrides)


def _load_config(
    source: str | PathLike[str] | Mapping[str, Any] | DictConfig | None, overrides: Sequence[str]
) -> DictConfig:
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
    if tree is None:
        _check_texts(values, Config)
    filled = [key for key, value in values.items() if value is not None or key not in _SECTIONS]
    config = _merged(OmegaConf.structured(Config), OmegaConf.masked_copy(raw, filled), tree, name)
    missing = dict.fromkeys(_missing_keys(values))
    for override in overrides:
        with reading(f"the override {override!r}", error=ConfigError):
            key, update = _update(override)
            config = _merged(config, update, None, f"the override {override!r}")
        if OmegaConf.select(update, key) == {}:
            # Merging nothing would leave what the config holds.
            section = _annotation(key)
            empty: Any = cast(type, section)() if is_dataclass(section) else {}
            OmegaConf.update(config, key, empty, merge=False)
        missing = {k: None for k in missing if not _concerns(key, k)}
    if missing:
        raise ConfigError(
            "\n".join(
                f"{name}{_line(tree, key)}: {key} is missing: {_MISSING} stands for a value that "
                f"must be given. Write it there, or give the override {key}=VALUE."
                for key in missing
            )
        )
    return config


def _concerns(override: str, key: str) -> bool:
    """Whether an override of one key gives the other one: it is the same, or holds it, or more."""
    return all(one == other for one, other in zip(_parts(override), _parts(key), strict=False))


def _update(override: str) -> tuple[str, DictConfig]:
    """Return the key of an override, and a config of its value alone."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"an override must read section.key=value, got {override!r}")
    try:
        update = _parsed(key, text, _annotation(key))
    except ConfigError as error:
        raise ConfigError(f"the override {override!r}: {error}") from error
    value = OmegaConf.to_container(update)
    if [*_missing_keys(value)]:
        raise ConfigError(
            f"the override {override!r}: {_MISSING} stands for a value that must be given"
        )
    if key in _SECTIONS and text.strip() in ("", "null", "~") and key != "hydra":
        OmegaConf.update(update, key, {})  # a section cannot be null
    return key, update


def _parsed(key: str, text: str, annotation: Any) -> DictConfig:
    """Return a config that holds one value, given as YAML, at a dotted key."""
    try:
        text = _with_quotes(text, yaml.compose(text, Loader=yaml.SafeLoader), annotation)
        parsed = OmegaConf.from_dotlist([f"{key}={text}"])
        OmegaConf.to_container(parsed)  # raises for malformed interpolations
    except yaml.YAMLError as error:
        problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else _first_line(error)
        raise ConfigError(str(problem)) from error
    except OmegaConfBaseException as error:
        raise ConfigError(_first_line(error)) from error
    return parsed


def loss_argument(text: str) -> Any:
    """Return the value of a loss's argument from its YAML text, read as in a config.

    Raises:
        ConfigError: the text is not YAML.

    Example:
        >>> loss_argument("1e-3"), loss_argument("[on, 001]")
        (0.001, ['on', '001'])
    """
    with reading(repr(text), error=ConfigError):
        return plain(_parsed("argument", text, _Arguments))["argument"]


def _missing_keys(values: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys whose value is ``???``."""
    if values == _MISSING:
        yield prefix
    elif isinstance(values, Mapping):
        for key, value in values.items():
            if prefix or key != "hydra":  # in whose section it is Hydra's to fill in
                yield from _missing_keys(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from _missing_keys(value, f"{prefix}[{index}]")


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
    check_file(path, "the config", ConfigError)
    if path.stat().st_size > _MOST_BYTES:
        raise ConfigError(
            f"the config {path} has {path.stat().st_size} bytes, expected at most {_MOST_BYTES}"
        )
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        if tree is not None and not isinstance(tree, yaml.MappingNode):
            came = "a list" if isinstance(tree, yaml.SequenceNode) else repr(tree.value)
            raise ConfigError(
                f"{path} must hold sections such as `data:` and `losses:`, got {came}"
            )
        # An alias within its own anchor is infinitely large, and refused by its own error.
        if tree is not None and _MOST_VALUES < _num_values(tree, {}) < float("inf"):
            raise ConfigError(
                f"{path} holds more than {_MOST_VALUES} values, because its aliases (*name) are "
                "nested. Write the values out."
            )
        text = _with_quotes(text, tree, Config)
        return _created(text if tree else {}, tree, str(path)), tree, str(path)
    except UnicodeDecodeError as error:
        raise ConfigError(f"the config {path} is no text: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {_first_line(error)}") from error


class _Arguments:
    """Stands for the arguments of losses, of which the schema does not know which are text."""


# What YAML 1.1 takes for a boolean or a number, and few people do: on, no, 001, 12:30, 1_000.
_PLAIN_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*|([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?)")
_BOOLEANS = ("true", "false")
_TOKEN = re.compile(r"[-+.:\w]+")


def _with_quotes(text: str, node: yaml.Node | None, annotation: Any) -> str:
    """Return a YAML text with quotes around what is text, and YAML 1.1 takes for another thing.

    Args:
        text: the text.
        node: its tree.
        annotation: what the schema says of it.
    """
    places = {
        (scalar.start_mark.index, scalar.end_mark.index)
        for scalar in _texts(node, annotation, set())
    }
    for start, end in sorted(places, reverse=True):
        text = f"{text[:start]}'{text[start:end]}'{text[end:]}"
    return text


def _texts(node: yaml.Node | None, annotation: Any, seen: set[int]) -> Iterator[yaml.ScalarNode]:
    if node is None or annotation is None or id(node) in seen:
        return
    seen.add(id(node))  # an alias may even stand in its own anchor
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _texts(key, _Arguments, seen)
            yield from _texts(value, _annotation_of(annotation, key.value), seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _texts(value, _annotation_of(annotation), seen)
    elif isinstance(node, yaml.ScalarNode) and node.style is None and _TOKEN.fullmatch(node.value):
        tag = node.tag.rpartition(":")[2]
        if annotation is str:
            is_text = tag != "null"
        else:
            is_text = annotation is _Arguments and (
                (tag == "bool" and node.value.lower() not in _BOOLEANS)
                or (tag in ("int", "float") and _is_odd(node.value))
            )
        if is_text:
            yield node


def _is_odd(number: str) -> bool:
    is_special = number.lower().lstrip("-+") in (".inf", ".nan")
    return not is_special and _PLAIN_NUMBER.fullmatch(number) is None


def _check_texts(values: Any, annotation: Any, key: str = "") -> None:
    """Refuse truth values where the schema has text: they were words before YAML was read."""
    if annotation is str and isinstance(values, bool):
        raise ConfigError(
            f"the config: {key} must be a text, got {values}. YAML reads on, off, yes and no as "
            "true or false unless they are in quotes."
        )
    if isinstance(values, Mapping):
        for name, value in values.items():
            dotted = f"{key}.{name}" if key else str(name)
            _check_texts(value, _annotation_of(annotation, str(name)), dotted)
    elif isinstance(values, list):
        for index, value in enumerate(values):
            _check_texts(value, _annotation_of(annotation), f"{key}[{index}]")


_MOST_BYTES = 1 << 18
_MOST_VALUES = 100_000


def _num_values(node: yaml.Node, known: dict[int, float]) -> float:
    """Return how many values a tree holds when its aliases are written out, maybe infinitely."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = float("inf")  # while the values inside are counted
        inside = (
            chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
        )
        known[id(node)] = 1 + sum(_num_values(value, known) for value in inside)
    return known[id(node)]


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
            advice = f"{did_you_mean(str(error.key), known)} Known: {', '.join(known)}."
            if key in RETIRED:
                advice = f" Lightning Pose no longer has it: {RETIRED[key]}"
            raise ConfigError(
                f"{where}: there is no key {str(error.key)!r}"
                f"{f' in section {section!r}' if section else ''}.{advice}"
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


@cache
def _hints(section: type) -> dict[str, Any]:
    """Return what the schema says of the keys of a section, without "or None"."""
    hints = get_type_hints(section)
    return {
        name: get_args(hint)[0] if get_origin(hint) is Union else hint
        for name, hint in hints.items()
    }


def _annotation(key: str) -> Any:
    """Return what the schema says of a dotted key; ``None`` where it says nothing."""
    annotation: Any = Config
    for part in _parts(key):
        annotation = _annotation_of(annotation, part)
    return annotation


def _annotation_of(annotation: Any, key: str | None = None) -> Any:
    """Return what the schema says of a key of a section, or of an element of a list or mapping."""
    if annotation is _Arguments or annotation is str:
        return annotation  # data.csv_file may be one text or several
    if is_dataclass(annotation):
        if annotation is Config and key == "losses":
            return dict[str, _Arguments]
        found = _hints(cast(type, annotation)).get(key or "")
        return str if found is Any and key in ("csv_file", "bbox_file") else found
    return (get_args(annotation) or (None,))[-1]


def _expected(key: str) -> str | None:
    """Return what the schema wants at a dotted key, in words, where it knows."""
    annotation = _annotation(key)
    if is_dataclass(annotation):
        return f"a section with keys such as {fields(annotation)[0].name}"
    return _IN_WORDS.get(get_origin(annotation) or annotation)


_IN_WORDS = {
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


def unknown_key(path: str) -> str | None:
    """Return what is wrong with a dotted path, or ``None`` where the schema has such a key.

    Example:
        >>> unknown_key("data.csv_fil")
        "there is no key 'csv_fil' in section 'data'. Did you mean 'csv_file'?"
    """
    annotation: Any = Config
    section = ""
    for part in path.split("."):
        if annotation is Any or get_origin(annotation) is dict or annotation is dict:
            return None
        known = _hints(cast(type, annotation)) if is_dataclass(annotation) else {}
        if part not in known:
            where = f"section {section!r}" if section else "the config"
            return f"there is no key {part!r} in {where}.{did_you_mean(part, known)}"
        annotation, section = known[part], f"{section}.{part}" if section else part
    return None


def value_at(config: DictConfig, path: str) -> Any:
    """Return what stands at a dotted path, as plain Python; ``None`` where nothing does."""
    try:
        return plain(OmegaConf.select(config, path))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {_first_line(error)}") from error


def defaults_of(section: str) -> dict[str, Any]:
    """Return what a training takes for the keys of a section that a config does not set.

    Example:
        >>> defaults_of("dali.base")
        {'train': {'sequence_length': 16}, 'predict': {'sequence_length': 96}}
    """
    return _defaults(_annotation(section))


def _defaults(section: type) -> dict[str, Any]:
    defaults = {f.name: f.metadata.get("default") for f in fields(section)}
    return {
        name: _defaults(default) if isinstance(default, type) else default
        for name, default in defaults.items()
        if default is not None
    }


def check_ranges(config: DictConfig, section: str) -> None:
    """Check that the numbers of a section are in the ranges that the schema states.

    Raises:
        ConfigError: a number is outside its range.

    Example:
        >>> check_ranges(load_config({"training": {"min_epochs": -1}}), "training")
        Traceback (most recent call last):
        ...
        lploss.errors.ConfigError: training.min_epochs must be at least 0, got -1
    """
    values = value_at(config, section) or {}
    for declared in fields(_annotation(section)):
        key, value = f"{section}.{declared.name}", values.get(declared.name)
        within = declared.metadata.get("within")
        if value is not None and within is not None and not within.holds(value):
            raise ConfigError(f"{key} must be {within.words}, got {value}")
        if is_dataclass(_annotation(key)):
            check_ranges(config, key)
