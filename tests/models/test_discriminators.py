"""What judges generated pictures: counted layers, hand-made backbones, and where the weights come from."""

import pytest
import torch
from torch import Tensor, nn

from reidentify.errors import InputError
from reidentify.models.backbone import Backbone
from reidentify.models.baseline import Baseline
from reidentify.models.catalogue import ModelSettings, build
from reidentify.models.generation.discriminators import (
    IdentityDiscriminator,
    ImageDiscriminator,
    PoseDiscriminator,
    Verifier,
    image_discriminator,
)
from reidentify.models.generation.generator import to_imagenet
from reidentify.models.generation.settings import DiscriminatorSettings
from reidentify.models.pairs import PairSettings, build_pairs
from reidentify.models.weights import Preprocessing

OSNET = ModelSettings(backbone="osnet", width=0.25, init="random", embedding_dim=16)
EPS = (1 + 1e-5) ** 0.5  # what a fresh batch norm divides by


class Colours(nn.Module):
    """A backbone whose maps are the image itself."""

    num_features = 3

    def forward_features(self, images: Tensor) -> Tensor:
        return images


def test_the_published_pose_discriminator_by_count() -> None:
    """18 joints, 64 channels; 4 x 4 = 16 weights a pair of channels, biases in the first and the last layer only:
    21 * 64 * 16 + 64, 64 * 128 * 16 + 2 * 128, 128 * 256 * 16 + 2 * 256, 256 * 512 * 16 + 2 * 512, 512 * 16 + 1."""
    with torch.device("meta"):
        net = PoseDiscriminator(18)
        assert sum(p.numel() for p in net.parameters()) == 21_568 + 131_328 + 524_800 + 2_098_176 + 8_193
        assert net(torch.zeros(2, 3, 256, 128), torch.zeros(2, 18, 256, 128)).shape == (2, 1, 30, 14)
        assert net(torch.zeros(2, 3, 64, 32), torch.zeros(2, 18, 64, 32)).shape == (2, 1, 6, 2)


def test_a_logit_sees_a_patch_of_70_by_70_of_picture_and_pose() -> None:
    """(((4 - 1) * 1 + 4 - 1) * 2 + 4 - 2 ...): from the top 1, 4, 7, 16, 34, 70. The logit in row r begins at pixel
    8 r - 23 (paddings of 1 at strides 1, 2, 4, 8, 8)."""
    torch.manual_seed(0)
    net = PoseDiscriminator(14, 4).double().eval()
    images = torch.rand(1, 3, 128, 128, dtype=torch.float64, requires_grad=True)
    pose = torch.rand(1, 14, 128, 128, dtype=torch.float64, requires_grad=True)
    net(images, pose)[0, 0, 6, 5].backward()
    for given in (images, pose):
        rows, columns = torch.nonzero(given.grad[0].abs().sum(0), as_tuple=True)
        assert (rows.min(), rows.max()) == (25, 94)
        assert (columns.min(), columns.max()) == (17, 86)


def test_a_pose_map_of_another_size_is_named() -> None:
    net = PoseDiscriminator(14, 4)
    with pytest.raises(InputError, match="pose: these images want heat maps of 2 x 14 x 64 x 32, got 2 x 14 x 32 x 16"):
        net(torch.zeros(2, 3, 64, 32), torch.zeros(2, 14, 32, 16))


def test_the_image_discriminator_by_hand() -> None:
    """The brightest value of each colour, times a weight each."""
    net = ImageDiscriminator(Backbone(Colours())).eval()
    with torch.no_grad():
        net.last.weight.copy_(torch.tensor([[1.0, 2.0, -1.0]]))
    images = torch.full((2, 3, 4, 2), -1.0)
    images[0, 0, 1, 1], images[0, 1, 3, 0], images[1, 2, 0, 0] = 0.0, 1.0, 1.0
    low = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    first = (0.5 - 0.485) / 0.229 + 2 * (1 - 0.456) / 0.224 - low[2]
    second = low[0] + 2 * low[1] - (1 - 0.406) / 0.225
    torch.testing.assert_close(net(images), torch.tensor([first, second]) / EPS)
    assert not net.norm.bias.requires_grad


