"""The kinds of data that a container may have, and how each is saved: a hook per kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .container import Container, Saved
from .hooks_databases import save_mariadb, save_mongodb, save_mysql, save_postgres, save_redis
from .hooks_files import save_sqlite


def save_nothing(container: Container, saved: Saved) -> None:
    """For folders, which backup_part copies while the container holds still."""


HOOKS: Mapping[str, Callable[[Container, Saved], None]] = {
    "postgres": save_postgres,
    "mariadb": save_mariadb,
    "mysql": save_mysql,
    "mongodb": save_mongodb,
    "redis": save_redis,
    "sqlite": save_sqlite,
    "files": save_nothing,
    "none": save_nothing,
}
