"""One step of both methods against independent plain computations, and what a step is shown."""

import copy

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from generation_data import FD_GAN, small, standing
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor
from torch.nn import functional as F

from reidentify import Benchmark
from reidentify.batch import Batch
from reidentify.data.augment import Augment
from reidentify.joints import MARKET14
from reidentify.models.generation.generator import Generator, to_imagenet
from reidentify.models.generation.settings import GeneratorSettings
from reidentify.models.skeleton_masks import skeleton_masks
from reidentify.training.generation.module import GenerationTraining
from reidentify.training.generation.run import prepare
from reidentify.training.generation.steps import frozen, pairs, show, steady, triplets
from reidentify.training.optimiser import Together, lr_factor
from reidentify.training.recipe import GenerationRecipe
from reidentify.training.settings import OptimiserSettings

SIZE = (64, 32)
PLAIN = {
    "augment": {"flip": 0.0, "pad": 0, "erase": 0.0},
    "generator": {"noise": 0, "dropout": 0.0},
    "input": {"holdout": 0},
    "optimiser": {"kind": "sgd", "lr": 1e-3, "epochs": 1, "momentum": 0.0, "nesterov": False},
    "rates": {"discriminators": "sgd", "image": 0.1, "pose": 0.1},
}


@pytest.fixture(scope="module")
def posed(people: Benchmark) -> Benchmark:
    joints = standing(len(people.sightings))
    return Benchmark("people", people.sightings.replace(keypoints=joints), people.protocol)


def one_step(recipe: GenerationRecipe, posed: Benchmark, monkeypatch, plugins: tuple = ()) -> tuple:
    """The networks before a step, its batch, and the gradients that both optimisers stepped by."""
    ready = prepare(recipe, posed, progress=False)
    before, module = copy.deepcopy(ready.module.networks).train(), ready.module
    seen, gradients = [], []
    real = GenerationTraining.training_step

    def step(self, batch, number):
        seen.append(batch)
        return real(self, batch, number)

    def hook(self, optimizer):
        learning = {id(p) for group in optimizer.param_groups for p in group["params"]}
        with_gradients = {n: p for n, p in module.networks.named_parameters() if p.grad is not None}
        own = {n: p.grad.clone() for n, p in with_gradients.items() if id(p) in learning}
        gradients.append((own, with_gradients.keys() - own.keys()))
        clip(self, optimizer)

    clip = GenerationTraining.on_before_optimizer_step
    monkeypatch.setattr(GenerationTraining, "training_step", step)
    monkeypatch.setattr(GenerationTraining, "on_before_optimizer_step", hook)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, limit_train_batches=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, use_distributed_sampler=False,
        plugins=list(plugins),
    )  # fmt: skip
    trainer.fit(module, datamodule=ready.loader)
    return before, seen[0], gradients


