from __future__ import annotations

import importlib
import sys

import pytest
from beartype.roar import BeartypeCallHintViolation

from lploss import typecheck
from lploss.errors import MissingDependencyError


@typecheck.check
def half(number: float) -> float:
    return number / 2


def test_an_int_may_stand_where_a_float_is_annotated():
    assert half(3) == half(3.0) == 1.5
    with pytest.raises(BeartypeCallHintViolation):
        half("3")


def test_the_extra_with_the_checker_is_named_where_it_is_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "beartype", None)
    with pytest.raises(MissingDependencyError) as caught:
        importlib.reload(typecheck)
    assert str(caught.value) == 'LPLOSS_TYPECHECK=1 needs beartype: pip install "lploss[testing]"'
