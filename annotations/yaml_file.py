"""Read the YAML files people write: annotations, and the source records of medi_sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from artifacts.errors import InputError

# libyaml's parser where PyYAML has it: `medi plan` reads the whole catalog at each start.
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_DEPTH = 10


class _NoKeyTwice(_LOADER):
    """YAML says that keys are unique; PyYAML would let the last one win."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in found:
                raise yaml.MarkedYAMLError(
                    problem=f"field {key.value} stands there twice", problem_mark=key.start_mark
                )
            found.add(key.value)
        return dict(super().construct_mapping(node, deep))


def read_yaml(path: Path, limit: int) -> Any:
    """The content of a YAML file of at most `limit` bytes.

    Anchors, aliases and deep nesting are refused: no file of ours needs them, and a few lines of
    them can unfold to gigabytes. Raises InputError naming the file (and line).
    """
    try:
        if path.stat().st_size > limit:
            raise InputError(f"{path}: larger than {limit} bytes")
        text = path.read_text(encoding="utf-8")
        _refuse_bombs(path, text)
        return yaml.load(text, Loader=_NoKeyTwice)  # a SafeLoader  # nosec B506
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", "unreadable")
        raise InputError(f"{path}:{line} not valid YAML ({problem})") from error
    except ValueError as error:  # a scalar such as the date 2022-13-45
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not valid YAML ({error})") from error


def _refuse_bombs(path: Path, text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if getattr(event, "anchor", None) is not None:
            raise InputError(f"{path}: line {line} anchors and aliases (& and *) are not allowed")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise InputError(f"{path}: line {line} nested deeper than {_MAX_DEPTH} levels")


def first_fault(error: ValidationError) -> str:
    """A pydantic error as one line: `field reader.pos: Field required (and 2 more)`.

    A field that does not exist comes first: it is why another one is missing.
    """
    faults = sorted(
        error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden"
    )
    fault = faults[0]
    field = ".".join(str(part) for part in fault["loc"]) or "the record"
    message = "no such field" if fault["type"] == "extra_forbidden" else fault["msg"]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"field {field}: {message}{more}"
