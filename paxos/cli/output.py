"""What a command says, and where: results on standard output, everything else on standard error.

With `--json` the result is one JSON object and nothing else; without it, text.  Tables and progress are
drawn by rich where it is installed and a person is looking (a terminal); a pipe gets plain columns.
"""

import base64
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["Output", "json_bytes", "readable"]


def json_bytes(value: bytes | None) -> object:
    """Bytes as JSON: a string when they are valid UTF-8, else `{"base64": "..."}`; null for None."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def readable(value: bytes, limit: int = 60) -> str:
    """Bytes for a table: their text when there is one that can be printed, else as Python writes them."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = repr(value)
    if not text.isprintable():
        text = repr(text)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


class Output:
    """The way out of one command.

    Args:
        as_json: whether the result is one JSON object.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._rich = importlib.util.find_spec("rich") is not None

    def say(self, text: str = "") -> None:
        """A message to whoever watches; never a result."""
        print(text, file=sys.stderr, flush=True)

    def result(self, value: Mapping[str, object], text: str = "") -> None:
        """The result: the object with `--json`, the text (if any) without."""
        if self.as_json:
            # What an encoding can not say, JSON can.
            plain = (sys.stdout.encoding or "").lower().replace("-", "") not in ("utf8", "utf8sig")
            print(json.dumps(value, ensure_ascii=plain, allow_nan=False), flush=True)
        elif text:
            print(text, flush=True)

    def raw(self, data: bytes) -> None:
        """Bytes on standard output exactly as they are, no newline added."""
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table on standard output; with `--json`, where the object says it all, nothing."""
        if self.as_json:
            return
        cells = [[str(cell) for cell in row] for row in rows]
        if self._rich and sys.stdout.isatty():
            _rich_table(title, columns, cells)
            return
        widths = [max(len(row[at]) for row in [list(columns), *cells]) for at in range(len(columns))]
        print(title)
        for row in [list(columns), *cells]:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print(f"  {line}".rstrip())
        sys.stdout.flush()

    @contextmanager
    def progress(self, title: str, steps: int) -> Iterator["Progress"]:
        """A bar on standard error while something takes long; without a terminal, nothing."""
        if not (self._rich and sys.stderr.isatty()):
            yield Progress()
            return
        import rich.console
        import rich.progress

        with rich.progress.Progress(
            console=rich.console.Console(stderr=True), transient=True, refresh_per_second=5
        ) as bar:
            task = bar.add_task(title, total=steps)
            yield _RichProgress(bar, task)

    @contextmanager
    def counting(self, title: str) -> Iterator["Counter"]:
        """A counter on standard error while something of any length comes; without a terminal, nothing."""
        if not (self._rich and sys.stderr.isatty()):
            yield Counter()
            return
        import rich.console
        import rich.progress

        columns = (
            rich.progress.SpinnerColumn(),
            rich.progress.TextColumn("{task.description} {task.completed:.1f}"),
            rich.progress.TimeElapsedColumn(),
        )
        console = rich.console.Console(stderr=True)
        with rich.progress.Progress(*columns, console=console, transient=True) as bar:
            yield _RichCounter(bar, bar.add_task(title, total=None))


class Counter:
    """How much of something without a known end there is. This one shows nothing."""

    def set(self, amount: float) -> None:
        """There is so much of it now."""


class _RichCounter(Counter):
    def __init__(self, bar: Any, task: Any) -> None:
        self._bar = bar
        self._task = task

    def set(self, amount: float) -> None:
        self._bar.update(self._task, completed=amount)


class Progress:
    """How far something has come. This one shows nothing."""

    def advance(self, steps: int = 1) -> None:
        """So many steps more are done."""


class _RichProgress(Progress):
    def __init__(self, bar: Any, task: Any) -> None:
        self._bar = bar
        self._task = task

    def advance(self, steps: int = 1) -> None:
        self._bar.advance(self._task, steps)


def _rich_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    import rich.box
    import rich.console
    import rich.table
    import rich.text

    table = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for name in columns:
        table.add_column(name)
    for row in rows:
        table.add_row(*(rich.text.Text(cell) for cell in row))
    rich.console.Console().print(table)
