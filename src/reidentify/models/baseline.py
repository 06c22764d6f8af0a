"""The strong baseline: a backbone, global pooling and a BN neck (Luo et al., CVPRW 2019)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from reidentify.errors import InputError
from reidentify.models.attributes import AttributeHead
from reidentify.models.backbone import Backbone
from reidentify.models.output import Output
from reidentify.values import Attribute


class GeM(nn.Module):
    """Generalised-mean pooling with a learned exponent (Radenovic et al., TPAMI 2018, equation 3).

    B x C x h x w to B x C. The exponent 1 is average pooling, infinity is max pooling.
    """

    def __init__(self, exponent: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.tensor([exponent]))
        self.eps = eps

    def forward(self, maps: Tensor) -> Tensor:
        with torch.autocast(maps.device.type, enabled=False):  # a power of small numbers loses them in half precision
            p = self.exponent
            return maps.float().clamp(min=self.eps).pow(p).mean((2, 3)).pow(1 / p)


def _average(maps: Tensor) -> Tensor:
    return maps.mean((2, 3))


def _maximum(maps: Tensor) -> Tensor:
    return maps.amax((2, 3))


class BNNeck(nn.Module):
    """Batch normalisation between the metric losses (before it) and the classifier (after it).

    The shift is frozen at zero and the classifier has no bias, so that classes are separated by direction
    (Luo et al. 2019, section 3.5).

    Args:
        features: length of the vectors.
        num_classes: 0 for no classifier.
        after: in evaluation mode give the vectors after the norm, else those before it; in training mode the latter.
    """

    def __init__(self, features: int, num_classes: int, after: bool = True) -> None:
        super().__init__()
        self.after = after
        self.norm = nn.BatchNorm1d(features)
        self.norm.bias.requires_grad_(False)
        self.classifier = nn.Linear(features, num_classes, bias=False) if num_classes else None
        if self.classifier is not None:
            nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, features: Tensor) -> Output:
        normed = self.norm(features)
        if not self.training:
            return Output(normed if self.after else features)
        return Output(features, None if self.classifier is None else self.classifier(normed))


class PlainNeck(nn.Module):
    """A classifier directly on the pooled features."""

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(features, num_classes) if num_classes else None

    def forward(self, features: Tensor) -> Output:
        with_logits = self.training and self.classifier is not None
        return Output(features, self.classifier(features) if with_logits and self.classifier is not None else None)


NECKS = {"bnneck": BNNeck, "none": PlainNeck}


class Baseline(nn.Module):
    """Backbone, pooling, optional reduction, neck.

    `forward(images, camids=None)`: images B x 3 x H x W, normalised; camids B, int64, for a camera embedding.

    Args:
        backbone: from `timm_backbone`.
        num_classes: training identities; 0 for a network that only embeds.
        pooling: "gap" (average), "gem" or "max".
        neck: "bnneck" or "none".
        embedding_dim: reduce the pooled features to this size by a linear layer; None keeps the backbone's.
        cameras: number of cameras for a learned vector per camera that is added to the feature map (in the spirit of
            TransReID's side information, He et al., ICCV 2021); 0 for none. A camera that is unknown (-1, or no
            `camids` at all) adds nothing, so such a network also runs on images from nowhere in particular.
        schema: attributes for a head on the pooled features, `Output.attributes`; empty for none.
        neck_feature: with a BN neck, what the embedding is in evaluation mode: the features "after" its norm, or those
            "before" it, as in ST-ReIDNet.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int = 0,
        pooling: Literal["gap", "gem", "max"] = "gap",
        neck: Literal["bnneck", "none"] = "bnneck",
        embedding_dim: int | None = None,
        cameras: int = 0,
        schema: Sequence[Attribute] = (),
        neck_feature: Literal["after", "before"] = "after",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = GeM() if pooling == "gem" else {"gap": _average, "max": _maximum}[pooling]
        self.embedding_dim = embedding_dim or backbone.num_features
        self.reduce = nn.Linear(backbone.num_features, embedding_dim) if embedding_dim else nn.Identity()
        self.camera = nn.Embedding(cameras, backbone.num_features) if cameras else None
        if self.camera is not None:
            nn.init.trunc_normal_(self.camera.weight, std=0.02)
        settings = {"after": neck_feature == "after"} if neck == "bnneck" else {}
        self.neck = NECKS[neck](self.embedding_dim, num_classes, **settings)
        self.attributes = AttributeHead(backbone.num_features, schema) if schema else None

    def _pooled(self, images: Tensor, camids: Tensor | None) -> Tensor:
        maps = self.backbone(images)
        if self.camera is not None and camids is not None:
            known = (camids >= 0).to(maps.dtype)[:, None]
            if bool((camids >= self.camera.num_embeddings).any()):
                raise InputError(
                    f"camera {int(camids.max())} is unknown to a network trained on cameras 0 to"
                    f" {self.camera.num_embeddings - 1}; leave the cameras out to embed without them"
                )
            maps = maps + (self.camera(camids.clamp(min=0)) * known)[:, :, None, None]
        return cast(Tensor, self.pool(maps))

    def features(self, images: Tensor, camids: Tensor | None = None) -> Tensor:
        """What stands before the neck, in both modes. B x D; arguments as of `forward`."""
        return cast(Tensor, self.reduce(self._pooled(images, camids)))

    def forward(self, images: Tensor, camids: Tensor | None = None) -> Output:
        pooled = self._pooled(images, camids)
        output: Output = self.neck(self.reduce(pooled))
        return output if self.attributes is None else dataclasses.replace(output, attributes=self.attributes(pooled))
