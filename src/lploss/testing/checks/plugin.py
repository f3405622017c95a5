"""The plugin that provides the loss."""

from __future__ import annotations

import os
import subprocess
import sys

from lploss.discovery import HEAVY
from lploss.testing.check import Case, NotApplicable, check, fail

_PROGRAM = """
import importlib, sys
import lploss.hookspecs
before = set(sys.modules)
importlib.import_module(sys.argv[1])
print(*(name for name in sys.argv[2:] if name in sys.modules and name not in before))
"""


@check(
    why="All manifests are imported by every program that lists losses: a heavy one makes each of "
    "them wait, and its import errors theirs.",
    mend="Import nothing but lploss in the manifest, and name targets as strings.",
    shows="",
)
def check_manifest_light(case: Case) -> None:
    entry = case.subject.entry
    if entry is None:
        raise NotApplicable("no plugin provides the loss")
    manifest = entry.plugin.value.partition(":")[0]
    case.script = f'# python -X importtime -c "import {manifest}"'
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, manifest, *HEAVY],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        fail(f"the manifest {manifest} cannot be imported: {done.stderr.strip().splitlines()[-1]}")
    if found := done.stdout.split():
        fail(f"the manifest {manifest} of {entry.plugin.distribution} imports {', '.join(found)}")
