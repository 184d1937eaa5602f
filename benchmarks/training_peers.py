"""Two other ways to train INSTRUCTOR: sentence-transformers' trainer, and as it was released.

Both read the rows of a MEDI folder, take one-dataset batches and put the dataset's instruction in
front of a text, left out of the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from benchmarks.training_meter import Meter

Columns = Mapping[str, list[Any]]  # of a dataset's rows, as in artifacts.row.MEDI
Batches = list[list[int]]

TEMPERATURE, LEARNING_RATE, MAX_TOKENS = 0.01, 2e-5, 512
_DOCUMENTS = ("positive", "negative")


def load_encoder(encoder: str, device: str, attention: str) -> Any:
    """The starting encoder as sentence-transformers has it; instructions are not in the mean."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(encoder, device=device, model_kwargs={"dtype": torch.float32})
    set_attention(model[0].model, attention)
    model.max_seq_length = MAX_TOKENS
    model[1].include_prompt = False
    return model


def set_attention(transformer: Any, attention: str) -> None:
    """Flex attention has no dropout; with it T5's attention does without."""
    transformer.set_attn_implementation(attention)
    if attention == "flex_attention":
        for module in transformer.modules():
            if isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.0


def symmetric_loss(model: Any) -> Any:
    """Half of our loss "paper": queries against all documents, positives against all queries."""
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    return MultipleNegativesRankingLoss(
        model,
        scale=1 / TEMPERATURE,
        directions=("query_to_doc", "doc_to_query"),
        partition_mode="per_direction",
    )


def train_sentence_transformers(
    rows: Mapping[str, Columns],
    model: Any,
    meter: Meter,
    work: Path,
    *,
    batch_rows: int,
    steps: int,
    precision: str,
    by_length: bool,
) -> None:
    """SentenceTransformerTrainer; the best settings that it has for this.

    It samples in proportion and tokenises as it goes, in workers beside a GPU. `by_length` gives
    it a batch sampler of one's own, which it allows: rows of like length together.
    """
    from sentence_transformers import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )

    meter.watch(model[0].model)
    on_gpu = model.device.type == "cuda"
    sampler = {"batch_sampler": _by_length(rows, model.tokenizer)} if by_length else {}
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(work / "trainer"),
        per_device_train_batch_size=batch_rows,
        max_steps=steps,
        learning_rate=LEARNING_RATE,
        warmup_steps=0.1,
        bf16=precision == "bf16",
        use_cpu=not on_gpu,
        dataloader_num_workers=4 if on_gpu else 0,
        dataloader_pin_memory=on_gpu,
        multi_dataset_batch_sampler="proportional",
        prompts={name: _prompts(columns) for name, columns in rows.items()},
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **sampler,
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset={name: _triplets(columns) for name, columns in rows.items()},
        loss=symmetric_loss(model),
    )
    trainer.train()


def _prompts(columns: Columns) -> dict[str, str]:
    document = {side: str(columns["doc_instruction"][0]) for side in _DOCUMENTS}
    return {"anchor": str(columns["query_instruction"][0]), **document}


def _triplets(columns: Columns) -> Any:
    from datasets import Dataset

    negatives = [texts[0] for texts in columns["neg"]]
    return Dataset.from_dict(
        {"anchor": columns["query"], "positive": columns["pos"], "negative": negatives}
    )


def _by_length(rows: Mapping[str, Columns], tokenizer: Any) -> Callable[..., Any]:
    """A sampler of the shape sentence-transformers asks for: dataset, **settings -> batches."""
    lengths: dict[str, int] = {}
    for columns in rows.values():
        texts = [*columns["query"], *columns["pos"], *(texts[0] for texts in columns["neg"])]
        tokens = tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"]
        lengths |= {text: len(ids) for text, ids in zip(texts, tokens, strict=True)}

    def sampler(dataset: Any, batch_size: int, generator: Any, **rest: Any) -> Any:
        tokens = [sum(lengths[row[side]] for side in ("anchor", *_DOCUMENTS)) for row in dataset]
        order = sorted(range(len(tokens)), key=tokens.__getitem__)
        return _Shuffled(_cut(order, batch_size), batch_size, generator)

    return sampler


