"""What the conformance kit finds in Lightning Pose's losses, and what the page says of it."""

from __future__ import annotations

import copy
import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from benchmarks.peer_losses import LOSSES, wrapped
from lploss.testing import check_loss

PAGE = Path(__file__).parents[2] / "docs" / "peer_losses.md"

_MAPS = ("heatmap_mse", "heatmap_kl", "heatmap_js")
_STEPS = ("temporal_heatmap_mse", "temporal_heatmap_kl")
_PCA = ("pca_singleview", "pca_multiview")
_PAIRS = "supervised_pairwise_projections"
_REPROJECTED = "supervised_reprojection_heatmap_mse"


class Finding(NamedTuple):
    """Something that happens, and the checks that fail for it; a row of the page."""

    losses: tuple[str, ...]
    what: str
    checks: tuple[str, ...]

    @property
    def row(self) -> str:
        losses, checks = (", ".join(f"`{n}`" for n in ns) for ns in (self.losses, self.checks))
        return f"| {'all' if self.losses == LOSSES else losses} | {self.what} | {checks} |"


FINDINGS = (
    # What is computed.
    Finding(
        _MAPS,
        "No keypoint of the batch is labelled: the loss is NaN, the mean of nothing.",
        (
            "check_scalar",
            "check_zero_at_target",
            "check_gradients_finite",
            "check_nothing_valid",
        ),
    ),
    Finding(
        ("regression",),
        "No keypoint of the batch is labelled, or the batch is empty: the loss is NaN.",
        (
            "check_scalar",
            "check_zero_at_target",
            "check_gradients_finite",
            "check_nothing_valid",
            "check_empty_batch",
        ),
    ),
    Finding(
        ("rmse",),
        "No keypoint of the batch is labelled, or the batch is empty: the loss is NaN.",
        (
            "check_scalar",
            "check_gradients_finite",
            "check_nothing_valid",
            "check_empty_batch",
            "check_split_batch",
        ),
    ),
    Finding(
        ("rmse",),
        "The prediction is perfect: the loss is 0, every gradient NaN, from the root at 0.",
        ("check_zero_at_target", "check_autocast"),
    ),
    Finding(
        (*_MAPS, "regression", "rmse", _PAIRS, _REPROJECTED),
        "`epsilon` is accepted and not used.",
        ("check_epsilon",),
    ),
    Finding(
        (_REPROJECTED,),
        "The same error on twice as many maps: the loss is twice as large.",
        ("check_duplicated_keypoints",),
    ),
    Finding(
        ("temporal",),
        "A prediction of NaN: the loss is NaN, and so are gradients.",
        (
            "check_scalar",
            "check_gradients_finite",
            "check_nothing_valid",
            "check_epsilon",
            "check_two_processes",
        ),
    ),
    Finding(
        (*_STEPS, *_PCA),
        "A prediction of NaN: the loss is NaN, and so are gradients.",
        ("check_gradients_finite", "check_nothing_valid", "check_epsilon", "check_two_processes"),
    ),
    Finding(
        _STEPS,
        "A clip of one frame: the loss is NaN, without a gradient.",
        ("check_one_frame",),
    ),
    Finding(
        _PCA,
        "The batch is empty: the loss is NaN.",
        ("check_empty_batch",),
    ),
    Finding(
        (_REPROJECTED,),
        "A point that could not be reprojected costs its whole target map, without a gradient.",
        ("check_nothing_valid", "check_missing_does_not_dilute"),
    ),
    Finding(
        (_REPROJECTED,),
        "Of a point, only y is NaN: the loss is NaN. Only x: a gradient is.",
        ("check_gradients_finite",),
    ),
    Finding(
        ("temporal", *_STEPS),
        "All predictions are NaN, and none is believed: the loss is 0, and a network that diverged "
        "goes unnoticed.",
        ("check_nan_predictions",),
    ),
    Finding(
        ("temporal", *_STEPS),
        "A huge prediction that is not believed: the loss is finite, its gradient NaN.",
        ("check_huge_numbers",),
    ),
    Finding(
        ("heatmap_kl", "temporal_heatmap_kl"),
        "Maps of float16: gradients, or the loss itself, are not finite.",
        ("check_autocast",),
    ),
    # What stops.
    Finding(
        ("rmse",),
        "One coordinate of a keypoint is missing: a crash in `reshape`.",
        (
            "check_elementwise_agrees",
            "check_deterministic",
            "check_inputs_untouched",
            "check_global_state_untouched",
            "check_weight_once",
            "check_duplicated_batch",
            "check_batch_order",
            "check_keypoint_order",
            "check_huge_numbers",
        ),
    ),
    Finding(
        ("temporal",),
        "A clip of one frame, or of none: a crash in `reshape`.",
        ("check_one_frame", "check_empty_batch"),
    ),
    Finding(
        (*_MAPS, *_STEPS, _REPROJECTED),
        "The batch is empty: a crash in `reshape`, or in `zeros`.",
        ("check_empty_batch",),
    ),
    # What goes with it.
    Finding(
        _PCA,
        "What was fitted stays on the device named at construction, and in float32; another "
        "device is refused by an assertion, float64 by torch.",
        (
            "check_buffers",
            "check_no_synchronisation",
            "check_scalar",
            "check_gradcheck",
            "check_float32",
        ),
    ),
    Finding(
        _STEPS,
        "The result is written, frame by frame, into a tensor of float32 made before: of float64 "
        "predictions too the loss is float32.",
        ("check_scalar",),
    ),
    Finding(
        ("temporal_heatmap_kl",),
        "For this reason, finite differences in float64 say nothing of the gradient.",
        ("check_gradcheck",),
    ),
    Finding(
        (_REPROJECTED,),
        "Predictions of float64: a crash, where zeros of float32 are written into the maps.",
        ("check_scalar", "check_gradcheck", "check_float32"),
    ),
    Finding(
        (_REPROJECTED,),
        "Maps of bfloat16 or float16: the same crash.",
        ("check_autocast",),
    ),
    Finding(
        ("temporal", *_STEPS),
        "`prob_threshold` is a plain tensor: it stays where it is, and in no checkpoint.",
        ("check_buffers",),
    ),
    Finding(
        (*_MAPS, "regression", "rmse", _PAIRS, _REPROJECTED),
        "What does not count is taken out by boolean indexing: the host waits for the GPU, and "
        "`torch.compile(fullgraph=True)` stops.",
        ("check_no_synchronisation", "check_compile"),
    ),
    Finding(
        LOSSES,
        "The logged value is not detached, and without a stage its name begins with `None_`.",
        ("check_logs",),
    ),
)


