"""Networks that compare two images: sizes, counts of parameters, joints, and weights to start from."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.batch import Batch
from reidentify.errors import InputError
from reidentify.hints import fits
from reidentify.models.catalogue import ModelSettings, build
from reidentify.models.osnet import OSNet
from reidentify.models.pairs import PairNetwork, PairSettings, build_pairs
from reidentify.models.pairs.trunk import Frame, PublishedTrunk
from reidentify.models.weights import Preprocessing

PREPROCESSING = Preprocessing(160, 60)
SMALL: dict[str, Any] = {"channels": (3, 4)}
OSNET: dict[str, Any] = {"architecture": "osnet", "width": 0.25}

TRUNK = (5 * 5 * 3 * 20 + 20) + (5 * 5 * 20 * 25 + 25)
ACROSS = 3 * 3 * 25 * 25 + 25
LAST = 500 * 2 + 2
CONNECTED = 17 * 5 * 25 * 500 + 500  # pooled maps of 17 x 5
DEEP = sum(
    9 * inputs * width + width + 3 * (9 * width * width + width)
    for inputs, width in ((2 * 25, 64), (64, 128), (128, 256))
)
COUNTS = {
    # two patch summaries of 625 channels, two layers across patches, twice 2,125 values to 500
    "idla": TRUNK + 2 * (625 * 25 + 25) + 2 * ACROSS + (2 * 2125 * 500 + 500) + LAST,
    "xcorr": TRUNK + (1500 * 25 + 25) + ACROSS + CONNECTED + LAST,  # 1,121,222
    "fused": TRUNK + (1500 * 25 + 25) + (1250 * 25 + 25) + 2 * (ACROSS + CONNECTED) + (1000 * 2 + 2),
    "euclidean": TRUNK + (18 * 6 * 25 * 500 + 500) + LAST,
    "deep": TRUNK + DEEP + (4 * 1 * 256 * 500 + 500) + LAST,
}


def images(count: int = 2, seed: int = 0, keypoints: Tensor | None = None, size: tuple[int, int] = (160, 60)) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 3, *size), dtype=torch.uint8, generator=generator)
    return Batch(pixels, torch.zeros(count, dtype=torch.long), keypoints=keypoints)


def joints(count: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(count, 1, 14, 2, generator=generator) * torch.tensor([59.0, 159.0])
    return torch.cat([places, torch.ones(count, 1, 14, 1)], 3)


def network(preprocessing: Preprocessing = PREPROCESSING, **settings: Any) -> PairNetwork:
    torch.manual_seed(0)
    return build_pairs(PairSettings(**settings), preprocessing)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("kind", COUNTS)
def test_published_sizes(kind: str) -> None:
    built = network(kind=kind).eval()
    assert parameters(built) == COUNTS[kind]
    with torch.no_grad():
        assert built.encode(images())["maps"].shape == (2, 25, 37, 12)
        out = built(images(), images(seed=1))
    assert out.logits.shape == (2, 2)
    assert out.embedding.shape == (2, 1000 if kind == "fused" else 500)
    assert parameters(network(kind="xcorr")) == 1_121_222


def test_trunk_by_hand() -> None:
    """160 x 60 -> 156 x 56 -> 78 x 28 -> 74 x 24 -> 37 x 12."""
    trunk = PublishedTrunk()
    shapes = []
    for module in trunk:
        module.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    trunk(torch.zeros(1, 3, 160, 60))
    assert shapes[0::3] == [(20, 156, 56), (25, 74, 24)]
    assert shapes[2::3] == [(20, 78, 28), (25, 37, 12)]


def test_correlation_network_step_by_step() -> None:
    from pairs_by_loop import normalised_correlation

    size = Preprocessing(60, 44)
    built = network(size, kind="xcorr", channels=(3, 2)).eval()
    a, b = images(1, 0, size=(60, 44)), images(1, 1, size=(60, 44))
    with torch.no_grad():
        maps = [built.trunk(size.apply(side.pixels[:, 0]))[0] for side in (a, b)]
        assert maps[0].shape == (2, 12, 8)
        channels = torch.from_numpy(normalised_correlation(*(m.double().numpy() for m in maps))).float()
        head = built.head
        summary = F.conv2d(channels.relu()[None], head.summary[0].weight, head.summary[0].bias).relu()
        pooled = F.max_pool2d(F.conv2d(summary, head.across[0].weight, head.across[0].bias), 2)
        assert pooled.shape == (1, 2, 5, 3)
        hidden = F.linear(pooled.flatten(1), head.connected[0].weight, head.connected[0].bias).relu()
        logits = F.linear(hidden, built.last.weight, built.last.bias)
        found = built(a, b)
    torch.testing.assert_close(found.embedding, hidden, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.logits, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["idla", "fused"])
def test_differences_step_by_step(kind: str) -> None:
    from pairs_by_loop import neighbourhood_difference

    size = Preprocessing(60, 44)
    built = network(size, kind=kind, channels=(3, 2)).eval()
    a, b = images(1, 0, size=(60, 44)), images(1, 1, size=(60, 44))
    with torch.no_grad():
        maps = [built.trunk(size.apply(side.pixels[:, 0]))[0].double().numpy() for side in (a, b)]
        ways = [torch.from_numpy(neighbourhood_difference(*m)).float()[None] for m in (maps, maps[::-1])]
        if kind == "idla":
            head, joined = built.head, []
            for way, summary, across in zip(ways, head.summaries, head.across):
                summarised = F.conv2d(way, summary[0].weight, summary[0].bias).relu()
                joined.append(F.max_pool2d(F.conv2d(summarised, across[0].weight, across[0].bias).relu(), 2))
            pooled, expected_features = torch.cat(joined, 1), slice(0, 500)
        else:
            head, expected_features = built.head.difference, slice(500, 1000)
            summarised = F.conv2d(torch.cat(ways, 1), head.summary[0].weight, head.summary[0].bias).relu()
            pooled = F.max_pool2d(F.conv2d(summarised, head.across[0].weight, head.across[0].bias), 2)
        hidden = F.linear(pooled.flatten(1), head.connected[0].weight, head.connected[0].bias).relu()
        found = built(a, b).embedding[:, expected_features]
    torch.testing.assert_close(found, hidden, rtol=1e-4, atol=1e-5)


EVERY: list[dict[str, Any]] = [
    *({"kind": kind, "norm": norm, **SMALL} for kind in COUNTS for norm in (False, True)),
    {"kind": "siamese", "embedding": OSNET},
    {"kind": "siamese", "embedding": {"architecture": "spindle", "backbone": "osnet", "width": 0.25}},
    {"kind": "fused", "pose": True, "pose_regions": True, **SMALL},
    {"kind": "xcorr", "pose": True, "norm": True, "dropout": 0.5, **SMALL},
    {"kind": "xcorr", "trunk": "osnet", **SMALL},
    {"kind": "xcorr", "trunk": "osnet", "stride": 8, **SMALL},
    {"kind": "xcorr", "trunk": "mobilenetv3_small_050", "norm": True, **SMALL},
]


def name_of(settings: dict[str, Any]) -> str:
    return "-".join(str(v) for k, v in settings.items() if k not in ("channels", "embedding"))


@pytest.mark.parametrize("settings", EVERY, ids=name_of)
def test_every_network_learns_with_all_its_parameters(settings: dict[str, Any]) -> None:
    built = network(**settings).train()
    points = joints() if built.wants_keypoints else None
    out = built(images(keypoints=points), images(seed=1, keypoints=points))
    F.cross_entropy(out.logits, torch.tensor([0, 1])).backward()
    missing = [n for n, p in built.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    assert all(bool(torch.isfinite(p.grad).all()) for p in built.parameters() if p.grad is not None)
    assert out.embedding.shape == (2, built.embedding_dim)


@pytest.mark.parametrize("settings", EVERY, ids=name_of)
def test_a_pair_has_one_score_however_it_is_computed(settings: dict[str, Any]) -> None:
    """Alone or in a batch, encoded together or not, with or without gradients."""
    built = network(**settings).eval()
    points = joints(5) if built.wants_keypoints else None
    a, b = images(5, 0, points), images(5, 1, points)
    with torch.no_grad():
        encoded = built.encode(a), built.encode(b)
        assert all(len(v) == 5 for side in encoded for v in side.values())
        found = built.compare(*encoded)
        alone = torch.cat([built(a[[i]], b[[i]]).logits for i in range(5)])
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(built(a, b).logits, found, rtol=1e-4, atol=1e-5)
    assert built.compare(*({k: v[:0] for k, v in side.items()} for side in encoded)).shape == (0, 2)


@pytest.mark.parametrize("settings", EVERY, ids=name_of)
def test_settings_survive_a_card(settings: dict[str, Any]) -> None:
    plain = json.loads(json.dumps(dataclasses.asdict(PairSettings(**settings))))
    assert fits(plain["channels"], tuple[int, int])
    built, again = network(**settings), build_pairs(PairSettings(**plain), PREPROCESSING)
    again.load_state_dict(load(save(built.state_dict())))  # safetensors refuses tensors that share memory


def test_dropout_is_before_the_last_layer_alone() -> None:
    built = network(kind="euclidean", dropout=0.5, **SMALL).train()
    a, b = images(), images(seed=1)
    first, second = built(a, b), built(a, b)
    assert torch.equal(first.embedding, second.embedding)
    assert not torch.equal(first.logits, second.logits)
    built.eval()
    assert torch.equal(built(a, b).logits, built(a, b).logits)


@pytest.mark.parametrize("kind", COUNTS)
def test_the_top_layers(kind: str) -> None:
    """The fully connected layers: everything from the pooled maps on."""
    built = network(kind=kind)
    widths = {"idla": 4250, "xcorr": 2125, "fused": 2 * 2125, "euclidean": 2700, "deep": 1024}
    connected = widths[kind] * 500 + (1000 if kind == "fused" else 500)
    last = 2002 if kind == "fused" else 1002
    assert sum(p.numel() for p in built.head_parameters()) == connected + last
    own = {id(p) for p in built.parameters()}
    assert len({id(p) for p in built.head_parameters()} & own) == len(built.head_parameters())


def test_unseen_joints_are_zero_maps() -> None:
    built = network(kind="xcorr", pose=True, pose_regions=True, **SMALL).eval()
    nn.init.normal_(built.pose.weight)
    unseen = joints() * torch.tensor([1.0, 1.0, 0.0])
    nowhere = torch.full((2, 1, 14, 3), torch.nan)
    nowhere[..., 2] = 0
    outside = joints() + torch.tensor([500.0, 0.0, 0.0])
    with torch.no_grad():
        a, b = images(keypoints=joints()), images(seed=1, keypoints=joints(seed=1))
        seen = built(a, b).logits
        bare = built(images(), images(seed=1))
        for points in (unseen, nowhere, outside):
            found = built(images(keypoints=points), images(seed=1, keypoints=points))
            assert torch.equal(found.logits, bare.logits)
        maps = [built.trunk(PREPROCESSING.apply(side.pixels[:, 0])) for side in (a, b)]
        zeros = [built.pose(torch.cat([m, m.new_zeros(2, 14, 37, 12)], 1)) for m in maps]
        expected = built.head(*zeros).relu()
    torch.testing.assert_close(bare.embedding[:, :500], expected)
    assert bool(torch.isfinite(bare.logits).all())
    assert not torch.allclose(seen, bare.logits)


def test_pose_starts_as_the_network_without_it() -> None:
    plain = network(kind="fused", **SMALL).eval()
    posed = network(kind="fused", pose=True, pose_regions=True, **SMALL).eval()
    posed.load_state_dict(posed.start_of(plain.state_dict()), strict=False)
    points = joints()
    a, b = images(keypoints=points), images(seed=1, keypoints=points)
    with torch.no_grad():
        torch.testing.assert_close(posed(a, b).logits, plain(a, b).logits)
        posed.start_of(posed.state_dict())["last.weight"] += 1  # its own weights are left alone
    assert posed.start_of(posed.state_dict()).keys() == posed.state_dict().keys()


def test_heat_maps_stand_where_cells_see() -> None:
    """Cell i of the published trunk sees pixels 4 i to 4 i + 15, the middle of which is 4 i + 7.5."""
    image = torch.zeros(1, 3, 160, 60, requires_grad=True)
    PublishedTrunk()(image + torch.rand(1, 3, 160, 60))[0, :, 10, 3].sum().backward()
    rows, columns = image.grad[0].abs().sum(0).nonzero().unbind(1)
    assert (int(rows.min()), int(rows.max())) == (40, 55)
    assert (int(columns.min()), int(columns.max())) == (12, 27)
    frame = PublishedTrunk().frame((160, 60), (37, 12))
    points = torch.tensor([[[19.5, 47.5, 1.0], [2.0, 159.0, 0.5], [60.0, 80.0, 1.0]]])
    heat = frame.heat(points, (160, 60))[0]
    assert heat.shape == (3, 37, 12)
    assert float(heat[0, 10, 3]) == pytest.approx(1)
    assert divmod(int(heat[1].argmax()), 12) == (36, 0)  # in the image, beyond the last cell
    assert float(heat[1].max()) > 0.5 * 0.6
    assert not heat[2].any()  # outside the image
    even = Frame(0, 0, 160, 60, (40, 15)).heat(torch.tensor([[[5.5, 157.5, 1.0]]]), (160, 60))[0, 0]
    assert divmod(int(even.argmax()), 15) == (39, 1)
    assert float(even.max()) == pytest.approx(1)


def test_boxes_in_cells() -> None:
    frame = PublishedTrunk().frame((160, 60), (37, 12))
    # Rows 0 to 36 and columns 1 to 10, from edge to edge.
    torch.testing.assert_close(frame.boxes(torch.tensor([[10.0, 6, 50, 154]])), torch.tensor([[1.0, 0, 11, 37]]))


def test_regions_are_weighted_by_what_both_show() -> None:
    built = network(kind="euclidean", pose_regions=True, **SMALL).eval()
    a, b = joints(), joints(seed=1)
    b[:, :, [8, 9, 10], 2] = 0  # no right leg
    with torch.no_grad():
        one, other = built.encode(images(keypoints=a)), built.encode(images(seed=1, keypoints=b))
        assert one["regions"].shape == (2, 7, 4 * 16)
        assert one["visible"].tolist() == [[1.0] * 7] * 2
        assert other["visible"][0].tolist() == [1, pytest.approx(7 / 8), 0.5, 1, 1, 0, 1]
        values = torch.cat([(one["regions"] - other["regions"]).abs(), torch.ones(2, 7, 1)], 2)
        values = values * (one["visible"] * other["visible"])[..., None]
        expected = F.linear(values.flatten(1), built.regions.weight, built.regions.bias).relu()
        found = built.hidden(one, other)
    assert found.shape == (2, 628)
    torch.testing.assert_close(found[:, 500:], expected)
    assert not values[:, 5].any()


def test_siamese_head_by_hand() -> None:
    built = network(kind="siamese", embedding=OSNET).train()
    a, b = images(4), images(4, seed=1)
    one, other = built.encode(a)["embedding"], built.encode(b)["embedding"]
    squares = (one - other) ** 2
    normed = (squares - squares.mean(0)) / (squares.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(built.compare({"embedding": one}, {"embedding": other}), built.last(normed))
    # batch norm of 512 and 512 x 2 + 2 beside the embedding network
    assert parameters(built) == parameters(build(ModelSettings(**OSNET))) + 2 * 512 + 1026
    assert sum(p.numel() for p in built.head_parameters()) == 2 * 512 + 1026


def test_siamese_of_parts_compares_after_the_neck_in_training() -> None:
    """Batch norms in training give a standard deviation of their weight, 2 here, over the batch."""
    spindle = {"architecture": "spindle", "backbone": "osnet", "width": 0.25}
    built = network(kind="siamese", embedding=spindle).train()
    with torch.no_grad():
        built.network.necks[0].norm.weight.fill_(2)
        trained = built.encode(images(4, keypoints=joints(4)))["embedding"]
    torch.testing.assert_close(trained.std(0, unbiased=False).median(), torch.tensor(2.0), rtol=0.05, atol=0)


@pytest.mark.parametrize("embedding", [{**OSNET, "neck": "bnneck"}, {"backbone": "mobilenetv3_small_050"}])
def test_siamese_compares_one_vector_in_training_and_after_it(embedding: dict[str, Any]) -> None:
    """A BN neck gives the vector before its norm in training and the one after it in use: here it is always after."""
    built = network(kind="siamese", embedding=embedding)
    neck = built.network.neck
    with torch.no_grad():
        neck.norm.running_mean.fill_(3)
        neck.norm.weight.fill_(2)
    state = built.state_dict()
    plain = build(ModelSettings(**embedding)).eval()
    plain.load_state_dict({k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")})
    side = images(4)
    with torch.no_grad():
        expected = plain(PREPROCESSING.apply(side.pixels[:, 0])).embedding
        torch.testing.assert_close(built.eval().encode(side)["embedding"], expected)
        trained = built.train().encode(side)["embedding"]
    torch.testing.assert_close(trained.std(0, unbiased=False).median(), torch.tensor(2.0), rtol=0.05, atol=0)


def test_siamese_compares_features_before_the_neck_where_the_embedding_is_so() -> None:
    built = network(kind="siamese", embedding={"backbone": "mobilenetv3_small_050", "neck_feature": "before"}).eval()
    side = images(2)
    expected = built.network.features(PREPROCESSING.apply(side.pixels[:, 0]))
    torch.testing.assert_close(built.encode(side)["embedding"], expected)
    built.train().network.backbone.eval()
    torch.testing.assert_close(built.encode(side)["embedding"], expected)
    assert not [name for name, _ in built.named_parameters() if "neck" in name]  # a norm that nothing reads


def test_weights_of_embedding_networks_start_pairwise_ones() -> None:
    torch.manual_seed(1)
    whole = OSNet(width=0.25, neck="bnneck")
    settings = PairSettings(kind="siamese", embedding=OSNET)
    siamese = build_pairs(settings, PREPROCESSING)
    start = siamese.start_of(whole.state_dict())
    assert start.keys() <= siamese.state_dict().keys()
    siamese.load_state_dict(start, strict=False)
    pixels = images().pixels[:, 0]
    with torch.no_grad():
        expected = whole.eval()(PREPROCESSING.apply(pixels)).embedding
        torch.testing.assert_close(siamese.eval().encode(images())["embedding"], expected)
    for stride in (4, 8):
        built = network(kind="xcorr", trunk="osnet", stride=stride, **SMALL).eval()
        own = {k for k in built.state_dict() if k.startswith("trunk.network.")}
        for state in (whole.state_dict(), {f"backbone.network.{k}": v for k, v in whole.state_dict().items()}):
            assert own <= built.start_of(state).keys()
        built.load_state_dict(built.start_of(whole.state_dict()), strict=False)
        images_ = PREPROCESSING.apply(pixels)
        with torch.no_grad():
            _, stages = whole.forward_intermediates(images_)
            torch.testing.assert_close(built.trunk.network(images_), stages[0 if stride == 4 else 1])


@pytest.mark.parametrize("trunk", ["resnet18", "tf_efficientnet_lite0"])
def test_timm_trunks_end_where_their_maps_are_taken(trunk: str) -> None:
    built = network(kind="euclidean", trunk=trunk)
    assert built.encode(images())["maps"].shape == (2, 25, 40, 15)
    baseline = build(ModelSettings(backbone=trunk, last_stride=2))
    start = built.start_of(baseline.state_dict())
    own = built.trunk.network.state_dict(prefix="trunk.network.")
    assert own.keys() <= start.keys()
    assert parameters(built.trunk.network) < parameters(baseline) / 10
    built.load_state_dict({k: start[k] for k in own}, strict=False)
    pixels = PREPROCESSING.apply(images().pixels[:, 0])
    with torch.no_grad():
        stages = baseline.eval().backbone.stages(pixels)
        found = built.eval().trunk.network(pixels)
    torch.testing.assert_close(found, next(s for s in reversed(stages) if s.shape[2] == 40))


@pytest.mark.parametrize(
    ("settings", "size", "message"),
    [
        ({"kind": "xcorr"}, (24, 60), r"maps of 3 x 12 are too small: this kind needs 4 rows and columns"),
        ({"kind": "deep"}, (160, 40), r"maps of 37 x 7 are too small: this kind needs 8 rows and columns"),
        ({"kind": "idla"}, (8, 60), r"images of 8 x 60 do not suit the network"),
        ({"dropout": 1.0}, (160, 60), r"dropout: expected from 0 to below 1, got 1.0"),
        ({"channels": (20, 0)}, (160, 60), r"channels: expected two numbers of at least 1"),
        ({"trunk": "resnet5"}, (160, 60), r"timm has no network 'resnet5'"),
        ({"trunk": "vit_tiny_patch16_224"}, (160, 60), r"has no stage of stride 4; it has 16"),
        ({"kind": "siamese", "embedding": {"architecture": "video"}}, (160, 60), r"architecture video sees clips"),
        ({"kind": "siamese", "embedding": {"depth": 3}}, (160, 60), r"not the settings of an embedding network"),
        ({"kind": "siamese", "pose": True}, (160, 60), r"a siamese network has no maps to add joints to"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], size: tuple[int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        network(Preprocessing(*size), **settings)


def test_batches_that_do_not_fit() -> None:
    built = network(kind="euclidean", pose=True, **SMALL)
    with pytest.raises(InputError, match="built for images of 160 x 60, not 128 x 64"):
        built.encode(images(size=(128, 64)))
    clips = Batch(torch.zeros(2, 3, 3, 160, 60), torch.zeros(2, dtype=torch.long))
    with pytest.raises(InputError, match="these rows have 3 frames"):
        built.encode(clips)
    with pytest.raises(InputError, match="keypoints: expected 2 x 14 x 3"):
        built.encode(images(keypoints=torch.zeros(2, 1, 17, 3)))
