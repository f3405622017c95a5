from __future__ import annotations

import inspect
import pickle

import pytest

import lploss
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


def test_errors_of_arguments_hold_their_names_and_keep_them_when_pickled():
    for error in (
        errors.ArgumentError("a text", argument="sigma"),
        errors.ArgumentValueError("a text", argument="sigma"),
    ):
        assert pickle.loads(pickle.dumps(error)).argument == "sigma"
    missing = errors.MissingArgumentError("a text", arguments=["sigma", "radius"])
    assert pickle.loads(pickle.dumps(missing)).arguments == ("sigma", "radius")
    with pytest.raises(errors.ArgumentError) as caught:
        lploss.create_loss("temporal", epsilonn=1.0)
    assert caught.value.argument == "epsilonn"
    with pytest.raises(errors.ArgumentValueError) as refused:
        lploss.create_loss("temporal", prob_threshold=2.0)
    assert refused.value.argument == "prob_threshold"


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
