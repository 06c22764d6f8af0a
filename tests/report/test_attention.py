"""Where a network looks: class activation against finite differences, and what is drawn of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify import InputError
from reidentify.embed import Model
from reidentify.models.output import Output
from reidentify.models.pcb import PCB
from reidentify.models.weights import Card, Preprocessing
from reidentify.report.attention import attention, cam, overlay, tracklet_sheet

PLAIN = Preprocessing(6, 4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Trunk(nn.Module):
    """Maps that need no weights: the colours, and their squares with the sign turned."""

    num_features = 6

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([images, -images.square()], 1)


class Images(nn.Module):
    """Maps, a nonlinear pooling, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = Trunk(), nn.Linear(6, 5)

    def describe(self, maps: Tensor) -> Tensor:
        return self.head(maps.exp().mean((2, 3)))

    def forward(self, images: Tensor, camids: Tensor | None = None) -> Output:
        return Output(self.describe(self.backbone(images)))


class Clips(Images):
    """The mean over frames, each with a weight; the clip's frames in a row, or mixed by pairs over time."""

    def __init__(self, mixed: bool = False) -> None:
        super().__init__()
        self.mixed = mixed
        self.backbone = Mixed() if mixed else Trunk()

    def forward(self, clips: Tensor, camids: Tensor | None = None, valid: Tensor | None = None) -> Output:
        if self.mixed:
            return Output(self.describe(self.backbone(clips.transpose(1, 2)).mean(2)))
        features = self.describe(self.backbone(clips.flatten(0, 1))).unflatten(0, clips.shape[:2])
        weights = torch.arange(1.0, clips.shape[1] + 1)
        maps = {"frame_weights": weights.expand(len(clips), -1)[..., None, None]}
        return Output((features * weights[:, None]).sum(1), maps=maps)


class Mixed(Trunk):
    def forward(self, clips: Tensor) -> Tensor:
        return F.avg_pool3d(super().forward(clips), (2, 1, 1))


def model_of(network: nn.Module, clip: int = 1) -> Model:
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    card = Card("toy", {}, PLAIN, getattr(network, "embedding_dim", 5), "", "", clip=clip)
    return Model.of_network(network.eval(), card, torch.device("cpu"))


