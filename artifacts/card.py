"""The dataset card: what MEDI is, how this build made it, and a table of its datasets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from artifacts.publication import COMMERCIAL, Line, Publication


def write_card(path: Path, publication: Publication, lines: Sequence[Line]) -> None:
    """README.md of the dataset folder; `datasets` and the Hub read the configs at its head."""
    parts = [
        _head(line.entry.name for line in lines if line.files),
        _WHAT.format(
            datasets=len(lines),
            rows=_n(sum(line.rows for line in lines)),
            origin=_ORIGIN[publication.build["origin"]],
        ),
        _how(publication.build),
        _OPEN,
        _decontamination(publication.build, lines),
        _statistics(lines),
        _reasons(publication.reasons, lines),
        _table(publication, lines),
    ]
    path.write_text("\n".join(part.strip("\n") + "\n" for part in parts), encoding="utf-8")


def _head(names: Iterable[str]) -> str:
    configs = [("default", "data/*/train-*.parquet")]
    configs += [(name, f"data/{name}/train-*.parquet") for name in names]
    head = ["---", "pretty_name: MEDI", "language: [en]", "license: other"]
    head += ["task_categories: [sentence-similarity, feature-extraction]", "configs:"]
    for name, files in configs:
        head.append(f"- config_name: {json.dumps(name)}")
        head += ["  default: true"] if name == "default" else []
        head += ["  data_files:", "  - split: train", f"    path: {files}"]
    return "\n".join([*head, "---"])


_WHAT = """\
# MEDI, rebuilt

{rows} rows of {datasets} datasets in the form of MEDI, the training data of INSTRUCTOR (Su et al.
2023, One Embedder, Any Task, arXiv 2212.09741): a query, its positive and hard negatives, each side
with its instruction. {origin} The instructions are medi's own.

| column | |
|---|---|
| `dataset`, `row_id` | the source, and the row's position in it |
| `query_instruction`, `query` | instruction + text is the input; instructions end in ": " |
| `doc_instruction`, `pos`, `neg` | the positive and a list of hard negatives, one instruction |
| `pos_score`, `neg_score` | cosine to the query by the mining encoder, rounded to 1e-4 |
| `negatives` | "native": the source's own; "mined": chosen by the encoder |

`load_dataset(folder)` gives everything, `load_dataset(folder, name)` one dataset. `ledger.csv` has
a line a dataset (counts, drops, licence, origin, instructions, citation), `manifest.json` the key
of every stage, the sha256 of every file, and `in_batch_negatives`: false where positives share a
label, so that texts of other rows are no negatives. `statistics.json` has every count, `leaks.csv`
the words of every evaluation text that was found (leave it out where they must not be spread),
`task_ids.json` a number for each of the 330 datasets."""

_ORIGIN = {
    "upstream": "Rebuilt from public sources by medi.",
    "sample": "This is the sample: every text is invented, only the layouts are those of the "
    "sources; nothing below is from them.",
}

_OPEN = """\
## What the paper left open, and what was chosen

- Which revision of a source: none was named. `ledger.csv` has the one that was read; where it is
  `main`, no commit is pinned, and `manifest.json` holds the key of what was read instead.
- Which 300 Super-NaturalInstructions tasks: English in and out, source dataset not among the 70
  evaluation tasks', round-robin over categories, largest tasks first. 600 rows each.
- How many rows some sets gave: "at most" in the table says where no figure was published.
- How negatives were mined for sets without their own: exact search over the dataset's documents,
  never a known positive, only documents that score below a share of the positive's score.
- Where "a small closed label set" ends (Super-NI pairs): at most 32 labels, each met five times on
  average; `statistics.json` says for each task which kind it was taken for.
