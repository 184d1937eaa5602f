"""Encoders as inputs: from a name or a folder to files on disk and a key of their weights."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from artifacts.errors import InputError
from artifacts.keys import sha256_file

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_NO_PART_OF_THE_MODEL = (".md", ".png", ".onnx", ".h5", ".msgpack", ".ot")
_HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+$")


@dataclass(frozen=True)
class ModelRef:
    """An encoder: the name it was asked for by, its folder, and the key of its files."""

    name: str
    folder: Path
    key: str


def resolve_model(name: str, mirror: Path | None) -> ModelRef:
    """A folder, else `<mirror>/huggingface.co/<name>`, else the Hub's cache, else the Hub.

    Raises InputError where none of them holds a model.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(name, folder.resolve())
    if not _HUB_NAME.match(name):
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
    return ModelRef(name, folder, _weights_key(folder))


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
    """Hash of names and contents of the files that make the model (not its card)."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        part = path.relative_to(folder)
        hidden = any(piece.startswith(".") for piece in part.parts)
        if path.is_file() and not hidden and path.suffix not in _NO_PART_OF_THE_MODEL:
            stat = path.stat()
            content = _sha256(path.resolve(), stat.st_size, stat.st_mtime_ns)
            digest.update(f"{part.as_posix()} {content}\n".encode())
    return digest.hexdigest()[:24]


@lru_cache(maxsize=256)
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    """A file is hashed again in this process only when it has changed."""
    return sha256_file(path)
