"""The losses of pose-guided generation: real against generated, and how far a picture is from its target."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from reidentify.errors import InputError

_INSIDE = 9.0


def adversarial(
    logits: Tensor,
    real: bool,
    smooth: tuple[float, float] | None = None,
    flip: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Binary cross-entropy of what a discriminator says (Goodfellow et al., NeurIPS 2014).

    One label counts for all logits of a call, as in the released code of FD-GAN and ST-ReIDNet. A discriminator's loss
    there is the mean of that of real and of generated images; a generator's is `adversarial(logits, real=True)`.

    Args:
        logits: any shape.
        real: what they should say: label 1, or 0.
        smooth: draw the label uniformly from this interval instead (FD-GAN: 0.7 to 1 and 0 to 0.3; ST-ReIDNet: 0.9 to 1
            and 0 to 0.1).
        flip: probability that the label is exchanged, 1 - label for the label (1/10001 in both).
        generator: a CPU generator for the draws.

    Returns:
        The mean over all logits.

    Raises:
        InputError: an interval or a probability outside 0 to 1.
    """
    low, high = (float(real),) * 2 if smooth is None else smooth
    if not 0 <= low <= high <= 1:
        raise InputError(f"smooth: expected two rising numbers from 0 to 1, got {low} and {high}")
    if not 0 <= flip <= 1:
        raise InputError(f"flip: expected a probability from 0 to 1, got {flip}")
    label = low
    if smooth is not None:
        label += (high - low) * float(torch.rand((), generator=generator))
    if flip and float(torch.rand((), generator=generator)) < flip:
        label = 1 - label
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def masked_l1(fake: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean absolute difference of pictures; with a mask, that of the whole and 9 times that of both masked, over 10
    (released code of ST-ReIDNet, ICASSP 2020).

    The masked pictures are 0 outside the mask, and their difference is averaged over the whole picture too. So a pixel
    weighs 1 inside and 0.1 outside, and a larger mask makes a larger loss.

    Args:
        fake: B x C x H x W.
        target: likewise.
        mask: B x 1 x H x W, from 0 to 1.

    Raises:
        InputError: shapes that do not belong together.
    """
    expected = (len(fake), 1, *fake.shape[2:])
    if fake.shape != target.shape or (mask is not None and tuple(mask.shape) != expected):
        shapes = ", ".join(" x ".join(map(str, t.shape)) for t in (fake, target, mask) if t is not None)
        raise InputError(f"pictures and mask: expected B x C x H x W twice and B x 1 x H x W, got {shapes}")
    difference = (fake.float() - target.float()).abs()
    if mask is None:
        return difference.mean()
    return (difference.mean() + _INSIDE * (difference * mask).mean()) / (1 + _INSIDE)
