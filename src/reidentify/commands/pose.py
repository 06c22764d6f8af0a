"""The command that finds joints."""

from __future__ import annotations

from pathlib import Path

from reidentify.commands.shared import Foreign, files_of
from reidentify.errors import InputError


def pose(
    weights: str,
    images: list[str],
    foreign: Foreign,
    output: str | None = None,
    json: bool = False,
    columns: int = 8,
    limit: int = 100,
    device: str | None = None,
) -> None:
    """Find the joints of persons, and draw their skeletons.

    Every picture shows one person and is cut to that person. Joints that the network thinks unseen are not drawn.

    Examples:
      reidentify pose pose-cpu person.jpg -o joints.png
      reidentify pose pose-cpu crops -o joints.png
      reidentify pose rtmpose.onnx crops/*.jpg --json --scale 1 --mean 123.675 116.28 103.53 --std 58.4 57.1 57.4

    Args:
        weights: the name of shipped weights, a run folder, a weights.safetensors, or an ONNX file of a pose network.
        images: picture files, or folders of them.
        output: the PNG file for the drawing.
        json: print the joints as JSON: height and width of each picture as size, and of each joint x and y in its
            pixels, and visibility from 0 (unseen) to 1.
        columns: pictures in a line of the drawing.
        limit: draw at most so many pictures, the first.
        device: e.g. cpu or cuda:1; default the GPU if there is one.
    """
    if not images:
        raise InputError("pose needs images: picture files, or folders of them")
    if output is None and not json:
        raise InputError("pose needs -o OUT.png for a drawing, or --json for the joints as numbers")
    if output is not None and Path(output).suffix.lower() != ".png":
        raise InputError(f"--output: expected a file that ends in .png, got {output}")
    for name, number in (("columns", columns), ("limit", limit)):
        if number < 1:
            raise InputError(f"--{name}: expected at least 1, got {number}")
    import io

    from reidentify.data.console import say
    from reidentify.data.keypoints import image_sizes
    from reidentify.data.pixels import decode
    from reidentify.files import write
    from reidentify.pose import joints_of, load_pose
    from reidentify.report.skeleton import skeletons

    names = files_of(images)
    drawn = names[:limit]
    model = load_pose(weights, device, foreign.preprocessing(weights))
    found = model.find(names if json else drawn)
    if output is not None:
        note = f"the first {limit:,} of {len(names):,} pictures" if len(names) > limit else ""
        labels = [Path(name).name for name in drawn]
        sheet = skeletons((decode(name) for name in drawn), found[: len(drawn)], labels, columns, note)
        buffer = io.BytesIO()
        sheet.save(buffer, "PNG")
        write(output, buffer.getvalue())
        if not json:
            if note:
                say(f"drawn are {note}; --limit draws more")
            print(output)
    if json:
        import json as form

        sizes = image_sizes(names, progress=False).tolist()
        told = [{"path": n, "size": size, "joints": joints_of(j)} for n, size, j in zip(names, sizes, found)]
        print(form.dumps(told, indent=2, ensure_ascii=False))
