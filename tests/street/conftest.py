"""One small street, rendered once for all tests that need files."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("embreex")
from reidentify.street import Settings, Street, render
from reidentify.street.scene import Layers, render_layers

SMALL = Settings(identities=24, cameras=3, minutes=10, seed=3)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 people before 3 cameras, with files."""
    root = tmp_path_factory.mktemp("data")
    return render(root / "street", SMALL.identities, SMALL.cameras, SMALL.minutes, SMALL.seed, workers=2)


@pytest.fixture(scope="session")
def street() -> Street:
    """The same people before the same cameras, in memory; only the first camera's place is ever cast."""
    kept: dict[int, Layers] = {}

    def layers(node: int) -> Layers:
        if node not in kept:
            kept[node] = render_layers(SMALL.seed, made.sites[node])
        return kept[node]

    made = Street(SMALL, layers=layers)
    return made
