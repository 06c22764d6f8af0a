"""OSNet: a small network that looks at four scales in every block (widths 0.25 to 1.0; plain, IBN and AIN)."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.errors import InputError
from reidentify.models.baseline import BNNeck
from reidentify.models.output import Output

_CHANNELS = (64, 256, 384, 512)
# Where a block normalises per instance: after its residual sum (IBN), or inside the residual (AIN, as found by the
# authors' architecture search). Two blocks for each of the stages conv2, conv3 and conv4.
_INSTANCE_NORM = {
    "bn": ((None, None), (None, None), (None, None)),
    "ibn": (("sum", "sum"), (None, None), (None, None)),
    "ain": (("residual", "residual"), (None, "residual"), ("residual", None)),
}


class ConvNorm(nn.Module):
    """Convolution without bias, normalisation (of the batch, of the instance, or none), and ReLU unless `linear`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = None if norm is None else norm(outputs)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        return x if self.linear else F.relu(x, inplace=True)


class LightConv(nn.Module):
    """A 3 x 3 convolution factorised into pointwise, then depthwise (ICCV 2019, section 3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv2(self.conv1(x))), inplace=True)


class Gate(nn.Module):
    """Weighs each channel of each stream from 0 to 1, as one small network reads off the pooled channels, and sums
    the streams. All pass that network as one batch: it is so small that its calls would cost more than its sums."""

    pooled: tuple[int, ...] = (2, 3)  # dimensions; those of a clip are three

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, *streams: Tensor) -> Tensor:
        pooled = torch.cat([stream.mean(self.pooled, keepdim=True) for stream in streams])
        weights = self.fc2(F.relu(self.fc1(pooled), inplace=True)).sigmoid().chunk(len(streams))
        return functools.reduce(operator.add, (stream * weights[i] for i, stream in enumerate(streams)))


class OSBlock(nn.Module):
    """Omni-scale residual block: four streams of 1 to 4 light convolutions (receptive fields of 3 to 9 pixels),
    summed under one shared gate (ICCV 2019, section 3.2)."""

    def __init__(self, inputs: int, outputs: int, instance_norm: str | None = None) -> None:
        super().__init__()
        middle = outputs // 4
        self.conv1 = ConvNorm(inputs, middle)
        self.conv2a = LightConv(middle)
        self.conv2b = nn.Sequential(*(LightConv(middle) for _ in range(2)))
        self.conv2c = nn.Sequential(*(LightConv(middle) for _ in range(3)))
        self.conv2d = nn.Sequential(*(LightConv(middle) for _ in range(4)))
        self.gate = Gate(middle)
        inside = instance_norm == "residual"
        self.conv3 = ConvNorm(middle, outputs, norm=None if inside else nn.BatchNorm2d, linear=True)
        self.downsample = ConvNorm(inputs, outputs, linear=True) if inputs != outputs else None
        # Named as in the public checkpoints.
        self.IN = nn.InstanceNorm2d(outputs, affine=True) if instance_norm else None
        self.normalise_sum = instance_norm == "sum"

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        y = self.conv3(self.gate(self.conv2a(y), self.conv2b(y), self.conv2c(y), self.conv2d(y)))
        if self.IN is not None and not self.normalise_sum:
            y = self.IN(y)
        y = y + (x if self.downsample is None else self.downsample(x))
        if self.IN is not None and self.normalise_sum:
            y = self.IN(y)
        return F.relu(y, inplace=True)


class OSNet(nn.Module):
    """Omni-Scale Network (Zhou et al., "Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019; IBN and
    AIN: "Learning Generalisable Omni-Scale Representations for Person Re-Identification", TPAMI 2021).

    Parameters are named as in the public checkpoints of torchreid, so that those load by key; `models.convert`
    reads them.

    Args:
        num_classes: identities to classify in training; 0: no classifier.
        width: multiplier of the channels 64, 256, 384, 512; a multiple of 0.25 (published: 1, 0.75, 0.5, 0.25).
        norm: "bn"; "ibn": instance normalisation in the stem and after the residual sums of the first stage;
            "ain": in the stem and inside the residuals that the authors' search chose.
        feature_dim: D, the size of the embedding, reached by a linear layer. None: the pooled channels (512 x width).
        neck: "linear", as published: the linear layer is followed by BatchNorm and ReLU, then a classifier with bias.
            "bnneck": the linear layer alone, then a `BNNeck`, whose training embedding is taken before its BatchNorm
            and whose evaluation embedding after it (Luo et al., CVPRW 2019, section 3.5).

    Attributes:
        embedding_dim: D.
        num_features: channels of the last maps.
        width, norm: as given.

    Raises:
        InputError: a setting is none of those above.
    """

    def __init__(
        self,
        num_classes: int = 0,
        width: float = 1.0,
        norm: Literal["bn", "ibn", "ain"] = "bn",
        feature_dim: int | None = 512,
        neck: Literal["linear", "bnneck"] = "linear",
    ) -> None:
        super().__init__()
        if width <= 0 or width % 0.25:
            raise InputError(f"width: expected a multiple of 0.25 (published: 1.0, 0.75, 0.5, 0.25), got {width}")
        if norm not in _INSTANCE_NORM:
            raise InputError(f"norm: expected bn, ibn or ain, got {norm!r}")
        if neck not in ("linear", "bnneck"):
            raise InputError(f"neck: expected linear or bnneck, got {neck!r}")
        c1, c2, c3, c4 = (int(c * width) for c in _CHANNELS)
        first, second, third = _INSTANCE_NORM[norm]
        instance_norm = functools.partial(nn.InstanceNorm2d, affine=True)
        self.conv1 = ConvNorm(3, c1, 7, stride=2, norm=nn.BatchNorm2d if norm == "bn" else instance_norm)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = nn.Sequential(OSBlock(c1, c2, first[0]), OSBlock(c2, c2, first[1]), _halve(c2))
        self.conv3 = nn.Sequential(OSBlock(c2, c3, second[0]), OSBlock(c3, c3, second[1]), _halve(c3))
        self.conv4 = nn.Sequential(OSBlock(c3, c4, third[0]), OSBlock(c4, c4, third[1]))
        self.conv5 = ConvNorm(c4, c4)

        self.fc = None
        if feature_dim is not None:
            layers: list[nn.Module] = [nn.Linear(c4, feature_dim)]
            if neck == "linear":
                layers += [nn.BatchNorm1d(feature_dim), nn.ReLU(inplace=True)]
            self.fc = nn.Sequential(*layers)
        self.embedding_dim, self.num_features = c4 if feature_dim is None else feature_dim, c4
        self.width, self.norm = width, norm
        self.classifier = nn.Linear(self.embedding_dim, num_classes) if num_classes and neck == "linear" else None
        self._initialise()
        self.neck = BNNeck(self.embedding_dim, num_classes) if neck == "bnneck" else None

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward_features(self, images: Tensor) -> Tensor:
        """The last convolutional maps. B x 3 x H x W -> B x C x H/16 x W/16."""
        return self.conv5(self.conv4(self.conv3(self.conv2(self.maxpool(self.conv1(images))))))

    def forward_intermediates(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The last maps, and those of the stages conv2 to conv5 before each halves them: strides 4, 8, 16 and 16."""
        maps, stages = self.maxpool(self.conv1(images)), []
        for stage in (self.conv2, self.conv3, self.conv4):
            blocks = stage[:2](maps)
            stages.append(blocks)
            maps = stage[2:](blocks)
        last = self.conv5(maps)
        return last, [*stages, last]

    def features(self, images: Tensor) -> Tensor:
        """The feature before a BN neck. B x 3 x H x W -> B x D."""
        pooled = self.forward_features(images).mean((2, 3))
        return pooled if self.fc is None else self.fc(pooled)

    def forward(self, images: Tensor, camids: Tensor | None = None) -> Output:
        """Describe images.

        Args:
            images: B x 3 x H x W, normalised; H and W at least 16.
            camids: not used; taken so that every network is called alike.

        Returns:
            `embedding` B x D, and `logits` B x C in training mode where there is a classifier.

        Raises:
            InputError: the images have another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 16:
            got = " x ".join(map(str, images.shape))
            raise InputError(f"images: expected B x 3 x H x W with H and W at least 16, got {got}")
        feature = self.features(images)
        if self.neck is not None:
            return self.neck(feature)
        return Output(feature, self.classifier(feature) if self.training and self.classifier is not None else None)


def _halve(channels: int) -> nn.Sequential:
    """The transition between two stages: mix the channels, halve height and width."""
    return nn.Sequential(ConvNorm(channels, channels), nn.AvgPool2d(2, stride=2))
