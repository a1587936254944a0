"""The known launchers, one file each. To add one, add a file and a line in this table."""

from lightning_app.launchers.spec import Spec
from lightning_app.launchers.specs import env, flux, hydra, jsm, lightning, openmpi, pals, slurm, torchrun

# If parents are not visible, the first whose variables are set wins: innermost of the usual nestings first.
SPECS: dict[str, Spec] = {
    spec.name: spec
    for spec in (
        torchrun.SPEC,
        openmpi.SPEC,
        hydra.SPEC,
        slurm.SPEC,
        flux.SPEC,
        jsm.SPEC,
        pals.SPEC,
        env.SPEC,
        lightning.SPEC,
    )
}
