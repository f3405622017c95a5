"""Dask clusters on this machine, for tests."""

from __future__ import annotations

import logging
from contextlib import contextmanager

import pytest


@contextmanager
def new_cluster(num_workers):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=num_workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    ) as cluster:
        yield cluster
