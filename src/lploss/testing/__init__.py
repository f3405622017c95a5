"""The conformance kit: whether a loss works in any trainer, found without writing a test.

It needs the extra ``testing``.
"""

from __future__ import annotations

from lploss.errors import MissingDependencyError

try:
    import hypothesis as hypothesis
except ImportError as error:
    raise MissingDependencyError(
        'lploss.testing needs Hypothesis: pip install "lploss[testing]"'
    ) from error

from lploss.testing import checks as checks
from lploss.testing.batches import random_arrays as random_arrays
from lploss.testing.conformance import check_loss as check_loss
from lploss.testing.decorator import loss_checks as loss_checks
from lploss.testing.report import CheckRecord as CheckRecord
from lploss.testing.report import ConformanceReport as ConformanceReport
from lploss.testing.subject import Subject as Subject

__all__ = [
    "CheckRecord",
    "ConformanceReport",
    "Subject",
    "check_loss",
    "loss_checks",
    "random_arrays",
]
