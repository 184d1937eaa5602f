"""Choose the 300 Super-NaturalInstructions tasks of MEDI and write their source records.

    python -m medi_sources.superni_300 --lists DIR [--licences INDEX.json] [--extra TASK ...]

DIR holds `tasks_joined.tsv` (task, category, languages, number of examples, source dataset) and
`splits/default/train_tasks.txt`, the official default-track train list. Which 300 tasks the paper
took is not published, only that it took 600 rows of each; the rule here: English in and out; source
dataset not among those of the 70 evaluation tasks; then round-robin over the categories (sorted by
name), within a category by descending instance count (then by name), until 300. A task whose
category and languages the lists do not state is left out, since the rule cannot be checked for it.
`--extra` writes further tasks as records outside the 330 (catalog/superni_extra.yaml), under the
same conditions.
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

from artifacts.errors import InputError
from medi_sources.records import Source

COUNT = 300
ROWS = 600  # a task; 300 x 600 = the paper's 180,000
REPOSITORY = "allenai/natural-instructions"
REVISION = "9f4706643a9e3888bf607bddfd624a06de081283"
CITATION = "Wang et al. 2022, Super-NaturalInstructions, arXiv 2204.07705"
CATALOG = Path(__file__).parent / "catalog"
_HEAD = """\
# Written by `python -m medi_sources.superni_300`; change the rule there, not a record here.
# The task collection itself is Apache-2.0; `licence` is that of the instances, as the task file
# states it, and unknown where the file says so or was not at hand.
"""

# Source datasets (as tasks_joined.tsv spells them) of the 70 evaluation tasks, and why.
EVALUATION_DATASETS: dict[str, str] = {
    "amazon_and_yelp_summarization_dataset": "Amazon reviews: MTEB AmazonPolarity",
    "amazon_fine_food_reviews": "Amazon reviews: part of the crawl behind MTEB AmazonPolarity",
    "amazon_polarity": "MTEB AmazonPolarityClassification; prompt retrieval Amazon",
    "civil_comments": "MTEB ToxicConversations; prompt retrieval CivilComments",
    "cls": "Amazon reviews: MTEB AmazonPolarity",
    "cnn_dailymail": "Billboard CNN/DailyMail; MTEB SummEval",
    "dbpedia_14": "prompt retrieval DBpedia-14",
    "emotion": "MTEB EmotionClassification",
    "hellaswag": "prompt retrieval HellaSwag",
    "hotpotqa": "MTEB HotpotQA",
    "imdb": "MTEB ImdbClassification",
    "jigsaw": "MTEB ToxicConversations (Jigsaw, unintended bias)",
    "mrpc": "prompt retrieval MRPC",
    "mrqa": "contains HotpotQA and Natural Questions: MTEB HotpotQA and NQ",
    "ms_marco": "MTEB MSMARCO",
    "multi_woz_v22": "prompt retrieval MultiWOZ",
    "multilingual_amazon_reviews": "MTEB AmazonReviewsClassification",
    "natural_questions": "MTEB NQ",
    "rotten_tomatoe": "the sentences of SST-5: prompt retrieval SST-5",
    "sst2": "the sentences of SST-5: prompt retrieval SST-5",
}

# What Super-NI's "Instance License" says -> (SPDX identifier, commercial use allowed).
_SPDX: dict[str, tuple[str, bool | None]] = {
    "AFL 3.0": ("AFL-3.0", True),
    "Apache 2.0": ("Apache-2.0", True),
    "CC BY 3.0": ("CC-BY-3.0", True),
    "CC BY 4.0": ("CC-BY-4.0", True),
    "CC BY-SA 3.0": ("CC-BY-SA-3.0", True),
    "CC BY-SA 4.0": ("CC-BY-SA-4.0", True),
    "CC0: Public Domain": ("CC0-1.0", True),
    "CDLA Permissive 2.0": ("CDLA-Permissive-2.0", True),
    "MIT": ("MIT", True),
    "Public Domain": ("unknown", True),
}


@dataclass(frozen=True)
class Task:
    """One line of the lists. `name` is the file name upstream, without `.json`."""

    name: str
    category: str
    languages: tuple[str, ...]
    examples: int
    dataset: str


def read_lists(folder: Path) -> list[Task]:
    """The default-track train tasks, in the official order, joined with what is known of each.

    tasks_joined.tsv cuts names at the first dot (`task074_squad1` for
    `task074_squad1.1_question_generation`), so names are joined on what is before it.
    """
    table = folder / "tasks_joined.tsv"
    names = folder / "splits" / "default" / "train_tasks.txt"
    for path in (table, names):
        if not path.is_file():
            raise InputError(f"--lists: {path} is missing")
    with table.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        known = {row["task"]: row for row in reader}
    tasks = []
    for name in names.read_text(encoding="utf-8").split():
        row = known.get(name.split(".")[0])
        if row is None:
            raise InputError(f"{table}: no line for the train task {name}")
        languages = tuple(ast.literal_eval(row["languages"])) if row["languages"] else ()
        examples = int(row["number_examples"])
        tasks.append(Task(name, row["category"], languages, examples, row["dataset"]))
    return tasks


def eligible(task: Task) -> bool:
    """English in and out, category known, source dataset not among the evaluation tasks'."""
    english = task.languages == ("English",) and bool(task.category)
    return english and task.dataset not in EVALUATION_DATASETS


