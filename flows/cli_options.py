"""What the commands of `medi` share: their options, and any field of a profile as a flag."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from artifacts.errors import InputError

FIELDS = {"allow_extra_args": True, "ignore_unknown_options": True}
_OPEN = typer.Option(
    "--store", envvar="MEDI_STORE", help="folder of the artifacts, or s3://bucket/prefix"
)
_AT = typer.Option("--mirror", envvar="MEDI_MIRROR", help="<host>/<repository>/<path> below it")

StoreOption = Annotated[str, _OPEN]
MirrorOption = Annotated[str | None, _AT]
ProfileOption = Annotated[str, typer.Option(help="sample, real-small, single-gpu, paper")]
OnlyOption = Annotated[list[str] | None, typer.Option(help="this dataset; may be repeated")]
STORE = "medi-store"


def overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """`--workers 2 --mining.margin=0.9` as field -> text. Raises InputError for anything else."""
    fields: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("--"):
            raise InputError(f"unexpected argument {argument!r}")
        name, given, value = argument[2:].partition("=")
        fields[name] = value if given else _value(name, rest)
    return fields


def _value(name: str, rest: Iterator[str]) -> str:
    value = next(rest, None)
    if value is None:
        raise InputError(f"--{name}: a value is missing")
    return value


def spread(arguments: Sequence[str]) -> list[str]:
    """`--only A B` as `--only A --only B`: what click reads of an option that takes several."""
    spread: list[str] = []
    several: str | None = None
    for argument in arguments:
        if argument.startswith("-"):
            several = argument if argument in ("--only", "--tasks") else None
            if several is None:
                spread.append(argument)
        elif several:
            spread += [several, argument]
        else:
            spread.append(argument)
    return spread
