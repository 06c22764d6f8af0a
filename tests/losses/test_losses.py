"""Losses against arithmetic done by hand and against plain loops."""

import math

import pytest
import torch

from reidentify.errors import InputError
from reidentify.losses.center import CenterLoss
from reidentify.losses.metric import METRIC_LOSSES, metric_loss
from reidentify.losses.triplet import (
    batch_hard_triplet,
    cosine_distances,
    pairwise_distances,
    weighted_regularised_triplet,
)

# Four points on a line: identities 0, 0, 1, 1 at 0, 1, 3 and 7.
LINE = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
LABELS = torch.tensor([0, 0, 1, 1])


def test_batch_hard_by_hand() -> None:
    """Anchor by anchor (farthest positive, nearest negative): (1, 3), (1, 2), (4, 2), (4, 6)."""
    pairs = [(1, 3), (1, 2), (4, 2), (4, 6)]
    hinge = sum(max(0.0, p - n + 0.3) for p, n in pairs) / 4
    assert hinge == pytest.approx((0 + 0 + 2.3 + 0) / 4)
    assert float(batch_hard_triplet(LINE, LABELS, 0.3)) == pytest.approx(hinge, abs=1e-5)
    soft = sum(math.log1p(math.exp(p - n)) for p, n in pairs) / 4
    assert float(batch_hard_triplet(LINE, LABELS, None)) == pytest.approx(soft, abs=1e-5)


def test_some_rows_may_be_no_anchors() -> None:
    """The first three of the four anchors above."""
    assert float(batch_hard_triplet(LINE, LABELS, 0.3, anchors=3)) == pytest.approx((0 + 0 + 2.3) / 3, abs=1e-5)
    soft = sum(math.log1p(math.exp(p - n)) for p, n in [(1, 3), (1, 2), (4, 2)]) / 3
    assert float(batch_hard_triplet(LINE, LABELS, None, anchors=3)) == pytest.approx(soft, abs=1e-5)
    assert float(batch_hard_triplet(LINE, LABELS, 0.3, anchors=0)) == 0


def test_weighted_regularised_by_hand() -> None:
    """With one positive its weight is 1; two negatives at d1 and d2 weigh exp(-d)."""
    losses = []
    for positive, negatives in [(1, (3, 7)), (1, (2, 6)), (4, (3, 2)), (4, (7, 6))]:
        weights = [math.exp(-d) for d in negatives]
        near = sum(w * d for w, d in zip(weights, negatives)) / sum(weights)
        losses.append(math.log1p(math.exp(positive - near)))
    assert float(weighted_regularised_triplet(LINE, LABELS)) == pytest.approx(sum(losses) / 4, abs=1e-5)


@pytest.mark.parametrize("loss", [batch_hard_triplet, weighted_regularised_triplet])
def test_anchors_without_a_partner_are_left_out(loss) -> None:
    alone = torch.cat([LINE, torch.tensor([[100.0]])])
    labels = torch.tensor([0, 0, 1, 1, 2])
    assert float(loss(alone, labels)) == pytest.approx(float(loss(LINE, LABELS)), abs=1e-4)
    x = torch.randn(4, 3, requires_grad=True)
    nothing = loss(x, torch.zeros(4, dtype=torch.long))
    nothing.backward()
    assert float(nothing) == 0
    assert float(x.grad.abs().sum()) == 0


@pytest.mark.parametrize("loss", [batch_hard_triplet, weighted_regularised_triplet])
def test_gradients_stay_finite_where_points_coincide(loss) -> None:
    x = torch.ones(4, 3, requires_grad=True)
    loss(x, LABELS).backward()
    assert torch.isfinite(x.grad).all()


def test_distances() -> None:
    a, b = torch.randn(5, 7, dtype=torch.float64), torch.randn(4, 7, dtype=torch.float64)
    expected = torch.stack([torch.stack([(x - y).pow(2).sum().sqrt() for y in b]) for x in a])
    torch.testing.assert_close(pairwise_distances(a, b), expected)


def test_cosine_distances_and_the_losses_on_them_by_hand() -> None:
    """Vectors at 0, 60, 90 and 180 degrees: 1 - cos of the angles between them; lengths do not matter."""
    degrees = torch.tensor([0.0, 60.0, 90.0, 180.0])
    angles = degrees.deg2rad()
    vectors = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [2.0], [0.5], [3.0]])
    expected = 1 - (degrees[:, None] - degrees).deg2rad().cos()
    torch.testing.assert_close(cosine_distances(vectors, vectors), expected)
    torch.testing.assert_close(cosine_distances(torch.zeros(1, 2), vectors), torch.ones(1, 4))
    # Anchor by anchor (positive, nearest negative): 60 and 90, 60 and 30, 90 and 30, 90 and 120 degrees.
    p, n = (1 - torch.tensor(a).deg2rad().cos() for a in ([60.0, 60, 90, 90], [90.0, 30, 30, 120]))
    hinge = batch_hard_triplet(vectors, LABELS, 0.3, "cosine")
    torch.testing.assert_close(hinge, (p - n + 0.3).clamp(min=0).mean())
    # (positive, both negatives): 60 and 90, 180; 60 and 30, 120; 90 and 90, 30; 90 and 180, 120 degrees.
    both = 1 - torch.tensor([[90.0, 180], [30, 120], [90, 30], [180, 120]]).deg2rad().cos()
    near = (both * (-both).exp()).sum(1) / (-both).exp().sum(1)
    weighted = weighted_regularised_triplet(vectors, LABELS, "cosine")
    torch.testing.assert_close(weighted, (p - near).exp().log1p().mean())


def test_center_loss_and_its_centres_by_hand() -> None:
    """Class 0 has 1 and 3, class 1 has 8: half the mean square is (1 + 9 + 64) / 6; the centres start at zero.

    Then c0 += 0.5 * (1 + 3) / (1 + 2) and c1 += 0.5 * 8 / (1 + 1).
    """
    loss = CenterLoss(3, 1)
    value = loss(torch.tensor([[1.0], [3.0], [8.0]]), torch.tensor([0, 0, 1]))
    assert float(value) == pytest.approx(74 / 6)
    torch.testing.assert_close(loss.centers, torch.tensor([[2 / 3], [2.0], [0.0]]))
    loss.eval()(torch.tensor([[1.0]]), torch.tensor([0]))
    torch.testing.assert_close(loss.centers[0], torch.tensor([2 / 3]))


@pytest.mark.parametrize("name", METRIC_LOSSES)
def test_every_named_metric_loss_runs(name: str) -> None:
    x = torch.randn(16, 8, requires_grad=True)
    value = metric_loss(name, 4, 8)(x, torch.arange(4).repeat_interleave(4))
    value.backward()
    assert torch.isfinite(value)


def test_unknown_metric_losses_and_settings() -> None:
    with pytest.raises(InputError, match="no metric loss 'circel'"):
        metric_loss("circel", 4, 8)
    with pytest.raises(InputError, match=r"metric loss circle: .*radius"):
        metric_loss("circle", 4, 8, radius=3)
    assert metric_loss("circle", 4, 8, m=0.25, gamma=64).gamma == 64
