"""build-medi from the command line: what a user sees of the cache, the record and failures."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import datasets
import pandas as pd
import pytest

from flows.profiles import get_profile
from medi_sources.catalog import load_catalog, select
from medi_sources.sample import write_sample

Run = Callable[..., subprocess.CompletedProcess[str]]

SAMPLE = ("squad_pairs", "allnli", "task1146_country_capital")  # what `built` builds
STAGES = ("fetch", "pairs", "mine", "shards")
EVALUATED = get_profile("sample").build.decontamination.tasks


def planned(medi: Run, store: Path) -> list[tuple[str, str, str]]:
    report = medi("plan", "--only", *SAMPLE, "--store", str(store), "--json")
    assert report.returncode == 0, report.stderr
    return [
        (step["stage"], step["dataset"], step["reason"])
        for step in json.loads(report.stdout)["run"]
    ]


def test_every_task_run_is_on_record(
    built: subprocess.CompletedProcess[str], prefect_home: Path
) -> None:
    """A server that is stopped too early loses the last records, and the UI's history with it."""
    assert built.returncode == 0, built.stderr
    database = sqlite3.connect(prefect_home / "prefect.db")
    query = """select t.name, t.state_type, count(*) from task_run t join flow_run f
               on t.flow_run_id = f.id join flow on f.flow_id = flow.id
               where flow.name = 'build-medi' group by 1, 2"""
    runs = {
        (name if ": " in name else name.split("-")[0], state): n
        for name, state, n in database.execute(query)
    }
    expected = {(f"{stage}: {name}", "COMPLETED"): 1 for stage in STAGES for name in SAMPLE}
    expected |= {(f"fetch: eval-{name}", "COMPLETED"): 1 for name in EVALUATED}
    expected |= {(f"texts: {name}", "COMPLETED"): 1 for name in EVALUATED}
    assert runs == expected | {("decontaminate", "COMPLETED"): 1, ("publish", "COMPLETED"): 1}
    keys = {key for (key,) in database.execute("select distinct key from artifact")}
    assert {"dataset-squad-pairs", "dataset-allnli", "build-medi"} <= keys


def test_a_datasets_page_tells_licence_source_rows_drops_and_samples(
    built: subprocess.CompletedProcess[str], prefect_home: Path, store: Path
) -> None:
    database = sqlite3.connect(prefect_home / "prefect.db")
    query = "select data, description from artifact where key = 'dataset-squad-pairs'"
    data, description = database.execute(query).fetchone()
    page = json.loads(data)
    assert len(page) < 20_000 and page.count("](data:image/svg+xml;base64,") == 2
    assert description.startswith("squad_pairs: ") and "CC-BY-SA-4.0" in page
    assert "](<https://huggingface.co/datasets/" in page
    numbers = re.search(r"- rows: (\d+) read, (\d+) dropped, (\d+) left", page)
    assert numbers
    read, dropped, left = map(int, numbers.groups())
    assert read == left + dropped and f": {left} rows" in description
    assert dropped == sum(map(int, re.findall(r"^\| \w+ \| \w+ \| (\d+) \|$", page, re.M)))
    assert "**row 3**" in page and "- instruction of queries: Represent the " in page
    (shards,) = store.glob("shards/squad_pairs/*")
    assert shards.name in page


def test_runs_have_names_and_tags_a_person_can_read(
    built: subprocess.CompletedProcess[str], prefect_home: Path
) -> None:
    database = sqlite3.connect(prefect_home / "prefect.db")
    names = {name for (name,) in database.execute("select name from flow_run")}
    assert "sample, 3 datasets" in names
    query = "select tags from task_run where name = ?"
    for stage in STAGES:
        ((tags,), *_) = database.execute(query, [f"{stage}: squad_pairs"])
        assert set(json.loads(tags)) == {stage, "squad_pairs", "licence: CC-BY-SA-4.0"}