def test_the_verifier_by_hand_and_as_the_siamese_pairs() -> None:
    net = Verifier(2).eval()
    with torch.no_grad():
        net.last.weight.copy_(torch.tensor([[1.0, 0.0], [2.0, -1.0]]))
        net.last.bias.copy_(torch.tensor([0.0, 0.5]))
    a, b = torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, 4.0]])  # squared differences 4 and 1
    torch.testing.assert_close(net(a, b), torch.tensor([[4 / EPS, 7 / EPS + 0.5]]))
    torch.testing.assert_close(net(b, a), net(a, b))

    embedding = {"backbone": "osnet", "width": 0.25, "init": "random", "embedding_dim": 16}
    pairs = build_pairs(PairSettings("siamese", embedding=embedding), Preprocessing(64, 32)).eval()
    net = Verifier(16).eval()
    state = pairs.state_dict()
    net.load_state_dict({name: state[name] for name in net.state_dict()})
    a, b = torch.randn(2, 5, 16)
    torch.testing.assert_close(net(a, b), pairs.compare({"embedding": a}, {"embedding": b}))


def test_the_identity_discriminator_by_hand() -> None:
    """Mean colours, squared differences, a weight each."""
    net = IdentityDiscriminator(Baseline(Backbone(Colours()), neck="none")).eval()
    with torch.no_grad():
        net.verifier.last.weight.copy_(torch.tensor([[1.0, 2.0, -1.0]]))
        net.verifier.last.bias.fill_(0.25)
    inputs, images = torch.zeros(2, 3, 4, 2), torch.zeros(2, 3, 4, 2)
    images[0, 0], images[0, 1, :, 0] = 1.0, 1.0  # half a unit more red, a quarter more green of 0 to 1
    first = ((0.5 / 0.229) ** 2 + 2 * (0.25 / 0.224) ** 2) / EPS + 0.25
    torch.testing.assert_close(net(inputs, images), torch.tensor([first, 0.25]))


@pytest.mark.parametrize("image", ["real", "identity"])
@pytest.mark.parametrize("backbone", ["encoder", "osnet", "mobilenetv3_small_050"])
def test_every_image_discriminator_judges_and_teaches(image: str, backbone: str) -> None:
    torch.manual_seed(0)
    encoder = build(OSNET, num_classes=4)
    settings = DiscriminatorSettings(image, backbone, width=0.25)  # type: ignore[arg-type]
    net = image_discriminator(settings, OSNET, encoder)  # type: ignore[arg-type]
    images = (torch.rand(4, 3, 64, 32) * 2 - 1).requires_grad_()
    logits = net(images) if image == "real" else net(torch.rand(4, 3, 64, 32), images)
    assert logits.shape == (4,)
    (logits * torch.tensor([1.0, 2.0, -1.0, 0.5])).sum().backward()
    assert images.grad.abs().max() > 0
    unused = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused  # several processes would wait for them


def test_starting_as_the_encoder_is() -> None:
    torch.manual_seed(0)
    encoder, verifier = build(OSNET, num_classes=4), Verifier(16)
    nn.init.normal_(verifier.last.weight)
    nn.init.normal_(verifier.last.bias)
    settings = DiscriminatorSettings("identity", "encoder", init="encoder")
    net = image_discriminator(settings, OSNET, encoder, verifier).eval()  # type: ignore[arg-type]
    a, b = torch.rand(2, 3, 3, 64, 32) * 2 - 1
    with torch.no_grad():
        encoder.eval()
        pair = [encoder.features(to_imagenet(x)) for x in (a, b)]
        torch.testing.assert_close(net(a, b), verifier.eval()(*pair)[:, 1])  # "same person"
        before = net(a, b)
        for parameter in [*encoder.parameters(), *verifier.parameters()]:
            parameter.zero_()
        torch.testing.assert_close(net(a, b), before)  # a copy


def test_the_plain_judge_takes_the_backbone_of_the_encoder() -> None:
    encoder = build(OSNET, num_classes=4)
    net = image_discriminator(DiscriminatorSettings("real", "encoder", init="encoder"), OSNET, encoder)  # type: ignore[arg-type]
    images = torch.rand(2, 3, 64, 32) * 2 - 1
    torch.testing.assert_close(net.backbone.eval()(images), encoder.backbone.eval()(images))


def test_settings_that_do_not_fit_are_named() -> None:
    encoder = build(OSNET)
    with pytest.raises(InputError, match=r"discriminators\.init: encoder needs discriminators\.backbone=encoder"):
        image_discriminator(DiscriminatorSettings(init="encoder"), OSNET, encoder)  # type: ignore[arg-type]
    osnet = ModelSettings("osnet", width=0.25)
    with pytest.raises(InputError, match="an encoder of architecture baseline, not osnet"):
        image_discriminator(DiscriminatorSettings(backbone="encoder"), osnet, encoder)  # type: ignore[arg-type]