- The number of a task (`task_id` of the released file): `task_ids.json`, medi's own numbering.
- The wording of the instructions, and their ending: colon and one space, everywhere."""


def _how(build: Mapping[str, Any]) -> str:
    """The settings that shaped the rows."""
    said = {
        "origin": build["origin"],
        "encoder that mined": build["encoder"]["name"],
        "encoder that paired Super-NI": build["superni_encoder"]["name"],
        "seed": build["seed"],
        "rows a dataset at most": build["max_rows"] or "as in the table",
        "licences": build["licences"],
        "instructions": f"{build['detail']}; Super-NI: {build['superni_instructions']}",
        **{f"cleaning: {name}": value for name, value in build["cleaning"].items()},
        **{f"mining: {name}": value for name, value in build["mining"].items()},
        "failed datasets": ", ".join(build["failed"]) or "none",
        "key": build["key"],
    }
    lines = [f"| {name} | {value} |" for name, value in said.items()]
    return "\n".join(["## How it was built", "", "| setting | value |", "|---|---|", *lines])


def _decontamination(build: Mapping[str, Any], lines: Sequence[Line]) -> str:
    settings = build["decontamination"]
    tasks = ", ".join(settings["tasks"])
    if not settings["tasks"]:
        return "## Decontamination\n\nNot done: the rows may hold texts of evaluation tasks."
    leaks = sum(line.leaks for line in lines)
    done = {"remove": f"{_n(leaks)} rows are left out for it", "report": "they are left in"}
    return (
        "## Decontamination\n\n"
        f"Queries and documents were compared with the texts of {len(settings['tasks'])} "
        f"evaluation tasks ({tasks}): equal texts, and runs of {settings['ngram']} "
        f"words. `leaks.csv` lists what was found; {done[settings['action']]}."
    )


def _statistics(lines: Sequence[Line]) -> str:
    rows = sum(line.rows for line in lines)
    native = sum(line.native for line in lines)
    commercial = Counter[str]()
    for line in lines:
        commercial[COMMERCIAL[line.entry.record["licence"]["commercial"]]] += line.rows
    tokens = {
        side: sum(
            line.entry.stages["mine"].manifest.counts["tokens"][side]["mean"] * line.rows
            for line in lines
        )
        for side in ("query", "pos")
    }
    table = {
        "rows": _n(rows),
        "rows with the source's own negatives": _n(native),
        **{f"mean tokens of a {s}": f"{n / max(1, rows):.1f}" for s, n in tokens.items()},
        **{f"rows, commercial use {word}": _n(n) for word, n in sorted(commercial.items())},
    }
    body = [f"| {name} | {value} |" for name, value in table.items()]
    return "\n".join(["## Statistics", "", "| | |", "|---|---:|", *body])


def _reasons(reasons: Mapping[str, str], lines: Sequence[Line]) -> str:
    dropped = Counter[str]()
    for line in lines:
        dropped.update(line.drops)
    body = [f"| {r} | {_n(n)} | {reasons.get(r, '')} |" for r, n in sorted(dropped.items())]
    head = ["## Rows left out", "", "| reason | rows | |", "|---|---:|---|"]
    return "\n".join([*head, *body])


def _table(publication: Publication, lines: Sequence[Line]) -> str:
    """The licence of a row is its source's."""
    body = []
    for line in lines:
        record = line.entry.record
        licence = record["licence"]
        cells = [
            publication.task_ids.get(line.entry.name, ""),
            line.entry.name,
            "sym" if record["symmetric"] else "asym",
            _n(line.rows),
            f"{_n(record['rows'])} ({record['count_source']})",
            _n(sum(line.drops.values())),
            licence["spdx"],
            COMMERCIAL[licence["commercial"]],
            record["citation"].replace("|", "/"),
        ]
        body.append("| " + " | ".join(map(str, cells)) + " |")
    head = [
        "## Datasets",
        "",
        'The licence of a row is that of its source; "unknown" where nobody states one. "At most"',
        "is the paper's count of rows, or the one assumed where it gives none.",
        "",
        "| id | dataset | kind | rows | at most | left out | licence | commercial use | citation |",
        "|---:|---|---|---:|---:|---:|---|---|---|",
    ]
    return "\n".join([*head, *body])


def _n(number: int) -> str:
    return f"{number:,}"
