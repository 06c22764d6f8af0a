"""Layers that compare two images: by hand, against loops from the definition, and their gradients."""

import numpy as np
import pytest
import torch
from pairs_by_loop import neighbourhood_difference, normalised_correlation
from torch import Tensor, nn

from reidentify.errors import InputError
from reidentify.models.pairs import NeighbourhoodDifference, NormalisedCorrelation, layers

LAYERS = {
    "correlation": (NormalisedCorrelation(), normalised_correlation, lambda w: 5 * w),
    "difference": (NeighbourhoodDifference(), neighbourhood_difference, lambda w: 25),
}
SIZES = [(1, 3, 7, 4), (2, 2, 5, 5), (3, 1, 2, 3), (1, 2, 1, 1), (0, 3, 7, 4)]


def maps(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random maps, with an even area as a ReLU leaves it."""
    found = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    found[..., : shape[-2] // 2, : shape[-1] // 2] = 0
    return found


def loop(function, a: Tensor, b: Tensor) -> Tensor:
    pairs = [torch.from_numpy(function(x.numpy(), y.numpy())) for x, y in zip(a, b)]
    return torch.stack(pairs) if pairs else torch.zeros(0)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("size", SIZES)
def test_layers_by_loop(name: str, size: tuple[int, ...]) -> None:
    layer, function, channels = LAYERS[name]
    a, b = maps(*size), maps(*size, seed=1)
    found = layer(a, b)
    assert found.shape == (size[0], size[1] * channels(size[3]), *size[2:])
    assert found.dtype == torch.float64
    if size[0]:
        torch.testing.assert_close(found, loop(function, a, b), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_published_size_in_float32(name: str) -> None:
    layer, function, channels = LAYERS[name]
    a, b = (maps(2, 25, 37, 12, seed=seed).relu() for seed in (0, 1))
    found = layer(a.float(), b.float())
    assert found.shape == (2, 25 * channels(12), 37, 12)
    expected = loop(function, a[:, :2], b[:, :2])  # channels do not mix
    torch.testing.assert_close(found[:, : expected.shape[1]].double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.double(), layer(a, b), rtol=1e-4, atol=1e-5)


def test_order_of_correlations() -> None:
    """One bright cell in each map, b's one row below and three columns right of a's: where both patches hold their cell
    in the same place, they are equal. One cell of 1 among 24 of 0 has variance 1/25 with 24 as divisor."""
    a, b = torch.zeros(1, 2, 9, 6, dtype=torch.float64), torch.zeros(1, 2, 9, 6, dtype=torch.float64)
    a[0, 1, 4, 2], b[0, 1, 5, 5] = 1, 1
    found = NormalisedCorrelation()(a, b).reshape(2, 5, 6, 9, 6)
    assert not found[0].any()
    equal = 0.2**2 / (0.2 + 0.01) ** 2
    # row offset 3 is one row below
    assert float(found[1, 3, 5, 4, 2]) == pytest.approx(equal)
    assert float(found[1, 3, 4, 4, 1]) == pytest.approx(equal)
    # Elsewhere the cells meet a 0: covariance (0 - 2 / 25 + 25 / 625) / 24 = -1 / 600.
    assert float(found[1, 2, 5, 4, 2]) == pytest.approx(-1 / 600 / 0.21**2)
    assert float(found[1].max()) == pytest.approx(equal)


def test_order_of_differences() -> None:
    a, b = torch.full((1, 2, 6, 7), 5.0), torch.zeros(1, 2, 6, 7)
    b[0, 1] = torch.arange(42.0).reshape(6, 7) / 10
    found = NeighbourhoodDifference()(a, b).reshape(2, 5, 5, 6, 7)
    assert bool((found[0] == 5).all())
    # Row 2, column 3 is cell 17; two rows above and one column left of it is cell 2.
    assert float(found[1, 2, 2, 2, 3]) == pytest.approx(5 - 1.7)
    assert float(found[1, 0, 1, 2, 3]) == pytest.approx(5 - 0.2)
    assert float(found[1, 0, 0, 0, 0]) == 5  # above the map
    assert not NeighbourhoodDifference()(b - 1, a)[:, :25].any()  # nothing below 0


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("at_once", [1, 2, 32])
def test_gradients(name: str, at_once: int, monkeypatch) -> None:
    monkeypatch.setattr(layers, "_pairs_at_once", lambda _: at_once)
    a, b = (torch.randn(3, 2, 4, 3, dtype=torch.float64).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(LAYERS[name][0], (a, b))
    assert torch.autograd.gradcheck(lambda x: LAYERS[name][0](x, x.flip(0)), (a,))
    assert torch.autograd.gradcheck(lambda x: LAYERS[name][0](x, b.detach()), (a,))
    assert torch.autograd.gradcheck(lambda x: LAYERS[name][0](a.detach(), x), (b,))


def test_a_second_derivative_is_refused() -> None:
    a, b = (torch.randn(1, 2, 4, 3).requires_grad_() for _ in range(2))
    (first,) = torch.autograd.grad(NormalisedCorrelation()(a, b).square().sum(), a, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.square().sum().backward()


def test_gradients_by_plain_operations() -> None:
    """At the published size: patches by unfold, all correlations by one product, of which a band is taken."""
    a, b = (maps(2, 3, 37, 12, seed=seed).requires_grad_() for seed in (0, 1))
    weights = torch.randn(2, 3 * 60, 37, 12, dtype=torch.float64)

    def standardised(x: Tensor) -> Tensor:
        patches = nn.functional.unfold(x, 5, padding=2).reshape(2, 3, 25, 444)
        return (patches - patches.mean(2, keepdim=True)) / (patches.var(2, keepdim=True) + 1e-30).sqrt().add(0.01)

    every = (standardised(b).mT @ standardised(a) / 24).reshape(2, 3, 37, 12, 37, 12)
    band = weights.new_zeros(2, 3, 5, 12, 37, 12)
    for y in range(37):
        for r in range(5):
            if 0 <= y + r - 2 < 37:
                band[:, :, r, :, y] = every[:, :, y + r - 2, :, y]
    expected = torch.autograd.grad((band.reshape(weights.shape) * weights).sum(), (a, b))
    found = torch.autograd.grad((NormalisedCorrelation()(a, b) * weights).sum(), (a, b))
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other)


def test_even_maps_have_gradients_too() -> None:
    a, b = torch.zeros(1, 1, 8, 8, requires_grad=True), torch.full((1, 1, 8, 8), 2.0, requires_grad=True)
    found = NormalisedCorrelation()(a, b)
    assert not found.any()
    found.sum().backward()
    assert bool(torch.isfinite(a.grad).all())
    assert bool(torch.isfinite(b.grad).all())


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_memory_layout_and_batch_change_nothing(name: str, count: int, monkeypatch) -> None:
    """Batches of 2 take large pages once they are large; strides of the inputs and of the gradient may be any."""
    layer = LAYERS[name][0]
    a, b = (maps(count, 4, 9, 6, seed=seed, dtype=torch.float32).requires_grad_() for seed in (0, 1))
    one_by_one = torch.cat([layer(x[None], y[None]) for x, y in zip(a, b)])
    weights = torch.randn(one_by_one.shape)
    expected = torch.autograd.grad((one_by_one * weights).sum(), (a, b))
    monkeypatch.setattr(layers, "_LARGE", 1)
    forms = [
        (a, b),
        tuple(x.to(memory_format=torch.channels_last) for x in (a, b)),
        tuple(x.mT.contiguous().mT for x in (a, b)),
        tuple(torch.stack([x, x], 4)[..., 1] for x in (a, b)),
    ]
    for x, y in forms:
        found = layer(x, y)
        torch.testing.assert_close(found, one_by_one)
        for grad in (weights, weights.to(memory_format=torch.channels_last)):
            grads = torch.autograd.grad(found, (a, b), grad, retain_graph=True)
            for got, want in zip(grads, expected):
                torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_a_result_may_be_changed_in_place_and_outlives_its_inputs() -> None:
    a, b = (maps(13, 25, 37, 12, seed=seed, dtype=torch.float32).requires_grad_() for seed in (0, 1))
    expected = NormalisedCorrelation()(a, b).detach().numpy().copy()  # 35 MB: large pages
    found = NormalisedCorrelation()(a, b).relu_()
    found.sum().backward()
    assert bool(a.grad.any())
    del a, b
    np.testing.assert_array_equal(found.detach().numpy(), np.maximum(expected, 0))


@pytest.mark.parametrize("name", LAYERS)
def test_mixed_precision(name: str) -> None:
    layer, function, _ = LAYERS[name]
    a, b = (maps(2, 2, 6, 5, seed=seed).bfloat16() for seed in (0, 1))
    expected = loop(function, a.double(), b.double())
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(a.requires_grad_(), b)
    if name == "correlation":
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    else:
        torch.testing.assert_close(found.double(), expected, rtol=1e-2, atol=1e-2)
    found.float().sum().backward()
    assert a.grad.dtype == torch.bfloat16
    assert bool(torch.isfinite(a.grad).all())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", LAYERS)
def test_on_a_gpu(name: str) -> None:
    layer = LAYERS[name][0]
    a, b = (maps(40, 3, 9, 6, seed=seed).requires_grad_() for seed in (0, 1))
    expected = layer(a, b)
    found = layer(a.cuda(), b.cuda())
    torch.testing.assert_close(found.cpu(), expected)
    weights = torch.randn_like(expected)
    grads = (torch.autograd.grad((o * w).sum(), (a, b)) for o, w in ((found, weights.cuda()), (expected, weights)))
    for got, want in zip(*grads):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", LAYERS)
def test_maps_that_cannot_be_compared(name: str) -> None:
    message = r"expected two of one shape B x C x h x w, got 1 x 2 x 5 x 5 and 1 x 2 x 5 x 6"
    with pytest.raises(InputError, match=message):
        LAYERS[name][0](torch.zeros(1, 2, 5, 5), torch.zeros(1, 2, 5, 6))
    with pytest.raises(InputError, match="got 2 x 5 x 5 and 2 x 5 x 5"):
        LAYERS[name][0](torch.zeros(2, 5, 5), torch.zeros(2, 5, 5))
