"""The training step, the optimiser and its schedule, under pytorch-lightning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.batch import Batch
from reidentify.errors import RecipeError, ReidentifyError
from reidentify.models.output import Output
from reidentify.models.parts import compared
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

    Raises:
        RecipeError: `optimiser.train` names a layer that the network does not have, or that never learns.
    """

    def __init__(self, network: nn.Module, objective: Objective, recipe: Recipe, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network, self.objective, self.recipe, self.preprocessing = network, objective, recipe, preprocessing
        self.clips = recipe.model.architecture == "video"
        chosen = recipe.optimiser.train
        parameters = dict(network.named_parameters())
        for layer in chosen:
            if not any(p.requires_grad and _within(name, [layer]) for name, p in parameters.items()):
                there = ", ".join(dict.fromkeys(name.split(".")[0] for name in parameters))
                raise RecipeError(f"optimiser.train: the network has no layer {layer!r} that learns; it has {there}")
        # Every parameter that is ever trained; those of a frozen start are, later. A BN neck's shift never is.
        self._learning = {n: p for n, p in parameters.items() if p.requires_grad and _within(n, chosen)}
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in self._learning)

    def on_train_epoch_start(self) -> None:
        """A freeze, and a choice of layers, leave the rest as it is."""
        frozen, chosen = self.current_epoch < self.recipe.optimiser.freeze, self.recipe.optimiser.train
        for name, parameter in self._learning.items():
            parameter.requires_grad_(_is_head(name) or not frozen)
        # Without gradients alone a batch norm would still follow its input. A layer that holds others keeps its mode,
        # for what a network returns depends on it.
        for name, module in self.network.named_modules():
            if not any(module.children()):
                module.train(_within(name, chosen) and (_is_head(name) or not frozen))

    def training_step(self, batch: Batch, step: int) -> Tensor:
        """One batch, augmented on the training device."""
        # What a step draws, dropout included, depends on these alone, so that a resumed run draws the same.
        seed = hash_seed(self.recipe.run.seed, self.current_epoch, self.global_rank, step)
        torch.manual_seed(seed)
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
            right = predicted(output.logits, output.visibility) == batch.labels
            log["accuracy"] = right.float().mean()
        if output.attributes and batch.attributes is not None:
            log["attribute accuracy"] = attribute_accuracy(output.attributes, batch.attributes, self.objective.schema)
        self.log_dict(log, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch))
        self.log("accuracy_", log.get("accuracy", total.new_zeros(())), prog_bar=True, logger=False)
        self.log("loss_", log["loss/total"], prog_bar=True, logger=False)
        return total

    def validation_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """What is compared of images or clips: "vectors" of unit length, B x D; or with `model.part_matching` those of
        the parts, B x (P D), each as long as the part is visible, and their "visibility", B x P."""
        shown = views(batch.pixels, batch.keypoints, self.recipe.run.flip)
        outputs = [self._output(batch.replace(pixels=pixels, keypoints=joints)) for pixels, joints in shown]
        if self.recipe.model.part_matching:
            vectors, visibility = compared(outputs)
            return {"vectors": vectors.flatten(1), "visibility": visibility}
        return {"vectors": F.normalize(torch.stack([o.embedding.float() for o in outputs]).sum(0), dim=1)}

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
        head = [p for n, p in self._learning.items() if _is_head(n)] + list(self.objective.parameters())
        body = [p for n, p in self._learning.items() if not _is_head(n)]
        steps = int(self.trainer.estimated_stepping_batches) // s.epochs
        return optimiser(s, head, body, steps)


def _is_head(name: str) -> bool:
    """Whether a layer or parameter follows the backbone, in which timm may use the same words."""
    return not name.startswith("backbone.") and any(part in _HEAD for part in name.split("."))


def _within(name: str, chosen: Sequence[str]) -> bool:
    """Whether a layer or parameter is one of the chosen ones or inside one; without any, all are chosen."""
    return not chosen or any(f"{name}.".startswith(f"{layer}.") for layer in chosen)
