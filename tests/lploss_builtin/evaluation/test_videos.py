"""Videos that are predicted and drawn when a training has ended."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from lploss import load_config
from lploss_builtin.evaluation import evaluate_training, videos
from lploss_builtin.training.run import TrainingRun
from tests.lploss_builtin.data.keypoint_tables import read_keypoints
from tests.lploss_builtin.data.small_projects import calibration, write_image, write_labels
from tests.lploss_builtin.data.tiny_video import write_video
from tests.lploss_builtin.predicting.runs import NAMES, FindsSpots, spots, write_run

VIEWS = ("left", "right")
NUM_LABELLED, NUM_FRAMES = 30, 6


def write_training(folder, views, section):
    """Write a project with labels and the folder of a training on it."""
    project = folder / "project"
    rng = np.random.default_rng(0)
    for view in views:
        rows = []
        for number in range(NUM_LABELLED):
            image = f"labeled-data/mo_{view}/img{number:02d}.png"
            write_image(project / image, np.zeros((48, 64, 3), dtype=np.uint8))
            rows.append(",".join([image, *map(str, rng.uniform(5, 40, 6))]))
        write_labels(project, view, rows, NAMES, "xy")
    files = [f"CollectedData_{view}.csv" for view in views]
    write_run(
        folder / "run",
        views if len(views) > 1 else (),
        training={"accelerator": "cpu"},
        data_dir=str(project),
        csv_file=files if len(views) > 1 else files[0],
    )
    run = TrainingRun(folder / "run")
    config = load_config(run.config)
    config.eval.update(section)
    # The norms are of all steps nevertheless.
    config.losses = {"temporal": {"prob_threshold": 1.0}}
    (run.folder / "config.yaml").write_text(OmegaConf.to_yaml(config))
    return run


def read(path):
    return pd.read_csv(path, index_col=0)


def points(path):
    return read_keypoints(path).keypoints.reshape(-1, 3, 2)


def num_frames_in(path):
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "project" / "clips"
    folder.mkdir(parents=True)
    return folder


SECTION = {
    "predict_vids_after_training": True,
    "save_vids_after_training": True,
    "test_videos_directory": "clips",
    "confidence_thresh_for_vid": 0.0,
}


def write_spots(path, shift):
    """Write a video of spots that wander to the right."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in range(NUM_FRAMES):
            at = frame + shift
            points = np.array([[12.0 + at, 12.0], [16.0 + at, 24.0], [20.0 + at, 36.0]])
            picture = av.VideoFrame.from_ndarray(spots(points, (48, 64)), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def test_videos_of_calibrated_views(tmp_path, clips, monkeypatch):
    monkeypatch.setattr(TrainingRun, "model", lambda self, which="best": FindsSpots(2))
    for session in ("mo", "we"):
        for number, view in enumerate(VIEWS):
            write_spots(clips / f"{session}_{view}.mp4", 11.0 * number)
    folder = tmp_path / "project" / "calibrations"
    folder.mkdir()
    for session in ("mo", "we"):
        (folder / f"{session}.toml").write_text(calibration(VIEWS))
    run = write_training(tmp_path, VIEWS, SECTION)
    evaluation = evaluate_training(run)
    assert (evaluation.failed, evaluation.notes) == ((), ())
    out = run.folder / "video_preds"
    metrics = ("temporal_norm", "reprojection_error", "pca_singleview_error", "pca_multiview_error")
    for session in ("mo", "we"):
        for view in VIEWS:
            keypoints = points(out / f"{session}_{view}.csv")
            assert len(keypoints) == NUM_FRAMES
            norms = read(out / f"{session}_{view}_temporal_norm.csv")
            assert norms.columns.tolist() == list(NAMES)
            steps = np.linalg.norm(np.diff(keypoints, axis=0), axis=-1)
            np.testing.assert_allclose(norms.to_numpy()[1:], steps, atol=1e-4)
            for metric in metrics:
                assert len(read(out / f"{session}_{view}_{metric}.csv")) == NUM_FRAMES
            drawn = out / "labeled_videos" / f"{session}_{view}_labeled.mp4"
            assert num_frames_in(drawn) == NUM_FRAMES
    assert not list(out.glob("*pixel_error*")), "there are no labels"
    assert all(path.is_file() for path in evaluation.files)
    assert len([path for path in evaluation.files if path.is_relative_to(out)]) == 4 * (2 + 4) + 2


def test_what_was_interrupted_is_finished(tmp_path, clips, monkeypatch):
    monkeypatch.setattr(TrainingRun, "model", lambda self, which="best": FindsSpots(1))
    for name in ("a", "b"):
        write_spots(clips / f"{name}.mp4", 0.0)
    run = write_training(tmp_path, ("side",), SECTION)
    draw = videos.write_labelled_video

    def interrupted(source, file, path, **style):
        if path.name == "b_labeled.mp4":
            raise KeyboardInterrupt
        draw(source, file, path, **style)

    with monkeypatch.context() as patch:
        patch.setattr(videos, "write_labelled_video", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate_training(run)
    out = run.folder / "video_preds"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*v") if path.is_file()}
    names = {path.name for path in before}
    assert {"a.csv", "b.csv", "b_temporal_norm.csv"} <= names
    evaluation = evaluate_training(run)
    assert evaluation.failed == ()
    assert evaluation.kept == (
        "labelled frames",
        "metrics of a",
        "labelled videos of a",
        "metrics of b",
    )
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert num_frames_in(out / "labeled_videos" / "b_labeled.mp4") == NUM_FRAMES
    assert set(evaluation.files) >= {*before, out / "labeled_videos" / "b_labeled.mp4"}
    # Another way to draw is drawn, and nothing else is done.
    config = load_config(run.config, ["eval.colormap=hsv"])
    (run.folder / "config.yaml").write_text(OmegaConf.to_yaml(config))
    assert evaluate_training(run).kept == ("labelled frames", "metrics of a", "metrics of b")
    # A video that has changed is predicted anew.
    write_spots(clips / "a.mp4", 3.0)
    kept = evaluate_training(run).kept
    assert kept == ("labelled frames", "metrics of b", "labelled videos of b")


def test_a_single_view_and_a_video_that_is_broken(tmp_path, clips):
    write_video(clips / "a.mp4", NUM_FRAMES)
    (clips / "b.mp4").write_bytes(b"this is no video")
    section = {**SECTION, "save_vids_after_training": False, "saved_vid_preds_dir": "videos"}
    run = write_training(tmp_path, ("side",), section)
    evaluation = evaluate_training(run)
    (failure,) = evaluation.failed
    assert "b.mp4" in failure
    out = run.folder / "videos"
    assert len(read(out / "a_temporal_norm.csv")) == NUM_FRAMES
    assert not (out / "labeled_videos").exists()
    assert (run.folder / "predictions_pixel_error.csv").is_file()


def test_predictions_are_drawn_into_a_video(tmp_path, clips):
    write_video(clips / "a.mp4", 3)
    header = ["scorer,net,net,net", "bodyparts,nose,nose,nose", "coords,x,y,likelihood"]
    rows = [f"{frame},20,24,{likelihood}" for frame, likelihood in enumerate((0.9, 0.9, 0.1))]
    for name in ("mine", "yours"):
        Path(tmp_path / "project" / f"{name}.csv").write_text("\n".join([*header, *rows]) + "\n")
    section = {
        "video_file_to_plot": "clips/a.mp4",
        "pred_csv_files_to_plot": ["mine.csv", "yours.csv"],
        "confidence_thresh_for_vid": 0.5,
        "colormap": "hsv",
    }
    run = write_training(tmp_path, ("side",), section)
    assert evaluate_training(run).failed == ()
    folder = run.folder / "video_preds" / "labeled_videos"
    assert sorted(path.name for path in folder.iterdir()) == [
        "mine_labeled.mp4",
        "yours_labeled.mp4",
    ]
    with av.open(str(folder / "mine_labeled.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    redness = [int(frame[24, 20, 0]) - int(frame[24, 20, 2]) for frame in frames]
    assert redness[0] > 100
    assert redness[2] < 50, "its likelihood is too low"


def test_a_fault_of_one_recording_hinders_no_other(tmp_path, clips, monkeypatch):
    for name in ("a", "b"):
        write_video(clips / f"{name}.mp4", NUM_FRAMES)
    run = write_training(tmp_path, ("side",), {**SECTION, "save_vids_after_training": False})
    choose = videos.choose_losses

    def fail_once(*arguments, **options):
        monkeypatch.setattr(videos, "choose_losses", choose)
        raise RuntimeError("as it is")

    monkeypatch.setattr(videos, "choose_losses", fail_once)
    evaluation = evaluate_training(run)
    assert evaluation.failed == ("metrics of a: RuntimeError: as it is",)
    out = run.folder / "video_preds"
    assert [(out / f"{name}_temporal_norm.csv").is_file() for name in ("a", "b")] == [False, True]
