"""What a training would do, by its settings: nothing is tokenised, no model is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifacts.errors import InputError
from flows.planning_training import plan_train
from tasks.steps import Training
from training.options import TrainingOptions

Planned = Callable[..., Training]


def write_shard(medi: Path, dataset: str, content: str) -> None:
    """Planning hashes it and reads no row."""
    path = medi / "data" / dataset / "train-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.fixture
def medi_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "medi"
    for dataset in ("alpha", "beta"):
        write_shard(folder, dataset, "rows")
    manifest = {"format": 1, "datasets": {}, "build": {"key": "0123"}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "modules.json").write_text("[]")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def planned(tmp_path: Path, medi_folder: Path, encoder: Path) -> Planned:
    def plan(**fields: Any) -> Training:
        store = str(tmp_path / "store")
        where = (str(medi_folder), None, "real-small", str(encoder), None, store)
        return plan_train(*where, {"device": "cpu", **fields})

    return plan


def keys(training: Training) -> dict[str, str]:
    tokens = {f"tokens of {name}": spec.key for name, spec in training.tokens.items()}
    return {**tokens, "plan": training.plan.key, "model": training.model.key}


# field -> another value, and the first stage whose artifact is another with it
FIRST_CHANGED: dict[str, tuple[Any, str]] = {
    "negatives": (2, "tokens"),
    "max_length": (99, "tokens"),
    "steps": (7, "plan"),
    "batch_rows": (7, "plan"),
    "batch_tokens": (999, "plan"),
    "sampling_temperature": (2.0, "plan"),
    "bucket_batches": (3, "plan"),
    "held_out": (0.5, "plan"),
    "seed": (5, "plan"),
    "chunk_tokens": (999, "plan"),
    "processes": (3, "plan"),
    "hostfile": ("HOSTS", "plan"),
    "loss": ("gte", "model"),
    "temperature": (0.5, "model"),
    "gather": (True, "model"),
    "mask": (["text"], "model"),
    "learning_rate": (0.5, "model"),
    "warmup_ratio": (0.5, "model"),
    "weight_decay": (0.5, "model"),
    "gradient_clipping": (0.5, "model"),
    "precision": ("bf16", "model"),
    "zero_stage": (1, "model"),
    "offload": ("optimizer", "model"),
    "gradient_checkpointing": (True, "model"),
    "gradcache": (True, "model"),
    "device": ("auto", "model"),
    "evaluate_every": (3, "model"),
    "export": ("best", "model"),
    "launcher": ("slurm", "none"),
    "checkpoint_every": (3, "none"),
    "keep_checkpoints": (3, "none"),
    "monitor": ("tensorboard", "none"),
    "log_every": (3, "none"),
    "timeout": (60.0, "none"),
}


@pytest.mark.parametrize("field", TrainingOptions.model_fields)
def test_a_changed_option_changes_the_keys_of_what_reads_it(
    planned: Planned, field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that does not change where the output does is a stale cache; one that changes where
    it need not costs a day of training."""
    monkeypatch.setattr("training.nodes.gpu_count", lambda: 0)
    monkeypatch.setattr("training.monitor.find_spec", lambda name: name)
    hosts = tmp_path / "hosts"
    hosts.write_text("worker-0 slots=4\n")
    value, stage = FIRST_CHANGED[field]
    before, after = planned(), planned(**{field: str(hosts) if value == "HOSTS" else value})
    assert getattr(before.options, field) != getattr(after.options, field)
    changed = {at.split(" of ")[0] for at, key in keys(before).items() if key != keys(after)[at]}
    later = {"tokens": {"tokens", "plan", "model"}, "plan": {"plan", "model"}, "model": {"model"}}
    assert changed == later.get(stage, set())


def test_a_changed_dataset_has_new_tokens_alone(planned: Planned, medi_folder: Path) -> None:
    before = keys(planned())
    write_shard(medi_folder, "beta", "other rows")
    after = keys(planned())
    assert [at for at in before if before[at] != after[at]] == ["tokens of beta", "plan", "model"]


def test_devices_are_counted_when_it_is_planned(planned: Planned, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("worker-0 slots=4\nworker-1 slots=4\n")
    assert planned().world_size == 1
    assert planned(hostfile=str(tmp_path / "hosts")).world_size == 8
    with pytest.raises(InputError, match=r"hostfile .*nowhere cannot be read"):
        planned(hostfile=str(tmp_path / "nowhere"))


def test_no_such_monitor(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.monitor.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install mlflow"):
        planned(monitor="mlflow")


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ('{"format": 99, "datasets": {}}', "format 99"),
        ('{"format": 1}', "is not that of a MEDI folder"),
        (None, "no manifest.json there"),
    ],
)
def test_a_folder_that_is_no_medi(
    planned: Planned, medi_folder: Path, manifest: str | None, said: str
) -> None:
    (medi_folder / "manifest.json").unlink()
    if manifest is not None:
        (medi_folder / "manifest.json").write_text(manifest)
    with pytest.raises(InputError, match=said):
        planned()


def test_a_medi_folder_without_datasets(planned: Planned, medi_folder: Path) -> None:
    (medi_folder / "data").rename(medi_folder / "elsewhere")
    with pytest.raises(InputError, match="has no data/<dataset>"):
        planned()


def test_planning_imports_neither_torch_nor_prefect(
    medi_folder: Path, encoder: Path, tmp_path: Path
) -> None:
    """A second `medi train` that finds its model ends at once; imports would take seconds."""
    code = """if True:
        import sys
        import flows.run
        from flows.planning_training import plan_train
        medi, encoder, store = sys.argv[1:]
        plan_train(medi, None, "real-small", encoder, None, store, {"device": "cpu"})
        print({"torch", "prefect", "transformers"} & set(sys.modules))
    """
    command = [sys.executable, "-c", code, str(medi_folder), str(encoder), str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout == "set()\n", done.stderr
