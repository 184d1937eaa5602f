"""Where a file of a source lies: on the Hub, in a Git repository, or at an https URL.

A location is data only; medi_sources.fetch turns it into files on disk.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator


class _Files(BaseModel):
    """Common part. A file `a.zip::b/c.jsonl` is the member b/c.jsonl of the archive a.zip."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = Field(min_length=1)
    files: tuple[str, ...] = Field(min_length=1)

    @field_validator("files")
    @classmethod
    def _inside_the_repository(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        for file in files:
            if file.startswith("/") or ".." in file.split("/"):
                raise ValueError(f"{file!r} leaves its repository")
        return files


class HubFiles(_Files):
    """Files of a Hugging Face dataset repository at one revision."""

    kind: Literal["hub"] = "hub"

    def url(self, file: str) -> str:
        return f"https://huggingface.co/datasets/{self.repository}/resolve/{self.revision}/{file}"

    def mirror_path(self, file: str) -> str:
        return f"huggingface.co/{self.repository}/{file}"


class GitHubFiles(_Files):
    """Files of a GitHub repository at one commit."""

    kind: Literal["github"] = "github"

    def url(self, file: str) -> str:
        return f"https://raw.githubusercontent.com/{self.repository}/{self.revision}/{file}"

    def mirror_path(self, file: str) -> str:
        return f"github.com/{self.repository}/{file}"


class WebFiles(BaseModel):
    """Files at plain https URLs; `files` holds the URLs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["https"] = "https"
    files: tuple[str, ...] = Field(min_length=1)

    @field_validator("files")
    @classmethod
    def _https(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        for file in files:
            if urlsplit(file).scheme != "https" or ".." in file.split("/"):
                raise ValueError(f"{file!r} is not an https URL")
        return files

    def url(self, file: str) -> str:
        return file

    def mirror_path(self, file: str) -> str:
        parts = urlsplit(file)
        return f"{parts.netloc}{parts.path}"


Location = Annotated[HubFiles | GitHubFiles | WebFiles, Field(discriminator="kind")]
