"""The catalog: the committed records, bad files, and the rule for the 300 Super-NI tasks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.errors import InputError
from medi_sources.catalog import load_catalog, select
from medi_sources.superni_300 import (
    EVALUATION_DATASETS,
    Task,
    choose,
    eligible,
    licence,
    outside,
    read_lists,
)

REAL = Path(os.environ.get("MEDI_REAL_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
RECORD = """\
- name: logbook
  location: {kind: hub, repository: sea/logs, revision: main, files: [log.jsonl.gz]}
  reader: {layout: jsonl_list}
  rows: 10
  count_source: assumed
  symmetric: false
  licence: {spdx: MIT, commercial: true}
"""


def written(folder: Path, text: str, name: str = "a.yaml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_medi_is_330_datasets_and_1435000_rows() -> None:
    medi = [source for source in load_catalog().values() if source.collection == "medi"]
    superni = [source for source in medi if source.reader.layout == "superni"]
    assert (len(medi), len(superni)) == (330, 300)
    assert sum(source.rows for source in medi) == 1_435_000
    assert all(source.rows == 600 and source.symmetric for source in superni)


def test_hand_record_asks_for_no_more_rows_than_there_are_upstream() -> None:
    short = [
        source.name
        for source in load_catalog().values()
        if source.reader.layout != "superni" and source.rows > (source.upstream_rows or source.rows)
    ]
    assert short == []


def test_unknown_licence_is_never_claimed_without_a_reason() -> None:
    for source in load_catalog().values():
        if source.licence.spdx == "unknown" and source.licence.commercial is not None:
            assert source.licence.note, source.name


def test_super_ni_record_points_at_its_task_file() -> None:
    source = load_catalog()["task074_squad1.1_question_generation"]
    assert source.location.files == ("tasks/task074_squad1.1_question_generation.json",)


def test_record_is_read_from_its_file(tmp_path: Path) -> None:
    catalog = load_catalog(written(tmp_path, RECORD))
    assert list(catalog) == ["logbook"]
    assert catalog["logbook"].location.mirror_path("log.jsonl.gz") == (
        "huggingface.co/sea/logs/log.jsonl.gz"
    )


def test_label_like_is_told_only_of_records_that_are(tmp_path: Path) -> None:
    """A dump with a new field in it would change the key of every build there is."""
    plain = load_catalog(written(tmp_path, RECORD))["logbook"]
    assert not plain.label_like and "label_like" not in plain.model_dump(mode="json")
    told = load_catalog(written(tmp_path, RECORD + "  label_like: true\n"))["logbook"]
    assert told.model_dump(mode="json") == plain.model_dump(mode="json") | {"label_like": True}


@pytest.mark.parametrize(
    "text, message",
    [
        (RECORD.replace("rows: 10", "rows: ten"), "record logbook: field rows: .*integer"),
        (RECORD.replace("jsonl_list", "jsonl_lits"), "record logbook: field reader"),
        (RECORD.replace("  symmetric: false\n", ""), "field symmetric: Field required"),
        (RECORD.replace("name: logbook", "name: ../log"), "record ../log: field name"),
        (RECORD.replace("name: logbook", "name: a/b"), "record a/b: field name"),
        (RECORD.replace("jsonl_list}", "jsonl_list, qury: 0}"), "field reader.*qury"),
        (RECORD + "  window: 100\n", "window: goes with upstream_rows"),
        (RECORD + "  label_like: perhaps\n", "record logbook: field label_like: .*boolean"),
        (RECORD + "  rowz: 3\n", "record logbook: field rowz: no such field"),
        (RECORD.replace("log.jsonl.gz", "../log.jsonl.gz"), "leaves its repository"),
        (RECORD.replace("name: logbook", "title: logbook"), "record 1: field title: no such field"),
        ("- just a line\n", "record 1: "),
        ("name: logbook\n", "must be a list of source records"),
        ("- &a {name: x}\n- *a\n", "line 1 anchors and aliases"),
        ("- [a\n", "line 2 not valid YAML"),
        (RECORD + RECORD, "record logbook exists already"),
    ],
)
def test_bad_file_is_one_line_naming_file_record_and_field(tmp_path, text, message) -> None:
    with pytest.raises(InputError, match=rf"a\.yaml: .*{message}") as caught:
        load_catalog(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_one_name_in_two_files_is_refused_naming_both(tmp_path: Path) -> None:
    written(tmp_path, RECORD)
    written(tmp_path, RECORD, "b.yaml")
    with pytest.raises(InputError, match=r"b\.yaml: record logbook exists already, in .*a\.yaml"):
        load_catalog(tmp_path)


def test_missing_folder_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of source records at"):
        load_catalog(tmp_path / "none")


def test_select_keeps_the_order_asked_for_and_names_neighbours_of_a_typo() -> None:
    catalog = load_catalog()
    assert [s.name for s in select(catalog, ["wow", "nq", "wow"])] == ["wow", "nq"]
    with pytest.raises(InputError, match=r"no dataset msmacro .*did you mean msmarco\?"):
        select(catalog, ["msmacro"])


TASKS = st.lists(
    st.builds(
        Task,
        name=st.uuids().map(str),
        category=st.sampled_from(["Verse", "Maps", "Riddles", ""]),
        languages=st.sampled_from([("English",), ("English",), ("English", "Xhosa"), ()]),
        examples=st.integers(0, 2),  # few values, so that many tasks are of one size
        dataset=st.sampled_from(["atlas", "songs", "imdb"]),
    ),
    min_size=10,
    max_size=40,
)


@given(TASKS, st.randoms(use_true_random=False))
def test_the_300_depend_on_the_tasks_and_not_on_their_order(tasks, random) -> None:
    count = sum(map(eligible, tasks)) // 2
    chosen = choose(tasks, count)
    shuffled = random.sample(tasks, len(tasks))
    assert choose(shuffled, count) == chosen
    assert len(set(chosen)) == count and all(map(eligible, chosen))


@given(TASKS)
def test_the_300_are_balanced_over_categories_and_largest_first(tasks) -> None:
    free = [task for task in tasks if eligible(task)]
    chosen = choose(tasks, len(free) // 2)
    taken = {c: [t for t in chosen if t.category == c] for c in {t.category for t in free}}
    for category, mine in taken.items():
        left = [t for t in free if t.category == category and t not in mine]
        if left:  # not exhausted: at most one behind any other category
            assert len(mine) >= max(len(other) for other in taken.values()) - 1
            assert all(t.examples >= max(u.examples for u in left) for t in mine)


def test_too_few_eligible_tasks_are_bad_input() -> None:
    imdb = Task("task1_imdb", "Verse", ("English",), 5, "imdb")
    with pytest.raises(InputError, match="only 0 tasks"):
        choose([imdb], 1)
    with pytest.raises(InputError, match="task1_imdb is not eligible"):
        outside([imdb], [], ["task1_imdb"])


def test_list_names_are_joined_on_what_is_before_the_dot(tmp_path: Path) -> None:
    splits = tmp_path / "splits" / "default"
    splits.mkdir(parents=True)
    (splits / "train_tasks.txt").write_text("task7_map1.1_drawing\n")
    head = "task\tsplit\tcategory\tlanguages\tnumber_examples\tdataset\tdefinition\n"
    line = "task7_map1\t\tMaps\t['English']\t12\tatlas\tDraw \"it.\n"
    (tmp_path / "tasks_joined.tsv").write_text(head + line)
    assert read_lists(tmp_path) == [Task("task7_map1.1_drawing", "Maps", ("English",), 12, "atlas")]
    (tmp_path / "tasks_joined.tsv").write_text(head)
    with pytest.raises(InputError, match=r"no line for the train task task7_map1\.1_drawing"):
        read_lists(tmp_path)


def test_licence_is_an_spdx_identifier_or_unknown_with_what_was_said() -> None:
    assert licence(["CC BY 4.0"]) == {"spdx": "CC-BY-4.0", "commercial": True}
    assert licence(None) == licence(["Unknown"]) == {"spdx": "unknown", "commercial": None}
    assert licence(["MIT", "House rules"]) == {
        "spdx": "unknown",
        "commercial": None,
        "note": "MIT; House rules",
    }


@pytest.mark.real
def test_committed_300_are_what_the_rule_gives_on_the_official_lists() -> None:
    lists = REAL / "train" / "superni_meta"
    if not lists.is_dir():
        pytest.skip(f"no real data at {lists} (set MEDI_REAL_DATA)")
    tasks = read_lists(lists)
    chosen = sorted(task.name for task in choose(tasks))
    committed = [s for s in load_catalog().values() if s.reader.layout == "superni"]
    assert chosen == sorted(s.name for s in committed if s.collection == "medi")
    assert {task.dataset for task in tasks} >= EVALUATION_DATASETS.keys()
