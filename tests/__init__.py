"""The project's tests, and the command that runs all of them: `python3 -m tests` (see tests/__main__.py)."""
