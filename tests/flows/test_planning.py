"""What a build would do, by its settings: no server, no encoder runs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from artifacts.errors import InputError
from artifacts.location import HubFiles
from artifacts.store import Store
from flows.planning import BuildPlan, datasets_of, plan_build
from flows.planning_steps import steps_of
from flows.profiles import get_profile, override
from medi_sources.catalog import load_catalog, task_ids
from medi_sources.readers.superni import superni_definition
from medi_sources.records import JsonlList, Licence, Source
from tasks import stages
from tasks.config import window

TASK = "task1146_country_capital"


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = Store.open(str(tmp_path_factory.mktemp("plans") / "store"))

    def plan(*names: str, **fields: Any) -> BuildPlan:
        config = get_profile("sample").build.model_copy(update={"datasets": names})
        return plan_build(override(config, fields), store, None)

    return plan


def test_the_sample_covers_all_330() -> None:
    names = get_profile("sample").build.datasets
    assert sorted(names) == sorted(task_ids(load_catalog()))
    assert len(names) == 330


def test_commercial_builds_from_what_allows_it() -> None:
    config = override(get_profile("sample").build, {"licences": "commercial"})
    chosen = datasets_of(config)
    assert {source.licence.commercial for source in chosen} == {True}
    everything = datasets_of(get_profile("sample").build)
    assert len(chosen) == sum(bool(source.licence.commercial) for source in everything)
    with pytest.raises(InputError, match="msmarco: licences=commercial leaves it out"):
        datasets_of(config, ["msmarco"])


def test_a_super_ni_task_may_speak_with_its_own_definition(planned: Any) -> None:
    """Read from the source file when the shards are made: no planner knows it."""
    plan = planned(TASK, superni_instructions="definition")
    step, setting = plan.chains[TASK]["shards"], plan.setting
    fetch = plan.chains[TASK]["fetch"]
    raw, _ = stages.fetch(fetch.spec, fetch.source.location, setting.store, setting.mirror)
    query, document = step.spoken(raw, setting.config)
    definition = superni_definition(raw.files[0])
    assert query == document == definition.rstrip(".") + ": "
    assert step.instructions[0].startswith("Represent the ")
    assert step.spoken(raw, planned(TASK).setting.config) == step.instructions


def test_the_choice_of_instruction_touches_shards_of_super_ni_alone(planned: Any) -> None:
    names = (TASK, "squad_pairs")
    written, defined = planned(*names), planned(*names, superni_instructions="definition")

    def keys(plan: BuildPlan) -> dict[tuple[str, str], str]:
        return {(n, s): step.spec.key for n, c in plan.chains.items() for s, step in c.items()}

    before, after = keys(written), keys(defined)
    assert [at for at in before if before[at] != after[at]] == [(TASK, "shards")]


def test_memory_settings_change_no_key(planned: Any) -> None:
    less = planned(TASK, **{"mining.memory_mib": 64})
    assert less.keys == planned(TASK).keys


def test_decontamination_changes_what_is_published_and_nothing_before(planned: Any) -> None:
    default = planned(TASK)
    off = planned(TASK, **{"decontamination.tasks": "[]"})
    reported = planned(TASK, **{"decontamination.action": "report"})
    assert off.leaks is None
    assert reported.leaks.spec == default.leaks.spec
    assert len({plan.publish.key for plan in (default, off, reported)}) == 3
    steps = [{s.spec.key for s in plan.chains[TASK].values()} for plan in (default, off, reported)]
    assert steps[0] == steps[1] == steps[2]


def test_a_giant_file_is_read_in_a_seeded_window_but_for_the_sample() -> None:
    catalog = load_catalog()
    upstream = get_profile("real-small").build
    giant = catalog["amazon_review_2018"]
    cut, other = window(giant, upstream), window(giant, override(upstream, {"seed": 1}))
    assert cut is not None and other is not None
    assert cut.start != other.start
    assert giant.rows <= cut.lines < (giant.upstream_rows or 0) // 10
    assert window(giant, get_profile("sample").build) is None
    assert window(catalog["squad_pairs"], upstream) is None


def test_task_ids_never_move() -> None:
    """A model trained on numbers reads old numbers: new datasets go behind the 330."""
    ids = task_ids(load_catalog())
    assert (ids["gooaq_pairs"], ids["simple_wiki"]) == (0, 29)
    superni = [name for name in ids if ids[name] >= 30]
    assert superni == sorted(superni)
    assert sorted(ids.values()) == list(range(330))
    assert json.loads(json.dumps(ids)) == ids


STAGES = ("fetch", "pairs", "mine", "shards")
FIRST_CHANGED: dict[str, tuple[Any, str]] = {
    "location": (HubFiles(repository="a/b", revision="main", files=("c.jsonl.gz",)), "fetch"),
    "window": (1000, "fetch"),
    "reader": (JsonlList(layout="jsonl_list", query=1, pos=0), "pairs"),
    "rows": (7, "pairs"),
    "symmetric": (True, "pairs"),
    "label_like": (True, "none"),  # of what is made of the dataset; of publishing it is
    "upstream_rows": (8, "none"),
    "collection": ("extra", "none"),
    "count_source": ("assumed", "none"),
    "licence": (Licence(spdx="MIT"), "none"),
    "citation": ("somebody", "none"),
    "note": ("something", "none"),
}


@pytest.mark.parametrize("field", sorted(set(Source.model_fields) - {"name"}))
def test_a_changed_field_of_a_record_changes_the_keys_of_what_reads_it(
    planned: Any, field: str
) -> None:
    """A key that does not change where the output does is a stale cache."""
    setting = planned(TASK).setting
    upstream = setting.config.model_copy(update={"origin": "upstream"})
    setting = replace(setting, config=upstream)
    source = load_catalog()["squad_pairs"]
    value, stage = FIRST_CHANGED[field]
    assert getattr(source, field) != value
    before = steps_of(source, setting)
    after = steps_of(source.model_copy(update={field: value}), setting)
    changed = [s for s in STAGES if before[s].spec.key != after[s].spec.key]
    assert changed == ([] if stage == "none" else list(STAGES[STAGES.index(stage) :]))


def test_the_order_of_names_changes_nothing(planned: Any) -> None:
    """Else the bytes of a folder would tell how it was asked for."""
    tasks = ["SampleSTS", "SampleCaptions"]
    one = planned(TASK, "squad_pairs", **{"decontamination.tasks": str(tasks)})
    two = planned(TASK, "squad_pairs", **{"decontamination.tasks": str(tasks[::-1])})
    assert [t.spec.dataset for t in one.leaks.texts] == [t.spec.dataset for t in two.leaks.texts]
    config = one.setting.config
    names = [source.name for source in datasets_of(config, ["squad_pairs", TASK])]
    assert names == [source.name for source in datasets_of(config, [TASK, "squad_pairs"])]


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("flows.run", {"prefect", "torch", "pandas", "matplotlib", "mteb", "transformers"}),
        ("flows.build_medi", {"torch", "pandas", "matplotlib", "mteb", "transformers"}),
    ],
)
def test_a_build_with_nothing_to_do_waits_for_no_library(module: str, heavy: set[str]) -> None:
    """On the command line, and in the process that a worker starts for a deployment."""
    code = f"import sys, {module}; print({heavy!r} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout == "set()\n", done.stderr
