"""Fixtures that several test files share."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from lploss import Registry
from lploss.registry import default_registry

LOSS_MODULE = """
    from lploss import Loss

    class Distance(Loss):
        loss_name, kind = "{name}", "unsupervised"

        def compute_loss(self, keypoints_pred):
            return keypoints_pred.abs()
"""

MANIFEST = """
    from lploss import LossSpec, hookimpl

    @hookimpl
    def lploss_losses():
        return [LossSpec("{name}", "{module}:Distance", "a distance", requires={requires!r})]
"""


class Site:
    """A folder of installed distributions, real in every file that discovery reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def install(
        self,
        distribution: str,
        entry_points: Mapping[str, str] | str = (),
        modules: Mapping[str, str] | None = None,
        version: str = "1.0",
    ) -> Path:
        """Write a distribution; return its dist-info folder."""
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        if not isinstance(entry_points, str):
            lines = [f"{name} = {value}" for name, value in dict(entry_points).items()]
            entry_points = "\n".join(["[lploss]", *lines]) + "\n"
        (info / "entry_points.txt").write_text(entry_points)
        for name, source in (modules or {}).items():
            (self.folder / f"{name}.py").write_text(textwrap.dedent(source))
        return info

    def install_loss(
        self,
        distribution: str,
        loss: str,
        manifest: str | None = None,
        target: str | None = None,
        requires: tuple[str, ...] = (),
        version: str = "1.0",
    ) -> Path:
        """Write a distribution with one loss; the sources can be replaced."""
        stem = distribution.replace("-", "_")
        name = f"{stem}_losses"
        modules = {
            f"{stem}_manifest": manifest
            or MANIFEST.format(name=loss, module=name, requires=requires),
            name: target or LOSS_MODULE.format(name=loss),
        }
        return self.install(distribution, {stem: f"{stem}_manifest"}, modules, version)

    def install_losses(self, distribution: str, losses: Mapping[str, str], source: str) -> Path:
        """Write a distribution with several losses: the class of each name, and their source."""
        module = f"{distribution}_losses"
        specs = "".join(
            f"        LossSpec({name!r}, '{module}:{of_class}', 'a loss'),\n"
            for name, of_class in losses.items()
        )
        manifest = (
            "from lploss import LossSpec, hookimpl\n\n\n"
            f"@hookimpl\ndef lploss_losses():\n    return [\n{specs}    ]\n"
        )
        modules = {f"{distribution}_manifest": manifest, module: source}
        return self.install(distribution, {distribution: f"{distribution}_manifest"}, modules)

    def registry(self, *others: Site, **options: object) -> Registry:
        """Return a registry that sees these folders and nothing else."""
        paths = [str(site.folder) for site in (self, *others)]
        return Registry(importlib.metadata.distributions(path=paths), **options)  # type: ignore[arg-type]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, and so count, what cannot run here or is not asked for."""
    checked = os.environ.get("LPLOSS_TYPECHECK", "") not in ("", "0")
    reasons = {
        "mistyped": checked and "the check of types would refuse the call first",
        "slow": not config.getoption("slow") and "slow: run it with --slow",
        "gpu": not torch.cuda.is_available() and "needs a GPU",
        "peer": find_spec("lightning_pose") is None and "needs Lightning Pose: `make peer`",
    }
    for item in items:
        for marker, reason in reasons.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LPLOSS_PLUGINS", "LPLOSS_STRICT", "LPLOSS_TYPECHECK"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def make_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Site]]:
    """Make a folder of distributions that Python imports from."""
    before = set(sys.modules)

    def make(name: str = "site") -> Site:
        site = Site(tmp_path / name)
        monkeypatch.syspath_prepend(str(site.folder))
        return site

    yield make
    # A folder of modules without an __init__ has no file, only a path.
    for name in set(sys.modules) - before:
        module = vars(sys.modules[name])
        if str(tmp_path) in f"{module.get('__file__')} {module.get('__path__')}":
            del sys.modules[name]


@pytest.fixture
def site(make_site: Callable[[str], Site]) -> Site:
    """An empty folder of distributions."""
    return make_site("site")


@pytest.fixture
def known_site(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site that the default registry finds when it is refreshed, and forgets after the test."""
    yield site
    monkeypatch.undo()
    default_registry.refresh()


@pytest.fixture
def group_of_one(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    group = (tmp_path / "group").as_uri()
    torch.distributed.init_process_group("gloo", init_method=group, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program in an interpreter of its own."""

    def run(source: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(source)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
