"""The attribute loss by hand; a missing label must change nothing."""

import math

import pytest
import torch

from reidentify import InputError
from reidentify.losses.attributes import attribute_loss
from reidentify.values import Attribute

SCHEMA = (
    Attribute("top", ("black", "red", "white")),
    Attribute("pose", ("front", "back"), identity=False),
    Attribute("hat", ("no", "yes")),
)
LOGITS = {
    "top": torch.tensor([[2.0, 0.0, -1.0], [1.0, 1.0, 0.0]]),
    "pose": torch.tensor([[0.5, -0.5], [0.0, 3.0]]),
    "hat": torch.tensor([[1.0, -2.0], [0.0, 0.0]]),
}
TARGETS = torch.tensor([[0, 1, 1], [1, -1, -1]])


def binary(logits: list[float], target: int) -> list[float]:
    """Cross-entropy of the sigmoid of each logit."""
    return [math.log1p(math.exp(-x if i == target else x)) for i, x in enumerate(logits)]


def softmax(logits: list[float], target: int) -> float:
    return math.log(sum(math.exp(x) for x in logits)) - logits[target]


def test_binary_by_hand() -> None:
    """Three labelled entries of the identity group: 3 + 2 values of the first row, 3 of the second."""
    values = binary([2, 0, -1], 0) + binary([1, -2], 1) + binary([1, 1, 0], 1)
    found = attribute_loss(LOGITS, TARGETS, SCHEMA, True, "bce")
    assert float(found) == pytest.approx(sum(values) / 8)
    found = attribute_loss(LOGITS, TARGETS, SCHEMA, False, "bce")
    assert float(found) == pytest.approx(sum(binary([0.5, -0.5], 1)) / 2)


def test_softmax_by_hand() -> None:
    top = (softmax([2, 0, -1], 0) + softmax([1, 1, 0], 1)) / 2
    found = attribute_loss(LOGITS, TARGETS, SCHEMA, True, "cross-entropy")
    assert float(found) == pytest.approx((top + softmax([1, -2], 1)) / 2)
    no_hats = torch.tensor([[0, 1, -1], [1, -1, -1]])
    assert float(attribute_loss(LOGITS, no_hats, SCHEMA, True, "cross-entropy")) == pytest.approx(top)


@pytest.mark.parametrize("kind", ["bce", "cross-entropy"])
def test_what_is_not_labelled_gets_no_gradient(kind) -> None:
    logits = {name: values.clone().requires_grad_() for name, values in LOGITS.items()}
    attribute_loss(logits, TARGETS, SCHEMA, True, kind).backward()
    assert (logits["top"].grad != 0).all()
    assert (logits["hat"].grad[0] != 0).all()
    assert (logits["hat"].grad[1] == 0).all()
    assert logits["pose"].grad is None


@pytest.mark.parametrize("kind", ["bce", "cross-entropy"])
def test_a_batch_without_labels_is_zero(kind) -> None:
    logits = {name: values.clone().requires_grad_() for name, values in LOGITS.items()}
    found = attribute_loss(logits, torch.full((2, 3), -1), SCHEMA, True, kind)
    found.backward()
    assert float(found) == 0
    assert float(logits["top"].grad.abs().sum() + logits["hat"].grad.abs().sum()) == 0
    assert float(attribute_loss({}, TARGETS[:, :1], SCHEMA[:1], False, kind)) == 0


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(InputError, match=r"a column for each of 3 attributes, got \(2, 2\)"):
        attribute_loss(LOGITS, TARGETS[:, :2], SCHEMA, True, "bce")
    with pytest.raises(InputError, match="no attribute hat; it has top"):
        attribute_loss({"top": LOGITS["top"]}, TARGETS, SCHEMA, True, "bce")
