"""Batch norms that were folded into their convolutions, made trainable again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def refit_batch_norms(network: nn.Module, images: Tensor) -> None:
    """Give every batch norm the statistics of what reaches it, without changing what the network computes.

    An exported network often has its batch norms folded into the convolutions; taken back, they only add a bias, and
    training would at once normalise by statistics the weights were not made for. Here each layer's input is measured
    on real images, its running mean and variance are set to that, and weight and bias to what undoes it.

    Args:
        network: changed in place; afterwards its outputs in evaluation mode are the same up to rounding.
        images: B x 3 x H x W, normalised; a few hundred of the kind the network was made for.
    """

    def refit(module: Any, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].transpose(0, 1).flatten(1)
        scale = module.weight / torch.sqrt(module.running_var + module.eps)
        shift = module.bias - module.running_mean * scale
        mean, variance = x.mean(1), x.var(1, unbiased=False)
        module.weight.copy_(scale * torch.sqrt(variance + module.eps))
        module.bias.copy_(shift + mean * scale)
        module.running_mean.copy_(mean)
        module.running_var.copy_(variance)

    norms = [m for m in network.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) and m.affine]
    hooks = [m.register_forward_pre_hook(refit) for m in norms]
    training = network.training
    try:
        network.eval()(images)
    finally:
        for hook in hooks:
            hook.remove()
        network.train(training)
