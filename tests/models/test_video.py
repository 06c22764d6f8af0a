"""Networks of clips: what they return, that padding is not seen, and where their weights start."""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from reidentify.errors import InputError
from reidentify.models.asta import ASTA
from reidentify.models.backbone import Backbone
from reidentify.models.baseline import Baseline
from reidentify.models.inflate import Trunk3D
from reidentify.models.osnet import OSNet
from reidentify.models.temporal import TemporalMax, TemporalMean
from reidentify.models.video import Temporal, VideoNetwork, channels_last, start, video_network
from reidentify.values import Attribute

SCHEMA = (Attribute("hat", ("no", "yes")), Attribute("action", ("walk", "stand", "ride"), identity=False))
SIZES: dict[str, int] = {"lstm": 20, "gru": 20, "asta": 384}  # what differs from OSNet's 128 channels
SETTINGS: dict[str, dict[str, Any]] = {
    "attention": {"grid": [4, 2], "hidden": 8},
    "lstm": {"hidden": 20},
    "gru": {"hidden": 20},
    "asta": {"grid": [4, 2], "hidden": 16},
}


def osnet() -> Backbone:
    return Backbone(OSNet(width=0.25, feature_dim=None))


def build(temporal: Temporal, **settings: Any) -> VideoNetwork:
    torch.manual_seed(0)
    return video_network(osnet(), temporal, **({"settings": SETTINGS.get(temporal)} | settings))


def padded(*lengths: int, fill: float = 7.0) -> tuple[Tensor, Tensor]:
    valid = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    clips = torch.full((*valid.shape, 3, 64, 32), fill)
    clips[valid] = torch.randn(sum(lengths), 3, 64, 32, generator=torch.Generator().manual_seed(0))
    return clips, valid


@pytest.mark.parametrize("temporal", get_args(Temporal))
def test_outputs(temporal: Temporal) -> None:
    network = build(temporal, num_classes=11, schema=SCHEMA)
    clips, valid = padded(3, 2)
    size = SIZES.get(temporal, 128)
    assert network.embedding_dim == size
    for training in (True, False):
        output = network.train(training)(clips, torch.tensor([0, 1]), valid)
        assert output.embedding.shape == (2, size)
        assert (output.logits is not None) == training
        assert {k: tuple(v.shape) for k, v in output.attributes.items()} == {"hat": (2, 2), "action": (2, 3)}
        for value in output.maps.values():
            assert value.shape[:2] == (2, 3)
            assert value.ndim == 4
    assert set(output.maps) == {"attention": {"frame_weights"}, "asta": {"own", "identity", "sighting"}}.get(
        temporal, set()
    )
    assert network.train()(clips).logits.shape == (2, 11)  # type: ignore[union-attr]
    names = {name.split(".")[0] for name, _ in network.named_parameters()}
    assert names <= {"backbone", "pooling", "reduce", "neck", "attributes"}


@pytest.mark.parametrize("temporal", get_args(Temporal))
def test_padding_changes_nothing(temporal: Temporal) -> None:
    network = build(temporal, neck="none").eval()
    clips, valid = padded(3, 1, 3, 2)
    with torch.no_grad():
        together = network(clips, valid=valid).embedding
        alone = [network(clips[i : i + 1, : int(n)]).embedding for i, n in enumerate(valid.sum(1))]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-5)


def test_padding_does_not_enter_batch_statistics() -> None:
    clips, valid = padded(3, 1)
    statistics = []
    for fill in (0.0, 1000.0):
        network = build("mean").train()
        network(clips.masked_fill(~valid[..., None, None, None], fill), valid=valid)
        statistics.append(dict(network.backbone.named_buffers()))
    for name, value in statistics[0].items():
        torch.testing.assert_close(value, statistics[1][name])


def test_mean_of_frames_is_the_mean_of_image_features() -> None:
    """A network of images and one of clips that pools by the mean, with the same weights."""
    torch.manual_seed(0)
    image = Baseline(osnet(), neck="none").eval()
    video = video_network(osnet(), "mean", neck="none").eval()
    video.load_state_dict(start(image.state_dict()))
    clips, valid = padded(3, 2)
    with torch.no_grad():
        expected = torch.stack([image(clips[i, :n]).embedding.mean(0) for i, n in enumerate((3, 2))])
        torch.testing.assert_close(video(clips, valid=valid).embedding, expected, rtol=1e-4, atol=1e-6)
        largest = VideoNetwork(video.backbone, TemporalMax(128), neck="none").eval()
        expected = torch.stack([image(clips[i, :n]).embedding.amax(0) for i, n in enumerate((3, 2))])
        torch.testing.assert_close(largest(clips, valid=valid).embedding, expected, rtol=1e-4, atol=1e-6)


