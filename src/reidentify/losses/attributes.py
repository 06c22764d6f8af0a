"""The loss of predicted attributes, where a missing label says nothing. To be called outside of autocast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from reidentify.errors import InputError
from reidentify.values import Attribute


def attribute_loss(
    logits: Mapping[str, Tensor],
    targets: Tensor,
    schema: Sequence[Attribute],
    identity: bool,
    kind: Literal["bce", "cross-entropy"],
) -> Tensor:
    """Loss of one group of attributes (bce: as in the released code of Chen et al. 2020, arXiv 2006.07597).

    Args:
        logits: per attribute name, B x values.
        targets: B x A, int64: a column for each attribute of the whole schema, in its order; -1 where unlabelled.
        schema: all attributes.
        identity: the group: identity-relevant (True) or identity-irrelevant (False) attributes.
        kind: "bce": binary cross-entropy of every value against the one-hot target, the mean over all values of all
            labelled entries; so attributes of many values and with many labels weigh more. "cross-entropy": softmax
            cross-entropy of each attribute over its labelled rows, then the mean over attributes with a label.

    Returns:
        A scalar; 0, still differentiable, where nothing is labelled.

    Raises:
        InputError: another number of columns than attributes, or an attribute without logits.
    """
    if targets.ndim != 2 or targets.shape[1] != len(schema):
        raise InputError(f"targets: expected a column for each of {len(schema)} attributes, got {tuple(targets.shape)}")
    total, count = torch.zeros((), device=targets.device), 0
    for column, attribute in enumerate(schema):
        if attribute.identity != identity:
            continue
        if attribute.name not in logits:
            raise InputError(
                f"the network predicts no attribute {attribute.name}; it has {', '.join(logits) or 'none'}"
            )
        labelled = targets[:, column] >= 0
        values, target = logits[attribute.name][labelled].float(), targets[labelled, column]
        if kind == "bce":
            one_hot = F.one_hot(target, len(attribute.values)).to(values)
            total = total + F.binary_cross_entropy_with_logits(values, one_hot, reduction="sum")
            count += values.numel()
        else:
            total = total + F.cross_entropy(values, target, reduction="sum") / max(len(target), 1)
            count += len(target) > 0
    return total / max(count, 1)
