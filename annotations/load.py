"""Read annotations/data/<dataset>.yaml."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from annotations.schema import Annotation
from annotations.yaml_file import first_fault, read_yaml
from artifacts.errors import InputError

FOLDER = Path(__file__).parent / "data"
_LIMIT = 64 * 1024


def load_annotation(name: str, folder: Path = FOLDER) -> Annotation:
    """The annotation of dataset `name`. Raises InputError naming file and field."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise InputError(f"dataset {name} has no annotation: write {path}, like the others there")
    try:
        annotation = Annotation.model_validate(read_yaml(path, _LIMIT))
    except ValidationError as error:
        raise InputError(f"{path}: {first_fault(error)}") from error
    if annotation.dataset != name:
        raise InputError(
            f"{path}: field dataset: {annotation.dataset!r}, the file name says {name}"
        )
    return annotation


def load_all(folder: Path = FOLDER) -> dict[str, Annotation]:
    """Every annotation of the folder, by dataset, in the order of their names."""
    return {path.stem: load_annotation(path.stem, folder) for path in sorted(folder.glob("*.yaml"))}
