"""Losses against poses outside the subspace of the labelled ones."""

from __future__ import annotations

from lploss import LossSpec, hookimpl

_TARGET = "lploss_builtin.losses.pca:PCALoss"


@hookimpl
def lploss_losses() -> list[LossSpec]:
    return [
        LossSpec("pca_singleview", _TARGET, "poses stay in the subspace of the labelled ones"),
        LossSpec("pca_multiview", _TARGET, "views of a keypoint agree on a point in 3D"),
    ]
