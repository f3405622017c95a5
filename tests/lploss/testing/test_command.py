"""``lploss check``, in this process."""

from __future__ import annotations

import json
import textwrap

import pytest
from typer.testing import CliRunner, Result

from lploss import UnknownLossError, cli
from lploss.errors import ArgumentError
from lploss.registry import default_registry
from lploss.testing.command import check_losses, names_and_arguments, names_to_check

QUICK = ("--only", "check_logs", "--only", "check_weight_once", "--examples", "2")


def check(*args: str) -> Result:
    return CliRunner().invoke(cli.app, ["check", *args])


def test_one_loss_has_a_table_of_its_checks():
    done = check("rmse", *QUICK)
    assert done.exit_code == 0
    assert "check_weight_once" in done.stdout
    assert "2 passed" in done.stdout


def test_several_losses_have_a_line_each():
    done = check("rmse", "temporal", *QUICK)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines if line] == ["lploss/rmse", "lploss/temporal"]


def test_as_json(site, monkeypatch):
    site.install_loss("acme", "distance")
    monkeypatch.setattr(cli, "default_registry", site.registry())
    done = check("distance", *QUICK, "--json")
    (report,) = json.loads(done.stdout)
    assert report["loss"] == "acme/distance"
    assert done.exit_code == (0 if report["ok"] else 1)


def test_a_loss_that_cannot_be_built_fails_and_the_others_are_checked(site, monkeypatch):
    raising = """
    from lploss import Loss

    class Distance(Loss):
        loss_name, kind = "broken", "unsupervised"

        def __init__(self, *, bones):
            super().__init__()

        def compute_loss(self, keypoints_pred):
            return keypoints_pred.abs()
    """
    site.install_loss("acme", "broken", target=raising)
    site.install_loss("good", "distance")
    monkeypatch.setattr(cli, "default_registry", site.registry())
    done = check(*QUICK)
    assert done.exit_code == 1
    assert "acme/broken: cannot be checked:" in done.stdout
    assert "good/distance" in done.stdout
    done = check("broken", *QUICK, "--json")
    assert done.exit_code == 1
    (report,) = json.loads(done.stdout)
    assert (report["loss"], report["ok"]) == ("acme/broken", False)


def test_all_losses_of_a_distribution_are_asked_for_by_its_name():
    everything = names_to_check((), None, default_registry)
    assert names_to_check((), "lploss", default_registry) == everything
    assert len(everything) == 13
    with pytest.raises(UnknownLossError) as caught:
        names_to_check((), "acme", default_registry)
    assert str(caught.value) == "the distribution 'acme' has no loss. These have: lploss."
    assert names_to_check(["rmse", "rmse"], "lploss", default_registry) == ["lploss/rmse"]


def test_arguments_are_read_as_a_config_reads_them():
    given = ["temporal", "epsilon=20", "prob_threshold=5e-1", "names=[on, 001]", "method=null"]
    assert names_and_arguments(given) == (
        ["temporal"],
        {"epsilon": 20, "prob_threshold": 0.5, "names": ["on", "001"], "method": None},
    )
    assert names_and_arguments(["temporal", "a=x=y"])[1] == {"a": "x=y"}
    for wrong in (["epsilon=20"], ["temporal", "rmse", "epsilon=20"]):
        with pytest.raises(ArgumentError, match=r"arguments \(epsilon\) go with the name of one"):
            names_and_arguments(wrong)
    with pytest.raises(ArgumentError, match=r"'names=\[nose' cannot be read as key=value"):
        names_and_arguments(["temporal", "names=[nose"])


def test_a_loss_is_checked_with_the_arguments_that_are_given():
    done = check("temporal", "prob_threshold=5e-1", *QUICK)
    assert (done.exit_code, "2 passed" in done.stdout) == (0, True)


def test_words_are_truth_values_where_the_loss_says_so(site):
    source = """
        from jaxtyping import Float
        from torch import Tensor

        from lploss import Loss

        class Strict(Loss):
            loss_name, kind = "strict", "unsupervised"

            def __init__(self, *, exact: bool = False, epsilon=0.0, log_weight=0.0):
                super().__init__(epsilon=epsilon, log_weight=log_weight)
                assert exact is True

            def compute_loss(self, keypoints_pred: Float[Tensor, "batch num_keypoints"]):
                return keypoints_pred.abs()
    """
    site.install_losses("acme", {"strict": "Strict"}, textwrap.dedent(source))
    options = {"num_examples": 1, "seed": 0, "only": ["check_logs"]}
    (report,) = check_losses(
        ["strict"], arguments={"exact": "yes"}, registry=site.registry(strict=True), **options
    )
    assert report.ok


@pytest.mark.parametrize("argument", ["prob_treshold=0.5", "prob_threshold=2", "epsilon=???"])
def test_arguments_that_the_loss_refuses_are_wrong_usage(argument, capsys):
    done = check("temporal", argument, *QUICK)
    assert done.exit_code == 2
    assert argument.partition("=")[0] in done.output
