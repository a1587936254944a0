"""The name that distinguishes jobs on one host."""

from __future__ import annotations

import os

import pytest

from lightning_app.errors import UsageError
from lightning_app.launchers.job_id import JOB_ID, job_token
from lightning_app.launchers.launch import Launch
from lightning_app.launchers.processes import Process
from lightning_app.launchers.specs.slurm import allocation

STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}
ON_ONE_NODE = Launch("openmpi", 2, 1, 1, 2, 0, 1)
ON_MANY_NODES = Launch("openmpi", 4, 3, 1, 2, None, None)
MPICH_ON_MANY_NODES = Launch("hydra", 4, 3, 1, 2, None, None)
MPICH_ON_ONE_NODE = Launch("hydra", 2, 1, 1, 2, 0, 1)
SLURM = Launch("slurm", 2, 1, 0, 1, 1, 2)


@pytest.mark.parametrize(
    "other",
    [
        {"SLURM_JOB_ID": "8", "SLURM_STEP_ID": "0"},
        {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "1"},
        STEP | {"SLURM_RESTART_COUNT": "1"},
        STEP | {"SLURM_CLUSTER_NAME": "another"},
    ],
)
def test_jobs_steps_restarts_and_clusters_of_slurm_differ(other: dict[str, str]) -> None:
    assert job_token(SLURM, STEP) != job_token(SLURM, other)


def test_the_first_attempt_of_a_slurm_job_has_a_number_too() -> None:
    assert job_token(SLURM, STEP) == "slurm-7-0-0"


def test_ranks_of_a_step_have_one_token_whatever_else_is_set() -> None:
    others = {"PMIX_NAMESPACE": "prterun-1", "SLURM_PROCID": "1", "SLURM_NODEID": "1"}
    assert job_token(SLURM, STEP | others) == job_token(SLURM, STEP)


def test_jobs_of_mpirun_on_one_node_differ_in_the_port_that_mpirun_holds() -> None:
    tokens = {
        job_token(
            ON_ONE_NODE, {"PMIX_NAMESPACE": "prterun-a-7@1", "PMIX_SERVER_URI2": f"prterun-a-7@0.0;{address}"}, ()
        )
        for address in ("tcp4://127.0.0.1:37761", "tcp4://127.0.0.1:50377")
    }
    assert tokens == {"openmpi-prterun-a-7@1-tcp4://127.0.0.1:37761", "openmpi-prterun-a-7@1-tcp4://127.0.0.1:50377"}


def test_jobs_of_open_mpi_4_on_many_nodes_differ_in_the_address_of_mpirun() -> None:
    environ = {"PMIX_NAMESPACE": "1094320129", "OMPI_MCA_orte_hnp_uri": "1094320128.0;tcp://10.0.0.1:56683;tcp6://..."}
    assert job_token(ON_MANY_NODES, environ, ()) == "openmpi-1094320129-tcp://10.0.0.1:56683"


def test_ranks_of_mpich_on_one_node_know_their_proxy_and_never_a_wrapper() -> None:
    proxy, wrapper = (Process(name, os.getpid(), name) for name in ("hydra_pmi_proxy", "bash"))
    token = job_token(MPICH_ON_ONE_NODE, {}, (Process("bash", 12, "bash"), proxy))
    assert token.startswith(f"hydra-{os.getpid()}@")
    assert token.partition("@")[2].isdecimal()
    with pytest.raises(UsageError, match=JOB_ID):
        job_token(MPICH_ON_ONE_NODE, {}, (wrapper,))


def test_intel_mpi_has_a_name_for_a_job() -> None:
    assert job_token(MPICH_ON_MANY_NODES, {"I_MPI_HYDRA_UUID": "ab12"}, ()) == "hydra-ab12"


@pytest.mark.parametrize(
    ("launch", "environ", "expected"),
    [
        (Launch("env", 4, 3, 1, 2, None, None), {"MASTER_ADDR": "n1", "MASTER_PORT": "29500"}, "env-n1:29500"),
        (Launch("flux", 4, 3, 1, 2, None, None), {"FLUX_JOB_ID_PATH": "/f1/f2", "FLUX_JOB_ID": "f2"}, "flux-/f1/f2"),
        (Launch("jsm", 4, 3, 1, 2, None, None), {"LSB_JOBID": "7", "PMIX_NAMESPACE": "9"}, "jsm-7-9"),
        (Launch("pals", 4, 3, 1, 2, None, None), {"PALS_APID": "c0ffee"}, "pals-c0ffee"),
    ],
    ids=lambda value: getattr(value, "launcher", ""),
)
def test_each_launcher_has_a_name_for_its_job(launch: Launch, environ: dict[str, str], expected: str) -> None:
    assert job_token(launch, environ, ()) == expected


def test_the_user_s_own_name_comes_before_all_and_a_port_where_there_is_none() -> None:
    assert job_token(SLURM, STEP | {JOB_ID: "mine"}, ()) == "slurm-mine"
    assert job_token(MPICH_ON_MANY_NODES, {"MASTER_PORT": "4321"}, ()) == "hydra-4321"


def test_jobs_of_mpirun_on_many_nodes_differ_in_their_namespace() -> None:
    tokens = {job_token(ON_MANY_NODES, {"PMIX_NAMESPACE": name}) for name in ("prterun-a-1@1", "prterun-a-2@1")}
    assert tokens == {"openmpi-prterun-a-1@1", "openmpi-prterun-a-2@1"}


def test_where_a_job_has_no_name_one_is_asked_for() -> None:
    for launch in (MPICH_ON_MANY_NODES, MPICH_ON_ONE_NODE):
        with pytest.raises(
            UsageError, match=r"hydra gives this job no unique name .* Set LIGHTNING_APP_JOB_ID to any word"
        ):
            job_token(launch, {}, ())


def test_a_task_of_an_array_is_named_by_array_and_task() -> None:
    assert allocation({"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}) == "12_3"
    assert allocation({"SLURM_JOB_ID": "12"}) == "12"
    assert allocation({}) is None


def test_a_token_has_no_spaces() -> None:
    assert job_token(ON_MANY_NODES, {"PMIX_NAMESPACE": "a b"}) == "openmpi-a_b"