def test_an_image_is_a_clip_of_one_frame() -> None:
    network = build("asta").eval()
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(images).embedding, network(images[:, None]).embedding)


def test_a_trunk_that_shrinks_time() -> None:
    """Clips of 9 and 1 frames leave torchvision's network as 2 and 1 times; the mean runs over those that are there."""
    torch.manual_seed(0)
    network = video_network("r3d_18", "3d", neck="none").eval()
    assert isinstance(network.backbone, Trunk3D)
    assert video_network(network.backbone, "3d").backbone is network.backbone
    clips, valid = padded(9, 1)
    with torch.no_grad():
        got = network(clips, valid=valid).embedding
        for i, n in enumerate((9, 1)):
            maps = network.backbone(clips[i : i + 1, :n].transpose(1, 2))
            torch.testing.assert_close(got[i : i + 1], maps.mean((2, 3, 4)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temporal", ["mean", "3d"])
def test_memory_layout_changes_no_output(temporal: Temporal) -> None:
    network = build(temporal).eval()
    clips, _ = padded(2, 2)
    with torch.no_grad():
        expected = network(clips).embedding
        assert channels_last(network) is network
        torch.testing.assert_close(network(clips).embedding, expected, rtol=1e-3, atol=1e-5)
    layout = torch.channels_last if temporal == "mean" else torch.channels_last_3d
    assert network.backbone.network.conv1.conv.weight.is_contiguous(memory_format=layout)


def test_reduction_and_neck() -> None:
    network = build("asta", embedding_dim=32, num_classes=5)
    assert network.embedding_dim == 32
    assert tuple(network.reduce.weight.shape) == (32, 384)
    assert network(padded(2, 2)[0]).embedding.shape == (2, 32)
    assert not network.neck.norm.bias.requires_grad


def test_attributes_of_asta_do_not_train_the_backbone_and_those_of_a_head_do() -> None:
    for temporal, trained in (("asta", False), ("mean", True)):
        network = build(temporal, schema=SCHEMA)
        output = network(padded(2, 2)[0])
        sum(v.square().sum() for v in output.attributes.values()).backward()
        assert any(p.grad is not None and bool(p.grad.any()) for p in network.backbone.parameters()) == trained
        assert (network.attributes is None) == (temporal == "asta")


def test_image_networks_tell_attributes_too() -> None:
    torch.manual_seed(0)
    network = Baseline(osnet(), embedding_dim=16, schema=SCHEMA).eval()
    images = torch.randn(2, 3, 64, 32)
    output = network(images)
    pooled = network.backbone(images).mean((2, 3))
    expected = pooled @ network.attributes.linear.weight.T + network.attributes.linear.bias
    torch.testing.assert_close(torch.cat([output.attributes["hat"], output.attributes["action"]], 1), expected)
    assert Baseline(osnet()).eval()(images).attributes == {}


def test_published_configuration() -> None:
    class Trunk(nn.Module):
        num_features = 2048  # ResNet-50

        def forward_features(self, images: Tensor) -> Tensor:
            return nn.functional.adaptive_avg_pool2d(images, (16, 8)).repeat(1, 683, 1, 1)[:, :2048]

    network = video_network(Backbone(Trunk()), "asta", 625, schema=SCHEMA)
    output = network(torch.randn(2, 4, 3, 32, 16))
    assert output.embedding.shape == (2, 6144)
    assert network.neck.classifier.weight.shape == (625, 6144)
    assert {k: tuple(v.shape) for k, v in output.maps.items()} == dict.fromkeys(
        ("own", "identity", "sighting"), (2, 4, 16, 8)
    )


@pytest.mark.parametrize("temporal", ["mean", "3d"])
def test_weights_of_an_osnet_start_a_network_of_clips(temporal: Temporal) -> None:
    """On a still clip the network is the OSNet it started from, inflated or not."""
    torch.manual_seed(0)
    image = OSNet(4, 0.25, neck="bnneck").eval()
    image.neck.norm.running_mean.normal_()
    network = build(temporal, num_classes=9, embedding_dim=512).eval()
    network.load_state_dict(start(image.state_dict(), network), strict=False)
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        clips = images[:, None].expand(-1, 3, -1, -1, -1)
        torch.testing.assert_close(network(clips).embedding, image(images).embedding, rtol=1e-3, atol=1e-4)


def test_starts_leave_out_what_has_another_size() -> None:
    image = Baseline(osnet(), 7, pooling="gem", embedding_dim=64, schema=SCHEMA[:1])
    assert {k.split(".")[0] for k in start(image.state_dict())} == {"backbone", "reduce", "neck", "attributes"}
    assert not any("classifier" in k for k in start(image.state_dict()))
    network = build("asta", embedding_dim=64)
    given = start(image.state_dict(), network)
    assert "reduce.weight" not in given  # 64 x 128 there, 64 x 384 here
    assert "neck.norm.weight" in given
    assert {k for k in given if k.startswith("backbone.")} == {
        k for k in network.state_dict() if k.startswith("backbone.")
    }
    again = start(network.state_dict(), network)
    assert again.keys() == network.state_dict().keys()
    # A recurrent layer makes features of its own: the neck of image features is not theirs, whatever its size.
    images = OSNet(0, 0.25, feature_dim=512, neck="bnneck").state_dict()
    assert {k.split(".")[0] for k in start(images, build("lstm"))} == {"backbone"}
    assert {k.split(".")[0] for k in start(images, build("mean", embedding_dim=512))} == {"backbone", "reduce", "neck"}


@pytest.mark.parametrize(
    ("temporal", "settings", "message"),
    [
        ("mean", {"hidden": 3}, "temporal mean takes no setting 'hidden'; it takes none"),
        ("asta", {"heads": 3}, "temporal asta takes no setting 'heads'; it takes grid and hidden and norm"),
        ("lstm", {"hidden": 0}, "temporal lstm: hidden: expected a whole number above 0, got 0"),
        ("gru", {"hidden": "many"}, "hidden: expected a whole number above 0, got 'many'"),
        ("asta", {"grid": 16}, "grid: expected two whole numbers above 0, got 16"),
        ("attention", {"grid": [7, 4, 1]}, "grid: expected two whole numbers"),
        ("nonlocal", {"reduction": 2.0}, "reduction: expected a whole number above 0, got 2.0"),
        ("3d", {"frames": 2}, "frames: expected an odd number"),
        ("4d", {}, "temporal: expected one of mean, max, attention, lstm, gru, nonlocal, asta, 3d, got '4d'"),
    ],
)
def test_settings_that_there_are_not(temporal: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        video_network(osnet(), temporal, settings=settings)


def test_video_networks_by_name() -> None:
    with pytest.raises(InputError, match="r3d_18 is a network of whole clips: use temporal 3d with it, not mean"):
        video_network("r3d_18", "mean")
    with pytest.raises(InputError, match="temporal 3d takes no setting 'frames'; it takes none"):
        video_network("r3d_18", "3d", settings={"frames": 3})
    with pytest.raises(InputError, match="neck: expected bnneck or none, got 'linear'"):
        video_network(osnet(), "mean", neck="linear")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("clips", "valid", "message"),
    [
        ((2, 3, 1, 64, 32), None, "clips: expected B x T x 3 x H x W, got 2 x 3 x 1 x 64 x 32"),
        ((2, 3, 3, 64, 32), torch.ones(2, 2, dtype=torch.bool), r"valid: expected bool of shape \(2, 3\)"),
        ((2, 3, 3, 64, 32), torch.ones(2, 3), r"valid: expected bool of shape .*float32"),
        ((1, 3, 3, 64, 32), torch.tensor([[True, False, True]]), "padding stands before a valid frame"),
        ((1, 3, 3, 64, 32), torch.tensor([[False, True, True]]), "padding stands before a valid frame"),
        ((1, 3, 3, 64, 32), torch.tensor([[False, False, False]]), "a clip has no valid frame"),
        ((1, 0, 3, 64, 32), None, "a clip has no valid frame"),
    ],
)
def test_clips_that_cannot_be(clips: tuple[int, ...], valid: Tensor | None, message: str) -> None:
    network = VideoNetwork(osnet(), TemporalMean(128))
    with pytest.raises(InputError, match=message):
        network(torch.zeros(clips), valid=valid)


@pytest.mark.parametrize("temporal", get_args(Temporal))
def test_mixed_precision(temporal: Temporal) -> None:
    network = build(temporal, num_classes=4, schema=SCHEMA)
    clips, valid = padded(2, 1)
    with torch.autocast("cpu", torch.bfloat16):
        output = network(clips, valid=valid)
    assert output.logits is not None
    (output.logits.float().sum() + sum(v.float().sum() for v in output.attributes.values())).backward()
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)


def test_asta_tells_attributes_itself() -> None:
    network = build("asta", schema=SCHEMA)
    assert isinstance(network.pooling, ASTA)
    assert network.pooling.identity.head.names == ["hat"]
    assert network.pooling.sighting.head.names == ["action"]
