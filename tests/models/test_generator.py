"""The generator: counted layers, shapes, range, settings, and a forward pass written out."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reidentify.errors import InputError
from reidentify.models.generation.generator import Generator, to_imagenet
from reidentify.models.generation.settings import GeneratorSettings
from reidentify.models.weights import Preprocessing

TINY = GeneratorSettings(channels=4, pose_features=6, noise=5, dropout=0.0)
SIZE = (64, 32)


def network(features: int = 7, **changes: object) -> Generator:
    torch.manual_seed(0)
    return Generator(features, SIZE, dataclasses.replace(TINY, **changes))


def inputs(net: Generator, count: int = 3, features: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    pose = torch.rand(count, net.settings.joints, *net.size, generator=generator)
    return torch.randn(count, features, generator=generator), pose, net.noise(count, generator)


def test_the_published_generator_by_count() -> None:
    """18 joints, 256 x 128, 64 channels, features of 2048, pose 128, noise 256; no biases but in batch norms (2 each).

    Convolutions of 4 x 4 = 16 weights a pair of channels, norms in brackets:
    down    18 * 64 + 64 * 128 [128] + 128 * 256 [256] + 256 * 512 [512] + 512 * 512 [512]
            = 435,328 pairs -> 6,965,248 and 2 * 1,408 = 2,816
    summary 512 * 128 of 8 x 4 = 32 weights -> 2,097,152 and 2 * 128 = 256
    unfold  (2048 + 128 + 256) * 512 of 32 -> 39,845,888 and 2 * 512 = 1,024
    up      512 * 512 [512] + 512 * 256 [256] + 256 * 128 [128] + 128 * 64 [64] + 64 * 3
            = 434,368 pairs -> 6,949,888 and 2 * 960 = 1,920
    """
    with torch.device("meta"):
        net = Generator(2048, (256, 128), GeneratorSettings(joints=18))
        assert sum(p.numel() for p in net.parameters()) == (
            6_965_248 + 2_816 + 2_097_152 + 256 + 39_845_888 + 1_024 + 6_949_888 + 1_920
        )
        shapes: list[tuple[int, ...]] = []
        for layer in [*net.down, net.summary, net.unfold, *net.up]:
            layer.register_forward_hook(lambda *call: shapes.append(tuple(call[-1].shape[1:])))
        assert net(torch.zeros(2, 2048), torch.zeros(2, 18, 256, 128), torch.zeros(2, 256)).shape == (2, 3, 256, 128)
    down = [(64, 128, 64), (128, 64, 32), (256, 32, 16), (512, 16, 8), (512, 8, 4)]
    up = [(512, 16, 8), (256, 32, 16), (128, 64, 32), (64, 128, 64), (3, 256, 128)]
    assert shapes == [*down, (128, 1, 1), (512, 8, 4), *up]


@pytest.mark.parametrize(
    ("skips", "published"),
    [
        (0, [8, 8, 4, 2, 1]),
        (1, [16, 8, 4, 2, 1]),
        (2, [16, 16, 4, 2, 1]),
        (3, [16, 16, 8, 2, 1]),
        (4, [16, 16, 8, 4, 1]),
        (5, [16, 16, 8, 4, 2]),
    ],
)
@pytest.mark.parametrize("fuse", ["concatenate", "add"])
def test_every_skip_and_fusion_draws_and_learns(skips: int, published: list[int], fuse: str) -> None:
    """`published` is the released code's table of input channels of the decoder, in multiples of 64."""
    net = network(skips=skips, fuse=fuse)
    layers = [m for m in net.up.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [layer.in_channels // 4 for layer in layers] == published
    given = [value.requires_grad_() for value in inputs(net)]
    picture = net(*given)
    assert picture.shape == (3, 3, *SIZE)
    (picture * torch.randn_like(picture)).sum().backward()
    for value in (*given, *net.parameters()):
        assert value.grad is not None
        assert value.grad.abs().max() > 0


def test_the_forward_pass_written_out() -> None:
    """Layer by layer in plain functions, in evaluation mode, where a fresh batch norm is x * weight / sqrt(1 + eps)."""
    net = network(skips=2).eval()
    for parameter in net.parameters():  # of a size that no layer's part is lost in rounding
        nn.init.normal_(parameter, std=0.2)
    features, pose, noise = inputs(net)

    def normed(x: torch.Tensor, norm: nn.Module) -> torch.Tensor:
        return x * norm.weight[:, None, None] / (1 + 1e-5) ** 0.5 + norm.bias[:, None, None]

    maps = [F.conv2d(pose, net.down[0].weight, stride=2, padding=1)]
    for _, conv, norm in net.down[1:]:
        before = torch.where(maps[-1] > 0, maps[-1], 0.2 * maps[-1])
        maps.append(normed(F.conv2d(before, conv.weight, stride=2, padding=1), norm))
    before = torch.where(maps[-1] > 0, maps[-1], 0.2 * maps[-1])
    summary = normed((before[:, None] * net.summary[1].weight).sum((2, 3, 4))[..., None, None], net.summary[2])
    fused = torch.cat([features, summary[..., 0, 0].clamp(min=0), noise.clamp(min=0)], 1)
    x = normed(torch.einsum("bi,iohw->bohw", fused, net.unfold[0].weight), net.unfold[1])
    for i, (_, conv, *rest) in enumerate(net.up):
        x = torch.cat([x, maps[4 - i]], 1) if i < 2 else x
        x = F.conv_transpose2d(x.clamp(min=0), conv.weight, stride=2, padding=1)
        x = torch.tanh(x) if i == 4 else normed(x, rest[0])
    torch.testing.assert_close(net(features, pose, noise), x, atol=1e-6, rtol=1e-4)


def test_the_whole_range_of_pixels_can_be_drawn() -> None:
    """Published targets reached from -2.1 to 2.6, where a Tanh ends at 1. Targets of -1 to 1 are met: a tiny generator
    learns a picture whose left half is black and whose right half is white, to the last grey level."""
    net = network(noise=0)
    features, pose, _ = inputs(net, 2)
    target = torch.ones(2, 3, *SIZE)
    target[..., :16] = -1
    optimiser = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(50):
        optimiser.zero_grad()
        picture = net(features, pose)
        F.l1_loss(picture, target).backward()
        optimiser.step()
    assert picture.min() >= -1
    assert picture.max() <= 1
    pixels = ((net(features, pose) + 1) * 127.5).round()
    assert pixels.min() == 0
    assert pixels.max() == 255
    assert ((pixels - (target + 1) * 127.5).abs() <= 2).float().mean() > 0.9


def test_negative_features_count_too() -> None:
    net = network().eval()
    features, pose, noise = inputs(net)
    features = (-features.abs()).requires_grad_()
    net(features, pose, noise).square().sum().backward()
    assert (features.grad.abs() > 0).all()


def test_noise_is_drawn_from_a_seed_and_counts() -> None:
    net = network().eval()
    features, pose, _ = inputs(net)
    first, again = (net.noise(3, torch.Generator().manual_seed(4)) for _ in range(2))
    assert first.shape == (3, 5)
    assert torch.equal(first, again)
    assert not torch.equal(first, net.noise(3, torch.Generator().manual_seed(5)))
    assert not torch.allclose(net(features, pose, first), net(features, pose, -first), atol=1e-6)
    silent = network(noise=0).eval()
    assert torch.equal(silent(features, pose), silent(features, pose, silent.noise(3)))


def test_pose_maps_are_as_wide_as_stated_at_a_height_of_256() -> None:
    """At 64 rows a sigma of 5 is 1.25 pixels; a joint at x = 10, y = 20, two pixels to the right exp(-4 / 3.125)."""
    net = network(joints=17)
    joints = torch.zeros(1, 17, 3)
    joints[0, 3] = torch.tensor([10.0, 20.0, 1.0])
    maps = net.pose(joints)
    assert maps.shape == (1, 17, *SIZE)
    assert maps[0, 3, 20, 10] == 1
    assert maps[0, 3, 20, 12].item() == pytest.approx(2.718281828 ** (-4 / 3.125))
    assert not maps[0, :3].any()
    assert not maps[0, 4:].any()


def test_a_joint_that_is_seen_at_all_is_drawn_in_full() -> None:
    """Generators are trained on joints that are there or not: a peak is 1, however sure somebody is of the joint."""
    net = network()
    joints = torch.tensor([10.0, 20, 0]).repeat(2, 14, 1)
    joints[0, :6, 2] = torch.tensor([1e-3, 0.5, 0.93, 1, 0, torch.nan])
    joints[0, 6] = torch.tensor([40.0, 20, 1])  # outside the picture
    expected = [1.0] * 4 + [0.0] * 10
    assert net.pose(joints)[0, :, 20, 10].tolist() == expected
    assert net.pose(joints, torch.Generator())[0, :, 20, 10].tolist() == expected
    assert not net.pose(joints)[1].any()


def test_pose_maps_jitter_in_training_only() -> None:
    joints = torch.rand(40, 14, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([31.0, 63, 0]) + 1e-3
    joints[..., 2] = 1
    erasing, widening = network(jitter="erase"), network(jitter="gauss")
    plain = erasing.pose(joints)
    assert torch.equal(widening.pose(joints), plain)
    assert torch.equal(network().pose(joints, torch.Generator()), plain)
    empty = ~erasing.pose(joints, torch.Generator().manual_seed(0)).flatten(2).any(2)
    assert empty.sum(1).tolist() == [1] * 40
    mass = widening.pose(joints, torch.Generator().manual_seed(0)).sum((1, 2, 3)) / plain.sum((1, 2, 3))
    assert mass.min() < 0.8
    assert mass.max() > 1.2
    assert ((mass - 1).abs() < 1e-5).any()


def test_weights_start_as_published() -> None:
    net = Generator(64, (64, 32), GeneratorSettings(channels=16, fuse="add"))
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            assert module.bias is None
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.15)
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=0.02)
            assert not module.bias.any()


def test_to_imagenet_by_hand_and_as_the_networks_are_fed() -> None:
    black, white = (to_imagenet(torch.full((3, 1, 1), value)).flatten() for value in (-1.0, 1.0))
    torch.testing.assert_close(black, torch.tensor([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]))
    torch.testing.assert_close(white, torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))
    pixels = torch.randint(256, (2, 3, 4, 2), dtype=torch.uint8)
    torch.testing.assert_close(to_imagenet(pixels / 127.5 - 1), Preprocessing().apply(pixels), atol=1e-5, rtol=1e-5)


