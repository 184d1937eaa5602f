"""The exported model must give a user the embeddings it was trained with, and say what it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)
from transformers import AutoTokenizer, T5Config, T5EncoderModel

from artifacts.row import MEDI
from artifacts.store import Store
from training.encoder import encoder_of, load_parts
from training.export import export
from training.options import TrainingJob, TrainingOptions
from training.prepare import prepare
from training.token_store import TokenTable

torch.set_num_threads(1)

INSTRUCTIONS = [
    "Represent the alpha question for retrieval: ",
    "Represent the alpha question for retrieval:",
    "Represent the beta text;",
    "Represent the beta text  ",
    "",
    "Represent the alpha question for retrieval, " * 20,  # nothing of the text is left
]
TEXTS = [
    *["baran", "a", "codal dimes", "", " ", "\n", "  two  spaces ", " (42)", "unseen Ürtext (42)"],
    *["qui paves " * 60, "baran" * 80, "?"],
]
Row = tuple[str, str, str, str, str]  # instruction and query, instruction, positive and negative


def write_medi(folder: Path, datasets: dict[str, Sequence[Row]]) -> Path:
    for name, rows in datasets.items():
        records = [
            {
                "dataset": name,
                "row_id": row_id,
                "query_instruction": query_instruction,
                "query": query,
                "doc_instruction": doc_instruction,
                "pos": positive,
                "neg": [negative],
                "negatives": "mined",
            }
            for row_id, (
                query_instruction,
                query,
                doc_instruction,
                positive,
                negative,
            ) in enumerate(rows)
        ]
        path = folder / "data" / name / "train-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(records, schema=MEDI), path)
    return folder


def texts_medi(folder: Path) -> Path:
    """Every text behind every instruction, be it a query's or a document's."""
    rows = [
        (mine, text, theirs, text, TEXTS[i - 1])
        for mine, theirs in zip(INSTRUCTIONS[::2], INSTRUCTIONS[1::2], strict=True)
        for i, text in enumerate(TEXTS)
    ]
    return write_medi(folder, {"alpha": rows})


def job_of(root: Path, medi: Path, encoder: str, world_size: int = 1, **given: Any) -> TrainingJob:
    called = given.pop("called", None)
    options = TrainingOptions(**({"steps": 4, "batch_rows": 8, "device": "cpu"} | given))
    tokens, plan = prepare(medi, encoder, options, Store(root / "store"), world_size)
    return TrainingJob(
        medi=medi,
        tokens=tokens,
        plan=plan,
        encoder=encoder,
        called=called,
        out=root / "model",
        work=root / "work",
        options=options,
    )


def tables_of(job: TrainingJob) -> dict[str, TokenTable]:
    return {name: TokenTable(folder, name) for name, folder in job.tokens.items()}


def entry(step: int, ndcg: float | None = None) -> dict[str, Any]:
    """A record of log.jsonl, with what changes from run to run."""
    record = {
        "step": step,
        "dataset": "alpha",
        "loss": 1 / step,
        "losses": {"alpha": 0.5},
        "lr": 1e-3 / 3 * step,
        "grad_norm": 0.123456789,
        "rows": 8,
        "seconds": np.random.default_rng().random(),
    }
    if ndcg is not None:
        scores = {"accuracy": 0.5, "ndcg_at_10": ndcg, "rows": 6}
        record["held_out"] = scores | {"datasets": {"alpha": scores}}
    return record


def assert_export_equals_trainer(job: TrainingJob) -> None:
    parts = load_parts(job.encoder, job.options.max_length)
    encoder = encoder_of(parts).eval()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():  # stand for a training: no weight is what it was
        for weight in encoder.parameters():
            weight.mul_(1 + 0.1 * torch.randn(weight.shape, generator=random))
    (table,) = tables_of(job).values()
    rows_RS, slots_RS = np.indices(table.lengths_RS.shape)
    batch = table.collate(rows_RS.ravel(), slots_RS.ravel())
    assert batch.ids_BL.shape[1] == job.options.max_length  # the long texts were cut
    with torch.no_grad():
        trained_RSD = encoder(*batch).numpy().reshape(*table.lengths_RS.shape, -1)
    export(parts, job, tables_of(job), [entry(4)])

    model = SentenceTransformer(str(job.out), device="cpu")
    rows = pq.read_table(job.medi / "data" / "alpha").to_pylist()
    for instruction in INSTRUCTIONS:
        ours = {
            text: trained_RSD[row["row_id"], slot]
            for row in rows
            for slot, (used, text) in enumerate(
                [
                    (row["query_instruction"], row["query"]),
                    (row["doc_instruction"], row["pos"]),
                    (row["doc_instruction"], row["neg"][0]),
                ]
            )
            if used == instruction
        }
        assert set(ours) == set(TEXTS)
        expected = np.stack([ours[text] for text in TEXTS])
        got = model.encode(TEXTS, prompt=instruction, batch_size=5)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(
            model.encode(TEXTS[0], prompt=instruction), expected[0], rtol=0, atol=1e-5
        )
    prompted, plain = model.encode(TEXTS[0], prompt=INSTRUCTIONS[0]), model.encode(TEXTS[0])
    assert np.abs(prompted - plain).max() > 1e-3


@pytest.mark.parametrize("kind", ["tiny_t5", "tiny_bert"])
def test_export_equals_trainer(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    medi = texts_medi(tmp_path / "medi")
    encoder = request.getfixturevalue(kind)
    assert_export_equals_trainer(job_of(tmp_path, medi, encoder, max_length=40))


@pytest.mark.real
def test_export_equals_trainer_minilm(tmp_path: Path, real_data: Path) -> None:
    encoder = real_data.parent / "models" / "all-MiniLM-L6-v2-fp16"
    if not encoder.is_dir():
        pytest.skip(f"no real encoder at {encoder}; set MEDI_REAL_DATA")
    medi = texts_medi(tmp_path / "medi")
    assert_export_equals_trainer(job_of(tmp_path, medi, str(encoder), max_length=40))


@pytest.mark.real
def test_export_equals_trainer_with_t5s_vocabulary(tmp_path: Path, real_data: Path) -> None:
    folder = real_data.parent / "models" / "t5-tokenizer"
    if not folder.is_dir():
        pytest.skip(f"no real T5 vocabulary at {folder}; set MEDI_REAL_DATA")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2
    )
    for part in (T5EncoderModel(config), tokenizer):
        part.save_pretrained(tmp_path / "hf")
    transformer = Transformer(str(tmp_path / "hf"))
    dense = Dense(16, 12, bias=False, activation_function=torch.nn.Identity())
    gtr = SentenceTransformer(modules=[transformer, Pooling(16, "mean"), dense, Normalize()])
    gtr.save_pretrained(str(tmp_path / "gtr"), create_model_card=False)
    medi = texts_medi(tmp_path / "medi")
    assert_export_equals_trainer(job_of(tmp_path, medi, str(tmp_path / "gtr"), max_length=40))


LEDGER = """dataset,rows,licence,commercial_use
alpha,2,MIT,yes
beta,1,CC-BY-NC-4.0,no
gamma,1,MIT,yes
zeta,9,Apache-2.0,yes
"""
QUERY, DOCUMENT = "Represent the question: ", "Represent the document: "


@pytest.fixture
def small_job(tmp_path: Path, tiny_t5: str) -> Callable[..., TrainingJob]:
    """A job on datasets of 2, 1, 1 and 1 rows, the last of which the ledger does not list."""

    def row(text: str) -> Row:
        return (QUERY, text, DOCUMENT, f"{text} baran", f"{text} codal")

    other = ("Another: ", "fusop", DOCUMENT, "p", "n")
    datasets = {"alpha": [row("baran"), other], "beta": [row("x")], "gamma": [row("y")]}
    medi = write_medi(tmp_path / "medi", {**datasets, "own": [row("z")]})
    (medi / "ledger.csv").write_text(LEDGER, encoding="utf-8")

    def make(name: str = "run", **given: Any) -> TrainingJob:
        return job_of(tmp_path / name, medi, tiny_t5, **given)

    return make


def exported(job: TrainingJob, log: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    """The files of the model, by name."""
    export(load_parts(job.encoder, job.options.max_length), job, tables_of(job), log)
    files = sorted(path for path in job.out.rglob("*") if path.is_file())
    return {str(path.relative_to(job.out)): path.read_bytes() for path in files}


def test_same_job_same_bytes_whatever_the_run(small_job: Callable[..., TrainingJob]) -> None:
    """Of all that leaves the weights as they are, nothing is in the model: its key is a hash."""
    first = small_job("first")
    run_only = {"processes": 1, "log_every": 3, "checkpoint_every": 7, "monitor": "tensorboard"}
    again = small_job("again", hostfile=Path("hosts"), launcher="slurm", **run_only)
    files = exported(first, [entry(step) for step in range(1, 5)])
    assert files == exported(again, [entry(step) for step in range(1, 5)])
    for content in (files["medi.json"], files["README.md"]):
        assert not [name for name in run_only if name.encode() in content]


def test_medi_json_tells_what_the_model_is(small_job: Callable[..., TrainingJob]) -> None:
    job = small_job(called="someone/encoder", world_size=2)
    record = json.loads(exported(job, [entry(2, 0.6), entry(4, 0.4)])["medi.json"])
    assert record["base_encoder"] == "someone/encoder"
    assert (record["devices"], record["step"], record["loss"]) == (2, 4, 0.25)
    assert record["held_out"]["ndcg_at_10"] == 0.4
    kept = {"steps": 4, "batch_rows": 8, "loss": "released", "temperature": 0.01}
    assert record["options"].items() >= kept.items()
    assert record["instructions"]["alpha"] == [
        {"query": QUERY, "document": DOCUMENT},
        {"query": "Another: ", "document": DOCUMENT},
    ]
    assert record["datasets"]["alpha"] == {"rows": 2, "held_out_rows": 0}


def test_the_best_step_is_named_where_it_was_exported(
    small_job: Callable[..., TrainingJob],
) -> None:
    files = exported(small_job(export="best"), [entry(2, 0.6), entry(3), entry(4, 0.4)])
    assert json.loads(files["medi.json"])["step"] == 2
    card = files["README.md"].decode()
    assert "step 2" in card and "| nDCG@10 over the held-out documents | 0.6000 |" in card
    unscored = exported(small_job("unscored", export="best"), [entry(2), entry(4)])
    assert json.loads(unscored["medi.json"])["step"] == 4
    assert "loss of that step is 0.2500" in unscored["README.md"].decode()


def test_the_card_sums_the_rows_by_licence(small_job: Callable[..., TrainingJob]) -> None:
    job = small_job(called="someone/encoder", loss="gte", temperature=0.05)
    card = exported(job, [entry(4)])["README.md"].decode()
    lines = card.splitlines()
    at = lines.index("| licence of the source | commercial use | datasets | rows |")
    assert lines[at + 2 : at + 6] == [
        "| MIT | yes | 2 | 3 |",
        "| CC-BY-NC-4.0 | no | 1 | 1 |",
        "| not in the ledger | unknown | 1 | 1 |",
        "",
    ]
    assert "5 rows of 4 datasets." in card and "Of 3 rows the licence allows" in card
    assert "| `temperature` | `0.05` |" in card and "GTE" in card
    assert ModelCard(card).data.base_model == "someone/encoder"


def test_an_encoder_of_this_machine_is_no_base_model_on_the_hub(
    small_job: Callable[..., TrainingJob],
) -> None:
    card = exported(small_job(called="/home/someone/gtr"), [entry(4)])["README.md"].decode()
    assert ModelCard(card).data.base_model is None


def test_a_folder_without_a_ledger_spoils_no_training(
    small_job: Callable[..., TrainingJob],
) -> None:
    job = small_job()
    (job.medi / "ledger.csv").unlink()
    card = exported(job, [entry(4)])["README.md"].decode()
    assert "| not in the ledger | unknown | 4 | 5 |" in card


def test_the_export_is_whole_or_not_there(
    small_job: Callable[..., TrainingJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = small_job()
    job.partial.mkdir(parents=True)
    (job.partial / "left-over").write_text("of a run that was killed")
    shutil.rmtree(job.plan)
    with pytest.raises(OSError):
        exported(job, [entry(4)])
    assert not job.out.exists()
    assert "left-over" not in exported(small_job(), [entry(4)])


def test_prompts_are_those_that_libraries_know(small_job: Callable[..., TrainingJob]) -> None:
    job = small_job()
    exported(job, [entry(4)])
    model = SentenceTransformer(str(job.out), device="cpu")
    assert set(model.prompts) == {"query", "document"}
    query = model.encode("baran", prompt=model.prompts["query"])
    np.testing.assert_array_equal(model.encode_query("baran"), query)
