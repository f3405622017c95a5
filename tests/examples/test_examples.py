"""Each example runs as a user runs it, and shows what it says that it shows."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

SHOWN = {
    "plain_loop": [
        r"50 frames that it has not seen: \d\.\d\d px",
        r"train: 60 calls +\n(.*\n)+ +heatmap_mse .* 900 of 960 +not labelled: 60",
        r" temporal .* of 840 +low confidence: \d+",
    ],
    "lightning_pose_config": [
        r"supervised: +heatmap_mse\n",
        r"unsupervised: pca_multiview, temporal\n",
        r"epoch 0: on labels \d\.\d+e-05, on video 0\.00e\+00\n",
        r"train: 3 calls +\n(.*\n)+ +pca_multiview .* 288 of 288",
        r" temporal .* 270 of 270",
        r"no key 'imgaug3d' in section 'training'. Did you mean 'imgaug_3d'",
    ],
    "fit_pca": [
        r"pca_singleview(.*\n)+components kept: 3 of 12",
        r"px above epsilon: nose 40,",
        r"pca_multiview(.*\n)+components kept: 3 of 4",
        r"px above epsilon: left paw \(side\) 2\d, left paw \(below\) 2\d\n",
        r"(restored from a checkpoint(.*\n)+){2}",
    ],
    "calibrated_views": [
        r"view 'left': in 0 of 45 frames",
        r"view 'right': in 1\d of 45 frames",
        r"before, all frames: views [12]\.\d\d px apart, 2\.\d\d px from the truth",
        r"before, labelled frames: views [1-9]\.\d\d px apart, [2-9]\.\d\d px from the truth",
        r"after, all frames: views 0\.\d\d px apart",
        r"after, labelled frames: views 0\.\d\d px apart, [01]\.\d\d px from the truth",
        r" multiview_reprojection .* 40320 of 40500 +NaN prediction: 180 ",
        r" supervised_pairwise_projections .* 4380 of 40500 +.*not labelled: 36000",
    ],
}


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_it_says_how_to_run_it(name: str) -> None:
    docstring = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text("utf-8")))
    assert docstring is not None
    assert "Shows " in docstring
    assert f"Run it with ``python examples/{name}.py``" in docstring


@pytest.mark.parametrize("name", SHOWN)
def test_it_runs_from_any_folder_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    # Threads are kept from crowding out those of other tests, and warnings are errors.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    for pattern in SHOWN[name]:
        assert re.search(pattern, ran.stdout), f"{pattern!r} is not in:\n{ran.stdout}"
    assert list(tmp_path.iterdir()) == []
