"""The demo and the rig as large as they are for whoever tries them."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from lploss import load_config
from lploss_builtin.data.project.labelled_frames import LabelledFrames
from lploss_builtin.data.project.labelled_project import read_project
from lploss_builtin.data.rig.project import RigOptions, make_rig_project
from lploss_builtin.demo.settings import DemoSettings
from lploss_builtin.demo.training import NUM_STAGES, Stages, make_training_demo


@pytest.mark.slow
def test_the_network_is_three_times_as_good_as_what_has_learned_nothing(tmp_path):
    stages = Stages(Console(file=StringIO()), NUM_STAGES)
    report = make_training_demo(tmp_path / "demo", DemoSettings(), stages)
    found = {name: errors.all for name, errors in report.predictors.items()}
    # Of 100 frames that were held out, 4 views of 12 keypoints each; few are outside of the image.
    assert found["trained"].num > 4000
    assert found["trained"].mean <= found["untrained"].mean / 3
    assert found["trained"].mean <= found["mean_pose"].mean / 3


@pytest.mark.slow
def test_a_thousand_frames_are_written_and_read_back(tmp_path):
    made = make_rig_project(tmp_path / "rig", RigOptions(num_frames=900))
    assert len(list((made.folder / "labeled-data").rglob("*.png"))) == 4000
    config = load_config(made.config)
    held_out = [str(path.relative_to(made.folder)) for path in made.test_labels.values()]
    images = set()
    for files, num_frames in ((None, 900), (held_out, 100)):
        project = read_project(config, csv_files=files)
        assert not project.notes
        frames = LabelledFrames(project, (128, 128))
        assert len(frames) == num_frames
        for element in frames:
            assert element["images"].shape == (4, 3, 128, 128)
            assert element["keypoints_targ"].shape == (4 * 12 * 2,)
            is_labelled = element["keypoints_targ"].reshape(-1, 2).isfinite().all(dim=1)
            assert (is_labelled == (element["visibility"] > 0)).all()
            assert element["intrinsics"].shape == (4, 3, 3)
            images |= {view.numpy().tobytes() for view in element["images"]}
    assert len(images) == 4000, "no image is that of another frame or view"
