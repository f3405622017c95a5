"""The loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lploss import Loss, Reason
from lploss.errors import ArgumentValueError, FitError, NotFittedError
from lploss.reduction import Sync
from lploss_bone_length.distances import keypoint_distances_pred
from lploss_builtin.data.poses.labels import LabelledKeypoints, labels_of_all


class BoneLengthLoss(Loss):
    r"""How far the length of each bone is from its lengths in the labels.

    .. math:: \ell_{bk} = \max(0,\ s_k - d_{bk}) + \max(0,\ d_{bk} - l_k)

    A bone has one length in space, but many in an image: it looks short where it points towards
    the camera. So the labels give each bone a range from :math:`s_k` to :math:`l_k`, and only a
    length :math:`d_{bk}` outside of it costs. The range is part of the state: a checkpoint
    restores the loss without labels.

    With several views, a batch holds all keypoints of the first view, then all of the second, and
    so on. The loss looks at the bones of each view, with ranges from the labels of that view.

    Args:
        keypoint_names: names of the keypoints of one view, in the order of the batch.
        bones: for each bone the names of the two keypoints that it connects.
        coverage: share of the labelled lengths of a bone that its range holds; 0 to 1. What is
            left out at both ends may be wrongly labelled.
        data_module: the labelled poses: a tensor or array, the path of a label file, a list of
            paths, one for each view, a `LabelledKeypoints`, or a Lightning data module. ``None``:
            a checkpoint brings the ranges.
        epsilon: deviations of at most this cost nothing; at least 0, px; one number, or one for
            each bone of each view.
        log_weight: the loss is multiplied by ``1 / (2 * exp(log_weight))``.
        sync: whether the ranges are those of the labels of all processes, where there are several:
            ``"auto"`` and ``True``. A factory hands its own on.

    Returns:
        Element-wise ``(batch, views_x_num_bones)``, px.

    Raises:
        ArgumentValueError: an argument's value cannot be used.
        FitError: the labels hold other keypoints, or never both ends of a bone.
        NotFittedError: the loss is used without a fit.

    Example:
        >>> labels = torch.tensor([[0.0, 0.0, 3.0, 4.0], [0.0, 0.0, 6.0, 8.0]])
        >>> loss = BoneLengthLoss(["hip", "knee"], [["hip", "knee"]], 1.0, data_module=labels)
        >>> loss.ranges
        tensor([[ 5.],
                [10.]])
        >>> poses = torch.tensor([[0.0, 0.0, 0.0, 7.0], [0.0, 0.0, 0.0, 12.0]])
        >>> loss.elementwise(keypoint_distances_pred=keypoint_distances_pred(poses))
        tensor([[0.],
                [2.]])
    """

    loss_name = "bone_length"
    kind = "unsupervised"
    unit = "px"
    config_paths: ClassVar[Mapping[str, str]] = {"keypoint_names": "data.keypoint_names"}

    ends: Tensor
    ranges: Tensor

    def __init__(
        self,
        keypoint_names: Sequence[str],
        bones: Sequence[Sequence[str]],
        coverage: float = 0.98,
        *,
        data_module: Any = None,
        epsilon: float | Sequence[float] = 0.0,
        log_weight: float = 0.0,
        sync: Sync = False,
    ) -> None:
        super().__init__(epsilon=epsilon, log_weight=log_weight)
        self.keypoint_names = tuple(keypoint_names)
        wrong = [b for b in bones if len(b) != 2 or not set(b) <= set(keypoint_names)]
        if wrong or not bones:
            raise ArgumentValueError(
                "loss 'bone_length': bones must be pairs of the keypoints "
                f"{', '.join(keypoint_names)}; got {list(wrong or bones)}"
            )
        if not isinstance(coverage, int | float) or not 0.0 <= coverage <= 1.0:
            raise ArgumentValueError(
                f"loss 'bone_length': coverage must be a number from 0 to 1, got {coverage!r}"
            )
        self.coverage = coverage
        self.bones = tuple("-".join(bone) for bone in bones)
        ends = [[self.keypoint_names.index(name) for name in bone] for bone in bones]
        self.register_buffer("ends", torch.tensor(ends).T, persistent=False)
        self.register_buffer("ranges", torch.zeros(2, 0))
        labels = labels_of_all(data_module, sync)
        if labels is not None:
            self.fit(labels)

    def fit(self, labelled: LabelledKeypoints) -> None:
        """Take the range of each bone's length from labelled poses; NaN is not labelled."""
        num_keypoints = labelled.keypoints.shape[1] // 2
        expected = self.keypoint_names * labelled.num_views
        names = labelled.keypoint_names or expected
        # With several views, a name may start with that of the view: left/hip.
        are_these = len(names) == len(expected) and all(
            f"/{name}".endswith(f"/{wanted}") for name, wanted in zip(names, expected, strict=True)
        )
        if num_keypoints != len(expected) or not are_these:
            raise FitError(
                "loss 'bone_length': the labels must hold the keypoints "
                f"{', '.join(self.keypoint_names)}, in this order, of each of their "
                f"{labelled.num_views} views; they hold "
                f"{', '.join(labelled.name(i) for i in range(num_keypoints))}"
            )
        lengths = self._lengths(keypoint_distances_pred(torch.from_numpy(labelled.keypoints)))
        is_labelled = lengths.isfinite().any(dim=0).tolist()
        if not all(is_labelled):
            bones = self.bones * labelled.num_views
            never = [bone for bone, there in zip(bones, is_labelled, strict=True) if not there]
            raise FitError(
                f"loss 'bone_length': no frame of the labels holds both ends of {', '.join(never)}."
                " Label one, or leave these bones out."
            )
        tail = (1.0 - self.coverage) / 2
        tails = torch.tensor([tail, 1.0 - tail], dtype=lengths.dtype)
        self.ranges = lengths.nanquantile(tails, dim=0).to(self.ranges)

    @classmethod
    def example(cls, name: str, /, **params: Any) -> BoneLengthLoss:
        """Return a loss that is fitted to poses of three keypoints: for the conformance kit."""
        labels = 100 + 50 * torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
        names, bones = ["hip", "knee", "paw"], [["hip", "knee"], ["knee", "paw"]]
        given = {"keypoint_names": names, "bones": bones, "data_module": labels}
        return cls(**{**given, **params})

    @property
    def axis_sizes(self) -> Mapping[str, int]:
        """A batch has as many keypoints as there are names, in each view of the labels."""
        num_views = self.ranges.shape[1] // len(self.bones)
        return {"num_keypoints": num_views * len(self.keypoint_names)} if num_views else {}

    def remove_nans(
        self, keypoint_distances_pred: Float[Tensor, "batch num_keypoints num_keypoints"]
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        if not self.ranges.numel():
            raise NotFittedError(
                "loss 'bone_length' is not fitted: build it with data_module=..., the labelled "
                "poses, or load a checkpoint into it"
            )
        return (
            {"keypoint_distances_pred": keypoint_distances_pred.nan_to_num(0.0, 0.0, 0.0)},
            {Reason.NAN_PREDICTION: ~self._lengths(keypoint_distances_pred).isfinite()},
        )

    def compute_loss(
        self, keypoint_distances_pred: Float[Tensor, "batch num_keypoints num_keypoints"]
    ) -> Float[Tensor, "batch views_x_num_bones"]:
        lengths = self._lengths(keypoint_distances_pred)
        shortest, longest = self.ranges
        return torch.relu(shortest - lengths) + torch.relu(lengths - longest)

    def element_names(self, keypoint_names: Sequence[str]) -> list[str]:
        """Return the names of the bones, such as ``hip-knee``, or ``left/hip-knee`` in a view."""
        first, second = self.ends.tolist()
        return [
            f"{keypoint_names[view + start]}-{self.keypoint_names[end]}"
            for view in range(0, len(keypoint_names), len(self.keypoint_names))
            for start, end in zip(first, second, strict=True)
        ]

    def _lengths(
        self, distances: Float[Tensor, "batch num_keypoints num_keypoints"]
    ) -> Float[Tensor, "batch views_x_num_bones"]:
        views = range(0, distances.shape[1], len(self.keypoint_names))
        lengths = [distances[:, self.ends[0] + view, self.ends[1] + view] for view in views]
        return torch.cat(lengths, dim=1)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        # Without labels the ranges are empty; those of a checkpoint are of so many views.
        saved = state_dict.get(f"{prefix}ranges")
        if not self.ranges.numel():
            num_views = 1 if saved is None else max(1, saved.shape[-1] // len(self.bones))
            self.ranges = self.ranges.new_zeros(2, num_views * len(self.bones))
        super()._load_from_state_dict(state_dict, prefix, *args)
