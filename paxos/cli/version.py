"""`paxos version`: what is installed here, for a bug report."""

import argparse
import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version
from typing import Final

from paxos.cli.arguments import Commands, add_command
from paxos.cli.output import Output
from paxos.contract import protocol_names
from paxos.errors import EXIT_DONE

__all__ = ["add", "installed_version"]

_DISTRIBUTIONS: Final = ("anyio", "attrs", "cbor2", "rich", "trio", "uvloop")


def installed_version() -> str:
    """The version of the installed distribution."""
    return _version("paxos-family") or "unknown (not installed)"


def add(commands: Commands) -> None:
    """Add `paxos version`."""
    add_command(
        commands,
        "version",
        run,
        "say what is installed here",
        "The versions of paxos, of Python and of what it uses, and the protocols that can be run.",
        "  paxos version\n  paxos version --json | jq -r .version",
    )


def run(_: argparse.Namespace, out: Output) -> int:
    """Print the versions."""
    import sqlite3
    import ssl

    found: dict[str, object] = {
        "version": installed_version(),
        "protocols": list(protocol_names()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION,
        **{name: _version(name) for name in _DISTRIBUTIONS},
    }
    shown = {**found, "protocols": ", ".join(protocol_names())}
    out.result(found, "\n".join(f"{name:10} {value or 'not installed'}" for name, value in shown.items()))
    return EXIT_DONE


def _version(name: str) -> str | None:
    try:
        return distribution_version(name)
    except PackageNotFoundError:
        return None
