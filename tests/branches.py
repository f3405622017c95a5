"""Fail where the tests measured less than 95 % of branches in either package.

The gate of coverage itself mixes lines and branches. Run it after a run with ``--cov``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

LEAST = 95.0


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        command = [sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)]
        subprocess.run(command, check=False)
        files = json.loads(report.read_text(encoding="utf-8"))["files"]
    failed = 0
    for package in ("lploss", "lploss_builtin"):
        found = [f["summary"] for name, f in files.items() if f"src/{package}/" in name]
        covered = sum(summary["covered_branches"] for summary in found)
        number = sum(summary["num_branches"] for summary in found)
        share = 100 * covered / number if number else 0.0
        print(f"{package}: {covered} of {number} branches, {share:.1f} %")
        failed += share < LEAST
    return failed


if __name__ == "__main__":
    sys.exit(main())
