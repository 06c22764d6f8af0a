"""The commands: typed functions whose text is their help. `cli` parses for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from reidentify.commands import attributes, data, explain, generate, networks, pose, ranking, spacetime, verification

Command: TypeAlias = "Callable[..., int | None]"


@dataclass(frozen=True)
class Group:
    """Commands under one name.

    Args:
        summary: what they are for.
        commands: by name.
    """

    summary: str
    commands: dict[str, Command | Group]


COMMANDS = Group(
    "Person re-identification: is this the same person, seen by another camera at another time?",
    {
        "demo": ranking.demo,
        "data": Group(
            "Find, check and import data sets.",
            {
                "list": data.list_,
                "get": data.get,
                "check": data.check,
                "stats": data.stats,
                "import": data.import_,
                "dancereid": data.dancereid,
            },
        ),
        "street": data.street,
        "stage": data.stage,
        "recipes": networks.recipes,
        "train": networks.train,
        "find-lr": networks.find_lr,
        "curves": networks.curves,
        "embed": networks.embed,
        "evaluate": ranking.evaluate,
        "compare": ranking.compare,
        "calibrate": verification.calibrate,
        "verify": verification.verify,
        "pairs": verification.pairs,
        "attributes": attributes.attributes,
        "explain": explain.explain,
        "pose": pose.pose,
        "generate": generate.generate,
        "spacetime": Group(
            "Learn how long people take from camera to camera, and look at it.",
            {"fit": spacetime.fit, "plot": spacetime.plot},
        ),
        "convert": networks.convert,
    },
)
