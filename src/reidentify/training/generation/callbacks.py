"""What happens after the epochs of a generation: pictures to look at, and a guard that notices a collapse."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger

from reidentify.errors import ReidentifyWarning
from reidentify.generation import to_pixels
from reidentify.models.generation.generator import to_imagenet
from reidentify.models.skeleton_masks import skeleton_masks
from reidentify.report.generated import grid, pose_picture
from reidentify.training.generation.networks import Networks
from reidentify.training.loader import Rows

PICTURES = "pictures.png"
COLUMNS = ("input", "pose", "mask", "reconstruction", "swap")
_HEIGHT = 224


class Pictures(pl.Callback):
    """After every epoch draws some training people, each from two images: in its own pose and in that of the other.

    They are shown in TensorBoard and, of the last epoch, in `pictures.png` in the folder. How much they differ from one
    another, and how much the real ones do, is logged as `spread/drawn` and `spread/real`; how much a drawing changes
    with the pose, and how much the two real pictures of a person differ, as `change/drawn` and `change/real`.

    Args:
        rows: of the training, with joints.
        folder: of the run.
        seed: of the choice of people, and of the noise.
        people: how many.
    """

    def __init__(self, rows: Rows, folder: Path, seed: int, people: int = 4) -> None:
        self.rows, self.folder, self.seed = rows, folder, seed
        self._chosen = couples(rows.labels, people, seed)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Draw."""
        if not trainer.is_global_zero:
            return
        networks: Networks = module.networks  # type: ignore[assignment]
        modes = {network: network.training for network in networks.modules()}
        picture, told = self.draw(networks, module.device)
        for network, mode in modes.items():  # a frozen one need not learn again
            network.training = mode
        for name, value in told.items():
            module.log(name, value, rank_zero_only=True)
        if isinstance(trainer.logger, TensorBoardLogger):
            logged = trainer.logger.experiment
            logged.add_image("people", np.asarray(picture), trainer.current_epoch + 1, dataformats="HWC")

    @torch.no_grad()
    def draw(self, networks: Networks, device: torch.device) -> tuple[Image.Image, dict[str, float]]:
        """The picture, which is written too, and what is logged: spreads (the standard deviation over the pictures) and
        changes (the absolute difference of the two of a person), mean over pixels. Leaves the networks in evaluation
        mode."""
        networks.eval()
        joints = torch.from_numpy(self.rows.keypoints[self._chosen])  # type: ignore[index]
        pixels = self.rows.pixels.read(self._chosen)
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
        drawer = networks.generator
        features, poses = networks.encoder.features(to_imagenet(images)), drawer.pose(joints.to(device))
        other = torch.arange(len(joints)) ^ 1  # the other image of the couple
        generator = torch.Generator().manual_seed(self.seed)
        drawn = [drawer(features, p, drawer.noise(len(p), generator)) for p in (poses, poses[other])]
        masks = skeleton_masks(joints, drawer.size, drawer.size).expand(-1, 3, -1, -1)
        poses_shown = [pose_picture(own, drawer.size, _HEIGHT) for own in joints.numpy()]
        columns = [list(pixels), poses_shown, list(to_pixels(2 * masks - 1)), *(list(to_pixels(d)) for d in drawn)]
        picture = grid(list(zip(*columns, strict=True)), COLUMNS, _HEIGHT)
        picture.save(self.folder / PICTURES)
        own, swapped = (pictures.float() for pictures in drawn)
        return picture, {
            "spread/drawn": float(torch.cat([own, swapped]).std(0).mean()),
            "spread/real": float(images.std(0).mean()),
            "change/drawn": float((own - swapped).abs().mean()),
            "change/real": float((images - images[other]).abs().mean()),
        }


