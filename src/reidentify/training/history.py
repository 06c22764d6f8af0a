"""What a training has said so far: one line per epoch, a table, and a picture of the curves."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from reidentify.data.console import say

_PANELS = (("loss", "loss/"), ("accuracy", "accuracy"), ("held-out identities", "validation/"), ("learning rate", "lr"))


class History(pl.Callback):
    """Keeps the values of every epoch in the checkpoint, so that a resumed run has the whole curve.

    Writes `history.csv` and `curves.png` into `folder` after every epoch.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, float]] = []
        self._started = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the rows of an interrupted run."""
        self.rows = state["rows"]

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Say and keep the epoch's values. Lightning validates before this hook."""
        values = {k: float(v) for k, v in trainer.callback_metrics.items() if not k.endswith("_")}
        if not self._validated(trainer):
            values = {k: v for k, v in values.items() if not k.startswith("validation/")}
        values |= {"epoch": trainer.current_epoch + 1, "lr": trainer.optimizers[0].param_groups[-1]["lr"]}
        values["seconds"] = round(time.monotonic() - self._started, 1)
        self.rows.append(values)
        if not trainer.is_global_zero:
            return
        said = [f"{k.removeprefix('loss/').removeprefix('validation/')} {v:.3f}" for k, v in values.items() if "/" in k]
        accuracy = [f"accuracy {values['accuracy']:.3f}"] if "accuracy" in values else []
        line = f"epoch {values['epoch']}/{trainer.max_epochs}  " + "  ".join([*said, *accuracy])
        say(f"{line}  lr {values['lr']:.2e}  {values['seconds']:.0f} s")
        self._write()

    def _validated(self, trainer: pl.Trainer) -> bool:
        every = trainer.check_val_every_n_epoch or 1
        return bool(trainer.num_val_batches) and (trainer.current_epoch + 1) % every == 0

    def _write(self) -> None:
        names = list(dict.fromkeys(k for row in self.rows for k in row))
        with open(self.folder / "history.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, sorted(names, key=lambda k: k != "epoch"))
            writer.writeheader()
            writer.writerows(self.rows)
        plot(self.rows, self.folder / "curves.png")


def plot(rows: list[dict[str, float]], path: Path) -> None:
    """Draw losses, accuracy, validation scores and learning rate over the epochs."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(k for row in rows for k in row))
    panels = [(title, [k for k in names if k.startswith(prefix)]) for title, prefix in _PANELS]
    panels = [(title, keys) for title, keys in panels if keys]
    figure = Figure(figsize=(4.2 * len(panels), 3.2), layout="constrained")
    for axes, (title, keys) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for key in keys:
            points = [(row["epoch"], row[key]) for row in rows if key in row]
            axes.plot(*zip(*points), marker="." if len(points) < 15 else "", label=key.split("/")[-1])
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        if len(keys) > 1:
            axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
