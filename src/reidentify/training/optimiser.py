"""The optimiser, its schedule, and the seeds of random draws, of every kind of training."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from reidentify.training.settings import OptimiserSettings


def optimiser(
    settings: OptimiserSettings, head: Iterable[nn.Parameter], body: Iterable[nn.Parameter], steps: int
) -> dict[str, Any]:
    """What Lightning's `configure_optimizers` returns: two groups, and a factor per step.

    Args:
        settings: how the weights move.
        head: parameters that learn at the full rate.
        body: parameters that learn at `backbone_lr` times the rate.
        steps: of an epoch.
    """
    s = settings
    groups = [{"params": [*body], "lr": s.lr * s.backbone_lr}, {"params": [*head], "lr": s.lr}]
    groups = [g for g in groups if g["params"]]
    made: torch.optim.Optimizer
    if s.kind == "sgd":
        made = torch.optim.SGD(
            groups, momentum=s.momentum, nesterov=s.nesterov and s.momentum > 0, weight_decay=s.weight_decay
        )
    else:
        kind = torch.optim.AdamW if s.kind == "adamw" else torch.optim.Adam
        made = kind(groups, weight_decay=s.weight_decay, amsgrad=s.amsgrad)
    schedule = torch.optim.lr_scheduler.LambdaLR(made, lambda step: lr_factor(s, step / max(1, steps), step))
    return {"optimizer": made, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def lr_factor(settings: OptimiserSettings, epoch: float, step: int) -> float:
    """What the learning rate is multiplied by at a (fractional) epoch and step."""
    s = settings
    if epoch < s.warmup:  # rise first: fresh layers would tear the pretrained ones apart
        return s.warmup_start + (1 - s.warmup_start) * epoch / s.warmup
    if s.schedule == "multistep":  # fall at the milestones
        return s.gamma ** sum(epoch >= m for m in s.milestones)
    if s.schedule == "inverse":  # fall with every step, ever slower
        return float((1 + s.decay * step) ** -s.power)
    progress = min(1.0, (epoch - s.warmup) / max(1e-9, s.epochs - s.warmup))  # or follow half a cosine to the end
    return s.final_lr + (1 - s.final_lr) * (1 + math.cos(math.pi * progress)) / 2


def hash_seed(*numbers: int) -> int:
    """One 63-bit seed from several numbers, so that (1, 2) and (2, 1) draw differently."""
    seed = 0
    for number in numbers:
        seed = (seed * 6364136223846793005 + number + 1442695040888963407) % 2**63
    return seed
