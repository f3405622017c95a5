"""Train a small network in a plain PyTorch loop, with labels and with video.

Shows how two factories serve one training: a supervised loss on labelled frames, and an
unsupervised one on frames of a video that nobody has labelled, with a weight that grows over the
steps. At the end, the flight recorders say what really ran. The frames are drawn on the spot: two
dots, one brighter than the other, on noise; in the video, a reflection lights up now and then.

Run it with ``python examples/plain_loop.py``; it takes some seconds.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lploss import LossFactory

SIZE = 32  # height and width of a frame, px; heatmaps have the same
NUM_STEPS = 60


def tracks(num_frames: int) -> Tensor:
    """Return two keypoints that circle about the centre, (num_frames, 4), px."""
    angle = 2 * math.pi * torch.rand(()) + 0.15 * torch.arange(num_frames)
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    return SIZE / 2 + torch.cat([9 * circle, -6 * circle], dim=1)


def heatmaps_of(keypoints: Tensor, width: float = 1.25) -> Tensor:
    """Return a Gaussian for each keypoint, with sum 1; zeros where it is not labelled."""
    pixels = torch.arange(float(SIZE))
    x, y = keypoints.unflatten(1, (-1, 2)).unbind(dim=2)
    columns = (-((pixels - x[..., None]) ** 2) / (2 * width**2)).softmax(dim=-1)
    rows = (-((pixels - y[..., None]) ** 2) / (2 * width**2)).softmax(dim=-1)
    return (rows[..., :, None] * columns[..., None, :]).nan_to_num(0.0)


def frames_of(keypoints: Tensor, reflections: float = 0.0) -> Tensor:
    """Draw frames, (num_frames, 1, SIZE, SIZE), a share of them with a reflection."""
    bright, faint = heatmaps_of(keypoints).unbind(dim=1)
    frames = 10 * bright + 5 * faint + 0.1 * torch.rand_like(bright)
    shown = torch.rand(len(frames)) < reflections
    frames[shown] += 10 * heatmaps_of(SIZE * torch.rand(int(shown.sum()), 2))[:, 0]
    return frames[:, None]


def keypoints_of(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Return keypoints, (frames, 4), px, and how much of each map lies within 3 px of them."""
    pixels = torch.arange(float(SIZE))
    x = (heatmaps.sum(dim=2) * pixels).sum(dim=2)
    y = (heatmaps.sum(dim=3) * pixels).sum(dim=2)
    far = torch.hypot(pixels - x[..., None, None], pixels[:, None] - y[..., None, None]) > 3
    confidences = heatmaps.masked_fill(far, 0.0).sum(dim=(2, 3))
    return torch.stack([x, y], dim=2).flatten(1), confidences


def network() -> nn.Module:
    """Return a convolutional network from frames to logits of heatmaps."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(8, 8, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(8, 2, 5, padding=2),
    )


def main() -> None:
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    supervised = LossFactory({"heatmap_mse": {}})
    unsupervised = LossFactory(
        {"temporal": {"epsilon": 2.0, "prob_threshold": 0.05, "log_weight": 4.0}}
    )

    def predict(frames: Tensor) -> Tensor:
        return model(frames).flatten(2).softmax(dim=2).unflatten(2, (SIZE, SIZE))

    for step in range(NUM_STEPS):
        labels = torch.cat([tracks(1) for _ in range(8)])
        frames = frames_of(labels)
        labels[0, 2:] = math.nan  # somebody forgot to label the second keypoint
        on_labels, _ = supervised(
            stage="train", heatmaps_targ=heatmaps_of(labels), heatmaps_pred=predict(frames)
        )

        keypoints_pred, confidences = keypoints_of(predict(frames_of(tracks(8), 0.2)))
        on_video, _ = unsupervised(
            stage="train",
            anneal_weight=step / NUM_STEPS,
            keypoints_pred=keypoints_pred,
            confidences=confidences,
        )

        optimizer.zero_grad()
        (on_labels + on_video).backward()
        optimizer.step()

    unseen = tracks(50)
    with torch.no_grad():
        keypoints_pred, _ = keypoints_of(predict(frames_of(unseen, 0.2)))
    distance = (keypoints_pred - unseen).unflatten(1, (-1, 2)).norm(dim=2).mean()
    print(f"mean distance on 50 frames that it has not seen: {distance:.2f} px")
    supervised.report()
    unsupervised.report()


if __name__ == "__main__":
    main()
