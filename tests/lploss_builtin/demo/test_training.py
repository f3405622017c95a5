"""The training demo: its folder, and the demo as a whole, as small as it gets."""

from __future__ import annotations

import csv
import json
import re
import shlex
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from lploss.errors import ArgumentValueError
from lploss_builtin.commands.demo import demo
from lploss_builtin.commands.predict import predict
from lploss_builtin.demo.settings import DemoSettings
from lploss_builtin.demo.training import NUM_STAGES, Stages, make_training_demo, prepare_folder
from lploss_builtin.training.run import TrainingRun


def test_an_earlier_demo_gives_way_and_nothing_else(tmp_path):
    out = tmp_path / "some" / "demo"
    prepare_folder(out, DemoSettings(seed=1))
    (out / "run").mkdir()
    (out / "run" / "metrics.csv").touch()
    (out / "notes.txt").write_text("mine")
    prepare_folder(out, DemoSettings(seed=2))
    assert sorted(path.name for path in out.iterdir()) == ["demo.json", "notes.txt"]
    assert json.loads((out / "demo.json").read_text())["seed"] == 2


@pytest.mark.parametrize("name", ["project", "run"])
def test_what_no_demo_has_made_stays(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "data").touch()
    with pytest.raises(ArgumentValueError) as raised:
        prepare_folder(tmp_path, DemoSettings())
    assert str(raised.value) == (
        f"{tmp_path / name} is in the way, and no earlier demo has made it. Name another folder "
        "by --out."
    )
    assert (tmp_path / name / "data").exists()


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    prepare_folder(tmp_path / "out", DemoSettings())
    (tmp_path / "out" / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArgumentValueError, match="is in the way"):
        prepare_folder(tmp_path / "out", DemoSettings())
    assert (tmp_path / "elsewhere").is_dir()


