"""ASTA against a plain loop, its published size, and which gradients it lets through."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reidentify.models.asta import ASTA, GroupAttention
from reidentify.models.attributes import AttributeHead
from reidentify.models.baseline import NECKS
from reidentify.values import Attribute

SCHEMA = (
    Attribute("hat", ("no", "yes"), identity=True),
    Attribute("action", ("walk", "stand", "ride"), identity=False),
    Attribute("coat", ("red", "green", "blue", "grey"), identity=True),
)


def whole(b: int, t: int) -> Tensor:
    return torch.ones(b, t, dtype=torch.bool)


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(1)
    for name, parameter in module.named_parameters():
        torch.nn.init.normal_(parameter, std=0.05 if name.endswith("time.weight") else 0.2)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return module


def group_by_loop(branch: GroupAttention, clip: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """T x C x 16 x 8 -> attention T x 16 x 8 and logits, frame by frame and cell by cell."""
    conv, norm, _ = branch.local
    scores = []
    for frame in clip:
        local = torch.einsum("oc,chw->ohw", conv.weight[:, :, 0, 0], frame) + conv.bias[:, None, None]
        local = (local - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
        local = F.relu(local * norm.weight[:, None, None] + norm.bias[:, None, None])
        score = F.conv2d(local[None], branch.space.weight, branch.space.bias, padding=1)[0, 0]
        scores.append(score.reshape(128))
    attention = []
    for t in range(len(clip)):
        mixed = branch.time.bias.clone()
        for shift in (-1, 0, 1):
            if 0 <= t + shift < len(clip):
                mixed = mixed + branch.time.weight[:, :, shift + 1] @ scores[t + shift]
        attention.append(torch.sigmoid(mixed).reshape(16, 8))
    pooled = torch.stack([(a * frame).mean((1, 2)) for a, frame in zip(attention, clip)]).mean(0)
    head = branch.head
    logits = head.linear.weight @ F.relu(pooled) + head.linear.bias
    return torch.stack(attention), dict(zip(head.names, logits.split(head.sizes)))


def test_asta_by_loop() -> None:
    asta = randomised(ASTA(5, SCHEMA, hidden=4)).eval()
    maps = torch.randn(2, 3, 5, 16, 8)
    valid = torch.tensor([[True, True, True], [True, True, False]])
    with torch.no_grad():
        pooled = asta(maps, valid)
        for i, n in enumerate((3, 2)):
            clip = maps[i, :n]
            own = torch.sigmoid(F.conv2d(clip, asta.own.weight, asta.own.bias, padding=1))
            own_maps = own * clip
            a1, person = group_by_loop(asta.identity, clip)
            a2, circumstances = group_by_loop(asta.sighting, clip)
            joined = torch.cat([own_maps, a1[:, None] * own_maps, a2[:, None] * own_maps], 1)
            torch.testing.assert_close(pooled.feature[i], joined.mean((0, 2, 3)))
            for name, value in {"own": own[:, 0], "identity": a1, "sighting": a2}.items():
                torch.testing.assert_close(pooled.maps[name][i, :n], value)
            for name, value in (person | circumstances).items():
                torch.testing.assert_close(pooled.attributes[name][i], value)
    assert {k: tuple(v.shape) for k, v in pooled.attributes.items()} == {
        "hat": (2, 2),
        "coat": (2, 4),
        "action": (2, 3),
    }


def test_published_size() -> None:
    """ResNet-50 at 256 x 128 with MARS's attributes: 41 values of the person, 25 of the sighting."""
    counts = {True: [9, 10, 4, *[2] * 9], False: [5, 6, *[2] * 7]}
    schema = [
        Attribute(f"{identity}{i}", tuple(map(str, range(n))), identity)
        for identity, sizes in counts.items()
        for i, n in enumerate(sizes)
    ]
    asta = ASTA(2048, schema)
    assert asta.out_features == 6144
    attention = 2048 * 3 * 3 + 1
    group = (2048 * 2048 + 2048) + 2 * 2048 + attention + (128 * 128 * 3 + 128)
    heads = 2049 * 41 + 2049 * 25
    assert sum(p.numel() for p in asta.parameters()) == attention + 2 * group + heads
    assert NECKS["bnneck"](asta.out_features, 625).classifier.weight.shape == (625, 6144)


