"""Fits of PCA losses in one of several processes; light, for each of them imports it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lploss

PARAMS: Mapping[str, Mapping[str, Any]] = {
    "pca_singleview": {"components_to_keep": 3},
    "pca_multiview": {"mirrored_column_matches": [[0, 1], [2, 3]]},
}


def fit(name: str, labels: Any, **params: Any) -> dict[str, Any]:
    """Return what a fit found, or the error that it raised."""
    try:
        loss = lploss.create_loss(name, data_module=labels, **{**PARAMS[name], **params})
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"state": dict(loss.state_dict()), "report": loss.fit_report}


def fits(payload: Mapping[str, tuple[str, Any, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return all fits of one process, in an order that is the same in all of them."""
    return {
        case: fit(name, labels, **{"sync": "auto", **params})
        for case, (name, labels, params) in payload.items()
    }
