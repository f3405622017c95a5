from __future__ import annotations

import csv
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from omegaconf import OmegaConf

from lploss import MissingInputError, load_config
from lploss.errors import ConfigError, DataError
from lploss_builtin.ops import affine
from lploss_builtin.training.augmentation import BatchAugmentation
from lploss_builtin.training.augmentation_2d import ImageAugmentation
from lploss_builtin.training.run import TrainingRun, train
from tests.lploss_builtin.data.small_projects import (
    HEIGHT,
    WIDTH,
    calibration,
    picture,
    write_image,
    write_text,
)
from tests.lploss_builtin.data.videos import write_sound, write_video
from tests.lploss_builtin.training.small_trainings import VIEWS, write_training

LOSSES = ["temporal", "temporal_heatmap_mse", "pca_multiview", "multiview_reprojection"]
PARAMS = {
    "temporal": {"epsilon": 0.0, "log_weight": 0.0},
    "pca_multiview": {"components_to_keep": 3, "epsilon": 0.0, "log_weight": 0.0},
    "multiview_reprojection": {"log_weight": 0.0},
}


def write_videos(
    folder: Path,
    sessions: dict[str, int],
    views: tuple[str, ...] = VIEWS,
    size: tuple[int, int] = (HEIGHT, WIDTH),
) -> None:
    """Write frames of each session into folders ``videos/<session>_<view>``."""
    for session, num_frames in sessions.items():
        for number, view in enumerate(views):
            for frame in range(num_frames):
                path = folder / "videos" / f"{session}_{view}" / f"img{frame:03d}.png"
                write_image(path, picture(10 * number + frame, *size))


def with_videos(
    folder: Path, *, losses: list[str] = LOSSES, length: int = 3, **sections: Any
) -> Path:
    """Write a training with two videos, of 9 and of 7 frames; return the path of its config."""
    model = {"losses_to_use": losses, **sections.pop("model", {})}
    params = {**PARAMS, **sections.pop("params", {})}
    path = write_training(folder, model=model, losses=params, **sections)
    write_videos(folder, {"wed": 9, "thu": 7})
    for session in ("wed", "thu"):
        write_text(folder / "calibrations" / f"{session}.toml", calibration(VIEWS))
    changes = [
        "data.video_dir=videos",
        f"dali.base.train.sequence_length={length}",
        f"dali.context.train.batch_size={length}",
    ]
    config = load_config(path, changes)
    path.write_text(OmegaConf.to_yaml(config), encoding="utf-8")
    return path


def trained(path: Path, out: Path, *overrides: str, **options: Any) -> TrainingRun:
    return train(load_config(path, overrides), out, folder=path.parent, **options)


def weights(run: TrainingRun) -> dict[str, torch.Tensor]:
    return torch.load(run.checkpoint("last"), weights_only=True)["state_dict"]


