from __future__ import annotations

import pkgutil

import pytest

import lploss
import lploss_builtin.plugins

HEAVY = ["torch", "numpy", "jaxtyping", "omegaconf", "kornia", "pandas"]

CHECK = """
import sys
{statements}
print(" ".join(name for name in {heavy} if name in sys.modules))
"""


def heavy_after(run_python, statements):
    result = run_python(CHECK.format(statements=statements, heavy=HEAVY))
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.parametrize(
    "statements",
    [
        "import lploss",
        "import lploss; lploss.list_losses(); lploss.list_models(); lploss.list_inputs()",
        "import lploss; lploss.LossSpec; lploss.hookimpl; lploss.PluginLoadWarning; dir(lploss)",
    ],
    ids=["import", "listing", "light names"],
)
def test_nothing_heavy_is_imported(run_python, statements):
    assert heavy_after(run_python, statements) == []


def test_the_built_in_manifests_import_nothing_heavy(run_python):
    names = [module.name for module in pkgutil.iter_modules(lploss_builtin.plugins.__path__)]
    assert {"heatmap", "pca", "regression", "score", "temporal"} <= set(names)
    statements = "\n".join(f"import lploss_builtin.plugins.{name}" for name in names)
    assert heavy_after(run_python, statements) == []


def test_the_check_for_heavy_imports_can_fail(run_python):
    assert heavy_after(run_python, "import lploss, numpy") == ["numpy"]


def test_the_check_sees_a_plugin_whose_manifest_imports_numpy(run_python, site):
    site.install("heavy", {"heavy": "heavy_manifest"}, {"heavy_manifest": "import numpy"})
    statements = f"import sys; sys.path.insert(0, {str(site.folder)!r})\n"
    statements += "import lploss; lploss.list_losses()"
    assert heavy_after(run_python, statements) == ["numpy"]


@pytest.mark.parametrize("name", lploss.__all__)
def test_every_public_name_resolves(name):
    assert getattr(lploss, name) is not None
    assert name in dir(lploss)


def test_public_names_are_those_that_type_checkers_see():
    source = lploss.__spec__.loader.get_source("lploss")
    seen = [line.split()[-1] for line in source.splitlines() if " as " in line]
    assert sorted(seen) == lploss.__all__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError) as caught:
        lploss.Los  # noqa: B018
    assert str(caught.value) == "module 'lploss' has no attribute 'Los'"


USE = """
import torch, lploss
from lploss.reduction import masked_sum
from lploss_builtin.ops.keypoints import split_xy

losses = lploss.LossFactory({"temporal": {"epsilon": 20, "log_weight": 5}, "rmse": {}})
batch = {"keypoints_pred": torch.ones(2, 4), "keypoints_targ": torch.zeros(2, 4)}
print(losses(stage="train", anneal_weight=1, **batch).loss.item())
for wrong in (
    lambda: masked_sum(torch.zeros(1), "no mask"), lambda: split_xy(torch.zeros(2, 2, 2))
):
    try:
        wrong()
    except Exception as error:
        print(type(error).__name__, *str(error).split())
"""


def test_types_and_axes_are_checked_on_demand(run_python):
    result = run_python(USE, LPLOSS_TYPECHECK="1")
    assert result.stderr == ""
    everyday, of_type, of_axes = result.stdout.splitlines()
    assert float(everyday) == pytest.approx(0.5)
    assert of_type.startswith("TypeCheckError")
    assert "valid" in of_type
    assert of_axes.startswith("TypeCheckError")
    assert "batch two_x_num_keypoints" in of_axes


def test_types_are_not_checked_unless_asked_for(run_python):
    result = run_python(USE, LPLOSS_TYPECHECK="0")
    assert float(result.stdout.splitlines()[0]) == pytest.approx(0.5)
    assert "TypeCheckError" not in result.stdout