def test_attributes_do_not_train_what_is_below() -> None:
    asta = randomised(ASTA(5, SCHEMA))
    maps = torch.randn(2, 3, 5, 16, 8, requires_grad=True)
    pooled = asta(maps, whole(2, 3))
    for logits in pooled.attributes.values():
        logits.square().sum().backward(retain_graph=True)
    assert maps.grad is None
    assert asta.own.weight.grad is None
    for branch in (asta.identity, asta.sighting):
        assert all(bool(p.grad.any()) for n, p in branch.named_parameters() if n != "local.0.bias")


def test_features_train_attentions_but_nothing_below_through_them() -> None:
    asta = randomised(ASTA(5, SCHEMA)).eval()
    maps = torch.randn(2, 3, 5, 16, 8, requires_grad=True)
    pooled = asta(maps, whole(2, 3))
    pooled.feature.square().sum().backward()
    assert bool(asta.identity.time.weight.grad.any())
    assert bool(asta.sighting.local[0].weight.grad.any())
    # The same feature with both attentions held fixed.
    fixed = maps.detach().requires_grad_()
    own = asta.own(fixed.flatten(0, 1)).sigmoid().unflatten(0, (2, 3))
    ones = torch.ones(2, 3, 1, 16, 8)
    attentions = [ones, *(pooled.maps[k].detach()[:, :, None] for k in ("identity", "sighting"))]
    feature = torch.cat([(a * own * fixed).mean((1, 3, 4)) for a in attentions], 1)
    feature.square().sum().backward()
    torch.testing.assert_close(maps.grad, fixed.grad)


@pytest.mark.parametrize("size", [(16, 8), (32, 16), (8, 4), (7, 3), (24, 8), (1, 1)])
@pytest.mark.parametrize("frames", [1, 4])
def test_any_size_and_length(size: tuple[int, int], frames: int) -> None:
    asta = randomised(ASTA(5, SCHEMA)).train()
    with torch.no_grad():
        pooled = asta(torch.randn(2, frames, 5, *size), whole(2, frames))
    assert pooled.feature.shape == (2, 15)
    assert all(v.shape == (2, frames, *size) for v in pooled.maps.values())
    assert all(float(v.min()) > 0 and float(v.max()) < 1 for v in pooled.maps.values())


def test_other_sizes_see_the_grid_they_are_averaged_to() -> None:
    """Maps twice as large, each cell repeated: away from the borders of a cell the attention is that of the cell."""
    asta = randomised(ASTA(5, SCHEMA, grid=(2, 2))).eval()
    with torch.no_grad():
        for branch in (asta.identity, asta.sighting):
            branch.space.weight[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0  # a 1 x 1 convolution
        small = torch.randn(1, 2, 5, 2, 2)
        large = small.repeat_interleave(4, 3).repeat_interleave(4, 4)
        expected, got = asta(small, whole(1, 2)), asta(large, whole(1, 2))
    for key in ("identity", "sighting"):
        corners = got.maps[key][:, :, [0, 0, 7, 7], [0, 7, 0, 7]].unflatten(2, (2, 2))
        torch.testing.assert_close(corners, expected.maps[key])


def test_without_attributes_there_are_attentions_all_the_same() -> None:
    asta = randomised(ASTA(5))
    pooled = asta(torch.randn(2, 3, 5, 16, 8), whole(2, 3))
    assert pooled.attributes == {}
    assert pooled.feature.shape == (2, 15)
    assert set(pooled.maps) == {"own", "identity", "sighting"}
    only_person = ASTA(5, SCHEMA[:1])(torch.randn(2, 3, 5, 16, 8), whole(2, 3))
    assert set(only_person.attributes) == {"hat"}


def test_attribute_head_by_hand() -> None:
    head = AttributeHead(2, SCHEMA[:2], norm=False)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [1, 1], [2, 0], [0, -1]]))
        head.linear.bias.copy_(torch.tensor([0.0, 0, 0, 0, 10]))
    logits = head(torch.tensor([[3.0, 4.0]]))
    assert {k: v.tolist() for k, v in logits.items()} == {"hat": [[3.0, 4.0]], "action": [[7.0, 6.0, 6.0]]}
