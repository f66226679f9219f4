"""What the scripts that make networks have in common: what they are told, what they say of files that are none, how they write."""

import argparse
import os
import pickle
import struct
import zipfile
from contextlib import contextmanager
from pathlib import Path


def arguments(about: str) -> argparse.ArgumentParser:
    """`about` is a script's own text, whose first paragraph says what it is for."""
    made = argparse.ArgumentParser(description=about.split("\n\n")[0])
    made.add_argument("--to", type=Path, default=Path("models/networks"), help="the folder for them: %(default)s")
    made.add_argument("--replace", action="store_true", help="make those anew that are there already")
    return made


def target(asked: argparse.Namespace, network: str) -> Path:
    """Where a network goes. Asked before it is made, which may take minutes."""
    path = asked.to.resolve() / f"{network}.torchscript"
    if path.exists() and not asked.replace:
        raise SystemExit(f"{path} is there already; --replace makes it anew")
    return path


# What libraries raise of a file that is not there, or not what it should be.
PROBLEMS = (OSError, EOFError, IndexError, RuntimeError, ValueError)
PROBLEMS += (pickle.UnpicklingError, struct.error, zipfile.BadZipFile)


@contextmanager
def reading(path):
    """Says in one line that a file is not what is read here."""
    try:
        yield
    except PROBLEMS as problem:
        said = getattr(problem, "strerror", None) or str(problem).strip() or type(problem).__name__
        raise SystemExit(f"{path} does not read: {said.splitlines()[0]}") from None


def save(network, path: Path) -> None:
    """Whole or not at all: a server may look into the folder meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        network.save(str(part))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
