"""The contrastive loss by hand."""

import pytest
import torch

from reidentify.losses.contrastive import contrastive


def test_by_hand() -> None:
    """Unit vectors at right angles are sqrt(2) apart, opposite ones 2; lengths do not count."""
    a = torch.tensor([[3.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    b = torch.tensor([[0.0, 5.0], [0.0, 1.0], [-2.0, 0.0]])
    same = torch.tensor([1, 0, 0])
    expected = (0.5 * 2 + 0.5 * (1.5 - 2**0.5) ** 2 + 0) / 3
    assert float(contrastive(a, b, same, margin=1.5)) == pytest.approx(expected, abs=1e-5)


def test_equal_vectors_have_finite_gradients() -> None:
    a = torch.ones(2, 4, requires_grad=True)
    contrastive(a, torch.ones(2, 4), torch.tensor([1, 0])).backward()
    assert torch.isfinite(a.grad).all()
