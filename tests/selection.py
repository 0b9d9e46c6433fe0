"""Which tests share a worker, and which belong to the quick ones.

`make test` runs two workers. All tests of a module run in one of them, so that
what a module's fixtures start is started once; those that measure a process or
use a limit of the whole system share a worker, one after the other.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

MEASURING = (
    "tests/faults/test_clock_jumps.py",
    "tests/server/content/test_stream_limits.py",
    "tests/server/content/test_stream_memory.py",
    "tests/server/process/test_memory.py",
    "tests/server/process/test_overload.py",
)
QUICK = (
    "tests/cli/",
    "tests/contracts/",
    "tests/sdk/artifacts/test_artifact",
    "tests/sdk/artifacts/test_log_unchanged.py",
    "tests/sdk/artifacts/test_name_lists.py",
    "tests/sdk/connection/test_refs.py",
    "tests/sdk/connection/test_retry.py",
    "tests/sdk/connection/test_snippets.py",
    "tests/sdk/connection/test_structure.py",
    "tests/sdk/registry/",
    "tests/sdk/runs/test_report.py",
    "tests/sdk/runs/test_run.py",
    "tests/sdk/runs/test_session_messages.py",
    "tests/sdk/transfer/test_chunking.py",
    "tests/sdk/transfer/test_framing.py",
    "tests/sdk/transfer/test_transfer_live.py",
    "tests/sdk/transfer/test_transfer_reading.py",
    "tests/sdk/transfer/test_transfer_writing.py",
    "tests/server/content/",
    "tests/server/dispatch/",
    "tests/server/search/",
    "tests/wire/calls/test_access.py",
    "tests/wire/calls/test_plain_client.py",
    "tests/wire/calls/test_request_ids.py",
    "tests/wire/content/test_commits_wire.py",
    "tests/wire/content/test_known_content_wire.py",
    "tests/wire/content/test_uploads_wire.py",
    "tests/wire/events/test_watch_wire.py",
    "tests/wire/registry/test_alias_history_wire.py",
    "tests/wire/registry/test_etags.py",
    "tests/wire/registry/test_paging.py",
    "tests/wire/registry/test_registry_wire.py",
    "tests/wire/registry/test_search_wire.py",
    "tests/wire/runs/",
)
"""How the paths of quick tests begin: the main job, the rules, the contracts, and each part of the wire.

Tests that are marked slow or need another part than Python are left out. What waits for times, starts
interpreters or kills servers is in the modules that are not named.
"""
_PARTS_BY_FIXTURE = {
    "keyed_production_server",
    "minio_server",
    "postgres_url",
    "production_server",
    "versity_server",
}
_PARTS_BY_PARAMETER = {"minio", "postgresql", "postgresql+s3", "versity"}
_ROOT = Path(__file__).parents[1]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out files without quick tests when only those are asked for: to import them takes seconds."""
    if config.getoption("markexpr") != "quick" or collection_path.is_dir():
        return None
    return not _may_be_quick(collection_path.relative_to(_ROOT).as_posix()) or None


class ByModule(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Gives whole modules to workers, and all that measure to one.

    Not by the marks of `--dist loadgroup`: with pytest 9.2 pytest-xdist 3.8 does not see them.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return "measuring" if module in MEASURING else module


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByModule:
    """The scheduler of pytest-xdist."""
    return ByModule(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Gives the quick tests their mark.

    Tests marked `optional` are deselected where their library is missing.
    """
    missing = [item for item in items if _lacks_library(item)]
    if missing:
        config.hook.pytest_deselected(items=missing)
        items[:] = [item for item in items if item not in missing]
    for item in items:
        module = item.nodeid.partition("::")[0]
        if _may_be_quick(module) and not item.get_closest_marker("slow") and not _needs_parts(item):
            item.add_marker("quick")


def _lacks_library(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("optional")
    return mark is not None and importlib.util.find_spec(mark.args[0]) is None


def _may_be_quick(module: str) -> bool:
    return module.startswith(QUICK) and module not in MEASURING


def _needs_parts(item: pytest.Item) -> bool:
    """Whether a fixture or a parameter says so. Tests that ask for a part only when they run are skipped."""
    parameters = getattr(item, "callspec", None)
    values = parameters.params.values() if parameters else ()
    return not (
        _PARTS_BY_FIXTURE.isdisjoint(getattr(item, "fixturenames", ()))
        and _PARTS_BY_PARAMETER.isdisjoint(value for value in values if isinstance(value, str))
    )
