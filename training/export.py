"""The trained model as a sentence-transformers folder."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pyarrow as pa
from sentence_transformers import SentenceTransformer

from training.data import manifest_key
from training.options import TrainingJob

# For encode_query and encode_document; only these two names are prompts to every library.
_PROMPTS = {
    "query": "Represent the question for retrieving supporting documents: ",
    "document": "Represent the document for retrieval: ",
}
_CARD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- feature-extraction
- instructor
- medi
---

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
`encode_document` use general ones.

| setting | value |
|---|---|
{settings}

The loss is the released one: the query against its positive and the hard negatives of its batch
on the device, the positive against the queries of its batch; every batch from one dataset. AdamW,
linear warm-up and linear decay by steps. `medi.json` holds the same for machines.
"""


def export(
    parts: SentenceTransformer, job: TrainingJob, rows: dict[str, pa.Table], loss_last: float
) -> None:
    """Writes `job.out` whole or not at all. Same weights and job, same bytes."""
    partial = job.partial
    shutil.rmtree(partial, ignore_errors=True)
    for weight in parts.parameters():
        weight.data = weight.data.clone()  # ZeRO leaves them as windows of one buffer
    parts.prompts = dict(_PROMPTS)
    parts.save_pretrained(str(partial), create_model_card=False)
    record = {
        "base_encoder": job.called or job.encoder,
        "medi": manifest_key(job.medi),
        "options": job.options.model_dump(mode="json"),
        "steps": job.options.steps,
        "loss_last": loss_last,
        "instructions": instructions_of(rows),
    }
    (partial / "medi.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (partial / "README.md").write_text(_card(job, rows, parts, loss_last), encoding="utf-8")
    partial.rename(job.out)


def instructions_of(rows: dict[str, pa.Table]) -> dict[str, list[str]]:
    """Dataset -> its instructions for query and document."""
    first = {name: table.slice(0, 1).to_pylist() for name, table in rows.items()}
    return {n: [r[0]["query_instruction"], r[0]["doc_instruction"]] for n, r in first.items() if r}


def _card(
    job: TrainingJob, rows: dict[str, pa.Table], parts: SentenceTransformer, loss_last: float
) -> str:
    options = job.options
    settings: dict[str, Any] = {
        "starting encoder": job.called or job.encoder,
        "data": f"{sum(t.num_rows for t in rows.values())} rows of {len(rows)} datasets",
        "steps": options.steps,
        "rows a device and step": f"at most {options.batch_rows}",
        "hard negatives a row": options.negatives,
        "longest input": f"{parts.max_seq_length} tokens",
        "temperature": options.temperature,
        "learning rate": f"{options.learning_rate}, warm-up {options.warmup_ratio} of the steps",
        "weight decay": options.weight_decay,
        "gradient clipping": options.gradient_clipping,
        "precision": options.precision,
        "seed": options.seed,
        "loss of the last step": f"{loss_last:.4f}",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in settings.items())
    return _CARD.format(settings=table)
