from __future__ import annotations

from contextlib import closing

import pytest

from lploss.errors import ArgumentValueError, DataError
from lploss_builtin.spreading import spread


def test_in_this_process_one_after_the_other():
    done = []
    outcomes = spread(lambda number: done.append(number) or number * number, [3, 1, 2])
    assert done == []
    first = next(outcomes)
    assert (first.number, first.result, first.error) == (0, 9, None)
    assert done == [3]
    assert [outcome.result for outcome in outcomes] == [1, 4]


def test_an_error_ends_its_own_task_only(tasks):
    outcomes = list(spread(tasks.fail_at_three, [1, 3, 5]))
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert [outcomes[0].result, outcomes[2].result] == [1, 5]
    with pytest.raises(DataError, match=r"^three\.csv: has no frames$"):
        _ = outcomes[1].result


def test_what_is_told_on_the_way(tasks):
    told = []
    list(spread(tasks.fail_at_three, [1, 3], progress=told.append))
    assert [(one.number, one.error is None) for one in told] == [(0, True), (1, False)]


def test_an_interrupt_is_no_outcome():
    def interrupted(number):
        raise KeyboardInterrupt

    with closing(spread(interrupted, [1])) as outcomes, pytest.raises(KeyboardInterrupt):
        next(outcomes)


def test_nothing_to_do():
    assert list(spread(abs, [], processes=3)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"processes": 0}, "processes must be at least 1, got 0"),
        (
            {"processes": 2, "scheduler": "tcp://host:1"},
            "give either the number of processes, here 2, or the scheduler of a cluster, here "
            "tcp://host:1, not both",
        ),
    ],
)
def test_what_cannot_be_asked_for(options, message):
    with pytest.raises(ArgumentValueError) as raised:
        spread(abs, [1, 2], **options)
    assert str(raised.value) == message


def test_what_cannot_be_sent():
    with pytest.raises(ArgumentValueError) as raised:
        spread(lambda number: number, [1, 2], processes=2)
    message = str(raised.value)
    assert message.startswith("the function cannot be sent to another process: ")
    assert message.endswith("Use one process, or define it by name in a module.")
    with pytest.raises(ArgumentValueError, match=r"^task 2 of 2 cannot be sent to another process"):
        spread(abs, [1, lambda: 2], processes=2)
