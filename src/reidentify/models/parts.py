"""What networks of body parts share: a neck for the whole and one for each part."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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

    Args:
        features: D, length of every vector.
        parts: P.
        num_classes: training identities; 0 for none.
    """

    def __init__(self, features: int, parts: int, num_classes: int) -> None:
        super().__init__(BNNeck(features, num_classes) for _ in range(1 + parts))

    def forward(self, whole: Tensor, parts: Tensor, visible: Tensor, maps: dict[str, Tensor]) -> Output:
        """Whole B x D, parts B x P x D and their visibility B x P -> an Output whose part 0, always seen, is the whole.

        In training mode `embedding` and `parts` are taken before the necks and `logits` are B x (1 + P) x classes, in
        evaluation mode they are taken after them.
        """
        vectors = torch.cat([whole[:, None], parts], 1)
        visibility = torch.cat([visible.new_ones(len(visible), 1), visible], 1).float()
        necked: list[Output] = [neck(vector) for neck, vector in zip(self, vectors.unbind(1))]
        scores = [one.logits for one in necked if one.logits is not None]
        described = torch.stack([one.embedding for one in necked], 1)
        return Output(described[:, 0], torch.stack(scores, 1) if scores else None, described, visibility, maps=maps)


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
