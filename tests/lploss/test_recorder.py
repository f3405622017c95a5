from __future__ import annotations

import copy
import io
import math
import re

import pytest
import torch

from lploss import Loss, LossFactory, Reason
from lploss.errors import ArgumentValueError
from lploss.recorder import LossRecord

NAN = math.nan


class Reasoned(Loss):
    """Leaves out NaN, then what is unsure, then what is fast, under names of its own too."""

    loss_name = "reasoned"
    kind = "unsupervised"

    def remove_nans(self, keypoints_pred, confidences):
        spoilt = keypoints_pred.isnan()
        return {"keypoints_pred": keypoints_pred.masked_fill(spoilt, 0.0)}, {
            Reason.NAN_PREDICTION: spoilt,
            Reason.LOW_CONFIDENCE: confidences < 0.5,
            "value": keypoints_pred > 100,
        }

    def compute_loss(self, keypoints_pred):
        return keypoints_pred


class Masked(Loss):
    """Leaves out what is negative, without a reason."""

    loss_name = "masked"
    kind = "supervised"

    def remove_nans(self, keypoints_pred):
        return {}, keypoints_pred >= 0

    def compute_loss(self, keypoints_pred):
        return keypoints_pred


class Whole(Loss):
    """Leaves out nothing."""

    loss_name = "whole"
    kind = "supervised"

    def compute_loss(self, keypoints_pred):
        return keypoints_pred


class Impatient(Whole):
    """Waits for the device."""

    loss_name = "impatient"

    def compute_loss(self, keypoints_pred):
        return keypoints_pred * keypoints_pred.sum().item()


def factory(*losses, **options):
    options = {"nan_predictions": "leave_out", **options}
    return LossFactory({cls.loss_name: cls(log_weight=1.0) for cls in losses}, **options)


PRED = torch.tensor([[NAN, 2.0, 4.0], [200.0, 6.0, NAN]])
CONFIDENCES = torch.tensor([[0.0, 0.9, 0.1], [0.9, 0.9, 0.9]])
BATCH = {"keypoints_pred": PRED, "confidences": CONFIDENCES}
ONE = torch.tensor(1.0)
WEIGHT = 1 / (2 * math.e)


def test_one_call_by_hand():
    losses = factory(Reasoned)
    losses(stage="train", anneal_weight=0.25, **BATCH)
    # 2 and 6 count; one NaN is unsure as well, and stands under the first reason.
    (record,) = losses.records()
    assert record == LossRecord(
        stage="train",
        loss="reasoned",
        status="ran",
        calls=1,
        elements=6,
        used=2,
        left_out={"NaN prediction": 2, "low confidence": 1, "value": 1},
        value=4.0,
        weighted=record.weighted,
        anneal_weight=0.25,
    )
    assert record.weighted == pytest.approx(4.0 * WEIGHT * 0.25)
    assert record.used + sum(record.left_out.values()) == record.elements


def test_stages_and_losses_are_kept_apart():
    losses = factory(Masked, Whole)
    for stage, value in [("train", 1.0), ("train", -4.0), ("val", 5.0), (None, 7.0)]:
        losses(stage=stage, keypoints_pred=torch.tensor([[value, 1.0]]))
    records = {(record.stage, record.loss): record for record in losses.records()}
    assert list(records) == [
        ("train", "masked"),
        ("train", "whole"),
        ("val", "masked"),
        ("val", "whole"),
        (None, "masked"),
        (None, "whole"),
    ]
    masked, whole = records["train", "masked"], records["train", "whole"]
    assert (masked.calls, masked.elements, masked.used) == (2, 4, 3)
    assert masked.left_out == {"not valid": 1}
    assert masked.value == 1.0
    assert (whole.calls, whole.elements, whole.used, whole.left_out) == (2, 4, 4, {})
    assert whole.value == 0.75  # a negative loss is rectified to zero
    assert records["val", "whole"].value == 3.0
    assert records[None, "whole"].value == 4.0
    assert {record.anneal_weight for record in records.values()} == {1.0}


