"""What stands for what, in all pictures: told apart by lightness, too, and by shape."""

from __future__ import annotations

#: On photographs.
TRUTH, PREDICTED, JOINED, EDGE = "#ffffff", "#36b5ff", "#ffe14d", "#10181f"

#: On white.
TRUTH_ON_WHITE, PREDICTED_ON_WHITE = "#26323b", "#0080c8"
