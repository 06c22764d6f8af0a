"""Pooling over time: by hand, against loops over unpadded clips, and that padding changes nothing."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reidentify.errors import InputError
from reidentify.models.asta import ASTA
from reidentify.models.temporal import (
    NonLocal,
    TemporalAttention,
    TemporalMax,
    TemporalMean,
    TemporalRNN,
    pack,
    unpack,
)

POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "mean": lambda: TemporalMean(6),
    "max": lambda: TemporalMax(6),
    "attention": lambda: TemporalAttention(6, (4, 2), hidden=5),
    "lstm": lambda: TemporalRNN(6, hidden=7),
    "gru": lambda: TemporalRNN(6, hidden=7, kind="gru"),
    "nonlocal": lambda: stirred(NonLocal(6)),
    "asta": lambda: ASTA(6, grid=(4, 2)),
}


def stirred(module: nn.Module) -> nn.Module:
    """With parameters that are neither 0 nor 1, as after training."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module


def clips(*lengths: int, channels: int = 6, size: tuple[int, int] = (4, 2), fill: float = 0.0) -> tuple[Tensor, Tensor]:
    """Random maps of these many frames each, filled up to the longest."""
    valid = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    maps = torch.full((*valid.shape, channels, *size), fill)
    maps[valid] = torch.randn(sum(lengths), channels, *size, generator=torch.Generator().manual_seed(sum(lengths)))
    return maps, valid


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("fill", [0.0, 1e4, math.nan])
def test_padding_changes_nothing(name: str, fill: float) -> None:
    torch.manual_seed(0)
    pooling = POOLINGS[name]().eval()
    maps, valid = clips(5, 2, 1, fill=fill)
    together = pooling(maps, valid)
    for i, n in enumerate((5, 2, 1)):
        alone = pooling(maps[i : i + 1, :n], valid[i : i + 1, :n])
        torch.testing.assert_close(together.feature[i : i + 1], alone.feature)
        for key, value in alone.maps.items():
            torch.testing.assert_close(together.maps[key][i : i + 1, :n], value)
            assert not together.maps[key][i, n:].any()
    assert together.feature.shape == (3, pooling.out_features)


@pytest.mark.parametrize("name", ["nonlocal", "asta"])
def test_padding_does_not_enter_batch_statistics(name: str) -> None:
    torch.manual_seed(0)
    pooling = POOLINGS[name]().train()
    maps, valid = clips(2, 2)
    longer = torch.cat([maps, torch.full_like(maps[:, :1], 50.0)], 1)
    expected = pooling(maps, valid).feature
    got = pooling(longer, torch.cat([valid, valid.new_zeros(2, 1)], 1)).feature
    torch.testing.assert_close(got, expected)


def test_padding_gets_no_gradient() -> None:
    torch.manual_seed(0)
    for name, build in POOLINGS.items():
        maps, valid = clips(3, 1)
        maps.requires_grad_()
        build()(maps, valid).feature.square().sum().backward()
        assert maps.grad is not None
        assert not maps.grad[~valid].any(), name
        assert bool(maps.grad[valid].flatten(1).any(1).all()), name


def test_pack_and_unpack() -> None:
    maps, valid = clips(1, 3, 2)
    packed = pack(maps, valid)
    assert packed.shape == (6, 6, 4, 2)
    torch.testing.assert_close(packed[4], maps[2, 0])
    torch.testing.assert_close(unpack(packed, valid), maps)


def test_mean_and_maximum_by_hand() -> None:
    # Two frames of one channel and 1 x 2 positions, averages 2 and 6; a third that does not count.
    maps = torch.tensor([[1.0, 3.0], [4.0, 8.0], [90.0, 90.0]]).reshape(1, 3, 1, 1, 2)
    valid = torch.tensor([[True, True, False]])
    assert TemporalMean(1)(maps, valid).feature.tolist() == [[4.0]]
    assert TemporalMax(1)(maps, valid).feature.tolist() == [[6.0]]


