"""A second model's veto: what it may exclude, how often it is asked, which models it may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
)

from artifacts.errors import DatasetError, InputError
from mining.choose import score_bound
from mining.mine import mine
from mining.options import EncoderOptions
from mining.veto import encoder_veto, load_veto
from tests.mining_pairs import ANIMALS, bag_of_words, by_number, make_pairs, options

_CPU = EncoderOptions(device="cpu")


class Judge:
    """Scores a text by a table, all others 0, and notes what it is asked."""

    def __init__(self, scores: Mapping[str, float]) -> None:
        self.scores = scores
        self.asked: list[list[tuple[str, str]]] = []

    def __call__(self, pairs: list[tuple[str, str]]) -> list[float]:
        self.asked.append(pairs)
        return [self.scores.get(text, 0.0) for _, text in pairs]


_PAIRS = make_pairs(
    {"query": "first", "pos": "0.9"},
    *({"query": f"row {text}", "pos": text} for text in ("0.8", "0.7", "0.6", "0.5")),
)


def test_what_the_veto_takes_for_right_is_passed_over_and_counted() -> None:
    judge = Judge({"0.9": 0.8, "0.8": 0.76, "0.7": 0.75})
    result = mine(_PAIRS, False, by_number, options(veto="judge"), judge)
    assert result.table["neg"][0].as_py() == ["0.7"]
    assert result.counts["excluded"]["veto"] >= 1


def test_random_negatives_can_be_vetoed_too() -> None:
    def all_right(pairs: list[tuple[str, str]]) -> list[float]:
        return [1.0] * len(pairs)

    result = mine(_PAIRS, False, by_number, options(veto="judge", candidates=2), all_right)
    assert result.counts["dropped"] == {"too_few_negatives": 5}


def test_the_veto_is_asked_in_batches_about_nothing_twice_and_nothing_excluded() -> None:
    """Row by row, or about what other rules exclude, a cross-encoder would take days."""
    rows = ({"query": f"query {i}", "pos": f"{0.9 - i / 1000:.3f}"} for i in range(300))
    judge = Judge({f"{0.9 - i / 1000:.3f}": 1.0 - i / 1000 for i in range(300)})
    pairs = make_pairs(*rows)
    result = mine(pairs, False, by_number, options(negatives=2, veto="judge"), judge)
    asked = [pair for batch in judge.asked for pair in batch]
    assert len(judge.asked) < 70 < result.counts["rows_out"]
    for batch in judge.asked:
        assert len(batch) == len(set(batch))
    for query, text in asked:
        pos = 0.9 - int(query.split()[1]) / 1000
        assert float(text) == pytest.approx(pos) or float(text) < score_bound(pos, 0.95)


def test_a_veto_that_is_no_number_names_its_pair() -> None:
    with pytest.raises(DatasetError, match=r"query 'first' with text '0\.8' is nan"):
        mine(_PAIRS, False, by_number, options(veto="judge"), Judge({"0.8": math.nan}))


def test_a_veto_is_on_record_or_not_there() -> None:
    """Else a table made with one would be taken for one made without."""
    for chosen, judge in ((options(), Judge({})), (options(veto="judge"), None)):
        with pytest.raises(ValueError, match="named in the options"):
            mine(_PAIRS, False, by_number, chosen, judge)


_WORDS = sorted({word for row in ANIMALS.to_pylist() for side in ("query", "pos")
                 for word in row[side].split()})  # fmt: skip


def _tokenizer() -> PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made = Tokenizer(
        WordLevel({word: i for i, word in enumerate([*special, *_WORDS])}, unk_token="[UNK]")
    )
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )


def _config(labels: int) -> BertConfig:
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    return BertConfig(
        vocab_size=64,
        num_hidden_layers=2,
        max_position_embeddings=64,
        num_labels=labels,
        initializer_range=1.0,
        **shape,
    )


def _save(folder: Path, labels: int) -> Path:
    torch.manual_seed(0)
    BertForSequenceClassification(_config(labels)).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def test_a_cross_encoder_vetoes(tmp_path: Path) -> None:
    """What is chosen scores below the margin of the cross-encoder's own score of the positive."""
    folder = _save(tmp_path, labels=1)
    chosen = options(negatives=2, margin=None, too_few="drop", veto=str(folder), veto_margin=0.99)
    veto = load_veto(chosen, _CPU)
    result = mine(ANIMALS, False, bag_of_words, chosen, veto)
    free = mine(ANIMALS, False, bag_of_words, options(negatives=2, margin=None))
    assert result.counts["excluded"]["veto"] > 0
    assert result.table.num_rows > 0 and not result.table.equals(free.table)
    peer = CrossEncoder(str(folder), device="cpu")
    for row in result.table.to_pylist():
        pos, *negs = peer.predict([(row["query"], text) for text in (row["pos"], *row["neg"])])
        assert all(neg < score_bound(float(pos), 0.99) + 1e-4 for neg in negs)
    assert result.table.equals(mine(ANIMALS, False, bag_of_words, chosen, veto).table)


def test_a_second_encoder_scores_by_cosine() -> None:
    pairs = [(row["query"], row["pos"]) for row in ANIMALS.to_pylist()] * 2
    left, right = (bag_of_words([pair[side] for pair in pairs]) for side in (0, 1))
    scores = encoder_veto(bag_of_words)(pairs)
    np.testing.assert_allclose(scores, (left * right).sum(axis=1), atol=1e-6)


def test_no_veto_is_loaded_where_none_is_named() -> None:
    assert load_veto(options(), _CPU) is None


def test_a_model_that_gives_several_scores_is_refused(tmp_path: Path) -> None:
    chosen = options(veto=str(_save(tmp_path, labels=3)))
    with pytest.raises(InputError, match="gives 3 scores a pair; valid is a cross-encoder that"):
        load_veto(chosen, _CPU)


def test_an_encoder_is_not_taken_for_a_cross_encoder(tmp_path: Path) -> None:
    """Its missing head would be made up at random, and so would the scores."""
    BertModel(_config(labels=1)).save_pretrained(tmp_path)
    _tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="a BertModel, no cross-encoder"):
        load_veto(options(veto=str(tmp_path)), _CPU)


def test_what_is_no_model_is_bad_input(tmp_path: Path) -> None:
    for name in (tmp_path, tmp_path / "absent" / "model"):
        for kind in ("cross_encoder", "encoder"):
            with pytest.raises(InputError, match="neither a"):
                load_veto(options(veto=str(name), veto_kind=kind), _CPU)
