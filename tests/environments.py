"""Fresh environments to install plugins into, which borrow all packages of this one."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import lploss


class Environment:
    """A virtual environment that sees the packages of this one, and lploss, but not its plugins.

    Only what is installed into it is its own, and only that can be uninstalled.

    Args:
        folder: where it is made.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False)
        self.python = folder / "bin" / "python"
        (site_packages,) = folder.glob("lib/python3*/site-packages")
        # An editable installation is not seen through a folder that holds it.
        borrowed = [str(Path(lploss.__file__).parents[1]), sysconfig.get_path("purelib")]
        (site_packages / "borrowed.pth").write_text("\n".join(borrowed))

    def pip(self, *args: str, cwd: Path | None = None) -> str:
        """Run pip on the environment, without network."""
        install = ("--no-deps", "--no-build-isolation", "--quiet") if args[0] == "install" else ()
        command = [sys.executable, "-m", "pip", "--python", str(self.python), args[0], *install]
        return self._run([*command, *args[1:]], cwd)

    def run(self, *args: str, cwd: Path | None = None) -> str:
        """Run Python in the environment; return what it prints."""
        return self._run([str(self.python), *args], cwd)

    def lploss(self, *args: str, cwd: Path | None = None) -> str:
        """Run the command line of lploss in the environment."""
        return self.run("-m", "lploss.cli", *args, cwd=cwd)

    def pytest(self, *args: str, cwd: Path | None = None) -> str:
        """Run pytest in the environment."""
        return self.run("-m", "pytest", *args, cwd=cwd)

    def _run(self, command: list[str], cwd: Path | None) -> str:
        # Threads are kept from crowding out those of other tests.
        settings = {"COLUMNS": "100", "PIP_NO_INDEX": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout
