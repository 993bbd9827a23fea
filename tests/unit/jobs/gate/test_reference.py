"""Which commit the contract files are compared with, in real clones."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.contracts.load import read_contracts
from jobs.gate.reference import FOLDER, NoReference, chosen, contracts_at
from tests.contracts.edits import copied, limited

WIDER = limited("UserAction", "platform", maxLength=99)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Two commits on main, the second of which changed a contract, as a clone has them."""
    first = tmp_path / "first"
    copied(first / FOLDER)
    git(tmp_path, "init", "-q", str(first))
    for message in ("one", "two"):
        git(first, "add", "-A")
        git(first, "commit", "-qm", message)
        WIDER(first / FOLDER) if message == "one" else None
    git(tmp_path, "clone", "-q", str(first), "clone")
    return tmp_path / "clone"


def platform(clone: Path, ref: str | None = None) -> int:
    """What the reference says of a limit."""
    with contracts_at(clone, chosen(clone, ref)) as contracts:
        data = contracts.schemas["UserAction", 1].document["properties"]["data"]
        return int(data["properties"]["platform"]["maxLength"])


def commit(clone: Path) -> None:
    (clone / "other").write_text("x", "utf-8")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "more")


def test_on_main_it_is_the_commit_before(clone: Path) -> None:
    assert chosen(clone).said == f"{git(clone, 'rev-parse', 'HEAD~1')[:12]}, the commit before the last one"
    assert platform(clone) == 64


def test_with_open_changes_it_is_the_last_commit(clone: Path) -> None:
    limited("UserAction", "platform", maxLength=100)(clone / FOLDER)
    assert chosen(clone).said == f"{git(clone, 'rev-parse', 'HEAD')[:12]}, the last commit, as contract files are changed since"
    assert platform(clone) == 99


def test_other_open_changes_are_none(clone: Path) -> None:
    (clone / "notes").write_text("x", "utf-8")
    assert platform(clone) == 64


def test_on_a_branch_it_is_where_the_branch_left_main_with_open_changes_too(clone: Path) -> None:
    main = git(clone, "rev-parse", "HEAD")
    git(clone, "switch", "-qc", "branch")
    commit(clone)
    commit_again = clone / "again"
    commit_again.write_text("x", "utf-8")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "again")
    assert chosen(clone).said == f"{main[:12]}, where this branch left origin/main"
    limited("UserAction", "platform", maxLength=100)(clone / FOLDER)
    assert chosen(clone).commit == main


def test_a_branch_of_a_clone_without_origin_is_compared_with_its_own_main(clone: Path) -> None:
    git(clone, "remote", "remove", "origin")
    main = git(clone, "rev-parse", "HEAD")
    git(clone, "switch", "-qc", "branch")
    commit(clone)
    assert chosen(clone).said == f"{main[:12]}, where this branch left main"


def test_a_detached_head_is_as_good(clone: Path) -> None:
    git(clone, "checkout", "-q", "--detach", "HEAD")
    git(clone, "remote", "remove", "origin")
    assert platform(clone) == 64


def test_a_named_commit_is_taken(clone: Path) -> None:
    assert platform(clone, "HEAD") == 99
    assert platform(clone, "main~1") == 64


@pytest.mark.parametrize("ref", ["nowhere", "--output=x", ""])
def test_a_commit_that_is_not_there_is_said(clone: Path, ref: str) -> None:
    with pytest.raises(NoReference, match=r"expected a commit, branch or tag of this clone, found none"):
        chosen(clone, ref)


def test_a_shallow_clone_says_how_to_deepen_it(clone: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--depth=1", (tmp_path / "first").as_uri(), "shallow")
    with pytest.raises(NoReference, match=r"this clone is shallow, and holds no commit before .*git fetch --deepen=1"):
        chosen(tmp_path / "shallow")
    assert platform(tmp_path / "shallow", "HEAD") == 99


def test_no_checkout_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoReference, match=r"expected a git checkout, found none"):
        chosen(tmp_path)


def test_a_commit_without_contracts_is_said(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "empty")
    commit(tmp_path / "empty")
    with (
        pytest.raises(NoReference, match=r"expected contract files in infra/contracts, got"),
        contracts_at(tmp_path / "empty", chosen(tmp_path / "empty", "HEAD")),
    ):
        pass


def test_a_commit_that_this_code_cannot_read_is_said(clone: Path) -> None:
    (clone / FOLDER / "topics" / "orders.yaml").write_text("name: [", "utf-8")
    commit(clone)
    with pytest.raises(NoReference, match=r"this code cannot read its contract files"), contracts_at(clone, chosen(clone, "HEAD")):
        pass


def test_reading_it_leaves_the_files_as_they_are(clone: Path) -> None:
    before = read_contracts(clone / FOLDER)
    platform(clone)
    assert read_contracts(clone / FOLDER) == before
    assert git(clone, "status", "--porcelain") == ""
