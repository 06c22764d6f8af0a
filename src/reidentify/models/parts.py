"""What networks of body parts share: layers that see only what is seen, a neck for the whole and one for each part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.errors import InputError
from reidentify.joints import MARKET14
from reidentify.models.baseline import BNNeck
from reidentify.models.output import Output


class PartReduction(nn.Sequential):
    """Linear layer, batch norm and ReLU: B x inputs -> B x outputs, nowhere below 0.

    So the 0 of a part that is not seen changes no maximum over parts.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        linear = nn.Linear(inputs, outputs, bias=False)
        nn.init.kaiming_normal_(linear.weight, mode="fan_out")
        super().__init__(linear, nn.BatchNorm1d(outputs), nn.ReLU())


class PartNecks(nn.ModuleList):
    """A BN neck for the vector of the whole image and one for each part: every one is classified on its own.

    A part that is not seen is 0 after its neck and in its logits, and it enters no batch statistics.

    Args:
        features: D, length of every vector.
        parts: P.
        num_classes: training identities; 0 for none.

    Attributes:
        after: take vectors after the necks in training mode too, as one does who compares while training.
    """

    def __init__(self, features: int, parts: int, num_classes: int) -> None:
        super().__init__(BNNeck(features, num_classes) for _ in range(1 + parts))
        self.after = False

    def forward(self, whole: Tensor, parts: Tensor, visible: Tensor, maps: dict[str, Tensor]) -> Output:
        """Whole B x D, parts B x P x D and their visibility B x P -> an Output whose part 0, always seen, is the whole.

        In training mode `embedding` and `parts` are taken before the necks and `logits` are B x (1 + P) x classes, in
        evaluation mode they are taken after them.
        """
        vectors = torch.cat([whole[:, None], parts], 1)
        visibility = torch.cat([visible.new_ones(len(visible), 1), visible], 1).float()
        necks: list[BNNeck] = [*self]  # type: ignore[list-item]
        normed = [of_seen(n.norm, v, there > 0) for n, v, there in zip(necks, vectors.unbind(1), visibility.unbind(1))]
        if self.after or not self.training:
            vectors = torch.stack(normed, 1)
        scores = [n.classifier(v) for n, v in zip(necks, normed) if self.training and n.classifier is not None]
        return Output(vectors[:, 0], torch.stack(scores, 1) if scores else None, vectors, visibility, maps=maps)


def of_seen(layer: nn.Module, inputs: Tensor, there: Tensor) -> Tensor:
    """A layer of the rows that are seen, and 0 for the others.

    In training mode the layer is given the seen rows alone, so that the others enter no batch statistics; with fewer
    than two of them its batch norms use, and keep, their running statistics.

    Args:
        layer: maps N x ... to N x D.
        inputs: B x ...
        there: B, bool.

    Returns:
        B x D.
    """
    if not layer.training:
        return layer(inputs) * there[:, None]
    count = int(there.sum())
    with _running(layer) if count < 2 else contextlib.nullcontext():
        if count == len(there) and count:
            return layer(inputs)
        found = layer(inputs[there])
    return found.new_zeros(len(inputs), *found.shape[1:]).index_put((there,), found)


@contextlib.contextmanager
def _running(layer: nn.Module) -> Iterator[None]:
    """Batch norms in evaluation mode, but for those that count the rows of all processes."""
    norms = [m for m in layer.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) and m.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


def compared(outputs: Sequence[Output]) -> tuple[Tensor, Tensor]:
    """What is compared of body parts, from several views of the same rows.

    Args:
        outputs: of a network of body parts, in evaluation mode; one for each view.

    Returns:
        Vectors, B x P x D: the mean direction over the views, each weighed by how visible the part is there; their
        length is the part's visibility, B x P, which is its mean over the views. Both float32.
    """
    seen = [
        (o.parts.float(), o.visibility.float()) for o in outputs if o.parts is not None and o.visibility is not None
    ]
    total = torch.stack([F.normalize(parts, dim=2) * visible[..., None] for parts, visible in seen]).sum(0)
    visible = torch.stack([visible for _, visible in seen]).mean(0)
    return F.normalize(total, dim=2) * visible[..., None], visible


def joints_or_none(keypoints: Tensor | None, images: Tensor) -> Tensor:
    """The joints that a network of body parts was given, B x 14 x 3; without any, all are unseen.

    Raises:
        InputError: another shape.
    """
    shape = (len(images), len(MARKET14), 3)
    if keypoints is None:
        return images.new_zeros(shape)
    if tuple(keypoints.shape) != shape:
        expected, got = (" x ".join(map(str, s)) for s in (shape, keypoints.shape))
        raise InputError(f"keypoints: expected {expected} (market-14 joints of each image), got {got}")
    return keypoints.float()
