"""The exceptions this package raises on purpose.

    ReidentifyError
    ├── InputError      what the user gave cannot be used: a file, a folder, a table, an argument
    │   └── ImageError  an image cannot be read; `.path` names it
    ├── RecipeError     a recipe has an unknown key or a value of the wrong type
    ├── WeightsError    weights do not fit the network, or their card is missing or untrue
    └── StorageError    the disk cannot take what has to be written

Each carries one sentence that names the culprit and what to do. The command line prints that sentence and exits
with status 2; anything else that reaches it is a defect of ours and shows its traceback.
"""

from __future__ import annotations

from os import PathLike


class ReidentifyWarning(UserWarning):
    """Something the user should know and that does not stop the work. The command line prints it in one line."""


class ReidentifyError(Exception):
    """Base of every exception this package raises on purpose."""


class InputError(ReidentifyError):
    """What the user gave cannot be used."""


class ImageError(InputError):
    """An image cannot be read.

    Args:
        path: the file.
        reason: what the decoder said.
    """

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        super().__init__(f"cannot read image {path}: {reason}")
        self.path, self.reason = str(path), reason

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        return ImageError, (self.path, self.reason)  # so that it comes whole out of a worker process


class RecipeError(ReidentifyError):
    """A recipe has an unknown key or a value of the wrong type."""


class WeightsError(ReidentifyError):
    """Weights do not fit the network, or their card is missing or untrue."""


class StorageError(ReidentifyError):
    """The disk cannot take what has to be written."""
