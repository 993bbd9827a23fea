"""The contract files as they were at a commit of git, read without touching the files that are there."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.contracts.contract import Contracts
from infra.contracts.load import ContractError, read_contracts
from infra.errors import StreamhouseError

FOLDER = "infra/contracts"
_PARTS = ("topics", "schemas", "examples")
_MAIN = ("origin/main", "origin/master", "main", "master")


class NoReference(StreamhouseError):
    """There is no state of the files in git to compare with; the sentence says why."""


@dataclass(frozen=True)
class Reference:
    """A commit, and what it is for people."""

    commit: str
    said: str


def chosen(root: Path, ref: str | None = None) -> Reference:
    """The commit that `ref` names; when left out, where this branch left main.

    On main itself: the last commit where the contract files are changed since, else the one before it. So what is compared is what a
    review of this branch, of the open changes, or of the last commit would see.

    Raises:
        NoReference: not a git checkout, no such commit, or no commit before the only one.

    """
    if _git(root, "rev-parse", "--show-toplevel") is None:
        message = f"{root}: expected a git checkout, found none; compare with the registry alone, or work in a clone"
        raise NoReference(message)
    if ref is not None:
        commit = None if ref.startswith("-") else _git(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        if commit is None:
            message = f"--against {ref}: expected a commit, branch or tag of this clone, found none; `git fetch` it, or name another"
            raise NoReference(message)
        return Reference(commit, f"{ref} ({commit[:12]})")
    head = _git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head is None:
        message = f"{root}: expected a commit to compare with, found none yet; commit once"
        raise NoReference(message)
    for main in _MAIN:
        left = _git(root, "merge-base", "HEAD", main)
        if left is not None and left != head:
            return Reference(left, f"{left[:12]}, where this branch left {main}")
    if _git(root, "status", "--porcelain", "--", FOLDER):
        return Reference(head, f"{head[:12]}, the last commit, as contract files are changed since")
    before = _git(root, "rev-parse", "--verify", "--quiet", "HEAD~1^{commit}")
    if before is None:
        shallow = _git(root, "rev-parse", "--is-shallow-repository") == "true"
        why = "this clone is shallow, and holds no commit before" if shallow else "there is no commit before"
        message = f"{root}: {why} {head[:12]}; {'`git fetch --deepen=1`, or name' if shallow else 'name'} one with --against"
        raise NoReference(message)
    return Reference(before, f"{before[:12]}, the commit before the last one")


@contextmanager
def contracts_at(root: Path, reference: Reference) -> Iterator[Contracts]:
    """The contracts of a commit, in a folder that is gone afterwards. They need not keep to today's rules.

    Raises:
        NoReference: the commit has no contract files, or this code cannot read them.

    """
    packed = _run(root, "archive", "--format=tar", reference.commit, *(f"{FOLDER}/{part}" for part in _PARTS))
    if packed.returncode:
        told = packed.stderr.decode("utf-8", "replace").strip()
        message = f"{reference.said}: expected contract files in {FOLDER}, got: {told}; name another commit with --against"
        raise NoReference(message)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(folder, filter="data")
        try:
            yield read_contracts(Path(folder) / FOLDER)
        except ContractError as error:
            message = f"{reference.said}: this code cannot read its contract files: {error}"
            raise NoReference(message) from error


def _git(root: Path, *arguments: str) -> str | None:
    """What git says; None where it refuses."""
    answer = _run(root, *arguments)
    return None if answer.returncode else answer.stdout.decode("utf-8", "replace").strip()


def _run(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"git: expected an answer, got {error}; install git, or compare with the registry alone"
        raise NoReference(message) from error
