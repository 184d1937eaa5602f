"""A model folder as mteb's encoder: device and precision, its task's instruction, its name.

torch and mteb take seconds to import, and planning needs no more than a name: they are imported
where a model is loaded.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts.errors import InputError
from artifacts.models import ModelRef
from evaluation.records import EvalTask, EvaluationOptions

if TYPE_CHECKING:
    from mteb.models import SentenceTransformerEncoderWrapper

INSTRUCTION_MODEL = "medi.json"  # what training leaves in the folder of a model it made


def result_name(model: ModelRef) -> str:
    """The model's name in results, `owner/model`: the Hub's, or `local/<folder>` for a folder.

    Never a path: results are to be the same wherever the folder lies.
    """
    if re.fullmatch(r"[\w.-]+/[\w.-]+", model.name) and not Path(model.name).is_dir():
        return model.name
    return "local/" + re.sub(r"[^\w.-]+", "_", model.folder.resolve().name)


def takes_instructions(model: ModelRef, options: EvaluationOptions) -> bool:
    if options.instructions == "auto":
        return (model.folder / INSTRUCTION_MODEL).is_file()
    return options.instructions == "always"


def load_encoder(
    model: ModelRef, task: EvalTask, task_type: str, options: EvaluationOptions
) -> SentenceTransformerEncoderWrapper:
    """mteb's wrapper around the model, prompted for `task` (of mteb's type `task_type`).

    An instruction model is given the task's instructions; any other keeps the prompts that its own
    folder declares, if any. All are computed with in float32, whatever they are stored in: in 16
    bits close scores become equal, differently on each kind of device.
    Raises InputError for a folder that holds no such model.
    """
    import torch
    from mteb.models import SentenceTransformerEncoderWrapper

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with warnings.catch_warnings():  # mteb calls sentence-transformers by names of old
        warnings.simplefilter("ignore", FutureWarning)
        encoder = SentenceTransformerEncoderWrapper(_load(model, device))
    instructed = takes_instructions(model, options)
    if instructed:
        encoder.model_prompts = {
            task_type: task.query_instruction,
            f"{task_type}-query": task.query_instruction,
            f"{task_type}-document": task.doc_instruction,
        }
    encoder.mteb_model_meta = encoder.mteb_model_meta.model_copy(
        update={
            "name": result_name(model),
            "revision": model.key,
            "use_instructions": instructed,
            "adapted_from": None,
        }
    )
    return encoder


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

    try:
        loaded = SentenceTransformer(
            str(model.folder),
            device=device,
            local_files_only=True,
            model_kwargs={"dtype": torch.float32},
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"model {model.name!r}: {model.folder} cannot be loaded as a sentence-transformers "
            f"folder ({first})"
        ) from error
    # model_kwargs speak to the transformer alone; a Dense behind it may be of 16 bits as well.
    return loaded.float()
