"""Networks that judge generated pictures: are they real, of that person, in that pose?"""

from __future__ import annotations

import dataclasses
from typing import cast

import torch
from torch import Tensor, nn

from reidentify.errors import InputError
from reidentify.models.backbone import Backbone
from reidentify.models.baseline import Baseline
from reidentify.models.catalogue import ModelSettings, build
from reidentify.models.generation.generator import start_normal, to_imagenet
from reidentify.models.generation.settings import DiscriminatorSettings


class Verifier(nn.Module):
    """Are two features of one person? Squared differences, a batch norm and a linear layer (Ge et al., "FD-GAN",
    NeurIPS 2018, section 3.1).

    `forward(a, b)`: features B x D each -> logits B x outputs; with two, column 0 says "different people" and column 1
    "same person". Parameters are named as in `models.pairs.networks.SiamesePairs`.

    Args:
        features: D.
        outputs: logits of a pair.
    """

    def __init__(self, features: int, outputs: int = 2) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(features)
        self.last = nn.Linear(features, outputs)
        nn.init.normal_(self.last.weight, std=0.001)
        nn.init.zeros_(self.last.bias)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return cast(Tensor, self.last(self.norm((a - b).square())))


class ImageDiscriminator(nn.Module):
    """Is an image real or generated? A backbone, global max pooling, a batch norm whose shift is frozen at zero and a
    linear layer without bias (released code of ST-ReIDNet, ICASSP 2020, there on a ResNet-18).

    `forward(images)`: B x 3 x H x W, from -1 to 1 -> B logits, above 0 for "real".

    Args:
        backbone: from `timm_backbone`, or of an OSNet.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.norm = nn.BatchNorm1d(backbone.num_features)
        self.norm.bias.requires_grad_(False)
        self.last = nn.Linear(backbone.num_features, 1, bias=False)
        nn.init.normal_(self.last.weight, std=0.001)

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.backbone(to_imagenet(images)).amax((2, 3))
        return cast(Tensor, self.last(self.norm(pooled)).squeeze(1))


class IdentityDiscriminator(nn.Module):
    """Are two images of one person, and both real? An encoder for each image and a `Verifier` with one logit (Ge et
    al., "FD-GAN", NeurIPS 2018, section 3.2).

    `forward(inputs, images)`: B x 3 x H x W each, from -1 to 1 -> B logits, above 0 for "yes".

    Args:
        encoder: whose `features` are compared.
    """

    def __init__(self, encoder: Baseline) -> None:
        super().__init__()
        self.encoder = encoder
        self.verifier = Verifier(encoder.embedding_dim, 1)

    def forward(self, inputs: Tensor, images: Tensor) -> Tensor:
        a, b = (self.encoder.features(to_imagenet(shown)) for shown in (inputs, images))
        return cast(Tensor, self.verifier(a, b).squeeze(1))


class PoseDiscriminator(nn.Module):
    """Is a person in that pose? The PatchGAN of FD-GAN (Ge et al., NeurIPS 2018, section 3.2; layers as released).

    `forward(images, pose)`: B x 3 x H x W from -1 to 1 and heat maps B x J x H x W -> logits B x 1 x h x w, one for
    each patch of 70 x 70 pixels, with h = H/8 - 2 and w = W/8 - 2; 30 x 14 of 256 x 128.

    Args:
        joints: J.
        channels: of the first layer.

    Raises:
        InputError: in `forward`, a pose map of another size or of other joints.
    """

    def __init__(self, joints: int, channels: int = 64) -> None:
        super().__init__()
        self.joints = joints
        layers: list[nn.Module] = [nn.Conv2d(3 + joints, channels, 4, 2, 1), nn.LeakyReLU(0.2)]
        for i, stride in enumerate((2, 2, 1)):
            before, after = channels << i, channels << (i + 1)
            layers += [nn.Conv2d(before, after, 4, stride, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8 * channels, 1, 4, 1, 1))
        start_normal(self)

    def forward(self, images: Tensor, pose: Tensor) -> Tensor:
        expected = (len(images), self.joints, *images.shape[2:])
        if tuple(pose.shape) != expected:
            got, want = (" x ".join(map(str, shape)) for shape in (pose.shape, expected))
            raise InputError(f"pose: these images want heat maps of {want}, got {got}")
        return cast(Tensor, self.layers(torch.cat([to_imagenet(images), pose], 1)))


def image_discriminator(
    settings: DiscriminatorSettings,
    model: ModelSettings,
    encoder: Baseline,
    verifier: Verifier | None = None,
    pretrained: bool = False,
) -> ImageDiscriminator | IdentityDiscriminator:
    """The image discriminator that `settings` describe.

    Args:
        settings: which.
        model: of the encoder, whose architecture backbone "encoder" stands for.
        encoder: with init "encoder" its weights are copied, all but those of its neck.
        verifier: with init "encoder" an identity discriminator starts with its row for "same person", as published;
            None: its head starts anew.
        pretrained: for init "imagenet": fetch the weights.

    Raises:
        InputError: settings that do not fit together.
    """
    own = settings.backbone == "encoder"
    if settings.init == "encoder" and not own:
        raise InputError("discriminators.init: encoder needs discriminators.backbone=encoder, whose weights it copies")
    wanted = model if own else ModelSettings(
        backbone=settings.backbone,
        last_stride=settings.last_stride,
        width=settings.width,
        norm=settings.norm,
        backbone_settings=settings.backbone_settings,
    )  # fmt: skip
    # Only its features are read: what else it had would never learn.
    wanted = dataclasses.replace(wanted, neck="none", attributes=False, camera_embedding=False)
    network = build(wanted, pretrained=pretrained and settings.init == "imagenet")
    if not isinstance(network, Baseline):
        raise InputError(f"model: generation needs an encoder of architecture baseline, not {model.architecture}")
    if settings.init == "encoder":
        theirs = encoder.state_dict()
        network.load_state_dict({name: theirs[name] for name in network.state_dict()})
    if settings.image == "real":
        return ImageDiscriminator(network.backbone)
    judge = IdentityDiscriminator(network)
    if settings.init == "encoder" and verifier is not None:
        judge.verifier.norm.load_state_dict(verifier.norm.state_dict())
        with torch.no_grad():
            judge.verifier.last.weight.copy_(verifier.last.weight[1:])
            judge.verifier.last.bias.copy_(verifier.last.bias[1:])
    return judge
