"""From features of consecutive frames to heatmaps of the one in their middle."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lploss.errors import ArgumentValueError
from lploss_builtin.models.heads import HeatmapHead

_Features = Float[Tensor, "batch dim rows columns"]


class ContextHead(nn.Module):
    r"""A convolutional recurrent network that comes to a frame from both sides.

    One pass begins with the first frame of a window and goes forwards, another begins with the last
    and goes backwards; both end at the middle, and have weights of their own. At each frame the
    state is

    .. math:: h \leftarrow \sigma(W x + U h)

    with convolutions W and U, the same at every step, and the features x of that frame. What both
    passes know of the middle is turned to heatmaps as it is done with the features of one frame.

    Args:
        dim: number of features of a frame.
        patch_size: side of the patches that the features are of, px of the image.
        num_keypoints: number of maps.
        downsample_factor: the image is about ``2**downsample_factor`` times as large as the maps.
        state_dim: number of features of a state, an even number.

    Raises:
        ArgumentValueError: an argument cannot be used.

    Source: the multi-head convolutional recurrent network of Lightning Pose, of which it takes
    the idea.

    Example:
        >>> head = ContextHead(dim=32, patch_size=16, num_keypoints=5)
        >>> frames = head.encode(torch.rand(7, 32, 4, 6))
        >>> head([frames[first : first + 3] for first in range(5)]).shape
        torch.Size([3, 5, 16, 24])
    """

    def __init__(
        self,
        *,
        dim: int,
        patch_size: int,
        num_keypoints: int,
        downsample_factor: int = 2,
        state_dim: int = 128,
    ) -> None:
        super().__init__()
        if state_dim < 2 or state_dim % 2:
            raise ArgumentValueError(f"state_dim must be even and at least 2, got {state_dim}")
        self.inputs = nn.Conv2d(dim, 2 * state_dim, 3, padding=1)
        self.forwards = nn.Conv2d(state_dim, state_dim, 3, padding=1, bias=False)
        self.backwards = nn.Conv2d(state_dim, state_dim, 3, padding=1, bias=False)
        self.maps = HeatmapHead(
            dim=2 * state_dim,
            patch_size=patch_size,
            num_keypoints=num_keypoints,
            downsample_factor=downsample_factor,
        )

    def encode(self, features: _Features) -> Float[Tensor, "batch two_x_state_dim rows columns"]:
        """Return what both passes take from a frame, which is the same in all of its windows."""
        return self.inputs(features)

    def forward(
        self, window: Sequence[Float[Tensor, "batch two_x_state_dim rows columns"]]
    ) -> Float[Tensor, "batch num_keypoints heatmap_height heatmap_width"]:
        """Return maps of the middle frames of windows.

        Args:
            window: an odd number of frames in their order, each as `encode` returns it; the batch
                axis goes over the windows.
        """
        middle = len(window) // 2
        forth = [own.chunk(2, dim=1)[0] for own in window[: middle + 1]]
        back = [own.chunk(2, dim=1)[1] for own in window[: middle - 1 if middle else None : -1]]
        states = [_last_state(self.forwards, forth), _last_state(self.backwards, back)]
        return self.maps(torch.cat(states, dim=1))


def _last_state(recurrence: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    state = nn.functional.gelu(inputs[0])
    for own in inputs[1:]:
        state = nn.functional.gelu(own + recurrence(state))
    return state
