"""AITL on a line of points, by hand and against a plain loop."""

import pytest
import torch
from torch import Tensor

from reidentify.losses.aitl import aitl, attribute_distances
from reidentify.losses.triplet import cosine_distances

# Embeddings on a line: identity 0 at 0, 1, 5 and identity 1 at 7, 8. Attributes on another: 0, 4, 1 and 2, 9.
PLACES = torch.tensor([[0.0], [1.0], [5.0], [7.0], [8.0]])
ATTRIBUTES = torch.tensor([[0.0], [4.0], [1.0], [2.0], [9.0]])
LABELS = torch.tensor([0, 0, 0, 1, 1])


def line(values: Tensor) -> Tensor:
    return (values - values.T).abs()


def loop(distances: Tensor, attributes: Tensor, labels: Tensor, released: bool) -> float:
    """The definition, anchor by anchor."""
    losses = []
    for i in range(len(labels)):
        others = [j for j in range(len(labels)) if labels[j] == labels[i] and j != i]
        if len(others) < (1 if released else 2):
            continue
        own = [i, *others] if released else others
        hard = max(own, key=lambda j: float(attributes[i, j]))
        easy = min(own, key=lambda j: float(attributes[i, j]))
        losses.append(max(0.0, float(distances[i, hard] - distances[i, easy])))
    return sum(losses) / len(losses)


def test_aitl_by_hand() -> None:
    """Hard and easy of the anchors 0, 1, 2 are 1 and 2, 0 and 2, 1 and 0; identity 1 has too few rows."""
    assert float(aitl(line(PLACES), line(ATTRIBUTES), LABELS)) == 0  # 1 - 5, 1 - 4, 4 - 5, none above 0
    # With the attributes 0, 1, 4 they are 2 and 1, 2 and 0, 0 and 1: 5 - 1, 4 - 1, 5 - 4.
    other = torch.tensor([[0.0], [1.0], [4.0], [2.0], [9.0]])
    assert float(aitl(line(PLACES), line(other), LABELS)) == pytest.approx((4 + 3 + 1) / 3)


def test_the_released_form_is_the_distance_to_the_most_different_positive() -> None:
    """Hard is 1, 0, 1 and, in identity 1, the other: 1, 1, 4, 1, 1."""
    found = aitl(line(PLACES), line(ATTRIBUTES), LABELS, released=True)
    assert float(found) == pytest.approx((1 + 1 + 4 + 1 + 1) / 5)


@pytest.mark.parametrize("released", [False, True])
def test_random_batches_follow_the_definition(released: bool) -> None:
    torch.manual_seed(0)
    for _ in range(20):
        vectors, said = torch.randn(16, 5), torch.randn(16, 7)
        labels = torch.randint(0, 5, (16,))
        distances = cosine_distances(vectors, vectors)
        distances.fill_diagonal_(0)
        attributes = torch.stack([torch.stack([(a - b).pow(2).sum().sqrt() for b in said]) for a in said])
        found = aitl(distances, attribute_distances([said[:, :3], said[:, 3:]]), labels, released)
        assert float(found) == pytest.approx(loop(distances, attributes, labels, released), abs=1e-6)


def test_attributes_choose_and_are_not_trained() -> None:
    places, said = PLACES.clone().requires_grad_(), torch.tensor([[0.0], [1.0], [4.0], [2.0], [9.0]]).requires_grad_()
    aitl(line(places), attribute_distances([said]), LABELS).backward()
    # d/dx of ((x2 - x0) - (x1 - x0) + (x2 - x1) - (x1 - x0) + (x2 - x0) - (x2 - x1)) / 3
    torch.testing.assert_close(places.grad, torch.tensor([[0.0], [-2.0], [2.0], [0.0], [0.0]]) / 3)
    assert said.grad is None
    given = line(said)
    aitl(line(PLACES).requires_grad_(), given, LABELS).backward()
    assert said.grad is None


@pytest.mark.parametrize(("released", "labels"), [(False, [0, 0, 1, 1, 2]), (True, [0, 1, 2, 3, 4])])
def test_without_an_anchor_it_is_zero(released: bool, labels: list[int]) -> None:
    places = PLACES.clone().requires_grad_()
    found = aitl(line(places), line(ATTRIBUTES), torch.tensor(labels), released)
    found.backward()
    assert float(found) == 0
    assert float(places.grad.abs().sum()) == 0
