"""The test command: `python3 -m tests`, from a clean clone, with nothing but a Python of at least 3.11.

It finds the interpreters of this machine, makes one environment for each, installs there what the tests need,
builds the wheel, and runs the style checks, the type checks and the tests; `python3 -m tests --help` has the
details. This file is kept to what any Python 3 can read, so that one which is too old is told so instead of
shown a syntax error.
"""

import sys

if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 - the very case this line is for
        sys.exit(
            "tests: this is Python %d.%d (%s), but at least 3.11 is needed: run python3.11 -m tests"  # noqa: UP031
            % (sys.version_info[0], sys.version_info[1], sys.executable)
        )
    from tests.suite.command import main

    sys.exit(main(sys.argv[1:]))
