"""Weight and epsilon."""

from __future__ import annotations

import torch

from lploss.testing.batches import Example
from lploss.testing.check import Case, check, fail, is_close, scalar_of, show
from lploss.testing.subject import takes


@check(
    why="A weight that is applied twice, or not at all, makes the recommended log_weight wrong.",
    mend="Do not multiply by the weight: forward does, once.",
    shows="""for log_weight in (-1.0, 0.0, 1.0):
    loss.log_weight.fill_(log_weight)
    print(loss(**batch).loss / loss.weight)""",
)
def check_weight_once(case: Case) -> None:
    def body(example: Example) -> None:
        plain = case.copy(log_weight=0.0).evaluate(example.batch).scalar
        for log_weight in (-1.0, 1.0, 3.0):
            other = case.copy(log_weight=log_weight)
            weight = 0.5 * torch.exp(torch.tensor(-log_weight))
            value = scalar_of(other, example)
            if not is_close(value, weight * plain):
                fail(
                    f"with log_weight {log_weight:g} the loss must be {show(weight)} times "
                    f"{show(plain)}, {show(weight * plain)}, it is {show(value)}"
                )

    case.for_each(body, at_most=15)


@check(
    why="Epsilon says which errors are too small to be worth anything; ignored in silence, it "
    "misleads whoever tunes it.",
    mend="Hand epsilon on to `Loss.__init__`, do not override rectify_epsilon, and let "
    "compute_loss return values of at least 0.",
    shows="""for epsilon in (0.0, 1.0, 1e9):
    loss.epsilon = torch.tensor(epsilon)
    print(loss.elementwise(**batch))""",
)
def check_epsilon(case: Case) -> None:
    _demand_kept(case)

    def body(example: Example) -> None:
        batch = example.batch
        whole = case.copy(epsilon=0.0).elementwise(**batch)
        if bool((whole < 0).any()):
            fail(f"element-wise values must be at least 0, they are {show(whole)}")
        raw = _computed(case, example)
        if raw is not None and not is_close(torch.where(whole.isnan(), whole, raw), whole):
            fail(f"an epsilon of 0 must change nothing: {show(raw)} became {show(whole)}")
        finite = whole[whole.isfinite()]
        if not finite.numel():
            return
        middle = finite.median()
        other = case.copy(epsilon=middle)
        middle = other.epsilon  # perhaps rounded
        cut = other.elementwise(**batch)
        if not is_close(cut, torch.relu(whole - middle), atol=1e-5):
            fail(
                f"an epsilon of {show(middle)} must take it off the element-wise values "
                f"{show(whole)} and clip them at 0, it left {show(cut)}"
            )
        large = case.copy(epsilon=1e9)
        if scalar_of(large, example).item() != 0.0:
            fail(
                f"with a large epsilon the loss must be 0, it is {show(scalar_of(large, example))}"
            )
        last = whole.shape[-1]
        each = torch.arange(last, dtype=torch.float32) * middle
        broadcast = case.copy()
        broadcast.epsilon = each
        if not is_close(broadcast.elementwise(**batch), torch.relu(whole - each), atol=1e-5):
            fail(
                f"an epsilon for each of the {last} keypoints must be taken off along the last axis"
            )

    case.for_each(body)


def _demand_kept(case: Case) -> None:
    """Demand that the constructor keeps its epsilon."""
    try:
        loss = case.subject.build(epsilon=0.75)
    except Exception:
        return  # check_arguments tells
    case.script = "print(type(loss).example(loss.loss_name, epsilon=0.75).epsilon)"
    if loss.epsilon.ndim or loss.epsilon.item() != 0.75:
        fail(
            f"epsilon=0.75 must be kept by the constructor, the loss has {show(loss.epsilon)}; if "
            "`example` is overridden, it must hand its params on"
        )
    case.script = None


def _computed(case: Case, example: Example) -> torch.Tensor | None:
    """Return what compute_loss returns, without epsilon."""
    loss, given = case.loss, dict(example.batch)
    cleaned, _ = loss.remove_nans(**{n: given[n] for n in takes(loss.remove_nans) if n in given})
    given.update(cleaned)
    return loss.compute_loss(**{n: given[n] for n in takes(loss.compute_loss) if n in given})
