# shellcheck shell=bash
# What every job needs before Python starts. The scripts beside it source it; adapt it to your cluster once.

# 1. Modules, if your cluster has them:
# module load python/3.11 cuda/12.8 openmpi/5.0

# 2. The environment that `make fit` made on a login node:
if [ -f .venv/bin/activate ]; then
    # shellcheck disable=SC1091
    source .venv/bin/activate
fi

# 3. Or a container instead of 1 and 2; then put "${CONTAINER[@]}" before python in the scripts:
# CONTAINER=(apptainer exec --nv laptop-to-cluster.sif)

mkdir -p slurm/logs
