"""The command that shows where a network looks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reidentify.commands.shared import benchmark_of, files_of, kind_of
from reidentify.errors import InputError
from reidentify.values import Sightings

if TYPE_CHECKING:
    from reidentify.data.pixels import Pixels


def explain(
    weights: str,
    images: list[str],
    output: str,
    reference: str | None = None,
    data: str | None = None,
    row: int | None = None,
    frames: int = 32,
    device: str | None = None,
    root: str | None = None,
    matches: int = 12,
) -> None:
    """Draw where a network looks: its attention, and what of each picture makes its embedding (Grad-CAM).

    A network of images looks at every picture for itself. To one of clips the pictures, in the order given, are one
    tracklet, which it sees clip by clip. Of a pairwise network of kind xcorr or fused, the patches of a picture and of
    --reference that its correlation layer finds most alike are drawn.

    Examples:
      reidentify explain market-small crops/*.jpg -o explained.png --reference crops/0002_c1s1_000451_03.jpg
      reidentify explain runs/pairs a.jpg --reference b.jpg -o matched.png
      reidentify explain runs/video --data street-tracklets --row 3 -o explained.png

    Args:
        weights: the name of shipped weights, a run folder, or a weights.safetensors.
        images: picture files, or folders of them.
        output: the PNG file.
        reference: another picture of the person: what makes the pictures similar to it, instead of what makes their
            embeddings; for a pairwise network the other picture.
        data: a data set, or a path to your own data, instead of images.
        row: of the data set's queries, which one; the first is 0.
        frames: pictures that are drawn at most; of more, so many evenly spread ones, and it is said.
        device: e.g. cpu or cuda:1; default the GPU if there is one.
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
        matches: of a pairwise network: pairs of patches that are drawn at most.
    """
    import io

    import numpy as np
    import torch

    from reidentify.data.clips import dense, evenly
    from reidentify.data.console import say
    from reidentify.data.pixels import DecodedOnTheFly
    from reidentify.embed import load
    from reidentify.files import write
    from reidentify.report.attention import attention, cam, tracklet_sheet

    if Path(output).suffix.lower() != ".png":
        raise InputError(f"--output: expected a file that ends in .png, got {output}")
    if frames < 1:
        raise InputError(f"--frames: expected at least 1, got {frames}")
    if kind_of(weights) == "pairs":
        for name, value in (("data", data), ("row", row)):
            if value is not None:
                raise InputError(f"--{name}: of a pairwise network explain needs one picture, and --reference")
        _matched(weights, images, output, reference, matches, device)
        return
    shown = _tracklet(images, data, row, root)
    model = load(weights, device)
    card = model.card
    if card.clip > 1 and card.frames is not None:
        shown = evenly(shown, card.frames)
    assert shown.files is not None
    _, clips, real = dense(shown.lengths, card.clip)
    count = max(1, frames // card.clip)
    if len(clips) > count:
        chosen = np.linspace(0, len(clips) - 1, count).round().astype(int)
        clips, real = clips[chosen], real[chosen]
        say(f"{int(real.sum())} of {len(shown.files)} pictures are drawn; --frames says how many may be")
    wanted = None if reference is None else model.embed(reference)[0]
    preprocessing = card.preprocessing
    size = preprocessing.height, preprocessing.width
    pixels: Pixels = DecodedOnTheFly(shown.files.tolist(), size, preprocessing.interpolation)
    pictures, maps = [], dict[str, list[np.ndarray]]()
    for clip, valid in zip(clips, real):
        read = pixels.read(clip)
        ready, mask = torch.from_numpy(read).permute(0, 3, 1, 2), None
        if card.clip > 1:
            ready, mask = ready[None], torch.from_numpy(valid)[None]
        found = attention(model, ready, mask)
        activation = cam(model, ready, wanted, mask)
        found["activation"] = activation / max(activation.max(), np.finfo(np.float32).tiny)  # within a clip
        pictures.append(read[valid])
        for name, values in found.items():
            maps.setdefault(name.replace("_", " "), []).append(values.reshape(-1, *values.shape[-2:])[valid])
    numbers = clips[real].tolist()
    labels = [f"frame {i + 1}" if card.clip > 1 else Path(shown.files[i]).name for i in numbers]
    columns = card.clip if 1 < card.clip <= 16 else 8
    sheet = tracklet_sheet(
        np.concatenate(pictures), {k: np.concatenate(v) for k, v in maps.items()}, labels, columns=columns
    )
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write(Path(output), buffer.getvalue())
    print(output)


def _matched(
    weights: str, images: list[str], output: str, reference: str | None, count: int, device: str | None
) -> None:
    """Draw the patches of two pictures that a pairwise network matched."""
    from reidentify.files import write
    from reidentify.pairs import load_pairs, verify
    from reidentify.report.pairs import match_sheet, matches, png

    if len(images) != 1 or reference is None:
        raise InputError(f"{weights} is a pairwise network: explain needs one picture, and the other with --reference")
    if count < 1:
        raise InputError(f"--matches: expected at least 1, got {count}")
    pictures = images[0], reference
    for place in pictures:
        if Path(place).is_dir():
            raise InputError(f"{place} is a folder: of a pairwise network explain needs one picture, and --reference")
    model = load_pairs(weights, device)
    found = matches(model, pictures, count)
    verdict = verify(model, *pictures)
    title = f"{model.card.name}: same person {100 * verdict.probability:.1f} %"
    write(Path(output), png(match_sheet(model, pictures, found, title)))
    print(output)


def _tracklet(images: list[str], data: str | None, row: int | None, root: str | None) -> Sightings:
    """What is to be explained, as one row."""
    if bool(data) == bool(images):
        raise InputError("explain needs either images or --data NAME --row N")
    if not data:
        if row is not None:
            raise InputError("--row: it chooses a query of --data, which is not given")
        files = files_of(images)
        return Sightings([0], files=files, offsets=[0, len(files)])  # type: ignore[arg-type]
    queries = benchmark_of(data, root).query
    if row is None or not 0 <= row < len(queries):
        raise InputError(f"--row: {data} has {len(queries)} queries, from 0 to {len(queries) - 1}; choose one")
    return queries[[row]]
