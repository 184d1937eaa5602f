"""A source record: everything medi knows of one dataset, declared, no code.

Records live in catalog/*.yaml (lists of records). A new dataset is one record here and one
annotation in annotations/.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from artifacts.location import Location


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _dumped_if_set(default: Any) -> Any:
    """A field left out of the dump at its default: dumps are part of artifact keys."""
    return Field(default=default, exclude_if=lambda value: bool(value == default))


class JsonlList(_Frozen):
    """Lines that are lists of texts; the roles name positions: `["question", "answer"]`."""

    layout: Literal["jsonl_list"]
    query: int = Field(default=0, ge=0)
    pos: int = Field(default=1, ge=0)
    neg: int | None = Field(default=None, ge=0)


class JsonlSet(_Frozen):
    """Lines `{"set": [...]}` (or bare lists) of texts that all mean the same."""

    layout: Literal["jsonl_set"]


class JsonlQueryPosNeg(_Frozen):
    """Lines `{"query": str, "pos": [str], "neg": [str]}`; `neg` may be absent."""

    layout: Literal["jsonl_query_pos_neg"]
    query: str = "query"
    pos: str = "pos"
    neg: str = "neg"


class KiltDpr(_Frozen):
    """A JSON list of {question, positive_ctxs: [{title, text}], hard_negative_ctxs: [...]}."""

    layout: Literal["kilt_dpr"]


class Kilt(_Frozen):
    """KILT lines {input, output: [{answer, provenance: [{title}]}]}: input -> page titles."""

    layout: Literal["kilt"]


class PubMedQa(_Frozen):
    """A JSON object pmid -> {QUESTION, CONTEXTS: [str]}: question -> contexts joined."""

    layout: Literal["pubmedqa"]


class Columns(_Frozen):
    """Parquet, CSV, TSV or JSON with named columns. Rows whose `pos` is null are dropped.

    In Parquet and JSON a dotted name leads into an object (`passage.text`) and, for `pos` and
    `neg`, through lists (`output.answer`: every answer; elements without one are passed over).
    """

    layout: Literal["columns"]
    query: str
    pos: str
    neg: str | None = None
    # By default the file's suffix tells; .json is read as jsonl. json_list: one list of objects.
    format: Literal["parquet", "csv", "tsv", "jsonl", "json_list"] | None = _dumped_if_set(None)
    # The names of the columns, for a CSV or TSV without a header line.
    header: tuple[str, ...] | None = _dumped_if_set(None)
    # Whether cells may stand in double quotes; by default they may in a CSV and not in a TSV.
    quoted: bool | None = _dumped_if_set(None)
    # Only rows with these values are pairs: {is_duplicate: '1'}. JSON is compared as it is written.
    where: dict[str, str] | None = _dumped_if_set(None)

    @model_validator(mode="after")
    def _header_and_quoted_fit_the_format(self) -> Self:
        if self.header is None and self.quoted is None:
            return self
        if self.format not in ("csv", "tsv"):
            raise ValueError("header and quoted need format: csv or format: tsv")
        missing = [name for name in self.columns if name not in (self.header or self.columns)]
        if missing:
            raise ValueError(f"header has no column {', '.join(missing)}")
        return self

    @property
    def columns(self) -> list[str]:
        """The columns that are read, each once."""
        roles = (self.query, self.pos, self.neg, *(self.where or ()))
        return list(dict.fromkeys(name for name in roles if name is not None))


class Squad(_Frozen):
    """SQuAD JSON: question -> the paragraph it was asked of (v2: where that answers it)."""

    layout: Literal["squad"]


class ParallelLines(_Frozen):
    """Several text files whose line i says the same in each: one set of texts a line.

    `ordered`: line i of the first file is a query, line i of the others its positives.
    """

    layout: Literal["parallel_lines"]
    ordered: bool = _dumped_if_set(False)


class SuperNi(_Frozen):
    """One Super-NaturalInstructions task file (v2, or early 2021); pairs by paper section 2.3."""

    layout: Literal["superni"]


Reader = Annotated[
    JsonlList
    | JsonlSet
    | JsonlQueryPosNeg
    | KiltDpr
    | Kilt
    | PubMedQa
    | Columns
    | Squad
    | ParallelLines
    | SuperNi,
    Field(discriminator="layout"),
]


_LINES = ("jsonl_list", "jsonl_set", "jsonl_query_pos_neg", "kilt")


class Licence(_Frozen):
    """`spdx` is an SPDX identifier or "unknown"; `commercial` is null where nobody says."""

    spdx: str
    commercial: bool | None = None
    note: str = ""


class Source(_Frozen):
    """One dataset. `rows` is the cap: the paper's count, or our assumption (`count_source`)."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=120)
    collection: Literal["medi", "extra", "own"] = "medi"  # the 330; others; a user's
    location: Location
    reader: Reader
    rows: int = Field(gt=0)
    count_source: Literal["paper", "assumed"]
    upstream_rows: int | None = None
    # Of a giant file of lines so many are read, a seeded stretch of it; None: the whole file.
    window: int | None = Field(default=None, gt=0)
    symmetric: bool  # query and document are texts of one kind, under one instruction
    # Its positives are label mates, so texts of other rows are no negatives. Only training asks;
    # of a Super-NI task the pairs stage finds out.
    label_like: bool = _dumped_if_set(False)
    licence: Licence
    citation: str = ""
    note: str = ""

    @field_validator("name")
    @classmethod
    def _not_that_of_the_whole(cls, name: str) -> str:
        if name.lower() == "default":
            raise ValueError("'default' is what load_dataset calls all datasets together")
        return name

    @model_validator(mode="after")
    def _window_of_one_file_of_lines(self) -> Self:
        if self.window is None:
            return self
        files, layout = self.location.files, self.reader.layout
        if len(files) > 1 or "::" in files[0] or layout not in _LINES or not self.upstream_rows:
            raise ValueError(
                f"window: goes with upstream_rows and one file of lines ({', '.join(_LINES)}), "
                "not a member of an archive"
            )
        return self
