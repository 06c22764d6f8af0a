"""The losses of generation by hand."""

import math

import pytest
import torch

from reidentify.errors import InputError
from reidentify.losses.adversarial import adversarial, masked_l1


def labels(count: int, logit: float = 2.0, **how: object) -> torch.Tensor:
    """The label y that each call has drawn: the cross-entropy of a logit x is log(1 + e^x) - y x."""
    generator = torch.Generator().manual_seed(0)
    losses = [float(adversarial(torch.tensor([logit]), generator=generator, **how)) for _ in range(count)]  # type: ignore[arg-type]
    return (math.log1p(math.exp(logit)) - torch.tensor(losses)) / logit


def test_cross_entropy_by_hand() -> None:
    """A logit of log 3 says "real" with probability 3/4, one of 0 with 1/2."""
    logits = torch.tensor([[math.log(3)], [0.0]])
    assert float(adversarial(logits, real=True)) == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    assert float(adversarial(logits, real=False)) == pytest.approx((math.log(4) + math.log(2)) / 2)


def test_large_logits_stay_finite_and_half_precision_is_not_kept() -> None:
    logits = torch.tensor([-200.0, 200.0], dtype=torch.float16, requires_grad=True)
    loss = adversarial(logits, real=True)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(100)
    loss.backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(("real", "interval"), [(True, (0.7, 1.0)), (False, (0.0, 0.3))])
def test_smooth_labels_fill_their_interval(real: bool, interval: tuple[float, float]) -> None:
    low, high = interval
    drawn = labels(1000, real=real, smooth=interval)
    assert low - 1e-5 <= drawn.min() < low + 0.01
    assert high - 0.01 < drawn.max() <= high + 1e-5
    assert float(drawn.mean()) == pytest.approx((low + high) / 2, abs=0.01)  # the mean's deviation is 0.003


def test_one_label_counts_for_a_whole_call() -> None:
    """Logits x and -x of one label y cost log(1 + e^x) - y x + log(1 + e^-x) + y x: the label cancels out, as two would
    not."""
    x = torch.tensor([3.0, -3.0])
    expected = (math.log1p(math.exp(3)) + math.log1p(math.exp(-3))) / 2
    for seed in range(5):
        loss = adversarial(x, True, (0.0, 1.0), generator=torch.Generator().manual_seed(seed))
        assert float(loss) == pytest.approx(expected, abs=1e-5)


def test_flipped_labels_come_from_the_other_interval() -> None:
    drawn = labels(1000, real=True, smooth=(0.7, 1.0), flip=0.25)
    flipped = drawn < 0.5
    assert 0.2 < float(flipped.float().mean()) < 0.3  # the share's deviation is 0.014
    assert drawn[flipped].max() <= 0.3 + 1e-5
    assert drawn[~flipped].min() >= 0.7 - 1e-5
    assert labels(3, real=False, flip=1.0).tolist() == pytest.approx([1.0, 1.0, 1.0], abs=1e-5)


def test_nothing_is_drawn_without_need() -> None:
    state = torch.get_rng_state()
    adversarial(torch.zeros(3), real=True)
    assert torch.equal(torch.get_rng_state(), state)


def test_wrong_intervals_are_named() -> None:
    with pytest.raises(InputError, match=r"smooth: expected two rising numbers from 0 to 1, got 1.0 and 0.7"):
        adversarial(torch.zeros(1), True, (1.0, 0.7))
    with pytest.raises(InputError, match="flip: expected a probability from 0 to 1, got 2"):
        adversarial(torch.zeros(1), True, flip=2)


def test_masked_l1_by_hand() -> None:
    """Differences of 1, 2, 3, 4 in one channel and 0 in another, the mask on the first and the last: 10/8 over
    everything, 5/8 over the masked pictures, and so (10/8 + 9 * 5/8) / 10."""
    fake = torch.tensor([[[[1.0, -2.0], [0.0, 4.0]], [[0.5, 0.5], [0.5, 0.5]]]], requires_grad=True)
    target = torch.tensor([[[[0.0, 0.0], [3.0, 0.0]], [[0.5, 0.5], [0.5, 0.5]]]])
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    assert masked_l1(fake, target).item() == pytest.approx(10 / 8)
    loss = masked_l1(fake, target, mask)
    assert loss.item() == pytest.approx((10 / 8 + 9 * 5 / 8) / 10)
    loss.backward()
    torch.testing.assert_close(fake.grad[0, 0], torch.tensor([[1.0, -0.1], [-0.1, 1.0]]) / 8)


def test_a_mask_without_a_person_leaves_a_tenth() -> None:
    fake, target = torch.ones(2, 3, 4, 2), torch.zeros(2, 3, 4, 2)
    assert float(masked_l1(fake, target, torch.zeros(2, 1, 4, 2))) == pytest.approx(0.1)
    assert float(masked_l1(fake, target, torch.ones(2, 1, 4, 2))) == pytest.approx(1.0)


def test_shapes_that_do_not_belong_together_are_named() -> None:
    images = torch.zeros(2, 3, 4, 2)
    with pytest.raises(InputError, match="got 2 x 3 x 4 x 2, 2 x 3 x 4 x 2, 2 x 4 x 2"):
        masked_l1(images, images, torch.zeros(2, 4, 2))
    with pytest.raises(InputError, match="got 2 x 3 x 4 x 2, 1 x 3 x 4 x 2"):
        masked_l1(images, images[:1])
