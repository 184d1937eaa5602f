"""The exported model must give a user the embeddings it was trained with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from artifacts.errors import InputError
from training.data import load_rows
from training.encoder import encoder_of, load_parts, tokeniser_of
from training.export import export
from training.options import TrainingJob

INSTRUCTIONS = ["Represent the alpha question for retrieval: ", "Represent the beta text: ", ""]
TEXTS = ["baran", "codal dimes", "", "  two  spaces ", "unseen Ürtext (42)", "qui paves " * 60]


def assert_export_equals_trainer(job: TrainingJob, max_length: int) -> None:
    parts = load_parts(job.encoder, max_length)
    encoder = encoder_of(parts).eval()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():  # stand for a training: no weight is what it was
        for weight in encoder.parameters():
            weight.mul_(1 + 0.1 * torch.randn(weight.shape, generator=random))
    pairs = [(instruction, text) for instruction in INSTRUCTIONS for text in TEXTS]
    batch = tokeniser_of(parts).batch(*zip(*pairs, strict=True))
    assert batch.ids_BL.shape[1] == max_length  # the long text was cut
    with torch.no_grad():
        trained = encoder(*batch).numpy()
    job.out.parent.mkdir(parents=True)
    export(parts, job, load_rows(job.medi), loss_last=1.0)
    model = SentenceTransformer(str(job.out), device="cpu")
    for (instruction, text), ours in zip(pairs, trained, strict=True):
        assert np.abs(model.encode(text, prompt=instruction) - ours).max() < 1e-5
    for instruction in INSTRUCTIONS:
        ours = [row for (used, _), row in zip(pairs, trained, strict=True) if used == instruction]
        assert np.abs(model.encode(TEXTS, prompt=instruction) - np.stack(ours)).max() < 1e-5
    assert np.abs(model.encode(TEXTS[0]) - model.encode(TEXTS[0], prompt=INSTRUCTIONS[0])).max() > 0


@pytest.mark.parametrize("kind", ["tiny_t5", "tiny_bert"])
def test_export_equals_trainer(
    kind: str, job: Callable[..., TrainingJob], request: pytest.FixtureRequest
) -> None:
    assert_export_equals_trainer(job(encoder=request.getfixturevalue(kind)), max_length=40)


@pytest.mark.real
def test_export_equals_trainer_minilm(job: Callable[..., TrainingJob]) -> None:
    root = Path(__file__).parents[2]
    real = Path(os.environ.get("MEDI_REAL_DATA", root.parent / "shared" / "data"))
    encoder = real.parent / "models" / "all-MiniLM-L6-v2-fp16"
    if not encoder.is_dir():
        pytest.skip(f"no real encoder at {encoder}; set MEDI_REAL_DATA")
    assert_export_equals_trainer(job(encoder=str(encoder)), max_length=64)


def test_the_mean_is_over_the_text_alone(tiny_t5: str) -> None:
    """Against the definition: hidden states of all, mean over the text's and the closing </s>."""
    parts = load_parts(tiny_t5, 64)
    encoder = encoder_of(parts).eval()
    tokeniser = tokeniser_of(parts)
    (tokens,) = tokeniser.tokens([INSTRUCTIONS[0]], ["baran dimes"])
    pieces = parts.tokenizer.convert_ids_to_tokens(tokens.ids)
    assert (
        "".join(pieces[: tokens.instruction_length])
        == "▁Represent▁the▁alpha▁question▁for▁retrieval:"
    )
    assert "".join(pieces[tokens.instruction_length :]) == "▁baran▁dimes</s>"
    with torch.no_grad():
        hidden = encoder.transformer(input_ids=torch.tensor([tokens.ids])).last_hidden_state[0]
        projected = parts[2].linear(hidden[tokens.instruction_length :].mean(dim=0))
        ours = encoder(*tokeniser.collate([tokens]))[0]
    torch.testing.assert_close(ours, projected / projected.norm())


def test_weights_stored_in_fp16_are_trained_in_fp32(tiny_bert: str) -> None:
    encoder = encoder_of(load_parts(tiny_bert, 512))
    assert {weight.dtype for weight in encoder.parameters()} == {torch.float32}


def test_texts_are_cut_at_what_the_encoder_can_read(tiny_bert: str) -> None:
    assert tokeniser_of(load_parts(tiny_bert, 512)).max_length == 48
    assert tokeniser_of(load_parts(tiny_bert, 20)).max_length == 20


def test_what_is_no_encoder_is_refused(tmp_path: Path, tiny_bert: str) -> None:
    with pytest.raises(InputError, match="cannot load the encoder"):
        load_parts(str(tmp_path), 64)
    transformer = Transformer(str(Path(tiny_bert).parent / "hf"))
    cls = SentenceTransformer(modules=[transformer, Pooling(16, "cls")], device="cpu")
    cls.save_pretrained(str(tmp_path / "cls"), create_model_card=False)
    with pytest.raises(InputError, match="pools by 'cls'; valid is 'mean'"):
        load_parts(str(tmp_path / "cls"), 64)
