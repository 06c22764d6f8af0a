"""What every kind of training shares: the run folder, checkpoints and resume, and Lightning's trainer."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from reidentify import files
from reidentify.data.benchmark import Benchmark
from reidentify.data.console import console, say
from reidentify.errors import InputError, RecipeError
from reidentify.training.history import History
from reidentify.training.recipe import AnyRecipe, GenerationRecipe, PairRecipe

WEIGHTS = "weights.safetensors"
DESCRIPTION = "recipe.json"


class Session:
    """A run folder, new or to be resumed. Nothing is written before `fit`.

    Args:
        recipe: what to do.
        benchmark: its `train` rows are trained on.
        out: the folder.

    Raises:
        InputError: the folder holds anything but an unfinished run of the same recipe and data.
    """

    def __init__(self, recipe: AnyRecipe, benchmark: Benchmark, out: str | os.PathLike[str]) -> None:
        self.recipe, self.folder = recipe, Path(out)
        stated = {"recipe": dataclasses.asdict(recipe), "data": benchmark.name, "rows": len(benchmark.train)}
        self._description = json.dumps(stated, indent=2) + "\n"
        self._first = int(os.environ.get("LOCAL_RANK", 0)) == 0
        if self._first:
            _check_folder(self.folder, self._description)
        pl.seed_everything(recipe.run.seed, workers=True, verbose=False)

    @property
    def weights(self) -> Path:
        """Where the weights are written, in the end."""
        return self.folder / WEIGHTS

    @property
    def device(self) -> torch.device:
        """Where the trained network is scored."""
        return working_device(self.recipe)

    def fit(
        self,
        module: pl.LightningModule,
        data: pl.LightningDataModule,
        callbacks: Sequence[Callback],
        monitor: str,
        progress: bool,
    ) -> bool:
        """Train to the end, from the last checkpoint if there is one.

        Args:
            module: ends with the weights to keep: the last ones, or the best if the recipe selects them.
            data: batches.
            callbacks: validation among them.
            monitor: the logged value whose largest is the best; empty where nothing is validated.
            progress: show progress bars.

        Returns:
            Whether this process is the one that finishes the run.
        """
        trainer = _trainer(self.recipe, self.folder, callbacks, monitor, progress)
        if self._first:  # only now that everything the training needs has been read and built
            files.write(self.folder / DESCRIPTION, self._description)
        last, best = (self.folder / "checkpoints" / name for name in ("last.ckpt", "best.ckpt"))
        checkpoint = _read_checkpoint(last)
        if checkpoint is not None and self._first:
            say(f"resuming from {last}")
        if checkpoint is not None and checkpoint["epoch"] + 1 >= self.recipe.optimiser.epochs:
            module.load_state_dict(checkpoint["state_dict"])  # the moving average, where there is one
        else:
            resumed = last if checkpoint is not None else None
            trainer.fit(module, datamodule=data, ckpt_path=resumed, weights_only=True)
        if not trainer.is_global_zero:
            return False
        if self.recipe.run.select == "best" and (chosen := _read_checkpoint(best)) is not None:
            module.load_state_dict(chosen["state_dict"])
        return True


def working_device(recipe: AnyRecipe) -> torch.device:
    """Where joints are looked for before a training and its network is scored after it."""
    gpu = torch.cuda.is_available() and recipe.run.accelerator != "cpu"
    return torch.device("cuda" if gpu else "cpu")


class _WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all, so that a kill leaves the last one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with files.whole(path) as partial:
            torch.save(checkpoint, partial)


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    """A checkpoint of ours, or None if there is none. It holds tensors and numbers; no code is unpickled."""
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names no type for a file that is none of its own
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a checkpoint that can be resumed ({reason}); give another folder") from None


def _check_folder(folder: Path, description: str) -> None:
    """The folder must be new, or hold an unfinished run of the same description."""
    stated = folder / DESCRIPTION
    if not stated.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} exists and is no run of this program; give another folder with --out")
        return
    if (folder / WEIGHTS).exists():
        raise InputError(f"{folder} holds a finished run; give another folder with --out")
    if stated.read_text() != description:
        try:
            theirs = json.loads(stated.read_text())
        except ValueError:
            raise InputError(f"{stated} is not the description of a run; give another folder with --out") from None
        where = _difference(theirs, json.loads(description))
        raise InputError(
            f"{folder} holds a run of another recipe or data ({where} differs); give another folder with --out"
        )


def _difference(a: Any, b: Any, prefix: str = "") -> str:
    """The first key in which two run descriptions differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*b, *a]):
            if a.get(key) != b.get(key):
                return _difference(a.get(key), b.get(key), f"{prefix}{key}.")
    return prefix.rstrip(".")


def quiet() -> None:
    """Keep Lightning from saying what is chosen on purpose here."""
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
    warnings.filterwarnings("ignore", ".*The number of training batches.*is smaller than the logging interval.*")


def _trainer(recipe: AnyRecipe, folder: Path, extra: Sequence[Callback], monitor: str, progress: bool) -> pl.Trainer:
    s, o = recipe.run, recipe.optimiser
    quiet()
    top_only = isinstance(recipe, PairRecipe) and recipe.pairs.retrain == "top"
    by_turns = isinstance(recipe, GenerationRecipe)  # which clips its gradients itself
    parallel = s.nodes > 1 or (s.devices not in ("auto", 1) if s.accelerator == "cpu" else True)
    checkpoints = folder / "checkpoints"
    keep: dict[str, Any] = {"dirpath": checkpoints, "enable_version_counter": False}
    callbacks: list[Callback] = [EMAWeightAveraging(decay=o.ema)] if o.ema else []
    callbacks += extra
    callbacks += [
        History(folder),
        ModelCheckpoint(
            filename="last", every_n_epochs=s.checkpoint_every, save_on_train_epoch_end=True, save_top_k=1, **keep
        ),
    ]
    if monitor and s.select == "best":
        callbacks.append(ModelCheckpoint(filename="best", monitor=monitor, mode="max", **keep))
    if progress and console().is_terminal:
        callbacks.append(RichProgressBar(leave=False))
    try:
        return pl.Trainer(
            accelerator=s.accelerator,
            devices=s.devices if s.accelerator != "cpu" or s.devices != "auto" else 1,
            num_nodes=s.nodes,
            # Layers that a freeze or a turn leaves out would make plain DDP wait for their gradients.
            strategy="ddp_find_unused_parameters_true" if parallel and (o.freeze or top_only or by_turns) else "auto",
            precision=s.precision,
            sync_batchnorm=s.sync_batchnorm,
            max_epochs=o.epochs,
            gradient_clip_val=None if by_turns else o.clip or None,
            check_val_every_n_epoch=s.evaluate_every,
            num_sanity_val_steps=0,
            limit_val_batches=None if monitor else 0,
            use_distributed_sampler=False,
            callbacks=callbacks,
            plugins=[_WholeCheckpoints()],
            logger=TensorBoardLogger(str(folder), name="", version="tensorboard"),
            enable_progress_bar=progress and console().is_terminal,
            enable_model_summary=False,
            default_root_dir=folder,
        )
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        raise RecipeError(f"run: {' '.join(str(error).split())}") from None
