"""Read annotations/data/<dataset>.yaml and annotations/evaluation/<task>.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from annotations.schema import Annotation, EvaluationAnnotation
from annotations.yaml_file import first_fault, read_yaml
from artifacts.errors import InputError

FOLDER = Path(__file__).parent / "data"
EVALUATION_FOLDER = Path(__file__).parent / "evaluation"
_LIMIT = 64 * 1024
_A = TypeVar("_A", Annotation, EvaluationAnnotation)


def load_annotation(name: str, folder: Path = FOLDER) -> Annotation:
    """The annotation of dataset `name`. Raises InputError naming file and field."""
    return _load(Annotation, "dataset", name, folder)


def load_evaluation(name: str, folder: Path = EVALUATION_FOLDER) -> EvaluationAnnotation:
    """The annotation of evaluation task `name`. Raises InputError naming file and field."""
    return _load(EvaluationAnnotation, "task", name, folder)


def load_all(folder: Path = FOLDER) -> dict[str, Annotation]:
    """Every annotation of the folder, by dataset, in the order of their names."""
    return {name: load_annotation(name, folder) for name in _names(folder)}


def load_all_evaluation(folder: Path = EVALUATION_FOLDER) -> dict[str, EvaluationAnnotation]:
    """Every annotation of the folder, by evaluation task, in the order of their names."""
    return {name: load_evaluation(name, folder) for name in _names(folder)}


def _load(model: type[_A], field: str, name: str, folder: Path) -> _A:
    """`field` is where the annotation says whose it is; the file name must say the same."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise InputError(f"{field} {name} has no annotation: write {path}, like the others there")
    try:
        annotation = model.model_validate(read_yaml(path, _LIMIT))
    except ValidationError as error:
        raise InputError(f"{path}: {first_fault(error)}") from error
    if annotation.name != name:
        raise InputError(f"{path}: field {field}: {annotation.name!r}, the file name says {name}")
    return annotation


def _names(folder: Path) -> list[str]:
    return [path.stem for path in sorted(folder.glob("*.yaml"))]
