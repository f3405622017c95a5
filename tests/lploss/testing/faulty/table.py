"""All faulty losses."""

from __future__ import annotations

from tests.lploss.testing.faulty import arguments as arguments
from tests.lploss.testing.faulty import batches as batches
from tests.lploss.testing.faulty import devices as devices
from tests.lploss.testing.faulty import gradients as gradients
from tests.lploss.testing.faulty import invalid as invalid
from tests.lploss.testing.faulty import logs as logs
from tests.lploss.testing.faulty import precision as precision
from tests.lploss.testing.faulty import processes as processes
from tests.lploss.testing.faulty import recombination as recombination
from tests.lploss.testing.faulty import side_effects as side_effects
from tests.lploss.testing.faulty import state as state
from tests.lploss.testing.faulty import symmetries as symmetries
from tests.lploss.testing.faulty import values as values
from tests.lploss.testing.faulty import weighting as weighting
from tests.lploss.testing.faulty.fault import FAULTS as FAULTS
