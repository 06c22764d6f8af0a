"""The pose network: shapes, decoding of heat maps, and foreign pose networks as ONNX files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from posegraph import constant_graph

from reidentify.errors import InputError
from reidentify.joints import COCO17, MARKET14
from reidentify.models.pose import build_pose, decode
from reidentify.models.pose_settings import PoseSettings
from reidentify.models.posemaps import gaussian_maps


def test_decoding_finds_the_exact_place() -> None:
    generator = torch.Generator().manual_seed(0)
    # At least four cells from the border, which the blur does not reach.
    joints = 16 + torch.rand(20, 14, 2, generator=generator) * torch.tensor([64 - 33.0, 128 - 33.0])
    keypoints = torch.cat([joints, torch.ones(20, 14, 1)], -1)
    maps = gaussian_maps(keypoints, (32, 16), (128, 64), sigma=1.5)
    found = decode(maps, torch.ones(20, 14), (128, 64))
    assert (found[..., :2] - joints).abs().max() < 0.01  # pixels; a cell has 4
    # Half as large pixels: edge coordinates double, centres lie at half.
    twice = decode(maps, torch.ones(20, 14), (256, 128))
    torch.testing.assert_close(twice[..., :2], (found[..., :2] + 0.5) * 2 - 0.5)


def test_decoding_is_exact_in_a_training_of_half_precision() -> None:
    maps = gaussian_maps(torch.tensor([[[20.3, 61.7, 1.0]]]), (32, 16), (128, 64), sigma=1.5)
    exact = decode(maps, torch.ones(1, 1), (128, 64))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(decode(maps, torch.ones(1, 1), (128, 64)), exact)


def test_decoding_at_the_border_and_of_nothing() -> None:
    maps = torch.zeros(1, 2, 8, 4)
    maps[0, 0, 0, 3] = 1.0
    found = decode(maps, torch.tensor([[0.7, 0.4]]), (32, 16))
    assert found[0, 0].tolist() == pytest.approx([13.5, 1.5, 0.7])  # the middle of the cell in the corner
    assert torch.isfinite(found).all()
    assert found[0, 1, 2] == 0  # more likely unseen than seen


def test_the_network_of_the_recipe() -> None:
    network = build_pose(PoseSettings()).eval()
    with torch.no_grad():
        output = network(torch.zeros(2, 3, 192, 96))
    assert output.maps["joints"].shape == (2, 14, 48, 24)
    assert output.logits.shape == output.visibility.shape == (2, 14)
    assert output.embedding.shape == (2, network.embedding_dim) == (2, 320)
    parameters = sum(p.numel() for p in network.parameters())
    assert 2 * parameters < 10e6  # bytes in 16 bits
    assert not any("conv_head" in name for name, _ in network.named_parameters())
    with torch.no_grad():  # sides that strides do not divide
        assert network(torch.zeros(1, 3, 128, 60)).maps["joints"].shape == (1, 14, 32, 15)


def test_a_backbone_without_such_maps() -> None:
    with pytest.raises(InputError, match="vit_tiny_patch16_224 lacks feature maps of stride 4, 8, 16, 32"):
        build_pose(PoseSettings(backbone="vit_tiny_patch16_224"))


def test_foreign_heat_maps(tmp_path: Path) -> None:
    from reidentify.models.foreign_pose import ForeignPose

    joints = torch.rand(1, 14, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([6.0, 14, 0])
    joints += torch.tensor([5.0, 9, 1])
    maps = gaussian_maps(joints, (16, 8), (32, 16), 1.0)
    maps[0, 3] *= 0.25  # too faint to be seen
    graph = constant_graph(tmp_path / "maps.onnx", {"other": np.zeros((1, 5)), "maps": maps.numpy()})
    found = ForeignPose(graph)(torch.rand(3, 3, 32, 16))
    assert found.shape == (3, 14, 3)
    assert (found[..., :2] - joints[..., :2]).abs().max() < 0.2  # pixels; a cell has 2, and the border is near
    assert found[0, :, 2].tolist() == pytest.approx([0 if i == 3 else maps[0, i].max().item() for i in range(14)])


def test_foreign_coordinates_of_another_set(tmp_path: Path) -> None:
    from reidentify.models.foreign_pose import ForeignPose

    places = np.arange(34, dtype=np.float32).reshape(1, 17, 2) / 3
    found = ForeignPose(constant_graph(tmp_path / "xy.onnx", {"xy": places}))(torch.rand(2, 3, 32, 16))
    for name in ("left wrist", "right ankle"):
        assert found[1, MARKET14.index(name)].tolist() == pytest.approx([*places[0, COCO17.index(name)], 1])
    shoulders = places[0, [COCO17.index("left shoulder"), COCO17.index("right shoulder")]]
    assert found[0, MARKET14.index("neck"), :2].tolist() == pytest.approx(shoulders.mean(0).tolist())
    scored = np.concatenate([places, np.full((1, 17, 1), 0.29)], -1)
    scored[0, COCO17.index("left wrist"), 2] = 1.5
    found = ForeignPose(constant_graph(tmp_path / "xys.onnx", {"xys": scored}))(torch.rand(1, 3, 32, 16))
    assert found[0, MARKET14.index("left wrist"), 2] == 1
    assert found[0, MARKET14.index("right wrist"), 2] == 0


def test_foreign_simcc(tmp_path: Path) -> None:
    from reidentify.models.foreign_pose import ForeignPose

    along, down = np.zeros((1, 17, 32)), np.zeros((1, 17, 64))  # two bins to a pixel
    along[0, :, 9], down[0, :, 30] = 0.8, 0.6
    graph = constant_graph(tmp_path / "simcc.onnx", {"simcc_x": along, "simcc_y": down})
    found = ForeignPose(graph)(torch.rand(2, 3, 32, 16))
    assert found[1, MARKET14.index("left knee")].tolist() == pytest.approx([4.5, 15, 0.6])


def test_other_outputs_of_a_foreign_network_are_not_looked_at(tmp_path: Path) -> None:
    """One that is no row for each image does not matter, whatever its shape."""
    from reidentify.models.foreign_pose import ForeignPose

    others = {"anchors": np.zeros((5, 17, 2)), "size": np.zeros(3)}
    graph = constant_graph(tmp_path / "more.onnx", {**others, "xy": np.full((1, 14, 2), 3.0)})
    found = ForeignPose(graph)(torch.rand(3, 3, 32, 16))
    assert found.shape == (3, 14, 3)
    assert (found == torch.tensor([3.0, 3.0, 1.0])).all()


def test_a_graph_that_finds_no_joints(tmp_path: Path) -> None:
    from reidentify.models.foreign_pose import ForeignPose

    with pytest.raises(InputError, match=r"no output is a pose: .* it has vector 1 x 14"):
        ForeignPose(constant_graph(tmp_path / "vector.onnx", {"vector": np.zeros((1, 14))}))
    wide = {"simcc_x": np.zeros((1, 21, 32)), "simcc_y": np.zeros((1, 21, 64))}
    with pytest.raises(InputError, match="21 joints"):
        ForeignPose(constant_graph(tmp_path / "hand.onnx", wide))
