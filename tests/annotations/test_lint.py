"""The annotation linter: every kind of fault is found, and good English is left in peace."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.lint import MAX_WORDS, lint
from annotations.load import load_all
from annotations.schema import Annotation, Side
from medi_sources.catalog import load_catalog


def side(word: str, **changes: object) -> Side:
    """A side without a fault, in whose texts `word` tells datasets and sides apart."""
    fields: dict[str, object] = {
        "domain": "Atlantis",
        "text_type": word,
        "objective": "finding the voyage it tells of",
        "tag": f"Tag of {word}",
        "simple": f"Atlantis {word}",
        "paraphrases": (f"Represent the {word} by its voyage", f"Represent this {word} for search"),
    }
    return Side.model_validate({**fields, **changes})


def faults(changes: dict[str, object], on: str = "query") -> list[str]:
    sides = {"query": side("logbook"), "document": side("voyage")}
    sides[on] = side("logbook" if on == "query" else "voyage", **changes)
    annotation = Annotation(dataset="logbook", query=sides["query"], document=sides["document"])
    return lint({"logbook": False}, {"logbook": annotation})


def number_faults(text: str) -> list[str]:
    return [fault for fault in faults({"simple": text}) if "singular and plural" in fault]


@pytest.mark.parametrize("on", ["query", "document"])
@pytest.mark.parametrize(
    "changes, fault",
    [
        ({}, None),
        ({"tag": ""}, "tag: left empty"),
        ({"simple": " "}, "simple: left empty"),
        ({"text_type": ""}, "text_type: left empty"),
        ({"domain": "  "}, "domain: left empty"),
        ({"objective": ""}, "objective: left empty"),
        ({"paraphrases": ("Represent it", "")}, "paraphrases.1: left empty"),
        ({"objective": "finding  ships"}, " (detailed): space at an end, or two in a row"),
        ({"objective": "finding ships "}, " (detailed): space at an end, or two in a row"),
        ({"objective": "finding\tships"}, " (detailed): space at an end, or two in a row"),
        ({"simple": " log"}, "simple: space at an end, or two in a row"),
        ({"tag": "Log:"}, "tag: ends in ':'; the ending is added when rendering"),
        ({"objective": "finding a island"}, " (detailed): 'a island' should be 'an island'"),
        ({"objective": "an voyage"}, " (detailed): 'an voyage' should be 'a voyage'"),
        ({"objective": "a hour"}, " (detailed): 'a hour' should be 'an hour'"),
        ({"objective": "an unique ship"}, " (detailed): 'an unique' should be 'a unique'"),
        ({"objective": "a ships"}, " (detailed): 'a ships' mixes singular and plural"),
        ({"simple": "two sentence"}, "simple: 'two sentence' mixes singular and plural"),
        (
            {"paraphrases": ("Represent it", "Find the voyage")},
            "paraphrases.1: does not start with 'Represent '",
        ),
        (
            {"paraphrases": ("Represent it", "Represent It")},
            "paraphrases.1: says the same as paraphrases.0",
        ),
    ],
)
def test_each_fault_is_found_on_both_sides(
    changes: dict[str, object], fault: str | None, on: str
) -> None:
    dot = "" if fault is None or fault.startswith(" ") else "."
    assert faults(changes, on) == ([] if fault is None else [f"logbook: {on}{dot}{fault}"])


def test_paraphrase_that_is_the_detailed_instruction_is_found() -> None:
    detailed = "Represent the Atlantis logbook for finding the voyage it tells of"
    assert faults({"paraphrases": ("Represent it", detailed)}) == [
        "logbook: query.paraphrases.1: says the same as the detailed instruction"
    ]


@given(st.integers(1, 2 * MAX_WORDS))
def test_texts_over_the_limit_are_found_and_no_others(words: int) -> None:
    over = [f"logbook: query.simple: {words} words, more than {MAX_WORDS}"]
    assert faults({"simple": " ".join(["sea"] * words)}) == (over if words > MAX_WORDS else [])


NOUNS = {"question": "questions", "story": "stories", "sentence": "sentences", "reply": "replies"}
ADJECTIVES = st.lists(
    st.sampled_from(["long", "similar", "logical", "two-part", "missing", "news"]), max_size=2
)
ENDS = st.sampled_from(["", ", and more", " for the search", " of a page"])


@given(
    st.sampled_from(["the", "every", "each", "another", "this", "a"]),
    st.sampled_from(["two", "three", "several", "many", "few", "these", "those", "both"]),
    ADJECTIVES,
    st.sampled_from(sorted(NOUNS)),
    ENDS,
)
def test_number_of_determiner_and_noun_must_agree(
    one: str, many: str, adjectives: list[str], noun: str, end: str
) -> None:
    def phrase(determiner: str, word: str) -> str:
        return " ".join([determiner, *adjectives, word])

    wrong = [phrase(many, noun)] + ([phrase(one, NOUNS[noun])] if one != "the" else [])
    for text in wrong:
        fault = f"logbook: query.simple: {text!r} mixes singular and plural"
        assert fault in faults({"simple": f"as in {text}{end}"})
    for text in (phrase(one, noun), phrase(many, NOUNS[noun])):
        assert number_faults(f"as in {text}{end}") == []


@pytest.mark.parametrize("text", ["a questions", "an articles", "every ships", "this people"])
def test_plural_after_a_singular_determiner_is_found(text: str) -> None:
    assert number_faults(text) == [f"logbook: query.simple: {text!r} mixes singular and plural"]


@pytest.mark.parametrize(
    "text",
    [
        "a news item, a series of steps, a species, a means to an end, a sports page",
        "a class, a bus, a thesis, a less common word, a yes or no",
        "a readers' guide, a speaker's turn, each reader's questions",
        "what this is, that has a part, so that sentences alike are near",
        "what each begins with, what a child says, what this means",
        "the line each answers the question with",
        "each other questions, many a question, a few words, a pair of questions",
        "these question words, two question-answer pairs, several news article titles",
        "both question and answer, both answer it, those who answer, these are alike",
        "two of them, one or several do it, the two differ, three or four",
        "sender A talks, sentences by type A",
    ],
)
def test_good_english_is_left_in_peace(text: str) -> None:
    assert number_faults(text) == []


def test_right_articles_are_left_in_peace() -> None:
    objective = "an SQL query, a European user, an unimportant hour, a one-line ISO code, an heir"
    assert faults({"objective": objective}) == []


def test_annotation_without_dataset_and_dataset_without_annotation_are_found() -> None:
    orphan = Annotation(dataset="logbook", query=side("logbook"))
    assert lint({"chart": True, "map": False}, {"logbook": orphan}) == [
        "chart: no annotation: write chart.yaml, next to the others",
        "logbook: no such dataset in the catalog",
        "map: no annotation: write map.yaml, next to the others",
    ]


def test_document_part_that_does_not_fit_the_dataset_is_found() -> None:
    alone = Annotation(dataset="logbook", query=side("logbook"))
    both = Annotation(dataset="logbook", query=side("logbook"), document=side("voyage"))
    assert lint({"logbook": True}, {"logbook": both}) == [
        "logbook: document: the dataset is symmetric: leave document out"
    ]
    assert lint({"logbook": False}, {"logbook": alone}) == [
        "logbook: document: the dataset is asymmetric: add document"
    ]


def twins(**shared: object) -> list[str]:
    """Faults of two datasets whose documents have `shared` in common, and nothing else."""
    one = Annotation(dataset="one", query=side("chart"), document=side("voyage", **shared))
    two = Annotation(dataset="two", query=side("map"), document=side("island", **shared))
    return lint({"one": False, "two": False}, {"one": one, "two": two})


@pytest.mark.parametrize(
    "shared, text",
    [
        ({"text_type": "log"}, "Represent the Atlantis log for finding the voyage it tells of"),
        ({"tag": "Sea tag"}, "Sea tag"),
        ({"simple": "sea text"}, "sea text"),
        ({"paraphrases": ("Represent a ship", "Represent the ship")}, "Represent a ship"),
        ({"paraphrases": ("Represent a ship", "Represent the ship")}, "Represent the ship"),
    ],
)
def test_instruction_shared_by_two_datasets_is_found(shared: dict[str, Any], text: str) -> None:
    assert twins() == []
    assert f"two: same instruction as one: {text!r}" in twins(**shared)


def test_case_and_hyphens_do_not_tell_instructions_apart() -> None:
    one = Annotation(dataset="one", query=side("log", tag="Sea-log entry"))
    two = Annotation(dataset="two", query=side("map", tag="sea log Entry"))
    assert lint({"one": True, "two": True}, {"one": one, "two": two}) == [
        "two: same instruction as one: 'sea log Entry'"
    ]


def test_a_dataset_may_call_its_two_sides_alike() -> None:
    annotation = Annotation(
        dataset="one", query=side("log", simple="x"), document=side("map", simple="x")
    )
    assert lint({"one": False}, {"one": annotation}) == []


def test_every_record_of_the_catalog_is_annotated_without_fault() -> None:
    symmetric = {name: source.symmetric for name, source in load_catalog().items()}
    assert lint(symmetric, load_all()) == []
