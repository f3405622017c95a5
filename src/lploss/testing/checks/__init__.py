"""The checks, one file a theme; they are run in the order in which they stand here."""

from __future__ import annotations

# The order of the imports is that of the checks.
# ruff: noqa: I001
from lploss.testing.checks import definition as definition
from lploss.testing.checks import values as values
from lploss.testing.checks import gradients as gradients
from lploss.testing.checks import invalid as invalid
from lploss.testing.checks import derivations as derivations
from lploss.testing.checks import side_effects as side_effects
from lploss.testing.checks import weighting as weighting
from lploss.testing.checks import recombination as recombination
from lploss.testing.checks import symmetries as symmetries
from lploss.testing.checks import precision as precision
from lploss.testing.checks import state as state
from lploss.testing.checks import batches as batches
from lploss.testing.checks import arguments as arguments
from lploss.testing.checks import logs as logs
from lploss.testing.checks import devices as devices
from lploss.testing.checks import processes as processes
