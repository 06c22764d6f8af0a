"""Networks guided by joints: what they cut out, attend to and join, and what a missing joint changes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import roi_align as torchvision_roi_align

from reidentify import InputError
from reidentify.joints import MARKET14
from reidentify.models.aacn import PARTS, part_attention
from reidentify.models.catalogue import ModelSettings, build, start_of
from reidentify.models.osnet import OSNet
from reidentify.models.posemaps import REGIONS
from reidentify.models.spindle import roi_align
from reidentify.models.views import mirrored, views

SIZE = (64, 32)
STANDING = {
    "head top": (16, 4), "neck": (16, 12),
    "right shoulder": (11, 14), "right elbow": (9, 22), "right wrist": (9, 30),
    "left shoulder": (21, 14), "left elbow": (23, 22), "left wrist": (23, 30),
    "right hip": (13, 32), "right knee": (13, 46), "right ankle": (13, 60),
    "left hip": (19, 32), "left knee": (19, 46), "left ankle": (19, 60),
}  # fmt: skip


def standing(count: int = 2, unseen: tuple[str, ...] = ()) -> Tensor:
    joints = torch.tensor([[*STANDING[name], float(name not in unseen)] for name in MARKET14.joints])
    joints[joints[:, 2] == 0, :2] = math.nan  # an unseen joint may have any coordinates
    return joints.expand(count, -1, -1).clone()


def network(architecture: str, classes: int = 0, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    chosen = {"backbone": "osnet", "width": 0.25, "init": "random", "embedding_dim": 16, "region_cells": 8}
    return build(ModelSettings(architecture, **{**chosen, **settings}), classes)  # type: ignore[arg-type]


def random_norms(module: nn.Module) -> nn.Module:
    """Batch norms that shift, so that a zero that passes through one would show."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    return module.eval()


@pytest.mark.parametrize("architecture", ["spindle", "aacn"])
@pytest.mark.parametrize("backbone", ["osnet", "resnet18", "tf_efficientnet_lite0", "vit_tiny_patch16_224"])
def test_any_backbone_describes_and_learns(architecture: str, backbone: str) -> None:
    settings = {"backbone_settings": {"img_size": SIZE}} if backbone.startswith("vit") else {}
    parts = {"spindle": 1 + len(REGIONS), "aacn": 1 + len(PARTS)}[architecture]
    model = network(architecture, 5, backbone=backbone, **settings).train()
    images = torch.randn(4, 3, *SIZE)
    found = model(images, None, standing(4))
    assert found.embedding.shape == (4, 16)
    assert found.logits.shape == (4, parts, 5)
    assert found.parts.shape == (4, parts, 16)
    assert torch.equal(found.visibility, torch.ones(4, parts))
    (found.logits.logsumexp(2).sum() + found.embedding.square().sum()).backward()
    idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle
    with torch.no_grad():
        tested = model.eval()(images, None, standing(4))
    assert tested.logits is None
    assert torch.equal(tested.parts[:, 0], tested.embedding)


@pytest.mark.parametrize("architecture", ["spindle", "aacn"])
class TestMissingJoints:
    def test_without_any_the_whole_image_stands_alone(self, architecture: str) -> None:
        model = random_norms(network(architecture))
        images = torch.randn(2, 3, *SIZE)
        with torch.no_grad():
            none, all_unseen = model(images), model(images, None, standing(2, tuple(STANDING)))
            # By hand: the whole image's feature, and zeros for all others, through the last layer and its neck.
            whole = model.whole(model.backbone(images).mean((2, 3)))
            joined = whole @ model.joined.weight[:, :16].T + model.joined.bias
            expected = model.necks[0](joined).embedding
        for found in (none, all_unseen):
            assert torch.equal(found.visibility[:, 0], torch.ones(2))
            assert not found.visibility[:, 1:].any()
            torch.testing.assert_close(found.embedding, expected, atol=1e-4, rtol=1e-4)

    def test_one_part_leaves_the_others_as_they_were(self, architecture: str) -> None:
        model = random_norms(network(architecture))
        images = torch.randn(2, 3, *SIZE)
        legs = ("left hip", "left knee", "left ankle")
        names = ["whole", *(REGIONS if architecture == "spindle" else PARTS)]
        with torch.no_grad():
            full, less = model(images, None, standing(2)), model(images, None, standing(2, legs))
        assert torch.isfinite(less.embedding).all()
        assert not torch.allclose(full.embedding, less.embedding)
        place = names.index("left leg")
        assert not less.visibility[:, place].any()
        for other in ("head", "right arm", "right leg"):
            i = names.index(other)
            torch.testing.assert_close(less.parts[:, i], full.parts[:, i])
            assert torch.equal(less.visibility[:, i], torch.ones(2))

    def test_wrong_joints_are_refused(self, architecture: str) -> None:
        with pytest.raises(InputError, match=r"keypoints: expected 2 x 14 x 3 .*, got 2 x 17 x 3"):
            network(architecture)(torch.randn(2, 3, *SIZE), None, torch.zeros(2, 17, 3))

    def test_half_a_training_batch_without_joints(self, architecture: str) -> None:
        model = network(architecture, 3).train()
        joints = standing(4)
        joints[:2] = math.nan
        joints[:2, :, 2] = 0
        found = model(torch.randn(4, 3, *SIZE), None, joints)
        (found.logits.square().sum() + found.embedding.square().sum()).backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_spindle_joins_along_the_tree() -> None:
    """The published tree, written out."""
    model = random_norms(network("spindle"))
    parts, whole = torch.rand(3, 7, 16), torch.rand(3, 16)
    there = torch.ones(3, 7)
    head, body, lower, right_arm, left_arm, right_leg, left_leg = parts.unbind(1)
    f = model.fusion
    with torch.no_grad():
        arms, legs = f["arms"](torch.maximum(right_arm, left_arm)), f["legs"](torch.maximum(right_leg, left_leg))
        upper, below = f["upper"](torch.maximum(body, arms)), f["lower"](torch.maximum(lower, legs))
        top = f["body"](torch.maximum(torch.maximum(head, upper), below))
        expected = model.joined(torch.cat([whole, top], 1))
        torch.testing.assert_close(model._fused(whole, parts, there), expected)


