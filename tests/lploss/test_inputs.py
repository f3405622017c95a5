from __future__ import annotations

import pytest
import torch

from lploss import InputSpec, Loss, LossFactory, MissingInputError
from lploss.errors import AmbiguousNameError, PluginError, UnknownInputError
from lploss.inputs import InputResolver, missing_input

MANIFEST = """
    from lploss import InputSpec, hookimpl

    @hookimpl
    def lploss_inputs():
        return [{specs}]
"""

DERIVATIONS = """
    calls = []

    def doubled(keypoints_pred):
        calls.append("doubled")
        return keypoints_pred * 2

    def quadrupled(doubled, offset=None):
        calls.append("quadrupled")
        return doubled * 2 + (0 if offset is None else offset)

    def hen(egg):
        return egg

    def egg(hen):
        return hen

    def failing(keypoints_pred):
        raise ZeroDivisionError("no frames")

    def greedy(**batch):
        return batch

    def freely(offset=None):
        return offset
"""


def spec(name, derived=True):
    target = f'derived_by="acme_derivations:{name}"' if derived else ""
    return f'InputSpec("{name}", "batch k", "px", "what {name} means", {target})'


@pytest.fixture
def registry(site):
    names = ("doubled", "quadrupled", "hen", "egg", "failing", "greedy", "freely")
    specs = [*map(spec, names), spec("offset", derived=False)]
    site.install(
        "acme",
        {"acme": "acme_manifest"},
        {"acme_manifest": MANIFEST.format(specs=", ".join(specs)), "acme_derivations": DERIVATIONS},
    )
    return site.registry(strict=True)


@pytest.fixture
def calls(registry):
    import acme_derivations

    return acme_derivations.calls


def resolver(registry, *required):
    return InputResolver(dict.fromkeys(required, "distance"), registry)


def needing(loss, name):
    """Return a loss that needs one input."""
    source = f"def compute_loss(self, {name}): return {name}"
    namespace = {}
    exec(source, namespace)
    body = {"loss_name": loss, "kind": "supervised", "compute_loss": namespace["compute_loss"]}
    return type(loss, (Loss,), body)()


ONES = torch.ones(1, 1)


def test_a_batch_that_lacks_nothing_is_handed_on_as_it_is(registry, calls):
    batch = {"keypoints_pred": ONES, "doubled": ONES}
    assert resolver(registry, "doubled").resolve(batch) is batch
    assert calls == []


def test_what_lacks_is_derived_without_touching_the_batch(registry):
    batch = {"keypoints_pred": ONES, "doubled": None}
    resolved = resolver(registry, "doubled").resolve(batch)
    assert resolved["doubled"].item() == 2.0
    assert resolved["keypoints_pred"] is ONES
    assert batch == {"keypoints_pred": ONES, "doubled": None}


def test_derivations_form_chains(registry, calls):
    resolved = resolver(registry, "quadrupled").resolve({"keypoints_pred": ONES})
    assert resolved["quadrupled"].item() == 4.0
    assert calls == ["doubled", "quadrupled"]


def test_an_optional_input_of_a_derivation_is_used_where_it_is_there(registry):
    batch = {"keypoints_pred": ONES, "offset": ONES * 10}
    assert resolver(registry, "quadrupled").resolve(batch)["quadrupled"].item() == 14.0


def test_each_input_is_derived_once_a_call_for_all_losses(registry, calls):
    losses = [
        needing("first", "doubled"),
        needing("second", "doubled"),
        needing("third", "quadrupled"),
    ]
    factory = LossFactory({loss.loss_name: loss for loss in losses}, registry=registry)
    total, _ = factory(keypoints_pred=ONES)
    assert total.item() == 0.5 * (2 + 2 + 4)
    assert calls == ["doubled", "quadrupled"]
    factory(keypoints_pred=ONES)
    assert calls == ["doubled", "quadrupled"] * 2


def test_gradients_flow_through_a_derivation(registry):
    pred = ONES.clone().requires_grad_()
    LossFactory({"x": needing("x", "quadrupled")}, registry=registry)(
        keypoints_pred=pred
    ).loss.backward()
    assert pred.grad.item() == 2.0


