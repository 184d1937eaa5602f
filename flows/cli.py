"""The `medi` command. Exit status: 0 all done, 1 some datasets or tasks failed, 2 bad input.

Any field of the profile can be given as a flag by its name: `--workers 2`, `--mining.margin 0.9`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from artifacts.errors import DatasetError, InputError
from artifacts.store import Store

app = typer.Typer(
    help="Rebuild MEDI, train an INSTRUCTOR embedder on it, evaluate it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_FIELDS = {"allow_extra_args": True, "ignore_unknown_options": True}
_OPEN = typer.Option("--store", envvar="MEDI_STORE", help="folder of the artifacts")
_AT = typer.Option("--mirror", envvar="MEDI_MIRROR", help="<host>/<repository>/<path> below it")

StoreOption = Annotated[str, _OPEN]
MirrorOption = Annotated[str | None, _AT]
ProfileOption = Annotated[str, typer.Option(help="sample, real-small, single-gpu, paper")]
OnlyOption = Annotated[list[str] | None, typer.Option(help="this dataset; may be repeated")]
STORE = "medi-store"


def main() -> None:
    """Entry point: errors of the user's making are one line and status 2."""
    sys.argv[1:] = spread(sys.argv[1:])
    try:
        app()
    except InputError as error:
        print(f"medi: {error}", file=sys.stderr)
        sys.exit(2)
    except DatasetError as error:
        print(f"medi: {error}", file=sys.stderr)
        sys.exit(1)


@app.command()
def sources(
    name: Annotated[str | None, typer.Argument(help="one dataset")] = None,
    licence: Annotated[str | None, typer.Option(help="commercial: where use is allowed")] = None,
    check: Annotated[bool, typer.Option(help="lint catalog and annotations")] = False,
    own: Annotated[str | None, typer.Option("--sources", help="folder of your records")] = None,
) -> None:
    """The catalog: all sources, one record, or the licence ledger."""
    from flows import show

    if check:
        raise typer.Exit(show.check_sources(own))
    if name:
        show.source(name, own)
    else:
        show.sources(licence, own)


@app.command(context_settings=_FIELDS)
def plan(
    context: typer.Context,
    profile: ProfileOption = "sample",
    only: OnlyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    mirror: MirrorOption = None,
    store: StoreOption = STORE,
) -> None:
    """What a build would run, and why."""
    from flows import show
    from flows.planning import plan_build
    from flows.profiles import get_profile, override

    config = override(get_profile(profile).build, overrides(context.args))
    report = plan_build(config, Store.open(store), mirror, only).report()
    if as_json:
        print(json.dumps(report))
    else:
        show.plan(report)


@app.command(context_settings=_FIELDS)
def build(
    context: typer.Context,
    profile: ProfileOption = "sample",
    only: OnlyOption = None,
    publish: Annotated[str | None, typer.Option(help="folder for the dataset")] = None,
    mirror: MirrorOption = None,
    store: StoreOption = STORE,
) -> None:
    """Build MEDI; with --publish, write the dataset folder."""
    from flows.run import run_build

    raise typer.Exit(run_build(profile, only, publish, mirror, store, overrides(context.args)))


@app.command(context_settings=_FIELDS)
def train(
    context: typer.Context,
    medi: Annotated[str, typer.Option(help="a folder that build --publish made")],
    out: Annotated[str | None, typer.Option(help="folder for the model")] = None,
    profile: ProfileOption = "sample",
    encoder: Annotated[str | None, typer.Option(help="starting encoder: folder or name")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="tell, train nothing")] = False,
    tflops: Annotated[
        list[float] | None, typer.Option(help="with --dry-run: TFLOP/s a device does")
    ] = None,
    mirror: MirrorOption = None,
    store: StoreOption = STORE,
) -> None:
    """Train an embedder with DeepSpeed; OUT becomes a sentence-transformers folder.

    --dry-run prints steps, tokens, memory and hours, and leaves OUT alone.
    """
    fields = overrides(context.args)
    if dry_run:
        from flows.dry_run import run_dry

        raise typer.Exit(run_dry(medi, profile, encoder, mirror, store, fields, tflops))
    if out is None:
        raise InputError("--out is missing: give a folder for the model, or --dry-run")
    from flows.run import run_train

    raise typer.Exit(run_train(medi, out, profile, encoder, mirror, store, fields))


@app.command(context_settings=_FIELDS)
def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="a sentence-transformers folder or Hub name")],
    out: Annotated[str, typer.Option(help="folder for the results and report.html")],
    tasks: Annotated[
        list[str] | None, typer.Option(help="these only: names, categories or paper")
    ] = None,
    profile: ProfileOption = "sample",
    baseline: Annotated[
        str | None,
        typer.Option(help="model to compare with; default: the one MODEL was trained from"),
    ] = None,
    mirror: MirrorOption = None,
    store: StoreOption = STORE,
) -> None:
    """Evaluate an embedder with mteb, beside the encoder it was trained from."""
    from flows.run import run_evaluate

    fields = overrides(context.args)
    raise typer.Exit(run_evaluate(model, out, tasks, profile, baseline, mirror, store, fields))


@app.command(context_settings=_FIELDS)
def ablate(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(help="instructions, robustness, super-ni, detail, size or domain-shift"),
    ],
    out: Annotated[str, typer.Option(help="folder for the models, the figure and report.html")],
    profile: ProfileOption = "sample",
    mirror: MirrorOption = None,
    store: StoreOption = STORE,
) -> None:
    """An analysis of the paper: builds, trains and evaluates a grid, and draws its figure."""
    from flows.run import run_ablate

    raise typer.Exit(run_ablate(name, out, profile, mirror, store, overrides(context.args)))


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="folder for dataset, model, results")] = "demo",
    store: StoreOption = STORE,
) -> None:
    """The whole way on the generated sample: build, train, evaluate, report."""
    from flows.run import run_demo

    raise typer.Exit(run_demo(Path(out), store))


@app.command()
def export(
    medi: Annotated[str, typer.Option(help="a folder that build --publish made")],
    out: Annotated[str, typer.Option(help="file to write")],
    layout: Annotated[str, typer.Option("--format", help="medi-json")] = "medi-json",
) -> None:
    """Write a MEDI folder in another format: medi-json is the layout that was released."""
    from artifacts.released import export_json

    if layout != "medi-json":
        raise InputError(f"--format {layout!r}: choose medi-json")
    print(f"{export_json(Path(medi), Path(out))} rows in {out}")


@app.command()
def verify(store: StoreOption = STORE) -> None:
    """Hash every file of the store; broken artifacts are listed and will be built again."""
    broken = Store.open(store).verify()
    for folder, problem in broken:
        print(f"{folder}: {problem}")
    print(f"{len(broken)} broken artifacts")
    raise typer.Exit(1 if broken else 0)


@app.command(context_settings=_FIELDS)
def gc(
    context: typer.Context,
    profile: Annotated[list[str], typer.Option(help="keep what builds of this profile need")],
    days: Annotated[float, typer.Option(help="delete only what is older")] = 1.0,
    mirror: MirrorOption = None,
    store: StoreOption = STORE,
) -> None:
    """Delete datasets' artifacts that no named profile needs, and scratch of killed runs.

    Give the fields that your builds are given, `--sources` above all.
    """
    from flows.run import run_gc

    raise typer.Exit(run_gc(profile, days, mirror, store, overrides(context.args)))


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
