"""What a run's model card says about its origin."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lightning_app import provenance


def test_the_commit_is_that_of_our_files_and_not_of_the_folder_they_are_installed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "-m", "somebody else's")
    installed = tmp_path / "report.py"
    installed.touch()
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert provenance.git_revision() is None
    git("add", "report.py")
    git("commit", "-m", "ours")
    assert len(provenance.git_revision() or "") == 12
