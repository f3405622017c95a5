"""Real recordings that lie beside the project; what needs them is skipped where they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data"

needs_real_data = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the real recordings (../shared/data) are not at hand"
)

#: Small files on which readers fell short; see the README there.
CASES = FOLDER.parent / "cases"

needs_cases = pytest.mark.skipif(
    not CASES.is_dir(), reason="the small inputs (../shared/cases) are not at hand"
)
