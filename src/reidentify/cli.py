"""The command line: parse, call, and say in one line what a user can mend."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import typing
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, NoReturn

import reidentify
from reidentify.commands import COMMANDS, Command, Group
from reidentify.errors import InputError, ReidentifyError, ReidentifyWarning
from reidentify.hints import fits, words

# What is given by place instead of by name, and what has a short name.
_PLACED = {"name", "source", "recipe", "weights", "images", "first", "second", "statistics", "runs"}
# Options that may stand without a value.
_BARE = {"rerank"}
_SHORT = {"output": ["-o"]}
# How help calls the values of an option; as many as are named here are expected.
_VALUES: dict[str, str | tuple[str, ...]] = {
    "out": "PATH", "output": "FILE", "root": "FOLDER", "query": "FOLDER", "gallery": "FOLDER",
    "query_embeddings": "FILE", "gallery_embeddings": "FILE", "set": "KEY=VALUE", "rerank": "KEY=VALUE",
    "spacetime": "FOLDER", "scales": "FACTOR", "picture": "FILE", "rescore": "WEIGHTS", "threshold_from": "FOLDER",
    "between": ("CAMERA", "CAMERA"), "person": "IMAGE", "pose": "IMAGE", "joints_by": "WEIGHTS", "judge": "WEIGHTS",
    "mean": ("R", "G", "B"), "std": ("R", "G", "B"), "size": ("HEIGHT", "WIDTH"),
}  # fmt: skip
_VALUES_OF = {int: "N", float: "NUMBER", bool: "{true,false}"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit status: 2 for what the user can mend, said in one line."""
    warnings.showwarning = _warn
    try:
        return _run("reidentify", COMMANDS, list(sys.argv[1:] if arguments is None else arguments))
    except ReidentifyError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.strerror is None:
            raise
        print(f"error: {error.filename or 'input or output'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _warn(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Our own remarks are for the user; what libraries say to programmers is not."""
    if issubclass(category, ReidentifyWarning):
        print(f"warning: {message}", file=sys.stderr)


def _run(prog: str, group: Group, given: list[str]) -> int:
    """Find the command whose name comes first, parse the rest for it, and call it."""
    choice = _choice(prog, group)
    if not given:
        choice.error(f"COMMAND is required: {', '.join(group.commands)}")
    name = choice.parse_args(given[:1]).command
    prog, command, rest = f"{prog} {name}", group.commands[name], given[1:]
    if isinstance(command, Group):
        return _run(prog, command, rest)
    values = vars(_command_parser(prog, command).parse_intermixed_args(rest))
    for parameter, hint in typing.get_type_hints(command).items():
        if is_dataclass(hint):
            values[parameter] = hint(**{f.name: values.pop(f.name) for f in fields(hint)})  # type: ignore[operator]
    return command(**values) or 0


class _Parser(argparse.ArgumentParser):
    """Keeps the lines of a description, and raises what argparse would print with the usage."""

    def __init__(self, **settings: Any) -> None:
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(**settings, formatter_class=form, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        if missing := message.partition("arguments are required: ")[2]:
            example = re.search(r"Examples?:\s+(.*)", self.description or "")
            message = f"{missing} {'are' if ',' in missing else 'is'} required: for example {example and example[1]}"
        raise InputError(f"{message.removeprefix('argument ')} (see `{self.prog} --help`)")


def _choice(prog: str, group: Group) -> argparse.ArgumentParser:
    """A parser of a command's name alone."""
    parser = _Parser(
        prog=prog,
        description=group.summary,
        epilog=f"Example: {prog} {next(iter(group.commands))}\n`{prog} COMMAND --help` says what a command takes.",
    )
    parser.add_argument("--version", action="version", version=f"reidentify {reidentify.__version__}")
    names = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name, command in group.commands.items():
        text = command.summary if isinstance(command, Group) else inspect.getdoc(command) or ""
        names.add_parser(name, help=text.partition(".")[0])
    return parser


def _command_parser(prog: str, command: Command) -> argparse.ArgumentParser:
    """A parser of a command's parameters, with its docstring as the help."""
    text = inspect.getdoc(command) or ""
    parser = _Parser(prog=prog, description=text.partition("\nArgs:")[0].strip())
    _add_arguments(parser, command)
    return parser


def _add_arguments(parser: argparse._ActionsContainer, source: Callable[..., Any]) -> None:
    """An argument for each parameter of a command; a dataclass among them is a group of options."""
    helps, hints = dict[str, str](), typing.get_type_hints(source)
    for one in inspect.getmro(source) if isinstance(source, type) else [source]:  # a group may extend another
        helps |= _helps(inspect.getdoc(one) or "")
    for name, parameter in inspect.signature(source).parameters.items():
        hint, default = hints[name], parameter.default
        if is_dataclass(hint):
            title = (inspect.getdoc(hint) or "").partition(".")[0]
            _add_arguments(parser.add_argument_group(title[0].lower() + title[1:]), typing.cast(type, hint))
            continue
        required = default is parameter.empty
        if type(None) in typing.get_args(hint):
            hint = typing.get_args(hint)[0]
        several = typing.get_origin(hint) is list
        kind = typing.get_args(hint)[0] if several else hint
        said: dict[str, Any] = {"help": helps[name].replace("%", "%%")}
        if typing.get_origin(kind) is Literal:
            said["choices"] = typing.get_args(kind)
        else:
            said |= {"type": _reader(kind), "metavar": _VALUES.get(name, _VALUES_OF.get(kind, name.upper()))}
        if name in _PLACED:
            parser.add_argument(name, nargs="*" if several else None if required else "?", **said)
            continue
        if not required and default is not None:
            typed = str(default).lower() if kind is bool else default
            said["help"] = f"{said['help'].removesuffix('.')} (default: {typed})"
        if several:
            counted = isinstance(said["metavar"], tuple)
            said["nargs"] = len(said["metavar"]) if counted else "*" if name in _BARE else "+"
            said["action"] = "extend" if kind is str else "store"
        if kind is bool and default is False:
            said |= {"nargs": "?", "const": True}
        flags = [*_SHORT.get(name, []), f"--{name.replace('_', '-')}"]
        parser.add_argument(*flags, dest=name, required=required, default=None if required else default, **said)


def _helps(text: str) -> dict[str, str]:
    """What a docstring says of each argument."""
    found = re.findall(r"^    (\w+): ((?:.|\n        )*)", text, re.MULTILINE)
    return {name: " ".join(said.split()) for name, said in found}


def _reader(kind: type) -> Callable[[str], Any]:
    """From what was typed to a value of this type."""

    def read(text: str) -> Any:
        try:
            value = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            value = None
        if not fits(value, kind):
            raise argparse.ArgumentTypeError(f"expected {words(kind)}, got {text!r}")
        return value

    return read
