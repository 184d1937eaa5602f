"""A source record: everything medi knows of one dataset, declared, no code.

Records live in catalog/*.yaml (lists of records). A new dataset is one record here and one
annotation in annotations/.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from artifacts.location import Location


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JsonlList(_Frozen):
    """Lines that are lists of texts; the roles name positions: `["question", "answer"]`."""

    layout: Literal["jsonl_list"]
    query: int = 0
    pos: int = 1
    neg: int | None = None


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
    """Parquet, CSV, TSV or JSON lines with named columns. Rows whose `pos` is null are dropped."""

    layout: Literal["columns"]
    query: str
    pos: str
    neg: str | None = None


class Squad(_Frozen):
    """SQuAD v1.1 JSON: question -> the paragraph it was asked of."""

    layout: Literal["squad"]


class ParallelLines(_Frozen):
    """Several text files whose line i says the same in each: one set of texts a line."""

    layout: Literal["parallel_lines"]


class SuperNi(_Frozen):
    """One Super-NaturalInstructions v2 task file; pairs by the paper's section 2.3."""

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


class Licence(_Frozen):
    """`spdx` is an SPDX identifier or "unknown"; `commercial` is null where nobody says."""

    spdx: str
    commercial: bool | None = None
    note: str = ""


class Source(_Frozen):
    """One dataset. `rows` is the cap: the paper's count, or our assumption (`count_source`)."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=120)
    collection: Literal["medi", "extra"] = "medi"  # extra: not one of the 330
    location: Location
    reader: Reader
    rows: int = Field(gt=0)
    count_source: Literal["paper", "assumed"]
    upstream_rows: int | None = None
    symmetric: bool  # query and document are texts of one kind, under one instruction
    licence: Licence
    citation: str = ""
    note: str = ""
