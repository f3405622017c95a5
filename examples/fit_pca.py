"""Fit the PCA losses to labels with gaps, read what came of it, and restore them.

Shows `pca_singleview` on poses and `pca_multiview` on two views of the same keypoints: the fit
report, which values a wrong keypoint gets, and that a checkpoint brings the loss back without
labels. The labels are made on the spot: an animal on a treadmill, in 3D, seen by two distant
cameras.

Run it with ``python examples/fit_pca.py``; it takes some seconds.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from lploss import Loss, create_loss

NAMES = ("nose", "shoulder", "left paw", "right paw", "tail base", "tail tip")
NUM_FRAMES = 120


def walk() -> Tensor:
    """Return the animal in 3D, (NUM_FRAMES, 6, 3)."""
    phase = torch.linspace(0, 24 * math.pi, NUM_FRAMES)
    still = torch.zeros(NUM_FRAMES)
    stride, wave = 12 * phase.sin(), 15 * (phase / 3).sin()

    def point(x: Tensor | float, y: Tensor | float, z: Tensor | float) -> Tensor:
        return torch.stack([still + x, still + y, still + z], dim=1)

    animal = torch.stack(
        [
            point(60.0, 0.3 * wave, 25.0),
            point(35.0, 0.0, 30.0),
            point(30 + stride, 12.0, 6 + 0.5 * stride.abs()),
            point(30 - stride, -12.0, 6 + 0.5 * stride.abs()),
            point(-40.0, 0.0, 22.0),
            point(-90.0, wave, 15.0),
        ],
        dim=1,
    )
    place = torch.stack([8 * (phase / 9).sin(), 6 * (phase / 11).cos(), still], dim=1)
    return animal + place[:, None]


def seen(animal: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a camera at the side and one below see, each (frames, 12), px."""
    return (
        (300 + animal[..., [0, 2]]).flatten(1),
        (300 + animal[..., [0, 1]]).flatten(1),
    )


def with_gaps(keypoints: Tensor) -> Tensor:
    """Return labels: with noise of half a px, and a keypoint in ten not labelled."""
    labels = (keypoints + 0.5 * torch.randn_like(keypoints)).unflatten(1, (-1, 2))
    labels[torch.rand(labels.shape[:2]) < 0.1] = torch.nan
    return labels.flatten(1)


def show(title: str, loss: Loss, poses: Tensor, names: list[str]) -> None:
    """Print the fit, and the values of one pose."""
    print(f"\n{title}\n{loss.fit_report}")
    values = loss.elementwise(keypoints_pred=poses)[0].tolist()
    above = [f"{name} {value:.0f}" for name, value in zip(names, values, strict=True) if value > 0]
    print(f"px above epsilon: {', '.join(above)}")


def assert_restored(loss: Loss, fresh: Loss, poses: Tensor) -> None:
    """Write a checkpoint, load it into a loss that has seen no labels, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "loss.pt")
        torch.save(loss.state_dict(), path)
        fresh.load_state_dict(torch.load(path, weights_only=True))
    same = torch.equal(loss(keypoints_pred=poses).loss, fresh(keypoints_pred=poses).loss)
    if not same or fresh.fit_report != loss.fit_report:
        raise SystemExit("the checkpoint did not restore the loss")
    print("restored from a checkpoint, without labels")


def main() -> None:
    torch.manual_seed(0)
    side, below = seen(walk())

    singleview = create_loss("pca_singleview", components_to_keep=0.99, data_module=with_gaps(side))
    poses = side[:3].clone()
    poses[0, 0] -= 50  # the nose
    show("pca_singleview: a nose 50 px off", singleview, poses, list(NAMES))
    fresh = create_loss("pca_singleview", components_to_keep=0.99)
    assert_restored(singleview, fresh, poses)

    both = torch.cat([side, below], dim=1)
    names = [f"{name} ({view})" for view in ("side", "below") for name in NAMES]
    matches = [list(range(0, 6)), list(range(6, 12))]  # a list for each view
    multiview = create_loss(
        "pca_multiview", mirrored_column_matches=matches, data_module=with_gaps(both)
    )
    poses = both[:3].clone()
    poses[0, 4] += 50  # the left paw, in the side view
    show("pca_multiview: a left paw 50 px off, from the side", multiview, poses, names)
    fresh = create_loss("pca_multiview", mirrored_column_matches=matches)
    assert_restored(multiview, fresh, poses)


if __name__ == "__main__":
    main()
