"""The training step of pairs, and the guard that notices when they all get one answer."""

from __future__ import annotations

import warnings
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.batch import Batch
from reidentify.errors import ReidentifyError, ReidentifyWarning
from reidentify.losses.contrastive import contrastive
from reidentify.models.pairs import PairNetwork
from reidentify.models.weights import Preprocessing
from reidentify.training.optimiser import hash_seed, optimiser
from reidentify.training.recipe import PairRecipe

# Where networks stand that may have been trained before: the trunk's stages, and a Siamese network's embedding.
_ENCODERS = ("trunk.network.", "network.")


class PairTraining(pl.LightningModule):
    """Trains a pairwise network.

    Args:
        network: to be trained.
        recipe: everything else.
        preprocessing: of the network.
    """

    def __init__(self, network: PairNetwork, recipe: PairRecipe, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network, self.recipe, self.preprocessing = network, recipe, preprocessing
        self.guard = CollapseGuard()

    def on_train_epoch_start(self) -> None:
        """Once negatives are mined, the top layers learn alone where the recipe says so."""
        p = self.recipe.pairs
        if p.mining != "none" and p.retrain == "top" and self.current_epoch >= p.mine_after:
            top = {id(parameter) for parameter in self.network.head_parameters()}
            for module in self.network.modules():
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_(id(parameter) in top)
                if isinstance(module, nn.modules.batchnorm._BatchNorm):  # its statistics stay too
                    module.train(id(module.weight) in top)

    def training_step(self, batch: tuple[Batch, Batch], step: int) -> Tensor:
        """One batch of pairs, each image augmented by itself."""
        fill = torch.tensor(self.preprocessing.mean) * self.preprocessing.scale / 255
        # What a step draws, dropout included, depends on these alone, so that a resumed run draws the same.
        drawn_by = self.recipe.run.seed, self.current_epoch, self.global_rank, step
        torch.manual_seed(hash_seed(*drawn_by))
        sides = []
        for number, side in enumerate(batch):
            seed = hash_seed(*drawn_by, number)
            sides.append(self.recipe.augment(side, torch.Generator().manual_seed(seed), fill))
        same, loss = batch[0].labels, self.recipe.loss
        a, b = self._encoded(*sides)
        logits = self.network.compare(a, b).float()
        losses = {}
        if loss.cross_entropy:
            found = F.cross_entropy(logits, same, label_smoothing=loss.label_smoothing)
            losses["cross_entropy"] = loss.cross_entropy * found
        if loss.contrastive:
            losses["contrastive"] = loss.contrastive * contrastive(a["embedding"], b["embedding"], same, loss.margin)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            values = ", ".join(f"{k} {v.item():.3g}" for k, v in losses.items())
            raise ReidentifyError(
                f"the loss is not finite at epoch {self.current_epoch}, step {step} ({values}): lower optimiser.lr, set"
                " optimiser.clip, or train with run.precision=32-true"
            )
        said = logits.detach().argmax(1)
        self.guard.saw(said, same)
        log = {f"loss/{k}": v.detach() for k, v in losses.items()} | {"loss/total": total.detach()}
        log |= {"accuracy": (said == same).float().mean(), "said same": said.float().mean()}
        self.log_dict(log, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(same))
        self.log("accuracy_", log["accuracy"], prog_bar=True, logger=False)
        self.log("loss_", log["loss/total"], prog_bar=True, logger=False)
        return total

    def _encoded(self, a: Batch, b: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Both sides in one pass, so that batch norms see all images at once."""
        keypoints = None
        if a.keypoints is not None and b.keypoints is not None:
            keypoints = torch.cat([a.keypoints, b.keypoints])
        both = Batch(torch.cat([a.pixels, b.pixels]), torch.cat([a.labels, b.labels]), keypoints=keypoints)
        encoded = self.network.encode(both)
        return {k: v[: len(a)] for k, v in encoded.items()}, {k: v[len(a) :] for k, v in encoded.items()}

    def validation_step(self, batch: tuple[Batch, Batch], step: int) -> Tensor:
        """Probabilities of one person, the mean of both orders. B."""
        a, b = self._encoded(*batch)
        orders = torch.stack([self.network.compare(a, b), self.network.compare(b, a)])
        return orders.float().softmax(2)[..., 1].mean(0)

    def configure_optimizers(self) -> Any:
        """Two groups: the network that encodes an image, where it is another network's, and all that compares."""
        body = [p for name, p in self.network.named_parameters() if name.startswith(_ENCODERS)]
        head = [p for name, p in self.network.named_parameters() if not name.startswith(_ENCODERS)]
        steps = int(self.trainer.estimated_stepping_batches) // self.recipe.optimiser.epochs
        return optimiser(self.recipe.optimiser, head, body, steps)


class CollapseGuard:
    """Notices a network that gives every pair the same answer, as pairwise networks do when the rate is too high.

    Args:
        window: pairs that are looked at together.
        limit: share of one answer from which on it is a collapse.
    """

    def __init__(self, window: int = 2048, limit: float = 0.995) -> None:
        self.window, self.limit = window, limit
        self._said = self._same = torch.zeros((), dtype=torch.long)
        self._pairs, self._collapsed = 0, False

    def saw(self, said: Tensor, same: Tensor) -> None:
        """Answers and truth of a batch, B each; warns at the end of the first window that has collapsed."""
        self._said, self._same = self._said.to(said.device) + said.sum(), self._same.to(said.device) + same.sum()
        self._pairs += len(said)
        if self._pairs < self.window:
            return
        share, truth = float(self._said) / self._pairs, float(self._same) / self._pairs
        self._said, self._same, self._pairs = 0 * self._said, 0 * self._same, 0
        known, self._collapsed = self._collapsed, max(share, 1 - share) >= self.limit > max(truth, 1 - truth)
        if self._collapsed and not known:
            answer, said_so = ("one person", share) if share > 0.5 else ("two people", 1 - share)
            warnings.warn(
                f"collapse: the network takes {100 * said_so:.1f} % of the last pairs for {answer}, where"
                f" {100 * truth:.0f} % are of one: if this goes on, lower optimiser.lr (`reidentify find-lr` helps),"
                " set model.norm=true, or lengthen optimiser.warmup",
                ReidentifyWarning,
                stacklevel=2,
            )