@pytest.mark.parametrize(
    ("name", "batch", "message"),
    [
        (
            "doubled",
            {"confidences": ONES},
            "loss 'distance' needs the input 'doubled', which the batch does not hold.\n"
            "The batch holds: confidences.\n"
            "It is: what doubled means; axes (batch k), px.\n"
            "LossFactory derives doubled from keypoints_pred; of these the batch lacks "
            "keypoints_pred.",
        ),
        (
            "quadrupled",
            {},
            "loss 'distance' needs the input 'quadrupled', which the batch does not hold.\n"
            "The batch holds: nothing.\n"
            "It is: what quadrupled means; axes (batch k), px.\n"
            "LossFactory derives quadrupled from doubled; of these the batch lacks doubled.\n"
            "LossFactory derives doubled from keypoints_pred; of these the batch lacks "
            "keypoints_pred.",
        ),
        (
            "hen",
            {},
            "loss 'distance' needs the input 'hen', which the batch does not hold.\n"
            "The batch holds: nothing.\n"
            "It is: what hen means; axes (batch k), px.\n"
            "LossFactory derives hen from egg; of these the batch lacks egg.\n"
            "LossFactory derives egg from hen; of these the batch lacks hen.",
        ),
        (
            "offset",
            {"ofset": ONES, "doubled": ONES},
            "loss 'distance' needs the input 'offset', which the batch does not hold."
            " Did you mean 'ofset'?\n"
            "The batch holds: doubled, ofset.\n"
            "It is: what offset means; axes (batch k), px.",
        ),
        (
            "nobody_knows",
            {},
            "loss 'distance' needs the input 'nobody_knows', which the batch does not hold.\n"
            "The batch holds: nothing.",
        ),
    ],
    ids=["lacking", "chain", "cycle", "not derived", "unknown"],
)
def test_what_can_be_neither_found_nor_derived_is_told_with_the_way_out(
    registry, name, batch, message
):
    with pytest.raises(MissingInputError) as caught:
        resolver(registry, name).resolve(batch)
    assert str(caught.value) == message


def test_a_derivation_that_yields_nothing_leaves_the_input_missing(registry):
    factory = LossFactory({"x": needing("x", "freely")}, registry=registry)
    with pytest.raises(MissingInputError, match=r"^loss 'x' needs the input 'freely'"):
        factory(keypoints_pred=ONES)


def test_an_error_in_a_derivation_says_what_was_being_derived(registry):
    with pytest.raises(ZeroDivisionError, match="no frames") as caught:
        resolver(registry, "failing").resolve({"keypoints_pred": ONES})
    assert caught.value.__notes__ == ["while deriving failing by acme_derivations.failing"]


def test_a_derivation_must_name_its_inputs(registry):
    with pytest.raises(PluginError) as caught:
        resolver(registry, "greedy").resolve({"keypoints_pred": ONES})
    assert str(caught.value) == (
        "acme_derivations.greedy must name the inputs from which it derives another, it has **batch"
    )


def test_a_derivation_that_cannot_be_imported_is_not_hidden(site):
    site.install("acme", {"acme": "m"}, {"m": MANIFEST.format(specs=spec("doubled"))})
    with pytest.raises(PluginError) as caught:
        resolver(site.registry(), "doubled").resolve({})
    assert str(caught.value) == (
        "the input 'doubled' of acme 1.0 (acme) cannot be loaded: import of "
        "acme_derivations:doubled: ModuleNotFoundError: No module named 'acme_derivations'."
    )


def test_an_input_that_is_only_given_has_no_derivation_to_load(registry):
    with pytest.raises(PluginError) as caught:
        registry.load(InputSpec, "offset")
    assert str(caught.value) == "the input 'offset' can only be given, it is derived from nothing"
    with pytest.raises(UnknownInputError):
        registry.load(InputSpec, "ofset")


def test_of_two_derivations_the_preferred_one_is_taken(registry, site):
    two = MANIFEST.format(specs=spec("doubled").replace("acme_derivations", "two_derivations"))
    source = "def doubled(keypoints_pred): return keypoints_pred * -2"
    site.install("two", {"two": "two_manifest"}, {"two_manifest": two, "two_derivations": source})
    both = site.registry(strict=True)
    batch = {"keypoints_pred": ONES}
    preferring = InputResolver({"doubled": "x"}, both.preferring({"doubled": "two"}))
    assert preferring.resolve(batch)["doubled"].item() == -2.0
    with pytest.raises(AmbiguousNameError, match=r"^the input 'doubled' is provided by acme 1.0"):
        resolver(both, "doubled").resolve(batch)
    # Where a loss is called alone the input is still what is missing.
    assert str(missing_input("x", "doubled", batch, both)).splitlines()[2] == (
        "What it is cannot be told: the input 'doubled' is provided by acme 1.0 (acme) and two "
        "1.0 (two). Ask for 'acme/doubled' or 'two/doubled', or put `prefer: {doubled: acme}` "
        "into the config."
    )
