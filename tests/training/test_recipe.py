"""Recipes: defaults, changes, and errors that name the nearest key."""

import dataclasses
import re
from pathlib import Path

import pytest

from reidentify.errors import RecipeError
from reidentify.training.recipe import Recipe, all_keys, names, read_recipe, recipe_of
from reidentify.training.settings import OptimiserSettings


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
        ("optimiser.lr=fast", "optimiser.lr: expected a number, got 'fast'"),
        ("optimiser.epochs=2.5", "optimiser.epochs: expected a whole number, got 2.5"),
        ("optimiser.milestones=[a]", r"optimiser.milestones: expected a list, each a whole number, got \['a'\]"),
        ("loss.triplet_kind=harder", "loss.triplet_kind: expected hard or soft or weighted, got 'harder'"),
        ("loss.metric_settings=3", "loss.metric_settings: expected null or settings by name, got 3"),
        ("input=3", "input: expected settings by name, got 3"),
        ("input.height.x=3", "height has no settings below it"),
        ("epochs", "--set wants key=value"),
        ("optimiser.lr=null", "optimiser.lr: expected a number, got null"),
        ("loss={cross_entropy: 0, triplet: 0}", "nothing to minimise"),
        ("run.seed=[", "is not a YAML value"),
    ],
)
def test_mistakes_are_named_in_one_line(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        read_recipe("bot", [change])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "expected", "inside", "outside"),
    [
        ("optimiser.lr", "above 0", "1.0e-9", "0 -0.1 .inf .nan"),
        ("optimiser.epochs", "of at least 1", "1", "0"),
        ("optimiser.milestones", "of at least 1", "[1]", "[40,0]"),
        ("optimiser.clip", "of at least 0", "0 5", "-1 .inf"),
        ("optimiser.warmup", "of at least 0", "0", "-0.5 .nan"),
        ("optimiser.freeze", "of at least 0", "0", "-1"),
        ("optimiser.ema", "from 0 to below 1", "0 0.9999", "1 -0.1"),
        ("loss.label_smoothing", "from 0 to below 1", "0", "1 -0.1"),
        ("loss.cross_entropy", "of at least 0", "0", "-1"),
        ("loss.triplet", "of at least 0", "0", "-1 .inf"),
        ("loss.center", "of at least 0", "0", "-5.0e-4"),
        ("loss.metric_weight", "of at least 0", "0", "-1"),
        ("loss.margin", "of at least 0", "0", "-0.3"),
        ("augment.flip", "from 0 to 1", "0 1", "-0.1 1.5"),
        ("augment.erase", "from 0 to 1", "0 1", "-0.1 1.5 .nan"),
        ("augment.erase_area", "from 0 to 1", "[0,1]", "[0.1,1.5]"),
        ("augment.erase_aspect", "above 0 and at most 1", "1", "0 1.1"),
        ("input.holdout", "from 0 to below 1", "0", "1.5"),
        ("model.embedding_dim", "of at least 1", "1 null", "0"),
        ("model.region_cells", "that is even and at least 4", "4 12", "2 5 0"),
        ("sampler.anchors", "of at least 1", "1", "0"),
        ("sampler.gap", "above 0", "0.1", "0 .nan"),
        ("sampler.inter_rate", "from 0 to 1", "0 1", "-0.1 1.5"),
        ("run.seed", "from 0 to 2**32 - 1", "0 4294967295", "-1 4294967296"),
    ],
)
def test_ranges(key: str, expected: str, inside: str, outside: str) -> None:
    for value in inside.split():
        read_recipe("bot", [f"{key}={value}"])
    for value in outside.split():
        with pytest.raises(RecipeError, match=re.escape(f"{key}: expected a number {expected}, got ")):
            read_recipe("bot", [f"{key}={value}"])


def test_the_small_recipes_of_generation_compare_like_with_like() -> None:
    """ST-ReIDNet and its baseline make the same steps on the same people, augmented alike; FD-GAN is as published."""
    ours, theirs, gan = (read_recipe(f"{name}-cpu") for name in ("st-reidnet", "st-reidnet-baseline", "fd-gan"))
    for section in ("input", "augment", "optimiser"):
        assert getattr(ours, section) == getattr(theirs, section)
    assert ours.sampler.anchors == theirs.sampler.anchors
    assert (gan.loss.verification, gan.loss.cross_entropy, gan.loss.triplet, gan.model.pooling) == (1, 0, 0, "gap")
    stages = [read_recipe(name) for name in ("st-reidnet", "st-reidnet-1", "st-reidnet-2")]
    assert [r.stage for r in stages] == ["all", "generator", "joint"]
    assert [(r.rates.generator, r.rates.image) for r in stages] == [(1e-5, 4e-5), (2e-6, 2e-5), (1e-6, 1e-5)]


def test_a_recipe_put_together_by_hand_is_checked_too() -> None:
    with pytest.raises(RecipeError, match=r"optimiser.lr: expected a number above 0, got -1"):
        Recipe(optimiser=OptimiserSettings(lr=-1))


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


@pytest.mark.parametrize("name", ["idla", "pose-cpu"])
def test_layers_are_chosen_of_embedding_networks_alone(name: str) -> None:
    with pytest.raises(RecipeError, match=r"optimiser\.train: only the layers of an embedding network can be chosen"):
        read_recipe(name, ["optimiser.train=[fusion]"])


def test_the_options_of_st_reidnets_baseline_are_settings() -> None:
    """What the table of docs/generation.md calls a setting is one; and the recipe holds those of the published run."""
    page = (Path(__file__).parents[2] / "docs" / "generation.md").read_text()
    table = page.partition("## The baseline's options\n")[2]
    options = [line.split("|")[2] for line in table.splitlines() if line[:1] == "|"]
    changes = [re.findall(r"\b\w+(?:\.\w+)+=[^ `]+", option) for option in options]
    assert sum(map(len, changes)) > 30
    for option, of_option in zip(options, changes):
        other = re.search(r"reidentify train (\S+)", option)  # an option that is another recipe
        read_recipe(other[1] if other else "st-reidnet-baseline", of_option)
    recipe = read_recipe("st-reidnet-baseline")
    assert isinstance(recipe, Recipe)
    assert (recipe.sampler.kind, recipe.sampler.anchors, recipe.input.holdout) == ("instances", 128, 0)
    assert (recipe.model.neck, recipe.model.neck_feature, recipe.model.last_stride) == ("bnneck", "after", 1)
    assert (recipe.loss.triplet_kind, recipe.loss.label_smoothing) == ("soft", 0.1)
    assert recipe.optimiser.milestones == [40, 80]  # --epochs 100 --step-size 40
