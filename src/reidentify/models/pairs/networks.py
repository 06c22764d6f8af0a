"""Networks that compare two images: what is computed once per image, and what is computed per pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from reidentify.batch import Batch
from reidentify.errors import InputError
from reidentify.joints import MARKET14
from reidentify.models.baseline import BNNeck, PlainNeck
from reidentify.models.catalogue import ModelSettings, build, start_of
from reidentify.models.output import Output
from reidentify.models.pairs.heads import HEADS
from reidentify.models.pairs.settings import PairSettings
from reidentify.models.pairs.trunk import BackboneTrunk, PublishedTrunk
from reidentify.models.parts import PartNecks, joints_or_none
from reidentify.models.posemaps import REGIONS, regions

if TYPE_CHECKING:  # weights.py reads PairSettings, whose package this is
    from reidentify.models.weights import Preprocessing

_GRID = 4
"""A side of a body region after RoI-align."""
_REGION_HIDDEN = 128


class PairNetwork(nn.Module):
    """Two images to the scores of "different people" (column 0) and "same person" (column 1).

    Args:
        preprocessing: what images are like, and what happens to them first.
        features: D, units of the last hidden layer.
        dropout: probability, before the last layer.

    Attributes:
        wants_keypoints: whether joints are read off the batches.
        embedding_dim: D.
    """

    wants_keypoints = False

    def __init__(self, preprocessing: Preprocessing, features: int, dropout: float) -> None:
        super().__init__()
        self.preprocessing, self.embedding_dim = preprocessing, features
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(features, 2)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """What is computed once per image: tensors whose first dimension is B.

        Args:
            batch: images, B x 1 x 3 x H x W, of the size the network was built for; joints where it wants them
                (market-14; None: all are unseen).

        Raises:
            InputError: clips, images of another size, or joints of another set.
        """
        raise NotImplementedError

    def hidden(self, a: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        """The last hidden layer of encoded pairs. B x D."""
        raise NotImplementedError

    def head_parameters(self) -> list[nn.Parameter]:
        """Those of the top layers, which may be retrained alone on hard negatives (Ahmed et al. 2015, section 4.3)."""
        raise NotImplementedError

    def start_of(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights to start from, under the names of this network: of a pairwise network, or of an embedding network
        that this one is built on."""
        raise NotImplementedError

    def compare(self, a: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        """Logits of encoded pairs. B x 2."""
        return cast(Tensor, self.last(self.dropout(self.hidden(a, b))))

    def forward(self, a: Batch, b: Batch) -> Output:
        """`logits` B x 2 and `embedding` B x D, the last hidden layer, of B pairs."""
        hidden = self.hidden(self.encode(a), self.encode(b))
        return Output(hidden, self.last(self.dropout(hidden)))

    def _images(self, batch: Batch) -> Tensor:
        _, frames, _, height, width = batch.pixels.shape
        if frames != 1:
            raise InputError(f"a pairwise network compares images; these rows have {frames} frames")
        p = self.preprocessing
        if (height, width) != (p.height, p.width):
            raise InputError(f"the network was built for images of {p.height} x {p.width}, not {height} x {width}")
        return p.apply(batch.pixels[:, 0])

    @staticmethod
    def _joints(batch: Batch, images: Tensor) -> Tensor:
        return joints_or_none(None if batch.keypoints is None else batch.keypoints[:, 0], images)


class MapNetwork(PairNetwork):
    """A trunk for each image, and a head that compares the maps of two (kinds idla, xcorr, fused, euclidean, deep).

    `encode` gives "maps", B x C x h x w, and with `pose_regions` also "regions", B x 7 x 16 C, and "visible", B x 7.

    With `pose`, heat maps of 14 joints stand beside the maps of the published trunk, and a 1 x 1 convolution brings
    them back to C channels; it starts as the identity, so that the network starts as the one without pose. With
    `pose_regions`, the seven regions of Spindle Net are cut out of the maps (RoI-align to 4 x 4); their absolute
    differences, weighted by how visible both are, pass a fully connected layer that is joined to the last hidden one.

    Args:
        settings: which network.
        preprocessing: of images.
        pretrained: fetch the ImageNet weights of a timm trunk.

    Raises:
        InputError: settings that do not fit together, or images too small for it.
    """

    def __init__(self, settings: PairSettings, preprocessing: Preprocessing, pretrained: bool = False) -> None:
        published = settings.trunk == "published"
        trunk: PublishedTrunk | BackboneTrunk
        trunk = PublishedTrunk(settings.channels, settings.norm) if published else BackboneTrunk(settings, pretrained)
        image = preprocessing.height, preprocessing.width
        size, channels = _map_size(trunk, image), settings.channels[1]
        head = HEADS[settings.kind](channels, size, settings.norm)
        features = head.out_features + _REGION_HIDDEN * settings.pose_regions
        super().__init__(preprocessing, features, settings.dropout)
        self.wants_keypoints = settings.pose or settings.pose_regions
        self.trunk, self.head, self._osnet = trunk, head, settings.trunk == "osnet"
        self._frame = trunk.frame(image, size)
        self.pose = _pose_layer(channels) if settings.pose else None
        self.regions = None
        if settings.pose_regions:
            self.regions = nn.Linear(len(REGIONS) * (channels * _GRID**2 + 1), _REGION_HIDDEN)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        images = self._images(batch).contiguous(memory_format=torch.channels_last)  # twice as fast on a CPU
        maps = self.trunk(images)
        if not self.wants_keypoints:
            return {"maps": maps}
        joints = self._joints(batch, images)
        image = images.shape[-2], images.shape[-1]
        if self.pose is not None:
            maps = self.pose(torch.cat([maps, self._frame.heat(joints, image).to(maps.dtype)], 1))
        if self.regions is None:
            return {"maps": maps}
        boxes, visible = regions(joints, image)
        cut = roi_align(maps.float(), list(self._frame.boxes(boxes)), _GRID, sampling_ratio=2, aligned=True)
        return {"maps": maps, "regions": cut.reshape(*visible.shape, -1), "visible": visible}

    def hidden(self, a: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        hidden = F.relu(self.head(a["maps"], b["maps"]))
        if self.regions is None:
            return hidden
        shared = (a["visible"] * b["visible"])[..., None]  # told as well: no difference is not the same as none seen
        differences = torch.cat([(a["regions"] - b["regions"]).abs() * shared, shared], 2)
        return torch.cat([hidden, F.relu(self.regions(differences.flatten(1)))], 1)

    def head_parameters(self) -> list[nn.Parameter]:
        top = [*self.head.top(), self.last, self.regions]
        return [parameter for module in top if module is not None for parameter in module.parameters()]

    def start_of(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a network without body regions start one with them: these have no say at first."""
        if "last.weight" not in state:
            theirs, ours = ("backbone.network.", "trunk.network.") if self._osnet else ("backbone.", "trunk.network.")
            return {ours + k.removeprefix(theirs): v for k, v in state.items()}
        more = self.last.in_features - state["last.weight"].shape[1]
        if self.regions is None or "regions.weight" in state or more != _REGION_HIDDEN:
            return state
        return state | {"last.weight": F.pad(state["last.weight"], (0, more))}


class SiamesePairs(PairNetwork):
    """An embedding network for each image, and on squared differences a batch norm and a linear layer (Ge et al.,
    "FD-GAN", NeurIPS 2018, section 3.1; Zheng et al., arXiv 1611.05666).

    `encode` gives "embedding", B x D: the vector that the embedding network is compared by, in training mode too.

    Args:
        settings: `embedding` says which network.
        preprocessing: of images.
        pretrained: fetch the ImageNet weights of its backbone.

    Raises:
        InputError: unknown settings, or an embedding network of clips.
    """

    def __init__(self, settings: PairSettings, preprocessing: Preprocessing, pretrained: bool = False) -> None:
        try:
            embedding = ModelSettings(**settings.embedding)
        except TypeError as error:
            raise InputError(f"embedding: not the settings of an embedding network ({error})") from None
        if embedding.architecture == "video":
            raise InputError("embedding: a pairwise network compares images, and architecture video sees clips")
        network = build(embedding, pretrained=pretrained)
        super().__init__(preprocessing, cast(int, network.embedding_dim), settings.dropout)
        self.wants_keypoints = bool(getattr(network, "wants_keypoints", False))
        _compare_after_necks(network)
        self.network, self._settings = network, embedding
        self.norm = nn.BatchNorm1d(self.embedding_dim)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        images = self._images(batch)
        known: dict[str, Any] = {"keypoints": self._joints(batch, images)} if self.wants_keypoints else {}
        return {"embedding": self.network(images, **known).embedding}

    def hidden(self, a: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        return cast(Tensor, self.norm((a["embedding"] - b["embedding"]).square()))

    def head_parameters(self) -> list[nn.Parameter]:
        return [*self.norm.parameters(), *self.last.parameters()]

    def start_of(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if "last.weight" in state:
            return state
        return {f"network.{k}": v for k, v in start_of(self._settings, state, self.network).items()}


class _AfterNorm(BNNeck):
    """A neck that always gives the vector after its norm, where a BNNeck in training gives the one before it."""

    def forward(self, features: Tensor) -> Output:
        return Output(self.norm(features))


def _compare_after_necks(network: nn.Module) -> None:
    for parent in list(network.modules()):
        if isinstance(parent, PartNecks):
            parent.after = True
        for name, child in list(parent.named_children()):
            if isinstance(child, BNNeck):
                necks = _AfterNorm if child.after else PlainNeck
                setattr(parent, name, necks(child.norm.num_features, 0))


def _map_size(trunk: nn.Module, image: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the maps of images of this size."""
    parameters = next(trunk.parameters())
    training = trunk.training
    try:
        with torch.no_grad():
            shape = trunk.eval()(parameters.new_zeros(1, 3, *image)).shape
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"images of {image[0]} x {image[1]} do not suit the network ({reason})") from None
    trunk.train(training)
    return shape[2], shape[3]


def _pose_layer(channels: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels + len(MARKET14), channels, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(channels, channels + len(MARKET14))[..., None, None])
        nn.init.zeros_(cast(Tensor, layer.bias))
    return layer


def build_pairs(settings: PairSettings, preprocessing: Preprocessing, pretrained: bool = False) -> PairNetwork:
    """The pairwise network that `settings` describe.

    Args:
        settings: which network.
        preprocessing: the images it will see, and what happens to them first.
        pretrained: fetch the ImageNet weights of its backbone; the published trunk has none.

    Raises:
        InputError: settings that do not fit together, or images too small for it.
    """
    if not 0 <= settings.dropout < 1:
        raise InputError(f"dropout: expected from 0 to below 1, got {settings.dropout}")
    if min(settings.channels) < 1:
        raise InputError(f"channels: expected two numbers of at least 1, got {settings.channels}")
    if settings.kind == "siamese":
        if settings.pose or settings.pose_regions:
            raise InputError("pose: a siamese network has no maps to add joints to; use an embedding of body parts")
        return SiamesePairs(settings, preprocessing, pretrained)
    return MapNetwork(settings, preprocessing, pretrained)
