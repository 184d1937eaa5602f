"""The database of a Prefect server that is about to start.

Prefect makes SQLite in its home, or uses what PREFECT_SERVER_DATABASE_CONNECTION_URL names. Its
server tells of a database that it cannot reach in a traceback, after a minute or never.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from artifacts.errors import InputError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

SETTING = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
_TLS = "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_TLS_"
_PATIENCE_S = 10


def require_database() -> None:
    """Raises InputError where the PostgreSQL that is set does not let this user in."""
    given = os.environ.get(SETTING)
    if not given:
        return
    from sqlalchemy.engine import make_url  # a quarter of a second
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(given)
    except (ArgumentError, ValueError) as error:  # a port that is no number
        raise InputError(f"{SETTING} is no database's address; {_VALID}") from error
    if url.drivername not in ("postgresql+asyncpg", "sqlite+aiosqlite"):
        raise InputError(f"{SETTING}: {url.drivername!r} is no driver of Prefect's; {_VALID}")
    # Certificates are in settings of their own, which Prefect alone reads.
    if url.drivername != "sqlite+aiosqlite" and not any(x.startswith(_TLS) for x in os.environ):
        asyncio.run(_connect(url))


_VALID = "valid is postgresql+asyncpg:// and then USER@HOST:5432/DATABASE"


async def _connect(url: URL) -> None:
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(url, connect_args={"timeout": _PATIENCE_S})
    try:
        async with engine.connect():
            pass
    except TimeoutError as error:
        raise _refused(url, f"no answer in {_PATIENCE_S} s") from error
    except DBAPIError as error:
        raise _refused(url, str(error.orig).rpartition("'>: ")[2]) from error
    except OSError as error:
        raise _refused(url, str(error)) from error
    finally:
        await engine.dispose()


def _refused(url: URL, reason: str) -> InputError:
    asked = f"the database {url.database!r} of {url.host}:{url.port or 5432}, user {url.username!r}"
    return InputError(f"{SETTING}: {asked}, cannot be used: {' '.join(reason.split())}")
