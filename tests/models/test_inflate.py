"""Inflated networks give a clip of equal frames what they gave the frame; torchvision's video networks."""

from urllib.error import URLError

import pytest
import torch
from torch import nn

from reidentify.errors import InputError, ReidentifyWarning, WeightsError
from reidentify.models.backbone import Backbone, timm_backbone
from reidentify.models.inflate import Trunk3D, inflate, inflate_backbone, inflated_state, torchvision_3d
from reidentify.models.osnet import OSNet


def lived_in(backbone: Backbone) -> Backbone:
    """With statistics of their own in every norm, so that no norm is the identity."""
    torch.manual_seed(0)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return backbone


NETWORKS = {
    "osnet": lambda: Backbone(OSNet(width=0.25, feature_dim=None)),
    "osnet-ibn": lambda: Backbone(OSNet(width=0.25, norm="ibn", feature_dim=None)),
    "osnet-ain": lambda: Backbone(OSNet(width=0.25, norm="ain", feature_dim=None)),
    "resnet18": lambda: timm_backbone("resnet18"),
    "resnet26d": lambda: timm_backbone("resnet26d"),  # pools in its shortcuts
    "efficientnet-lite": lambda: timm_backbone("tf_efficientnet_lite0"),  # pads by itself, activates in its norms
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_still_clip_gives_the_maps_of_its_frame(name: str) -> None:
    backbone = lived_in(NETWORKS[name]()).eval()
    trunk = inflate_backbone(backbone)
    images = torch.randn(2, 3, 80, 48)
    with torch.no_grad():
        expected = backbone(images)
        for frames in (1, 2, 5):
            maps = trunk(images[:, :, None].expand(-1, -1, frames, -1, -1))
            wanted = expected[:, :, None].expand(-1, -1, frames, -1, -1)
            torch.testing.assert_close(maps, wanted, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
        moving = trunk(torch.randn(2, 3, 5, 80, 48))
    assert moving.shape == (2, backbone.num_features, 5, *expected.shape[2:])
    assert list(trunk.state_dict()) == list(backbone.state_dict())
    assert not trunk.training


def test_inflated_kernel_by_hand() -> None:
    """A kernel that triples: (a + b + c) / 3 of three frames, tripled; the ends repeat."""
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    with torch.no_grad():
        conv.weight.zero_()[0, 0, 1, 1] = 3
    clip = torch.tensor([3.0, 6.0, 12.0]).reshape(1, 1, 3, 1, 1)
    assert inflate(conv)(clip).flatten().tolist() == pytest.approx([12.0, 21.0, 30.0])
    assert inflate(conv, frames=1)(clip).flatten().tolist() == pytest.approx([9.0, 18.0, 36.0])
    # Five frames around the first: 3, 3, 3, 6, 12.
    assert inflate(conv, frames=5)(clip)[0, 0, 0].item() == pytest.approx(3 * 27 / 5)


def test_layers() -> None:
    module = nn.Sequential(
        nn.Conv2d(4, 8, 1, stride=2),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.BatchNorm2d(8, eps=0.1, momentum=0.2),
        nn.InstanceNorm2d(8, affine=True),
        nn.MaxPool2d(3, 2, padding=1),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.AdaptiveAvgPool2d((3, 2)),
        nn.AdaptiveAvgPool2d(1),
    )
    module[2].bias.requires_grad_(False)
    clips = inflate(module)
    assert tuple(clips[0].weight.shape) == (8, 4, 1, 1, 1)
    assert clips[0].stride == (1, 2, 2)
    assert tuple(clips[1].weight.shape) == (8, 1, 3, 3, 3)
    torch.testing.assert_close(clips[1].weight.sum(2), module[1].weight)
    assert (clips[2].eps, clips[2].momentum) == (0.1, 0.2)
    assert not clips[2].bias.requires_grad
    assert clips[2].weight.requires_grad
    stages = [clips[: i + 1](torch.randn(1, 4, 5, 20, 12)).shape for i in range(8)]
    assert [tuple(s[1:]) for s in stages] == [
        (8, 5, 10, 6),
        (8, 5, 10, 6),
        (8, 5, 10, 6),
        (8, 5, 10, 6),
        (8, 5, 5, 3),
        (8, 5, 3, 2),
        (8, 5, 3, 2),
        (8, 1, 1, 1),
    ]
    assert isinstance(module[1], nn.Conv2d)  # the module itself stays


def test_weights_of_images_go_into_an_inflated_network() -> None:
    torch.manual_seed(0)
    backbone, other = (Backbone(OSNet(width=0.25, feature_dim=None)).eval() for _ in range(2))
    trunk = inflate_backbone(other)
    trunk.load_state_dict(inflated_state(backbone.state_dict(), trunk))
    images = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        maps = trunk(images[:, :, None].expand(-1, -1, 3, -1, -1))
        torch.testing.assert_close(maps[:, :, 1], backbone(images), rtol=1e-3, atol=1e-4)


def test_what_cannot_be_inflated() -> None:
    with pytest.raises(InputError, match="frames: expected an odd number of at least 1, got 2"):
        inflate(nn.Conv2d(1, 1, 1), frames=2)
    with pytest.raises(InputError, match="padding same"):
        inflate(nn.Conv2d(1, 1, 3, padding="same"))
    with pytest.raises(InputError, match="a layer LazyConv2d cannot be inflated"):
        inflate(nn.LazyConv2d(1, 3))
    # Squeeze-and-excitation averages over the dimensions 2 and 3, and those of a clip are time and height.
    with pytest.raises(InputError, match="MobileNetV3 cannot be inflated"):
        inflate_backbone(timm_backbone("mobilenetv3_small_050"))


@pytest.mark.parametrize(("name", "times"), [("r3d_18", 2), ("mc3_18", 9), ("r2plus1d_18", 2)])
def test_networks_of_torchvision(name: str, times: int) -> None:
    trunk = torchvision_3d(name).eval()
    assert isinstance(trunk, Trunk3D)
    with torch.no_grad():
        assert trunk(torch.zeros(1, 3, 9, 64, 32)).shape == (1, trunk.num_features, times, 4, 2)
        assert trunk(torch.zeros(1, 3, 1, 64, 32)).shape[2] == 1


def test_torchvision_from_a_network_of_images() -> None:
    state = timm_backbone("resnet18", last_stride=2).network.state_dict()
    for name in ("r3d_18", "mc3_18"):
        own = torchvision_3d(name, state_2d=state).network.state_dict()
        for theirs, ours in (("conv1", "stem.0"), ("layer2.1.conv2", "layer2.1.conv2.0")):
            torch.testing.assert_close(own[f"{ours}.weight"].sum(2), state[f"{theirs}.weight"])
        torch.testing.assert_close(own["layer3.0.downsample.0.weight"][:, :, 0], state["layer3.0.downsample.0.weight"])
        torch.testing.assert_close(own["layer4.0.conv1.1.running_var"], state["layer4.0.bn1.running_var"])
    with pytest.raises(WeightsError, match="do not start r2plus1d_18"):
        torchvision_3d("r2plus1d_18", state_2d=state)
    with pytest.raises(InputError, match="no video network 'r3d_50'; it has r3d_18"):
        torchvision_3d("r3d_50")


def test_kinetics_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(WeightsError, match=r"Kinetics weights of r3d_18 cannot be fetched .*no network.*random"):
        torchvision_3d("r3d_18", kinetics=True)
    state = timm_backbone("resnet18", last_stride=2).network.state_dict()
    with pytest.warns(ReidentifyWarning, match="starts from weights of images"):
        own = torchvision_3d("r3d_18", kinetics=True, state_2d=state).network.state_dict()
    torch.testing.assert_close(own["stem.0.weight"].sum(2), state["conv1.weight"])
