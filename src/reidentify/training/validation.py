"""Validation on held-out identities during a training, under pytorch-lightning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from reidentify.data.benchmark import Benchmark
from reidentify.data.pixels import Pixels, open_pixels
from reidentify.models.weights import Preprocessing
from reidentify.ranking.evaluate import evaluate
from reidentify.values import Embeddings, Sightings


class Validation(pl.Callback):
    """Scores the held-out identities and logs `validation/mAP` and `validation/rank1`.

    Args:
        held: a Benchmark of identities that are not trained on.
        preprocessing: of the network.
        progress: show the progress of decoding.
    """

    def __init__(self, held: Benchmark, preprocessing: Preprocessing, progress: bool) -> None:
        self.held = held
        self.rows = Sightings.concat([held.query, held.gallery])
        size = preprocessing.height, preprocessing.width
        assert self.rows.files is not None
        self.pixels: Pixels = open_pixels(self.rows.files, size, preprocessing.interpolation, progress=progress)
        self._vectors: list[torch.Tensor] = []

    def images(self, rows: list[int]) -> torch.Tensor:
        """Decoded images of the held-out rows, queries first. n x 3 x H x W, uint8."""
        return torch.from_numpy(self.pixels.read(rows)).permute(0, 3, 1, 2)

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Forget the last validation."""
        self._vectors = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Collect the embeddings of a batch."""
        self._vectors.append(outputs.cpu())

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Score."""
        vectors = np.asarray(torch.cat(self._vectors).float())
        cut = len(self.held.query)
        query, gallery = (Embeddings(vectors[s], self.rows[s]) for s in (slice(0, cut), slice(cut, None)))
        result = evaluate(query, gallery, self.held.protocol)
        module.log_dict({"validation/mAP": result.mAP, "validation/rank1": result.rank(1)})
