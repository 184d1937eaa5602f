"""A model folder may come from anyone: none of its code is run, nor what a pickle would."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from artifacts.errors import InputError
from artifacts.models import resolve_model
from evaluation.language_model import load_language_model
from medi_sources.sample.language_model import write_language_model
from medi_sources.sample.models import SMALL, write_encoder
from training.encoder import load_parts

TEXTS = [f"the {a} of the {b}" for a in ("cat", "mat", "hat") for b in ("house", "mouse", "grouse")]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_encoder(tmp_path / "model", TEXTS, 0, SMALL)
    return tmp_path / "model"


def as_pickle(weights: Path) -> Path:
    """The same weights as pytorch_model.bin."""
    pickled = weights.with_name("pytorch_model.bin")
    torch.save(load_file(weights), pickled)
    weights.unlink()
    return pickled


class Evil:
    """A pickle that makes a file where it is read."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.made,)


@pytest.mark.parametrize("folder", [".", "2_Dense"])
def test_of_weights_in_a_pickle_tensors_alone_are_read(
    model: Path, folder: str, tmp_path: Path
) -> None:
    """Models of the Hub, the released INSTRUCTOR among them, may have no other weights."""
    before = load_parts(str(model), 32).encode(TEXTS)
    pickled = as_pickle(model / folder / "model.safetensors")
    found = resolve_model(str(model), None).folder
    assert (load_parts(str(found), 32).encode(TEXTS) == before).all()
    torch.save({"embedding": Evil(tmp_path / "ran")}, pickled)
    with pytest.raises(InputError, match="cannot load the encoder"):
        load_parts(str(model), 32)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_beside_safetensors_is_not_read(model: Path, tmp_path: Path) -> None:
    content = pickle.dumps(Evil(tmp_path / "ran"))
    for weights in list(model.rglob("model.safetensors")):
        weights.with_name("pytorch_model.bin").write_bytes(content)
    load_parts(str(resolve_model(str(model), None).folder), 32)
    assert not (tmp_path / "ran").exists()
    pickle.loads(content)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["evil.Module", "os.path", "transformers.AutoModel"])
def test_a_module_of_foreign_code_is_refused(model: Path, tmp_path: Path, kind: str) -> None:
    (model / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Module: pass\n")
    modules = json.loads((model / "modules.json").read_text())
    modules[1]["type"] = kind
    (model / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match=f"modules.json names {kind}, code that is not") as caught:
        resolve_model(str(model), None)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot load the encoder"):
        load_parts(str(model), 32)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("place", ["../elsewhere", "/etc"])
def test_a_module_outside_its_folder_is_refused(model: Path, place: str) -> None:
    modules = json.loads((model / "modules.json").read_text())
    modules[1]["path"] = place
    (model / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match=f"modules.json names '{place}', outside its folder"):
        resolve_model(str(model), None)


def test_a_broken_modules_json_is_one_line(model: Path) -> None:
    (model / "modules.json").write_text('{"type": 1}')
    with pytest.raises(InputError, match="is not that of a sentence-transformers folder"):
        resolve_model(str(model), None)


def test_a_language_model_that_brings_code_is_refused(tmp_path: Path) -> None:
    """Without asking at the terminal, which is what transformers does by default."""
    folder = tmp_path / "model"
    write_language_model(folder, TEXTS, 0)
    load_language_model(folder, "cpu")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    config = json.loads((folder / "config.json").read_text()) | {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Config"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="cannot be loaded as a causal language model"):
        load_language_model(folder, "cpu")
    assert not (tmp_path / "ran").exists()


def test_of_a_language_model_in_a_pickle_tensors_alone_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_language_model(folder, TEXTS, 0)
    pickled = as_pickle(folder / "model.safetensors")
    load_language_model(resolve_model(str(folder), None).folder, "cpu")
    torch.save({"wte": Evil(tmp_path / "ran")}, pickled)
    with pytest.raises(InputError, match="cannot be loaded as a causal language model"):
        load_language_model(folder, "cpu")
    assert not (tmp_path / "ran").exists()


def test_a_dataset_of_the_hub_that_is_a_script_is_refused(tmp_path: Path) -> None:
    """What mteb loads goes through `datasets`, which runs no loading script."""
    from datasets import load_dataset

    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "toy.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(RuntimeError, match="scripts are no longer supported"):
        load_dataset(str(folder))
    assert not (tmp_path / "ran").exists()
