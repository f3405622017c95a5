"""The checker behind ``LPLOSS_TYPECHECK=1``: beartype, with an int where a float is wanted."""

from __future__ import annotations

from lploss.errors import MissingDependencyError

try:
    from beartype import BeartypeConf, beartype
except ImportError as error:
    raise MissingDependencyError(
        'LPLOSS_TYPECHECK=1 needs beartype: pip install "lploss[testing]"'
    ) from error

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
