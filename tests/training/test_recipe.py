"""Recipes: defaults, changes, and errors that name the nearest key."""

import dataclasses

import pytest

from reidentify.errors import InputError, RecipeError
from reidentify.training.recipe import Recipe, all_keys, names, read_recipe, recipe_of


@pytest.mark.parametrize("name", names())
def test_every_shipped_recipe_reads_and_describes_itself(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.description
    assert recipe_of(dataclasses.asdict(recipe)) == recipe


def test_the_recipes_asked_for_are_there() -> None:
    assert {"bot", "pcb", "osnet", "market-cpu", "demo"} <= set(names())


def test_changes() -> None:
    changed = read_recipe("bot", ["optimiser.lr=1e-4", "augment.erase_area=[0.1, 0.2]", "loss.metric=circle"])
    assert changed.optimiser.lr == 1e-4
    assert changed.augment.erase_area == (0.1, 0.2)
    assert changed.loss.metric == "circle"
    assert changed.optimiser.epochs == read_recipe("bot").optimiser.epochs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimiser.epoch=3", r"unknown key optimiser.epoch, did you mean optimiser.epochs\?"),
        ("optimizer.lr=3", r"unknown key optimizer, did you mean optimiser"),
        ("optimiser.lr=fast", r"optimiser.lr.*float.*fast"),
        ("optimiser.epochs=2.5", r"optimiser.epochs.*int.*2.5"),
        ("loss.triplet_kind=harder", r"loss.triplet_kind.*hard.*harder"),
        ("input=3", "input: expected settings by name, got 3"),
        ("input.height.x=3", "height has no settings below it"),
        ("epochs", "--set wants key=value"),
        ("optimiser.epochs=0", "optimiser.epochs: expected a number above 0, got 0"),
        ("optimiser.lr=null", "optimiser.lr"),
        ("optimiser.ema=2", "optimiser.ema: expected a share"),
        ("run.seed=-1", "run.seed: expected a number from 0"),
        ("augment.erase_aspect=0", "erase_aspect above 0"),
        ("input.holdout=1.5", "input.holdout: expected a share"),
        ("loss={cross_entropy: 0, triplet: 0}", "nothing to minimise"),
        ("run.seed=[", "is not a YAML value"),
    ],
)
def test_mistakes_are_named_in_one_line(change: str, message: str) -> None:
    with pytest.raises(InputError if "erase" in change else RecipeError, match=message) as caught:
        read_recipe("bot", [change])
    assert "\n" not in str(caught.value)


def test_files(tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text("optimiser: {epochs: 3}\n")
    assert read_recipe(str(tmp_path / "mine.yaml")).optimiser.epochs == 3
    (tmp_path / "empty.yaml").write_text("")
    assert read_recipe(str(tmp_path / "empty.yaml")) == Recipe()
    for content, message in (("- 1", "settings by name"), ("a: [", "not YAML")):
        (tmp_path / "bad.yaml").write_text(content)
        with pytest.raises(RecipeError, match=message):
            read_recipe(str(tmp_path / "bad.yaml"))
    with pytest.raises(RecipeError, match="no such file"):
        read_recipe(str(tmp_path / "none.yaml"))
    with pytest.raises(RecipeError, match="there is no recipe 'market', did you mean 'market-cpu'"):
        read_recipe("market")


def test_every_key_has_a_place() -> None:
    keys = all_keys()
    assert "optimiser.lr" in keys
    assert "augment.flip" in keys
    assert len(keys) == len(set(keys)) > 60
