"""Functions that the tests of several processes call in them."""

from __future__ import annotations

import os
import sys
import time
from typing import NamedTuple

import torch
import torch.distributed as dist


class Payload(NamedTuple):
    """Of a class of the tests, so that the processes must find their modules."""

    number: float


def about(payload: Payload) -> dict[str, object]:
    """Return what the process is, and the sum of all payloads."""
    total = torch.tensor([payload.number])
    dist.all_reduce(total)
    return {
        "rank": dist.get_rank(),
        "size": dist.get_world_size(),
        "backend": dist.get_backend(),
        "threads": torch.get_num_threads(),
        "total": total,
        "payload": payload,
        "pid": os.getpid(),
        "kit": "lploss.testing" in sys.modules,
    }


def fail_in_one(fails: bool) -> None:
    if fails:
        raise ValueError("no luck")
    dist.all_reduce(torch.zeros(1))


def die_in_one(dies: bool) -> None:
    if dies:
        print("last words", flush=True)
        os._exit(3)
    dist.all_reduce(torch.zeros(1))


def sleep_in_one(sleeps: bool) -> None:
    if sleeps:
        time.sleep(600)


def return_in_one(returns: bool) -> None:
    if not returns:
        time.sleep(1)
        dist.all_reduce(torch.zeros(1))


def return_a_lambda(payload: None) -> object:
    return lambda: None
