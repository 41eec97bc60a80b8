"""The command itself: takes the arguments apart, runs the one that is meant, and turns errors into exit codes.

Each module in `_GROUPS` has a function `add(commands)` that adds its subcommands; a subcommand's parser
carries `run`, a function of the parsed arguments and the output that gives the exit code.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, Protocol

from paxos import cli
from paxos.errors import EXIT_INTERRUPTED, EXIT_USAGE, ConfigurationError, PaxosError
from paxos.cli.output import Output

__all__ = ["Commands", "Run", "add_command", "main"]
