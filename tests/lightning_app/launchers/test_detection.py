"""Who am I? Cases recorded under the real launchers (record_launch.py), and what they leave open.

In launches/*.json, values that are not numbers are replaced, and pid 1 is called init.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import pytest

from lightning_app.errors import UsageError
from lightning_app.launchers import specs
from lightning_app.launchers.detection import identify, this_launch
from lightning_app.launchers.launch import Launch
from lightning_app.launchers.processes import OVERRIDE, Process, look_at, parents, program
from lightning_app.launchers.specs import hydra

CASES = sorted((Path(__file__).parent / "launches").glob("*.json"))
UNCLAIMED = r"this process is one of several ranks .* no launcher that we know started it"
INIT = Process("init", 1, "init")
SHELL = Process("bash", 50, "bash", {})
STEP = Process("slurmstepd", 30, "slurmstepd: [7.0]")

OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
HYDRA = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
SLURM = {
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "4",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "2",
    "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_STEP_NUM_NODES": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3),1",
}
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "2",
    "WORLD_SIZE": "3",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "1",
    "GROUP_RANK": "1",
    "GROUP_WORLD_SIZE": "2",
}
FLUX = {
    "FLUX_TASK_RANK": "5",
    "FLUX_JOB_SIZE": "6",
    "FLUX_TASK_LOCAL_ID": "2",
    "FLUX_JOB_NNODES": "2",
}
JSM = {
    "JSM_NAMESPACE_RANK": "3",
    "JSM_NAMESPACE_SIZE": "5",
    "JSM_NAMESPACE_LOCAL_RANK": "0",
    "JSM_NAMESPACE_LOCAL_SIZE": "2",
}
PALS = {
    "PALS_RANKID": "2",
    "PMI_RANK": "2",
    "PMI_SIZE": "6",
    "PMI_LOCAL_RANK": "0",
    "PMI_LOCAL_SIZE": "4",
}
ENV = {
    "RANK": "5",
    "WORLD_SIZE": "6",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "n1",
    "MASTER_PORT": "29500",
}
LIGHTNING = {"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
# Each launcher, its variables, and the parent process that proves them.
LAUNCHERS = {
    "openmpi": (OPEN_MPI, Process("prterun", 40, "prterun")),
    "hydra": (HYDRA, Process("hydra_pmi_proxy", 40, "hydra_pmi_proxy")),
    "slurm": (SLURM, STEP),
    "torchrun": (TORCHRUN, Process("pt_elastic", 40, "torchrun", {})),
    "lightning": (LIGHTNING, Process("python", 40, "python train.py", {})),
}


def facts(launch: Launch) -> dict[str, Any]:
    """What a recorded case expects: the ranks."""
    found = asdict(launch).items()
    return {name: value for name, value in found if name not in ("sources", "reason", "warning", "own_gpus")}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_recorded_process_is_who_its_launcher_made_it(path: Path) -> None:
    case = json.loads(path.read_text())
    ancestors = [Process(**process) for process in case["ancestors"]]
    if "error" in case["expected"]:
        with pytest.raises(UsageError, match=case["expected"]["error"]):
            identify(case["environ"], ancestors)
    else:
        assert facts(identify(case["environ"], ancestors)) == case["expected"]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_without_proc_the_variables_of_a_launcher_are_believed(launcher: str) -> None:
    environ, _ = LAUNCHERS[launcher]
    assert identify(environ, ()).launcher == launcher


@pytest.mark.parametrize(("inner", "outer"), list(permutations(LAUNCHERS, 2)))
def test_of_two_launchers_the_nearest_wins(inner: str, outer: str) -> None:
    (inner_environ, inner_process), (outer_environ, outer_process) = LAUNCHERS[inner], LAUNCHERS[outer]
    if inner == "lightning":
        inner_process = replace(inner_process, environ=outer_environ)  # its parent is a rank of the other
    launch = identify(outer_environ | inner_environ, (inner_process, SHELL, outer_process, INIT))
    assert launch.launcher == inner


@pytest.mark.parametrize("launcher", ["openmpi", "hydra", "slurm", "torchrun"])
def test_wrappers_between_launcher_and_python_are_seen_through(launcher: str) -> None:
    environ, process = LAUNCHERS[launcher]
    wrappers = [
        Process(name, 60, name, environ)
        for name in ("bash", "env", "timeout", "numactl", "nsys", "gdb", "apptainer", "starter-suid")
    ]
    wrappers.append(Process("python", 61, "python wrapper.py", environ))
    assert identify(environ, (*wrappers, process, INIT)).launcher == launcher


@pytest.mark.parametrize("launcher", ["openmpi", "hydra", "slurm", "torchrun", "lightning"])
def test_each_value_names_the_variable_it_was_read_from(launcher: str) -> None:
    environ, process = LAUNCHERS[launcher]
    launch = identify(environ, (process, INIT))
    expected = {"world_size", "global_rank", "local_rank", "local_world_size"}
    assert expected <= set(launch.sources)
    assert set(launch.sources.values()) <= set(environ)


def test_uneven_tasks_of_slurm_are_counted_for_this_node() -> None:
    assert facts(identify(SLURM, (STEP, INIT))) == facts(Launch("slurm", 7, 4, 0, 2, 2, 4))
    last = SLURM | {"SLURM_PROCID": "6", "SLURM_NODEID": "3"}
    assert identify(last, (STEP, INIT)).local_world_size == 1


def test_nodes_are_unknown_where_only_a_rendezvous_can_tell() -> None:
    launch = identify(OPEN_MPI, (Process("orted", 40, "orted"), INIT))
    assert (launch.node_rank, launch.num_nodes) == (None, None)


def test_a_step_that_was_started_from_a_step_reads_its_own_tasks() -> None:
    job_variables = {"SLURM_NTASKS": "64", "SLURM_NNODES": "8", "SLURM_TASKS_PER_NODE": "8(x8)"}
    assert identify(SLURM | job_variables, (STEP, INIT)).world_size == 7


@pytest.mark.parametrize("kind", ["batch", "interactive", "extern"])
def test_a_step_that_is_not_srun_s_is_one_process(kind: str) -> None:
    assert identify(SLURM, (Process("slurmstepd", 30, f"slurmstepd: [7.{kind}]"), INIT)).launcher == "none"


def test_mpich_s_mpiexec_is_not_taken_for_open_mpi() -> None:
    assert identify(HYDRA, (Process("mpiexec", 40, "mpiexec"), INIT)).launcher == "hydra"


def test_a_terminal_server_in_a_step_does_not_hand_the_rank_on() -> None:
    tmux = Process("tmux: server", 44, "tmux", SLURM)
    assert identify(SLURM, (SHELL, tmux, STEP, INIT)).launcher == "none"


def test_a_process_that_lightning_s_child_starts_is_not_that_child() -> None:
    child = Process("python", 41, "python train.py", LIGHTNING)
    with pytest.raises(UsageError, match=UNCLAIMED):
        identify(LIGHTNING, (child, Process("python", 40, "python train.py", {}), INIT))


def test_ranks_that_we_exported_for_others_do_not_change_who_we_are() -> None:
    environ, process = LAUNCHERS["slurm"]
    again = identify(environ | {"RANK": "4", "LOCAL_RANK": "0"}, (process, INIT))
    assert again == identify(environ, (process, INIT))


def test_a_launcher_outside_of_a_container_is_believed() -> None:
    assert identify(OPEN_MPI, (SHELL, Process("sh", 1, "sh", OPEN_MPI))).launcher == "openmpi"


def test_a_rank_that_was_exported_inside_a_container_is_not_believed() -> None:
    with pytest.raises(UsageError, match=UNCLAIMED):
        identify(OPEN_MPI, (SHELL, Process("sh", 1, "sh", {})))


def test_a_launcher_that_proc_hides_is_believed() -> None:
    hidden = Process("", 30)
    assert identify(SLURM, (hidden,)).launcher == "slurm"
    assert identify(SLURM, (Process("bash", 50, "bash", SLURM), hidden)).launcher == "slurm"


def test_pmi_from_a_hidden_srun_is_not_taken_for_hydra() -> None:
    assert identify(SLURM | {"PMI_RANK": "4", "PMI_SIZE": "7"}, (Process("", 30),)).launcher == "slurm"


def test_a_batch_script_below_a_hidden_process_does_not_hand_on_the_step_it_was_submitted_from() -> None:
    assert identify(SLURM, (Process("slurm_script", 31, "sh", SLURM), Process("", 30))).launcher == "none"


def test_what_a_step_left_in_the_background_is_not_its_task_though_init_is_hidden() -> None:
    with pytest.raises(UsageError, match=UNCLAIMED):
        identify(SLURM, (Process("sh", 50, "sh", SLURM), Process("", 1)))


def test_a_rank_that_was_exported_below_a_hidden_process_is_not_believed() -> None:
    with pytest.raises(UsageError, match=UNCLAIMED):
        identify(OPEN_MPI, (Process("bash", 50, "bash", {}), Process("", 30)))


@pytest.mark.parametrize("number", ["4294967290", "4294967291", "4294967292"])
def test_numbers_of_steps_that_are_not_srun_s_are_known_without_their_names(number: str) -> None:
    assert identify(SLURM | {"SLURM_STEP_ID": number}, (Process("", 30),)).launcher == "none"


@pytest.mark.parametrize(
    ("launcher", "change"),
    [
        ("openmpi", {"OMPI_COMM_WORLD_RANK": "4"}),
        ("openmpi", {"OMPI_COMM_WORLD_LOCAL_RANK": "2"}),
        ("openmpi", {"OMPI_COMM_WORLD_LOCAL_SIZE": "5"}),
        ("openmpi", {"OMPI_COMM_WORLD_SIZE": "four"}),
        ("openmpi", {"OMPI_COMM_WORLD_SIZE": "0"}),
        ("hydra", {"PMI_RANK": "-1"}),
        ("hydra", {"MPI_LOCALNRANKS": ""}),
        ("slurm", {"SLURM_PROCID": "7"}),
        ("slurm", {"SLURM_LOCALID": "2"}),
        ("slurm", {"SLURM_NODEID": "4"}),
        ("slurm", {"SLURM_STEP_NUM_TASKS": "8"}),
        ("slurm", {"SLURM_STEP_NUM_NODES": "5"}),
        ("slurm", {"SLURM_STEP_TASKS_PER_NODE": "2(3),1"}),
        ("torchrun", {"GROUP_RANK": "2"}),
        ("torchrun", {"LOCAL_RANK": "1"}),
        ("lightning", {"LOCAL_RANK": "2"}),
        ("lightning", {"NODE_RANK": "1"}),
    ],
)
def test_contradictions_are_an_error_that_prints_the_variables(launcher: str, change: dict[str, str]) -> None:
    environ, process = LAUNCHERS[launcher]
    with pytest.raises(UsageError) as error:
        identify(environ | change, (process, INIT))
    for name, value in (environ | change).items():
        assert f"{name}={value}" in str(error.value)
    assert f"{OVERRIDE}=none" in str(error.value)


def test_a_contradiction_is_named() -> None:
    environ, process = LAUNCHERS["openmpi"]
    with pytest.raises(UsageError, match="global_rank 4 is not below world_size 4"):
        identify(environ | {"OMPI_COMM_WORLD_RANK": "4"}, (process, INIT))


@pytest.mark.parametrize("launcher", ["openmpi", "hydra", "slurm", "torchrun"])
def test_half_a_set_of_variables_is_an_error_that_names_the_missing(launcher: str) -> None:
    environ, process = LAUNCHERS[launcher]
    for missing in set(environ) - {"TORCHELASTIC_RUN_ID", "SLURM_STEP_ID"}:
        rest = {name: value for name, value in environ.items() if name != missing}
        with pytest.raises(UsageError, match=missing):
            identify(rest, (process, INIT))


def test_the_user_may_name_the_launcher() -> None:
    assert identify(OPEN_MPI | {OVERRIDE: "openmpi"}, (SHELL, INIT)).global_rank == 3
    assert identify(OPEN_MPI | {OVERRIDE: "none"}, (LAUNCHERS["openmpi"][1], INIT)).launcher == "none"


def test_the_children_of_a_run_with_a_named_launcher_are_still_children() -> None:
    for ancestors in [(LAUNCHERS["lightning"][1], INIT), ()]:
        assert identify(LIGHTNING | {OVERRIDE: "none"}, ancestors).launcher == "lightning"


def test_an_agent_of_torch_is_known_by_its_name_whatever_program_it_is() -> None:
    agent = Process("pt_elastic", 40, "python accelerate", {})
    assert identify(TORCHRUN, (agent, INIT)).launcher == "torchrun"


def test_a_process_that_entered_a_container_with_its_rank_is_believed() -> None:
    assert identify(SLURM, (Process("sh", 55, "sh", SLURM),)).launcher == "slurm"


def test_a_wrong_name_of_a_launcher_lists_the_right_ones() -> None:
    with pytest.raises(UsageError, match="torchrun, openmpi, hydra, slurm, flux, jsm, pals, env, lightning, none"):
        identify({OVERRIDE: "mpi"}, ())


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["/usr/bin/mpirun", "-np", "2"], "mpirun"),
        (["slurmstepd: [7.batch] "], "slurmstepd: [7.batch]"),
        (["sshd: somebody@pts/0"], "sshd"),
        (["/venv/bin/python3.11", "/venv/bin/torchrun", "train.py"], "torchrun"),
        (["python", "-u", "-m", "torch.distributed.run", "train.py"], "torch.distributed.run"),
        (["python", "-X", "dev", "-W", "error", "some/train.py", "-m", "x"], "python train.py"),
        (["python", "-c", "import torch"], "python -c"),
        (["python"], "python "),
        (["/usr/bin/bash"], "bash (interactive)"),
        (["-zsh", "-i"], "zsh (interactive)"),
        (["bash", "-l", "job.sh"], "bash"),
        ([""], ""),
    ],
)
def test_a_command_line_is_known_by_its_program(argv: list[str], expected: str) -> None:
    assert program(argv) == expected


def test_a_parent_s_variables_are_those_that_matter_with_all_of_their_value(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "comm").write_text("bash\n")
    (folder / "cmdline").write_bytes(b"bash\0script.sh\0")
    (folder / "environ").write_bytes(b"SLURM_JOB_NAME=two words\0HOME=/home/x\0RANK=3\0")
    found = look_at(7, tmp_path)
    assert found == Process("bash", 7, "bash", {"SLURM_JOB_NAME": "two words", "RANK": "3"})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"I_MPI_HYDRA_UUID": "a"}, "mpirun -genv I_MPI_PIN 0, or -genv I_MPI_PIN_DOMAIN 4"),
        ({}, "mpiexec -bind-to none, or -bind-to core:4"),
    ],
    ids=["Intel MPI", "MPICH"],
)
def test_more_cores_are_asked_for_in_the_words_of_the_mpi(environ: dict[str, str], expected: str) -> None:
    assert hydra.more_cores(environ, 4) == expected


@pytest.mark.skipif(not Path("/proc").exists(), reason="no /proc")
def test_the_parents_of_this_process_start_with_its_parent_and_end_with_the_first() -> None:
    found = list(parents())
    assert found[0].pid == os.getppid()
    assert found[-1].pid == 1 or not found[-1].name


def test_this_process_says_who_it_is_without_importing_torch() -> None:
    code = (
        "import sys; from lightning_app.launchers.detection import this_launch; this_launch(); "
        "print([name for name in ('torch', 'lightning', 'numpy', 'mpi4py') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_this_process_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OVERRIDE, "none")
    assert facts(this_launch()) == facts(Launch("none", 1, 0, 0, 1, 0, 1))


def test_what_is_exported_later_does_not_change_who_this_process_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OVERRIDE, "none")
    before = this_launch()
    for name, value in (OPEN_MPI | {OVERRIDE: "openmpi"}).items():
        monkeypatch.setenv(name, value)
    assert this_launch() is before


def test_a_launcher_is_a_file_and_a_line_in_the_table() -> None:
    files = {path.stem for path in Path(specs.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(specs.SPECS) == files


@pytest.mark.parametrize(("inner", "outer"), list(combinations(["torchrun", "openmpi", "hydra", "slurm"], 2)))
def test_without_proc_the_inner_one_of_the_usual_nestings_is_believed(inner: str, outer: str) -> None:
    assert identify(LAUNCHERS[inner][0] | LAUNCHERS[outer][0], ()).launcher == inner


# Ranks recognised by their variables alone, whoever set them. We have run only ENV; the others are computed.
SUFFICIENT = {
    "flux": (FLUX, Launch("flux", 6, 5, 2, 3, None, None)),
    "jsm": (JSM, Launch("jsm", 5, 3, 0, 2, None, None)),
    "pals": (PALS, Launch("pals", 6, 2, 0, 4, None, None)),
    "env": (ENV, Launch("env", 6, 5, 1, 2, None, None)),
}
PYTHON_LAUNCHER = Process("python", 41, "python launch.py", {})


@pytest.mark.parametrize("launcher", SUFFICIENT)
@pytest.mark.parametrize(
    "ancestors",
    [(SHELL, INIT), (PYTHON_LAUNCHER, INIT), (), (SHELL, Process("sh", 1, "sh", {}))],
    ids=["shell", "Python", "none seen", "container"],
)
def test_ranks_of_a_launcher_whose_variables_suffice_are_ranks(launcher: str, ancestors: tuple[Process, ...]) -> None:
    environ, expected = SUFFICIENT[launcher]
    assert facts(identify(environ, ancestors)) == facts(expected)


@pytest.mark.parametrize(("name", "launcher"), [("flux-shell", "flux"), ("jsmd", "jsm"), ("palsd", "pals")])
def test_a_launcher_that_was_started_by_another_is_nearer(name: str, launcher: str) -> None:
    ancestors = (SHELL, Process(name, 60, name), STEP, INIT)
    assert identify(SLURM | SUFFICIENT[launcher][0], ancestors).launcher == launcher


def test_ranks_set_by_hand_in_a_batch_script_are_ranks_and_those_that_it_inherited_are_not() -> None:
    for inherited, launcher in [({}, "env"), (ENV, "none")]:
        script = Process("slurm_script", 31, "bash", inherited)
        assert identify(ENV, (script, Process("slurmstepd", 30, "slurmstepd: [7.batch]"), INIT)).launcher == launcher


def test_what_a_daemon_set_for_its_shell_is_inherited() -> None:
    login = Process("bash", 50, "bash", ENV)
    own = Process("bash", 51, "bash", {})  # below which they were set by hand
    assert identify(ENV, (own, Process("sshd", 30, "sshd", {}), INIT)).launcher == "env"
    assert identify(ENV, (login, Process("sshd", 30, "sshd", {}), INIT)).launcher == "none"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"MASTER_ADDR": "127.0.0.1"}, Launch("env", 6, 5, 5, 6, 0, 1)),
        ({"MASTER_ADDR": "localhost"}, Launch("env", 6, 5, 5, 6, 0, 1)),
        ({"LOCAL_RANK": None}, Launch("env", 6, 5, 0, 1, None, None)),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": None}, Launch("env", 1, 0, 0, 1, 0, 1)),
    ],
    ids=["one host", "one host by name", "a process a node", "one process"],
)
def test_the_ranks_of_a_node_follow_where_nothing_counts_them(change: dict[str, str | None], expected: Launch) -> None:
    environ = {name: value for name, value in (ENV | {"LOCAL_WORLD_SIZE": None} | change).items() if value is not None}
    assert facts(identify(environ, (SHELL, INIT))) == facts(expected)


def test_a_local_rank_without_their_number_is_an_error_that_asks_for_it() -> None:
    environ = {name: value for name, value in ENV.items() if name != "LOCAL_WORLD_SIZE"}
    with pytest.raises(UsageError, match="LOCAL_WORLD_SIZE: missing; it is the number of ranks on this node"):
        identify(environ, (SHELL, INIT))


def test_tasks_of_flux_that_nodes_do_not_share_evenly_are_an_error() -> None:
    with pytest.raises(UsageError, match="FLUX_JOB_NNODES does not divide FLUX_JOB_SIZE"):
        identify(FLUX | {"FLUX_JOB_NNODES": "4"}, (SHELL, INIT))


@pytest.mark.parametrize(
    "environ",
    [
        *(LAUNCHERS[name][0] for name in LAUNCHERS),
        {"RANK": "0", "WORLD_SIZE": "2"},
        {"RANK": "1"},
        {"PMI_RANK": "1", "PMI_SIZE": "2"},
        {"MV2_COMM_WORLD_RANK": "0", "MV2_COMM_WORLD_SIZE": "4"},
        {"ALPS_APP_PE": "0"},
    ],
    ids=lambda environ: next(iter(environ)),
)
def test_one_of_several_ranks_that_nobody_we_know_has_started_stops_unless_told(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=UNCLAIMED):
        identify(environ, (SHELL, INIT))
    assert identify(environ | {OVERRIDE: "none"}, (SHELL, INIT)).launcher == "none"


@pytest.mark.parametrize(
    "environ", [{"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, {"LOCAL_RANK": "0"}, {"SLURM_PROCID": "0"}]
)
def test_the_only_rank_is_a_process_of_its_own(environ: dict[str, str]) -> None:
    assert facts(identify(environ, (SHELL, INIT))) == facts(Launch("none", 1, 0, 0, 1, 0, 1))


@pytest.mark.parametrize(
    ("visible", "launcher_s", "own"),
    [
        ({"CUDA_VISIBLE_DEVICES": "2"}, {}, True),
        ({"CUDA_VISIBLE_DEVICES": "2"}, {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, True),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8932f937-d72c"}, {}, True),
        ({"CUDA_VISIBLE_DEVICES": "MIG-7c2a"}, {"CUDA_VISIBLE_DEVICES": "MIG-7c2a,MIG-90d1"}, True),
        ({"ROCR_VISIBLE_DEVICES": "1"}, {}, True),
        ({"HIP_VISIBLE_DEVICES": "1"}, {"HIP_VISIBLE_DEVICES": "0,1"}, True),
        ({"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "0"}, False),
        ({}, {}, False),
    ],
)
@pytest.mark.parametrize("launcher", ["openmpi", "hydra", "torchrun"])
def test_gpus_that_a_wrapper_chose_are_the_rank_s_own_and_those_of_the_whole_job_are_not(
    launcher: str, visible: dict[str, str], launcher_s: dict[str, str], own: bool
) -> None:
    environ, process = LAUNCHERS[launcher]
    wrapper = Process("bash", 60, "bash", environ | launcher_s)
    launch = identify(environ | visible, (wrapper, replace(process, environ=launcher_s), INIT))
    assert launch.own_gpus == own


def test_gpus_that_slurm_chose_are_the_task_s_own() -> None:
    assert identify(SLURM | {"CUDA_VISIBLE_DEVICES": "0,1"}, (replace(STEP, environ=None), INIT)).own_gpus


PTY = SLURM | {"SLURM_PTY_PORT": "44673", "SLURM_NTASKS": "7"}


def test_what_is_typed_into_the_shell_of_an_interactive_step_is_a_process_of_its_own() -> None:
    shell = Process("bash", 50, program(["/usr/bin/bash"]), PTY)
    launch = identify(PTY, (shell, STEP, INIT))
    assert (launch.launcher, launch.world_size) == ("none", 1)
    assert launch.warning.startswith("this is one process, but the SLURM job has 7 tasks: put srun")


def test_what_srun_itself_starts_under_a_terminal_is_a_task() -> None:
    script = Process("bash", 50, program(["/usr/bin/bash", "train.sh"]), PTY)
    for ancestors in [(STEP, INIT), (script, STEP, INIT)]:
        assert identify(PTY, ancestors).launcher == "slurm"
    fed = {name: value for name, value in PTY.items() if name != "SLURM_PTY_PORT"}
    reads_stdin = Process("bash", 50, program(["/usr/bin/bash"]), fed)
    assert identify(fed, (reads_stdin, STEP, INIT)).launcher == "slurm"


def test_one_rank_of_a_launcher_is_a_process_of_its_own() -> None:
    one = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
    one |= {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}
    assert not identify(one, (LAUNCHERS["openmpi"][1], INIT)).external
    assert identify(OPEN_MPI, (LAUNCHERS["openmpi"][1], INIT)).external


def test_a_process_of_its_own_in_a_job_of_one_task_is_warned_of_nothing() -> None:
    salloc = Process("salloc", 40, "salloc", {})
    assert identify({"SLURM_NTASKS": "4"}, (SHELL, salloc, INIT)).warning
    assert identify({"SLURM_NTASKS": "1"}, (SHELL, salloc, INIT)).warning == ""
