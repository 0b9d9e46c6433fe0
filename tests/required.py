"""Where all parts are required, a test that is skipped has failed."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

from tests.parts.processes import REQUIRED

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns skips of tests into failures."""
    return _strict((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turns skips of whole files into failures."""
    return _strict((yield))


def _strict(report: Report) -> Report:
    if report.skipped and os.environ.get(REQUIRED) == "required" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"nothing may be skipped with {REQUIRED}=required: {report.longreprtext}"
    return report
