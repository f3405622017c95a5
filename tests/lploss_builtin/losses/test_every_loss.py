"""What holds for every built-in loss alike, beyond what the conformance kit checks."""

from __future__ import annotations

import copy
import math
import shutil

import pytest
import torch

from tests.lploss_builtin.batches import LOSSES, PCA, batch, create, labels, prediction_of

every_loss = pytest.mark.parametrize("name", LOSSES)


@every_loss
@pytest.mark.parametrize("spoilt", [math.nan, math.inf, -math.inf])
def test_a_spoilt_prediction_does_not_spoil_the_others(name: str, spoilt: float) -> None:
    loss = create(name)
    inputs = batch()
    name_of_input = prediction_of(loss)
    prediction = inputs[name_of_input].detach().clone()
    prediction[2, 0] = spoilt
    prediction.requires_grad_()
    elements = loss.elementwise(**{**inputs, name_of_input: prediction})
    whole = loss.elementwise(**inputs)
    kept = elements.isfinite()
    assert not kept.all()
    assert kept.sum() >= kept.numel() // 2
    torch.testing.assert_close(elements[kept], whole[kept])
    loss.nan_predictions = "leave_out"
    loss(**{**inputs, name_of_input: prediction}).loss.backward()
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()
    assert prediction.grad[2, 0].abs().max() == 0


# To these two a prediction that is not finite looks as parallel rays do; the factory knows.
DERIVED = {"supervised_pairwise_projections", "supervised_reprojection_heatmap_mse"}


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in DERIVED])
@pytest.mark.parametrize("spoilt", [math.nan, math.inf, -math.inf])
def test_a_spoilt_prediction_spoils_the_scalar_and_its_gradients(name: str, spoilt: float) -> None:
    loss = create(name)
    name_of_input = prediction_of(loss)
    prediction = batch()[name_of_input].detach().clone()
    prediction[2, 0] = spoilt
    prediction.requires_grad_()
    value = loss(**{**batch(), name_of_input: prediction}).loss
    assert value.isnan()
    value.backward()
    assert prediction.grad is not None
    assert prediction.grad.isnan().all()


@every_loss
def test_float32_is_close_to_float64_and_half_precision_runs(name: str) -> None:
    loss = create(name)
    single = loss(**batch()).loss
    double = loss(**batch(dtype=torch.float64)).loss
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-8)
    half = loss(**batch(dtype=torch.bfloat16)).loss
    torch.testing.assert_close(half.double(), double, rtol=0.1, atol=1e-3)
    half = loss(**batch(dtype=torch.float16)).loss
    torch.testing.assert_close(half.double(), double, rtol=0.05, atol=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = loss(**batch()).loss
    torch.testing.assert_close(autocast, single, rtol=1e-3, atol=1e-6)


@every_loss
def test_half_precision_neither_overflows_nor_underflows(name: str) -> None:
    loss = create(name)
    inputs = batch(dtype=torch.float16)
    prediction = inputs[prediction_of(loss)].detach().clone()
    if "heatmaps" in prediction_of(loss):  # one pixel holds all, and the next frame another one
        prediction.zero_()
        prediction[::2, :, 0, 0] = prediction[1::2, :, 1, 1] = 1.0
    else:
        prediction[::2] += 1000.0
    prediction.requires_grad_()
    result = loss(**{**inputs, prediction_of(loss): prediction}).loss
    result.backward()
    assert result.isfinite()
    assert prediction.grad is not None
    # The slope of a logarithm near zero is beyond the range of half precision, not NaN.
    assert not prediction.grad.isnan().any()
    assert "kl" in name or prediction.grad.isfinite().all()


@every_loss
def test_torch_func_can_differentiate_it(name: str) -> None:
    loss = create(name)
    inputs = batch()
    key = prediction_of(loss)
    gradient = torch.func.grad(lambda value: loss(**{**inputs, key: value}).loss)(
        inputs[key].detach()
    )
    loss(**inputs).loss.backward()
    torch.testing.assert_close(gradient, inputs[key].grad)


@every_loss
def test_backward_may_run_twice(name: str) -> None:
    inputs = batch()
    key = prediction_of(create(name))
    result = create(name)(**inputs).loss
    (first,) = torch.autograd.grad(result, inputs[key], retain_graph=True)
    first = first.clone()
    (second,) = torch.autograd.grad(result, inputs[key])
    torch.testing.assert_close(first, second)


@every_loss
def test_extreme_values_stay_finite(name: str) -> None:
    loss = create(name)
    for scale in (0.0, 1e3, -1e3):
        inputs = {key: value.detach() * 0 + scale for key, value in batch().items()}
        inputs["heatmaps_pred"] = torch.zeros_like(inputs["heatmaps_pred"])
        inputs["heatmaps_pred"][..., 0, 0] = 1.0
        inputs["heatmaps_targ"] = inputs["heatmaps_pred"].flip(-1)
        inputs["confidences"] = torch.ones_like(inputs["confidences"])
        prediction = inputs[prediction_of(loss)].requires_grad_()
        result = loss(**inputs).loss
        result.backward()
        assert result.isfinite()
        assert prediction.grad is not None
        assert prediction.grad.isfinite().all()


@every_loss
@pytest.mark.compiles
def test_compiled_in_one_graph_it_computes_the_same(name: str) -> None:
    torch._dynamo.reset()
    # Without a C++ compiler the graph is still captured and differentiated.
    backend = "inductor" if shutil.which("g++") or shutil.which("clang++") else "aot_eager"
    loss = create(name)
    compiled = torch.compile(loss, fullgraph=True, backend=backend)
    inputs, again = batch(), batch()
    for given in (inputs, again):
        given["keypoints_targ"][1, 2] = math.nan
        given["heatmaps_targ"][1, 2] = 0.0
    expected = loss(stage="train", **inputs)
    result = compiled(stage="train", **again)
    torch.testing.assert_close(result.loss, expected.loss)
    assert [entry["name"] for entry in result.logs] == [entry["name"] for entry in expected.logs]
    expected.loss.backward()
    result.loss.backward()
    key = prediction_of(loss)
    torch.testing.assert_close(again[key].grad, inputs[key].grad)


@every_loss
@pytest.mark.gpu
def test_on_a_gpu_it_computes_the_same_without_waiting(name: str) -> None:
    loss = create(name)
    inputs = batch()
    inputs["keypoints_targ"][1, 2] = math.nan
    inputs["heatmaps_targ"][1, 2] = 0.0
    expected = loss(**inputs).loss
    there = copy.deepcopy(loss).cuda()
    moved = {key: value.detach().cuda() for key, value in inputs.items()}
    moved[prediction_of(loss)].requires_grad_()
    there(**moved)  # the first call may load kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = there(**moved).loss
        result.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(result.cpu(), expected, rtol=1e-4, atol=1e-6)


def test_the_batch_that_these_tests_use_is_not_degenerate() -> None:
    assert set(PCA) < set(LOSSES)
    assert len(LOSSES) >= 10
    assert torch.linalg.matrix_rank(labels() - labels().mean(dim=0)) == 8
