"""OSNet against the published sizes and names, and against the papers' description written out with functions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reidentify.errors import InputError
from reidentify.models.osnet import OSNet

# Without the classifier; counted on the authors' own code. The papers print 2.2, 1.3, 0.6 and 0.2 million.
SIZES = [
    (1.0, "bn", 2_169_508),
    (0.75, "bn", 1_285_754),
    (0.5, "bn", 630_034),
    (0.25, "bn", 201_864),
    (1.0, "ibn", 2_170_532),
    (1.0, "ain", 2_169_508),
    (0.75, "ain", 1_285_754),
    (0.5, "ain", 630_034),
    (0.25, "ain", 201_864),
]


@pytest.mark.parametrize(("width", "norm", "size"), SIZES)
def test_published_number_of_parameters(width: float, norm: str, size: int) -> None:
    assert sum(p.numel() for p in OSNet(0, width, norm).parameters()) == size  # type: ignore[arg-type]


def test_names_and_shapes_of_the_public_checkpoints() -> None:
    state = OSNet(num_classes=751).state_dict()
    shapes = {
        "conv1.conv.weight": (64, 3, 7, 7),
        "conv1.bn.running_mean": (64,),
        "conv2.0.conv1.conv.weight": (64, 64, 1, 1),
        "conv2.0.conv2a.conv1.weight": (64, 64, 1, 1),
        "conv2.0.conv2a.conv2.weight": (64, 1, 3, 3),
        "conv2.0.conv2d.3.bn.weight": (64,),
        "conv2.0.gate.fc1.weight": (4, 64, 1, 1),
        "conv2.0.gate.fc2.bias": (64,),
        "conv2.0.conv3.conv.weight": (256, 64, 1, 1),
        "conv2.0.downsample.conv.weight": (256, 64, 1, 1),
        "conv2.2.0.conv.weight": (256, 256, 1, 1),
        "conv3.1.conv2c.1.conv2.weight": (96, 1, 3, 3),
        "conv4.1.conv3.bn.running_var": (512,),
        "conv5.conv.weight": (512, 512, 1, 1),
        "fc.0.weight": (512, 512),
        "fc.1.running_var": (512,),
        "classifier.weight": (751, 512),
        "classifier.bias": (751,),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    assert "conv2.1.downsample.conv.weight" not in state  # no projection where the channels stay


def scrambled(network: OSNet) -> OSNet:
    """Values of every parameter and statistic drawn at random, so that no term of the network is one or zero."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0, generator=generator)
        elif value.dtype == torch.float32 and value.ndim == 1:
            value.normal_(0.3, 0.3, generator=generator)
        elif value.dtype == torch.float32:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
    return network


def written_out(state: dict[str, Tensor], images: Tensor, instance: dict[str, str]) -> Tensor:
    """The embedding as the papers describe it: `instance` says in which blocks, and where, instances are normalised."""

    def batch_norm(x: Tensor, name: str) -> Tensor:
        scale, shift, mean, variance = (
            state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        shape = (1, -1) + (1,) * (x.ndim - 2)
        x = (x - mean.view(shape)) / torch.sqrt(variance.view(shape) + 1e-5)
        return x * scale.view(shape) + shift.view(shape)

    def instance_norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean((2, 3), keepdim=True)
        x = centred / torch.sqrt((centred**2).mean((2, 3), keepdim=True) + 1e-5)
        return x * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]

    def pointwise(x: Tensor, name: str) -> Tensor:
        return torch.einsum("bchw,dc->bdhw", x, state[f"{name}.weight"][:, :, 0, 0])

    def light(x: Tensor, name: str) -> Tensor:
        x = pointwise(x, f"{name}.conv1")
        return F.relu(
            batch_norm(F.conv2d(x, state[f"{name}.conv2.weight"], padding=1, groups=x.shape[1]), f"{name}.bn")
        )

    def gate(x: Tensor, name: str) -> Tensor:
        pooled = x.mean((2, 3))
        hidden = F.relu(pooled @ state[f"{name}.fc1.weight"][:, :, 0, 0].T + state[f"{name}.fc1.bias"])
        weights = torch.sigmoid(hidden @ state[f"{name}.fc2.weight"][:, :, 0, 0].T + state[f"{name}.fc2.bias"])
        return x * weights[:, :, None, None]

    def block(x: Tensor, name: str) -> Tensor:
        reduced = F.relu(batch_norm(pointwise(x, f"{name}.conv1.conv"), f"{name}.conv1.bn"))
        total = torch.zeros_like(reduced)
        for stream, length in zip("abcd", (1, 2, 3, 4)):
            y = reduced
            for i in range(length):
                y = light(y, f"{name}.conv2{stream}" + (f".{i}" if length > 1 else ""))
            total = total + gate(y, f"{name}.gate")
        y = pointwise(total, f"{name}.conv3.conv")
        y = instance_norm(y, f"{name}.IN") if instance.get(name) == "residual" else batch_norm(y, f"{name}.conv3.bn")
        if f"{name}.downsample.conv.weight" in state:
            x = batch_norm(pointwise(x, f"{name}.downsample.conv"), f"{name}.downsample.bn")
        y = x + y
        return F.relu(instance_norm(y, f"{name}.IN") if instance.get(name) == "sum" else y)

    x = F.conv2d(images, state["conv1.conv.weight"], stride=2, padding=3)
    x = F.relu(instance_norm(x, "conv1.bn") if instance else batch_norm(x, "conv1.bn"))
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage in ("conv2", "conv3", "conv4"):
        x = block(block(x, f"{stage}.0"), f"{stage}.1")
        if stage != "conv4":
            x = F.relu(batch_norm(pointwise(x, f"{stage}.2.0.conv"), f"{stage}.2.0.bn"))
            x = F.avg_pool2d(x, 2)
    x = F.relu(batch_norm(pointwise(x, "conv5.conv"), "conv5.bn")).mean((2, 3))
    return F.relu(batch_norm(x @ state["fc.0.weight"].T + state["fc.0.bias"], "fc.1"))