def test_attention_by_hand() -> None:
    """Frames 1, 2, 4 of one value; the convolution over space doubles, the one over time adds half of the frame before,
    the frame, and a quarter of the frame after, and takes 5 off.

    Hidden 2, 4, 8; scores 0 + 2 + 1 - 5 < 0, 1 + 4 + 2 - 5 = 2, 2 + 8 + 0 - 5 = 5; after ReLU 0, 2, 5.
    """
    pooling = TemporalAttention(1, grid=(1, 1), hidden=1)
    with torch.no_grad():
        pooling.space.weight.fill_(2)
        pooling.space.bias.fill_(0)
        pooling.time.weight.copy_(torch.tensor([0.5, 1, 0.25]).reshape(1, 1, 3))
        pooling.time.bias.fill_(-5)
    maps = torch.tensor([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1, 1)
    pooled = pooling(maps, torch.ones(1, 3, dtype=torch.bool))
    total = 1 + math.exp(2) + math.exp(5)
    weights = [1 / total, math.exp(2) / total, math.exp(5) / total]
    assert pooled.maps["frame_weights"].flatten().tolist() == pytest.approx(weights)
    assert pooled.feature.item() == pytest.approx(weights[0] + 2 * weights[1] + 4 * weights[2])


def test_attention_averages_other_maps_onto_its_grid() -> None:
    torch.manual_seed(0)
    pooling = TemporalAttention(3, grid=(2, 2), hidden=4)
    maps, valid = clips(3, channels=3, size=(6, 4))
    averaged = maps.reshape(1, 3, 3, 2, 3, 2, 2).mean((4, 6))
    torch.testing.assert_close(pooling(maps, valid).maps, pooling(averaged, valid).maps)


def test_attention_has_the_published_size() -> None:
    pooling = TemporalAttention(2048)
    assert sum(p.numel() for p in pooling.parameters()) == (2048 * 7 * 4 * 256 + 256) + (256 * 3 + 1)


@pytest.mark.parametrize(("kind", "cell"), [("lstm", nn.LSTMCell), ("gru", nn.GRUCell)])
def test_recurrent_network_step_by_step(kind: str, cell: type[nn.RNNCellBase]) -> None:
    torch.manual_seed(0)
    pooling = TemporalRNN(6, 7, kind)
    step = cell(6, 7)
    step.load_state_dict({k.removesuffix("_l0"): v for k, v in pooling.rnn.state_dict().items()})
    maps, valid = clips(4, 2)
    for i, n in enumerate((4, 2)):
        state, outputs = None, []
        for frame in maps[i, :n].mean((2, 3)):
            state = step(frame[None], state)
            outputs.append(state[0] if kind == "lstm" else state)
        torch.testing.assert_close(pooling(maps, valid).feature[i], torch.cat(outputs).mean(0))


def test_nonlocal_block_position_by_position() -> None:
    torch.manual_seed(0)
    pooling = stirred(NonLocal(6)).eval()
    maps, valid = clips(3, 2)
    for i, n in enumerate((3, 2)):
        x = maps[i, :n].permute(0, 2, 3, 1).reshape(-1, 6)
        theta, phi, g = (x @ pooling.project.weight[:, :, 0, 0].T + pooling.project.bias).split(3, 1)
        rows = []
        for position in range(len(x)):
            scores = torch.stack([theta[position] @ phi[j] for j in range(len(x))]).exp()
            y = sum(scores[j] / scores.sum() * g[j] for j in range(len(x)))
            z = pooling.restore.weight[:, :, 0, 0] @ y + pooling.restore.bias
            norm = pooling.norm
            z = z / math.sqrt(1 + norm.eps) * norm.weight + norm.bias  # running mean 0, running variance 1
            rows.append(x[position] + z)
        torch.testing.assert_close(pooling(maps, valid).feature[i], torch.stack(rows).mean(0))


def test_nonlocal_block_starts_as_the_mean() -> None:
    maps, valid = clips(3, 2)
    pooled = NonLocal(6)(maps, valid).feature
    torch.testing.assert_close(pooled, TemporalMean(6)(maps, valid).feature)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TemporalAttention(4, (0, 2)), "grid: expected rows and columns of at least 1"),
        (lambda: TemporalAttention(4, hidden=0), "hidden: expected at least 1"),
        (lambda: TemporalRNN(4, kind="rnn"), "kind: expected lstm or gru, got 'rnn'"),
        (lambda: TemporalRNN(4, hidden=0), "hidden: expected at least 1"),
        (lambda: NonLocal(4, 5), "reduction: expected from 1 to the 4 channels, got 5"),
        (lambda: ASTA(4, hidden=0), "hidden: expected at least 1"),
    ],
)
def test_settings_out_of_range(build: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()
