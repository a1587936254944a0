"""The documents' commands: each one in the README runs in the nearest form without a cluster, network or minutes.

The program's parsers parse the options; a launcher's command is checked without the launcher, which `tests/cluster`
runs for real, as `tests/test_walk_through.py` does the fit, the demo and the labelling. A command of an unknown kind
fails.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from small_artifact import write_artifact
from tensorboard.program import TensorBoard

import serve.__main__
from lightning_app.__main__ import OWN_PARSERS, VERBS
from lightning_app.cli.cli import fit_options
from lightning_app.cli.prepare import CLEAN, VERIFY
from models.artifact import load_artifact

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
PROGRAMS = ("make", "python", "mpirun", "torchrun", "srun", "sbatch", "tensorboard", "ssh", "pip")
COMMAND = re.compile(rf"(?:\w+=\S+ )?(?:{'|'.join(PROGRAMS)}) .+")

# In the other documents: what the program's own parsers take, behind any launcher.
DOCUMENTS = [*sorted((REPOSITORY / "docs").glob("*.md")), REPOSITORY / "CONTRIBUTING.md"]
STARTED = re.compile(r"^(?:\$ )?(?:(?:\w+=\S+ )?(?:python|mpirun|srun|torchrun) .*?)(-m (?:lightning_app|serve) .+)")
SUBMITTED = re.compile(r"^sbatch (?:.* )?(slurm/.+)")
MODULE = re.compile(r"`(\w+\.py)`:\n\n```python\n(.*?)```", re.DOTALL)  # a file of the reader's
PLACEHOLDER = re.compile(r"<|\[|\.\.\.|--help")

SAYS_WHAT = re.compile(r" -m |^(?!mpirun|srun|torchrun).* [^-]")


def indented() -> list[str]:
    """Lines of the indented blocks; a backslash at the end joins two."""
    joined = README.replace("\\\n", "")
    return [line.strip() for line in re.findall(r"^    (\S.*)$", joined, flags=re.MULTILINE)]


def commands() -> list[str]:
    """All commands in blocks, tables and sentences; `...` continues like the previous one, N is a number.

    A program with only options, or a launcher that launches nothing, is a mention, not a command.
    """
    found = [line.split("  #")[0].strip() for line in indented() if COMMAND.match(line)]
    whole = "python -m lightning_app fit --config configs/cifar10.yaml"
    quoted = [code.replace("... --", f"{whole} --") for code in re.findall(r"(?<!`)`([^`\n]+)`", README)]
    inline = [re.sub(r"\bN$", "2", code) for code in quoted if COMMAND.fullmatch(code) and SAYS_WHAT.search(code)]
    return list(dict.fromkeys([*found, *inline]))


def documented() -> list[str]:
    """Commands in the other documents' blocks and sentences; a word in capitals is a number."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text().replace("\\\n", "")
        code = re.findall(r"^ *([^`\n]+)$", text, re.MULTILINE) + re.findall(r"(?<!`)`([^`]+)`(?!`)", text)
        said = [" ".join(each.split(" #")[0].split()) for each in code]
        ours = [match[1] for each in said if (match := STARTED.match(each) or SUBMITTED.match(each))]
        found += [re.sub(r"\b[A-Z]+\b", "2", each) for each in ours if not PLACEHOLDER.search(each)]
    return list(dict.fromkeys(found))


def check(command: str) -> None:
    """Fail if a command could not run as written."""
    words = shlex.split(command)
    while "=" in words[0]:
        words.pop(0)
    CHECKS[words[0]](words[1:])


def check_make(words: list[str]) -> None:
    subprocess.run(["make", "--dry-run", *words], cwd=REPOSITORY, check=True, capture_output=True)


def check_python(words: list[str]) -> None:
    assert words[0] == "-m"
    if words[1] == "serve":
        serve.__main__.parse(words[2:])
    else:
        assert words[1] == "lightning_app"
        check_verb(*words[2:])


def check_verb(verb: str, *options: str) -> None:
    """Let a verb's own parser parse its options."""
    assert verb in VERBS
    if verb in ("fit", "prepare"):
        own = (VERIFY, CLEAN) if verb == "prepare" else ()
        fit_options([option for option in options if option not in own])
        return
    module, function = OWN_PARSERS[verb].split(":")
    parsed = import_module(getattr(import_module(module), function).__module__).parse(list(options))
    if isinstance(parsed, tuple):  # compare's own options, and those of fit
        fit_options(parsed[1])


