"""Work on many recordings, spread over processes or over the machines of a cluster."""

from lploss_builtin.commands.spreading.complete_folder import complete_folder
from lploss_builtin.commands.spreading.spread import Outcome, spread

__all__ = ["Outcome", "complete_folder", "spread"]