def choose(tasks: Iterable[Task], count: int = COUNT) -> list[Task]:
    """The first `count` of a round-robin over categories, largest tasks of each first."""
    by_category: dict[str, list[Task]] = {}
    for task in sorted(filter(eligible, tasks), key=lambda t: (-t.examples, t.name)):
        by_category.setdefault(task.category, []).append(task)
    columns = [by_category[category] for category in sorted(by_category)]
    rounds = (task for row in zip_longest(*columns) for task in row if task is not None)
    chosen = [task for task, _ in zip(rounds, range(count), strict=False)]
    if len(chosen) < count:
        raise InputError(f"only {len(chosen)} tasks of the lists are eligible, {count} are needed")
    return chosen


def licence(stated: list[str] | None) -> dict[str, Any]:
    """A record's licence from the task file's "Instance License", where that is known."""
    words = [s for s in stated or [] if s != "Unknown"]
    spdx, commercial = _SPDX.get("; ".join(words), ("unknown", None))
    note = {"note": "; ".join(words)} if words and spdx == "unknown" else {}
    return {"spdx": spdx, "commercial": commercial, **note}


def record(task: Task, stated: list[str] | None, collection: str = "medi") -> dict[str, Any]:
    """The source record of one task, as catalog/*.yaml holds it (and valid as a `Source`)."""
    entry = {
        "name": task.name,
        **({"collection": collection} if collection != "medi" else {}),
        "location": {
            "kind": "github",
            "repository": REPOSITORY,
            "revision": REVISION,
            "files": [f"tasks/{task.name}.json"],
        },
        "reader": {"layout": "superni"},
        "rows": ROWS,
        "count_source": "paper" if collection == "medi" else "assumed",
        "upstream_rows": task.examples,
        "symmetric": True,
        "licence": licence(stated),
        "citation": CITATION,
        "note": f"{task.category}; from {task.dataset or 'a dataset not stated'}",
    }
    Source.model_validate(entry)
    return entry


def write(path: Path, tasks: Iterable[Task], stated: Mapping[str, list[str]]) -> None:
    """Records sorted by name, so that a changed rule shows as a small diff."""
    collection = "extra" if path.stem == "superni_extra" else "medi"
    ordered = sorted(tasks, key=lambda t: t.name)
    entries = [record(task, stated.get(task.name), collection) for task in ordered]
    text = yaml.safe_dump(entries, sort_keys=False, width=100, allow_unicode=True)
    path.write_text(_HEAD + text, encoding="utf-8")
    print(f"{len(entries)} tasks written to {path}")


def outside(tasks: Iterable[Task], chosen: Iterable[Task], names: Iterable[str]) -> list[Task]:
    """The named tasks, each eligible and not among the chosen."""
    free = {task.name: task for task in tasks if eligible(task)}
    for task in chosen:
        free.pop(task.name, None)
    for name in names:
        if name not in free:
            raise InputError(f"--extra: {name} is not eligible, or is one of the {COUNT} already")
    return [free[name] for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description="Choose the 300 Super-NI tasks of MEDI.")
    parser.add_argument("--lists", type=Path, required=True)
    parser.add_argument("--licences", type=Path, help="JSON list of {task, instance_license}")
    parser.add_argument("--extra", nargs="*", default=[], metavar="TASK")
    args = parser.parse_args()
    stated: dict[str, list[str]] = {}
    if args.licences:
        index = json.loads(args.licences.read_text(encoding="utf-8"))
        stated = {entry["task"]: entry["instance_license"] for entry in index}
    tasks = read_lists(args.lists)
    chosen = choose(tasks)
    write(CATALOG / "superni.yaml", chosen, stated)
    if args.extra:
        extra = outside(tasks, chosen, args.extra)
        write(CATALOG / "superni_extra.yaml", extra, stated)


if __name__ == "__main__":
    main()
