"""What goes wrong while a training runs."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from lploss import MissingInputError, load_config
from lploss.cli import app
from lploss.errors import DataError, TrainingError
from lploss.registry import default_registry
from lploss_builtin.training.checkpoint_files import WholeCheckpointIO
from lploss_builtin.training.module import PoseModule
from lploss_builtin.training.run import train
from tests.lploss_builtin.training.small_trainings import write_training

NAN = math.nan

POISONED = """
    import math

    import torch
    from lploss import Loss

    class Distance(Loss):
        loss_name, kind = "poisoned", "supervised"
        calls = 0

        def compute_loss(self, keypoints_pred, keypoints_targ):
            Distance.calls += 1
            factor = math.nan if Distance.calls > 2 else 1.0
            return factor * keypoints_pred
"""


def trained(path, out, *overrides):
    return train(load_config(path, overrides), out, folder=path.parent)


def truncate(folder, *frames):
    for frame in frames:
        path = folder / "labeled-data" / frame
        path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize("loads", [True, False])
def test_frames_that_cannot_be_read_are_named_and_left_out(tmp_path, caplog, loads, monkeypatch):
    path = write_training(tmp_path, training={"max_epochs": 2, "train_prob": 0.9, "val_prob": 0.1})
    truncate(tmp_path, "mo_left/img01.png", "tu_right/img03.png")
    if not loads:
        name = "lploss_builtin.data.project.labelled_frames.LabelledFrames.load"
        monkeypatch.setattr(name, lambda *_: False)
    with caplog.at_level(logging.WARNING, "lploss_builtin"):
        run = trained(path, tmp_path / "run")
    named = [r.getMessage() for r in caplog.records if r.name.startswith("lploss_builtin")]
    assert sorted(message.partition(": the image")[0] for message in named) == [
        "left out: frame mo/img01.png",
        "left out: frame tu/img03.png",
    ]
    report = (run.folder / "losses.txt").read_text()
    assert report.count("left out: frame") == 2


def test_a_frame_that_cannot_be_read_changes_no_loss(tmp_path):
    path = write_training(tmp_path, training={"max_epochs": 1, "train_batch_size": 64})
    truncate(tmp_path, "mo_left/img01.png")
    with_it = trained(path, tmp_path / "with")
    without = write_training(tmp_path / "other", training={"max_epochs": 1, "train_batch_size": 64})
    for view in ("left", "right"):
        file = tmp_path / "other" / f"CollectedData_{view}.csv"
        lines = file.read_text().splitlines(keepends=True)
        unlabelled = [
            f"{line.split(',')[0]},,,,,,\n" if "mo_" in line and "img01" in line else line
            for line in lines
        ]
        file.write_text("".join(unlabelled))
    same = trained(without, tmp_path / "without")
    first, second = (
        torch.load(run.checkpoint("last"), weights_only=True)["state_dict"]
        for run in (with_it, same)
    )
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=1e-6, rtol=1e-5)


def test_too_many_frames_that_cannot_be_read_are_an_error(tmp_path):
    path = write_training(tmp_path)
    truncate(tmp_path, "mo_left/img01.png", "tu_right/img03.png", "tu_right/img04.png")
    with pytest.raises(DataError) as caught:
        trained(path, tmp_path / "run", "training.max_unreadable_frames=1")
    first, *problems = str(caught.value).splitlines()
    assert first == (
        "2 frames cannot be read, and at most 1 may be left out (training.max_unreadable_frames):"
    )
    assert len(problems) == 2
    assert all(line.startswith("- frame ") for line in problems)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path, known_site):
    known_site.install_loss("acme", "poisoned", target=POISONED)
    default_registry.refresh()
    path = write_training(tmp_path, losses={"poisoned": {}})
    with pytest.raises(TrainingError) as caught:
        trained(path, tmp_path / "run")
    kept = tmp_path / "run" / "not_finite_rank0.pt"
    text = str(caught.value)
    assert text == (
        "the training diverged: in epoch 0, step 2, a training batch gives values that are not "
        "finite: poisoned = nan. Inputs of the losses that are not finite: none. Try a lower "
        "training.optimizer_params.learning_rate (it is 0.01) or a training.gradient_clip_val (it "
        f"is not set). The batch and the inputs of the losses are in {kept}: load it with "
        "torch.load."
    )
    batch = torch.load(kept, weights_only=True)
    assert {"images", "index", "keypoints_targ", "heatmaps_pred"} <= set(batch)
    assert "poisoned" in (tmp_path / "run" / "losses.txt").read_text()


@pytest.mark.parametrize(
    ("frames", "of"), [(8, "training"), (2, "validation")], ids=["next batch", "next validation"]
)
def test_a_training_that_diverges_ends_with_an_error_and_no_best_weights(tmp_path, frames, of):
    path = write_training(tmp_path, frames=frames, training={"train_prob": 0.5, "val_prob": 0.5})
    command = [str(path), "training.optimizer_params.learning_rate=1e30", "training.max_epochs=2"]
    result = CliRunner().invoke(app, ["train", *command, "--out", str(tmp_path / "run")])
    assert result.exit_code == 1
    told = " ".join(result.output.split())
    assert f"the training diverged: in epoch 0, step 1, a {of} batch gives values" in told
    assert "heatmap_mse = nan" in told
    assert "Inputs of the losses that are not finite: heatmaps_pred" in told
    assert "learning_rate (it is 1e+30)" in told
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()


@pytest.mark.parametrize(
    ("targ", "pred", "error"),
    [
        # Of three labelled keypoints, 5 and 0 and 1 px away.
        ([[0, 0, 1, 1], [2, 2, NAN, NAN]], [[3, 4, 1, 1], [2, 3, 9, 9]], 2.0),
        ([[0, 0, 1, 1], [2, 2, NAN, NAN]], [[3, 4, 1, 1], [2, 3, NAN, 9]], 2.0),
        ([[0, 0, 1, 1], [2, 2, NAN, NAN]], [[3, NAN, 1, 1], [2, 3, 9, 9]], NAN),
        ([[0, 0, 1, 1], [2, 2, NAN, NAN]], [[math.inf, 4, 1, 1], [2, 3, 9, 9]], NAN),
        ([[NAN] * 4] * 2, [[NAN] * 4] * 2, 0.0),  # nothing is labelled; it has no weight
    ],
)
def test_the_pixel_error_leaves_out_no_labelled_keypoint(monkeypatch, targ, pred, error):
    logged = {}
    monkeypatch.setattr(
        PoseModule, "_log", lambda self, entries, stage, weight: logged.update(weight=weight)
    )
    inputs = {
        "keypoints_targ": torch.tensor(targ, dtype=torch.float32),
        "keypoints_pred": torch.tensor(pred, dtype=torch.float32),
    }
    found = PoseModule._log_error(PoseModule.__new__(PoseModule), inputs, "val")
    assert found.item() == pytest.approx(error, nan_ok=True)
    assert logged["weight"] == (inputs["keypoints_targ"].isfinite().sum() // 2)


def test_a_loss_without_its_inputs_is_an_error_before_the_first_batch(tmp_path):
    path = write_training(tmp_path, losses={"supervised_reprojection_heatmap_mse": {}})
    for calibration in (tmp_path / "calibrations").iterdir():
        calibration.unlink()
    with pytest.raises(MissingInputError) as caught:
        trained(path, tmp_path / "run")
    assert "supervised_reprojection_heatmap_mse" in str(caught.value)
    assert "intrinsics" in str(caught.value)
    assert not (tmp_path / "run" / "metrics.csv").exists()
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_where_a_checkpoint_cannot_be_written_the_last_good_one_stays(tmp_path, monkeypatch):
    files = WholeCheckpointIO()
    path = tmp_path / "checkpoints" / "last.ckpt"
    files.save_checkpoint({"epoch": 1}, path)

    def full(checkpoint, file):
        Path(file).write_bytes(b"the start")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        files.save_checkpoint({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_kill_while_a_checkpoint_is_written_leaves_the_last_good_one(tmp_path, monkeypatch):
    files = WholeCheckpointIO()
    path = tmp_path / "last.ckpt"
    files.save_checkpoint({"epoch": 1}, path)

    def killed(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        files.save_checkpoint({"epoch": 2, "weight": torch.tensor(math.pi)}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
