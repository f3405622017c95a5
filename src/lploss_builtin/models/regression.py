"""Keypoints straight from the features of each view, without heatmaps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn

from lploss_builtin.models.pose_model import Images, PoseModel, as_float
from lploss_builtin.models.prediction import Prediction
from lploss_builtin.ops.precision import at_least_float32, without_autocast


class RegressionModel(PoseModel):
    r"""A backbone and one linear layer that says where each keypoint is, view by view.

    .. math:: x_{bvk} = \tfrac12 w (1 + W_k^\top \bar f_{bv} + b_k)

    :math:`\bar f` is the mean over the patches of the features of a view, w the width of the
    image; and likewise y with its height. All keypoints start at the centre of the image. There
    are no heatmaps and no confidences, so losses that need the ones cannot be trained with, and
    those that leave out what is not confident leave out nothing.

    Args:
        num_keypoints: of one view.
        num_views: how many views a batch holds.
        backbone: a name such as ``vits_dino`` or ``resnet50``, or a network of timm.
        image_size: height and width of the images, px; others are taken, too.
        pretrained: whether the backbone's weights are those that timm knows.
        backbone_checkpoint: file of weights for the backbone instead.
        backbone_params: more arguments for timm, such as ``depth``.
        gradient_checkpointing: whether the backbone's blocks are computed once more in the
            backward pass, which saves memory.

    Raises:
        ArgumentValueError: an argument cannot be used.
        MissingWeightsError: the pretrained weights cannot be had.

    Example:
        >>> small = {"depth": 1, "embed_dim": 32, "num_heads": 2}
        >>> model = RegressionModel(
        ...     num_keypoints=1, num_views=2, image_size=(64, 96), pretrained=False,
        ...     backbone_params=small,
        ... )
        >>> model(torch.rand(1, 2, 3, 64, 96)).tolist()
        [[[48.0, 32.0], [48.0, 32.0]]]
    """

    def prepare_head(self) -> None:
        """Make the linear layer, which says at first that all keypoints are at the centre."""
        self.head = nn.Linear(self.backbone.embed_dim, 2 * self.num_keypoints)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, images: Images, views: Sequence[int] | None = None
    ) -> Float[Tensor, "batch views_x_num_keypoints 2"]:
        """Return x and y of the keypoints, px; the arguments are those of `predict`."""
        chosen = self.checked_views(images, views)
        features = self.features(as_float(images), chosen)
        height, width = images.shape[-2:]
        # In half precision a coordinate of some hundred px is not known to a px.
        with without_autocast(images.device):
            pooled = reduce(at_least_float32(features), "b v d row col -> b v d", "mean")
            shares = rearrange(self.head(pooled), "b v (k xy) -> b (v k) xy", xy=2)
            x, y = shares.unbind(-1)
            return torch.stack([(1 + x) * width / 2, (1 + y) * height / 2], dim=-1)

    def predict(self, images: Images, views: Sequence[int] | None = None) -> Prediction:
        """Return the keypoints, without heatmaps and with confidences of NaN.

        Args:
            images: RGB; whole numbers 0 to 255, or floating-point numbers 0 to 1.
            views: which of the views the images are of, where a camera is missing; all in their
                order unless given.

        Raises:
            ShapeError: the images have other axes, or are not of so many views.
            ArgumentValueError: there is no such view, or one stands there twice.
        """
        keypoints = self(images, views)
        return Prediction(None, keypoints, torch.full_like(keypoints[..., 0], math.nan))
