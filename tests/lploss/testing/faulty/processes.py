"""Losses that are wrong where several processes train, and manifests that make programs wait."""

from __future__ import annotations

import torch.distributed as dist

from tests.lploss.testing.faulty.fault import faulty
from tests.lploss.testing.faulty.sound import Distance


@faulty("check_two_processes")
class AveragesByItself(Distance):
    """Averages over the processes by itself, as if each had as many elements."""

    def reduce_loss(self, loss, valid=None, method="mean"):
        own = super().reduce_loss(loss, valid, method)
        if not dist.is_initialized():
            return own
        total = own.detach().clone()
        dist.all_reduce(total)
        return own + (total / dist.get_world_size() - own.detach())


@faulty("check_two_processes")
class CountsInTheFirst(Distance):
    """Counts in the first process only."""

    def reduce_loss(self, loss, valid=None, method="mean"):
        own = super().reduce_loss(loss, valid, method)
        return own if not dist.is_initialized() or dist.get_rank() == 0 else 0.0 * own


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
