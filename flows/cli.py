"""The `medi` command. Exit status: 0 all done, 1 some datasets or tasks failed, 2 bad input.

Any field of the profile can be given as a flag by its name: `--workers 2`, `--mining.margin 0.9`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from artifacts.errors import DatasetError, InputError, without_credentials
from artifacts.store import Store
from flows.cli_options import (
    FIELDS,
    STORE,
    MirrorOption,
    OnlyOption,
    ProfileOption,
    StoreOption,
    overrides,
    spread,
)

app = typer.Typer(
    help="Rebuild MEDI, train an INSTRUCTOR embedder on it, evaluate it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point: errors of the user's making are one line and status 2."""
    sys.argv[1:] = spread(sys.argv[1:])
    try:
        app()
    except InputError as error:
        print(f"medi: {error}", file=sys.stderr)
        sys.exit(2)
    except (DatasetError, OSError) as error:  # a full disk, a folder that may not be written
        print(f"medi: {without_credentials(str(error))}", file=sys.stderr)
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


@app.command(context_settings=FIELDS)
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


@app.command(context_settings=FIELDS)
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


@app.command(context_settings=FIELDS)
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


@app.command(context_settings=FIELDS)
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


@app.command(context_settings=FIELDS)
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
    """Hash every file of the store; what is broken is listed and will be built again.

    What killed runs left over is listed, too. Status 1 for broken artifacts alone.
    """
    from flows.upkeep import run_verify

    raise typer.Exit(run_verify(store))


@app.command(context_settings=FIELDS)
def gc(
    context: typer.Context,
    profile: Annotated[list[str], typer.Option(help="keep what this profile needs")],
    medi: Annotated[
        list[str] | None, typer.Option(help="keep the trainings on this MEDI folder")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="keep this model, its results and vectors")
    ] = None,
    days: Annotated[float, typer.Option(help="only what is older")] = 1.0,
    delete: Annotated[bool, typer.Option("--delete", help="else it is only told")] = False,
    mirror: MirrorOption = None,
    store: StoreOption = STORE,
) -> None:
    """List what no named profile, training or model needs; --delete deletes it.

    Give the fields that your builds are given, `--sources` above all; those of trainings and
    evaluations as `--train.steps`, `--evaluate.tasks`. What cannot be judged stays.
    """
    from flows.upkeep import run_gc

    fields = overrides(context.args)
    raise typer.Exit(run_gc(profile, medi or [], model or [], days, mirror, store, fields, delete))


@app.command("diff")
def diff_(
    before: Annotated[str, typer.Argument(help="a MEDI folder, or its manifest.json")],
    after: Annotated[str, typer.Argument(help="another one")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """What changed from one published dataset to another."""
    from flows.show_diff import run_diff

    raise typer.Exit(run_diff(before, after, as_json))


@app.command(context_settings=FIELDS)
def retrain(
    context: typer.Context,
    out: Annotated[str, typer.Option(help="folder for medi/, model/ and results/")] = "out",
    profile: ProfileOption = "sample",
    mirror: MirrorOption = None,
    store: StoreOption = STORE,
) -> None:
    """Build, and train and evaluate if the dataset has changed since the last time."""
    from flows.run import run_retrain

    raise typer.Exit(run_retrain(profile, out, mirror, store, overrides(context.args)))


@app.command()
def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="of the server and its UI")] = 4200,
    detach: Annotated[bool, typer.Option("--detach", help="return when all is ready")] = False,
) -> None:
    """Start a Prefect server, a worker and all deployments on this machine, until Ctrl-C."""
    from flows.serve import up

    raise typer.Exit(up(port, detach))


@app.command()
def down() -> None:
    """End what `medi up` started."""
    from flows.serve import down

    raise typer.Exit(down())
