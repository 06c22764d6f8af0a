"""What a training step sees, and the only value of the package that is made of tensors: Batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reidentify.errors import InputError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Batch:
    """What a training step sees: B rows of T frames each (T = 1 for images).

    Args:
        pixels: B x T x 3 x H x W, RGB; uint8 from 0 to 255, or floating point from 0 to 1.
        labels: B, int64. Class index among the training identities.
        valid: B x T, bool. False where a frame is padding. None: all are real.
        camids: B, int64.
        sources: B, int64. Index of the data set each row comes from.
        times: B x T, float64, seconds.
        keypoints: B x T x J x 3: x, y in pixels of `pixels`, and visibility.
        masks: B x T x H x W, person masks from 0 to 1.
        attributes: B x A, int64, the value of each attribute in the order of a schema; -1 where unlabelled.

    Raises:
        InputError: a shape differs from the stated one.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    valid: torch.Tensor | None = None
    camids: torch.Tensor | None = None
    sources: torch.Tensor | None = None
    times: torch.Tensor | None = None
    keypoints: torch.Tensor | None = None
    masks: torch.Tensor | None = None
    attributes: torch.Tensor | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.pixels.shape)
        if len(shape) != 5 or shape[2] != 3:
            raise InputError(f"pixels: expected B x T x 3 x H x W, got {' x '.join(map(str, shape))}")
        b, t, _, h, w = shape
        expected = {
            "labels": (b,), "valid": (b, t), "camids": (b,), "sources": (b,), "times": (b, t), "masks": (b, t, h, w)
        }  # fmt: skip
        for name, want in expected.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != want:
                raise InputError(f"{name}: expected shape {want}, got {tuple(value.shape)}")
        if self.attributes is not None and (self.attributes.ndim != 2 or len(self.attributes) != b):
            raise InputError(f"attributes: expected shape ({b}, A), got {tuple(self.attributes.shape)}")
        if self.keypoints is not None:
            got = tuple(self.keypoints.shape)
            if len(got) != 4 or got[:2] != (b, t) or got[3] != 3:
                raise InputError(f"keypoints: expected shape ({b}, {t}, J, 3), got {got}")

    def __len__(self) -> int:
        return int(self.pixels.shape[0])

    def _present(self) -> Iterator[tuple[str, torch.Tensor]]:
        for field in dataclasses.fields(self):
            if (value := getattr(self, field.name)) is not None:
                yield field.name, value

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""
        return Batch(**{k: v.to(device, non_blocking=non_blocking) for k, v in self._present()})

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from where it goes to a GPU while that computes."""
        return Batch(**{k: v.pin_memory() for k, v in self._present()})

    def __getitem__(self, index: Any) -> Batch:
        """The rows chosen by a mask, a slice or integers."""
        return Batch(**{k: v[index] for k, v in self._present()})

    def replace(self, **columns: Any) -> Batch:
        """A copy with some columns exchanged."""
        return dataclasses.replace(self, **columns)
