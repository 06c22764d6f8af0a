"""Attention-aware compositional network: features pooled under the limbs of the body."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from reidentify.joints import MARKET14
from reidentify.models.backbone import Backbone
from reidentify.models.output import Output
from reidentify.models.parts import PartNecks, PartReduction, joints_or_none, of_seen
from reidentify.models.posemaps import seen

_SIDES = ("right", "left")
_SPREAD = 1 / 16  # of the image's height: how far the attention reaches from the middle of a limb


def _chain(side: str, *joints: str) -> list[tuple[str, str]]:
    return [(f"{side} {a}", f"{side} {b}") for a, b in itertools.pairwise(joints)]


PARTS: dict[str, list[tuple[str, str]]] = {
    "head": [("head top", "neck")],
    "torso": [("neck", f"{side} {joint}") for side in _SIDES for joint in ("shoulder", "hip")]
    + [(f"{side} shoulder", f"{side} hip") for side in _SIDES],
    **{f"{side} arm": _chain(side, "shoulder", "elbow", "wrist") for side in _SIDES},
    **{f"{side} leg": _chain(side, "hip", "knee", "ankle") for side in _SIDES},
}
"""The limbs that each part is made of, as pairs of joints."""


class AACN(nn.Module):
    """Attention-aware compositional network (Xu et al., "Attention-Aware Compositional Network for Person
    Re-identification", CVPR 2018), on any backbone.

    Pose-guided part attention: the limbs of each part of `PARTS` make a map that is 1 along them and falls off as a
    Gaussian; it masks the background. Composition: the backbone's last maps are averaged under the attention of each
    part, reduced, weighed by how visible the part is, and joined with the feature of the whole image to one vector. A
    part's own vector is not weighed.

    The published attention is told by a network from the image, which learns it from the joints. Here it is computed
    from the joints themselves, which `PoseModel` finds where a data set has none.

    Args:
        backbone: from `timm_backbone`, or of an OSNet.
        num_classes: training identities; 0 for a network that only embeds.
        features: D, length of the features of all parts and of the embedding.

    Attributes:
        embedding_dim: D.
        body_parts: 7, the whole image among them.
        wants_keypoints: True.
    """

    wants_keypoints = True

    def __init__(self, backbone: Backbone, num_classes: int = 0, features: int = 256) -> None:
        super().__init__()
        self.backbone = backbone
        self.embedding_dim, self.body_parts = features, 1 + len(PARTS)
        self.whole = PartReduction(backbone.num_features, features)
        self.reduce = nn.ModuleList(PartReduction(backbone.num_features, features) for _ in PARTS)
        self.joined = nn.Linear((1 + len(PARTS)) * features, features)
        self.necks = PartNecks(features, len(PARTS), num_classes)

    def forward(self, images: Tensor, camids: Tensor | None = None, keypoints: Tensor | None = None) -> Output:
        """Describe images.

        Args:
            images: B x 3 x H x W, normalised.
            camids: not used; taken so that every network is called alike.
            keypoints: B x 14 x 3, `MARKET14`: x, y in pixels of the images, and visibility. None: all are unseen, so
                that the feature of the whole image stands alone.

        Returns:
            `embedding` B x D; `parts` B x 7 x D and `visibility` B x 7: the embedding, then the parts; `maps`
            "attention" B x 6 x h x w; in training mode `logits` B x 7 x classes.
        """
        maps = self.backbone(images)
        size = images.shape[-2], images.shape[-1]
        attention, visible = part_attention(joints_or_none(keypoints, images), (maps.shape[2], maps.shape[3]), size)
        weights = attention / attention.sum((2, 3), keepdim=True).clamp(min=1e-6)
        pooled = torch.einsum("bphw,bchw->bpc", weights.to(maps.dtype), maps)
        there = visible > 0
        reduced = [of_seen(r, part, seen) for r, part, seen in zip(self.reduce, pooled.unbind(1), there.unbind(1))]
        parts = torch.stack(reduced, 1)
        whole = self.whole(maps.mean((2, 3)))
        # Weighed here alone: a neck shifts its input, so a shorter vector would point elsewhere after it.
        joined = self.joined(torch.cat([whole[:, None], parts * visible[..., None]], 1).flatten(1))
        return self.necks(joined, parts, visible, {"attention": attention})


def part_attention(keypoints: Tensor, size: tuple[int, int], image: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where each part of the body is.

    A limb's value in a cell is exp(-d^2 / 2 s^2), with d the distance of the cell's middle from the line between the
    limb's two joints and s a sixteenth of the image's height, times the visibility of the less visible joint. A part's
    is the largest of its limbs'.

    Args:
        keypoints: B x 14 x 3, `MARKET14`: x, y in pixels of the image, and visibility.
        size: h, w of the maps, which cover the image.
        image: H, W.

    Returns:
        B x 6 x h x w, from 0 to 1, and how visible each part is, the mean over its limbs, B x 6; both float32.
    """
    visibility = seen(keypoints, image)
    points = keypoints[..., :2].float().nan_to_num(0.0)
    y, x = (
        (torch.arange(cells, device=points.device, dtype=torch.float32) + 0.5) * (pixels / cells) - 0.5
        for cells, pixels in zip(size, image)
    )
    grid = torch.stack([x.expand(size), y[:, None].expand(size)], -1)
    maps, visible = [], []
    for limbs in PARTS.values():
        first, second = ([MARKET14.index(limb[end]) for limb in limbs] for end in (0, 1))
        start, along = points[:, first, None, None], (points[:, second] - points[:, first])[:, :, None, None]
        there = torch.minimum(visibility[:, first], visibility[:, second])
        share = ((grid - start) * along).sum(-1) / (along**2).sum(-1).clamp(min=1e-6)
        nearest = start + share.clamp(0, 1)[..., None] * along
        distance = ((grid - nearest) ** 2).sum(-1)
        values = torch.exp(-distance / (2 * (_SPREAD * image[0]) ** 2)) * there[..., None, None]
        maps.append(values.amax(1))
        visible.append(there.mean(1))
    return torch.stack(maps, 1), torch.stack(visible, 1)
