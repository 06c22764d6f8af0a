"""The sum of losses that a recipe asks for."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.losses.center import CenterLoss
from reidentify.losses.metric import metric_loss
from reidentify.losses.triplet import batch_hard_triplet, weighted_regularised_triplet
from reidentify.models.output import Output
from reidentify.training.recipe import LossSettings


class Objective(nn.Module):
    """Weighted losses of an Output.

    Args:
        settings: which losses and weights.
        num_classes: training identities.
        features: length of the embedding.
    """

    def __init__(self, settings: LossSettings, num_classes: int, features: int) -> None:
        super().__init__()
        self.settings = settings
        self.center = CenterLoss(num_classes, features) if settings.center else None
        self.metric = None
        if settings.metric:
            self.metric = metric_loss(settings.metric, num_classes, features, **(settings.metric_settings or {}))

    def forward(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """Each loss by name, already weighted. labels: B, class indices."""
        # In half precision a distance of close points drowns in rounding, and autocast would multiply in it.
        with torch.autocast(labels.device.type, enabled=False):
            return self._losses(output, labels)

    def _losses(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        s, losses, embedding = self.settings, dict[str, Tensor](), output.embedding.float()
        if s.cross_entropy and output.logits is not None:
            losses["cross_entropy"] = s.cross_entropy * self._cross_entropy(output.logits, labels)
        if s.triplet:
            if s.triplet_kind == "weighted":
                triplet = weighted_regularised_triplet(embedding, labels)
            else:
                margin = s.margin if s.triplet_kind == "hard" else None
                triplet = batch_hard_triplet(embedding, labels, margin)
            losses["triplet"] = s.triplet * triplet
        if self.center is not None:
            losses["center"] = s.center * self.center(embedding, labels)
        if self.metric is not None:
            losses[s.metric or "metric"] = s.metric_weight * self.metric(embedding, labels)
        return losses

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of B x C logits, or summed over the parts of B x P x C (PCB: one classifier per part)."""
        parts = logits[:, None] if logits.ndim == 2 else logits
        smoothing = self.settings.label_smoothing
        return sum(F.cross_entropy(part.float(), labels, label_smoothing=smoothing) for part in parts.unbind(1))  # type: ignore[return-value]


def predicted(logits: Tensor) -> Tensor:
    """The most probable class, B. Parts vote with their probabilities."""
    return logits.argmax(1) if logits.ndim == 2 else logits.float().softmax(-1).sum(1).argmax(1)
