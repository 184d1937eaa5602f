"""What goes wrong with object storage, in one line that repeats nothing a server has said."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from artifacts.errors import without_credentials

_LOCAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EFBIG}
_LIBRARIES = {"aiobotocore", "botocore", "aiohttp", "azure", "gcsfs", "google", "s3fs", "adlfs"}
_UNREACHED = ("EndpointConnection", "ClientConnector", "ConnectTimeout", "FSTimeout", "Connection")
_NO_CREDENTIALS = (
    "NoCredentials", "PartialCredentials", "DefaultCredentials", "ProfileNotFound", "TokenRetrieval"
)  # fmt: skip


class StoreError(OSError):
    """An object store did not do what it was asked for: one line."""


@contextmanager
def told(location: str) -> Iterator[None]:
    """Turn the many errors of the libraries into StoreError.

    FileNotFoundError and FileExistsError, which are answers, go through, and errors of local files.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        why = _why(error)
        if why is None:
            raise
        line = f"store {without_credentials(location)}: {why}"
        raise StoreError(line) from None  # what a server says may hold secrets


def _why(error: Exception) -> str | None:
    """None for what is no trouble with the store."""
    code, name = code_of(error), type(error).__name__
    if code in ("NoSuchBucket", "InvalidBucketName"):
        return f"there is no such bucket ({code}): make it, or correct MEDI_STORE or --store"
    if isinstance(error, FileNotFoundError | FileExistsError):
        return None
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _LOCAL):
        return None
    if type(error).__module__.partition(".")[0] not in _LIBRARIES and not isinstance(
        error, OSError | NotImplementedError
    ):
        return None
    if isinstance(error, PermissionError) or code in ("401", "403", "Unauthorized"):
        return f"access is denied ({code or name}): check the credentials and what they may do"
    if name.startswith(_NO_CREDENTIALS):
        return f"no credentials were found ({name}): set AWS_ACCESS_KEY_ID, or name a profile"
    if name.startswith(_UNREACHED):
        return f"cannot be reached ({name}): check the network and the endpoint"
    return code or name


def code_of(error: BaseException) -> str:
    """The error code of S3, which is of a fixed set; "" where there is none."""
    for each in (error, error.__cause__):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return ""