@pytest.mark.parametrize("calls", [127, 128, 300])
def test_many_calls_add_up(calls):
    losses = factory(Reasoned)
    for call in range(calls):
        losses(anneal_weight=float(call), **(BATCH | {"keypoints_pred": PRED + call}))
    (reasoned,) = losses.records()
    # Of the three that are left, each is above 100 from some call on.
    fast = sum(200 + c > 100 for c in range(calls))
    fast += sum(2 + c > 100 for c in range(calls)) + sum(c + 6 > 100 for c in range(calls))
    expected = {"NaN prediction": 2 * calls, "low confidence": calls, "value": fast}
    assert reasoned.left_out == expected
    assert (reasoned.calls, reasoned.elements) == (calls, 6 * calls)
    assert reasoned.used == 6 * calls - 3 * calls - fast
    assert reasoned.anneal_weight == calls - 1
    assert losses.records() == losses.records()


def test_values_are_means_over_the_calls():
    losses = factory(Whole)
    for value in range(500):
        losses(keypoints_pred=torch.full((2, 2), float(value)))
    (record,) = losses.records()
    assert record.value == pytest.approx(249.5)
    assert record.weighted == pytest.approx(249.5 * WEIGHT)


def test_calls_of_different_precision_add_up():
    losses = factory(Whole)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float32):
        losses(keypoints_pred=torch.ones(1, 2, dtype=dtype))
    (record,) = losses.records()
    assert (record.calls, record.value) == (4, 1.0)


def test_the_recorder_forgets_when_it_is_told_to():
    losses = factory(Whole)
    losses(keypoints_pred=PRED)
    losses.recorder.reset()
    assert losses.records() == [LossRecord(None, "whole", "never called")]
    losses(keypoints_pred=torch.ones(1, 1))
    assert [record.calls for record in losses.records()] == [1]


def test_what_is_off_or_never_called_is_said():
    losses = factory(Whole, off={"temporal": "log_weight is null"})
    assert losses.records() == [
        LossRecord(None, "whole", "never called"),
        LossRecord(None, "temporal", "off: log_weight is null"),
    ]


def test_a_recorder_that_is_off_cannot_be_read():
    losses = factory(Whole, record=False)
    losses(keypoints_pred=PRED)
    for read in (losses.records, losses.report):
        with pytest.raises(ArgumentValueError) as caught:
            read()
        assert str(caught.value) == "the flight recorder is off: build it with record=True"


def test_the_report_has_a_table_for_each_stage_and_one_for_what_did_not_run():
    losses = factory(Reasoned, Whole, off={"temporal": "log_weight is null"})
    evaluation = losses.losses["reasoned"].evaluate(BATCH)
    losses.recorder.add("train", "reasoned", evaluation, ONE, 0.25)
    losses.recorder.add("train", "reasoned", evaluation, ONE, 0.25)
    losses.recorder.add(None, "reasoned", evaluation, ONE, 0.5)
    file = io.StringIO()
    losses.report(file)
    lines = [line.split("  ") for line in file.getvalue().splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert [row for row in cells if row and "─" not in row[0]] == [
        ["train: 2 calls"],
        ["loss", "value", "weighted", "anneal", "used", "left out"],
        ["reasoned", "4", "1", "0.25", "4 of 12", "NaN prediction: 4, low confidence: 2, value: 2"],
        ["no stage: 1 call"],
        ["loss", "value", "weighted", "anneal", "used", "left out"],
        ["reasoned", "4", "1", "0.5", "2 of 6", "NaN prediction: 2, low confidence: 1, value: 1"],
        ["did not run"],
        ["loss", "why"],
        ["whole", "never called"],
        ["temporal", "off: log_weight is null"],
    ]


def test_a_terminal_keeps_its_width_and_all_numbers(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "80")
    losses = factory(Reasoned)
    losses.recorder.add("train", "reasoned", losses.losses["reasoned"].evaluate(BATCH), ONE, 0.25)
    file = Terminal()
    losses.report(file)
    lines = file.getvalue().splitlines()
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in lines) <= 80
    assert "…" not in file.getvalue()