def test_published_folder_opens_with_the_tools_of_its_users(
    built: subprocess.CompletedProcess[str], store: Path, tmp_path: Path
) -> None:
    folder = store.parent / "medi"
    whole = datasets.load_dataset(str(folder), cache_dir=str(tmp_path))["train"]
    one = datasets.load_dataset(str(folder), "allnli", cache_dir=str(tmp_path))["train"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(whole.unique("dataset")) == set(SAMPLE) == set(manifest["datasets"])
    assert len(one) == manifest["datasets"]["allnli"]["rows"]
    assert set(one.unique("negatives")) == {"native"}
    frame = pd.read_parquet(folder / "data" / "squad_pairs")
    assert (frame["query_instruction"].str.endswith(": ")).all()
    ledger = pd.read_csv(folder / "ledger.csv")
    assert dict(zip(ledger["dataset"], ledger["rows"], strict=True)) == {
        name: entry["rows"] for name, entry in manifest["datasets"].items()
    }


def test_leaks_are_left_out_listed_and_counted(
    built: subprocess.CompletedProcess[str], store: Path
) -> None:
    folder = store.parent / "medi"
    leaks = pd.read_csv(folder / "leaks.csv")
    planted = {
        path.stem: [json.loads(line)["text"].lower().split() for line in path.open()]
        for path in store.glob("sample/world/*/truth/leaks/*.jsonl")
        if path.stem in SAMPLE
    }
    assert {name: len(texts) for name, texts in planted.items()} == {"squad_pairs": 2, "allnli": 2}
    assert leaks.groupby("dataset").size().to_dict() == {"squad_pairs": 2, "allnli": 2}
    statistics = json.loads((folder / "statistics.json").read_text())
    ledger = pd.read_csv(folder / "ledger.csv").set_index("dataset")
    for name, texts in planted.items():
        rows = pd.read_parquet(folder / "data" / name)
        assert not {*rows["row_id"]} & {*leaks[leaks["dataset"] == name]["row_id"]}
        assert not any(text == query.lower().split() for text in texts for query in rows["query"])
        assert statistics[name]["published"] == {"rows": len(rows), "leaks": 2}
        assert statistics[name]["shards"]["rows"] == len(rows) + 2
        assert "leak 2" in ledger.loc[name, "dropped"]
    assert statistics["task1146_country_capital"]["published"]["leaks"] == 0


def test_second_build_runs_nothing(
    built: subprocess.CompletedProcess[str], store: Path, medi: Run, prefect_home: Path
) -> None:
    def flow_runs() -> int:
        database = sqlite3.connect(prefect_home / "prefect.db")
        return int(database.execute("select count(*) from flow_run").fetchone()[0])

    before = flow_runs()
    assert planned(medi, store) == []
    again = medi("build", "--only", *SAMPLE, "--store", str(store))
    assert (again.returncode, flow_runs()) == (0, before)
    assert again.stdout.startswith("0 stages to run, 26 cached")


def test_one_annotation_one_shard_one_damage_one_artifact(
    built: subprocess.CompletedProcess[str],
    store: Path,
    medi: Run,
    server: str,
    checkout: Path,
    tmp_path: Path,
) -> None:
    """An edited annotation re-runs shards and publish; a damaged file its own artifact."""
    yaml = checkout / "annotations" / "data" / "squad_pairs.yaml"
    original = yaml.read_text(encoding="utf-8")
    yaml.write_text(original.replace("domain: ", "domain: early ", 1), encoding="utf-8")
    mined = next((store / "mine" / "allnli").glob("*/mined.parquet"))
    pairs = next((store / "pairs" / "task1146_country_capital").glob("*/pairs.parquet"))
    whole = {path: path.read_bytes() for path in (mined, pairs)}
    mined.unlink()
    pairs.write_bytes(whole[pairs][:-1] + bytes([whole[pairs][-1] ^ 1]))
    try:
        steps = planned(medi, store)
        assert [step[:2] for step in steps] == [
            ("shards", "squad_pairs"),
            ("mine", "allnli"),
            ("pairs", "task1146_country_capital"),
            ("publish", "medi"),
        ]
        assert [step[2] for step in steps[:3]] == [
            "inputs changed",
            "mined.parquet is missing",
            "pairs.parquet has changed",
        ]
        target = str(tmp_path / "medi")
        arguments = ("--only", *SAMPLE, "--store", str(store), "--publish", target)
        rebuilt = medi("build", *arguments, api=server)
        assert rebuilt.returncode == 0, rebuilt.stderr
        assert planned(medi, store) == []
        assert {path: path.read_bytes() for path in whole} == whole
    finally:
        yaml.write_text(original, encoding="utf-8")


def test_lost_evaluation_texts_are_made_again_though_nothing_reads_them_now(
    built: subprocess.CompletedProcess[str], store: Path, medi: Run, server: str
) -> None:
    """Else the plan would name them for ever, and each build start a server for them."""
    texts = next((store / "texts" / "SampleSTS").glob("*/texts.parquet"))
    whole = texts.read_bytes()
    texts.unlink()
    assert [step[:2] for step in planned(medi, store)] == [("texts", "SampleSTS")]
    rebuilt = medi("build", "--only", *SAMPLE, "--store", str(store), api=server)
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert texts.read_bytes() == whole
    assert planned(medi, store) == []


REAL_SMALL = ("squad_xquad", "flagembedding_nq", "task1146_country_capital")


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror of three sources of real-small, with invented text and a small encoder."""
    write_sample(select(load_catalog(), REAL_SMALL), tmp_path / "world", rows=24)
    hub = tmp_path / "world" / "mirror" / "huggingface.co"
    minilm = hub / "sentence-transformers" / "all-MiniLM-L6-v2"
    shutil.copytree(hub / "medi" / "sample-miner", minilm)
    return tmp_path / "world" / "mirror"


def test_a_bad_dataset_fails_loudly_and_the_others_finish(
    mirror: Path, medi: Run, server: str, tmp_path: Path, prefect_home: Path
) -> None:
    (path,) = mirror.glob("github.com/FlagOpen/FlagEmbedding/**/nq.jsonl")
    good = path.read_bytes().splitlines(keepends=True)
    bad = [b"{not json\n", b'{"query": "\x00", "pos": ["a"]}\n', b'{"question": "q"}\n']
    path.write_bytes(b"".join(good[: len(good) // 2] + bad * len(good)))
    arguments = ("--mirror", str(mirror), "--store", str(tmp_path / "s"))
    publish = tmp_path / "medi"
    run = medi(
        "build", "--profile", "real-small", "--only", *REAL_SMALL, *arguments,
        "--publish", str(publish), api=server,
    )  # fmt: skip
    assert run.returncode == 1
    failed = [line for line in run.stderr.splitlines() if "failed:" in line]
    assert len(failed) == 1 and failed[0].startswith("medi: flagembedding_nq failed: pairs: ")
    assert "malformed" in failed[0] and "wrong_fields" in failed[0]
    manifest = json.loads((publish / "manifest.json").read_text())
    assert set(manifest["datasets"]) == set(REAL_SMALL) - {"flagembedding_nq"}
    assert set(manifest["build"]["failed"]) == {"flagembedding_nq"}
    database = sqlite3.connect(prefect_home / "prefect.db")
    newest = "select data from artifact where key = ? order by created desc limit 1"
    table = json.loads(json.loads(database.execute(newest, ["build-medi"]).fetchone()[0]))
    assert set(table["dataset"]) == set(REAL_SMALL)
    first = {name: column[0] for name, column in table.items()}
    assert (first["dataset"], first["state"]) == ("flagembedding_nq", "failed")
    assert first["problem"].startswith("pairs\\: ") and len(first["problem"].splitlines()) == 1
    assert table["problem"][1:] == ["", ""] and None not in table["seconds"]
    page = json.loads(database.execute(newest, ["dataset-flagembedding-nq"]).fetchone()[0])
    assert page.startswith("- failed in pairs")
    again = medi("plan", "--profile", "real-small", "--only", *REAL_SMALL, *arguments, "--json")
    missing = [(step["stage"], step["dataset"]) for step in json.loads(again.stdout)["run"]]
    assert [step for step in missing if step[0] in STAGES] == [
        (stage, "flagembedding_nq") for stage in STAGES[1:]
    ]


def test_a_missing_mirror_file_stops_before_any_work(
    mirror: Path, medi: Run, tmp_path: Path
) -> None:
    (mirror / "github.com" / "google-deepmind" / "xquad" / "xquad.en.json").unlink()
    store = tmp_path / "s"
    arguments = ("--mirror", str(mirror), "--store", str(store))
    run = medi("build", "--profile", "real-small", "--only", *REAL_SMALL, *arguments)
    assert run.returncode == 2
    assert len(run.stderr.strip().splitlines()) == 1
    assert "squad_xquad" in run.stderr and "xquad.en.json is missing" in run.stderr
    assert not store.exists()


def test_two_builds_are_the_same_bytes(
    built: subprocess.CompletedProcess[str], store: Path, medi: Run, server: str, tmp_path: Path
) -> None:
    """Another store, one worker instead of four: the same dataset folder, byte for byte."""
    arguments = ("--only", *SAMPLE, "--store", str(tmp_path / "s"), "--workers", "1")
    run = medi("build", *arguments, "--publish", str(tmp_path / "medi"), api=server)
    assert run.returncode == 0, run.stderr

    def contents(folder: Path) -> dict[str, bytes]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    assert contents(tmp_path / "medi") == contents(store.parent / "medi")
