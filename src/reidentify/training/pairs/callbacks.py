"""What happens between the epochs of pairs: validation, and mining of negatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from reidentify.data.console import say
from reidentify.mining import hardest_negatives
from reidentify.models.weights import Card
from reidentify.pairs import PairModel
from reidentify.ranking.pairwise import PairScores
from reidentify.training.pairs.loader import PairLoader
from reidentify.training.pairs.module import PairTraining


def judged(probability: NDArray[np.float32], pids: NDArray[np.int64]) -> PairScores:
    """Pairs as the network judges them: one person from a probability of one half on."""
    return PairScores(probability, pids, 0.5, "the network's probability of one person", "one half")


class PairValidation(pl.Callback):
    """Logs `validation/accuracy` and `validation/auc` on the pairs of held-out identities.

    Args:
        pids: P x 2, the identities of the held-out pairs in order.
    """

    def __init__(self, pids: NDArray[np.int64]) -> None:
        self.pids = pids

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Forget the last validation."""
        self._found: list[Tensor] = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep a batch's probabilities."""
        self._found.append(outputs.cpu())

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Score."""
        probability = torch.cat(self._found).numpy()
        found = judged(probability, self.pids)
        module.log_dict({"validation/accuracy": found.rates["accuracy"], "validation/auc": found.auc})


class Mining(pl.Callback):
    """Looks for the negatives that the network gets most wrong, and shows them from then on.

    Args:
        loader: whose negatives are exchanged.
        card: of the network.
    """

    def __init__(self, loader: PairLoader, card: Card) -> None:
        self.loader, self.card = loader, card

    def state_dict(self) -> dict[str, Any]:
        """The pairs of the last mining."""
        return {"mined": torch.from_numpy(self.loader.mined)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up those of an interrupted run."""
        self.loader.mined = state["mined"].numpy()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Mine for the next epoch, where it is time; what is found is in this epoch's checkpoint."""
        assert isinstance(module, PairTraining)
        p, following = module.recipe.pairs, trainer.current_epoch + 1
        last = following >= (trainer.max_epochs or 0)
        if last or following < p.mine_after or (following - p.mine_after) % p.mine_every:
            return
        # Batch norms differ from process to process, and all must show the same pairs: one mines for all.
        found = self._mined(module, trainer) if trainer.is_global_zero else None
        self.loader.show(trainer.strategy.broadcast(found))
        if trainer.is_global_zero:
            say(f"epoch {following + 1} shows mined negatives: {len(self.loader.mined):,} were found")

    def _mined(self, module: PairTraining, trainer: pl.Trainer) -> NDArray[np.int64]:
        p, sampler = module.recipe.pairs, self.loader.sampler
        found = hardest_negatives(
            PairModel(module.network, self.card, module.device),
            self.loader.rows.sightings,
            max(1, round(sampler.count * sampler.negatives * p.mined_share)),
            nearest=p.mine_nearest,
            candidates=p.mine_candidates,
            margin=p.mining_margin if p.mining == "semi-hard" else None,
            progress=trainer.progress_bar_callback is not None,
        )
        module.network.train()
        return found
