"""Center loss: every class has a centre that its embeddings are drawn to."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn


class CenterLoss(nn.Module):
    """Center loss (Wen et al., ECCV 2016, equations 2 to 4).

    The centres are no parameters of the optimiser: each step moves them towards the batch's embeddings of their class,
    by `rate * sum(x - c) / (1 + n)`, which is the paper's own update.

    Args:
        num_classes: C.
        features: D.
        rate: alpha of the paper, from 0 to 1.
    """

    centers: Tensor

    def __init__(self, num_classes: int, features: int, rate: float = 0.5) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("centers", torch.zeros(num_classes, features))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Mean of half the squared distance to the own centre. embeddings B x D, labels B."""
        loss = (embeddings - self.centers[labels]).pow(2).sum(1).mean() / 2
        if self.training:
            self._follow(embeddings.detach(), labels)
        return loss

    @torch.no_grad()
    def _follow(self, embeddings: Tensor, labels: Tensor) -> None:
        pull = torch.zeros_like(self.centers).index_add_(0, labels, embeddings - self.centers[labels])
        count = torch.bincount(labels, minlength=len(self.centers)).to(pull)
        if distributed.is_available() and distributed.is_initialized():  # every process follows the whole batch
            for value in (pull, count):
                distributed.all_reduce(value)
        self.centers += self.rate * pull / (1 + count[:, None])
