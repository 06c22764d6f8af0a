"""Networks made elsewhere, as an ONNX or an OpenVINO file, run on images."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reidentify.errors import InputError, ReidentifyWarning
from reidentify.models.weights import Card, Preprocessing, card_path

Images = TypeVar("Images", NDArray[np.float32], Tensor)


class Graph:
    """An ONNX (`.onnx`) or OpenVINO (`.xml` with its `.bin`) network whose one input is images.

    The graph decides the size and the layout of its input. A graph for a fixed number of images is run as often as
    needed, its last run filled up with copies of the last image; a graph for any number gets all images in one run.

    Args:
        path: the file.
        device: ONNX: "cpu" or "cuda" ("cuda:1", ...). OpenVINO: "cpu" or another of OpenVINO's names ("gpu", "auto").
            None: the CPU.
        size: H, W of the images, for a graph that leaves them open; it must agree with a graph that does not.
        layout: "NCHW" or "NHWC", for a graph whose shape does not tell where its 3 channels are.
        threads: for each run; None: as many as this process may use.

    Attributes:
        size: H, W.
        layout: "NCHW" or "NHWC".
        batch: images per run; None: any number.

    Raises:
        InputError: no such file, not a network, its runtime is not installed, or its input is no such thing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        device: str | None = None,
        *,
        size: tuple[int, int] | None = None,
        layout: Literal["NCHW", "NHWC"] | None = None,
        threads: int | None = None,
    ) -> None:
        self.path = Path(path)
        runtime = _RUNTIMES.get(self.path.suffix.lower())
        if runtime is None:
            raise InputError(f"{path}: expected an ONNX (.onnx) or OpenVINO (.xml) file")
        if not self.path.is_file():
            raise InputError(f"{path}: no such file")
        self._runtime = runtime(self.path, device or "cpu", threads or _usable_cpus())
        ports = self._runtime.inputs
        if len(ports) != 1 or ports[0].rank != 4 or ports[0].dtype is None:
            raise InputError(f"{path}: expected one input, float images of rank 4; it has {_listed(ports)}")
        (port,) = ports
        self._dtype = port.dtype
        self.layout = _layout(path, port, layout)
        self.batch = port.shape[0]
        self.size = _image_size(path, port.shape[2:] if self.layout == "NCHW" else port.shape[1:3], size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path}, size={self.size}, layout={self.layout}, batch={self.batch})"

    def run(self, images: NDArray[Any] | Tensor, outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        """Some outputs of images.

        Args:
            images: B x 3 x H x W, floating point, H and W as in `size`, normalised as the network was trained.
            outputs: their names in the graph.

        Returns:
            Each output for B images, float32.

        Raises:
            InputError: the images have another shape, or the network fails on them or returns something for another
                number of images.
        """
        pixels = images.detach().cpu().float().numpy() if isinstance(images, Tensor) else np.asarray(images)
        if len(pixels) == 0 or pixels.shape[1:] != (3, *self.size):
            expected, got = " x ".join(map(str, (3, *self.size))), " x ".join(map(str, pixels.shape))
            raise InputError(f"{self.path}: expected images of B x {expected} with B at least 1, got {got}")
        if self.layout == "NHWC":
            pixels = pixels.transpose(0, 2, 3, 1)
        step = self.batch or len(pixels)
        runs = [self._once(pixels[i : i + step], step, outputs) for i in range(0, len(pixels), step)]
        return [np.concatenate(found).astype(np.float32) for found in zip(*runs)]

    def _once(self, pixels: NDArray[Any], step: int, outputs: Sequence[str]) -> list[NDArray[Any]]:
        """One run, of up to `step` images."""
        n = len(pixels)
        full = np.concatenate([pixels, np.repeat(pixels[-1:], step - n, axis=0)]) if n < step else pixels
        found = self._raw(full, outputs)
        for name, values in zip(outputs, found):
            if values.ndim < 2 or len(values) != step:
                got = " x ".join(map(str, values.shape))
                raise InputError(f"{self.path}: expected a vector for each of {step} images from {name}, got {got}")
        return [values[:n] for values in found]

    def _raw(self, pixels: NDArray[Any], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """What the graph returns of pixels in its layout, whatever that is."""
        try:
            return self._runtime.run(np.ascontiguousarray(pixels, dtype=self._dtype), outputs)
        except Exception as error:  # the runtimes raise classes of their own, without a common base
            raise InputError(f"{self.path}: fails on images of {self.size}: {_first_line(error)}") from error

    def probe(self) -> dict[str, tuple[int, ...]]:
        """The shape of every output of numbers for blank images, for graphs often leave it open; by name.

        Images are the first side of an output only where that is `batch`, or 1 where the graph takes any number.
        """
        sides = (3, *self.size) if self.layout == "NCHW" else (*self.size, 3)
        names = [port.name for port in self._runtime.outputs if port.dtype is not None]
        found = self._raw(np.zeros((self.batch or 1, *sides)), names)
        return {name: values.shape for name, values in zip(names, found)}


class ForeignNetwork(Graph):
    """A network made elsewhere that maps images to embeddings.

    The embedding is the output called `output`, else the first output that is one vector per image: of rank 2, or of
    a higher rank whose further sides are all 1.

    Args:
        path, device, size, layout, threads: as of `Graph`.
        output: name of the output to take.

    Attributes:
        output: name of the output taken.

    Raises:
        InputError: as `Graph`, or its output is no such thing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        device: str | None = None,
        *,
        size: tuple[int, int] | None = None,
        layout: Literal["NCHW", "NHWC"] | None = None,
        output: str | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__(path, device, size=size, layout=layout, threads=threads)
        self.output = _choose(path, self._runtime.outputs, output)

    def __call__(self, images: Images) -> Images:
        """Embed images.

        Args:
            images: B x 3 x H x W, floating point, H and W as in `size`, normalised as the network was trained.

        Returns:
            B x D, float32, an array for an array and a tensor (on the CPU) for a tensor.

        Raises:
            InputError: the images have another shape, or the network fails on them or returns no vectors.
        """
        (found,) = self.run(images, [self.output])
        if found.size != len(found) * found.shape[1]:
            got = " x ".join(map(str, found.shape))
            raise InputError(
                f"{self.path}: expected a vector for each of {len(found)} images from {self.output}, got {got}"
            )
        vectors = found.reshape(len(found), -1)
        return torch.from_numpy(vectors) if isinstance(images, Tensor) else vectors


@dataclass(frozen=True)
class _Port:
    """An input or output of a graph.

    Args:
        name: in the graph.
        shape: its sides, None where open; None where not even their number is known.
        dtype: of its values; None for a type that images and embeddings do not have.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: type[np.floating[Any]] | None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_vector(self) -> bool:
        return self.rank >= 2 and all(n == 1 for n in self.shape[2:])

    def __str__(self) -> str:
        kind = "other values" if self.dtype is None else self.dtype.__name__
        return f"{self.name} ({' x '.join(str(n or '?') for n in self.shape) or 'of unknown shape'}, {kind})"


_DTYPES: dict[str, type[np.floating[Any]]] = {
    "float": np.float32, "float16": np.float16, "double": np.float64,
    "f32": np.float32, "f16": np.float16, "f64": np.float64,
}  # fmt: skip


class _Runtime(Protocol):
    """What ForeignNetwork needs of a runtime."""

    inputs: list[_Port]
    outputs: list[_Port]

    def run(self, images: NDArray[Any], outputs: Sequence[str]) -> list[NDArray[Any]]: ...


_FATAL = 4  # of onnxruntime's severities


class _OnnxRuntime:
    def __init__(self, path: Path, device: str, threads: int) -> None:
        try:
            import onnxruntime  # type: ignore[import-untyped]
        except ImportError:
            raise InputError(f"{path}: running ONNX needs onnxruntime: pip install reidentify[export]") from None
        kind, _, index = device.partition(":")
        provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(kind)
        if provider is None or provider not in onnxruntime.get_available_providers():
            raise InputError(f"{path}: the onnxruntime installed here cannot run on {device!r}")
        # What it would print is the business of the file's maker, or comes with its exceptions.
        onnxruntime.set_default_logger_severity(_FATAL)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        options.intra_op_num_threads = threads
        # Threads that wait by spinning would take the processors from whoever decodes the next images.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        chosen = (provider, {"device_id": int(index)}) if index else provider
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=[chosen])
        except Exception as error:  # its exceptions have no common base
            raise InputError(f"{path}: not an ONNX file that onnxruntime can run: {_first_line(error)}") from None
        self.inputs = [self._port(p) for p in self._session.get_inputs()]
        self.outputs = [self._port(p) for p in self._session.get_outputs()]

    @staticmethod
    def _port(port: Any) -> _Port:
        shape = tuple(n if isinstance(n, int) and n > 0 else None for n in port.shape)
        return _Port(port.name, shape, _DTYPES.get(port.type.removeprefix("tensor(").removesuffix(")")))

    def run(self, images: NDArray[Any], outputs: Sequence[str]) -> list[NDArray[Any]]:
        return [np.asarray(v) for v in self._session.run(list(outputs), {self.inputs[0].name: images})]


class _OpenVino:
    def __init__(self, path: Path, device: str, threads: int) -> None:
        try:
            import openvino  # type: ignore[import-untyped]
        except ImportError:
            raise InputError(f"{path}: running OpenVINO needs openvino: pip install reidentify[export]") from None
        core = openvino.Core()
        name = device.upper()
        if name != "AUTO" and name not in core.available_devices:
            raise InputError(
                f"{path}: OpenVINO has no device {device!r} here; it has {', '.join(core.available_devices)}"
            )
        # Its own choice is bfloat16 where the processor has it, and then embeddings depend on the machine.
        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if name == "CPU":
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            self._model = core.compile_model(core.read_model(path), name, settings)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise InputError(f"{path}: not an OpenVINO network, or its .bin is missing: {reason}") from None
        self.inputs = [self._port(p) for p in self._model.inputs]
        self.outputs = [self._port(p) for p in self._model.outputs]

    @staticmethod
    def _port(port: Any) -> _Port:
        shape = port.get_partial_shape()
        sides = () if shape.rank.is_dynamic else tuple(n.get_length() if n.is_static else None for n in shape)
        names = sorted(port.get_names())
        return _Port(
            names[0] if names else port.node.get_friendly_name(), sides, _DTYPES.get(port.element_type.to_string())
        )

    def run(self, images: NDArray[Any], outputs: Sequence[str]) -> list[NDArray[Any]]:
        found, names = self._model(images), [p.name for p in self.outputs]
        return [np.array(found[names.index(name)]) for name in outputs]


_RUNTIMES: dict[str, type[_OnnxRuntime] | type[_OpenVino]] = {".onnx": _OnnxRuntime, ".xml": _OpenVino}


def _layout(path: object, port: _Port, given: str | None) -> str:
    """Where the graph has its channels, or InputError where it contradicts `given` or nobody says."""
    if given not in (None, "NCHW", "NHWC"):
        raise InputError(f"layout: expected NCHW or NHWC, got {given!r}")
    channels = {"NCHW": port.shape[1], "NHWC": port.shape[3]}
    possible = [k for k, n in channels.items() if n == 3] or [k for k, n in channels.items() if n is None]
    if given is not None:
        if channels[given] not in (3, None):
            raise InputError(f"{path}: its input {port} is not {given} with 3 channels")
        return given
    if len(possible) != 1:
        raise InputError(f"{path}: its input {port} does not tell which side is the 3 channels; give a layout")
    return possible[0]


def _image_size(path: object, sides: tuple[int | None, ...], given: tuple[int, int] | None) -> tuple[int, int]:
    """H, W of the graph, completed from `given`, or InputError where both differ or neither says."""
    if given is None:
        if None in sides:
            raise InputError(f"{path}: takes images of any size; give a size, height and width")
        return cast(tuple[int, int], tuple(sides))
    if any(n not in (None, g) for n, g in zip(sides, given)):
        wanted = " x ".join(str(n or "?") for n in sides)
        raise InputError(f"{path}: takes images of {wanted} (height x width), not {given[0]} x {given[1]}")
    return given


def _choose(path: object, outputs: list[_Port], name: str | None) -> str:
    """The output to take: the one of this name, else the first that is a vector per image."""
    if name is not None:
        if name not in [p.name for p in outputs]:
            raise InputError(f"{path}: has no output {name!r}; it has {_listed(outputs)}")
        return name
    vectors = [p for p in outputs if p.is_vector and p.dtype is not None]
    if not vectors:
        raise InputError(f"{path}: no output is one vector per image; it has {_listed(outputs)}; name the one to take")
    return vectors[0].name


def _usable_cpus() -> int:
    """Processors this process may use, which in a container are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _listed(ports: list[_Port]) -> str:
    return ", ".join(map(str, ports)) or "none"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def open_foreign(path: Path, preprocessing: Preprocessing | None, device: str | None) -> tuple[ForeignNetwork, Card]:
    """A foreign network with its card, or with one that is made up from what is known of it; see `embed.load`."""
    card = Card.read(card_path(path)) if preprocessing is None and card_path(path).exists() else None
    stated = preprocessing or (card.preprocessing if card else None)
    network = ForeignNetwork(path, device, size=(stated.height, stated.width) if stated else None)
    height, width = network.size
    if stated is None:
        stated = Preprocessing(height, width)
        warnings.warn(
            f"{path.name} comes without a card: taking RGB, ImageNet mean and standard deviation, {height}x{width} from"
            " the graph, no flip",
            ReidentifyWarning,
            stacklevel=3,
        )
    if card is None:
        probe = network(torch.zeros(1, 3, height, width))
        card = Card(path.stem, {}, stated, int(probe.shape[1]), "unknown", "unknown")
    return network, card
