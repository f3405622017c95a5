from __future__ import annotations

import os
import pickle
import threading
from multiprocessing import Pipe

import torch

from lploss.errors import DataError, ProcessError
from lploss_builtin.commands.spreading.serving import serve


def test_one_task_after_the_other(tasks, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "9")
    before = torch.get_num_threads()
    ours, theirs = Pipe()
    thread = threading.Thread(target=serve, args=(theirs, before))
    thread.start()
    try:
        assert ours.recv_bytes() == b""
        ours.send_bytes(pickle.dumps(tasks.fail_at_three))
        ours.send_bytes(pickle.dumps(2))
        assert pickle.loads(ours.recv_bytes()) == (2, None)
        ours.send_bytes(pickle.dumps(3))
        result, error = pickle.loads(ours.recv_bytes())
        assert (result, type(error)) == (None, DataError)
        assert os.environ["MKL_NUM_THREADS"] == str(before)
    finally:
        ours.close()
        thread.join(10)
    assert not thread.is_alive()


def end_of(function):
    from lploss_builtin.commands.spreading.calls import call

    return pickle.loads(call(pickle.dumps(function), pickle.dumps(1)))


def test_an_error_that_cannot_travel(tasks):
    result, error = end_of(tasks.raise_what_does_not_travel)
    assert (result, type(error)) == (None, ProcessError)
    assert str(error) == "Unreadable: does not travel"


def test_a_result_that_cannot_travel(tasks):
    result, error = end_of(tasks.return_what_does_not_travel)
    assert result is None
    assert "pickle" in str(error)
