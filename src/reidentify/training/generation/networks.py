"""The networks of a training of pose-guided generation, and where their weights start."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn

from reidentify.data.benchmark import Benchmark
from reidentify.data.console import say
from reidentify.errors import InputError, WeightsError
from reidentify.generation import GENERATOR
from reidentify.models.baseline import Baseline
from reidentify.models.catalogue import build, start_of
from reidentify.models.generation.discriminators import (
    IdentityDiscriminator,
    ImageDiscriminator,
    PoseDiscriminator,
    Verifier,
    image_discriminator,
)
from reidentify.models.generation.generator import Generator
from reidentify.models.video import channels_last
from reidentify.models.weights import Card, card_path, load_state, read_state, without_classifier
from reidentify.training.recipe import GenerationRecipe
from reidentify.training.start import initial_state, require_fetchable, warn_of_seen_people
from reidentify.zoo.locate import require_kind


class Networks(nn.Module):
    """Who takes part. The names are those of the parameters in `generator.safetensors`.

    Args:
        encoder: whose features a person is drawn from, and what is left in the end.
        generator: draws.
        image: judges pictures.
        pose: judges whether a picture shows a pose.
        verifier: tells one person from two by their features (FD-GAN); None without one.

    Attributes:
        anew: parts of the image discriminator that start without training, so that their batch norms have no statistics
            yet that they could keep.
    """

    def __init__(
        self,
        encoder: Baseline,
        generator: Generator,
        image: ImageDiscriminator | IdentityDiscriminator,
        pose: PoseDiscriminator,
        verifier: Verifier | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.generator, self.image, self.pose, self.verifier = encoder, generator, image, pose, verifier
        self.anew: tuple[nn.Module, ...] = ()


def build_networks(recipe: GenerationRecipe, classes: int, benchmark: Benchmark) -> Networks:
    """Networks with their first weights: those of an earlier stage (`generator.init`), or those that `model.init` and
    `discriminators.init` name.

    Args:
        recipe: which networks.
        classes: training identities.
        benchmark: the data, of which it is said if its held-out people have been trained on before.

    Raises:
        InputError: settings that do not fit together.
        WeightsError: weights of other networks, or none at all.
    """
    model, earlier = recipe.model, recipe.generator.init != "random"
    if not earlier:
        require_fetchable(model)
    pretrained = not earlier and model.init == "imagenet"
    # A classifier that nothing trains would only be waited for.
    encoder = cast(Baseline, build(model, classes if recipe.loss.cross_entropy else 0, pretrained=pretrained))
    features, size = encoder.embedding_dim, (recipe.input.height, recipe.input.width)
    verifier = Verifier(features) if recipe.method == "fd-gan" else None
    told = False  # whether the verifier has been trained
    if not earlier and (state := initial_state(recipe, benchmark)) is not None:
        told = _start(recipe, encoder, verifier, state)
    judge = image_discriminator(recipe.discriminators, model, encoder, verifier, pretrained=not earlier)
    pose = PoseDiscriminator(recipe.generator.joints, recipe.discriminators.channels)
    networks = Networks(encoder, Generator(features, size, recipe.generator), judge, pose, verifier)
    start = model.init if recipe.discriminators.init == "encoder" else recipe.discriminators.init
    if start == "random":
        networks.anew = (judge,)
    elif isinstance(judge, IdentityDiscriminator) and not (told and recipe.discriminators.init == "encoder"):
        networks.anew = (judge.verifier,)
    if earlier:
        _continue(networks, recipe, benchmark)
    return cast(Networks, channels_last(networks))


def _start(recipe: GenerationRecipe, encoder: Baseline, verifier: Verifier | None, state: dict[str, Tensor]) -> bool:
    """Start the encoder from an embedding network, or encoder and verifier from a Siamese one: then True."""
    model = recipe.model
    if model.init.endswith(".onnx"):
        raise InputError("model.init: an ONNX file cannot start a generation; turn it into weights with `convert`")
    inner = {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
    if inner and verifier is not None:
        head = {k: v for k, v in state.items() if k.startswith(("norm.", "last."))}
        load_state(verifier, head, model.init)
    start = start_of(model, without_classifier(inner or state), encoder)
    load_state(encoder, start, model.init, strict=False)
    return bool(inner) and verifier is not None


def earlier_stage(init: str) -> tuple[Path, Card]:
    """The weights that `generator.init` names, and their card.

    Raises:
        WeightsError: there are none, or they are no generator's.
    """
    path = Path(init)
    path = path / GENERATOR if path.is_dir() else path
    if not path.is_file():
        raise WeightsError(f"generator.init: {init} is neither {GENERATOR} of another run nor that run's folder")
    card = Card.read(card_path(path))
    require_kind(card, "generation", path)
    return path, card


def _continue(networks: Networks, recipe: GenerationRecipe, benchmark: Benchmark) -> None:
    """Take all networks up where an earlier stage left them; one that it did not have starts anew, which is said."""
    path, card = earlier_stage(recipe.generator.init)
    state = read_state(path, card)
    networks.anew, missing = (), []
    for name, network in networks.named_children():
        part = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
        if part or name in ("encoder", "generator"):
            load_state(network, part, f"generator.init: those of the {name} in {path}")
        else:
            missing.append(name)
    if "image" in missing:
        networks.anew = (networks.image,)
    rank_zero_only(say)(
        f"generator.init: the networks go on from {path}"
        + (f", which has no {' and no '.join(missing)}, so that it starts anew" if missing else "")
        + "; model.init and discriminators.init have no say"
    )
    warn_of_seen_people(recipe, path, benchmark)
