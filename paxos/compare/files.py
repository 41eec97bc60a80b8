"""What `--out` writes: all of it at once, or nothing.

The files are made beside the directory that they are for, and take its place when the last one is complete.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from paxos.compare.figures import FIGURE
from paxos.compare.report import COMPARISON, FIGURES
from paxos.errors import ConfigurationError

__all__ = ["check_directory", "write_files"]


def check_directory(directory: Path) -> None:
    """Whether files can be written there; looked at before anything runs.

    Raises:
        ConfigurationError: it is a file, or holds what is not from here, or can not be made.
    """
    if directory.is_dir():
        if any(directory.iterdir()) and not (directory / COMPARISON).exists():
            raise ConfigurationError(
                f"{directory}: not empty, and not written by paxos compare; name another"
            )
    elif directory.exists() or directory.is_symlink():
        raise ConfigurationError(f"{directory}: is a file; --out names a directory")
    above = next((each for each in directory.absolute().parents if each.exists()), Path("/"))
    if not above.is_dir():
        raise ConfigurationError(f"{above}: is a file, so no directory can be made in it")
    if not os.access(above, os.W_OK):
        raise ConfigurationError(f"{above}: no right to write there")


def write_files(contents: Mapping[str, bytes], directory: Path) -> None:
    """Write all files, or none.

    Raises:
        ConfigurationError: they can not be written; the message says where.
    """
    check_directory(directory)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        try:
            for name, content in contents.items():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                (made / name).write_bytes(content)
            made.chmod(0o755)
            if directory.exists():
                # A directory can not be replaced at once; each file of it can.
                for name in contents:
                    (directory / name).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(made / name, directory / name)
                _tidy(contents, directory)
            else:
                os.rename(made, directory)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise ConfigurationError(f"{directory}: can not be written: {error.strerror}") from error


def _tidy(contents: Mapping[str, bytes], directory: Path) -> None:
    """Take away figures of an earlier comparison, which this one does not have; nothing else."""
    for path in sorted((directory / FIGURES).glob("*")):
        if FIGURE.fullmatch(path.name) and f"{FIGURES}/{path.name}" not in contents:
            path.unlink()