def test_boxes_are_cut_as_torchvision_cuts_them() -> None:
    maps = torch.randn(2, 5, 16, 8)
    boxes = torch.tensor([[[4.0, 10, 20, 40], [0, 0, 32, 64]], [[3.3, 7.1, 28.2, 33.3], [8, 8, 16, 16]]])
    ours = torch.stack(roi_align(maps, boxes, (64, 32), 6), 1)
    rows = torch.cat([torch.arange(2).repeat_interleave(2)[:, None].float(), boxes.reshape(4, 4)], 1)
    theirs = torchvision_roi_align(maps, rows, 6, spatial_scale=0.25, sampling_ratio=1, aligned=True)
    torch.testing.assert_close(ours.reshape(4, 5, 6, 6), theirs, atol=1e-5, rtol=1e-5)


def test_attention_follows_the_limbs() -> None:
    """Every cell from the definition, with the distance to a limb found by trying points along it."""
    joints = standing(1)
    joints[0, MARKET14.index("right wrist"), 2] = 0.5
    maps, visible = part_attention(joints, (16, 8), (64, 32))
    points = {name: torch.tensor(place, dtype=torch.float64) for name, place in STANDING.items()}
    along = torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None]
    for part, limbs in enumerate(PARTS.values()):
        for row, column in ((0, 0), (3, 4), (7, 2), (8, 4), (12, 3), (15, 7)):
            cell = torch.tensor([4 * column + 1.5, 4 * row + 1.5])
            expected = 0.0
            for a, b in limbs:
                nearest = (points[a] + along * (points[b] - points[a]) - cell).norm(dim=1).min()
                strength = 0.5 if "right wrist" in (a, b) else 1.0
                expected = max(expected, strength * math.exp(-(nearest**2) / (2 * 4**2)))
            assert maps[0, part, row, column] == pytest.approx(expected, abs=1e-5)
    seen = dict(zip(PARTS, visible[0].tolist()))
    assert seen == {"head": 1, "torso": 1, "right arm": 0.75, "left arm": 1, "right leg": 1, "left leg": 1}


def test_attention_hides_the_background() -> None:
    """What lies far from a part does not change its vector."""
    model = random_norms(network("aacn"))

    class Maps(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, :1, ::4, ::4].expand(-1, 128, -1, -1)

    model.backbone = Maps()
    clean, cluttered = torch.rand(1, 3, *SIZE), None
    cluttered = clean.clone()
    cluttered[:, :, 40:] += 5  # below the hips
    place = 1 + list(PARTS).index("head")
    with torch.no_grad():
        a, b = (model(images, None, standing(1)).parts[0] for images in (clean, cluttered))
    torch.testing.assert_close(a[place], b[place], atol=1e-3, rtol=1e-3)
    assert (a[-1] - b[-1]).abs().max() > 0.1