def expected_failures(loss: str) -> dict[str, str]:
    reasons: dict[str, list[str]] = {}
    for finding in FINDINGS:
        if loss in finding.losses:
            for check in finding.checks:
                reasons.setdefault(check, []).append(finding.what.rstrip("."))
    return {check: "; ".join(found) for check, found in reasons.items()}


@pytest.fixture
def quiet() -> Iterator[None]:
    """The peer tells of each fit."""
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.compiles
@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("loss", LOSSES)
def test_the_kit_finds_in_a_loss_of_the_peer_what_is_known_of_it_and_nothing_else(
    loss: str,
) -> None:
    report = check_loss(
        wrapped(loss), shrink=False, expected_failures=expected_failures(loss), minimum=24
    )
    assert report.ok, str(report)


@pytest.mark.peer
@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("loss", "check", "message"),
    [
        *[
            (loss, "check_nothing_valid", "where all of heatmaps_targ is missing, .* it is nan")
            for loss in _MAPS
        ],
        ("regression", "check_nothing_valid", "where all of keypoints_targ is missing, .* is nan"),
        ("rmse", "check_zero_at_target", r"the gradient for \w+ must be finite, it is .*nan"),
        ("rmse", "check_inputs_untouched", r"it raised RuntimeError: shape '\[-1, 2\]' is invalid"),
        ("temporal", "check_one_frame", "it raised RuntimeError: cannot reshape tensor of 0"),
        ("regression", "check_epsilon", "an epsilon of .* must take it off"),
        *[
            (loss, "check_scalar", "of torch.float64 inputs must be .*, it is torch.float32")
            for loss in _STEPS
        ],
        (_REPROJECTED, "check_duplicated_keypoints", "the mean over 3 keypoints is .* copies"),
        *[(loss, "check_buffers", r"the tensor _peer\.pca\.") for loss in _PCA],
        *[(loss, "check_no_synchronisation", r"it raised AssertionError: .*cpu") for loss in _PCA],
    ],
)
def test_the_kit_says_what_is_wrong(loss: str, check: str, message: str) -> None:
    (record,) = check_loss(wrapped(loss), checks=[check], shrink=False).records
    assert record.status == "failed"
    first_line = record.message.partition("\n")[0]
    assert re.search(message, first_line), record.message


@pytest.mark.peer
@pytest.mark.parametrize("name", LOSSES)
def test_a_wrapped_loss_has_the_value_and_the_gradient_of_the_peer(name: str) -> None:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    targets, labels = random(5, 4, 5, 6), random(5, 8)
    targets[1, 2] = 0.0
    labels[3, :2] = math.nan
    space, found = random(5, 4, 3), random(5, 3, 4, 3)
    space[2, 1], found[3, 1] = math.nan, math.nan
    batch = {
        "heatmaps_targ": targets,
        "heatmaps_pred": random(5, 4, 5, 6),
        "keypoints_targ": 20 * labels,
        "keypoints_pred": 20 * random(5, 8),
        "confidences": random(5, 4),
        "keypoints_targ_3d": space,
        "keypoints_pred_3d": found,
        "keypoints_pred_2d_reprojected": 20 * random(5, 4, 2),
    }
    loss = wrapped(name)
    loss.epsilon.fill_(0.01)
    pred = next(batch[key].requires_grad_() for key in loss.inputs if "_pred" in key)
    theirs = copy.deepcopy(loss._peer)
    theirs.epsilon, theirs.log_weight = loss.epsilon, loss.log_weight
    expected, _ = theirs(stage="train", **batch)

    value = loss(stage="train", **batch).loss / loss.weight

    assert value.item() > 0
    torch.testing.assert_close(value, expected)
    gradients = [torch.autograd.grad(v, pred)[0] for v in (value, expected)]
    torch.testing.assert_close(*gradients)


def test_the_page_says_what_is_found() -> None:
    rows = [r for r in PAGE.read_text(encoding="utf-8").splitlines() if r.startswith("| ")]
    del rows[0]  # the titles
    assert rows == [finding.row for finding in FINDINGS]