def test_a_file_is_no_folder(tmp_path):
    path = tmp_path / "out"
    path.touch()
    with pytest.raises(ArgumentValueError) as raised:
        prepare_folder(path, DemoSettings())
    assert str(raised.value) == f"the output folder {path} is a file; name a folder"
    with pytest.raises(ArgumentValueError, match="cannot be made or written to: Not a directory"):
        prepare_folder(path / "in", DemoSettings())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder, the report, and what was said on the way."""
    out = tmp_path_factory.mktemp("demo") / "out"
    said = Console(file=StringIO(), width=100)
    settings = DemoSettings(num_frames=12, num_epochs=1, seed=4)
    report = make_training_demo(out, settings, Stages(said, NUM_STAGES))
    return out, report, said.file.getvalue()


def test_all_is_left(made):
    out, _, _ = made
    assert sorted(path.name for path in out.iterdir()) == [
        "demo.json",
        "errors.csv",
        "errors_3d.csv",
        "index.html",
        "loss_curves.png",
        "pose_3d.png",
        "project",
        "run",
        "schedules.png",
        "views.png",
    ]
    for path in out.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 500
            assert np.asarray(image.convert("L")).std() > 5
    assert len(list((out / "run" / "predictions").glob("*.csv"))) == 5


def test_one_line_a_stage_where_there_is_no_terminal(made):
    _, report, said = made
    assert said.splitlines() == [
        "1/4 making 15 frames of an animal that four cameras film",
        "2/4 training a multi-view transformer, 1 epoch",
        "3/4 predicting 3 frames of a walk that was held out",
        "4/4 measuring and drawing",
    ]
    assert list(report.seconds) == ["make", "train", "predict", "draw"]


def test_the_network_that_is_measured_is_the_one_that_was_trained(made):
    out, report, _ = made
    state = torch.load(out / "run" / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert report.num_parameters == sum(
        values.numel() for name, values in state.items() if name.startswith("model.")
    )
    assert set(report.predictors) == {"mean_pose", "untrained", "trained", "joined"}
    assert report.predictors["untrained"].all != report.network.all
    assert list(report.cameras) == ["", "left", "right", "top", "front"]
    weight = 1 / (2 * np.exp(3.0))
    assert report.losses == pytest.approx(
        {"heatmap_kl": 0.5, "supervised_reprojection_heatmap_mse": weight}
    )


def test_errors_are_those_of_the_files_of_predictions(made):
    """What `lploss predict` has written, against the labels, with nothing of the demo between."""
    out, report, _ = made

    def read(path, coords):
        rows = path.read_text().splitlines()[3:]
        return np.genfromtxt(rows, delimiter=",")[:, 1:].reshape(3, 12, coords)

    distances, visible = [], []
    for view in report.view_names:
        name = f"CollectedData_{view}_new.csv"
        labels = read(out / "project" / name, 3)
        found = read(out / "run" / "predictions" / name, 3)
        distances.append(np.linalg.norm(found[..., :2] - labels[..., :2], axis=-1))
        visible.append(labels[..., 2])
    distances, visible = np.stack(distances), np.stack(visible)
    network = report.network
    assert network.all.mean == pytest.approx(np.nanmean(distances), abs=1e-3)
    assert network.visible.mean == pytest.approx(distances[visible == 2].mean(), abs=1e-3)
    assert network.occluded.median == pytest.approx(np.median(distances[visible == 1]), abs=1e-3)
    with (out / "errors.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["predictor"] == "trained network"]
    mean = {(row["view"], row["keypoint"], row["visibility"]): row["mean_px"] for row in rows}
    hip = distances[2, :, 4]
    assert float(mean["top", "hip", "all"]) == pytest.approx(np.nanmean(hip), abs=1e-3)


class Page(HTMLParser):
    """What a page holds; tags that do not match are an error."""

    EMPTY = ("meta", "img", "!doctype")

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.images, self.text = [], [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "img":
            assert values["alt"]
            self.images.append(values["src"])
        if tag == "a":
            self.links.append(values["href"])
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_holds_all_and_fetches_nothing(made):
    out, report, _ = made
    text = (out / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.images) == 4
    assert all(source.startswith("data:image/png;base64,") for source in page.images)
    assert all((out / link).exists() for link in page.links)
    without_pictures = re.sub(r"base64,[^\"]*", "", text)
    assert "http" not in without_pictures
    assert "<script" not in without_pictures
    for errors in report.predictors.values():
        assert f"{errors.visible.mean:.1f}" in page.text
        assert f"{errors.in_space.median:.1f}" in page.text
    for command in report.commands.values():
        assert command in page.text


def test_the_commands_that_are_named_are_there(made):
    """Those that take long are only looked up; to predict without a camera is run."""
    _, report, _ = made
    commands = [shlex.split(command) for command in report.commands.values()]
    assert [words[:2] for words in commands] == [
        ["lploss", "demo"],
        ["lploss", "train"],
        ["lploss", "predict"],
        ["lploss", "score"],
    ]
    app = typer.Typer()
    app.command()(predict)
    result = CliRunner().invoke(app, commands[2][2:], catch_exceptions=False)
    assert result.exit_code == 0
    assert "left, right," in result.stdout
    for word in commands[3]:
        if word.endswith((".csv", ".toml")):
            assert report.folder.joinpath(word).is_file()


def test_the_tables_fit_a_terminal(made):
    _, report, _ = made
    console = Console(file=StringIO(), width=80)
    for part in report.renderables():
        console.print(part)
    said = console.file.getvalue()
    assert "…" not in said
    assert f"{report.network.all.mean:.1f} ({report.network.all.median:.1f})" in said
    assert "without front" in said


def test_the_command_hands_on_what_it_is_given(monkeypatch, made, tmp_path):
    _, report, _ = made
    given = []

    def stand_in(out, settings, stages):
        given.append((out, settings))
        return report

    monkeypatch.setattr("lploss_builtin.demo.training.make_training_demo", stand_in)
    app = typer.Typer()
    app.command()(demo)
    runner = CliRunner()
    arguments = ["train", "--out", str(tmp_path), "--frames", "20", "--epochs", "2", "--seed", "5"]
    assert runner.invoke(app, arguments, catch_exceptions=False).exit_code == 0
    assert "index.html" in runner.invoke(app, [], catch_exceptions=False).stdout
    (first, settings), (default, usual) = given
    assert (first, settings) == (tmp_path, DemoSettings(num_frames=20, num_epochs=2, seed=5))
    assert (str(default), usual) == ("lploss-demo", DemoSettings())


def test_untrained_is_before_the_first_step(made, monkeypatch):
    """A training whose learning rate is 0 leaves the network as the demo says it was."""
    from lploss import load_config
    from lploss_builtin.demo.training import _untrained
    from lploss_builtin.training.run import train

    out, _, _ = made
    config = load_config(
        out / "project" / "config.yaml",
        ["training.optimizer_params.learning_rate=0.0", "training.limit_train_batches=1"],
    )
    still = train(config, out.parent / "still").model("last")
    found = _untrained(TrainingRun(out / "run"), 4)
    for name, values in still.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], values, rtol=0, atol=0)
