"""From what a user names to a file of weights of the right kind, and a device."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from reidentify.errors import InputError, WeightsError
from reidentify.models.weights import Card
from reidentify.zoo import names
from reidentify.zoo import path as path_of


def weights_path(weights: str | os.PathLike[str]) -> Path:
    """The file of weights that are named as `embed.load` and its like take them.

    Raises:
        WeightsError: there is none.
    """
    path = Path(weights)
    path = path / "weights.safetensors" if path.is_dir() else path
    if path.is_file() or path.suffix.lower() in (".onnx", ".xml"):
        return path
    shipped = path_of(os.fspath(weights))
    if shipped is None:
        known = ", ".join(names())
        raise WeightsError(f"{os.fspath(weights)}: no such file, and no shipped weights have that name ({known})")
    return shipped


_KINDS = {
    "embedding": ("an embedding network", "`reidentify embed`, `evaluate` or `verify`"),
    "pairs": ("a pairwise network", "`reidentify pairs`, `evaluate`, `verify` or `explain --reference`"),
    "pose": ("a pose network", "`reidentify pose`"),
    "generation": ("a generator of people", "`reidentify generate`"),
}
"""What networks of each kind are called, and the commands that they are for."""


def require_kind(card: Card, kind: str, path: Path) -> None:
    """Make sure that weights are of the kind that is needed.

    Raises:
        WeightsError: they are of another; it names the commands that take them.
    """
    if card.kind != kind:
        is_one, commands = _KINDS[card.kind]
        raise WeightsError(f"{path}: the weights of {is_one}, not of {_KINDS[kind][0]}: they are for {commands}")


def device_of(name: str | torch.device | None) -> torch.device:
    """A device that can be used here; None: the GPU if there is one, else the CPU. Raises InputError."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        raise InputError(f"device {name}: {str(error).splitlines()[0]}") from None
    return device
