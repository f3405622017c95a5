"""Build the losses of a Lightning Pose config and use both factories.

Shows how `get_loss_factories` turns the file ``lightning_pose_config.yaml`` into a supervised and
an unsupervised factory, where the labels for the PCA loss come from, how the weight of the
unsupervised losses grows by the config's schedule, and what a misspelled key leads to. Batches
are made on the spot, in place of those of a network.

Run it with ``python examples/lightning_pose_config.py``; it takes some seconds.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lploss import LplossError, get_loss_factories, load_config

CONFIG = Path(__file__).with_suffix(".yaml")
NUM_KEYPOINTS = 6  # three in each of two views


class Labels:
    """What has a method of this name can say where the labelled poses are.

    A tensor, the path of a label file, or a Lightning data module would do as well.
    """

    def labelled_keypoints(self) -> Tensor:
        """Return labelled poses, (frames, 12), px; NaN is not labelled."""
        labels = poses(90) + 0.5 * torch.randn(90, 2 * NUM_KEYPOINTS)
        labels[::10, 2:4] = torch.nan  # the paw is hidden from the side now and then
        return labels


def poses(num_frames: int) -> Tensor:
    """Return a wandering animal in both views, (num_frames, 12), px."""
    place = 150 + 5 * torch.randn(num_frames, 1, 3).cumsum(dim=0)
    body = torch.tensor([[40.0, 0.0, 10.0], [15.0, 10.0, 40.0], [-40.0, 0.0, 20.0]])
    points = place + body + 5 * torch.randn(num_frames, 3, 3)
    side, below = points[..., [0, 2]], points[..., [0, 1]]
    return torch.cat([side.flatten(1), below.flatten(1)], dim=1)


def anneal_weight(epoch: int, schedule: object) -> float:
    """Return the weight of the annealed losses in an epoch."""
    late = max(0, epoch - schedule.freeze_until_epoch)
    return min(schedule.final_val, schedule.init_val + schedule.increase_factor * late)


def main() -> None:
    torch.manual_seed(0)
    cfg = load_config(CONFIG)
    factories = get_loss_factories(cfg, Labels())
    print("supervised:  ", ", ".join(factories["supervised"].losses))
    print("unsupervised:", ", ".join(factories["unsupervised"].losses))
    print(factories["unsupervised"].losses["pca_multiview"].fit_report)

    for epoch in (0, 110, 200):
        heatmaps_targ = torch.rand(8, NUM_KEYPOINTS, 32 * 32).softmax(dim=2).view(8, -1, 32, 32)
        heatmaps_pred = torch.rand_like(heatmaps_targ).flatten(2).softmax(dim=2)
        on_labels, _ = factories["supervised"](
            stage="train",
            heatmaps_targ=heatmaps_targ,
            heatmaps_pred=heatmaps_pred.view_as(heatmaps_targ),
        )
        keypoints_pred = poses(16)
        keypoints_pred[8, 0] += 60  # the nose jumps, in one view
        on_video, _ = factories["unsupervised"](
            stage="train",
            anneal_weight=anneal_weight(epoch, cfg.callbacks.anneal_weight),
            keypoints_pred=keypoints_pred,
            confidences=torch.ones(16, NUM_KEYPOINTS),
        )
        print(f"epoch {epoch}: on labels {on_labels:.2e}, on video {on_video:.2e}")

    factories["supervised"].report()
    factories["unsupervised"].report()

    try:
        load_config({"training": {"imgaug3d": True}})
    except LplossError as error:
        print(str(error).partition(" Known")[0])


if __name__ == "__main__":
    main()