def pixels_of(*shape: int) -> Tensor:
    return torch.randint(0, 256, (*shape, 3, 6, 4), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def by_differences(maps: Tensor, target) -> np.ndarray:
    """Grad-CAM of maps 1 x C x ... with gradients by central differences."""
    gradient = torch.zeros_like(maps)
    for i in range(maps.numel()):
        ends = []
        for step in (1e-3, -1e-3):
            moved = maps.clone().reshape(-1)
            moved[i] += step
            ends.append(target(moved.reshape(maps.shape)))
        gradient.view(-1)[i] = (ends[0] - ends[1]) / 2e-3
    weights = gradient.mean(tuple(range(2, maps.ndim)), keepdim=True)
    return (weights * maps).sum(1)[0].clamp(min=0).numpy()


@torch.no_grad()
@pytest.mark.parametrize("compared", [False, True])
def test_class_activation_of_pictures(compared: bool) -> None:
    model, pixels = model_of(Images()), pixels_of(4)
    reference = -F.normalize(torch.randn(5, generator=torch.Generator().manual_seed(2)), dim=0) if compared else None
    found = cam(model, pixels, None if reference is None else reference.numpy())
    assert found.shape == (4, 6, 4)
    assert found.max() > 0
    network = model.network.double()
    for image, one in zip(pixels, found):

        def target(maps: Tensor) -> Tensor:
            vector = network.describe(maps)[0]
            return vector.norm() if reference is None else vector @ reference.double() / vector.norm()

        expected = by_differences(network.backbone(image[None].double() / 255), target)
        np.testing.assert_allclose(one, expected, atol=1e-5)
    assert not network.backbone._forward_hooks


@torch.no_grad()
def test_stripes_are_compared_one_by_one() -> None:
    model, pixels = model_of(PCB(Trunk(), parts=2)), pixels_of(1)
    reference = model.embed(255 - pixels[0].permute(1, 2, 0).numpy())[0]
    stripes = torch.from_numpy(reference).reshape(2, 6).double()

    def similarity(maps: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(maps, (2, 1))[0, :, :, 0].T
        return F.cosine_similarity(pooled, stripes, dim=1).sum()

    expected = by_differences(model.network.backbone(pixels.double() / 255), similarity)
    np.testing.assert_allclose(cam(model, pixels, reference)[0], expected, atol=1e-5)


@torch.no_grad()
def test_frames_of_a_clip_have_maps_of_their_own() -> None:
    model, pixels = model_of(Clips(), clip=3), pixels_of(2, 3)
    valid = torch.tensor([[True, True, True], [True, True, False]])
    found = cam(model, pixels, valid=valid)
    assert found.shape == (2, 3, 6, 4)
    assert not found[1, 2].any()
    network = model.network.double()
    maps = network.backbone(pixels[1, :2].double() / 255)

    def length(of_first: Tensor) -> Tensor:
        return (network.describe(of_first)[0] + 2 * network.describe(maps[1:])[0]).norm()

    np.testing.assert_allclose(found[1, 0], by_differences(maps[:1], length), atol=1e-5)
    network.float()
    weights = attention(model, pixels, valid)["frame_weights"]
    assert weights.tolist() == [[[[1.0]], [[2.0]], [[3.0]]]] * 2


@torch.no_grad()
def test_maps_mixed_over_time_are_stretched_to_the_frames() -> None:
    model, pixels = model_of(Clips(mixed=True), clip=4), pixels_of(1, 4)
    found = cam(model, pixels)
    network = model.network.double()
    maps = network.backbone(pixels.transpose(1, 2).double() / 255)
    expected = by_differences(maps, lambda moved: network.describe(moved.mean(2))[0].norm())
    assert found.shape == (1, 4, 6, 4)
    np.testing.assert_allclose(found[0, [0, 3]], expected, atol=1e-5)
    np.testing.assert_allclose(found[0, 1], 0.75 * expected[0] + 0.25 * expected[1], atol=1e-5)


def test_networks_that_cannot_be_looked_into_are_named() -> None:
    foreign = Model(lambda *_: Output(torch.zeros(1, 5)), model_of(Images()).card, torch.device("cpu"))
    with pytest.raises(InputError, match="toy: a foreign network does not show its feature maps"):
        cam(foreign, pixels_of(1))
    with pytest.raises(InputError, match="toy: a Flatten has no last feature maps"):
        cam(model_of(nn.Flatten()), pixels_of(1))


def test_an_overlay_has_the_colours_of_the_map_on_the_picture_in_grey() -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    image[1] = (255, 0, 0)  # its luminance is 0.299 * 255 = 76
    found = overlay(image, np.array([[2.0, 6.0]], np.float32))
    low, high = (255 * np.array(colormaps["viridis"](end)[:3]) for end in (0.0, 1.0))
    np.testing.assert_allclose(found[0, [0, 3]], 0.55 * np.array([low, high]), atol=1)
    np.testing.assert_allclose(found[1, [0, 3]], 0.55 * np.array([low, high]) + 0.45 * 76, atol=1)
    # Bilinear: pixels 1 and 2 lie a quarter and three quarters of the way from one value to the other.
    quarter = 255 * np.array(colormaps["viridis"](0.25)[:3])
    np.testing.assert_allclose(found[0, 1], 0.55 * quarter, atol=1)
    shared = overlay(image, np.array([[2.0, 6.0]], np.float32), 2, 10)
    np.testing.assert_allclose(shared[0, 3], 0.55 * 255 * np.array(colormaps["viridis"](0.5)[:3]), atol=1)
    even = overlay(image, np.full((1, 2), 3.0, np.float32))
    np.testing.assert_allclose(even[0], np.tile(0.55 * low, (4, 1)), atol=1)


def test_a_sheet_has_a_row_for_each_map_and_a_column_for_each_frame() -> None:
    frames = np.full((5, 8, 4, 3), 200, np.uint8)
    maps = {"own": np.random.default_rng(0).random((5, 2, 1), np.float32)}
    one = tracklet_sheet(frames, maps)
    wrapped = tracklet_sheet(frames, maps, columns=3)
    assert wrapped.height == 2 * (one.height - 8) + 8
    column = 224 // 2 + 8
    assert one.width - wrapped.width == 2 * column
    more = tracklet_sheet(frames, maps | {"sighting": maps["own"]})
    assert more.height == one.height + 224 + 8
    found = np.asarray(one)
    spot = found[8 + 22 + 112, 150 + 56]
    np.testing.assert_array_equal(spot, 200)


def test_weights_of_frames_are_bars() -> None:
    frames = np.full((3, 8, 4, 3), 200, np.uint8)
    weights = np.array([0.5, 0.25, 0.0], np.float32).reshape(3, 1, 1)
    found = np.asarray(tracklet_sheet(frames, {"weights": weights}))
    bar = (found == (0x3B, 0x52, 0x8B)).all(2)
    tall = [int(bar[:, 150 + i * 120 : 150 + i * 120 + 112].any(1).sum()) for i in range(3)]
    assert tall == [39, 20, 0]  # of 38 pixels all, half, none; a rectangle includes its lower edge


def test_sheets_that_cannot_be_drawn_are_named() -> None:
    frames = np.zeros((2, 8, 4, 3), np.uint8)
    with pytest.raises(InputError, match="map own: expected 2 x h x w, got 3 x 1 x 1"):
        tracklet_sheet(frames, {"own": np.zeros((3, 1, 1), np.float32)})
    with pytest.raises(InputError, match="no frame"):
        tracklet_sheet(frames[:0], {})
