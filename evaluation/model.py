"""A model folder as mteb's encoder: device and precision, its task's instruction, its name.

torch and mteb take seconds to import, and planning needs no more than a name: they are imported
where a model is loaded.
"""

from __future__ import annotations

import json
import re
import threading
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts.errors import InputError
from artifacts.models import ModelRef, loading
from evaluation.records import EvaluationOptions, Instructions

if TYPE_CHECKING:
    from mteb.models import SentenceTransformerEncoderWrapper

    from evaluation.language_model import LanguageModel

INSTRUCTION_MODEL = "medi.json"  # what training leaves in the folder of a model it made

_loading = threading.Lock()

# Datasets of MEDI -> the tasks of MTEB(eng, v1) that are evaluated on the same source.
_TRAINED_ON = {"fever": "FEVER", "hotpotqa": "HotpotQA", "msmarco": "MSMARCO", "nq": "NQ"}


def result_name(model: ModelRef) -> str:
    """The model's name in results, `owner/model`: the Hub's, or `local/<folder>` for a folder.

    Never a path: results are to be the same wherever the folder lies.
    """
    if re.fullmatch(r"[\w.-]+/[\w.-]+", model.name) and not Path(model.name).is_dir():
        return model.name
    return "local/" + re.sub(r"[^\w.-]+", "_", model.folder.resolve().name)


def is_released_instructor(model: ModelRef) -> bool:
    """The models that the paper's authors released leave the instruction out of the mean.

    sentence-transformers knows that by their name on the Hub alone.
    """
    return model.name.lower().startswith("hkunlp/instructor-")


def takes_instructions(model: ModelRef, options: EvaluationOptions) -> bool:
    """`auto`: medi's own models, and the paper's."""
    if options.instructions == "auto":
        return (model.folder / INSTRUCTION_MODEL).is_file() or is_released_instructor(model)
    return options.instructions == "always"


def declares_prompts(model: ModelRef) -> bool:
    """Whether the folder says what sentence-transformers is to put in front of a text."""
    path = model.folder / "config_sentence_transformers.json"
    if not path.is_file():
        return False
    return any(json.loads(path.read_text(encoding="utf-8")).get("prompts", {}).values())


def trained_on(model: ModelRef) -> set[str]:
    """The tasks of MTEB(eng, v1) whose training data a model of `medi train` has seen."""
    record = model.folder / INSTRUCTION_MODEL
    if not record.is_file():
        return set()
    datasets = json.loads(record.read_text(encoding="utf-8")).get("datasets", {})
    return {task for dataset, task in _TRAINED_ON.items() if dataset in datasets}


def load_encoder(
    model: ModelRef, instructions: Instructions | None, task_type: str, device: str
) -> SentenceTransformerEncoderWrapper:
    """mteb's wrapper around the model, prompted for a task of mteb's type `task_type`.

    With `instructions` these are its prompts, also where they are ""; without, those that the
    model's own folder declares, if any. All are computed with in float32, whatever they are stored
    in: in 16 bits close scores become equal, differently on each kind of device. A model is loaded
    once a process and device (`forget_models`). Raises InputError for a folder without a model.
    """
    from mteb.models import SentenceTransformerEncoderWrapper

    with warnings.catch_warnings():  # mteb calls sentence-transformers by names of old
        warnings.simplefilter("ignore")
        with _loading:
            loaded = _load(model, device)
        encoder = SentenceTransformerEncoderWrapper(loaded)
    if instructions is not None:
        query, document = instructions
        encoder.model_prompts = {
            task_type: query,
            f"{task_type}-query": query,
            f"{task_type}-document": document,
        }
    encoder.mteb_model_meta = encoder.mteb_model_meta.model_copy(
        update={
            "name": result_name(model),
            "revision": model.key,
            "use_instructions": instructions is not None,
            "adapted_from": None,
            "training_datasets": trained_on(model) or None,
        }
    )
    return encoder


def device_names(asked: str) -> list[str]:
    """The devices that `device` of the options means: `auto` is every GPU, else the CPU."""
    if asked != "auto":
        return [asked]
    import torch

    if not torch.cuda.is_available():
        return ["cpu"]
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())]


def loaded_language_model(model: ModelRef, device: str) -> LanguageModel:
    """Loaded once a process and device, as encoders are; one at a time passes through memory."""
    with _loading:
        return _language_model(model, device)


@cache
def _language_model(model: ModelRef, device: str) -> LanguageModel:
    from evaluation.language_model import load_language_model

    return load_language_model(model.folder, device)


def forget_models() -> None:
    """Let go of the models that this process has loaded."""
    _load.cache_clear()
    _language_model.cache_clear()


@cache
def _load(model: ModelRef, device: str) -> Any:
    if not model.folder.is_dir():
        raise InputError(f"model {model.name!r}: there is no folder {model.folder}")
    if not any((model.folder / name).is_file() for name in ("modules.json", "config.json")):
        raise InputError(
            f"model {model.name!r}: {model.folder} holds neither modules.json nor config.json: "
            "give a sentence-transformers folder"
        )
    import torch
    from sentence_transformers import SentenceTransformer

    what = (
        f"model {model.name!r}: {model.folder} cannot be loaded as a sentence-transformers folder"
    )
    with loading(what):
        loaded = SentenceTransformer(
            str(model.folder),
            device=device,
            local_files_only=True,
            model_kwargs={"dtype": torch.float32},
        )
    if is_released_instructor(model):
        loaded.set_pooling_include_prompt(False)
    # model_kwargs speak to the transformer alone; a Dense behind it may be of 16 bits as well.
    return loaded.float()