class _Shuffled(torch.utils.data.Sampler[list[int]]):
    """The same batches in another order each epoch."""

    drop_last = False

    def __init__(self, batches: Batches, batch_size: int, generator: torch.Generator) -> None:
        self.batch_size = batch_size
        self._batches, self._generator = batches, generator

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(len(self._batches), generator=self._generator).tolist()
        return iter([self._batches[i] for i in order])

    def __len__(self) -> int:
        return len(self._batches)


def train_padded(
    rows: Mapping[str, Columns],
    model: Any,
    meter: Meter,
    *,
    batch_rows: int,
    steps: int,
    precision: str,
) -> None:
    """What INSTRUCTOR's released code does: 512 tokens a text, the loss pair by pair.

    Tokenised beforehand, as there; three forward passes a batch; clipping at 1 and AdamW.
    """
    meter.watch(model[0].model)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    for batch in list(_padded(rows, model, batch_rows, steps)):
        with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
            features = [{**side, **_moved(side, model.device)} for side in batch]
            q_BD, p_BD, n_BD = (model(side)["sentence_embedding"] for side in features)
        loss = looped_loss(q_BD.float(), p_BD.float(), n_BD.float())
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def looped_loss(q_BD: Tensor, p_BD: Tensor, n_BD: Tensor) -> Tensor:
    """Our loss "released" of B rows with a negative each, as B x B pairs, one after another."""
    rows = range(len(q_BD))
    query_side = [
        [_score(q_BD[i], p_BD[i]), *(_score(q_BD[i], n_BD[j]) for j in rows)] for i in rows
    ]
    document_side = [
        [_score(p_BD[i], q_BD[i]), *(_score(p_BD[i], q_BD[j]) for j in rows if j != i)]
        for i in rows
    ]
    return _first_of(query_side) + _first_of(document_side)


def _score(x_D: Tensor, y_D: Tensor) -> Tensor:
    return cosine_similarity(x_D, y_D, dim=0) / TEMPERATURE


def _first_of(scores: Sequence[Sequence[Tensor]]) -> Tensor:
    """Mean cross-entropy of the first of each row's candidates."""
    scores_BC = torch.stack([torch.stack([*row]) for row in scores])
    return cross_entropy(scores_BC, scores_BC.new_zeros(len(scores_BC), dtype=torch.long))


def _padded(
    rows: Mapping[str, Columns], model: Any, batch_rows: int, steps: int
) -> Iterator[list[dict[str, Any]]]:
    """Batches of query, positive and negative features, on the CPU."""
    batches = []
    for name, columns in rows.items():
        order = Random(name).sample(range(len(columns["query"])), len(columns["query"]))
        batches += [(name, batch) for batch in _cut(order, batch_rows)]
    drawn = Random(0).sample(batches, len(batches))
    for name, batch in (drawn * (steps // len(drawn) + 1))[:steps]:
        columns, prompts = rows[name], _prompts(rows[name])
        texts = {
            "anchor": [columns["query"][i] for i in batch],
            "positive": [columns["pos"][i] for i in batch],
            "negative": [columns["neg"][i][0] for i in batch],
        }
        yield [_features(model.tokenizer, prompts[side], texts[side]) for side in texts]


def _features(tokenizer: Any, prompt: str, texts: Sequence[str]) -> dict[str, Any]:
    tokens = tokenizer(
        [prompt + text for text in texts],
        padding="max_length",
        truncation=True,
        max_length=MAX_TOKENS,
        return_tensors="pt",
    )
    return {**tokens, "prompt_length": len(tokenizer(prompt)["input_ids"]) - 1}


def _moved(features: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
    return {name: x.to(device) for name, x in features.items() if isinstance(x, Tensor)}


def _cut(order: Sequence[int], batch_rows: int) -> Batches:
    return [list(order[i : i + batch_rows]) for i in range(0, len(order), batch_rows)]