def check_launched(words: list[str]) -> None:
    """Leave out the launcher and its options, which have a value each."""
    start = next(place for place, word in enumerate(words) if word in ("python", "-m"))
    assert all(word.startswith("-") for word in words[:start:2])
    check_python(words[start:] if words[start] == "-m" else words[start + 1 :])


def check_sbatch(words: list[str]) -> None:
    script = next(place for place, word in enumerate(words) if word.endswith(".slurm"))
    subprocess.run(["bash", "-n", REPOSITORY / words[script]], check=True)
    if words[script].endswith("compare.slurm"):
        check_verb("compare", *words[script + 1 :])
    else:
        fit_options(words[script + 1 :])


def check_tensorboard(words: list[str]) -> None:
    TensorBoard().configure(argv=["tensorboard", *words])


def check_ssh(words: list[str]) -> None:
    if not shutil.which("ssh"):
        pytest.skip("no ssh: apt-get install openssh-client")
    subprocess.run(["ssh", "-G", *words], check=True, capture_output=True)


def check_pip(words: list[str]) -> None:
    extra = re.search(r"\[(\w+)\]", " ".join(words))
    assert extra
    assert f"\n{extra[1]} = [" in (REPOSITORY / "pyproject.toml").read_text()


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "make": check_make,
    "python": check_python,
    "mpirun": check_launched,
    "torchrun": check_launched,
    "srun": check_launched,
    "sbatch": check_sbatch,
    "tensorboard": check_tensorboard,
    "ssh": check_ssh,
    "pip": check_pip,
}


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_a_command_is_as_the_program_takes_it(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    check(command)


@pytest.mark.slow
@pytest.mark.parametrize("command", documented())
def test_a_command_of_another_document_is_as_the_program_takes_it(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(REPOSITORY)
    for name, code in MODULE.findall("".join(document.read_text() for document in DOCUMENTS)):
        (tmp_path / name).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    words = shlex.split(command)
    check_python(words) if words[0] == "-m" else check_sbatch(words)


def test_the_other_documents_commands_are_found() -> None:
    found = " ".join(documented())
    verbs = ("fit", "compare", "bench", "label", "export", "doctor")
    assert [verb for verb in verbs if f"lightning_app {verb}" not in found] == []
    assert "slurm/ddp.slurm --config" in found


def test_a_command_that_is_not_as_the_program_takes_it_is_found() -> None:
    with pytest.raises(ValueError, match="there is no option"):
        check("python -m lightning_app fit --config configs/cifar10.yaml --trainer.strategey cpu")
    with pytest.raises(subprocess.CalledProcessError):
        check("make fitt")


def test_the_oldest_versions_have_an_environment_for_each_python() -> None:
    python = Path(sys.executable)  # by PATH: a checkout may be below a folder with a space in its name
    environ = os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}"}
    make = ["make", "--dry-run", "test-oldest", f"PYTHON={python.name}"]
    said = subprocess.run(make, cwd=REPOSITORY, env=environ, check=True, capture_output=True, text=True).stdout
    assert f".venv-oldest-{sys.version_info[0]}.{sys.version_info[1]}/bin/python -m pytest" in said


def test_no_command_is_left_out() -> None:
    assert {command.split()[0] for command in commands()} >= {*CHECKS} - {"pip"}
    in_blocks = [line for line in indented() if not COMMAND.match(line)]
    # Not commands: the program's output, and two Python programs, which run elsewhere.
    python = ("from ", "client", "answer", "print", "network")
    assert [line for line in in_blocks if not line.startswith(("Test accuracy", *python))] == []


def test_the_model_is_loaded_as_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_artifact(tmp_path / "runs/quickstart/version_0/model")
    monkeypatch.chdir(tmp_path)
    start = README.index("from models.artifact import load_artifact")
    names: dict[str, object] = {"load_artifact": load_artifact}
    exec("\n".join(line.strip() for line in README[start:].splitlines()[:2]), names)
    assert isinstance(names["card"], dict)
