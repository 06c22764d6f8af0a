"""The command that tells attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reidentify.commands.shared import Use, rows_of
from reidentify.errors import InputError

if TYPE_CHECKING:
    from reidentify.embed import Model
    from reidentify.values import Sightings


def attributes(weights: str, images: list[str], use: Use, json: bool = False) -> None:
    """Tell the attributes of persons, each with the confidence of the network.

    For a network of clips a folder that holds pictures is a tracklet, its frames in the order of their names; a folder
    of such folders holds several.

    Examples:
      reidentify attributes runs/aitl tracklets
      reidentify attributes runs/aitl crops/*.jpg --json

    Args:
        weights: a run folder, or a weights.safetensors, of a training with attributes.
        images: picture files, or folders of them; of persons.
        json: print JSON instead of tables.
    """
    if not images:
        raise InputError("attributes needs images: picture files, or folders of them")
    model = use.load(weights)
    if not model.card.schema:
        raise InputError(f"{weights} tells no attributes; recipes that train such weights: {', '.join(_recipes())}")
    names, rows = rows_of(images, tracklets=model.card.clip > 1)
    told = _told(model, names, rows, use.options())
    if json:
        import json as form

        print(form.dumps(told, indent=2, ensure_ascii=False))
        return
    from rich.markup import escape
    from rich.table import Table

    from reidentify.data.console import console, say

    for one in told:
        say(one["path"] if one["frames"] == 1 else f"{one['path']}: {one['frames']} frames")
        table = Table("attribute", "value")
        table.add_column("confidence", justify="right")
        for name, found in one["attributes"].items():
            table.add_row(escape(name), escape(found["value"]), f"{100 * found['confidence']:.0f} %")
        console().print(table)


def _told(model: Model, names: list[str], rows: Sightings, options: dict[str, Any]) -> list[dict[str, Any]]:
    """For each row its most probable values and how probable they are."""
    probabilities = model.attributes_of(rows, **options, cache=False, progress=False)
    found: list[dict[str, Any]] = []
    for i, name in enumerate(names):
        best = {a: (int(probabilities[a.name][i].argmax()), probabilities[a.name][i]) for a in model.card.schema}
        values = {a.name: {"value": a.values[k], "confidence": float(p[k])} for a, (k, p) in best.items()}
        found.append({"path": name, "frames": int(rows.lengths[i]), "attributes": values})
    return found


def _recipes() -> list[str]:
    from reidentify.training.recipe import Recipe, names, read_recipe

    recipes = {name: read_recipe(name) for name in names()}
    return [name for name, recipe in recipes.items() if isinstance(recipe, Recipe) and recipe.model.attributes]
