from __future__ import annotations

import pytest

from lploss.errors import DataError
from lploss_builtin.training.history import join, set_aside

OLD = "epoch,step,train_loss\n0,0,9.0\n0,1,8.5\n1,2,8.0\n1,3,7.5\n"


@pytest.fixture
def metrics(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(OLD)
    return path


def files(metrics):
    return sorted(path.name for path in metrics.parent.iterdir())


def lines(metrics):
    return metrics.read_text().splitlines()


def test_what_is_done_again_is_written_once(metrics):
    set_aside(metrics, num_steps=2)
    assert not metrics.exists()
    metrics.write_text("epoch,step,train_loss\n1,2,8.01\n1,3,7.51\n")
    join(metrics)
    assert lines(metrics) == ["epoch,step,train_loss", "0,0,9.0", "0,1,8.5", "1,2,8.01", "1,3,7.51"]
    assert files(metrics) == ["metrics.csv"]


def test_columns_that_came_or_went_are_empty_elsewhere(metrics):
    set_aside(metrics, num_steps=1)
    metrics.write_text("step,epoch,val_loss\n1,0,4.0\n")
    join(metrics)
    assert lines(metrics) == ["epoch,step,train_loss,val_loss", "0,0,9.0,", "0,1,,4.0"]


def test_a_row_without_a_step_is_one_of_the_start(metrics):
    metrics.write_text("step,train_loss\n,9.0\n5,1.0\n")
    set_aside(metrics, num_steps=1)
    join(metrics)
    assert lines(metrics) == ["step,train_loss", ",9.0"]


def test_a_training_that_was_killed_before_it_logged_loses_nothing(metrics):
    set_aside(metrics, num_steps=4)
    set_aside(metrics, num_steps=4)
    assert not metrics.exists()
    join(metrics)
    assert metrics.read_text().splitlines() == OLD.splitlines()


def test_a_training_that_was_killed_before_it_joined_loses_nothing(metrics):
    set_aside(metrics, num_steps=2)
    metrics.write_text("epoch,step,train_loss\n1,2,8.01\n1,3,7.51\n")
    set_aside(metrics, num_steps=3)
    metrics.write_text("epoch,step,train_loss\n1,3,7.52\n")
    join(metrics)
    assert lines(metrics) == ["epoch,step,train_loss", "0,0,9.0", "0,1,8.5", "1,2,8.01", "1,3,7.52"]


def test_where_nothing_was_set_aside_nothing_changes(metrics):
    join(metrics)
    assert metrics.read_text() == OLD
    assert files(metrics) == ["metrics.csv"]


def test_where_nothing_was_logged_there_is_nothing(tmp_path):
    metrics = tmp_path / "metrics.csv"
    set_aside(metrics, num_steps=3)
    join(metrics)
    assert files(metrics) == []


def test_a_training_that_was_killed_while_it_joined_has_each_row_once(metrics):
    set_aside(metrics, num_steps=2)
    before = (metrics.parent / "metrics_before.csv").read_bytes()
    metrics.write_text("epoch,step,val_loss\n1,2,8.01\n")
    join(metrics)
    joined = lines(metrics)
    (metrics.parent / "metrics_before.csv").write_bytes(before)
    join(metrics)
    assert lines(metrics) == joined
    assert len(joined) == 4
    assert files(metrics) == ["metrics.csv"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("epoch,step\n0,one\n", "ValueError: invalid literal for int"),
        ("epoch\n0\n", "KeyError: 'step'"),
        ("epoch,step\n0\n", "a row has another number of cells than the first"),
        ("epoch,step\n0,\xff\n", "UnicodeDecodeError"),
    ],
)
def test_damaged_metrics_are_named(tmp_path, text, why):
    metrics = tmp_path / "metrics.csv"
    metrics.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=why) as caught:
        set_aside(metrics, 10)
    assert str(caught.value).startswith(
        f"{metrics}, the metrics of the training so far, is damaged"
    )
    assert str(caught.value).endswith("Move it away to resume without them.")
    assert metrics.read_bytes() == text.encode("latin-1")


def test_a_row_that_was_written_half_is_left_out(tmp_path):
    metrics = tmp_path / "metrics.csv"
    metrics.write_text("epoch,step,loss\n0,0,1.5\n0,1")
    set_aside(metrics, 10)
    join(metrics)
    assert metrics.read_bytes() == b"epoch,step,loss\r\n0,0,1.5\r\n"