def pictures_and_poses(networks, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Images from -1 to 1, heat maps, and masks, of a batch that is not augmented."""
    joints = batch.keypoints[:, 0]
    return batch.pixels[:, 0].float() / 127.5 - 1, networks.generator.pose(joints), skeleton_masks(joints, SIZE, SIZE)


def bce(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def gradients_of(networks) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in networks.named_parameters() if p.grad is not None}


def agree(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", ["instances", "space-time"])
def test_gradients_of_a_step_of_st_reidnet(posed: Benchmark, monkeypatch, kind: str) -> None:
    """Each gradient counts once: the released code adds the generator's a second time. The negatives of space-time
    sampling are no anchors of the triplet loss."""
    times = posed.sightings.replace(times=np.arange(len(posed.sightings), dtype=float))
    recipe = small(PLAIN, sampler={"kind": kind, "anchors": 8})
    networks, batch, found = one_step(recipe, posed.replace(sightings=times), monkeypatch)
    x, poses, masks = pictures_and_poses(networks, batch)
    n = len(x) // 3
    a, p = slice(0, n), slice(n, 2 * n)

    def l1(fake: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return ((fake - target).abs().mean() + 9 * (fake * mask - target * mask).abs().mean()) / 10

    features = networks.encoder.features(to_imagenet(x))
    fakes = networks.generator(torch.cat([features, features[a], features[p]]), torch.cat([poses, poses[p], poses[a]]))
    of_fakes = torch.cat([poses, poses[p], poses[a]])

    # Discriminators.
    said = networks.image(torch.cat([x, fakes.detach()]))
    image = (bce(said[: len(x)], 1) + bce(said[len(x) :], 0)) / 2
    real, fake = networks.pose(x, poses), networks.pose(fakes.detach(), of_fakes)
    wrong = networks.pose(x[: 2 * n], torch.cat([poses[p], poses[a]]))
    pose = (bce(real, 1) + bce(torch.cat([fake, wrong]), 0)) / 2
    (image + pose).backward()
    expected = gradients_of(networks)
    judges = torch.optim.SGD([q for m in (networks.image, networks.pose) for q in m.parameters()], 0.1)
    judges.step()
    networks.zero_grad()

    # Generator and encoder.
    own = l1(fakes[: 3 * n], x, masks)
    swapped = l1(fakes[3 * n :], torch.cat([x[p], x[a]]), torch.cat([masks[p], masks[a]]))
    loss = 10 * (0.7 * swapped + 0.3 * own)
    networks.image.eval()
    loss = loss + 0.1 * bce(networks.image(fakes), 1) + 0.1 * bce(networks.pose(fakes, of_fakes), 1)
    output = networks.encoder.neck(features)
    loss = loss + F.cross_entropy(output.logits, batch.labels, label_smoothing=0.1)
    distances, labels = torch.cdist(features, features), batch.labels
    terms = []
    for i in range(len(x) if kind == "instances" else 2 * n):
        positives = [distances[i, j] for j in range(len(x)) if j != i and labels[j] == labels[i]]
        negatives = [distances[i, j] for j in range(len(x)) if labels[j] != labels[i]]
        if positives and negatives:
            terms.append(torch.log1p(torch.exp(max(positives) - min(negatives))))
    loss = loss + torch.stack(terms).mean()
    loss.backward()
    makers = {k: v for k, v in gradients_of(networks).items() if k.startswith(("encoder", "generator"))}

    (first, others), (second, kept) = found
    agree(first, expected)
    assert not others  # the discriminators' step leaves no gradient elsewhere
    agree(second, makers)
    assert set(kept) == set(first)  # what they had is still there, unchanged until it is set to zero


def test_gradients_of_a_step_of_fd_gan(posed: Benchmark, monkeypatch) -> None:
    recipe = small(FD_GAN, **PLAIN, model={"neck": "none"})
    networks, batch, found = one_step(recipe, posed, monkeypatch)
    x, poses, _ = pictures_and_poses(networks, batch)
    n, labels = len(x) // 4, batch.labels
    same = [i for i in range(n) if labels[i] == labels[n + i]]
    assert len(same) == n // 2  # one pair of two people for each of one
    features = networks.encoder.features(to_imagenet(x[: 2 * n]))
    looks = [*range(2 * n, 3 * n), *(2 * n + i if i in same else 3 * n + i for i in range(n))]
    fakes = networks.generator(features, poses[looks])
    inputs, targets, target_poses = x[: 2 * n], x[looks], poses[looks]

    said = networks.image(torch.cat([inputs, inputs]), torch.cat([targets, fakes.detach()]))
    image = (bce(said[: 2 * n], 1) + bce(said[2 * n :], 0)) / 2
    pose = (bce(networks.pose(targets, target_poses), 1) + bce(networks.pose(fakes.detach(), target_poses), 0)) / 2
    (image + pose).backward()
    expected = gradients_of(networks)
    torch.optim.SGD([q for m in (networks.image, networks.pose) for q in m.parameters()], 0.1).step()
    networks.zero_grad()

    loss = 10 * (fakes - targets).abs().mean()
    networks.image.eval()
    loss = loss + 1.0 * (fakes[same] - fakes[[n + i for i in same]]).abs().mean()
    loss = loss + 0.1 * bce(networks.image(inputs, fakes), 1) + 0.1 * bce(networks.pose(fakes, target_poses), 1)
    told = networks.verifier(features[:n], features[n:])
    loss = loss + F.cross_entropy(told, torch.tensor([int(i in same) for i in range(n)]))
    loss.backward()
    makers = {k: v for k, v in gradients_of(networks).items() if k.startswith(("encoder", "generator", "verifier"))}
    (first, others), (second, _) = found
    agree(first, expected)
    assert not others
    agree(second, makers)


@pytest.mark.parametrize("scaled", [False, True])
def test_gradients_are_clipped(posed: Benchmark, monkeypatch, scaled: bool) -> None:
    """Both optimisers step by gradients whose norm over all of their networks is at most that, also where a loss scale
    (of 65,536) keeps those of half precision from vanishing."""
    norms = []
    real = Together.step

    def step(self, closure=None):
        if closure is not None:
            closure()  # where Lightning lets a module look at its gradients, but with a loss scale
        learning = [p for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.stack([p.grad.norm() for p in learning if p.grad is not None]).norm()))
        return real(self)

    monkeypatch.setattr(Together, "step", step)
    recipe = small(PLAIN, optimiser={"clip": 0.01, "kind": "sgd", "lr": 1e-3, "epochs": 1})
    precision = MixedPrecision("bf16-mixed", "cpu")
    precision.scaler = torch.amp.GradScaler("cpu") if scaled else None
    one_step(recipe, posed, monkeypatch, (precision,))
    assert norms == pytest.approx([0.01, 0.01], rel=1e-3)


def test_plans_by_hand() -> None:
    plan = triplets(6, swap=0.7)  # anchors 0 and 1, positives 2 and 3, negatives 4 and 5
    assert plan.people.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    assert plan.looks.tolist() == [0, 1, 2, 3, 4, 5, 2, 3, 0, 1]
    assert [(list(range(10))[part], share) for part, share in plan.shares] == [
        ([0, 1, 2, 3, 4, 5], pytest.approx(0.3)), ([6, 7, 8, 9], 0.7)
    ]  # fmt: skip
    assert [rows.tolist() for rows in plan.real] == [[0, 1, 2, 3, 4, 5]] * 2
    assert [rows.tolist() for rows in plan.mismatched] == [[0, 1, 2, 3], [2, 3, 0, 1]]
    assert len(plan.twins[0]) == 0
    # Three pairs: of one person, of two, of one. Their targets are rows 6 to 8 and 9 to 11.
    plan = pairs(torch.tensor([4, 5, 6, 4, 7, 6, 4, 5, 6, 4, 7, 6]))
    assert plan.people.tolist() == [0, 1, 2, 3, 4, 5]
    assert plan.looks.tolist() == [6, 7, 8, 6, 10, 8]
    assert [rows.tolist() for rows in plan.real] == [plan.people.tolist(), plan.looks.tolist()]
    assert [rows.tolist() for rows in plan.twins] == [[0, 2], [3, 5]]
    assert len(plan.mismatched[0]) == 0


def test_the_input_is_covered_and_its_target_is_clean() -> None:
    """A mirror image is of input, target and joints alike: left and right change places in the maps too."""
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (4, 1, 3, *SIZE), np.uint8))
    joints = torch.from_numpy(standing(4))[:, None]
    batch = Batch(pixels, torch.zeros(4, dtype=torch.long), keypoints=joints)
    drawer = Generator(8, SIZE, GeneratorSettings(channels=2, pose_features=2, noise=0))
    augment = Augment(flip=1.0, pad=0, erase=1.0, erase_area=(0.2, 0.3), brightness=0.5)
    shown = show(batch, augment, drawer, True, torch.Generator().manual_seed(0), 0.5)
    mirrored = pixels[:, 0].flip(-1).float() / 127.5 - 1
    torch.testing.assert_close(shown.targets, mirrored)
    assert ((shown.inputs - mirrored).abs() > 1e-3).float().mean() > 0.9  # another brightness
    assert (shown.inputs == 0).all(1).float().mean((1, 2)).min() > 0.15  # and what was erased
    other = joints[:, 0, MARKET14.mirrored].clone()
    other[..., 0] = SIZE[1] - 1 - other[..., 0]
    torch.testing.assert_close(shown.poses, drawer.pose(other))
    torch.testing.assert_close(shown.masks, skeleton_masks(other, SIZE, SIZE))
    left, right = MARKET14.index("left wrist"), MARKET14.index("right wrist")
    peak = shown.poses[0, left].flatten().argmax() % SIZE[1]
    assert abs(int(peak) - (SIZE[1] - 1 - float(joints[0, 0, right, 0]))) <= 0.5
    assert shown.poses.amax((2, 3)).min() > 0.9  # what is erased of the input is still to be drawn
    shifted = show(batch, Augment(flip=0.0, pad=8, erase=0.0), drawer, True, torch.Generator().manual_seed(1), 0.5)
    torch.testing.assert_close(shifted.targets, pixels[:, 0].float() / 127.5 - 1)  # no border that no joint explains
    torch.testing.assert_close(shifted.poses, drawer.pose(joints[:, 0]))
    assert ((shifted.inputs - shifted.targets).abs() > 1e-3).float().mean() > 0.5
    assert show(batch, augment, drawer, False, torch.Generator().manual_seed(0), 0.5).masks is None


def test_frozen_networks_let_gradients_pass_and_keep_none() -> None:
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)
    second.bias.requires_grad_(False)
    with frozen(second):
        second(first(torch.ones(1, 2))).sum().backward()
    assert first.weight.grad is not None
    assert second.weight.grad is None
    assert second.weight.requires_grad
    assert not second.bias.requires_grad


def test_optimisers_together_are_each_by_itself() -> None:
    torch.manual_seed(0)
    apart, joint = ([torch.nn.Linear(3, 2) for _ in range(2)] for _ in range(2))
    for a, b in zip(apart, joint):
        b.load_state_dict(a.state_dict())

    def made(networks) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(networks[0].parameters(), 0.1), torch.optim.SGD(networks[1].parameters(), 0.2, 0.9)]

    def step(networks, optimisers, number: int) -> None:
        for optimiser in optimisers:
            optimiser.zero_grad()
        for network in networks:
            network(torch.full((1, 3), float(number + 1))).square().sum().backward()
        for optimiser in optimisers:
            optimiser.step()

    alone, together = made(apart), Together(made(joint))
    for number in range(4):
        if number == 2:  # a resumed run
            state, together = together.state_dict(), Together(made(joint))
            together.load_state_dict(copy.deepcopy(state))
        for group in (*alone[0].param_groups, *alone[1].param_groups, *together.param_groups):
            group["lr"] *= 0.5  # as a schedule does
        step(apart, alone, number)
        step(joint, [together], number)
    for a, b in zip(apart, joint):
        assert torch.equal(a.weight, b.weight)


def test_the_linear_schedule_by_hand() -> None:
    """50 epochs at the full rate, then straight down to 0 at the end of 50 more."""
    s = OptimiserSettings(schedule="linear", milestones=[50], epochs=100, warmup=0)
    assert [lr_factor(s, epoch, 0) for epoch in (0, 49.9, 50, 75, 90, 100)] == pytest.approx([1, 1, 1, 0.5, 0.2, 0])


def test_statistics_are_kept_for_a_while() -> None:
    norm, other = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2).eval()
    with steady(torch.nn.Sequential(norm, other)):
        norm(torch.randn(4, 2))
    assert norm.training
    assert not other.training
    assert torch.equal(norm.running_mean, torch.zeros(2))


@pytest.mark.parametrize("without", ["image", "pose"])
def test_a_discriminator_without_a_weight_is_neither_asked_nor_trained(
    posed: Benchmark, monkeypatch, without: str
) -> None:
    other = {"image": "pose", "pose": "image"}[without]
    for losses, judges in (({without: 0.0}, {other}), ({"image": 0.0, "pose": 0.0}, set())):
        networks = prepare(small(PLAIN, loss=losses), posed, progress=False).module.networks
        for name in losses:
            monkeypatch.setattr(type(getattr(networks, name)), "forward", None)
        found = one_step(small(PLAIN, loss=losses), posed, monkeypatch)[2]
        assert [{n.split(".")[0] for n in own} for own, _ in found] == [
            *([judges] if judges else []),
            {"encoder", "generator"},
        ]
        monkeypatch.undo()
