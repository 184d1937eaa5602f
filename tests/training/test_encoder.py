"""The encoder that is trained must be the one that the user named, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
)

from artifacts.errors import InputError
from training.encoder import (
    encoder_of,
    flops_per_token,
    load_parts,
    load_tokeniser,
    tokeniser_of,
)

INSTRUCTION = "Represent the alpha question for retrieval: "


def test_the_mean_is_over_the_text_alone(tiny_t5: str) -> None:
    """Against the definition: hidden states of all, mean over the text's and the closing </s>."""
    parts = load_parts(tiny_t5, 64)
    encoder = encoder_of(parts).eval()
    tokeniser = tokeniser_of(parts)
    (tokens,) = tokeniser.tokens([INSTRUCTION], ["baran dimes"])
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


def test_padding_changes_nothing(tiny_t5: str) -> None:
    """A text has one embedding, whatever it is batched with."""
    parts = load_parts(tiny_t5, 64)
    encoder, tokeniser = encoder_of(parts).eval(), tokeniser_of(parts)
    texts = ["baran", "codal dimes quimes " * 8]
    with torch.no_grad():
        both = encoder(*tokeniser.batch([INSTRUCTION] * 2, texts))
        alone = encoder(*tokeniser.batch([INSTRUCTION], texts[:1]))
    torch.testing.assert_close(both[:1], alone, rtol=0, atol=1e-6)


def test_weights_stored_in_fp16_are_trained_in_fp32(tiny_bert: str) -> None:
    encoder = encoder_of(load_parts(tiny_bert, 512))
    assert {weight.dtype for weight in encoder.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", ["tiny_t5", "tiny_bert"])
def test_attention_is_torchs_own(kind: str, request: pytest.FixtureRequest) -> None:
    """Written out it takes twice the memory, and the time on a GPU."""
    parts = load_parts(request.getfixturevalue(kind), 64)
    assert parts[0].model.config._attn_implementation == "sdpa"


def test_texts_are_cut_at_what_the_encoder_can_read(tiny_bert: str) -> None:
    for load in (load_tokeniser, lambda *given: tokeniser_of(load_parts(*given))):
        assert load(tiny_bert, 512).max_length == 48
        assert load(tiny_bert, 20).max_length == 20


def test_robertas_positions_start_late(tmp_path: Path, tiny_bert: str) -> None:
    """Of 50 positions RoBERTa keeps two for padding; a text of 49 tokens would end the training."""
    tokenizer = AutoTokenizer.from_pretrained(Path(tiny_bert).parent / "hf")
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=50,
        pad_token_id=1,
    )
    for part in (RobertaModel(config), tokenizer):
        part.save_pretrained(tmp_path)
    parts = load_parts(str(tmp_path), 512)
    assert tokeniser_of(parts).max_length == load_tokeniser(str(tmp_path), 512).max_length == 48
    batch = tokeniser_of(parts).batch([""], ["baran " * 100])
    assert batch.ids_BL.shape == (1, 48)
    assert encoder_of(parts)(*batch).shape == (1, 16)


def test_a_tokeniser_needs_no_weights(tmp_path: Path, tiny_t5: str) -> None:
    """Of an XL model they are 5 GB, which nobody wants to read to tokenise."""
    batch = tokeniser_of(load_parts(tiny_t5, 30)).batch([INSTRUCTION], ["baran dimes " * 20])
    ours = load_tokeniser(tiny_t5, 30).batch([INSTRUCTION], ["baran dimes " * 20])
    assert all(torch.equal(*pair) for pair in zip(batch, ours, strict=True))


def test_flops_are_counted_by_hand(tiny_t5: str) -> None:
    """Two layers: q, k, v, o of 16 x 16 and a feed-forward of 16 x 32 and back, of 2 heads of 8."""
    encoder = encoder_of(load_parts(tiny_t5, 64))
    products = 2 * 2 * (4 * 16 * 16 + 2 * 16 * 32)
    assert flops_per_token(encoder) == products
    assert flops_per_token(encoder, 10) == products + 2 * 4 * 10 * 16


def test_flops_leave_a_pooler_out(tiny_bert: str) -> None:
    assert flops_per_token(encoder_of(load_parts(tiny_bert, 64))) == 2 * 2 * (4 * 256 + 2 * 512)


@pytest.mark.real
def test_t5_with_its_real_vocabulary(tmp_path: Path, real_data: Path) -> None:
    """A plain transformers folder, as google/t5-v1_1-base is: mean pooling, no Dense."""
    folder = real_data.parent / "models" / "t5-tokenizer"
    if not folder.is_dir():
        pytest.skip(f"no real T5 vocabulary at {folder}; set MEDI_REAL_DATA")
    config = T5Config(vocab_size=32_128, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    for part in (T5EncoderModel(config), AutoTokenizer.from_pretrained(folder)):
        part.save_pretrained(tmp_path)
    parts = load_parts(str(tmp_path), 512)
    (tokens,) = tokeniser_of(parts).tokens(["Represent the text: "], ["A short text."])
    pieces = parts.tokenizer.convert_ids_to_tokens(tokens.ids)
    assert pieces[tokens.instruction_length :] == ["▁A", "▁short", "▁text", ".", "</s>"]
    assert encoder_of(parts)(*tokeniser_of(parts).collate([tokens])).shape == (1, 8)


@pytest.mark.parametrize("load", [load_parts, load_tokeniser])
def test_what_is_no_encoder_is_refused(load: Any, tmp_path: Path, tiny_bert: str) -> None:
    with pytest.raises(InputError, match="cannot load the encoder"):
        load(str(tmp_path), 64)
    transformer = Transformer(str(Path(tiny_bert).parent / "hf"))
    cls = SentenceTransformer(modules=[transformer, Pooling(16, "cls")], device="cpu")
    cls.save_pretrained(str(tmp_path / "cls"), create_model_card=False)
    with pytest.raises(InputError, match="pools by 'cls'; valid is 'mean'"):
        load(str(tmp_path / "cls"), 64)


@pytest.mark.parametrize("load", [load_parts, load_tokeniser])
@pytest.mark.parametrize("kind", ["tiny_t5", "tiny_bert"])
def test_an_encoder_without_its_tokenizer_is_refused(
    load: Any, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """transformers would make one up that knows no word, and the training would learn nothing."""
    source = Path(request.getfixturevalue(kind))
    shutil.copytree(source, tmp_path / "st")
    for path in (tmp_path / "st").rglob("*token*"):
        path.unlink()
    with pytest.raises(InputError, match=r"no tokenizer|cannot load the encoder"):
        load(str(tmp_path / "st"), 64)


def test_another_encoders_tokenizer_is_refused(tmp_path: Path, tiny_bert: str) -> None:
    """Its ids would lie outside of the embeddings."""
    tokenizer = AutoTokenizer.from_pretrained(Path(tiny_bert).parent / "hf")
    config = BertConfig(
        vocab_size=len(tokenizer) - 1, hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    for part in (BertModel(config), tokenizer):
        part.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="token embeddings and a tokenizer of"):
        load_parts(str(tmp_path), 64)
