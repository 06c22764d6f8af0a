"""Validation on held-out identities during a training: scores, and ranked lists in TensorBoard."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.loggers import TensorBoardLogger

from reidentify.data.benchmark import Benchmark
from reidentify.data.clips import evenly
from reidentify.data.pixels import Pixels, Size, open_pixels
from reidentify.ranking.distance import unit
from reidentify.ranking.evaluate import evaluate, match_sightings, scorer_for
from reidentify.ranking.parts import gathered
from reidentify.report.lists import best_and_worst, montage, ranked_lists
from reidentify.values import Embeddings, Sightings


class Validation(pl.Callback):
    """Scores the held-out identities and logs `validation/mAP` and `validation/rank1`.

    Args:
        held: a Benchmark of identities that are not trained on.
        size: height and width that the network sees.
        interpolation: of the resize.
        clip: frames that the network sees at once.
        frames: of a tracklet, how many are looked at, evenly spread; None: all.
        progress: show the progress of decoding.

    Attributes:
        rows: what is embedded.
        keypoints: their joints in pixels of the decoded images, as of `loader.Rows`.
    """

    def __init__(
        self, held: Benchmark, size: Size, interpolation: str, clip: int, frames: int | None, progress: bool
    ) -> None:
        self.held, self.clip = held, clip
        self.keypoints: NDArray[np.float32] | None = None
        self.rows = Sightings.concat([held.query, held.gallery])
        if frames is not None:
            self.rows = evenly(self.rows, frames)
        assert self.rows.files is not None
        self.pixels: Pixels = open_pixels(self.rows.files, size, interpolation, progress=progress)

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Forget the last validation."""
        self._sums: dict[str, torch.Tensor] = {}

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add up what was found in each row's clips, each as often as it has frames."""
        for name, found in outputs.items():
            weighted = found.cpu().float() * batch.valid.cpu().sum(1, keepdim=True)
            total = self._sums.setdefault(name, weighted.new_zeros(len(self.rows), weighted.shape[1]))
            total.index_add_(0, batch.labels.cpu(), weighted)

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Score."""
        found = {name: total.numpy() for name, total in self._sums.items()}
        if "visibility" in found:
            vectors, visibility = gathered(found["vectors"], found["visibility"], self.rows.lengths)
            every = Embeddings(vectors, self.rows, visibility)
        else:
            every = Embeddings(unit(found["vectors"]), self.rows)
        cut = len(self.held.query)
        query, gallery = every[:cut], every[cut:]
        result = evaluate(query, gallery, self.held.protocol)
        module.log_dict({"validation/mAP": result.mAP, "validation/rank1": result.rank(1)})
        if isinstance(trainer.logger, TensorBoardLogger) and trainer.is_global_zero:
            matches = match_sightings(query.sightings, gallery.sightings, self.held.protocol)
            scorer = scorer_for(query, gallery, matches)
            for name, chosen in zip(("best", "worst"), best_and_worst(result, 3)):
                lists = ranked_lists(chosen, result, query.sightings, gallery.sightings, scorer, matches, length=8)
                picture = np.asarray(montage(lists))
                title = f"{name} ranked lists of held-out identities"
                trainer.logger.experiment.add_image(title, picture, trainer.current_epoch + 1, dataformats="HWC")
