"""What every test shares: both event loops, and how much Hypothesis tries.

An async test is marked `@pytest.mark.anyio` and runs on asyncio and on trio. Hypothesis runs the same
examples every time, so that a failure is one of the code and not of the day; `--hypothesis-profile=long`
looks further, with examples that differ from run to run.
"""

import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=60,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("long", settings.get_profile("ci"), derandomize=False, max_examples=2_000)
settings.load_profile("ci")

# A shell that puts a command in the background has it ignore Ctrl-C, and children inherit that: tests of
# what Ctrl-C does would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_TESTS = Path(__file__).parent
#: Rooms of tests that call what users call, or what a plug-in does. They run against the built wheel too.
_PUBLIC = frozenset(
    _TESTS / f"test_{room}.py"
    for room in (
        "basic_roles",
        "cli",
        "cli_cluster",
        "cli_log",
        "cli_log_stores",
        "config",
        "contract",
        "footprints",
        "quorum",
        "readme",
        "runtime_cluster",
        "sim_run",
        "store",
        "testing_elsewhere",
        "testing_machine",
        "testing_machines",
        "testing_strategies",
        "testing_transports",
        "wire",
    )
)


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("trio", {}), id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The event loop of an async test: the plain one of asyncio, then trio."""
    return request.param


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the rooms that test the public API; single tests elsewhere are marked where they stand."""
    for item in items:
        if item.path in _PUBLIC:
            item.add_marker(pytest.mark.public)
