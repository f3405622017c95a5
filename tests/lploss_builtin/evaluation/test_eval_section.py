"""What section ``eval`` asks for is checked before a training starts."""

from __future__ import annotations

import pytest

from lploss import load_config
from lploss.errors import ConfigError
from lploss_builtin.evaluation import EvalTasks, eval_tasks
from lploss_builtin.predicting.labelled_video import LabelledVideo
from tests.lploss_builtin.data.keypoint_tables import csv_text
from tests.lploss_builtin.data.tiny_video import write_video


def tasks(folder, **section):
    return eval_tasks(load_config({"data": {"data_dir": "data"}, "eval": section}), folder)


@pytest.fixture
def project(tmp_path):
    """A folder with a project that has a video and predictions of it."""
    (tmp_path / "data" / "clips").mkdir(parents=True)
    (tmp_path / "data" / "empty").mkdir()
    write_video(tmp_path / "data" / "clips" / "walk.mp4", 3)
    (tmp_path / "data" / "walk.csv").write_text(csv_text(["0,1,2,3,4"]))
    return tmp_path


def test_nothing_is_asked_for(tmp_path):
    assert tasks(tmp_path) == EvalTasks()


def test_blanks_of_templates_are_nothing(tmp_path):
    section = {
        "hydra_paths": [" "],
        "pred_csv_files_to_plot": [" "],
        "video_file_to_plot": " ",
        "test_videos_directory": "none",
        "predict_vids_after_training": False,
    }
    assert tasks(tmp_path, **section) == EvalTasks()


def test_all_that_can_be_asked_for(project):
    found = tasks(
        project,
        predict_vids_after_training=True,
        save_vids_after_training=True,
        test_videos_directory="clips",
        saved_vid_preds_dir="elsewhere",
        confidence_thresh_for_vid=0.25,
        colormap="hsv",
        video_file_to_plot="clips/walk.mp4",
        pred_csv_files_to_plot=["walk.csv"],
        hydra_paths=["a"],
        fiftyone={"port": 1},
    )
    style = LabelledVideo(0.25, "hsv")
    data = project / "data"
    assert (found.videos, str(found.predictions)) == (data / "clips", "elsewhere")
    assert (found.labelled_videos, found.style) == (style, style)
    assert found.to_plot.source.num_frames == 3
    assert found.to_plot.files == (data / "walk.csv",)
    assert found.notes == (
        "eval.hydra_paths is not read: it is for a tool that lploss has no part in",
        "eval.fiftyone is not read: it is for a tool that lploss has no part in",
    )


def test_the_defaults_of_labelled_videos(project):
    found = tasks(
        project,
        predict_vids_after_training=True,
        save_vids_after_training=True,
        test_videos_directory=str(project / "data" / "clips"),
    )
    assert found.labelled_videos == LabelledVideo(0.9, "cool")
    assert found.notes == ()


def test_videos_that_are_drawn_must_be_predicted(project):
    found = tasks(project, save_vids_after_training=True, test_videos_directory="clips")
    assert (found.videos, found.labelled_videos) == (None, None)
    assert found.notes == (
        "eval.save_vids_after_training draws the videos that eval.predict_vids_after_training "
        "predicts, which is not true: no video is drawn",
    )


def test_the_folder_of_videos_may_be_that_of_the_config(project):
    config = load_config(
        {
            "data": {"data_dir": "data", "video_dir": "clips"},
            "eval": {
                "predict_vids_after_training": True,
                "test_videos_directory": "${data.video_dir}",
            },
        }
    )
    assert eval_tasks(config, project).videos == project / "data" / "clips"


PREDICT = {"predict_vids_after_training": True}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            PREDICT,
            "eval.predict_vids_after_training: true needs eval.test_videos_directory, the folder "
            "of the videos. Name it, or set the first to false.",
        ),
        (
            {**PREDICT, "test_videos_directory": "none"},
            "eval.test_videos_directory must be a folder of videos, and there is none at "
            "FOLDER/data/none. Without videos to predict, set eval.predict_vids_after_training to "
            "false.",
        ),
        (
            {**PREDICT, "test_videos_directory": "empty"},
            "eval.test_videos_directory: there is no video in FOLDER/data/empty. Without videos "
            "to predict, set eval.predict_vids_after_training to false.",
        ),
        (
            {"saved_vid_preds_dir": "FOLDER/data/walk.csv"},
            "eval.saved_vid_preds_dir must be a folder, got the file FOLDER/data/walk.csv",
        ),
        (
            {"confidence_thresh_for_vid": 1.5},
            "eval.confidence_thresh_for_vid or eval.colormap cannot be used: confidence_threshold "
            "must be between 0 and 1, got 1.5",
        ),
        (
            {"colormap": "cold"},
            "eval.confidence_thresh_for_vid or eval.colormap cannot be used: there is no colormap "
            "'cold'.",
        ),
        (
            {"video_file_to_plot": "clips/walk.mp4"},
            "eval.video_file_to_plot and eval.pred_csv_files_to_plot go together: the predictions "
            "are drawn into the video. Name eval.pred_csv_files_to_plot, too, or none of them.",
        ),
        (
            {"pred_csv_files_to_plot": ["walk.csv"]},
            "eval.video_file_to_plot and eval.pred_csv_files_to_plot go together: the predictions "
            "are drawn into the video. Name eval.video_file_to_plot, too, or none of them.",
        ),
        (
            {"video_file_to_plot": "none.mp4", "pred_csv_files_to_plot": ["walk.csv"]},
            "eval.video_file_to_plot cannot be used: the video FOLDER/data/none.mp4 does not exist",
        ),
        (
            {"video_file_to_plot": "clips/walk.mp4", "pred_csv_files_to_plot": ["none.csv"]},
            "eval.pred_csv_files_to_plot cannot be used: FOLDER/data/none.csv does not exist",
        ),
    ],
)
def test_what_cannot_be_done_is_named(project, section, message):
    section = {
        name: value.replace("FOLDER", str(project)) if isinstance(value, str) else value
        for name, value in section.items()
    }
    with pytest.raises(ConfigError) as raised:
        tasks(project, **section)
    assert str(raised.value).startswith(message.replace("FOLDER", str(project)))
