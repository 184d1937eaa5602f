"""Is anything learned, and what are instructions worth? The paper's Fig. 3 in small.

    python -m benchmarks.learning [--out FILE]      three seeds: half an hour on a core
    python -m benchmarks.learning --small           one seed, a third of the steps

The sample's T5 is trained from random weights by the real loop, on questions and sentences about
an invented world, and scored by nDCG@10 on another world, whose things no training row names: its
queries, documents and facts are all new; the ways of wording a relation are not.

Fig. 3: two symmetric tasks want texts of the same kind (which relation is asked of or told), an
asymmetric one wants what else is told about the same thing. The texts are the same; only the
instruction says which of the two is wanted. By itself: the answer to a question, among all
sentences and all questions of the world.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

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
Scores = Mapping[str, float]  # nDCG@10 by task
Row = tuple[str, str, list[str]]  # query, positive, negatives

ENTITIES = (150, 24)  # of each kind, in the world trained on and in the one held out
QUERIES, NEGATIVES, PHRASINGS = 300, 2, 3


@dataclass(frozen=True)
class Task:
    """What is wanted of a text, and its rows: `documents` say how the pool words its facts.

    kind    texts about the same relation of other things (symmetric)
    thing   what else is told about the same thing (asymmetric)
    answer  what tells the very fact that is asked for (asymmetric)
    """

    name: str
    wanted: Literal["kind", "thing", "answer"]
    instructions: tuple[str, str]
    say_query: Say
    documents: tuple[Say, ...]

    @property
    def symmetric(self) -> bool:
        return self.wanted == "kind"

    def rows(self, world: World, count: int, rng: Random) -> Iterator[Row]:
        """A negative of each row is what another task would call right."""
        facts = _facts(world)
        kinds = _by_kind(facts)
        say = self.documents[0]
        for fact in rng.sample(facts, min(count, len(facts))):
            phrasing = rng.randrange(PHRASINGS)
            alike = [other for other in kinds[_kind(fact)] if other.subject != fact.subject]
            near = [other for other in world.facts[fact.subject] if other != fact]
            if self.wanted == "answer":
                right, wrong = fact, [rng.choice(near)]
            elif self.wanted == "thing":
                right, wrong = rng.choice(near), rng.sample(alike, NEGATIVES)
            else:
                right, wrong = rng.choice(alike), [rng.choice(near), _stranger(fact, facts, rng)]
            positive, *negatives = (say(each, rng.randrange(PHRASINGS)) for each in (right, *wrong))
            if self.wanted == "answer":
                negatives.append(ask(fact, _another(phrasing, rng)))
            yield self.say_query(fact, phrasing), positive, negatives

    def right(self, asked: Fact, told: Fact, say: Say) -> bool:
        """Whether a document that `say` words is right for a query about `asked`."""
        if self.wanted == "answer":
            return told == asked and say is sentence
        same = _kind if self.wanted == "kind" else _subject
        return told != asked and same(told) == same(asked)


_FIND = ("Represent the question for retrieval: ", "Represent the sentence for retrieval: ")
_ONE_KIND = "Represent the {} for classification: "
TASKS = (
    Task("kind_of_question", "kind", (_ONE_KIND.format("question"),) * 2, ask, (ask,)),
    Task("kind_of_sentence", "kind", (_ONE_KIND.format("sentence"),) * 2, sentence, (sentence,)),
    Task("same_thing", "thing", _FIND, ask, (sentence,)),
)
ANSWER = Task("answer", "answer", _FIND, ask, (sentence, ask))
MIXES: Mapping[str, Sequence[Task]] = {
    "symmetric": TASKS[:2],
    "asymmetric": TASKS[2:],
    "both": TASKS,
}


def learn(
    work: Path,
    tasks: Sequence[Task],
    instructed: bool,
    seed: int,
    steps: int,
    scored: Sequence[Task] = TASKS,
) -> tuple[Scores, Scores]:
    """Of the tasks `scored` on the held-out world, before and after training on `tasks`."""
    options = TrainingOptions(
        steps=steps,
        batch_rows=24,
        negatives=NEGATIVES,
        max_length=128,
        temperature=0.05,
        learning_rate=1e-3,
        seed=seed,
        device="cpu",
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
    before, after = (score(folder, scored, held_out, instructed) for folder in (encoder, model))
    return before, after


def write_medi(
    folder: Path, tasks: Sequence[Task], world: World, instructed: bool, seed: int
) -> Path:
    """A published MEDI folder. Texts of one kind are no negatives of each other: label-like."""
    written = {}
    for task in tasks:
        rng = Random(f"{task.name} {seed}")
        # As many rows of either kind of data, where both are there.
        count = 1000 if task.symmetric and len(tasks) > 2 else 2000
        query, document = task.instructions if instructed else ("", "")
        same = {"dataset": task.name, "query_instruction": query, "doc_instruction": document}
        rows = [
            same | {"row_id": i, "query": q, "pos": p, "neg": n, "negatives": "mined"}
            for i, (q, p, n) in enumerate(task.rows(world, count, rng))
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


def score(model: Path, tasks: Sequence[Task], world: World, instructed: bool) -> Scores:
    """nDCG@10 by task: every fact of the world is a document, worded as the task's pool words it.

    The query's own fact is none, but where its answer is wanted; there the pool's question about
    it is worded otherwise.
    """
    encoder = SentenceTransformer(str(model), device="cpu")
    facts, rng = _facts(world), Random("held out")
    queries = rng.sample(range(len(facts)), QUERIES)
    found = {}
    for task in tasks:
        instructions = task.instructions if instructed else ("", "")
        said = [rng.randrange(PHRASINGS) for _ in facts]
        asked = [task.say_query(facts[i], said[i]) for i in queries]
        pool = [(i, say) for say in task.documents for i in range(len(facts))]
        told = [say(facts[i], _another(said[i], rng)) for i, say in pool]
        q_QD = encoder.encode(asked, prompt=instructions[0], show_progress_bar=False)
        d_MD = encoder.encode(told, prompt=instructions[1], show_progress_bar=False)
        cosine_QM = q_QD @ d_MD.T
        if task.wanted != "answer":
            cosine_QM[np.arange(len(queries)), queries] = -1
        right = [[task.right(facts[q], facts[i], say) for i, say in pool] for q in queries]
        found[task.name] = float(ndcg_score(np.array(right, float), cosine_QM, k=10))
    return found


def mean(scores: Scores) -> float:
    """Of the symmetric and the asymmetric side, so that neither counts more."""
    symmetric = [scores[task.name] for task in TASKS if task.symmetric]
    return (statistics.fmean(symmetric) + scores["same_thing"]) / 2


def _facts(world: World) -> list[Fact]:
    return [fact for told in world.facts.values() for fact in told]


def _kind(fact: Fact) -> str:
    return f"{fact.relation.kind} {fact.relation.name}"


def _subject(fact: Fact) -> str:
    return fact.subject


def _another(phrasing: int, rng: Random) -> int:
    return (phrasing + rng.randrange(1, PHRASINGS)) % PHRASINGS


def _stranger(fact: Fact, facts: Sequence[Fact], rng: Random) -> Fact:
    """One that shares neither kind nor thing with `fact`."""
    while (other := rng.choice(facts)).subject == fact.subject or _kind(other) == _kind(fact):
        pass
    return other


def _by_kind(facts: Sequence[Fact]) -> Mapping[str, list[Fact]]:
    found: dict[str, list[Fact]] = {}
    for fact in facts:
        found.setdefault(_kind(fact), []).append(fact)
    return found


def fig_3(seeds: Sequence[int], steps: int) -> str:
    """A line for each mix, with and without instructions; and the untrained encoder."""
    lines = [
        "| trained on | instructions | symmetric | asymmetric | mean of both | each seed's mean |",
        "|---|---|---:|---:|---:|---|",
    ]
    untrained = {}
    for mix, tasks in MIXES.items():
        for instructed in (True, False):
            runs = [_learnt(tasks, instructed, seed, steps, TASKS) for seed in seeds]
            lines.append(_line(mix, instructed, [after for _, after in runs]))
            untrained[instructed] = [before for before, _ in runs]
            print(lines[-1], flush=True)
    return "\n".join(
        [*lines, *(_line("nothing", given, runs) for given, runs in untrained.items())]
    )


def answers(seeds: Sequence[int], steps: int) -> str:
    """A line for each seed: before and after the training."""
    lines = ["| seed | before | after |", "|---|---:|---:|"]
    for seed in seeds:
        scores = _learnt([ANSWER], True, seed, steps, [ANSWER])
        before, after = (100 * score[ANSWER.name] for score in scores)
        lines.append(f"| {seed} | {before:.1f} | {after:.1f} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def _learnt(
    tasks: Sequence[Task], instructed: bool, seed: int, steps: int, scored: Sequence[Task]
) -> tuple[Scores, Scores]:
    with tempfile.TemporaryDirectory() as work:
        return learn(Path(work), tasks, instructed, seed, steps, scored)


def _line(mix: str, instructed: bool, runs: Sequence[Scores]) -> str:
    symmetric = [statistics.fmean(run[t.name] for t in TASKS if t.symmetric) for run in runs]
    asymmetric = [run["same_thing"] for run in runs]
    means = [mean(run) for run in runs]
    cells = [f"{100 * statistics.fmean(values):.1f}" for values in (symmetric, asymmetric, means)]
    each = ", ".join(f"{100 * value:.1f}" for value in means)
    return f"| {mix} | {'with' if instructed else 'without'} | {' | '.join(cells)} | {each} |"


def main() -> None:
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--small", action="store_true", help="one seed, 100 steps")
    parser.add_argument("--out", type=Path, help="write the tables here as well")
    asked = parser.parse_args()
    seeds, steps = (range(1), 100) if asked.small else (range(3), 300)
    text = f"nDCG@10 x 100 on the held-out world, {steps} steps\n\n"
    text += f"The answer to a question\n\n{answers(seeds, steps)}\n\n"
    text += f"Instructions on two kinds of data\n\n{fig_3(seeds, steps)}\n"
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
