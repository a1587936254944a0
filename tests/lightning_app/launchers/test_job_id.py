"""The word that tells jobs apart on one host."""

from __future__ import annotations

import os

import pytest

from lightning_app.launchers.job_id import job_token
from lightning_app.launchers.launch import Launch

STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}
ON_ONE_NODE = Launch("openmpi", 2, 1, 1, 2, 0, 1)
ON_MANY_NODES = Launch("openmpi", 4, 3, 1, 2, None, None)
MPICH_ON_MANY_NODES = Launch("hydra", 4, 3, 1, 2, None, None)
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


def test_ranks_of_a_step_have_one_token_whatever_else_is_set() -> None:
    others = {"PMIX_NAMESPACE": "prterun-1", "SLURM_PROCID": "1", "SLURM_NODEID": "1"}
    assert job_token(SLURM, STEP | others) == job_token(SLURM, STEP)


def test_jobs_of_mpirun_on_one_node_differ_in_what_is_above_them() -> None:
    assert str(os.getppid()) in job_token(ON_ONE_NODE, {})


def test_jobs_of_mpirun_on_many_nodes_differ_in_their_namespace() -> None:
    tokens = {job_token(ON_MANY_NODES, {"PMIX_NAMESPACE": name}) for name in ("prterun-a-1@1", "prterun-a-2@1")}
    assert tokens == {"openmpi-prterun-a-1@1", "openmpi-prterun-a-2@1"}


def test_mpich_gives_a_job_on_many_nodes_no_name_but_its_own() -> None:
    assert job_token(MPICH_ON_MANY_NODES, {}) == "hydra"


def test_a_token_has_no_spaces() -> None:
    assert job_token(ON_MANY_NODES, {"PMIX_NAMESPACE": "a b"}) == "openmpi-a_b"
