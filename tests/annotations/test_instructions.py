"""Annotations: reading what people write, and rendering it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.load import load_all, load_annotation
from annotations.render import instructions
from annotations.schema import Annotation, Side
from artifacts.errors import InputError


def side(**changes: object) -> Side:
    fields: dict[str, object] = {
        "domain": "Atlantis",
        "text_type": "logbook entry",
        "objective": "finding the voyage it tells of",
        "tag": "Logbook query",
        "simple": "Atlantis logbook",
        "paraphrases": ("Represent the entry by its voyage", "Represent this log for retrieval"),
    }
    return Side.model_validate({**fields, **changes})


def other_side(**changes: object) -> Side:
    return side(**{"text_type": "voyage", "objective": None, "tag": "Logbook document", **changes})


LOGBOOK = Annotation(dataset="logbook", query=side(), document=other_side())
PLAIN = """\
dataset: logbook
query:
  text_type: logbook entry
  tag: Logbook
  simple: logbook
  paraphrases: [Represent the entry, Represent this log]
"""
# Unfolded, 9 ** 12 strings.
BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 13)
)


def written(folder: Path, text: str, name: str = "logbook") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_detailed_is_the_unified_template() -> None:
    assert instructions(LOGBOOK) == (
        "Represent the Atlantis logbook entry for finding the voyage it tells of: ",
        "Represent the Atlantis voyage: ",
    )


def test_levels_and_paraphrases_are_the_texts_as_written() -> None:
    assert instructions(LOGBOOK, "none") == ("", "")
    assert instructions(LOGBOOK, "tag") == ("Logbook query: ", "Logbook document: ")
    assert instructions(LOGBOOK, "simple") == ("Atlantis logbook: ",) * 2
    assert instructions(LOGBOOK, paraphrase=1) == ("Represent this log for retrieval: ",) * 2


def test_symmetric_dataset_has_one_instruction_on_both_sides() -> None:
    query, document = instructions(Annotation(dataset="logbook", query=side()))
    assert query == document


WORD = st.text("abcdefgh", min_size=1)


@given(WORD, WORD | st.none(), WORD | st.none(), st.sampled_from(["tag", "simple", "detailed"]))
def test_every_instruction_ends_in_colon_and_one_space(text_type, domain, objective, level) -> None:
    annotation = Annotation(
        dataset="x", query=side(text_type=text_type, domain=domain, objective=objective)
    )
    for text in instructions(annotation, level):
        assert text.endswith(": ") and not text.endswith((":: ", " : "))
        assert "  " not in text


@pytest.mark.parametrize("level, paraphrase", [("detailed", 2), ("detailed", -1), ("tag", 0)])
def test_paraphrase_that_does_not_exist_is_refused(level, paraphrase) -> None:
    with pytest.raises(InputError, match="paraphrases are 0 and 1"):
        instructions(LOGBOOK, level, paraphrase)


@pytest.mark.parametrize(
    "changes, level, field",
    [
        ({"text_type": " "}, "detailed", "query.text_type"),
        ({"tag": ""}, "tag", "query.tag"),
        ({"simple": ""}, "simple", "query.simple"),
    ],
)
def test_empty_field_never_becomes_an_instruction(changes, level, field) -> None:
    annotation = Annotation(dataset="logbook", query=side(**changes))
    with pytest.raises(InputError, match=f"logbook: field {field} is empty"):
        instructions(annotation, level)


def test_annotation_is_read_from_its_file(tmp_path: Path) -> None:
    written(tmp_path, PLAIN)
    assert instructions(load_annotation("logbook", tmp_path))[0] == "Represent the logbook entry: "


def test_missing_annotation_says_which_file_to_write(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"dataset logbook has no annotation: write .*logbook\.yaml"
    ):
        load_annotation("logbook", tmp_path)


@pytest.mark.parametrize(
    "text, message",
    [
        (
            PLAIN.replace("simple:", "simpel:"),
            r"logbook\.yaml: field query\.simpel: no such field \(and 1 more\)",
        ),
        (PLAIN + "dataset: other\n", "field dataset stands there twice"),
        (PLAIN + "documents: {}\n", r"logbook\.yaml: field documents: no such field"),
        (
            PLAIN.replace("  tag", "  objectve: finding it\n  tag"),
            r"logbook\.yaml: field query\.objectve: no such field",
        ),
        (PLAIN.replace("tag: Logbook", "tag:"), r"field query\.tag: .*string"),
        (PLAIN.replace("tag: Logbook", "tag: 7"), r"field query\.tag: .*string"),
        (PLAIN.replace("tag: Logbook", "tag: a: b"), r"line 4 not valid YAML"),
        (PLAIN.replace("this log]", "this log, Represent it]"), r"field query\.paraphrases: "),
        (PLAIN.replace("dataset: logbook\n", ""), "field dataset: Field required"),
        (PLAIN.replace("dataset: logbook", "dataset: ''"), "field dataset: "),
        (PLAIN.replace(", Represent this log", ""), r"field query\.paraphrases\.1"),
        (
            PLAIN.replace("dataset: logbook", "dataset: lockbook"),
            "field dataset: 'lockbook', the file name",
        ),
        (
            PLAIN.replace("dataset: logbook", "dataset: ../logbook"),
            r"field dataset: '\.\./logbook'",
        ),
        (PLAIN.replace("dataset: logbook", "dataset: sea/logbook"), "field dataset: 'sea/logbook'"),
        (PLAIN.replace("  tag", "tag:\n tag"), r"line \d+ not valid YAML"),
        ("a: &a [x, x]\nb: [*a, *a]\n", r"line 1 anchors and aliases"),
        (PLAIN + BOMB, r"line 7 anchors and aliases"),
        (PLAIN + "<<: *all\n", r"anchors and aliases|not valid YAML"),
        ("[" * 50 + "]" * 50, "nested deeper"),
        ("x: " + "y" * 70_000, "larger than"),
        ("d: 2022-13-45\n", "not valid YAML"),
        ("", "field the record"),
    ],
)
def test_bad_file_is_one_line_naming_the_fault(tmp_path: Path, text: str, message: str) -> None:
    written(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        load_annotation("logbook", tmp_path)
    assert "\n" not in str(caught.value)
    assert "logbook.yaml" in str(caught.value)


def test_file_that_is_not_utf8_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "logbook.yaml").write_bytes(b"dataset: \xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        load_annotation("logbook", tmp_path)


def test_one_bad_file_of_a_folder_is_named(tmp_path: Path) -> None:
    written(tmp_path, PLAIN)
    written(tmp_path, PLAIN.replace("simple:", "simpel:"), "map")
    with pytest.raises(InputError, match=r"map\.yaml: field query\.simpel: no such field"):
        load_all(tmp_path)


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("map", "chart", "logbook"):
        written(tmp_path, PLAIN.replace("dataset: logbook", f"dataset: {name}"), name)
    (tmp_path / "notes.txt").write_text("not an annotation", encoding="utf-8")
    assert list(load_all(tmp_path)) == ["chart", "logbook", "map"]
