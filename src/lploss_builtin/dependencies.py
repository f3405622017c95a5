"""Optional dependencies, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from lploss.errors import MissingDependencyError


def require(module: str, extra: str, purpose: str) -> Any:
    """Import an optional dependency.

    Args:
        module: the module to import.
        extra: the extra of this distribution that installs it.
        purpose: what it is needed for, as in "to read Parquet files".

    Returns:
        The module.

    Raises:
        MissingDependencyError: it is not installed, or cannot be imported.

    Example:
        >>> require("math", "score", "to count").floor(1.5)
        1
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f'{module} is needed {purpose}: pip install "lploss[{extra}]" ({error})'
        ) from error
