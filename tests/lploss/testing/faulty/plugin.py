"""Manifests of plugins that make every program wait."""

from __future__ import annotations

#: By the mistake, the source of the manifest.
MANIFESTS = {
    "imports its loss": """
        from acme_losses import Distance
        from lploss import LossSpec, hookimpl

        @hookimpl
        def lploss_losses():
            return [LossSpec("distance", "acme_losses:Distance", Distance.__doc__)]
    """,
    "imports torch for an annotation": """
        from torch import Tensor
        from lploss import LossSpec, hookimpl

        UNIT: Tensor | None = None

        @hookimpl
        def lploss_losses():
            return [LossSpec("distance", "acme_losses:Distance", "a distance")]
    """,
    "imports a helper that imports NumPy": """
        import acme_helper
        from lploss import LossSpec, hookimpl

        @hookimpl
        def lploss_losses():
            return [LossSpec("distance", "acme_losses:Distance", acme_helper.SUMMARY)]
    """,
}
