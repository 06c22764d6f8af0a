"""The sum of losses that a recipe asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.losses.aitl import aitl, attribute_distances
from reidentify.losses.attributes import attribute_loss
from reidentify.losses.center import CenterLoss
from reidentify.losses.metric import metric_loss
from reidentify.losses.triplet import DISTANCES, batch_hard_triplet, weighted_regularised_triplet
from reidentify.models.output import Output
from reidentify.training.settings import LossSettings
from reidentify.values import Attribute


class Objective(nn.Module):
    """Weighted losses of an Output.

    Args:
        settings: which losses and weights.
        num_classes: training identities.
        features: length of the embedding.
        schema: the attributes that targets state, in their order.
    """

    def __init__(
        self, settings: LossSettings, num_classes: int, features: int, schema: Sequence[Attribute] = ()
    ) -> None:
        super().__init__()
        self.settings, self.schema = settings, tuple(schema)
        self.center = CenterLoss(num_classes, features) if settings.center else None
        self.metric = None
        if settings.metric:
            self.metric = metric_loss(settings.metric, num_classes, features, **(settings.metric_settings or {}))

    def forward(
        self, output: Output, labels: Tensor, attributes: Tensor | None = None, anchors: int | None = None
    ) -> dict[str, Tensor]:
        """Each loss by name, already weighted.

        Args:
            output: of B rows.
            labels: B, class indices.
            attributes: B x A, values in the order of the schema, -1 where unlabelled.
            anchors: how many rows, from the first on, are anchors of the hard and soft triplet losses; None for all.
        """
        # In half precision a distance of close points drowns in rounding, and autocast would multiply in it.
        with torch.autocast(labels.device.type, enabled=False):
            return self._losses(output, labels, anchors) | self._of_attributes(output, labels, attributes)

    def _losses(self, output: Output, labels: Tensor, anchors: int | None) -> dict[str, Tensor]:
        s, losses, embedding = self.settings, dict[str, Tensor](), output.embedding.float()
        if s.cross_entropy and output.logits is not None:
            losses["cross_entropy"] = s.cross_entropy * self._cross_entropy(output, labels)
        if s.triplet:
            if s.triplet_kind == "weighted":
                triplet = weighted_regularised_triplet(embedding, labels, s.distance)
            else:
                margin = s.margin if s.triplet_kind == "hard" else None
                triplet = batch_hard_triplet(embedding, labels, margin, s.distance, anchors)
            losses["triplet"] = s.triplet * triplet
        if self.center is not None:
            losses["center"] = s.center * self.center(embedding, labels)
        if self.metric is not None:
            losses[s.metric or "metric"] = s.metric_weight * self.metric(embedding, labels)
        return losses

    def _of_attributes(self, output: Output, labels: Tensor, targets: Tensor | None) -> dict[str, Tensor]:
        """The attribute losses, and AITL, of each group (arXiv 2006.07597)."""
        s, losses = self.settings, dict[str, Tensor]()
        for group, identity in (("identity", True), ("sighting", False)):
            logits = [output.attributes[a.name].float() for a in self.schema if a.identity == identity]
            if not logits:
                continue
            if s.attributes and targets is not None:
                loss = attribute_loss(output.attributes, targets, self.schema, identity, s.attribute_kind)
                losses[f"attributes of the {group}"] = s.attributes * loss
            if s.aitl:
                distances = DISTANCES[s.distance](output.embedding.float(), output.embedding.float())
                released = s.aitl_kind == "aitl-released"
                losses[f"AITL by {group}"] = s.aitl * aitl(distances, attribute_distances(logits), labels, released)
        return losses

    def _cross_entropy(self, output: Output, labels: Tensor) -> Tensor:
        """Of B x C logits, or summed over the parts of B x P x C (one classifier per part, as in PCB), where a body
        part counts in each row as much as it is visible."""
        assert output.logits is not None
        parts = output.logits.float()
        parts = parts[:, None] if parts.ndim == 2 else parts
        repeated = labels[:, None].expand(parts.shape[:2])
        smoothing = self.settings.label_smoothing
        each = F.cross_entropy(parts.transpose(1, 2), repeated, reduction="none", label_smoothing=smoothing)
        return (each if output.visibility is None else each * output.visibility).mean(0).sum()


def attribute_accuracy(logits: Mapping[str, Tensor], targets: Tensor, schema: Sequence[Attribute]) -> Tensor:
    """The share of labelled values that are the most probable ones; targets B x A in the order of the schema."""
    right = torch.stack([logits[a.name].argmax(1) for a in schema], 1) == targets
    known = targets >= 0
    return (right & known).sum() / known.sum().clamp(min=1)


def predicted(logits: Tensor, visibility: Tensor | None = None) -> Tensor:
    """The most probable class, B. Parts vote with their probabilities, body parts by how visible they are, B x P."""
    if logits.ndim == 2:
        return logits.argmax(1)
    votes = logits.float().softmax(-1)
    return (votes if visibility is None else votes * visibility[..., None]).sum(1).argmax(1)
