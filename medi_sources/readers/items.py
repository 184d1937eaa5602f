"""What every reader yields, and how a row says which of its fields is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

DETAIL_CHARS = 200


@dataclass(frozen=True)
class Item:
    """One row of a source as it was read, not yet cleaned.

    For a set (`is_set`) query and positives are texts that all mean the same, any two of which
    make a pair. For Super-NI query is the input, `output` its output and there are no positives.
    """

    row_id: int  # position in the source, from 0, over all its files
    query: str
    positives: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    output: str | None = None
    is_set: bool = False


@dataclass(frozen=True)
class Dropped:
    """A row that gives no item, with the reason and up to 200 characters of detail."""

    row_id: int
    reason: str
    detail: str = ""

    def __post_init__(self) -> None:
        # What is quoted may hold half characters, which no table can store.
        detail = self.detail[:DETAIL_CHARS].encode("utf-8", "replace").decode("utf-8")
        object.__setattr__(self, "detail", detail)


class RowError(ValueError):
    """Raised inside a reader: this row gives no item, the reading goes on."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


Row = Item | Dropped
ToItem = Callable[[Any, int], Item]


def items(values: Iterable[Any], to_item: ToItem, first: int = 0) -> Iterator[Row]:
    """Each value as an item numbered from `first`; a RowError, given or raised, as Dropped."""
    for row_id, value in enumerate(values, first):
        try:
            if isinstance(value, RowError):
                raise value
            yield to_item(value, row_id)
        except RowError as error:
            yield Dropped(row_id, error.reason, error.detail)


def wrong(field: str, expected: str, found: object) -> RowError:
    """The error of an ill-typed field."""
    return RowError("wrong_fields", f"{field}: expected {expected}, found {_kind(found)}")


def field(value: Any, name: str) -> Any:
    """`value[name]` of a JSON object."""
    if not isinstance(value, dict):
        raise wrong("row", f"an object with {name!r}", value)
    if name not in value:
        raise RowError("wrong_fields", f"{name}: missing, the row has {', '.join(map(str, value))}")
    return value[name]


def at(value: Any, path: str) -> Any:
    """`value[path]`, else what a dotted path leads to: through null to null, through a list to
    the list of what its elements have there."""
    if "." not in path or (isinstance(value, dict) and path in value):
        return field(value, path)
    head, rest = path.split(".", 1)
    inner = field(value, head)
    if isinstance(inner, list):
        return list(_of_each(inner, rest))
    return None if inner is None else at(inner, rest)


def _of_each(values: list[Any], path: str) -> Iterator[Any]:
    first = path.partition(".")[0]
    having = [value for value in values if not isinstance(value, dict) or first in value]
    for value in having or values:  # where none has it, the error says so
        found = at(value, path)
        if isinstance(found, list):
            yield from found
        elif found is not None:
            yield found


def text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise wrong(name, "a text", value)
    return value


def texts(value: Any, name: str) -> tuple[str, ...]:
    """A list of texts; one text alone is a list of one, null is none."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise wrong(name, "a list of texts", value)
    return tuple(text(each, f"{name}[{i}]") for i, each in enumerate(value))


def objects(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise wrong(name, "a list", value)
    return value


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean"}
    if value is None:
        return "null"
    return names.get(type(value), f"the number {value!r}"[:60])
