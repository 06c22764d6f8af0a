"""The command line: parse, call, and say in one line what a user can mend."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

import reidentify
from reidentify.commands import COMMANDS, Command, Use
from reidentify.errors import InputError, ReidentifyError, ReidentifyWarning

# What is given by place instead of by name, and what has a short name.
_PLACED = {"name": None, "source": None, "recipe": None, "weights": None, "images": "*"}
_SHORT = {"output": "-o"}
# Options that take several values: their type and number.
_SEVERAL: dict[str, tuple[type, str | int]] = {
    "scales": (float, "+"),
    "mean": (float, 3),
    "std": (float, 3),
    "size": (int, 2),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit status: 2 for what the user can mend, said in one line."""
    warnings.showwarning = _warn
    try:
        parser = _Parser(prog="reidentify", description=reidentify.__doc__)
        parser.add_argument("--version", action="version", version=f"reidentify {reidentify.__version__}")
        _add_commands(parser, COMMANDS)
        given = sys.argv[1:] if arguments is None else arguments
        return _run(parser.parse_args([_underscored(argument) for argument in given]), COMMANDS)
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


class _Formatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of a description, and writes options with hyphens."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return _hyphened(super()._format_action_invocation(action))

    def _format_usage(self, *arguments: Any, **named: Any) -> str:
        return _hyphened(super()._format_usage(*arguments, **named))


def _hyphened(text: str) -> str:
    return re.sub(r"--\w+", lambda option: option[0].replace("_", "-"), text)


class _Parser(ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, formatter_class=_Formatter)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise InputError(f"{' '.join(message.split())} (see `{self.prog} --help`)")


def _underscored(argument: str) -> str:
    """Options are written with hyphens and parsed by the names of parameters."""
    name, equals, value = argument.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else argument


def _add_commands(parser: ArgumentParser, commands: Mapping[str, Command | dict[str, Command]]) -> None:
    subcommands = parser.add_subcommands(dest="command")
    for name, command in commands.items():
        prog = f"{parser.prog} {name}"
        if isinstance(command, dict):
            group = _Parser(prog=prog, description="Find, check and import data sets.")
            subcommands.add_subcommand(name, group, help=group.description)
            _add_commands(group, command)
        else:
            sub = _command_parser(prog, command)
            subcommands.add_subcommand(name, sub, help=sub.description.partition(".")[0])


def _command_parser(prog: str, command: Command) -> ArgumentParser:
    text = inspect.getdoc(command) or ""
    parser = _Parser(prog=prog, description=text.partition("\nArgs:")[0].strip())
    parameters = inspect.signature(command).parameters
    helps = _helps(text)
    by_hand = {k for k in parameters if k in _PLACED or k in _SHORT or k == "set"}
    for name in [k for k in parameters if k in by_hand]:
        said = {"help": " ".join(helps[name].split())}
        if name in _PLACED:
            optional = parameters[name].default is None
            parser.add_argument(name, nargs="?" if optional else _PLACED[name], type=str, **said)
        elif name in _SHORT:
            parser.add_argument(_SHORT[name], f"--{name}", type=str, required=True, **said)
        else:
            parser.add_argument(f"--{name}", nargs="+", action="extend", type=str, metavar="KEY=VALUE", **said)
    parser.add_function_arguments(command, as_group=False, skip={*by_hand, "use"})
    if "use" in parameters:
        parser.add_class_arguments(Use, as_group=False, skip=set(_SEVERAL))
        for name, (kind, count) in _SEVERAL.items():
            said = {"help": " ".join(_helps(inspect.getdoc(Use) or "")[name].split())}
            parser.add_argument(f"--{name}", nargs=count, type=kind, default=getattr(Use(), name), **said)
    return parser


def _helps(text: str) -> dict[str, str]:
    """What a docstring says of each argument."""
    return dict(re.findall(r"^    (\w+): ((?:.|\n        )*)", text, re.MULTILINE))


def _run(given: Namespace, commands: Mapping[str, Command | dict[str, Command]]) -> int:
    name = given["command"]
    command, rest = commands[name], given[name]
    if isinstance(command, dict):
        return _run(rest, command)
    values = {k: v for k, v in vars(rest).items() if not k.startswith("__")}
    if "use" in inspect.signature(command).parameters:
        values["use"] = Use(**{f.name: values.pop(f.name) for f in fields(Use)})
    return command(**values) or 0
