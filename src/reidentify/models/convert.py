"""Weights made elsewhere: torchreid's OSNet checkpoints, and the parameters inside an ONNX file of an OSNet."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from reidentify.errors import InputError, WeightsError
from reidentify.models.osnet import OSNet
from reidentify.models.weights import (
    Card,
    Preprocessing,
    load_state,
    read_state,
    save_weights,
    without_classifier,
)

State = dict[str, Tensor]


def load_torchreid(path: str | os.PathLike[str]) -> State:
    """Read a checkpoint of torchreid (`.pth`, `.pth.tar-N`) or the same parameters as `.safetensors`.

    Only tensors, numbers and text are unpickled, never code. The prefix `module.` of parallel training is taken off,
    and the names of the AIN variant, which torchreid lays out differently, become those of `OSNet`.

    Returns:
        The parameters by name, on the CPU, for `osnet_of` or `weights.load_state`.

    Raises:
        InputError: there is no such file.
        WeightsError: the file is no checkpoint, or holds Python objects that would have to be run to be read.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    checkpoint = read_state(path) if path.suffix == ".safetensors" else _read_checkpoint(path)
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path}: expected parameters by name, or a checkpoint with them under state_dict")
    return {_our_name(str(name).removeprefix("module.")): value for name, value in state.items()}


def osnet_of(state: Mapping[str, Tensor], num_classes: int = 0, origin: str = "the given parameters") -> OSNet:
    """The OSNet whose parameters these are, with them loaded; width, norm and feature size are read off the shapes.

    Args:
        state: from `load_torchreid` or `state_from_onnx`, of the published linear neck.
        num_classes: identities to classify; of another number than there, the classifier starts anew and a warning
            says so. 0: no classifier.
        origin: what to call them in messages, such as the path of their file.

    Raises:
        WeightsError: these are not the parameters of an OSNet.
    """
    if "conv1.conv.weight" not in state or "conv2.0.conv3.conv.weight" not in state:
        first = next(iter(state), "nothing")
        raise WeightsError(f"{origin} are not the weights of an OSNet: they begin with {first}")
    norm = "bn" if "conv2.0.IN.weight" not in state else "ibn" if "conv2.0.conv3.bn.weight" in state else "ain"
    feature_dim = len(state["fc.0.weight"]) if "fc.0.weight" in state else None
    network = OSNet(num_classes, len(state["conv1.conv.weight"]) / 64, norm, feature_dim)  # type: ignore[arg-type]
    load_state(network, dict(state), origin)
    return network


