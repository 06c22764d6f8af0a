"""From a person's features and a pose to a picture of that person in that pose."""

from __future__ import annotations

import itertools
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.errors import InputError
from reidentify.joints import joint_set
from reidentify.models.generation.settings import GeneratorSettings
from reidentify.models.posemaps import gaussian_maps, jittered, seen
from reidentify.models.weights import Preprocessing

_WIDTHS = (1, 2, 4, 8, 8)  # channels of the maps at strides 2 to 32, in multiples of the finest
_STRIDE = 2 ** len(_WIDTHS)
_LEAK = 0.2
_EPS = 1e-8  # a pose map is almost all zero: at the start its variance is below the usual 1e-5, which would dim it
_PUBLISHED_HEIGHT = 256


def to_imagenet(images: Tensor) -> Tensor:
    """Images from -1 to 1, ... x 3 x H x W, as networks with ImageNet's normalisation want them."""
    return Preprocessing().apply((images + 1) / 2)


def start_normal(network: nn.Module) -> None:
    """Draw the weights as published: layers from N(0, 0.02), batch norms from N(1, 0.02), biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.BatchNorm2d):
            nn.init.normal_(module.weight, float(isinstance(module, nn.BatchNorm2d)), 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class Generator(nn.Module):
    """The generator of FD-GAN and ST-ReIDNet (Ge et al., NeurIPS 2018, section 3.1; layers as in the released code,
    there for 256 x 128).

    An encoder of five convolutions of stride 2 brings the pose to H/32 x W/32, and one more to a vector. The decoder
    unfolds that vector, the person's features and noise to H/32 x W/32 and mirrors the encoder up to H x W, where a
    Tanh ends it.

    Concatenated pose and noise pass a ReLU first, as published; the features do not. Published features are never
    negative, so that this is the same for them, while of others a ReLU would lose half.

    Args:
        features: D, length of the person's features.
        size: H, W of the pictures: multiples of 32, at least 64 x 32.
        settings: which generator.

    Attributes:
        size, settings: as given.

    Raises:
        InputError: a size or a setting that makes no sense.
    """

    def __init__(self, features: int, size: tuple[int, int], settings: GeneratorSettings) -> None:
        super().__init__()
        _check(size, settings)
        self.size, self.settings, self._features = size, settings, features
        s = settings
        smallest = size[0] // _STRIDE, size[1] // _STRIDE
        widths = [s.channels * width for width in _WIDTHS]

        self.down = nn.ModuleList([nn.Conv2d(s.joints, widths[0], 4, 2, 1, bias=False)])
        for before, after in itertools.pairwise(widths):
            layers = nn.LeakyReLU(_LEAK), nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after, _EPS)
            self.down.append(nn.Sequential(*layers))
        self.summary = nn.Sequential(
            nn.LeakyReLU(_LEAK),
            nn.Conv2d(widths[-1], s.pose_features, smallest, bias=False),
            nn.BatchNorm2d(s.pose_features, _EPS),
        )

        fused = features + s.pose_features + s.noise
        self.projections: nn.ModuleList | None = None
        if s.fuse == "add":
            parts = [n for n in (features, s.pose_features, s.noise) if n]
            fused = max(parts)
            self.projections = nn.ModuleList(nn.Linear(n, fused, bias=False) for n in parts)

        def decoded(layer: nn.ConvTranspose2d) -> list[nn.Module]:
            return [layer, nn.BatchNorm2d(layer.out_channels), nn.Dropout(s.dropout)]

        self.unfold = nn.Sequential(*decoded(nn.ConvTranspose2d(fused, widths[-1], smallest, bias=False)))
        self.up = nn.ModuleList()
        for i, (before, after) in enumerate(zip(widths[::-1], [*widths[-2::-1], 3])):
            layer = nn.ConvTranspose2d(before * (1 + (i < s.skips)), after, 4, 2, 1, bias=False)
            last = i == len(widths) - 1
            self.up.append(nn.Sequential(nn.ReLU(), *([layer, nn.Tanh()] if last else decoded(layer))))
        start_normal(self)

    def pose(self, keypoints: Tensor, jitter: torch.Generator | None = None) -> Tensor:
        """The heat maps of joints that `forward` reads. As published, a joint is there or not: a peak is 1, however
        visible the joint is.

        Args:
            keypoints: B x J x 3: x, y in pixels of a picture of `size`, and visibility; above 0 the joint is seen.
            jitter: a CPU generator to jitter the maps by as the settings say, for training; None: they are left.

        Returns:
            B x J x H x W, float32.

        Raises:
            InputError: another number of joints.
        """
        if keypoints.ndim != 3 or keypoints.shape[1] != self.settings.joints:
            expected = f"B x {self.settings.joints} x 3"
            raise InputError(f"keypoints: the generator expects {expected}, got {_words(keypoints)}")
        sigma: float | Tensor = self.settings.sigma * self.size[0] / _PUBLISHED_HEIGHT
        if jitter is not None:
            keypoints, sigma = jittered(keypoints, self.settings.jitter, jitter, cast(float, sigma))
        there = (seen(keypoints, self.size) > 0).to(keypoints.dtype)
        return gaussian_maps(torch.cat([keypoints[..., :2], there[..., None]], -1), self.size, self.size, sigma)

    def noise(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Normal noise, `count` x Z, on the network's device; drawn on the CPU, so that it is the same on all."""
        return torch.randn(count, self.settings.noise, generator=generator).to(next(self.parameters()).device)

    def forward(self, features: Tensor, pose: Tensor, noise: Tensor | None = None) -> Tensor:
        """Draw people.

        Args:
            features: B x D, of the people.
            pose: B x J x H x W, heat maps, as `pose` gives them.
            noise: B x Z, as `noise` gives it; None only where the settings have none.

        Returns:
            B x 3 x H x W, from -1 (black) to 1 (white).

        Raises:
            InputError: a shape differs from the stated one.
        """
        s, count = self.settings, len(features)
        noise = features.new_empty(count, 0) if noise is None else noise
        for name, value, shape in (
            ("features", features, (count, self._features)),
            ("pose", pose, (count, s.joints, *self.size)),
            ("noise", noise, (count, s.noise)),
        ):
            if tuple(value.shape) != shape:
                expected = " x ".join(map(str, shape))
                raise InputError(f"{name}: the generator was built for {expected}, got {_words(value)}")

        maps = [self.down[0](pose)]
        for layer in self.down[1:]:
            maps.append(layer(maps[-1]))
        summary = self.summary(maps[-1]).flatten(1)
        if self.projections is None:
            fused = torch.cat([features, F.relu(torch.cat([summary, noise], 1))], 1)
        else:  # without noise there is no third projection
            parts = zip(self.projections, (features, summary, noise))
            fused = F.relu(torch.stack([project(part) for project, part in parts]).sum(0))
        picture = self.unfold(fused[..., None, None])
        for i, layer in enumerate(self.up):
            picture = layer(torch.cat([picture, maps[-1 - i]], 1) if i < s.skips else picture)
        return cast(Tensor, picture)


def _check(size: tuple[int, int], s: GeneratorSettings) -> None:
    if any(n % _STRIDE for n in size) or size[0] < 2 * _STRIDE or size[1] < _STRIDE:
        raise InputError(
            f"the generator draws pictures whose sides are multiples of {_STRIDE}, from {2 * _STRIDE} x {_STRIDE} on,"
            f" not of {size[0]} x {size[1]}"
        )
    joint_set(s.joints)
    for name, right, expected in (
        ("channels", s.channels >= 1, "at least 1"),
        ("pose_features", s.pose_features >= 1, "at least 1"),
        ("noise", s.noise >= 0, "0 or more"),
        ("dropout", 0 <= s.dropout < 1, "from 0 to below 1"),
        ("skips", 0 <= s.skips <= len(_WIDTHS), f"from 0 to {len(_WIDTHS)}"),
        ("sigma", s.sigma > 0, "a number above 0"),
        ("fuse", s.fuse in ("concatenate", "add"), "concatenate or add"),
    ):
        if not right:
            raise InputError(f"generator.{name}: expected {expected}, got {getattr(s, name)}")


def _words(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"
