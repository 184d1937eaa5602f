"""Encoders as inputs: from a name or a folder to files on disk and a key of their weights."""

from __future__ import annotations

import hashlib
import json
import pickle  # nosec B403
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from artifacts.errors import InputError
from artifacts.keys import sha256_file

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")  # the libraries read of a .bin tensors alone
_NO_PART_OF_THE_MODEL = (".md", ".png", ".onnx", ".h5", ".msgpack", ".ot")
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


@dataclass(frozen=True)
class ModelRef:
    """An encoder: the name it was asked for by, its folder, and the key of its files."""

    name: str
    folder: Path
    key: str


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Raise InputError, `what` and the reason, where a library cannot load a model folder.

    Of a .bin with weights the libraries read tensors alone (torch.load with weights_only).
    """
    from safetensors import SafetensorError

    try:
        yield
    except pickle.UnpicklingError as error:
        raise InputError(f"{what} (its weights hold more than tensors: not read)") from error
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"{what} ({reason})") from error


def resolve_model(name: str, mirror: Path | None) -> ModelRef:
    """A folder, else `<mirror>/huggingface.co/<name>`, else the Hub's cache, else the Hub.

    Raises InputError where none of them holds a model.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(name, folder.resolve())
    if not _HUB_NAME.fullmatch(name):
        raise InputError(f"model {name!r}: no such folder, and not a Hub name like owner/model")
    mirrored = mirror / "huggingface.co" / name if mirror else None
    if mirrored and mirrored.is_dir():
        return _checked(name, mirrored.resolve())
    return _checked(name, _from_hub(name, mirror))


def _checked(name: str, folder: Path) -> ModelRef:
    if not (folder / "modules.json").is_file() and not (folder / "config.json").is_file():
        raise InputError(
            f"model {name!r}: {folder} holds neither modules.json nor config.json: "
            "give a sentence-transformers folder"
        )
    if not any(True for pattern in _WEIGHTS for _ in folder.rglob(pattern)):
        raise InputError(f"model {name!r}: {folder} holds no weights (*.safetensors)")
    _require_known_modules(name, folder)
    return ModelRef(name, folder, _weights_key(folder))


def _require_known_modules(name: str, folder: Path) -> None:
    """Only classes of sentence-transformers itself are loaded, never code that a folder brings."""
    path = folder / "modules.json"
    if not path.is_file():
        return
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
        kinds = [str(module["type"]) for module in modules]
        places = [str(module["path"]) for module in modules]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"model {name!r}: {path} is not that of a sentence-transformers folder"
        ) from error
    foreign = [kind for kind in kinds if not kind.startswith("sentence_transformers.")]
    if foreign:
        raise InputError(
            f"model {name!r}: modules.json names {foreign[0]}, code that is not of "
            "sentence-transformers: none is run; give a model of its own modules"
        )
    outside = [place for place in places if place.startswith("/") or ".." in place.split("/")]
    if outside:
        raise InputError(f"model {name!r}: modules.json names {outside[0]!r}, outside its folder")


def _from_hub(name: str, mirror: Path | None) -> Path:
    from huggingface_hub import snapshot_download

    ignore = [f"*{suffix}" for suffix in _NO_PART_OF_THE_MODEL] + ["onnx/*", "openvino/*"]
    try:
        return Path(snapshot_download(name, ignore_patterns=ignore))
    except Exception as error:  # every kind of network trouble means the same to the user
        where = f"not in the mirror {mirror}, and " if mirror else ""
        raise InputError(
            f"model {name!r}: {where}the Hub did not give it ({type(error).__name__}): "
            "give a folder, a mirror that has it, or a network"
        ) from error


def _weights_key(folder: Path) -> str:
    found = {}
    for path in folder.rglob("*"):
        part = path.relative_to(folder)
        if _counts(PurePosixPath(part)) and path.is_file():
            stat = path.stat()
            content = _sha256(path.resolve(), stat.st_size, stat.st_mtime_ns)
            found[part.as_posix()] = content
    return key_of_files(found)


def _counts(part: PurePosixPath) -> bool:
    hidden = any(piece.startswith(".") for piece in part.parts)
    return not hidden and part.suffix not in _NO_PART_OF_THE_MODEL


def key_of_files(sha256_of: Mapping[str, str]) -> str:
    """The key of the model whose files have these hashes: not its card, nor what is hidden."""
    digest = hashlib.sha256()
    for part in sorted(map(PurePosixPath, sha256_of)):
        if _counts(part):
            digest.update(f"{part} {sha256_of[str(part)]}\n".encode())
    return digest.hexdigest()[:24]


@lru_cache(maxsize=256)
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    """A file is hashed again in this process only when it has changed."""
    return sha256_file(path)
