"""A training that dies in a stated batch."""

import pytorch_lightning as pl


class Killed(Exception):
    """Stands for a killed process."""


def killed_after(monkeypatch, batches: int) -> None:
    """Let the training die in the given batch, counted over all epochs."""
    real, seen = pl.LightningModule.log_dict, [0]

    def log_dict(self, *given, **named):
        seen[0] += 1
        if seen[0] > batches:
            raise Killed
        return real(self, *given, **named)

    monkeypatch.setattr(pl.LightningModule, "log_dict", log_dict)
