"""The built-in losses pass the conformance kit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import lploss
from lploss.testing import loss_checks
from lploss.testing.check import CHECKS

LOSSES = [
    name
    for name in lploss.list_losses()
    if lploss.load_loss(name).__module__.startswith("lploss_builtin")
]

_TARGET = "check_zero_at_target"
_VIEWS = "check_view_order"
_KEYPOINTS = ("check_keypoint_order", "check_duplicated_keypoints")
_GEOMETRY = ("check_translation", "check_rotation", "check_scaling")
_PREDICTIONS = "check_nan_predictions"
_PATHS = "check_config_paths"
_DERIVED = "check_derivations"
_CONSTANTS = "check_constants"
_SHUFFLED = ("check_duplicated_batch", "check_batch_order", "check_missing_does_not_dilute")

#: What does not apply, by loss. A check that quietly stops applying is noticed here.
NOT_APPLICABLE = {
    "heatmap_js": {_DERIVED, _PATHS, _VIEWS, *_GEOMETRY},
    "heatmap_kl": {_DERIVED, _PATHS, _VIEWS, *_GEOMETRY},
    "heatmap_mse": {_DERIVED, _PATHS, _VIEWS, *_GEOMETRY},
    "multiview_reprojection": {_PATHS, _TARGET, _VIEWS},
    "pca_multiview": {_CONSTANTS, _DERIVED, _TARGET, *_KEYPOINTS, _VIEWS, *_GEOMETRY},
    "pca_singleview": {_CONSTANTS, _DERIVED, _TARGET, *_KEYPOINTS, _VIEWS, *_GEOMETRY},
    "regression": {_DERIVED, _PATHS, _VIEWS},
    "rmse": {_DERIVED, _PATHS, _VIEWS},
    "supervised_pairwise_projections": {_PATHS, _PREDICTIONS},
    "supervised_reprojection_heatmap_mse": {_PREDICTIONS, _TARGET, *_GEOMETRY},
    "temporal": {_CONSTANTS, _DERIVED, _PATHS, _TARGET, *_SHUFFLED, _VIEWS},
    "temporal_heatmap_kl": {_CONSTANTS, _DERIVED, _PATHS, _TARGET, *_SHUFFLED, _VIEWS, *_GEOMETRY},
    "temporal_heatmap_mse": {_CONSTANTS, _DERIVED, _PATHS, _TARGET, *_SHUFFLED, _VIEWS, *_GEOMETRY},
}


def cases() -> list[Any]:
    """Return what `loss_checks` parametrises a test with, for all losses."""
    found = []
    for loss in LOSSES:
        parametrised: Any = loss_checks(loss)
        _, checks = parametrised.args
        for check, name in zip(checks, parametrised.kwargs["ids"], strict=True):
            found.append(pytest.param(loss, name, check, id=f"{loss}-{name}"))
    return found


@pytest.mark.compiles
@pytest.mark.parametrize(("loss", "name", "check"), cases())
def test_built_in_loss(loss: str, name: str, check: Callable[[], None]) -> None:
    try:
        check()
    except pytest.skip.Exception as reason:
        if name not in NOT_APPLICABLE[loss]:
            pytest.fail(f"{name} applies no longer: {reason}", pytrace=False)
        raise
    assert name not in NOT_APPLICABLE[loss], f"{name} applies now: remove it from the table"


def test_the_table_names_all_losses_and_no_other_checks() -> None:
    assert list(NOT_APPLICABLE) == LOSSES
    assert set().union(*NOT_APPLICABLE.values()) <= set(CHECKS)
