"""The trained model as a sentence-transformers folder.

modules.json, config_sentence_transformers.json, ...   what SentenceTransformer(folder) loads
README.md      model card: data and its licences, settings, held-out scores
medi.json      the same for machines, and the instructions of every dataset
curve.jsonl    loss, learning rate, gradient norm and held-out scores on the way
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from training.curve import curve_of
from training.data import manifest_key
from training.held_out import best
from training.model_card import model_card
from training.options import RUN_ONLY, TrainingJob
from training.plan import Plan
from training.token_store import TokenTable

# For encode_query and encode_document; only these two names are prompts to every library.
_PROMPTS = {
    "query": "Represent the question for retrieving supporting documents: ",
    "document": "Represent the document for retrieval: ",
}


def export(
    parts: SentenceTransformer,
    job: TrainingJob,
    tables: Mapping[str, TokenTable],
    log: Sequence[dict[str, Any]],
) -> None:
    """Writes `job.out` whole or not at all. Same weights, job and losses: same bytes.

    `parts` hold whole weights, those of the last step or, with `export` "best", of the step that
    held_out.best names. `log` is all of log.jsonl, one record at least.
    """
    partial = job.partial
    shutil.rmtree(partial, ignore_errors=True)
    for weight in parts.parameters():
        weight.data = weight.data.clone()  # ZeRO leaves them as windows of one buffer
    parts.prompts = dict(_PROMPTS)
    parts.save_pretrained(str(partial), create_model_card=False)
    record = _record(parts, job, tables, log)
    _write_json_lines(partial / "curve.jsonl", curve_of(log, job.options.steps))
    text = json.dumps(record, indent=2, ensure_ascii=False)
    (partial / "medi.json").write_text(text + "\n", encoding="utf-8")
    (partial / "README.md").write_text(model_card(record, job.medi), encoding="utf-8")
    partial.rename(job.out)


def _record(
    parts: SentenceTransformer,
    job: TrainingJob,
    tables: Mapping[str, TokenTable],
    log: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """medi.json. No option is in it that leaves the weights as they are, no path, no time."""
    exported = (best(log) if job.options.export == "best" else None) or log[-1]
    plan = Plan(job.plan)
    return {
        "base_encoder": job.called or job.encoder,
        "medi": manifest_key(job.medi),
        "options": job.options.model_dump(mode="json", exclude=set(RUN_ONLY)),
        "devices": plan.world_size,
        "longest_input": parts.max_seq_length,
        "step": exported["step"],
        "loss": round(exported["loss"], 4),
        "held_out": exported.get("held_out"),
        "datasets": {
            name: {
                "rows": len(tables[name].row_ids),
                "held_out_rows": len(plan.held_out.get(name, ())),
            }
            for name in sorted(tables)
        },
        "instructions": {
            name: [{"query": q, "document": d} for q, d in tables[name].instructions]
            for name in sorted(tables)
        },
    }


def _write_json_lines(path: Path, records: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
