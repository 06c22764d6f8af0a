"""Spindle Net: features of seven body regions, joined along the tree of the body."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.errors import InputError
from reidentify.models.backbone import Backbone
from reidentify.models.osnet import OSBlock
from reidentify.models.output import Output
from reidentify.models.parts import PartNecks, PartReduction, joints_or_none, of_seen
from reidentify.models.posemaps import REGIONS, regions

_LIMBS = ("right arm", "left arm", "right leg", "left leg")
_FINE, _COARSE = 8, 16  # strides of the maps that the large regions and the limbs are cut out of


class _Branch(nn.Sequential):
    """What reads one region: omni-scale blocks, with its maps halved between two of them, pooling, reduction."""

    def __init__(self, channels: int, width: int, blocks: int, features: int) -> None:
        layers: list[nn.Module] = [OSBlock(channels, width)]
        for _ in range(blocks - 1):
            layers += [nn.AvgPool2d(2, ceil_mode=True), OSBlock(width, width)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), PartReduction(width, features))


class Spindle(nn.Module):
    """Spindle Net (Zhao et al., "Spindle Net: Person Re-identification with Human Body Region Guided Feature
    Decomposition and Fusion", CVPR 2017), on any backbone.

    The seven regions of `posemaps.REGIONS` are cut out of the maps of two stages by RoI-align: the large ones (head,
    upper and lower body) of an earlier, finer one at stride 8, arms and legs of a later one at stride 16. These are the
    published resolutions relative to the image, whose 96 pixels are 24 and 12 cells. Each region has a branch of its
    own. A region that is not seen gives 0 and has visibility 0. The fusion unit joins the features by their maximum,
    element by element, from the limbs to the body, and last with the feature of the whole image.

    Unlike the published network, whose branches copy the rest of its Inception trunk, a branch here is two omni-scale
    blocks (one for a limb), so that it can stand on any trunk and is small.

    Args:
        backbone: from `timm_backbone`, or of an OSNet.
        num_classes: training identities; 0 for a network that only embeds.
        features: D, length of the features of all regions and of the embedding.
        cells: a side of a large region after RoI-align; of a limb half of it.
        width: channels of the branches.

    Attributes:
        embedding_dim: D.
        body_parts: 8, the whole image among them.
        wants_keypoints: True.

    Raises:
        InputError: a setting out of its range, or a backbone that does not tell the maps of its stages.
    """

    wants_keypoints = True

    def __init__(
        self, backbone: Backbone, num_classes: int = 0, features: int = 256, cells: int = 24, width: int = 128
    ) -> None:
        super().__init__()
        if cells < 4 or cells % 2:
            raise InputError(f"region_cells: expected an even number from 4, got {cells}")
        self.backbone = backbone
        self.embedding_dim, self.body_parts = features, 1 + len(REGIONS)
        fine, coarse, channels = _stages(backbone)
        limbs = [i for i, name in enumerate(REGIONS) if name in _LIMBS]
        large = [i for i in range(len(REGIONS)) if i not in limbs]
        self._cuts = [(fine, cells, large), (coarse, cells // 2, limbs)]
        self.branches = nn.ModuleList(
            _Branch(channels[coarse if i in limbs else fine], width, 1 if i in limbs else 2, features)
            for i in range(len(REGIONS))
        )
        self.whole = PartReduction(backbone.num_features, features)
        self.fusion = nn.ModuleDict({name: PartReduction(features, features) for name in _TREE})
        self.joined = nn.Linear(2 * features, features)
        self.necks = PartNecks(features, len(REGIONS), num_classes)

    def forward(self, images: Tensor, camids: Tensor | None = None, keypoints: Tensor | None = None) -> Output:
        """Describe images.

        Args:
            images: B x 3 x H x W, normalised.
            camids: not used; taken so that every network is called alike.
            keypoints: B x 14 x 3, `MARKET14`: x, y in pixels of the images, and visibility. None: all are unseen, so
                that the feature of the whole image stands alone.

        Returns:
            `embedding` B x D; `parts` B x 8 x D and `visibility` B x 8: the embedding, then the regions; in training
            mode `logits` B x 8 x classes.
        """
        boxes, visible = regions(joints_or_none(keypoints, images), (images.shape[-2], images.shape[-1]))
        stages = self.backbone.stages(images)
        cut: dict[int, Tensor] = {}
        for stage, cells, chosen in self._cuts:
            maps = roi_align(stages[stage], boxes[:, chosen], images.shape[-2:], cells)
            cut.update(zip(chosen, maps, strict=True))
        there = visible > 0
        parts = torch.stack([of_seen(branch, cut[i], there[:, i]) for i, branch in enumerate(self.branches)], 1)
        whole = self.whole(stages[-1].mean((2, 3)))
        return self.necks(self._fused(whole, parts, there), parts, visible, {})

    def _fused(self, whole: Tensor, parts: Tensor, there: Tensor) -> Tensor:
        """The tree: each node reads the maximum of its children, and is 0 where none of them is seen."""
        found = {name: (parts[:, i], there[:, i]) for i, name in enumerate(REGIONS)}
        for name, children in _TREE.items():
            feature = torch.stack([found[child][0] for child in children]).amax(0)
            seen = torch.stack([found[child][1] for child in children]).any(0)
            found[name] = of_seen(self.fusion[name], feature, seen), seen
        return self.joined(torch.cat([whole, found["body"][0]], 1))


_TREE = {
    "arms": ("right arm", "left arm"),
    "legs": ("right leg", "left leg"),
    "upper": ("upper body", "arms"),
    "lower": ("lower body", "legs"),
    "body": ("head", "upper", "lower"),
}
"""Each node of the fusion and what it joins, from the limbs up (figure 6 of the paper, and its released network)."""


def roi_align(maps: Tensor, boxes: Tensor, image: tuple[int, int] | torch.Size, cells: int) -> tuple[Tensor, ...]:
    """Boxes cut out of maps: RoI-align (He et al., "Mask R-CNN", ICCV 2017) with one sample in the middle of each cell.

    It is one `grid_sample` for all boxes of an image, several times faster on a CPU than torchvision's.

    Args:
        maps: B x C x h x w, which cover the image.
        boxes: B x R x 4, float: x0, y0, x1, y1 of the edges, from 0 to W and 0 to H.
        image: H, W.
        cells: a side of what is cut out.

    Returns:
        R tensors, each B x C x cells x cells, float32.
    """
    height, width = image
    step = (torch.arange(cells, device=maps.device, dtype=torch.float32) + 0.5) / cells
    low, size = boxes[..., None, :2], boxes[..., None, 2:] - boxes[..., None, :2]
    # B x R x cells x 2, from -1 to 1 between the outer edges of the image
    places = 2 * (low + step[:, None] * size) / boxes.new_tensor([width, height]) - 1
    count = boxes.shape[1]
    x = places[..., 0][:, :, None, :].expand(-1, -1, cells, -1)
    y = places[..., 1][:, :, :, None].expand(-1, -1, -1, cells)
    grid = torch.stack([x, y], -1).flatten(1, 2)
    with torch.autocast(maps.device.type, enabled=False):
        cut = F.grid_sample(maps.float(), grid, padding_mode="border", align_corners=False)
    return cut.reshape(*maps.shape[:2], count, cells, cells).unbind(2)


def _stages(backbone: Backbone) -> tuple[int, int, list[int]]:
    """The stages that large regions and limbs are cut out of, and the channels of all stages.

    A stage at a stride, or else at the next finer one, or else the finest; never the last, which the whole image has.
    Of several at one stride, as the blocks of a transformer, the middle one.
    """
    height, shapes = backbone.probe_stages()
    strides = [height // shape[2] for shape in shapes[:-1]]

    def at(stride: int) -> int:
        wanted = max([s for s in strides if s <= stride], default=min(strides))
        chosen = [i for i, s in enumerate(strides) if s == wanted]
        return chosen[len(chosen) // 2]

    return at(_FINE), at(_COARSE), [shape[1] for shape in shapes]
