"""What changes in the course of a training, as functions of the epoch, or of the step.

They know nothing of a trainer: any loop can ask them.
"""

from __future__ import annotations

from collections.abc import Sequence


def anneal_weight(
    epoch: int,
    *,
    init_val: float = 0.0,
    increase_factor: float = 0.01,
    final_val: float = 1.0,
    freeze_until_epoch: int = 60,
) -> float:
    """Return the factor of the losses that are annealed.

    Args:
        epoch: counted from 0.
        init_val: the factor up to and with epoch ``freeze_until_epoch``.
        increase_factor: what each epoch after this adds.
        final_val: the largest factor.
        freeze_until_epoch: the last epoch at ``init_val``.

    Source: Lightning Pose's callback of this name, and its defaults.

    Example:
        >>> [anneal_weight(epoch) for epoch in (0, 60, 85, 1000)]
        [0.0, 0.0, 0.25, 1.0]
    """
    return min(init_val + max(epoch - freeze_until_epoch, 0) * increase_factor, final_val)


def patch_mask_ratio(
    at: int, *, start: int = 40, end: int = 300, init_ratio: float = 0.0, final_ratio: float = 0.5
) -> float:
    """Return the share of patches that are masked: none, then more and more of them.

    Args:
        at: epoch or step, counted from 0.
        start: the first one with masks.
        end: from here on the share no longer grows.
        init_ratio: the share at ``start``, 0 to 1.
        final_ratio: the share from ``end`` on, 0 to 1; 0: nothing is ever masked.

    Source: Lightning Pose's multi-view transformer, and its defaults.

    Example:
        >>> [patch_mask_ratio(epoch) for epoch in (39, 40, 170, 400)]
        [0.0, 0.0, 0.25, 0.5]
    """
    if at < start or final_ratio == 0.0:
        return 0.0
    if at >= end:
        return final_ratio
    return init_ratio + (final_ratio - init_ratio) * (at - start) / (end - start)


def multistep_factor(at: int, milestones: Sequence[int], gamma: float = 0.5) -> float:
    """Return the factor of the learning rate, which falls at each milestone.

    Args:
        at: epoch or step, counted from 0.
        milestones: where it falls.
        gamma: by what factor.

    Example:
        >>> [multistep_factor(epoch, (150, 200, 250)) for epoch in (0, 150, 260)]
        [1.0, 0.5, 0.125]
    """
    return float(gamma ** sum(at >= milestone for milestone in milestones))


def backbone_factor(
    epochs_unfrozen: int, *, initial_ratio: float = 0.1, multiplier: float = 1.5
) -> float:
    """Return the learning rate of the backbone, as a share of that of the head.

    Args:
        epochs_unfrozen: for how many epochs the backbone has learned; negative: it is frozen.
        initial_ratio: the share in its first epoch.
        multiplier: by what it grows each epoch, to 1 at most.

    Source: the fine-tuning of Lightning Pose, and its defaults.

    Example:
        >>> [round(backbone_factor(epochs), 3) for epochs in (-1, 0, 1, 10)]
        [0.0, 0.1, 0.15, 1.0]
    """
    if epochs_unfrozen < 0:
        return 0.0
    # A power of some thousand epochs would be no number any more.
    return min(initial_ratio * multiplier ** min(epochs_unfrozen, 1000), 1.0)