def couples(labels: NDArray[np.int64], people: int, seed: int) -> NDArray[np.int64]:
    """Two rows each of some people who have two, one after the other; at most 2 x `people`."""
    rng = np.random.default_rng(seed)
    chosen: list[NDArray[np.int64]] = []
    for label in rng.permutation(np.unique(labels)):
        rows = np.flatnonzero(labels == label)
        if len(rows) > 1:
            chosen.append(rng.permutation(rows)[:2])
        if len(chosen) == people:
            break
    return np.concatenate(chosen)


class CollapseGuard(pl.Callback):
    """Warns when a generation has gone wrong for some epochs running: all drawn pictures are alike, whoever they show
    and in whichever pose; or in whichever pose alone, the person being drawn from the features and the pose ignored; or
    a discriminator is always right, or no better than chance, so that the generator learns nothing from it.

    Args:
        patience: epochs.
        alike: share of the spread of real pictures that drawn ones must have.
        right: share of right answers of a discriminator that is always right.
        posed: share of the difference of two real pictures of a person that a change of pose must make in drawn ones.
            It stays below 1 in a perfect drawing, as real pictures differ in light and background too.
    """

    def __init__(self, patience: int = 3, alike: float = 0.05, right: float = 0.999, posed: float = 0.05) -> None:
        self.patience, self.alike, self.right, self.posed = patience, alike, right, posed
        self.epochs: dict[str, int] = {}

    def state_dict(self) -> dict[str, Any]:
        """For how many epochs something has been wrong."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting in a resumed run."""
        self.epochs = state["epochs"]

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Look at what was logged of the epoch, `Pictures` included."""
        if trainer.is_global_zero:
            for sentence in self.saw({k: float(v) for k, v in trainer.callback_metrics.items()}):
                warnings.warn(sentence, ReidentifyWarning, stacklevel=2)

    def saw(self, logged: dict[str, float]) -> Sequence[str]:
        """What is to be said after an epoch of which this was logged; each once, until it has recovered."""
        spread, change = (logged[f"{k}/drawn"] / max(logged[f"{k}/real"], 1e-9) for k in ("spread", "change"))
        found = {
            "spread": (spread, spread < self.alike),
            "change": (change, change < self.posed and spread >= self.alike),
        }
        for name in ("image", "pose"):
            if (share := logged.get(f"accuracy/{name} discriminator")) is None:  # it has no weight
                continue
            loss = logged[f"loss/{name} discriminator"]
            guesses = abs(share - 0.5) <= 0.02 and abs(loss / math.log(2) - 1) <= 0.01
            found |= {name: (share, share >= self.right), f"{name} by chance": (share, guesses)}
        self.epochs = {k: self.epochs.get(k, 0) + 1 if wrong else 0 for k, (_, wrong) in found.items()}
        return [self._sentence(k, found[k][0]) for k, epochs in self.epochs.items() if epochs == self.patience]

    def _sentence(self, what: str, value: float) -> str:
        if what == "spread":
            return (
                f"collapse: for {self.patience} epochs the generated pictures of all people and poses have been alike"
                f" (they differ {100 * value:.1f} % as much as real ones): lower rates.generator, loss.image and"
                " loss.pose, or raise loss.reconstruction"
            )
        if what == "change":
            return (
                f"the generator has ignored the pose for {self.patience} epochs (its pictures change with it"
                f" {100 * value:.1f} % as much as real ones of a person): raise loss.pose, generator.skips or"
                " generator.sigma, or set generator.dropout=0"
            )
        if what.endswith("by chance"):
            name = what.removesuffix(" by chance")
            return (
                f"the {name} discriminator has been no better than chance for {self.patience} epochs (right about"
                f" {100 * value:.1f} % of the pictures), so the generator learns nothing from it: raise rates.{name},"
                f" or start it from trained weights (discriminators.init)"
            )
        return (
            f"the {what} discriminator has been right about {100 * value:.1f} % of the pictures for {self.patience}"
            f" epochs, so the generator learns nothing from it: lower rates.{what}, or smooth its labels"
            " (loss.smooth_real, loss.smooth_fake)"
        )
