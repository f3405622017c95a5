from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch

from lploss import load_config
from lploss.errors import ConfigError, DataError
from lploss_builtin.data.project.labelled_project import read_project
from lploss_builtin.data.project.split import split
from lploss_builtin.training.data_module import LabelledDataModule
from lploss_builtin.training.defaults import with_defaults
from tests.lploss_builtin.data.small_projects import write_project

TRAINING = {
    "train_batch_size": 5,
    "val_batch_size": 3,
    "train_prob": 0.75,
    "val_prob": 0.25,
    "num_workers": 0,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """16 frames of two views."""
    folder = tmp_path_factory.mktemp("project")
    return read_project(write_project(folder, frames=8), folder=folder)


def made(project, **training):
    sections = {
        "data": {"image_resize_dims": {"height": 24, "width": 32}},
        "training": {**TRAINING, **training},
    }
    return LabelledDataModule(project, with_defaults(load_config(sections)))


def trainer(epoch=0, rank=0, world_size=1, num_batches=0):
    """What a trainer says of itself that has done some epochs, and batches of the next one."""
    epochs = SimpleNamespace(current=SimpleNamespace(processed=epoch))
    batches = SimpleNamespace(current=SimpleNamespace(ready=num_batches))
    return SimpleNamespace(
        world_size=world_size,
        global_rank=rank,
        fit_loop=SimpleNamespace(
            epoch_progress=epochs, epoch_loop=SimpleNamespace(batch_progress=batches)
        ),
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )


def order(project, training=None, **of_trainer):
    """Return the numbers of the frames, as they come."""
    data_module = made(project, **(training or {}))
    data_module.trainer = trainer(**of_trainer)
    return [
        number for batch in data_module.train_dataloader() for number in batch["index"].tolist()
    ]


def test_the_parts_are_those_of_the_split(project):
    data_module = made(project, rng_seed_data_pt=3, train_frames=7)
    expected = split(16, 0.75, 0.25, train_frames=7, seed=3)
    assert data_module.parts == expected
    assert (len(expected.train), len(expected.val)) == (7, 4)
    assert [element["index"].item() for element in data_module.train_dataset] == [*expected.train]
    assert len(data_module.dataset) == 16


def test_batches_to_train_with(project):
    data_module = made(project)
    batches = list(data_module.train_dataloader())
    assert [len(batch["index"]) for batch in batches] == [5, 5, 2]
    assert batches[0]["images"].shape == (5, 2, 3, 24, 32)
    numbers = torch.cat([batch["index"] for batch in batches]).tolist()
    assert sorted(numbers) == sorted(data_module.parts.train)


def test_batches_to_validate_with_keep_their_order(project):
    data_module = made(project)
    for epoch in (0, 1):
        data_module.trainer = trainer(epoch)
        batches = [batch["index"].tolist() for batch in data_module.val_dataloader()]
        a, b, c, d = data_module.parts.val
        assert batches == [[a, b, c], [d]]


def test_the_order_hangs_on_seed_and_epoch_alone(project):
    first = order(project)
    torch.manual_seed(8)
    assert order(project) == first
    assert order(project, epoch=1) != first
    assert sorted(order(project, epoch=1)) == sorted(first)
    assert order(project, epoch=1) == order(project, epoch=1)
    seeded = order(project, {"rng_seed_data_pt": 1})
    parts = made(project, rng_seed_data_pt=1).parts
    places = [parts.train.index(number) for number in seeded]
    assert places != [made(project).parts.train.index(number) for number in first]


def test_an_epoch_that_was_stopped_goes_on_with_its_next_batch(project):
    whole = order(project, epoch=1)
    assert order(project, epoch=1, num_batches=2) == whole[10:]
    data_module = made(project)
    data_module.trainer = trainer(epoch=1, num_batches=2)
    loader = data_module.train_dataloader()
    assert len(list(loader.sampler)) == 2
    loader.sampler.set_epoch(2)
    assert len(list(loader.sampler)) == 12, "the epoch after that is a whole one"
    assert len(list(data_module.val_dataloader().sampler)) == 4


def test_processes_share_the_frames(project):
    alone = order(project, epoch=2)
    both = [order(project, epoch=2, rank=rank, world_size=2) for rank in (0, 1)]
    assert [len(numbers) for numbers in both] == [6, 6]
    # They take turns, so that together they make the batches that one makes.
    assert [number for pair in zip(*both, strict=True) for number in pair] == alone


@pytest.mark.parametrize(
    ("batch_size", "accumulated", "steps"),
    [(5, 1, 3), (5, 2, 2), (4, 1, 3), (4, 3, 1), (6, 1, 2), (100, 1, 1), (100, 7, 1), (1, 1, 12)],
)
def test_steps_of_an_epoch(project, batch_size, accumulated, steps):
    settings = {"train_batch_size": batch_size, "accumulate_grad_batches": accumulated}
    assert made(project, **settings).steps_per_epoch == steps


def test_what_lies_in_memory_needs_no_processes(project):
    data_module = made(project, num_workers=2)
    assert data_module.train_dataloader().num_workers == 2
    assert data_module.val_dataloader().persistent_workers
    seen = []
    data_module.load(lambda num_done, num: seen.append((num_done, num)))
    assert seen[-1] == (16, 16)
    for loader in (data_module.train_dataloader(), data_module.val_dataloader()):
        assert loader.num_workers == 0
        assert not loader.pin_memory


def damaged(tmp_path, **training):
    """Return a data module of which frames 1 and 3 cannot be read."""
    project = read_project(write_project(tmp_path, frames=2), folder=tmp_path)
    for frame, view in ((1, 0), (3, 1)):
        project.images[frame][view].write_bytes(b"nothing")
    return made(project, train_prob=0.5, val_prob=0.5, **training)


def batch_of(*frames, is_readable=True):
    return {"index": torch.tensor(frames), "is_readable": torch.full((len(frames),), is_readable)}


def test_frames_that_cannot_be_read_are_named_once(tmp_path, caplog):
    data_module = damaged(tmp_path)
    with caplog.at_level(logging.WARNING, "lploss_builtin"):
        batch = data_module.on_before_batch_transfer(batch_of(1, 3, is_readable=False), 0)
        data_module.on_before_batch_transfer(batch_of(3, is_readable=False), 0)
        data_module.on_before_batch_transfer(batch_of(0, 2), 0)
    assert list(batch) == ["index"]
    first, second = data_module.unreadable
    assert first.startswith("frame mo/img01.png: the image ")
    assert second.startswith("frame tu/img01.png: the image ")
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [f"left out: {first}", f"left out: {second}"]


def test_a_frame_that_could_not_be_read_for_a_moment(tmp_path):
    data_module = damaged(tmp_path)
    data_module.on_before_batch_transfer(batch_of(0, is_readable=False), 0)
    assert data_module.unreadable == ("is readable again",)


def test_more_frames_than_may_be_left_out(tmp_path):
    data_module = damaged(tmp_path, max_unreadable_frames=1)
    data_module.on_before_batch_transfer(batch_of(3, is_readable=False), 0)
    with pytest.raises(DataError) as raised:
        data_module.on_before_batch_transfer(batch_of(3, 1, is_readable=False), 0)
    problems = "\n".join(f"- {problem}" for problem in data_module.unreadable)
    assert str(raised.value) == (
        "2 frames cannot be read, and at most 1 may be left out "
        f"(training.max_unreadable_frames):\n{problems}"
    )


def test_shares_that_are_none(project):
    with pytest.raises(ConfigError) as raised:
        made(project, train_prob=0.9, val_prob=0.3)
    assert str(raised.value) == (
        "training.val_prob must be a share above 0 that leaves, with training.train_prob, at most "
        "the whole, got 0.3 beside 0.9"
    )


def test_too_few_frames(tmp_path):
    config = write_project(tmp_path, sessions=("mo",), frames=1)
    with pytest.raises(DataError) as raised:
        made(read_project(config, folder=tmp_path))
    assert str(raised.value) == (
        "there must be at least 2 labelled frames, one to train on and one to validate with, got 1"
    )