def test_wrong_inputs_are_named_in_one_line() -> None:
    net = network()
    features, pose, noise = inputs(net)
    cases = [
        (features, pose[..., ::2, ::2], noise, "pose: the generator was built for 3 x 14 x 64 x 32, got 3 x 14 x 32 "),
        (features, torch.zeros(3, 18, *SIZE), noise, "pose: .* 3 x 14 x 64 x 32, got 3 x 18 x 64 x 32"),
        (features, pose[:2], noise, "pose: .* got 2 x 14 x 64 x 32"),
        (features[:, 1:], pose, noise, "features: the generator was built for 3 x 7, got 3 x 6"),
        (features, pose, None, "noise: the generator was built for 3 x 5, got 3 x 0"),
        (features, pose, noise[:1], "noise: .* got 1 x 5"),
    ]
    for *given, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            net(*given)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="keypoints: the generator expects B x 14 x 3, got 2 x 17 x 3"):
        net.pose(torch.zeros(2, 17, 3))


@pytest.mark.parametrize("size", [(32, 32), (96, 40), (100, 64), (64, 0)])
def test_sizes_that_do_not_divide_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"multiples of 32, from 64 x 32 on, not of {size[0]} x {size[1]}"):
        Generator(7, size, TINY)


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("channels", 0, "at least 1"),
        ("pose_features", 0, "at least 1"),
        ("noise", -1, "0 or more"),
        ("dropout", 1.0, "from 0 to below 1"),
        ("skips", 6, "from 0 to 5"),
        ("sigma", 0.0, "above 0"),
        ("fuse", "join", "concatenate or add"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: str, value: object, expected: str) -> None:
    with pytest.raises(InputError, match=rf"generator\.{setting}: expected .*{expected}, got {value}"):
        network(**{setting: value})
    with pytest.raises(InputError, match="which of 15 joints"):
        network(joints=15)


def test_batch_norms_do_not_dim_the_pose() -> None:
    """A pose map is almost all zero, and its responses at the start are tiny: a norm brings them to a deviation of one
    all the same, in half precision too."""
    torch.manual_seed(0)
    net = Generator(8, (128, 64), GeneratorSettings(channels=16, pose_features=8, noise=0))
    joints = torch.cat([torch.rand(16, 14, 2) * torch.tensor([64.0, 128.0]), torch.ones(16, 14, 1)], 2)
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            maps = net.down[1](net.down[0](net.pose(joints))).float()
        deviations = maps.transpose(0, 1).flatten(1).std(1)
        torch.testing.assert_close(deviations, net.down[1][2].weight.detach().abs(), rtol=0.03, atol=0)
