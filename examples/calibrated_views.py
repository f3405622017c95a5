"""Let three calibrated cameras agree on what they see.

Shows how keypoints and cameras alone are enough for the losses between views: a `LossFactory`
derives points in space and where each camera sees them. An animal moves before three cameras. All
predictions are off by some px; in one view the tail is often mistaken for something else, and now
and then another view does not find it at all. Gradient descent on the predictions, in place of a
network, shows what the losses ask for: the views come to agree, and where there are labels they
come to be right. Views that agree need not be.

Run it with ``python examples/calibrated_views.py``; it takes some seconds.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lploss import LossFactory
from lploss_builtin.ops.geometry import Cameras, project_points, reprojection_error

VIEWS = ("left", "top", "right")
NAMES = ("nose", "back", "left paw", "right paw", "tail")
TAIL = NAMES.index("tail")
NUM_FRAMES, NUM_LABELLED, NUM_STEPS = 45, 5, 60


def rig() -> Cameras:
    """Return three cameras half a metre from the origin, with some distortion."""
    matrix = [[900.0, 0.0, 320.0], [0.0, 900.0, 240.0], [0.0, 0.0, 1.0]]
    return Cameras.from_opencv(
        camera_matrices=[matrix] * 3,
        rotations=[[0.0, -0.7, 0.0], [0.8, 0.0, 0.0], [0.0, 0.7, 0.0]],
        translations=[[0.0, 0.0, 0.5]] * 3,  # m, and so all distances in space are in m
        distortions=[[-0.15, 0.02, 0.0, 0.0, 0.0]] * 3,
        image_sizes=[(640, 480)] * 3,
        names=VIEWS,
    )


def walk() -> Tensor:
    """Return the animal in space, (NUM_FRAMES, 5, 3), m."""
    phase = torch.linspace(0, 8 * math.pi, NUM_FRAMES, dtype=torch.float64)
    still = torch.zeros_like(phase)
    stride, wave = 0.012 * phase.sin(), 0.015 * (phase / 3).sin()
    body = [
        torch.stack([still + 0.06, wave, still + 0.02], dim=1),
        torch.stack([still, still + 0.005, still - 0.01], dim=1),
        torch.stack([0.03 + stride, still + 0.03, still + 0.015], dim=1),
        torch.stack([0.03 - stride, still + 0.03, still - 0.015], dim=1),
        torch.stack([still - 0.07, still + 0.01, wave], dim=1),
    ]
    place = torch.stack([0.02 * (phase / 9).sin(), still, 0.02 * (phase / 7).cos()], dim=1)
    return torch.stack(body, dim=1) + place[:, None]


def predicted(seen: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a network might predict, (frames, views, keypoints, 2), and how sure it is."""
    predictions = seen + 1.5 * torch.randn_like(seen)
    confidences = 0.8 + 0.2 * torch.rand_like(seen[..., 0])
    mistaken = torch.rand(NUM_FRAMES) < 0.4
    tails = predictions[:, VIEWS.index("right"), TAIL]
    tails[mistaken] += torch.tensor([35.0, 20.0], dtype=seen.dtype)
    confidences[mistaken, VIEWS.index("right"), TAIL] = 0.1
    predictions[::15, VIEWS.index("left"), TAIL] = torch.nan
    return predictions, confidences


def describe(when: str, keypoints: Tensor, seen: Tensor, cameras: Cameras) -> None:
    """Print how far the views are from each other, and from the truth."""
    for which, frames in (("all", slice(None)), ("labelled", slice(NUM_LABELLED))):
        apart = reprojection_error(keypoints[frames], cameras).nanmean()
        off = (keypoints[frames] - seen[frames]).norm(dim=-1).nanmean()
        print(f"{when}, {which} frames: views {apart:.2f} px apart, {off:.2f} px from the truth")


def main() -> None:
    torch.manual_seed(0)
    cameras, poses = rig(), walk()
    seen = project_points(poses, cameras)
    predictions, confidences = predicted(seen)

    is_off = reprojection_error(predictions, cameras, confidences)[..., TAIL] > 20
    for view, number in zip(VIEWS, is_off.sum(dim=0).tolist(), strict=True):
        print(f"view {view!r}: in {number} of {NUM_FRAMES} frames the tail is 20 px and more off")

    labels = seen.clone()
    labels[NUM_LABELLED:] = torch.nan
    keypoints = predictions.clone().requires_grad_()
    optimizer = torch.optim.Adam([keypoints], lr=0.5)
    losses = LossFactory(
        {
            "multiview_reprojection": {"prob_threshold": 0.05},
            "supervised_pairwise_projections": {"unit_scale": 0.01},  # a loss of 1 is 1 cm
        },
        # Here NaN means that a view has no prediction.
        nan_predictions="leave_out",
    )
    describe("before", predictions, seen, cameras)
    for step in range(NUM_STEPS):
        total, _ = losses(
            stage="train",
            anneal_weight=min(1.0, step / 20),
            keypoints_pred=keypoints.flatten(1),
            keypoints_targ=labels.flatten(1),
            confidences=confidences.flatten(1),
            intrinsics=cameras.intrinsics,
            extrinsics=cameras.extrinsics,
            distortions=cameras.distortions,
        )
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    describe("after", keypoints.detach(), seen, cameras)
    losses.report()


if __name__ == "__main__":
    main()
