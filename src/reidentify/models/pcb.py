"""Part-based Convolutional Baseline: the feature map in horizontal stripes, each classified on its own."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.errors import InputError
from reidentify.models.backbone import Backbone
from reidentify.models.output import Output


class PartHead(nn.Module):
    """What reads one part: linear reduction, BatchNorm without activation, dropout, classifier.

    `forward` maps B x C to the reduced vector B x `features` and its logits B x classes (None without a classifier).
    """

    def __init__(self, channels: int, features: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, features)
        self.norm = nn.BatchNorm1d(features)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(features, num_classes) if num_classes else None
        nn.init.kaiming_normal_(self.reduce.weight, mode="fan_out")
        nn.init.zeros_(self.reduce.bias)
        nn.init.normal_(self.norm.weight, mean=1.0, std=0.02)
        if self.classifier is not None:
            nn.init.normal_(self.classifier.weight, std=0.001)
            nn.init.zeros_(self.classifier.bias)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor | None]:
        reduced = self.norm(self.reduce(pooled))
        return reduced, None if self.classifier is None else self.classifier(self.dropout(reduced))


class PCB(nn.Module):
    """Part-based Convolutional Baseline (Sun et al., "Beyond Part Models", ECCV 2018, section 3), with the head and the
    initialisation of st-ReID (Wang et al., "Spatial-Temporal Person Re-identification", AAAI 2019).

    The feature map is averaged over `parts` stripes of equal height. Each stripe has a head of its own, and its logits
    a loss of their own.

    Args:
        backbone: from `timm_backbone`, with `last_stride=1` as published.
        num_classes: training identities; 0 for a network that only embeds.
        parts: P, number of stripes (published: 6, on images of 384 x 192).
        reduced_dim: size to which a head reduces its stripe.
        dropout: share dropped of the pooled stripes and of the reduced vectors, in training.
        embedding: "pooled", as published: the averaged stripes themselves, P x C values; "reduced": the smaller
            vectors of the heads, P x `reduced_dim` values.

    Attributes:
        embedding_dim: size of the embedding.

    Raises:
        InputError: a setting is out of its range.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int = 0,
        parts: int = 6,
        reduced_dim: int = 256,
        dropout: float = 0.5,
        embedding: Literal["pooled", "reduced"] = "pooled",
    ) -> None:
        super().__init__()
        if parts < 1:
            raise InputError(f"parts: expected at least 1, got {parts}")
        if embedding not in ("pooled", "reduced"):
            raise InputError(f"embedding: expected pooled or reduced, got {embedding!r}")
        self.backbone = backbone
        self.num_parts = parts
        self.dropout = nn.Dropout(dropout)
        channels = backbone.num_features
        self.heads = nn.ModuleList(PartHead(channels, reduced_dim, num_classes, dropout) for _ in range(parts))
        self.embedding = embedding
        self.embedding_dim = parts * (channels if embedding == "pooled" else reduced_dim)

    def forward(self, images: Tensor, camids: Tensor | None = None) -> Output:
        """Describe images.

        Args:
            images: B x 3 x H x W, normalised.
            camids: not used; taken so that every network is called alike.

        Returns:
            `parts` B x P x D, as pooled or reduced; `embedding` B x (P * D), the parts one after another, each scaled
            to length one, so that the cosine of two embeddings is the mean cosine of their parts; in training mode
            `logits` B x P x classes where there are classifiers.

        Raises:
            InputError: the feature map has fewer rows than there are parts.
        """
        maps = self.backbone(images)
        if maps.shape[2] < self.num_parts:
            raise InputError(
                f"{self.num_parts} parts need as many rows, but the feature map of images of {images.shape[2]} x"
                f" {images.shape[3]} has {maps.shape[2]}; use higher images, last stride 1, or fewer parts"
            )
        pooled = F.adaptive_avg_pool2d(maps, (self.num_parts, 1)).flatten(2).transpose(1, 2)
        logits = None
        vectors = pooled
        if self.training or self.embedding == "reduced":
            # The mask that drops pooled values is for the classifiers alone: `pooled` itself is the embedding.
            read = [head(part) for head, part in zip(self.heads, self.dropout(pooled).unbind(1))]
            if self.embedding == "reduced":
                vectors = torch.stack([reduced for reduced, _ in read], 1)
            if self.training and read[0][1] is not None:
                logits = torch.stack([logit for _, logit in read if logit is not None], 1)
        parts = vectors.float()
        return Output(F.normalize(parts, dim=2).flatten(1), logits, parts)
