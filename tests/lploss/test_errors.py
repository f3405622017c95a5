from __future__ import annotations

import inspect
import pickle

import pytest

from lploss import errors
from lploss.errors import LplossError, did_you_mean, first_line

BUILT_IN = {
    "AmbiguousNameError": LookupError,
    "ArgumentError": TypeError,
    "ArgumentValueError": ValueError,
    "ConfigError": ValueError,
    "DataError": ValueError,
    "FitError": ValueError,
    "FolderInUseError": RuntimeError,
    "InputTypeError": TypeError,
    "LossDefinitionError": TypeError,
    "LplossError": Exception,
    "MissingArgumentError": ValueError,
    "MissingDependencyError": ImportError,
    "MissingWeightsError": OSError,
    "TrainingError": RuntimeError,
    "MissingInputError": KeyError,
    "NotFittedError": RuntimeError,
    "PluginError": ImportError,
    "ProcessError": RuntimeError,
    "ShapeError": ValueError,
    "SpecError": ValueError,
    "UnknownInputError": KeyError,
    "UnknownLossError": KeyError,
    "UnknownModelError": KeyError,
    "UnknownNameError": KeyError,
}

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, Exception) and not issubclass(value, Warning)
]


def test_each_error_is_also_the_built_in_that_fits():
    assert {cls.__name__ for cls in CLASSES} == set(BUILT_IN)
    for cls in CLASSES:
        assert issubclass(cls, LplossError)
        assert issubclass(cls, BUILT_IN[cls.__name__])


@pytest.mark.parametrize("cls", CLASSES)
def test_a_message_is_shown_as_it_was_written(cls):
    assert str(cls("first line\n  'second' line")) == "first line\n  'second' line"


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_survives_pickling(cls):
    error = pickle.loads(pickle.dumps(cls("a text")))
    assert type(error) is cls
    assert str(error) == "a text"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("temproal", " Did you mean 'temporal'?"),
        ("pca_view", " Did you mean 'pca_multiview' or 'pca_singleview'?"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_close_matches_are_offered_best_first(name, expected):
    assert did_you_mean(name, ["temporal", "pca_singleview", "pca_multiview", "rmse"]) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("one\ntwo"), "ValueError: one"),
        (ValueError("\n  one\ntwo"), "ValueError: one"),
        (ValueError(), "ValueError"),
        (KeyError("k"), "KeyError: 'k'"),
    ],
)
def test_an_error_is_told_in_one_line(error, expected):
    assert first_line(error) == expected
