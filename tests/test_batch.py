"""Batch: its shapes are checked, and its rows chosen."""

import pytest
import torch

from reidentify import Batch, InputError


def test_batch_checks_shapes_and_selects() -> None:
    batch = Batch(torch.zeros(4, 2, 3, 8, 4), torch.arange(4), times=torch.zeros(4, 2))
    assert len(batch[1:3]) == 2
    assert batch[torch.tensor([3, 1])].labels.tolist() == [3, 1]
    with pytest.raises(InputError, match="pixels: expected B x T x 3 x H x W, got 4 x 3 x 8 x 4"):
        Batch(torch.zeros(4, 3, 8, 4), torch.arange(4))
    with pytest.raises(InputError, match=r"keypoints: expected shape \(4, 2, J, 3\)"):
        Batch(torch.zeros(4, 2, 3, 8, 4), torch.arange(4), keypoints=torch.zeros(4, 14, 3))
