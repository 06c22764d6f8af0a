"""The training step, the optimiser and its schedule, under pytorch-lightning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.batch import Batch
from reidentify.errors import ReidentifyError
from reidentify.models.output import Output
from reidentify.models.views import views
from reidentify.models.weights import Preprocessing
from reidentify.training.objective import Objective, attribute_accuracy, predicted
from reidentify.training.optimiser import hash_seed, optimiser
from reidentify.training.recipe import Recipe

# Layers that no pretrained backbone has: they learn at the full rate and during a freeze.
_HEAD = (
    *("neck", "classifier", "heads", "reduce", "camera", "pooling", "attributes"),
    *("necks", "branches", "whole", "fusion", "joined"),  # of networks of body parts
)


class EmbeddingTraining(pl.LightningModule):
    """Trains a network on images or clips.

    Args:
        network: returns an Output.
        objective: losses of an Output.
        recipe: everything else.
        preprocessing: of the network.
    """

    def __init__(self, network: nn.Module, objective: Objective, recipe: Recipe, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network, self.objective, self.recipe, self.preprocessing = network, objective, recipe, preprocessing
        self.clips = recipe.model.architecture == "video"

    def on_train_epoch_start(self) -> None:
        """What a step draws depends on seed, epoch, step and process alone, so that a resumed run draws the same."""
        torch.manual_seed(hash_seed(self.recipe.run.seed, self.current_epoch, self.global_rank))
        frozen = self.current_epoch < self.recipe.optimiser.freeze
        for name, parameter in self.network.named_parameters():
            if not _is_head(name):
                parameter.requires_grad_(not frozen)

    def training_step(self, batch: Batch, step: int) -> Tensor:
        """One batch, augmented on the training device."""
        seed = hash_seed(self.recipe.run.seed, self.current_epoch, self.global_rank, step)
        fill = torch.tensor(self.preprocessing.mean) * self.preprocessing.scale / 255
        batch = self._seen(self.recipe.augment(batch, torch.Generator().manual_seed(seed), fill))
        output = self._output(batch)
        losses = self.objective(output, batch.labels, batch.attributes)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            values = ", ".join(f"{k} {v.item():.3g}" for k, v in losses.items())
            raise ReidentifyError(
                f"the loss is not finite at epoch {self.current_epoch}, step {step} ({values}): lower optimiser.lr, set"
                " optimiser.clip, or train with run.precision=32-true"
            )
        log = {f"loss/{k}": v.detach() for k, v in losses.items()} | {"loss/total": total.detach()}
        if output.logits is not None:
            log["accuracy"] = (predicted(output.logits) == batch.labels).float().mean()
        if output.attributes and batch.attributes is not None:
            log["attribute accuracy"] = attribute_accuracy(output.attributes, batch.attributes, self.objective.schema)
        self.log_dict(log, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch))
        self.log("accuracy_", log.get("accuracy", total.new_zeros(())), prog_bar=True, logger=False)
        self.log("loss_", log["loss/total"], prog_bar=True, logger=False)
        return total

    def validation_step(self, batch: Batch, step: int) -> Tensor:
        """Embeddings of unit length, B x D, of images or clips."""
        shown = views(batch.pixels, batch.keypoints, self.recipe.run.flip)
        outputs = (self._output(batch.replace(pixels=pixels, keypoints=joints)) for pixels, joints in shown)
        return F.normalize(sum(output.embedding.float() for output in outputs), dim=1)  # type: ignore[arg-type]

    def _seen(self, batch: Batch) -> Batch:
        """What the network takes: clips, or for a network of images every real frame as a row of its own."""
        if self.clips or batch.pixels.shape[1] == 1:
            return batch
        b, t = batch.pixels.shape[:2]
        device = batch.labels.device
        real = torch.ones(b * t, dtype=torch.bool, device=device) if batch.valid is None else batch.valid.flatten()
        rows = torch.arange(b, device=device).repeat_interleave(t)[real]
        joints = None if batch.keypoints is None else batch.keypoints.flatten(0, 1)[real, None]
        frames = Batch(batch.pixels.flatten(0, 1)[real, None], batch.labels[rows], keypoints=joints)
        return frames.replace(**{k: v[rows] for k in ("camids", "attributes") if (v := getattr(batch, k)) is not None})

    def _output(self, batch: Batch) -> Output:
        b, t = batch.pixels.shape[:2]
        pixels = self.preprocessing.apply(batch.pixels.flatten(0, 1)).contiguous(memory_format=torch.channels_last)
        if self.clips:
            return self.network(pixels.unflatten(0, (b, t)), batch.camids, batch.valid)
        if batch.keypoints is not None:
            return self.network(pixels, batch.camids, batch.keypoints[:, 0])
        return self.network(pixels, batch.camids)

    def configure_optimizers(self) -> Any:
        """Two groups, the backbone and the head, and a factor per step."""
        s = self.recipe.optimiser
        head = [p for n, p in self._trained() if _is_head(n)] + list(self.objective.parameters())
        body = [p for n, p in self._trained() if not _is_head(n)]
        steps = int(self.trainer.estimated_stepping_batches) // s.epochs
        return optimiser(s, head, body, steps)

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every parameter that is ever trained; those of a frozen start are, later. A BN neck's shift never is."""
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad or not _is_head(name):
                yield name, parameter


def _is_head(name: str) -> bool:
    return any(part in _HEAD for part in name.split("."))