def test_the_report_goes_to_standard_output(capsys):
    factory(Whole).report()
    assert "never called" in capsys.readouterr().out


def test_a_tensor_as_anneal_weight_keeps_no_graph():
    losses = factory(Reasoned)
    losses(anneal_weight=torch.tensor(0.5, requires_grad=True), **BATCH)
    assert losses.records()[0].anneal_weight == 0.5
    assert not losses.recorder._tapes[None, "reasoned"].anneal_weight.requires_grad


def test_a_copy_goes_on_recording_on_its_own():
    losses = factory(Whole)
    losses(keypoints_pred=PRED)
    twin = copy.deepcopy(losses)
    twin(keypoints_pred=PRED)
    assert [f.records()[0].calls for f in (losses, twin)] == [1, 2]


def on_meta(*losses):
    """Call on a device that holds no data, more often than calls are kept one by one."""
    module = factory(*losses).to("meta")
    batch = {name: value.to("meta") for name, value in BATCH.items()}
    for _ in range(300):
        module(stage="train", anneal_weight=torch.zeros((), device="meta"), **batch)
    return module


def test_a_call_never_waits_for_the_device():
    module = on_meta(Reasoned, Masked, Whole)
    with pytest.raises(RuntimeError, match="meta"):
        module.records()


def test_built_in_losses_never_wait_for_the_device():
    names = ["temporal", "rmse", "regression", "heatmap_mse", "heatmap_js", "heatmap_kl"]
    names += ["temporal_heatmap_mse", "temporal_heatmap_kl"]
    losses = LossFactory({name: {"epsilon": 0.5} for name in names}).to("meta")
    batch = {
        "keypoints_targ": torch.zeros(3, 4, device="meta"),
        "keypoints_pred": torch.zeros(3, 4, device="meta", requires_grad=True),
        "confidences": torch.zeros(3, 2, device="meta"),
        "heatmaps_targ": torch.zeros(3, 2, 4, 4, device="meta"),
        "heatmaps_pred": torch.zeros(3, 2, 4, 4, device="meta", requires_grad=True),
    }
    losses(stage="train", anneal_weight=0.5, **batch).loss.backward()


def test_the_check_for_waiting_can_fail():
    with pytest.raises(RuntimeError, match="meta"):
        on_meta(Impatient)


@pytest.mark.compiles
def test_nothing_is_recorded_while_compiled():
    losses = factory(Reasoned)
    torch.compile(losses, fullgraph=True, backend="eager")(stage="train", **BATCH)
    assert [record.status for record in losses.records()] == ["never called"]


def test_masks_are_counted_as_they_were_at_the_call():
    class Dropped(Loss):
        loss_name, kind = "dropped", "supervised"

        def remove_nans(self, drop):
            return {}, {"dropped": drop}

        def compute_loss(self, keypoints_pred):
            return keypoints_pred

    losses = LossFactory({"dropped": Dropped()})
    drop = torch.zeros(2, 3, dtype=torch.bool)
    losses(keypoints_pred=torch.ones(2, 3), drop=drop)
    drop.fill_(True)
    losses(keypoints_pred=torch.ones(2, 3), drop=drop)
    assert losses.records()[0].left_out == {"dropped": 6}


def test_a_stage_may_move_to_another_device():
    losses = factory(Whole)
    losses(keypoints_pred=torch.ones(1, 1))
    losses.records()
    tape = losses.recorder._tapes[None, "whole"]
    tape.add(torch.ones((), device="meta"), torch.ones((), device="meta"), {}, 1)
    tape._fold()
    assert tape._value.device.type == "meta"
