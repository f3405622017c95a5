"""The folder of the demo: an earlier demo gives way, nothing else does."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from lploss.errors import ArgumentValueError
from lploss_builtin.commands.training_demo.settings import DemoSettings

_MARK = "demo.json"
_OWN = ("project", "run")


def prepare_folder(out: Path, settings: DemoSettings) -> None:
    """Make the folder, or remove from it what an earlier demo has made.

    Raises:
        ArgumentValueError: there is something in the way that no demo has made.
    """
    if out.exists() and not out.is_dir():
        raise ArgumentValueError(f"the output folder {out} is a file; name a folder")
    for name in _OWN:
        path = out / name
        if path.exists():
            if not (out / _MARK).is_file() or path.is_symlink() or not path.is_dir():
                raise ArgumentValueError(
                    f"{path} is in the way, and no earlier demo has made it. Name another folder "
                    "by --out."
                )
            shutil.rmtree(path)
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(settings), indent=2) + "\n"
        (out / _MARK).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ArgumentValueError(
            f"the output folder {out} cannot be made or written to: {error.strerror}"
        ) from error
