"""The command that draws people in other poses, and measures how well."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reidentify.commands.shared import benchmark_of, files_of, warn_of_training_people
from reidentify.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from reidentify.generation import GeneratorModel, Pose
    from reidentify.generation_scores import GenerationScores


def generate(
    weights: str,
    person: list[str] | None = None,
    pose: list[str] | None = None,
    output: str | None = None,
    plain: bool = False,
    joints_by: str | None = None,
    limit: int | None = None,
    data: str | None = None,
    out: str | None = None,
    judge: str | None = None,
    draws: int | None = None,
    examples: int | None = None,
    seed: int = 0,
    device: str | None = None,
    root: str | None = None,
) -> None:
    """Draw people in other poses, or measure on people whom the generator has not seen how well it does.

    Every picture shows one person and is cut to that person. One person in one pose becomes a picture of the person,
    the pose as a skeleton, and what was drawn, side by side. Several become a table with a row for each person and a
    column for each pose.

    With --data people of its test split are redrawn: in the pose of another picture of theirs, which is then the real
    picture to compare with, and in the pose of somebody else. The judge, a re-ID model, looks for the person of each
    picture in a gallery of one real picture of everybody, and a pose network finds the joints. The same is measured for
    the real targets, and for the inputs as they are.

    Examples:
      reidentify generate runs/st-reidnet --person a.jpg --pose b.jpg -o drawn.png
      reidentify generate runs/st-reidnet --person people/ --pose dancers/ -o grid.png
      reidentify pose pose-cpu b.jpg --json > pose.json
      reidentify generate runs/st-reidnet --person a.jpg --pose pose.json -o drawn.png --plain
      reidentify generate runs/st-reidnet --data street --out runs/st-reidnet/generated

    Args:
        weights: the folder of a run of st-reidnet or fd-gan, or a generator.safetensors.
        person: pictures of the people to draw, or folders of them.
        pose: pictures of people in the poses to draw, folders of them, or JSON files as `reidentify pose --json`
            prints them.
        output: the PNG file.
        plain: write what was drawn alone, in the size of the generator; of one person in one pose.
        joints_by: the pose network that finds the joints in the pictures of --pose, as of `reidentify pose`. Default
            pose-cpu.
        limit: draw at most so many people and so many poses, the first. Default 12.
        data: a data set, or a path to your own data, instead of --person and --pose.
        out: with --data: folder for metrics.json, draws.parquet (what was drawn from what, and each measure of it),
            pictures.png (input, pose, drawn, real) and grid.png (people in the poses of others).
        judge: with --data: the weights of the re-ID model that recognises people; it should have taken no part in the
            training. Default market-small, or osnet-x0.25-msmt17 where the training saw Market-1501.
        draws: with --data: pictures to draw for the measures. Default 200.
        examples: with --data: people in pictures.png and grid.png. Default 8.
        seed: of the noise, and of the draws of --data.
        device: e.g. cpu or cuda:1; default the GPU if there is one.
        root: with --data: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
    """
    for name, number in (("limit", limit), ("examples", examples)):
        if number is not None and number < 1:
            raise InputError(f"--{name}: expected at least 1, got {number}")
    if data is not None and (person or pose or output is not None or plain):
        raise InputError("generate needs either --person, --pose and -o OUT.png, or --data NAME and --out DIR")
    measuring = {"out": out, "judge": judge, "draws": draws, "examples": examples, "root": root}
    others = measuring if data is None else {"joints-by": joints_by, "limit": limit}
    for name, value in others.items():
        if value is not None:
            with_what = "--data, which is not given" if data is None else "--person and --pose, not with --data"
            raise InputError(f"--{name}: it goes with {with_what}")
    if data is None:
        if not person or not pose or output is None:
            raise InputError("generate needs --person, --pose and -o OUT.png, or --data NAME and --out DIR")
        limit = 12 if limit is None else limit
        _draw(weights, person, pose, output, plain, joints_by or "pose-cpu", limit, seed, device)
        return
    if out is None:
        raise InputError("--out is required with --data: the folder for the measures and pictures")
    if Path(out).exists() and not Path(out).is_dir():
        raise InputError(f"{out} is a file; give a folder with --out")
    draws, examples = 200 if draws is None else draws, 8 if examples is None else examples
    _measure(weights, data, Path(out), judge, draws, examples, seed, device, root)


def _draw(
    weights: str,
    person: list[str],
    pose: list[str],
    output: str,
    plain: bool,
    joints_by: str,
    limit: int,
    seed: int,
    device: str | None,
) -> None:
    """Draw the people of some pictures in some poses."""
    import numpy as np
    from PIL import Image

    from reidentify.data.console import say
    from reidentify.data.pixels import decode
    from reidentify.files import write
    from reidentify.generation import load_generator, scaled_joints, shows_joint
    from reidentify.joints import to_market14
    from reidentify.report.generated import grid, pose_picture
    from reidentify.report.pairs import png

    if Path(output).suffix.lower() != ".png":
        raise InputError(f"--output: expected a file that ends in .png, got {output}")
    model = load_generator(weights, device)
    names, places = files_of(person), _places(pose)
    if plain and (len(names) > 1 or len(places) > 1):
        raise InputError(f"--plain: it writes one picture, and there are {len(names)} people and {len(places)} poses")
    for what, count in (("people", len(names)), ("poses", len(places))):
        if count > limit:
            say(f"drawn are the first {limit} of {count:,} {what}; --limit draws more")
    names, poses = names[:limit], _poses(places[:limit], joints_by, device)
    people = [decode(name) for name in names]  # at their own size, to be shown
    small = np.stack([decode(name, model.size, model.card.preprocessing.interpolation) for name in names])
    joints = []
    for one in poses:
        joints.append(scaled_joints(model.fitted(one.joints), one.size, model.size))
        if not shows_joint(joints[-1], model.size):
            raise InputError(f"{one.name}: no joint is seen there; give another picture for --pose, or its joints")
    pairs = [(i, j) for i in range(len(names)) for j in range(len(poses))]
    drawn = model.draw(small[[i for i, _ in pairs]], np.stack([joints[j] for _, j in pairs]), seed, progress=True)
    shown = [pose_picture(to_market14(one), model.size) for one in joints]
    if plain:
        sheet = Image.fromarray(drawn[0])
    elif len(pairs) == 1:
        sheet = grid([[people[0], shown[0], drawn[0]]], ("person", "pose", "drawn"))
    else:
        table = drawn.reshape(len(names), len(poses), *drawn.shape[1:])
        heads = [None, *shown]
        titles = ("person", *(Path(one.name).name for one in poses))
        sheet = grid([heads, *([one, *row] for one, row in zip(people, table))], titles)
    write(Path(output), png(sheet))
    print(output)


def _places(given: list[str]) -> list[str | Pose]:
    """The poses of JSON files, and the pictures in which poses have yet to be found, in the order given."""
    from reidentify.generation import read_poses

    found: list[str | Pose] = []
    for place in given:
        found += read_poses(place) if Path(place).suffix.lower() == ".json" else files_of([place])
    return found


def _poses(places: list[str | Pose], joints_by: str, device: str | None) -> list[Pose]:
    """All as poses; a pose network finds the joints in pictures."""
    from reidentify.data.keypoints import image_sizes
    from reidentify.generation import Pose
    from reidentify.pose import load_pose

    names = [place for place in places if isinstance(place, str)]
    known: dict[str, Pose] = {}
    if names:
        sizes = image_sizes(names, progress=False).tolist()
        joints = load_pose(joints_by, device).find(names)
        known = {name: Pose(name, one, (h, w)) for name, one, (h, w) in zip(names, joints, sizes)}
    return [known[place] if isinstance(place, str) else place for place in places]


def _measure(
    weights: str,
    data: str,
    out: Path,
    judge: str | None,
    draws: int,
    examples: int,
    seed: int,
    device: str | None,
    root: str | None,
) -> None:
    """Measure how well people of a data set's test split are redrawn."""
    import dataclasses
    import warnings

    from reidentify.data.benchmarks import trained_on_tested
    from reidentify.data.pairs import distinct
    from reidentify.embed import load
    from reidentify.errors import ReidentifyWarning
    from reidentify.files import write
    from reidentify.generation import load_generator
    from reidentify.generation_scores import concerns, default_judge, score
    from reidentify.report.pairs import png
    from reidentify.values import DISTRACTOR

    model = load_generator(weights, device)
    card = model.card
    seen_by = load(judge or default_judge(card), device)
    benchmark = benchmark_of(data, root)
    rows = benchmark.test.images()
    rows = rows[rows.pids > DISTRACTOR]
    if not len(rows):
        raise InputError(f"{benchmark.name} has no test images of known people to redraw")
    if trained_on_tested(card.dataset, benchmark.name):
        warn_of_training_people(card, f"whose people may be among those of {benchmark.name} (test)", "measures")
    doubts = concerns(card, seen_by.card)
    if doubts:
        said = (
            f"the judge {seen_by.card.name} is not independent ({'; '.join(doubts)}): the share recognised may flatter;"
            " name another judge with --judge"
        )
        warnings.warn(said, ReidentifyWarning, stacklevel=2)
    found = score(model, seen_by, rows[distinct(rows)], draws, seed)
    about = {"name": seen_by.card.name, "sha256": seen_by.card.sha256, "concerns": doubts}
    stated = {"weights": card.name, "sha256": card.sha256, "data": benchmark.name, "judge": about}
    found = dataclasses.replace(found, stated={**stated, **found.stated})
    count = found.stated["draws"]
    print(f"{card.name} on {benchmark.name} (test), trained on {card.dataset or card.data}")
    print(
        f"{count} draws of {found.stated['people']} people, recognised by {seen_by.card.name} among"
        f" {found.stated['gallery']} people; 95 % intervals over people"
    )
    if missing := found.stated["without_joints"]:
        print(f"{missing} more draws are left out, as no joint is seen in the picture that gives the pose")
    if count + missing < draws:
        print(f"{draws} draws were asked for; {count + missing} are all that there are")
    print(found)
    found.save(out)
    for name, sheet in zip(("pictures", "grid"), _sheets(model, found, examples, seed)):
        write(out / f"{name}.png", png(sheet))
    print(out)


def _sheets(model: GeneratorModel, found: GenerationScores, examples: int, seed: int) -> list[Image.Image]:
    """Of the first people their input, pose, drawing and real picture; and each of them in the poses of all."""
    import numpy as np

    from reidentify.report.generated import grid, pose_picture

    first = np.sort(np.unique(found.draws["pid"], return_index=True)[1])[:examples]
    real, drawn, wanted = (found.pictures[name][first] for name in ("input", "generated", "target"))
    poses = [pose_picture(joints, model.size) for joints in found.poses[first]]
    rows = list(zip(real, poses, drawn, wanted))
    n = len(first)
    all_poses = np.tile(found.poses[first], (n, 1, 1))
    table = model.draw(np.repeat(real, n, axis=0), all_poses, seed).reshape(n, n, *real.shape[1:])
    heads = [[None, *poses], *([one, *row] for one, row in zip(real, table))]
    return [grid(rows, ("input", "pose", "drawn", "real")), grid(heads)]