def column(run: TrainingRun, name: str) -> list[float]:
    with (run.folder / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TrainingRun:
    folder = tmp_path_factory.mktemp("videos")
    path = with_videos(
        folder,
        training={"max_epochs": 4, "imgaug": "dlc"},
        callbacks={"anneal_weight": {"freeze_until_epoch": 0, "increase_factor": 0.5}},
    )
    return trained(path, folder / "run")


def test_all_unsupervised_losses_are_taken_of_the_videos(run):
    for name in LOSSES:
        values = column(run, f"train_{name}_loss_step")
        assert len(values) == 12
        assert all(value >= 0.0 for value in values)
        assert max(values) > 0.0


def test_their_sum_is_annealed(run):
    assert column(run, "anneal_weight") == pytest.approx([0.0] * 3 + [0.5] * 3 + [1.0] * 6)
    plain = column(run, "train_temporal_loss_step")
    weighted = column(run, "train_temporal_loss_weighted_step")
    # The weight of a log_weight of 0 is one half.
    factors = [0.0] * 3 + [0.25] * 3 + [0.5] * 6
    assert weighted == pytest.approx(
        [factor * value for factor, value in zip(factors, plain, strict=True)], abs=1e-6
    )
    total = column(run, "train_loss_step")
    parts = [column(run, f"train_{name}_loss_weighted_step") for name in ("heatmap_mse", *LOSSES)]
    assert total == pytest.approx([sum(values) for values in zip(*parts, strict=True)], rel=1e-4)


def test_validation_has_labelled_frames_only(run):
    assert len(column(run, "val_heatmap_mse_loss")) == 4
    assert column(run, "val_temporal_loss") == []
    assert column(run, "val_loss") == pytest.approx(column(run, "val_supervised_loss"))


def test_without_videos_the_losses_are_taken_of_labelled_frames(tmp_path):
    path = with_videos(tmp_path, losses=["multiview_reprojection"], training={"max_epochs": 1})
    run = trained(path, tmp_path / "run", "data.video_dir=null")
    assert len(column(run, "train_multiview_reprojection_loss_step")) == 3
    assert len(column(run, "val_multiview_reprojection_loss")) == 1


def test_videos_that_no_loss_asks_for_are_not_looked_for(tmp_path):
    path = with_videos(tmp_path, losses=[], training={"max_epochs": 1})
    trained(path, tmp_path / "run", "data.video_dir=nowhere")


def test_the_same_config_gives_the_same_weights(tmp_path):
    path = with_videos(tmp_path, training={"max_epochs": 2, "imgaug": "dlc"})
    first, second = (weights(trained(path, tmp_path / name)) for name in ("a", "b"))
    other = weights(trained(path, tmp_path / "c", "dali.general.seed=7"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("stop", [2, 3, 4])
def test_it_resumes_bit_for_bit(tmp_path, stop):
    path = with_videos(tmp_path, training={"max_epochs": None, "max_steps": 6, "imgaug": "dlc"})
    whole = weights(trained(path, tmp_path / "whole"))
    part = trained(path, tmp_path / "part", f"training.max_steps={stop}")
    config = load_config(part.folder / "config.yaml", ["training.max_steps=6"])
    resumed = weights(train(config, part.folder, resume=True))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_videos_that_cannot_be_used_are_named_and_left_out(tmp_path, caplog):
    path = with_videos(tmp_path, training={"max_epochs": 1})
    write_videos(tmp_path, {"fri": 2})
    write_videos(tmp_path, {"sat": 9}, size=(HEIGHT, WIDTH + 2))
    write_videos(tmp_path, {"sun": 9}, views=VIEWS[:1])
    write_videos(tmp_path, {"mon": 9})
    (tmp_path / "videos" / "thu_left" / "img006.png").unlink()
    with caplog.at_level(logging.WARNING, "lploss_builtin"):
        trained(path, tmp_path / "run")
    text = "\n".join(record.getMessage() for record in caplog.records)
    places = {name: tmp_path / "videos" / f"{name}_left" for name in ("fri", "sat", "sun", "thu")}
    assert "Videos that are not trained with" in text
    assert f"{places['fri']}: it has 2 frames, a batch 3" in text
    assert (
        f"{places['sat']}: its frames have height {HEIGHT} and width {WIDTH + 2}, labelled images "
        f"{HEIGHT} and {WIDTH}" in text
    )
    assert "sun" in text
    assert "session 'mon' has no calibration, and labelled ones have" in text
    assert "Videos that are not what one expects" in text
    assert "thu" in text


def test_no_video_can_be_used(tmp_path):
    path = with_videos(tmp_path, length=10)
    with pytest.raises(DataError) as raised:
        trained(path, tmp_path / "run")
    message = str(raised.value)
    place = tmp_path / "videos"
    assert message.startswith(
        "model.losses_to_use asks for unlabelled video, and there is none to train with in "
        f"{place}:\nVideos that are not trained with (2). "
    )
    assert f"{place / 'thu_left'}: it has 7 frames, a batch 10" in message


def test_a_folder_without_videos(tmp_path):
    path = with_videos(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as raised:
        trained(path, tmp_path / "run", "data.video_dir=empty")
    expected = f"{tmp_path / 'empty'}: the folder holds no videos and no images"
    assert str(raised.value).endswith(expected)


def test_a_folder_that_does_not_exist(tmp_path):
    path = with_videos(tmp_path)
    with pytest.raises(ConfigError) as raised:
        trained(path, tmp_path / "run", "data.video_dir=nowhere")
    assert str(raised.value) == (
        "data.video_dir must be a folder of videos, and there is none at "
        f"{tmp_path / 'nowhere'}. Without unlabelled video, set it to null: the losses in "
        "model.losses_to_use are then taken of the labelled frames."
    )


def test_a_length_that_is_none(tmp_path):
    path = with_videos(tmp_path)
    with pytest.raises(ConfigError) as raised:
        trained(path, tmp_path / "run", "dali.base.train.sequence_length=0")
    assert str(raised.value) == (
        "dali.base.train.sequence_length must be at least 2, for a loss in model.losses_to_use "
        "compares a frame with the 1 before it, got 0"
    )
    alone = ["dali.base.train.sequence_length=0", "model.losses_to_use=[multiview_reprojection]"]
    with pytest.raises(ConfigError) as raised:
        trained(path, tmp_path / "run", *alone)
    assert str(raised.value) == "dali.base.train.sequence_length must be at least 1, got 0"


def test_a_decoder_that_there_is_not(tmp_path):
    path = with_videos(tmp_path)
    with pytest.raises(ConfigError) as raised:
        trained(path, tmp_path / "run", "dali.general.decoder=gpu")
    assert str(raised.value) == "dali.general.decoder must be one of cpu, cuda, auto, got 'gpu'"


def test_a_loss_that_never_had_anything_is_named(tmp_path, caplog):
    losses = {"temporal": {"prob_threshold": 1.0}}
    path = with_videos(tmp_path, losses=["temporal"], training={"max_epochs": 1})
    changed = OmegaConf.merge(OmegaConf.load(path), {"losses": losses})
    path.write_text(OmegaConf.to_yaml(changed), encoding="utf-8")
    with caplog.at_level(logging.WARNING, "lploss_builtin"):
        trained(path, tmp_path / "run")
    messages = [record.getMessage() for record in caplog.records]
    # Three steps of two pairs of frames, with two keypoints in two views.
    assert messages[-1] == (
        "the loss 'temporal' counted none of its 24 elements in the whole training: 24 low "
        "confidence"
    )


def test_without_supervised_losses_the_best_weights_are_those_nearest_to_the_labels(tmp_path):
    path = with_videos(tmp_path, losses=["temporal"], training={"max_epochs": 2})
    run = trained(path, tmp_path / "run", "losses.heatmap_mse.log_weight=null")
    best = torch.load(run.checkpoint("best"), weights_only=True)
    (state,) = (
        value
        for value in best["callbacks"].values()
        if isinstance(value, dict) and value.get("monitor") == "val_pixel_error"
    )
    assert state["best_model_score"].item() == pytest.approx(min(column(run, "val_pixel_error")))


def test_the_report_names_every_video(tmp_path, caplog):
    path = with_videos(tmp_path, losses=["multiview_reprojection"], training={"max_epochs": 1})
    names = [f"extra{number}" for number in range(8)]
    write_videos(tmp_path, dict.fromkeys(names, 2))
    with caplog.at_level(logging.WARNING, "lploss_builtin"):
        run = trained(path, tmp_path / "run")
    text = "\n".join(record.getMessage() for record in caplog.records)
    kept = (run.folder / "losses.txt").read_text()
    assert all(f"{name}_left: it has 2 frames" in text for name in names)
    assert all(f"{name}_left: it has 2 frames" in kept for name in names)


def test_a_loss_whose_inputs_are_not_there_is_refused_before_the_training(tmp_path):
    path = with_videos(tmp_path, losses=["multiview_reprojection"])
    for calibrated in (tmp_path / "calibrations").iterdir():
        calibrated.unlink()
    with pytest.raises(MissingInputError, match="multiview_reprojection"):
        trained(path, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_damaged_videos_do_not_stop_a_training(tmp_path, caplog):
    """One view: of seven files three can be used, one of them up to where it breaks."""
    path = write_training(
        tmp_path,
        views=("left",),
        model={"model_type": "heatmap", "losses_to_use": ["temporal"]},
        training={"max_epochs": 2},
    )
    write_text(tmp_path / "calibration.toml", calibration(["left"]))
    videos = tmp_path / "videos"
    videos.mkdir()
    size = {"height": HEIGHT, "width": WIDTH}
    write_video(videos / "whole_left.mp4", num_frames=12, **size)
    cut = write_video(videos / "cut_left.mkv", num_frames=12, **size)
    cut.write_bytes(cut.read_bytes()[: -cut.stat().st_size // 4])
    damaged = write_video(videos / "damaged_left.mp4", num_frames=12, **size)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    damaged.write_bytes(content)
    write_video(videos / "wide_left.mp4", num_frames=12, height=HEIGHT, width=WIDTH + 2)
    (videos / "empty_left.mp4").touch()
    (videos / "text_left.mp4").write_text("no video")
    write_sound(videos / "sound_left.mp4")
    with caplog.at_level(logging.WARNING, "lploss_builtin"):
        run = trained(
            path,
            tmp_path / "run",
            "data.video_dir=videos",
            "dali.base.train.sequence_length=3",
        )
    assert len(column(run, "train_temporal_loss_step")) == 6
    text = "\n".join(record.getMessage() for record in caplog.records)
    for name in (
        "wide_left.mp4",
        "empty_left.mp4",
        "text_left.mp4",
        "sound_left.mp4",
        "cut_left.mkv",
    ):
        assert name in text
    assert "whole_left.mp4" not in text


def blobs(num_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return frames of two views with one bright spot each, and where the spots are, px."""
    y, x = np.mgrid[:128, :160]
    points = np.stack(
        [
            [[60 + 5 * frame, 50 + 4 * frame] for frame in range(num_frames)],
            [[100 - 6 * frame, 70 - 3 * frame] for frame in range(num_frames)],
        ],
        axis=1,
    ).astype(float)
    squared = (x - points[..., 0, None, None]) ** 2 + (y - points[..., 1, None, None]) ** 2
    images = 255 * np.exp(-squared / (2 * 4.0**2))
    stacked = np.repeat(images[:, :, None].astype(np.uint8), 3, axis=2)
    return torch.from_numpy(stacked), torch.from_numpy(points)


def centres(images: torch.Tensor) -> torch.Tensor:
    """Return the mean place of the light in each image; beyond its edges it becomes grey."""
    light = (images[:, :, 0].double() - 150).clamp(min=0)
    y = torch.arange(light.shape[2])[:, None] * light
    x = torch.arange(light.shape[3]) * light
    total = light.sum((2, 3))
    return torch.stack([x.sum((2, 3)) / total, y.sum((2, 3)) / total], dim=-1)


def test_augmentation_of_a_sequence_is_undone_on_predictions():
    """A spot is found where it is in the augmented image, and told where it is in the video."""
    images, points = blobs(4)
    original = torch.eye(2, 3).expand(4, 2, 2, 3)
    batch = {"images": images, "affine": original, "index": torch.full((4,), 5)}
    moving = ImageAugmentation(rotation=20.0, scale=(0.8, 1.2), shift=0.1, flip_probability=1.0)
    augmentation = BatchAugmentation(
        moving, in_3d=False, patch_size=(16, 16), seed=3, partners=(0,)
    )
    for epoch in range(5):
        done = augmentation.of_sequence(batch, epoch)
        found = centres(done["images"])
        moved = (found - points).norm(dim=-1)
        assert moved.max() > 2.0
        back = affine.transform(found[:, :, None], affine.inverse(done["affine"].double()))
        assert (back[:, :, 0] - points).norm(dim=-1).max() < 0.15
        # All frames of a view are moved alike, the views apart; nothing is mirrored.
        assert torch.equal(done["affine"], done["affine"][:1].expand(4, 2, 2, 3))
        assert not torch.allclose(done["affine"][:, 0], done["affine"][:, 1])
        assert (torch.linalg.det(done["affine"][..., :2]) > 0).all()
    assert torch.equal(batch["affine"], original)


def test_the_losses_see_predictions_as_they_are_in_the_video(tmp_path):
    """The map from the video to the input, applied to one, gives the other."""
    from lploss_builtin.models.heatmap import HeatmapModel
    from tests.lploss_builtin.models.small import SMALL

    images, _ = blobs(4)
    original = torch.eye(2, 3).expand(4, 2, 2, 3)
    batch = {"images": images, "affine": original, "index": torch.full((4,), 5)}
    augmentation = BatchAugmentation(
        ImageAugmentation(rotation=20.0, scale=(0.8, 1.2), shift=0.1),
        in_3d=False,
        patch_size=(16, 16),
        seed=3,
    )
    done = augmentation.of_sequence(batch, 0)
    model = HeatmapModel(
        num_keypoints=3, num_views=2, image_size=(128, 160), pretrained=False, backbone_params=SMALL
    )
    inputs = model.get_loss_inputs_unlabeled(done)
    in_video, in_input = (
        rearrange(inputs[name], "b (v k xy) -> b v k xy", v=2, xy=2)
        for name in ("keypoints_pred", "keypoints_pred_augmented")
    )
    assert (affine.transform(in_video, done["affine"]) - in_input).abs().max() < 1e-3
    assert (in_video - in_input).abs().max() > 1.0


_SEEN_BY_PROCESSES = """
import json, os, sys
from pathlib import Path
from lploss import load_config
from lploss_builtin.training.video_sequences import VideoSequences
from lploss_builtin.training.run import train

def remembering(self):
    for batch, window in zip(frames(self), planned(self)):
        if self._num_processes == 2:  # else it is the check before the training
            with open(f"{sys.argv[2]}_rank{self._rank}.jsonl", "a") as file:
                file.write(json.dumps([self._epoch, *window]) + "\\n")
        yield batch

def planned(self):
    own = self.windows()[self._rank :: self._num_processes]
    return own[: len(self)]

frames = VideoSequences.__iter__
VideoSequences.__iter__ = remembering
if __name__ == "__main__":
    path = Path(sys.argv[1])
    train(load_config(path, ["training.devices=2"]), Path(sys.argv[2]), folder=path.parent)
"""


@pytest.mark.slow
def test_processes_read_different_frames_and_learn_the_same(tmp_path):
    path = with_videos(tmp_path, length=2, training={"max_epochs": 2, "train_batch_size": 2})
    write_videos(tmp_path, {"mo": 9})
    script = tmp_path / "seen_by_processes.py"
    script.write_text(_SEEN_BY_PROCESSES, encoding="utf-8")
    out = tmp_path / "run"
    finish_script(script, str(path), str(out))
    seen = {
        rank: [json.loads(line) for line in lines.splitlines()]
        for rank in (0, 1)
        if (lines := Path(f"{out}_rank{rank}.jsonl").read_text())
    }
    # 12 labelled frames in batches of two, shared by two processes: 3 steps an epoch.
    assert [len(windows) for windows in seen.values()] == [6, 6]
    for epoch in (0, 1):
        frames = Counter(
            (recording, frame)
            for windows in seen.values()
            for own, recording, start, stop in windows
            if own == epoch
            for frame in range(start, stop)
        )
        assert len(frames) == 12
        assert set(frames.values()) == {1}
    values = column(TrainingRun(out), "train_temporal_loss_epoch")
    assert len(values) == 2


def finish_script(script: Path, *args: str) -> None:
    root = Path(__file__).parents[3]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, str(script), *args],
        env=environment,
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
