"""The full config of a training: its schema, how it is read, and the losses that it asks for."""

from lploss.config.loading import (
    check_ranges,
    defaults_of,
    load_config,
    loss_argument,
    plain,
    unknown_key,
    value_at,
)

__all__ = [
    "check_ranges",
    "defaults_of",
    "load_config",
    "loss_argument",
    "plain",
    "unknown_key",
    "value_at",
]
