"""A browser for tests: a page, laid out at several widths in light and in dark, and what came of it.

The page is put into frames of one document, each with its own width and colour scheme, so that the browser
starts once.  With PAXOS_TEST_BROWSER=required, as `.ci/run` has it, a missing browser is a failure.
"""

import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

#: A telephone, a tablet, a desk.
WIDTHS = (360, 768, 1280)
SCHEMES = ("light", "dark")
#: So that the browser itself asks nobody for anything either.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
)
#: What is looked at in each frame.
_PROBE = """
addEventListener("load", () => {
  const seen = [...document.querySelectorAll("iframe[srcdoc]")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement, view = frame.contentWindow;
    page.querySelectorAll("details").forEach(each => { each.open = true; });
    const sizes = [...page.querySelectorAll("figure svg text")].map(text => {
      const svg = text.closest("svg");
      return parseFloat(view.getComputedStyle(text).fontSize)
        * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    });
    return {
      width: root.clientWidth,
      needs: root.scrollWidth,
      dark: view.matchMedia("(prefers-color-scheme: dark)").matches,
      page: view.getComputedStyle(page.body).backgroundColor,
      ink: view.getComputedStyle(page.body).color,
      asked: view.performance.getEntriesByType("resource").map(each => each.name),
      tables: [...page.querySelectorAll("table")].filter(each => each.offsetHeight > 20).length,
      figures: [...page.querySelectorAll("figure svg")].filter(
        each => each.getBoundingClientRect().height > 40).length,
      smallest: Math.min(...sizes),
    };
  });
  document.body.textContent = JSON.stringify(seen);
});
"""


class Looked(NamedTuple):
    """What a browser made of a page.

    Args:
        frames: for each width and scheme, what was seen.
        said: what the browser said in its console.
    """

    frames: list[dict[str, Any]]
    said: list[str]


def require_browser() -> str:
    """Chromium; skips the test without it, or fails it where it is required."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        message = "chromium: not found, so no page is looked at; Debian's package is chromium"
        if os.environ.get("PAXOS_TEST_BROWSER") == "required":
            raise AssertionError(message)
        pytest.skip(message)
    return found


def look_at(page: str, place: Path) -> Looked:
    """Open a page that is in `place` under the name of index.html, and lay it out at every width in every
    scheme."""
    browser = require_browser()
    frames = "".join(
        f'<iframe style="width: {width}px; height: 700px; border: 0; color-scheme: {scheme}" '
        f'srcdoc="{html.escape(page)}"></iframe>'
        for width in WIDTHS
        for scheme in SCHEMES
    )
    # As a person opens it, from disk, too: whatever it says is heard.
    frames += '<iframe src="index.html"></iframe>'
    (place / "frames.html").write_text(
        f"<!DOCTYPE html><meta charset=utf-8><body>{frames}<script>{_PROBE}</script>", encoding="utf-8"
    )
    with tempfile.TemporaryDirectory() as profile:
        ran = subprocess.run(
            [
                browser,
                *_FLAGS,
                f"--user-data-dir={profile}",
                "--dump-dom",
                (place / "frames.html").as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    seen = re.search(r"<body>(\[.*\])</body>", ran.stdout, re.DOTALL)
    assert seen is not None, ran.stdout[-2000:] + ran.stderr[-2000:]
    return Looked(
        json.loads(html.unescape(seen[1])), [line for line in ran.stderr.splitlines() if ":CONSOLE" in line]
    )
