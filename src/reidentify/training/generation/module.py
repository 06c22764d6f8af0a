"""The training step of pose-guided generation: discriminators first, then generator and encoder at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from reidentify.batch import Batch
from reidentify.errors import ReidentifyError
from reidentify.models.generation.generator import to_imagenet
from reidentify.models.output import Output
from reidentify.models.views import views
from reidentify.models.weights import IMAGENET_MEAN, Preprocessing
from reidentify.training.generation import steps
from reidentify.training.generation.networks import Networks
from reidentify.training.objective import Objective, predicted
from reidentify.training.optimiser import Together, hash_seed, scheduled, unscheduled
from reidentify.training.recipe import GenerationRecipe
from reidentify.training.settings import LossSettings

_BETAS = (0.5, 0.999)
_MOMENTUM = 0.9


class GenerationTraining(pl.LightningModule):
    """Trains an encoder, a generator and two discriminators by turns (Goodfellow et al., NeurIPS 2014).

    Args:
        networks: all of them.
        recipe: everything else.
        preprocessing: of the encoder.
    """

    def __init__(self, networks: Networks, recipe: GenerationRecipe, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.networks, self.recipe, self.preprocessing = networks, recipe, preprocessing
        loss, encoder = recipe.loss, networks.encoder
        self.objective: Objective | None = None
        if loss.cross_entropy or loss.triplet:
            settings = LossSettings(
                cross_entropy=loss.cross_entropy,
                label_smoothing=loss.label_smoothing,
                triplet=loss.triplet,
                triplet_kind=loss.triplet_kind,
                margin=loss.margin,
            )
            self.objective = Objective(settings, 0, encoder.embedding_dim)
        learns = recipe.stage != "generator"
        if not learns:
            encoder.requires_grad_(False)
        if networks.verifier is not None and not (learns and loss.verification):
            networks.verifier.requires_grad_(False)
        for judge, weight in ((networks.image, loss.image), (networks.pose, loss.pose)):
            if not weight:
                judge.requires_grad_(False)

    def on_train_epoch_start(self) -> None:
        """Everything learns, but for what the stage keeps as it is.

        As published, batch norms of encoder and image discriminator keep their statistics in the joint stage, and in
        ST-ReIDNet those of the image discriminator always. One that starts without training, and so has none, learns
        them all the same; but the generator is told by the statistics of real and drawn pictures together.
        """
        n, stage = self.networks.train(), self.recipe.stage
        tellers = [n.encoder] if n.verifier is None else [n.encoder, n.verifier]
        if stage == "generator":
            for network in tellers:
                network.eval()
        kept = [*tellers, n.image] if stage == "joint" else [n.image] if self.recipe.method == "st-reidnet" else []
        for network in kept:
            steps.keep_statistics(network)
        for network in n.anew:
            network.train()

    def training_step(self, batch: Batch, step: int) -> None:
        """One batch: it is drawn, the discriminators learn from it, and then generator and encoder by them."""
        n, s, labels = self.networks, self.recipe.loss, batch.labels
        # What a step draws, dropout included, depends on these alone, so that a resumed run draws the same.
        seed = hash_seed(self.recipe.run.seed, self.current_epoch, self.global_rank, step)
        torch.manual_seed(seed)
        rng = torch.Generator().manual_seed(seed)
        fill = torch.tensor(IMAGENET_MEAN)
        shown = steps.show(batch, self.recipe.augment, n.generator, s.masked, rng, fill)
        two = self.recipe.method == "fd-gan"
        plan = steps.pairs(labels) if two else steps.triplets(len(batch), s.swap)
        people = len(batch) // 2 if two else len(batch)  # the other half of FD-GAN's batch are targets
        with torch.set_grad_enabled(self.recipe.stage != "generator"):
            features = n.encoder.features(to_imagenet(shown.inputs[:people]))
        drawn = steps.draw(plan, features, shown, n.generator, rng)

        optimisers = self.optimizers()
        makers, *judges = optimisers if isinstance(optimisers, list) else [optimisers]
        judging, right = steps.judging_losses(plan, drawn, shown, n, s, rng)
        for optimiser in judges:  # one, or none
            self._learn(optimiser, judging, step)
        with steps.frozen(n.image, n.pose):
            losses = steps.drawing_losses(plan, drawn, shown, n, s)
            told, logits = self._told(features, labels[:people])
            total = self._learn(makers, losses | told, step)
        schedules = self.lr_schedulers()
        for schedule in schedules if isinstance(schedules, list) else [schedules]:
            schedule.step()

        log = {f"loss/{k}": v.detach() for k, v in (losses | told).items()} | {"loss/total": total.detach()}
        log |= {f"loss/{k} discriminator": v.detach() for k, v in judging.items()}
        log |= {f"accuracy/{k} discriminator": v for k, v in right.items()}
        if logits is not None:
            log["accuracy"] = (predicted(logits) == labels[:people]).float().mean()
        self.log_dict(log, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch))
        self.log("loss_", log["loss/total"], prog_bar=True, logger=False)

    def _told(self, features: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        """The losses that tell people apart by their features, each weighted, and the logits of the classifier."""
        if self.recipe.stage == "generator":
            return {}, None
        n, s, losses = self.networks, self.recipe.loss, dict[str, Tensor]()
        output: Output = n.encoder.neck(features)  # its batch norm learns its statistics here, whatever the losses
        if self.objective is not None:
            apart = self.recipe.sampler.kind == "space-time"  # whose last role is there to be kept away from
            losses = self.objective(output, labels, anchors=len(labels) * 2 // 3 if apart else None)
        if n.verifier is not None and s.verification:
            (a, b), (of_a, of_b) = features.chunk(2), labels.chunk(2)
            same = F.cross_entropy(n.verifier(a, b).float(), (of_a == of_b).long())
            losses["verification"] = s.verification * same
        return losses, output.logits

    def _learn(self, optimiser: Any, losses: Mapping[str, Tensor], step: int) -> Tensor:
        """One step down the sum of the losses, which it gives."""
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            values = ", ".join(f"{k} {v.item():.3g}" for k, v in losses.items())
            raise ReidentifyError(
                f"the loss is not finite at epoch {self.current_epoch}, step {step} ({values}): lower optimiser.lr and"
                " the rates, set optimiser.clip, or train with run.precision=32-true"
            )
        optimiser.zero_grad()
        self.manual_backward(total)
        optimiser.step()
        return total

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradients, which no longer are multiplied by a loss scale here."""
        self.clip_gradients(optimizer, self.recipe.optimiser.clip or None, "norm")

    def validation_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """What is compared of images: "vectors" of unit length, B x D."""
        shown = views(batch.pixels[:, 0], flip=self.recipe.run.flip)
        found = [self.networks.encoder(self.preprocessing.apply(pixels)).embedding.float() for pixels, _ in shown]
        return {"vectors": F.normalize(torch.stack(found).sum(0), dim=1)}

    def configure_optimizers(self) -> Any:
        """One optimiser for generator and encoder and one for the discriminators that learn, if any; and one factor for
        all rates."""
        s, r, n = self.recipe.optimiser, self.recipe.rates, self.networks
        steps_of_epoch = int(self.trainer.estimated_stepping_batches) // s.epochs
        makers: list[torch.optim.Optimizer] = [torch.optim.Adam(n.generator.parameters(), r.generator, _BETAS)]
        learning = [
            (name, parameter)
            for network in (n.encoder, n.verifier)
            if network is not None
            for name, parameter in network.named_parameters()
            if parameter.requires_grad
        ]
        if learning:
            body = [p for name, p in learning if name.startswith("backbone.")]
            head = [p for name, p in learning if not name.startswith("backbone.")]
            makers.append(unscheduled(s, head, body))
        judges: list[torch.optim.Optimizer] = []
        for network, rate in ((n.image, r.image), (n.pose, r.pose)):
            parameters = [p for p in network.parameters() if p.requires_grad]
            if not parameters:
                continue
            if r.discriminators == "sgd":
                judges.append(torch.optim.SGD(parameters, rate, _MOMENTUM, weight_decay=r.weight_decay))
            else:
                judges.append(torch.optim.Adam(parameters, rate, _BETAS, weight_decay=r.weight_decay))
        return [scheduled(Together(group), s, steps_of_epoch) for group in (makers, judges) if group]