def state_from_onnx(path: str | os.PathLike[str]) -> State:
    """Take the parameters of an OSNet out of an ONNX file of it.

    Names and order in the file do not matter: the layers of the graph and of an `OSNet` are paired by their shapes and
    by what they are connected to. Where a batch norm was folded into its convolution, it comes back as one that only
    adds the folded bias: outputs are the same, but its statistics are lost, so train on only after
    `batchnorm.refit_batch_norms`. Before returning, the file and the `OSNet` are run on the same noise, and must agree.

    Args:
        path: a file that ends in the feature, of any width and norm, batch norms folded or not.

    Returns:
        The complete state of `OSNet(0, width, norm, feature_dim)`; `osnet_of` builds that network from it.

    Raises:
        InputError: no such file, not an ONNX file, or `onnx` or `onnxruntime` is not installed.
        WeightsError: the graph is not that of an OSNet.
    """
    from reidentify.models.foreign import ForeignNetwork

    model = _read_onnx(Path(path))
    theirs = _onnx_layers(model)
    foreign = WeightsError(f"{path}: its graph is not that of an OSNet from image to feature")
    stem = next(iter(theirs.values()), None)
    if stem is None or stem.kind != "conv" or len(stem.weight) % 16:
        raise foreign
    linear = [layer.weight for layer in theirs.values() if layer.kind == "linear"]
    instance_norms = sum(layer.kind == "instance norm" for layer in theirs.values())
    for norm in ("bn", "ibn", "ain"):
        network = OSNet(0, len(stem.weight) / 64, norm, feature_dim=len(linear[0]) if linear else None).eval()
        if instance_norms == sum(isinstance(m, nn.InstanceNorm2d) for m in network.modules()):
            break
    else:
        raise foreign
    ours = _network_layers(network)
    pairs = _pair(ours, theirs)
    if pairs is None:
        raise foreign
    for name, key in pairs.items():
        _copy(ours[name], theirs[key])

    sides = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim[2:]]  # 0 where open
    graph = ForeignNetwork(path, size=(sides[0] or 256, sides[1] or 128))
    noise = torch.randn(1, 3, *graph.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        want, got = graph(noise), network(noise).embedding
    if want.shape != got.shape or not torch.allclose(got, want, rtol=0, atol=1e-3 * float(want.abs().max())):
        raise foreign
    return network.state_dict()


@dataclass
class _Layer:
    """A layer with weights, in a graph of such layers only.

    Args:
        kind: "conv", "linear" or "instance norm".
        weight: as torch lays it out.
        bias: None where there is none.
        sources: the layers whose outputs reach it with no other layer between.
        norm: scale, shift, mean and variance of the batch norm behind it; None where there is none.
        eps: of that batch norm.
    """

    kind: str
    weight: Tensor
    bias: Tensor | None
    sources: set[str]
    norm: list[Tensor] | None = None
    eps: float = 0.0


_KINDS = {nn.Conv2d: "conv", nn.Linear: "linear", nn.InstanceNorm2d: "instance norm"}
_OPERATORS = {"Conv": "conv", "Gemm": "linear", "InstanceNormalization": "instance norm"}
_STREAM = re.compile(r"^(conv\d\.\d)\.conv2\.(\d)\.layers\.(\d)\.")
_TRANSITION = re.compile(r"^pool(\d)\.")


def _our_name(name: str) -> str:
    """torchreid's names of the AIN variant (stream t as `conv2.t.layers`, transitions as `pool2`) -> those of OSNet."""
    name = _TRANSITION.sub(r"conv\1.2.", name)
    return _STREAM.sub(lambda m: f"{m[1]}.conv2{'abcd'[int(m[2])]}." + ("" if m[2] == "0" else f"{m[3]}."), name)


def _read_checkpoint(path: Path) -> Any:
    # torchreid keeps the rank-1 score beside the parameters, a NumPy number; NumPy 1 and 2 name its maker differently.
    scalar = np.float64(0).__reduce__()[0]
    numbers = [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *(type(np.dtype(t)) for t in (np.float32, np.float64)),
    ]
    try:
        with torch.serialization.safe_globals(numbers):  # type: ignore[arg-type]
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged pickle makes the unpickler raise has no common base
        if isinstance(error, pickle.UnpicklingError) and "Unsupported" in str(error):
            raise WeightsError(
                f"{path}: holds Python objects beside its tensors, and those are not loaded from strangers; save its"
                " state_dict as .safetensors where you trust it, and load that"
            ) from None
        raise WeightsError(f"{path}: not a PyTorch checkpoint, or a damaged one") from error


def _read_onnx(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError:
        raise InputError(f"{path}: reading ONNX needs onnx: pip install reidentify[export]") from None
    try:
        model = onnx.load(path)
    except DecodeError:
        raise InputError(f"{path}: not an ONNX file") from None
    if not model.graph.input:
        raise InputError(f"{path}: not an ONNX file")
    return model


def _onnx_layers(model: Any) -> dict[str, _Layer]:
    """The layers of an ONNX graph by the name of their weights; a layer that is used several times appears once."""
    from onnx import helper, numpy_helper

    constants = {i.name: i for i in model.graph.initializer}
    alias: dict[str, str] = {}
    layers: dict[str, _Layer] = {}
    sources: dict[str, set[str]] = {}  # the layers that each tensor of the graph comes from

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(numpy_helper.to_array(constants[alias.get(name, name)]).astype(np.float32))

    for node in model.graph.node:
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant" and "value" in settings:
            constants[node.output[0]] = settings["value"]
        elif node.op_type == "Identity" and alias.get(node.input[0], node.input[0]) in constants:
            alias[node.output[0]] = alias.get(node.input[0], node.input[0])
        reaching = set().union(*(sources.get(name, set()) for name in node.input))
        weights = [name for name in node.input[1:] if name]
        known = all(alias.get(name, name) in constants for name in weights)
        if node.op_type in _OPERATORS and weights and known:
            kind = _OPERATORS[node.op_type]
            weight, bias = tensor(weights[0]), tensor(weights[1]) if len(weights) > 1 else None
            if kind == "linear" and not settings.get("transB", 0):
                weight = weight.T
            # Equal values may be stored once for several norms, and only then do weights not tell which layer it is.
            key = node.output[0] if kind == "instance norm" else alias.get(weights[0], weights[0])
            layers.setdefault(key, _Layer(kind, weight, bias, set())).sources.update(reaching)
            reaching = {key}
        elif node.op_type == "BatchNormalization" and known and len(reaching) == 1:
            (key,) = reaching
            layers[key].norm = [tensor(name) for name in weights]
            layers[key].eps = settings.get("epsilon", 1e-5)
        for output in node.output:
            sources[output] = reaching
    return layers


class _Features(nn.Module):
    """The path of an image to its feature, without the checks of `forward`, which cannot be traced."""

    def __init__(self, network: OSNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.features(images)


def _network_layers(network: OSNet) -> dict[str, _Layer]:
    """The layers of a network by their names."""
    layers: dict[str, _Layer] = {}
    sources: dict[fx.Node, set[str]] = {}
    for node in fx.Tracer().trace(_Features(network)).nodes:
        reaching = set().union(*(sources[n] for n in node.all_input_nodes))
        if node.op == "call_module":
            name = str(node.target).removeprefix("network.")
            module: Any = network.get_submodule(name)
            if (kind := _KINDS.get(type(module))) is not None:
                layers[name] = _Layer(kind, module.weight, module.bias, reaching)
                reaching = {name}
            elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                (name,) = reaching
                statistics = module.state_dict()
                layers[name].norm = [statistics[n] for n in ("weight", "bias", "running_mean", "running_var")]
                layers[name].eps = module.eps
        sources[node] = reaching
    return layers


def _pair(ours: Mapping[str, _Layer], theirs: Mapping[str, _Layer]) -> dict[str, str] | None:
    """Which layer of theirs each of ours is; None where the two graphs differ.

    Colour refinement (Weisfeiler and Leman 1968): a layer's colour begins as its kind and shape, and is refined by the
    colours of the layers before and behind it until no layer changes company. Our layers then all differ.
    """
    graphs = (ours, theirs)
    followers = [{name: [n for n, after in g.items() if name in after.sources] for name in g} for g in graphs]
    colours: list[dict[str, Any]] = [{n: (layer.kind, *layer.weight.shape) for n, layer in g.items()} for g in graphs]
    for _ in ours:
        refined = [
            {n: (c[n], _sorted(c[s] for s in g[n].sources), _sorted(c[s] for s in f[n])) for n in g}
            for g, f, c in zip(graphs, followers, colours)
        ]
        numbers: dict[Any, int] = {}
        before = len(set(colours[0].values()))
        colours = [{n: numbers.setdefault(colour, len(numbers)) for n, colour in r.items()} for r in refined]
        if len(set(colours[0].values())) == before:
            break
    by_colour = {colour: name for name, colour in colours[1].items()}
    if len(by_colour) != len(theirs) or sorted(colours[0].values()) != sorted(by_colour):
        return None
    return {name: by_colour[colour] for name, colour in colours[0].items()}


@torch.no_grad()
def _copy(ours: _Layer, theirs: _Layer) -> None:
    """Give our layer, and the batch norm behind it, the values of theirs."""
    ours.weight.copy_(theirs.weight)
    bias = theirs.bias
    if ours.bias is not None:
        ours.bias.copy_(torch.zeros_like(ours.bias) if bias is None else bias)
        bias = None
    if ours.norm is None:
        return
    scale, shift, mean, variance = ours.norm
    if theirs.norm is None:  # folded: what is left of it is the bias
        mean.zero_()
        variance.fill_(1 - ours.eps)
        scale.fill_(1)
        shift.copy_(torch.zeros_like(shift) if bias is None else bias)
    else:
        for value, given in zip(ours.norm, theirs.norm):
            value.copy_(given)
        mean.sub_(0 if bias is None else bias)
        variance.add_(theirs.eps - ours.eps)


def _sorted(colours: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(colours))


def convert(source: Path, out: Path) -> Path:
    """Turn an OSNet made elsewhere into weights with a card.

    Args:
        source: an ONNX file, or a checkpoint of torchreid.
        out: the safetensors file to write.

    Returns:
        `out`.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"{out}: the weights need a name that ends in .safetensors; their card gets .json")
    network = osnet_of(state_from_onnx(source) if source.suffix == ".onnx" else load_torchreid(source))
    settings = {
        "architecture": "osnet",
        "init": "random",
        "width": network.width,
        "norm": network.norm,
        "neck": "linear",
        "embedding_dim": network.embedding_dim,
    }
    card = Card(out.stem, settings, Preprocessing(), network.embedding_dim, f"as {source.name}", f"as {source.name}")
    save_weights(without_classifier(network.state_dict()), card, out)
    return out