PLACES = {
    "bn": {},
    "ibn": {"conv2.0": "sum", "conv2.1": "sum"},
    "ain": dict.fromkeys(("conv2.0", "conv2.1", "conv3.1", "conv4.0"), "residual"),
}


@pytest.mark.parametrize("norm", PLACES)
@torch.no_grad()
def test_computes_what_the_papers_describe(norm: str) -> None:
    network = scrambled(OSNet(0, 0.25, norm, feature_dim=32)).double().eval()  # type: ignore[arg-type]
    images = torch.randn(2, 3, 64, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = written_out(network.state_dict(), images, PLACES[norm])
    assert expected.std() > 0.1
    torch.testing.assert_close(network(images).embedding, expected)


def test_linear_neck() -> None:
    network = OSNet(num_classes=5, width=0.25, feature_dim=32)
    images = torch.rand(4, 3, 64, 32)
    output = network.train()(images)
    assert output.logits is not None
    assert output.embedding.shape == (4, 32)
    torch.testing.assert_close(output.logits, network.classifier(output.embedding))
    assert network.eval()(images).logits is None
    assert OSNet(width=0.25).train()(images).logits is None


@pytest.mark.parametrize("feature_dim", [None, 32])
def test_bn_neck(feature_dim: int | None) -> None:
    network = OSNet(num_classes=5, width=0.25, feature_dim=feature_dim, neck="bnneck")
    images = torch.rand(8, 3, 64, 32)
    output = network.train()(images)
    feature = output.embedding
    assert feature.shape == (8, network.embedding_dim) == (8, feature_dim or 128)
    # A fresh BatchNorm in training only centres and scales, which its input shows it has not been through.
    normed = (feature - feature.mean(0)) / torch.sqrt(feature.var(0, correction=0) + 1e-5)
    torch.testing.assert_close(output.logits, normed @ network.neck.classifier.weight.T, rtol=1e-4, atol=1e-5)
    assert network.neck.classifier.bias is None
    assert not network.neck.norm.bias.requires_grad
    network.eval()
    mean, variance = network.neck.norm.running_mean, network.neck.norm.running_var
    compared = (network.features(images) - mean) / torch.sqrt(variance + 1e-5)
    torch.testing.assert_close(network(images).embedding, compared)


@pytest.mark.parametrize(("norm", "neck"), [("bn", "linear"), ("ibn", "linear"), ("ain", "bnneck")])
def test_every_parameter_is_trained(norm: str, neck: str) -> None:
    network = OSNet(5, 0.25, norm, feature_dim=32, neck=neck)  # type: ignore[arg-type]
    output = network(torch.rand(4, 3, 64, 32))
    assert output.logits is not None
    F.cross_entropy(output.logits, torch.arange(4)).backward()
    assert [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None] == []


@torch.no_grad()
def test_half_precision_and_channels_last_change_no_more_than_rounding() -> None:
    network = OSNet(width=0.25).eval()
    images = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    exact = network.forward_features(images)
    fast = network.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        maps = fast.forward_features(images.to(memory_format=torch.channels_last))
    assert maps.dtype == torch.bfloat16
    assert maps.is_contiguous(memory_format=torch.channels_last)  # no layer fell back to the slow layout
    assert torch.cosine_similarity(maps.float().flatten(1), exact.flatten(1)).min() > 0.999


@pytest.mark.parametrize(
    ("settings", "culprit"), [({"width": 0.3}, "width"), ({"norm": "gn"}, "norm"), ({"neck": "long"}, "neck")]
)
def test_wrong_settings(settings: dict[str, object], culprit: str) -> None:
    with pytest.raises(InputError, match=f"^{culprit}: expected"):
        OSNet(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(3, 64, 32), (1, 1, 64, 32), (1, 3, 8, 32)])
def test_images_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="images: expected B x 3 x H x W"):
        OSNet(width=0.25).eval()(torch.rand(shape))
