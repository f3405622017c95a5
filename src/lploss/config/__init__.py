"""The full config of a training: its schema, how it is read, and the losses that it asks for."""

from lploss.config.loading import load_config, loss_argument, plain, unknown_key, value_at

__all__ = ["load_config", "loss_argument", "plain", "unknown_key", "value_at"]
