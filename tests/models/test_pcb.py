"""PCB: stripes, their heads, and the two embeddings."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reidentify.errors import InputError
from reidentify.models.backbone import timm_backbone
from reidentify.models.catalogue import ModelSettings, build, start_of
from reidentify.models.osnet import OSNet
from reidentify.models.pcb import PCB
from reidentify.models.weights import load_state, without_classifier


class Pass(nn.Module):
    """A backbone that returns the images as its feature map."""

    num_features = 3

    def forward(self, images: Tensor) -> Tensor:
        return images


def test_stripes_are_averaged_normalised_and_joined() -> None:
    # Two parts of two rows each. Part 1 averages to (3, 4, 0): length 5; part 2 to (0, 0, 2).
    image = torch.zeros(1, 3, 4, 2)
    image[0, 0, :2] = torch.tensor([[2.0, 4.0], [4.0, 2.0]])
    image[0, 1, :2] = 4.0
    image[0, 2, 2:] = torch.tensor([[0.0, 4.0], [4.0, 0.0]])
    output = PCB(Pass(), parts=2).eval()(image)
    assert output.parts is not None
    torch.testing.assert_close(output.parts, torch.tensor([[[3.0, 4.0, 0.0], [0.0, 0.0, 2.0]]]))
    torch.testing.assert_close(output.embedding, torch.tensor([[0.6, 0.8, 0.0, 0.0, 0.0, 1.0]]))
    assert output.logits is None


def test_cosine_of_embeddings_is_the_mean_cosine_of_parts() -> None:
    first, second = torch.rand(2, 1, 3, 12, 4)
    network = PCB(Pass(), parts=6).eval()
    a, b = network(first), network(second)
    whole = torch.cosine_similarity(a.embedding, b.embedding)
    torch.testing.assert_close(whole, torch.cosine_similarity(a.parts, b.parts, dim=2).mean(1))


def test_each_part_has_its_own_head() -> None:
    network = PCB(Pass(), num_classes=5, parts=3, reduced_dim=4, dropout=0.0).train()
    images = torch.rand(4, 3, 6, 2, requires_grad=True)
    logits = network(images).logits
    assert logits is not None
    assert logits.shape == (4, 3, 5)
    logits[:, 2, 0].square().sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum((0, 1, 3)).gt(0).tolist() == [False, False, False, False, True, True]
    touched = [bool(head.classifier.weight.grad.any()) for head in network.heads]
    assert touched == [False, False, True]


def test_head_is_linear_then_batch_norm_without_activation() -> None:
    network = PCB(Pass(), num_classes=2, parts=1, reduced_dim=2, embedding="reduced").eval()
    head = network.heads[0]
    with torch.no_grad():
        head.reduce.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]))
        head.norm.weight.copy_(torch.tensor([3.0, 1.0]))
        head.norm.running_var.fill_(1 - head.norm.eps)
        output = network(torch.tensor([1.0, 4.0, 9.0]).reshape(1, 3, 1, 1))
    # (1 * 3, -4) has length 5; with an activation the second value would not be negative.
    torch.testing.assert_close(output.embedding, torch.tensor([[0.6, -0.8]]))


def test_dropout_does_not_touch_the_embedding() -> None:
    network = PCB(Pass(), num_classes=2, parts=2, dropout=0.9).train()
    images = torch.rand(4, 3, 4, 2)
    torch.testing.assert_close(network(images).embedding, network.eval()(images).embedding)


@pytest.mark.parametrize(("embedding", "size"), [("pooled", 6 * 512), ("reduced", 6 * 256)])
def test_on_a_timm_backbone(embedding: str, size: int) -> None:
    network = PCB(timm_backbone("resnet18"), num_classes=7, embedding=embedding)  # type: ignore[arg-type]
    images = torch.rand(2, 3, 96, 32)  # last stride 1: a map of 6 x 2
    output = network(images)
    assert output.logits is not None
    assert output.logits.shape == (2, 6, 7)
    assert output.embedding.shape == (2, size) == (2, network.embedding_dim)
    assert network.eval()(images).embedding.shape == (2, size)


def test_published_size_of_the_embedding() -> None:
    assert PCB(timm_backbone("resnet50")).embedding_dim == 12288


def test_too_few_rows_are_named() -> None:
    with pytest.raises(InputError, match=r"6 parts need as many rows, .* 4 x 4 has 4"):
        PCB(Pass())(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize("settings", [{"parts": 0}, {"embedding": "whole"}])
def test_wrong_settings(settings: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        PCB(Pass(), **settings)  # type: ignore[arg-type]


def test_on_an_osnet_that_starts_from_osnet_weights():
    torch.manual_seed(0)
    trained = OSNet(10, 0.25).eval()
    settings = ModelSettings(architecture="pcb", backbone="osnet", width=0.25, parts=4, embedding_dim=32)
    network = build(settings, num_classes=7).eval()
    load_state(network, start_of(settings, without_classifier(trained.state_dict()), network), "osnet", strict=False)
    images = torch.randn(2, 3, 128, 64)
    # Eight rows of maps in four stripes of two.
    stripes = trained.forward_features(images).unflatten(2, (4, 2)).mean((3, 4)).transpose(1, 2)
    torch.testing.assert_close(network(images).parts, stripes)
    assert network.train()(images).logits.shape == (2, 4, 7)
