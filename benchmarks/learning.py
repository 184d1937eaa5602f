"""Is anything learned, and what are instructions worth? The paper's Fig. 3 in small.

    python -m benchmarks.learning [--out FILE]      three seeds: about half an hour on two cores
    python -m benchmarks.learning --small           one seed, a third of the steps

The sample's T5 is trained from random weights by the real loop, on questions and sentences about
an invented world, and scored by nDCG@10 on another world: no entity of it was ever seen. Two
symmetric tasks want texts of the same kind (which relation is asked of or told), an asymmetric one
wants what else is told about the same thing. The texts are the same; only the instruction says
which of the two is wanted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sentence_transformers import SentenceTransformer
from sklearn.metrics import ndcg_score

from artifacts.row import MEDI
from artifacts.store import MANIFEST, Store, file_entry
from benchmarks.mining_rows import write_sample_encoder
from medi_sources.sample.texts import ask, sentence
from medi_sources.sample.world import Fact, World, make_worlds
from training.launch import train
from training.options import TrainingJob, TrainingOptions
from training.prepare import prepare

Say = Callable[[Fact, int], str]

ENTITIES = (150, 24)  # of each kind, in the world trained on and in the one held out
QUERIES, NEGATIVES, PHRASINGS = 300, 2, 3


@dataclass(frozen=True)
class Task:
    """`say_query` and `say_document` put a fact into words. Symmetric: same relation is wanted."""

    name: str
    instructions: tuple[str, str]
    say_query: Say
    say_document: Say
    symmetric: bool

    def rows(self, world: World, count: int, rng: Random) -> Iterator[tuple[str, str, list[str]]]:
        """Query, positive and negatives; what the other task would call right is a negative."""
        facts = _facts(world)
        kinds = _by_kind(facts)
        for fact in rng.sample(facts, min(count, len(facts))):
            alike = [other for other in kinds[_kind(fact)] if other.subject != fact.subject]
            near = [other for other in world.facts[fact.subject] if other != fact]
            right, wrong = (alike, near) if self.symmetric else (near, alike)
            texts = [self.say_document(other, rng.randrange(PHRASINGS)) for other in
                     (rng.choice(right), *rng.sample(wrong, NEGATIVES))]  # fmt: skip
            yield self.say_query(fact, rng.randrange(PHRASINGS)), texts[0], texts[1:]


_ONE_KIND = ("Represent the {} for classification: ",) * 2
TASKS = (
    Task("kind_of_question", (_ONE_KIND[0].format("question"),) * 2, ask, ask, True),
    Task("kind_of_sentence", (_ONE_KIND[0].format("sentence"),) * 2, sentence, sentence, True),
    Task(
        "same_thing",
        ("Represent the question for retrieval: ", "Represent the sentence for retrieval: "),
        ask,
        sentence,
        False,
    ),
)
MIXES: Mapping[str, Sequence[Task]] = {
    "symmetric": TASKS[:2],
    "asymmetric": TASKS[2:],
    "both": TASKS,
}


def learn(
    work: Path, tasks: Sequence[Task], instructed: bool, seed: int, steps: int
) -> tuple[dict[str, float], dict[str, float]]:
    """nDCG@10 by task on the held-out world, before and after training on `tasks`."""
    options = TrainingOptions(
        steps=steps,
        batch_rows=24,
        negatives=NEGATIVES,
        max_length=128,
        temperature=0.05,
        learning_rate=1e-3,
        seed=seed,
        device="cpu",
        checkpoint_every=steps,
    )
    trained, held_out = make_worlds(seed, ENTITIES)
    encoder = write_sample_encoder(work / "sample")
    medi = write_medi(work / "medi", tasks, trained, instructed, seed)
    tokens, plan = prepare(medi, str(encoder), options, Store(work / "store"), 1)
    job = TrainingJob(
        medi=medi,
        tokens=tokens,
        plan=plan,
        encoder=str(encoder),
        out=work / "model",
        work=work / "run",
        options=options,
    )
    model = train(job, lambda record: None).model
    before, after = (score(folder, held_out, instructed) for folder in (encoder, model))
    return before, after


def write_medi(
    folder: Path, tasks: Sequence[Task], world: World, instructed: bool, seed: int
) -> Path:
    """A published MEDI folder. Texts of one kind are no negatives of each other: label-like."""
    written = {}
    for task in tasks:
        rng = Random(f"{task.name} {seed}")
        count = 1000 if task.symmetric and len(tasks) > 2 else 2000
        instructions = task.instructions if instructed else ("", "")
        rows = [
            {
                "dataset": task.name,
                "row_id": row_id,
                "query_instruction": instructions[0],
                "query": query,
                "doc_instruction": instructions[1],
                "pos": positive,
                "neg": negatives,
                "negatives": "mined",
            }
            for row_id, (query, positive, negatives) in enumerate(task.rows(world, count, rng))
        ]
        path = folder / "data" / task.name / "train-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=MEDI), path)
        files = {path.relative_to(folder).as_posix(): file_entry(path).model_dump()}
        written[task.name] = {
            "rows": len(rows), "files": files, "in_batch_negatives": not task.symmetric
        }  # fmt: skip
    manifest = {"format": 1, "build": {"key": "learning"}, "datasets": written}
    (folder / MANIFEST).write_text(json.dumps(manifest) + "\n", encoding="utf-8")
    return folder


def score(model: Path, world: World, instructed: bool) -> dict[str, float]:
    """nDCG@10 by task: every fact of the world is a document, but the query's own."""
    encoder = SentenceTransformer(str(model), device="cpu")
    facts, rng = _facts(world), Random("held out")
    queries = rng.sample(range(len(facts)), min(QUERIES, len(facts)))
    found = {}
    for task in TASKS:
        instructions = task.instructions if instructed else ("", "")
        asked = [task.say_query(facts[i], rng.randrange(PHRASINGS)) for i in queries]
        told = [task.say_document(fact, rng.randrange(PHRASINGS)) for fact in facts]
        q_QD = encoder.encode(asked, prompt=instructions[0], show_progress_bar=False)
        d_MD = encoder.encode(told, prompt=instructions[1], show_progress_bar=False)
        cosine_QM = q_QD @ d_MD.T
        cosine_QM[np.arange(len(queries)), queries] = -1
        same = _kind if task.symmetric else _subject
        relevant_QM = np.array([[same(f) == same(facts[i]) for f in facts] for i in queries], float)
        relevant_QM[np.arange(len(queries)), queries] = 0
        found[task.name] = float(ndcg_score(relevant_QM, cosine_QM, k=10))
    return found


