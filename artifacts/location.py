"""Where a file of a source lies: on the Hub, in a Git repository, or at an https URL.

A location is data only; medi_sources.fetch turns it into files on disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from artifacts.errors import InputError, without_credentials
from artifacts.keys import sha256_file

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Pinned(BaseModel):
    """Common part. A file `a.zip::b/c.jsonl` is the member b/c.jsonl of the archive a.zip.

    `sha256` pins the content: one hash a file (of the member, for a member), or none at all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[str, ...] = Field(min_length=1)
    sha256: tuple[Sha256, ...] = ()

    @model_validator(mode="after")
    def _a_hash_a_file(self) -> Self:
        if self.sha256 and len(self.sha256) != len(self.files):
            raise ValueError(
                f"sha256: expected one hash a file, or none, "
                f"found {len(self.sha256)} for {len(self.files)} files"
            )
        return self

    @model_serializer(mode="wrap")
    def _no_empty_pins(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Dumps go into artifact keys: a location without pins keeps the key it always had."""
        dumped: dict[str, Any] = dump(self)
        if not self.sha256:
            dumped.pop("sha256", None)
        return dumped


class _Files(_Pinned):
    repository: str = Field(pattern=r"^\w[\w.-]*/\w[\w.-]*$")
    revision: str = Field(pattern=r"^\w[\w./-]*$")

    @field_validator("files")
    @classmethod
    def _inside_the_repository(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        for file in files:
            if file.startswith("/") or ".." in file.split("/"):
                raise ValueError(f"{file!r} leaves its repository")
        return files

    @field_validator("repository", "revision")
    @classmethod
    def _no_way_up(cls, name: str) -> str:
        if ".." in name:
            raise ValueError(f"{name!r} must not have '..' in it")
        return name


class HubFiles(_Files):
    """Files of a Hugging Face dataset repository at one revision."""

    kind: Literal["hub"] = "hub"

    def url(self, file: str) -> str:
        """Of the Hub that HF_ENDPOINT names, by default huggingface.co."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repository, file, revision=self.revision, repo_type="dataset")

    def mirror_path(self, file: str) -> str:
        return f"huggingface.co/{self.repository}/{file}"


class GitHubFiles(_Files):
    """Files of a GitHub repository at one commit."""

    kind: Literal["github"] = "github"

    def url(self, file: str) -> str:
        return f"https://raw.githubusercontent.com/{self.repository}/{self.revision}/{file}"

    def mirror_path(self, file: str) -> str:
        return f"github.com/{self.repository}/{file}"


class WebFiles(_Pinned):
    """Files at plain https URLs; `files` holds the URLs."""

    kind: Literal["https"] = "https"

    @field_validator("files")
    @classmethod
    def _https(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        for file in files:
            if urlsplit(file).scheme != "https" or ".." in file.split("/"):
                raise ValueError(f"{without_credentials(file)!r} is not an https URL")
            if "@" in urlsplit(file).netloc:
                raise ValueError(
                    f"{without_credentials(file)!r} has a user or password in front of its host: "
                    "a record is published; put the file into a mirror folder (--mirror)"
                )
        return files

    def url(self, file: str) -> str:
        return file

    def mirror_path(self, file: str) -> str:
        parts = urlsplit(file)
        return f"{parts.netloc}{parts.path}"


class LocalFiles(_Pinned):
    """Files in the folder of a user's own records; `located` finds them."""

    kind: Literal["local"] = "local"
    _folder: Path = PrivateAttr(default=Path())  # no part of a key: the files' sha256 is

    @property
    def folder(self) -> Path:
        return self._folder

    @field_validator("files")
    @classmethod
    def _inside_the_folder(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        for file in files:
            if file.startswith("/") or ".." in file.split("/") or "::" in file:
                raise ValueError(f"{file!r} is not a file below the folder of its record")
        return files

    def url(self, file: str) -> str:
        return str(self.folder / file)

    def mirror_path(self, file: str) -> str:
        return f"local/{file}"


def located(location: LocalFiles, folder: Path) -> LocalFiles:
    """The location with its folder and the sha256 of each file.

    Raises InputError for a file that is not there or is not the one that the record pins.
    """
    found = []
    for i, file in enumerate(location.files):
        if not (folder / file).is_file():
            raise InputError(f"{folder / file}: no such file, though a record in {folder} names it")
        found.append(sha256_file(folder / file))
        if location.sha256 and location.sha256[i] != found[i]:
            raise InputError(
                f"{folder / file}: its sha256 is {found[i]}, the record pins {location.sha256[i]}"
            )
    there = location.model_copy(update={"sha256": tuple(found)})
    there._folder = folder
    return there


PublicLocation = Annotated[HubFiles | GitHubFiles | WebFiles, Field(discriminator="kind")]
Location = Annotated[HubFiles | GitHubFiles | WebFiles | LocalFiles, Field(discriminator="kind")]
