"""Fixtures for all tests; each is defined beside what it starts."""

from __future__ import annotations

from tests.clients.sdk import work
from tests.inprocess.databases import database, empty_databases, postgresql_registry, registry
from tests.inprocess.pack_writer import armed, ledger, pack_store, run_writer, writer_pools
from tests.interrupts import pytest_sessionstart
from tests.parts.collector import collector
from tests.parts.embedded import embedded, embedded_folder, forked_embedded_servers
from tests.parts.postgres import postgres_database, postgres_url
from tests.parts.s3 import minio_server, versity_server
from tests.parts.server import (
    any_keyed_server,
    any_live_server,
    keyed_production_server,
    keyed_server,
    live_server,
    live_server_factory,
    production_server,
)
from tests.required import pytest_make_collect_report, pytest_runtest_makereport
from tests.selection import (
    pytest_collection_modifyitems,
    pytest_ignore_collect,
    pytest_xdist_make_scheduler,
)

__all__ = [
    "any_keyed_server",
    "any_live_server",
    "armed",
    "collector",
    "database",
    "embedded",
    "embedded_folder",
    "empty_databases",
    "forked_embedded_servers",
    "keyed_production_server",
    "keyed_server",
    "ledger",
    "live_server",
    "live_server_factory",
    "minio_server",
    "pack_store",
    "postgres_database",
    "postgres_url",
    "postgresql_registry",
    "production_server",
    "pytest_collection_modifyitems",
    "pytest_ignore_collect",
    "pytest_make_collect_report",
    "pytest_runtest_makereport",
    "pytest_sessionstart",
    "pytest_xdist_make_scheduler",
    "registry",
    "run_writer",
    "versity_server",
    "work",
    "writer_pools",
]