def mean(scores: Mapping[str, float]) -> float:
    """Of the symmetric and the asymmetric side, so that neither counts more."""
    symmetric = [scores[task.name] for task in TASKS if task.symmetric]
    return (statistics.fmean(symmetric) + scores["same_thing"]) / 2


def _facts(world: World) -> list[Fact]:
    return [fact for told in world.facts.values() for fact in told]


def _kind(fact: Fact) -> str:
    return f"{fact.relation.kind} {fact.relation.name}"


def _subject(fact: Fact) -> str:
    return fact.subject


def _by_kind(facts: Sequence[Fact]) -> Mapping[str, list[Fact]]:
    found = defaultdict(list)
    for fact in facts:
        found[_kind(fact)].append(fact)
    return found


def table(seeds: Sequence[int], steps: int) -> str:
    """A line for each mix, with and without instructions; and the untrained encoder."""
    lines = [
        "| trained on | instructions | symmetric | asymmetric | mean of both | over seeds |",
        "|---|---|---:|---:|---:|---|",
    ]
    untrained: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    for mix, tasks in MIXES.items():
        for instructed in (True, False):
            runs = []
            for seed in seeds:
                with tempfile.TemporaryDirectory() as work:
                    before, after = learn(Path(work), tasks, instructed, seed, steps)
                runs.append(after)
                untrained[instructed].append(before)
                print(f"{mix}, {instructed}, seed {seed}: {mean(after):.3f}", flush=True)
            lines.append(_line(mix, instructed, runs))
    lines += [_line("nothing", instructed, runs) for instructed, runs in untrained.items()]
    return "\n".join(lines)


def _line(mix: str, instructed: bool, runs: Sequence[Mapping[str, float]]) -> str:
    symmetric = [statistics.fmean(run[t.name] for t in TASKS if t.symmetric) for run in runs]
    asymmetric = [run["same_thing"] for run in runs]
    means = [mean(run) for run in runs]
    cells = [f"{100 * statistics.fmean(values):.1f}" for values in (symmetric, asymmetric, means)]
    spread = f"{100 * min(means):.1f} to {100 * max(means):.1f}"
    return f"| {mix} | {'with' if instructed else 'without'} | {' | '.join(cells)} | {spread} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="one seed, 100 steps")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the table here as well")
    asked = parser.parse_args()
    seeds, steps = (range(1), 100) if asked.small else (range(asked.seeds), 300)
    text = f"nDCG@10 x 100 on the held-out world, {steps} steps, {len(seeds)} seeds\n\n"
    text += table(seeds, steps) + "\n"
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
