"""The optimiser, its schedule, and the seeds of random draws, of every kind of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
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
    return scheduled(unscheduled(settings, head, body), settings, steps)


def unscheduled(
    settings: OptimiserSettings, head: Iterable[nn.Parameter], body: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimiser alone, of `optimiser`'s two groups."""
    s = settings
    groups = [{"params": [*body], "lr": s.lr * s.backbone_lr}, {"params": [*head], "lr": s.lr}]
    groups = [g for g in groups if g["params"]]
    if s.kind == "sgd":
        return torch.optim.SGD(
            groups, momentum=s.momentum, nesterov=s.nesterov and s.momentum > 0, weight_decay=s.weight_decay
        )
    kind = torch.optim.AdamW if s.kind == "adamw" else torch.optim.Adam
    return kind(groups, betas=(s.beta, 0.999), weight_decay=s.weight_decay, amsgrad=s.amsgrad)


def scheduled(made: torch.optim.Optimizer, settings: OptimiserSettings, steps: int) -> dict[str, Any]:
    """An optimiser whose rates all follow the schedule, as Lightning takes it; `steps` of an epoch."""
    s = settings
    schedule = torch.optim.lr_scheduler.LambdaLR(made, lambda step: lr_factor(s, step / max(1, steps), step))
    return {"optimizer": made, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Together(torch.optim.Optimizer):
    """Several optimisers that step as one, so that one loss scale and one norm of the gradient hold for all of them.

    Args:
        optimisers: of different parameters.
    """

    def __init__(self, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        self.optimisers = tuple(optimisers)
        super().__init__(self._groups(), {})  # the same dictionaries, so that a schedule moves the rates of all

    def _groups(self) -> list[dict[str, Any]]:
        return [group for each in self.optimisers for group in each.param_groups]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Step all."""
        result = None if closure is None else closure()
        for each in self.optimisers:
            each.step()
        return result

    def state_dict(self) -> dict[str, Any]:
        """What each one remembers."""
        return {"optimisers": [each.state_dict() for each in self.optimisers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up again."""
        for each, state in zip(self.optimisers, state_dict["optimisers"], strict=True):
            each.load_state_dict(state)
        self.param_groups = self._groups()  # loading has put new dictionaries in their places


def lr_factor(settings: OptimiserSettings, epoch: float, step: int) -> float:
    """What the learning rate is multiplied by at a (fractional) epoch and step."""
    s = settings
    if epoch < s.warmup:  # rise first: fresh layers would tear the pretrained ones apart
        return s.warmup_start + (1 - s.warmup_start) * epoch / s.warmup
    if s.schedule == "multistep":  # fall at the milestones
        return s.gamma ** sum(epoch >= m for m in s.milestones)
    if s.schedule == "linear":  # stay up to the first milestone, then fall to nothing
        (start,) = s.milestones
        return 1 - min(1.0, max(0.0, epoch - start) / (s.epochs - start))
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
