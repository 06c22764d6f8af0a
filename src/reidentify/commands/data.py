"""Commands about data sets, and the street."""

from __future__ import annotations

from reidentify.commands.shared import benchmark_of


def list_(root: str | None = None) -> None:
    """List the data sets, and which of them are under the data root.

    Example: reidentify data list

    Args:
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
    """
    from rich.table import Table

    from reidentify.data.benchmarks import facts, names
    from reidentify.data.console import console
    from reidentify.data.root import data_root

    table = Table("name", "data set", "at hand", "direct download", title=f"Data sets (root: {data_root(root)})")
    for name in names():
        fact = facts(name)
        here = any((data_root(root) / folder).exists() for folder in (fact.folder, name))
        table.add_row(name, fact.title, "yes" if here else "", "yes" if fact.downloads else "")
    console().print(table)


def get(name: str, root: str | None = None) -> None:
    """Download and unpack a data set, where its publisher allows that; otherwise say where to ask for it.

    Example: reidentify data get viper

    Args:
        name: of the data set, as `reidentify data list` shows it; your own data need not be fetched.
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
    """
    from reidentify.data.obtain import get

    for path in get(name, root):
        print(path)


def check(name: str, root: str | None = None) -> int:
    """Compare a data set with its published counts and decode every image; the unreadable ones are listed.

    Example: reidentify data check market1501

    Args:
        name: of a data set, or a path to your own data.
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
    """
    from reidentify.data.console import console
    from reidentify.data.inspect import check

    report = check(benchmark_of(name, root))
    console().print(report)
    return 0 if report.ok else 1


def stats(name: str, root: str | None = None) -> None:
    """Show identities, images, cameras and images per identity of each split, and how many attributes there are.

    Example: reidentify data stats market1501

    Args:
        name: of a data set, or a path to your own data.
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
    """
    from reidentify.data.console import console
    from reidentify.data.inspect import stats

    console().print(stats(benchmark_of(name, root)))


def import_(source: str, out: str, fraction: float = 0.5, seed: int = 0, check: bool = True) -> None:
    """Turn your own data into a data set with a seeded split in which no person is in both train and test.

    Example: reidentify data import people.csv --out people, then: reidentify train market-cpu --data people --out run

    Args:
        source: a folder per identity, with images or with a folder per tracklet inside; a folder with Market-style
            names; or a table (CSV or Parquet) with the columns path and pid and, if known, camid, time (seconds),
            split, tracklet, and attribute.NAME for what else is to be told, in words or numbers, empty where
            unlabelled. An attribute is of the person if every identity has only one value of it, else of the sighting;
            schema.json in the new folder says which.
        out: a new folder, or the one that the source lies in; a data set that is there already is not overwritten.
        fraction: share of the identities that is trained on, from 0 to 1.
        seed: of the split, 0 or above.
        check: decode every image, and make no data set of which one cannot be read; false saves the time.
    """
    from reidentify.data.own import import_data

    print(import_data(source, out, fraction, seed, check))


def dancereid(source: str, frames: str, boxes: str, out: str) -> None:
    """Build DanceReID from its annotation, the frames of its videos and its files of boxes and poses.

    Example: reidentify data dancereid annotation.json --frames frames --boxes npy --out DanceReID

    Args:
        source: annotation.json of github.com/azuxmioy/DanceReID.
        frames: a folder with a folder for each video, named by its id, with images numbered from 0, as ffmpeg -i VIDEO
            -fps_mode passthrough -start_number 0 -qscale:v 2 frames/ID/%06d.jpg writes them; every fifth, from 0, is
            enough; videos that are not there are left out and named.
        boxes: the folder of the .npy files with boxes and poses; they are read so that nothing in them is run.
        out: a folder without a data set.
    """
    from reidentify.data.benchmarks.dancereid_build import build

    print(build(source, frames, boxes, out))


def street(
    out: str, identities: int = 20, cameras: int = 6, minutes: float = 2.0, seed: int = 0, video: bool = True
) -> None:
    """Render a street: people under several cameras, with complete ground truth.

    Example: reidentify street --out street --identities 50 --cameras 6 --minutes 8 --video false

    Args:
        out: a new folder for crops, tracklets and tables.
        identities: number of people, 2 to 9999.
        cameras: number of cameras, 2 to 99.
        minutes: length of the recording, 2 to 1440.
        seed: the same seed renders the same bytes.
        video: also write an MP4 video per camera, which takes about two minutes per camera and minute on one core.
    """
    from reidentify.street import render

    print(render(out, identities=identities, cameras=cameras, minutes=minutes, seed=seed, video=video))


def stage(out: str, videos: int = 18, dancers: int = 5, seconds: int = 60, seed: int = 0, video: bool = False) -> None:
    """Render a dance stage: groups of dancers who change places before one camera each, with complete ground truth.

    Example: reidentify stage --out own/street-dance --videos 6 --dancers 5 --seconds 60

    Args:
        out: a new folder for crops, tracklets and tables; `--data street-dance --root own` then reads it.
        videos: number of videos, 3 to 99, each of other people before a camera of its own.
        dancers: people in each video, 2 to 9.
        seconds: length of each video, 10 to 600.
        seed: the same seed renders the same bytes.
        video: also write an MP4 video per camera, which takes about two minutes per camera and minute on one core.
    """
    from reidentify.street import render_dance

    print(render_dance(out, videos=videos, dancers=dancers, seconds=seconds, seed=seed, video=video))
