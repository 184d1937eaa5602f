"""README.md of a trained model: how to use it, what it was trained on and with, what it scores."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_UNLISTED = ("not in the ledger", "unknown")

_USE = """\
# An INSTRUCTOR embedder

Trained by `medi` on MEDI, after "One Embedder, Any Task: Instruction-Finetuned Text Embeddings"
(arXiv 2212.09741).

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(FOLDER)
model.encode("a text", prompt="Represent the science title for clustering: ")
model.encode_query("a question"), model.encode_document("a passage")
```

The instruction's tokens are attended to and left out of the mean. Write one for your task and end
it in ": ", as in training; `medi.json` holds those of every training dataset. `encode_query` and
`encode_document` use general ones."""

_LOSSES = {
    "released": "The loss is the released one: the query against its positive and the hard "
    "negatives of its batch, the positive against the queries of its batch.",
    "paper": "The loss is the paper's: the query against its positive, the hard negatives and the "
    "other positives of its batch, the positive against the queries of its batch.",
    "gte": "The loss is GTE's improved contrastive one (arXiv 2308.03281): query and positive "
    "against all queries and documents of their batch, in one term.",
}
_OPTIMISER = (
    "Every batch is from one dataset. AdamW, linear warm-up and linear decay by steps; "
    "`curve.jsonl` holds the loss on the way."
)


def model_card(record: Mapping[str, Any], medi: Path) -> str:
    """The card of the model that `record`, its medi.json, tells of.

    Licences are those of ledger.csv in the MEDI folder, by dataset; one that is not listed there,
    or a folder without a ledger, shows as such.
    """
    parts = [
        _head(record["base_encoder"]),
        _USE,
        _data(record, medi),
        _settings(record),
        _scores(record),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(base_encoder: str) -> str:
    on_hub = _HUB_NAME.fullmatch(base_encoder) and not Path(base_encoder).exists()
    lines = ["---", "library_name: sentence-transformers", "pipeline_tag: sentence-similarity"]
    lines += [f"base_model: {base_encoder}"] if on_hub else []
    tags = ["sentence-transformers", "feature-extraction", "instructor", "medi"]
    return "\n".join([*lines, "tags:", *(f"- {tag}" for tag in tags), "---"])


def _data(record: Mapping[str, Any], medi: Path) -> str:
    rows = {name: int(dataset["rows"]) for name, dataset in record["datasets"].items()}
    held_out = sum(dataset["held_out_rows"] for dataset in record["datasets"].values())
    total = sum(rows.values())
    text = f"{total:,} rows of {len(rows)} datasets"
    text += f", {held_out:,} of them held out and never trained on." if held_out else "."
    build = f" The build's key is `{record['medi']}`." if record["medi"] else ""
    licences = _licences(medi)
    of = {name: licences.get(name, _UNLISTED) for name in rows}
    datasets, counted = Counter(of.values()), Counter[tuple[str, str]]()
    for name, number in rows.items():
        counted[of[name]] += number
    cells = [
        [*licence, datasets[licence], f"{number:,}"]
        for licence, number in sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    ]
    allowed = sum(number for (_, commercial), number in counted.items() if commercial == "yes")
    return "\n\n".join(
        [
            "## Training data",
            text + build,
            _table(["licence of the source", "commercial use", "datasets", "rows"], cells),
            f"Of {allowed:,} rows the licence allows commercial use. `ledger.csv` of the dataset "
            "names the licence and the origin of every source.",
        ]
    )


def _licences(medi: Path) -> dict[str, tuple[str, str]]:
    """Dataset -> (licence, whether it allows commercial use)."""
    path = medi / "ledger.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return {
            line.get("dataset") or "": (
                line.get("licence") or "unknown",
                line.get("commercial_use") or "unknown",
            )
            for line in csv.DictReader(file)
        }


def _settings(record: Mapping[str, Any]) -> str:
    options = record["options"]
    cells = [
        ["starting encoder", record["base_encoder"]],
        ["devices", record["devices"]],
        ["longest input", f"{record['longest_input']} tokens"],
        *([f"`{name}`", f"`{json.dumps(value)}`"] for name, value in options.items()),
    ]
    reach = (
        "The batch is that of all devices."
        if options["gather"]
        else "The batch is that of one device."
    )
    text = " ".join([_LOSSES[options["loss"]], reach, _OPTIMISER])
    return "\n\n".join(["## Settings", _table(["setting", "value"], cells), text])


def _scores(record: Mapping[str, Any]) -> str:
    lines = ["## Scores", f"The weights are those of step {record['step']}."]
    scores = record["held_out"]
    if scores is None:
        return "\n\n".join([*lines, f"The loss of that step is {record['loss']:.4f}."])
    cells = [
        ["in-batch accuracy (64 rows)", f"{scores['accuracy']:.4f}"],
        ["nDCG@10 over the held-out documents", f"{scores['ndcg_at_10']:.4f}"],
    ]
    about = (
        f"The mean over {len(scores['datasets'])} datasets, on {scores['rows']:,} held-out rows; "
        "`medi.json` holds those of each dataset."
    )
    return "\n\n".join([*lines, _table(["score", "mean"], cells), about])


def _table(heads: Sequence[str], body: Iterable[Sequence[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *body]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