def test_an_osnet_starts_the_trunk() -> None:
    torch.manual_seed(1)
    osnet = OSNet(0, 0.25)
    model = network("spindle")
    state = start_of(ModelSettings("spindle", "osnet", width=0.25), osnet.state_dict(), model)
    model.load_state_dict(state, strict=False)
    images = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        expected = osnet.eval().forward_features(images)
        torch.testing.assert_close(model.backbone.eval()(images), expected)
        stages = model.backbone.stages(images)
    torch.testing.assert_close(stages[-1], expected)
    assert [tuple(maps.shape[1:]) for maps in stages] == [(64, 16, 8), (96, 8, 4), (128, 4, 2), (128, 4, 2)]


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(InputError, match=r"region_cells: expected an even number from 4, got 5"):
        network("spindle", region_cells=5)
    with pytest.raises(InputError, match=r"model\.part_matching: a network of architecture pcb tells no body parts"):
        build(ModelSettings("pcb", "resnet18", part_matching=True))


def test_views_move_joints_with_the_image() -> None:
    """A bright pixel at a joint stays there."""
    image = torch.zeros(1, 3, 8, 4, dtype=torch.uint8)
    joints = torch.zeros(1, 14, 3)
    wrist, other = MARKET14.index("left wrist"), MARKET14.index("right wrist")
    image[0, :, 5, 1], joints[0, wrist] = 255, torch.tensor([1, 5, 1.0])
    found = list(views(image, joints, True, [1.0, 2.0]))
    for (pixels, moved), place in zip(found, (wrist, other, wrist, other)):
        x, y, visible = moved[0, place].tolist()
        assert visible == 1
        total = pixels[0, 0].float()
        rows, columns = torch.meshgrid(*(torch.arange(n) for n in total.shape), indexing="ij")
        assert (total * rows).sum() / total.sum() == pytest.approx(y, abs=0.02)
        assert (total * columns).sum() / total.sum() == pytest.approx(x, abs=0.02)
    torch.testing.assert_close(mirrored(mirrored(joints, 4), 4), joints)


@pytest.mark.parametrize("architecture", ["spindle", "aacn"])
def test_how_visible_a_part_is_does_not_turn_its_vector(architecture: str) -> None:
    """It weighs the part where parts are compared; a neck would turn a shorter vector."""
    model = random_norms(network(architecture))
    images, joints = torch.randn(2, 3, *SIZE), standing(2)
    with torch.no_grad():
        full = model(images, None, joints)
        joints[..., 2] = 0.6
        less = model(images, None, joints)
    torch.testing.assert_close(less.visibility[:, 1:], torch.full_like(less.visibility[:, 1:], 0.6))
    torch.testing.assert_close(less.parts[:, 1:], full.parts[:, 1:], atol=1e-5, rtol=1e-5)
    if architecture == "aacn":  # weighted composition
        assert not torch.allclose(less.embedding, full.embedding, atol=1e-3)


@pytest.mark.parametrize("architecture", ["spindle", "aacn"])
def test_unseen_parts_enter_no_batch_statistics(architecture: str) -> None:
    """The layers of a part that two of four images show are as if these two had been alone."""
    images = torch.randn(4, 3, *SIZE)
    joints = torch.cat([standing(2), standing(2, ("left hip", "left knee", "left ankle"))])
    names = ["whole", *(REGIONS if architecture == "spindle" else PARTS)]
    leg = names.index("left leg")
    mixed, alone = network(architecture, 3).train(), network(architecture, 3).train()
    mixed.backbone.eval()  # whose own statistics are of all images
    alone.backbone.eval()
    found, expected = mixed(images, None, joints), alone(images[:2], None, joints[:2])
    layers = {"spindle": f"branches.{leg - 1}", "aacn": f"reduce.{leg - 1}"}[architecture]
    a, b = mixed.state_dict(), alone.state_dict()
    compared = [k for k in a if k.startswith((f"{layers}.", f"necks.{leg}.")) and "running" in k]
    assert len(compared) >= 4
    for name in compared:
        torch.testing.assert_close(a[name], b[name], msg=name)
    torch.testing.assert_close(found.parts[:2, leg], expected.parts[:, leg])
    torch.testing.assert_close(found.logits[:2, leg], expected.logits[:, leg])
    assert not found.parts[2:, leg].any()
    assert not found.logits[2:, leg].any()


@pytest.mark.parametrize("architecture", ["spindle", "aacn"])
@pytest.mark.parametrize("count", [0, 1])
def test_a_part_that_hardly_any_image_shows_leaves_the_statistics(architecture: str, count: int) -> None:
    """One row has no variance. Every parameter has a gradient all the same, for which parallel training waits."""
    model = network(architecture, 3).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    joints = torch.cat([standing(count), standing(4 - count, tuple(STANDING))])
    found = model(torch.randn(4, 3, *SIZE), None, joints)
    (found.logits.square().sum() + found.embedding.square().sum()).backward()
    of_parts = ("branches.", "reduce.", "fusion.", *(f"necks.{i}." for i in range(1, 8)))
    for name, value in model.state_dict().items():
        if "running" in name and name.startswith(of_parts):
            assert torch.equal(value, before[name]), name
    assert all(m.training for m in model.modules())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
