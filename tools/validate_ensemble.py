#!/usr/bin/env python3
"""Check runs of mdet with physical_validation. The exit code is 1 when a check fails.

    pip install ase physical_validation
    tools/validate_ensemble.py kinetic RUN...          NVT: mean, width and law of the kinetic energy
    tools/validate_ensemble.py equipartition RUN...    Langevin: the same of translation, rotation and vibration alone
    tools/validate_ensemble.py temperatures RUN RUN    NVT of one start at two temperatures: potential energies
    tools/validate_ensemble.py timestep RUN RUN...     NVE of one start: energy errors against the timestep squared

mdet's potential energy is the work along the path: no function of the geometry without a potential, and with one it
gathers the integrator's errors. So `temperatures` is for analytic potentials, of which this makes runs:

    cargo run --release -p mdet-md --example analytic -- nvt-langevin 600 1.0 400 OUT
"""

import csv
import glob
import sys
import tomllib

import ase.data
import ase.io
import numpy as np
import physical_validation as pv

KJ_PER_MOL_PER_EV = 96.48533212
EV_PER_U_ANGSTROM2_PER_FS2 = 1.0 / 9.648533212e-3
UNITS = pv.data.UnitData(
    kb=8.314462618e-3, energy_str="kJ/mol", energy_conversion=1.0, length_str="nm", length_conversion=1.0,
    volume_str="nm^3", volume_conversion=1.0, temperature_str="K", temperature_conversion=1.0,
    pressure_str="bar", pressure_conversion=1.0, time_str="ps", time_conversion=1.0,
)
# Standard errors that a sound run exceeds once in 16 000 times, and the probability to match.
MOST_ERRORS, LEAST_PROBABILITY = 4.0, 6e-5


def read(run):
    """One run, its first fifth left out, as physical_validation takes it."""
    with open(f"{run}/config.toml", "rb") as file:
        config = tomllib.load(file)
    dynamics = config["dynamics"]
    name, thermostat = ("nve", {}) if dynamics["ensemble"] == "nve" else next(iter(dynamics["ensemble"].items()))
    tables, frames = [], []
    for path in sorted(glob.glob(f"{run}/observables*.csv")):
        with open(path) as file:
            rows = list(csv.DictReader(file))
        tables.append({key: np.array([float(row[key]) for row in rows])[len(rows) // 5:] for key in rows[0]})
    for path in sorted(glob.glob(f"{run}/trajectory*.xyz")):
        read = ase.io.read(path, ":")
        frames.extend(read[len(read) // 5:])
    column = lambda key: np.concatenate([table[key] for table in tables]) * KJ_PER_MOL_PER_EV
    observables = pv.data.ObservableData(
        kinetic_energy=column("kinetic_ev"), potential_energy=column("potential_ev"),
        total_energy=column("total_ev"), constant_of_motion=column("conserved_ev"),
    )
    n_atoms, masses = len(frames[0]), frames[0].get_masses()
    translation, rotation = conserved(dynamics, frames[0])
    system = pv.data.SystemData(
        natoms=n_atoms, nconstraints=0, ndof_reduction_tra=translation, ndof_reduction_rot=rotation, mass=masses,
        molecule_idx=np.array([0]), nconstraints_per_molecule=np.array([0]),
    )
    ensemble = pv.data.EnsembleData(
        "NVE" if name == "nve" else "NVT", natoms=n_atoms, volume=1.0, energy=0.0 if name == "nve" else None,
        temperature=thermostat.get("temperature_k"),
    )
    # Velocities of the middle of the last step, whose law does not depend on the timestep; nm and nm/ps.
    kick = 0.5 * dynamics["timestep_fs"] / EV_PER_U_ANGSTROM2_PER_FS2 / masses[:, None]
    trajectory = pv.data.TrajectoryData(
        position=[0.1 * frame.positions for frame in frames],
        velocity=[100.0 * (frame.arrays["velo"] - kick * frame.get_forces()) for frame in frames],
    )
    return pv.data.SimulationData(
        units=UNITS, dt=dynamics["timestep_fs"] / 1000.0, system=system, ensemble=ensemble, observables=observables,
        trajectory=trajectory,
    )


def conserved(dynamics, atoms):
    """Degrees of freedom of translation and rotation that are not moved."""
    if "nvt-langevin" in dynamics["ensemble"]:
        return 0, 0
    rotation = 3 if len(atoms) > 1 and np.linalg.matrix_rank(atoms.positions - atoms.positions[0], tol=1e-4) > 1 else 2
    kept = dynamics.get("forces_conserve", "momentum-and-angular-momentum")
    return {"nothing": (0, 0), "momentum": (3, 0)}.get(kept, (3, 0 if len(atoms) == 1 else rotation))


def check_laws(name, strict, loose):
    """Fails unless the probability of each law and the distance of each mean and width are acceptable."""
    failed = min(strict) < LEAST_PROBABILITY or np.abs(loose).max() > MOST_ERRORS
    probabilities = ", ".join(f"{p:.3g}" for p in strict)
    errors = ", ".join(f"{mean:.1f} and {width:.1f}" for mean, width in loose)
    print(f"{name}: {'FAILED' if failed else 'passed'}; Kolmogorov-Smirnov p {probabilities}; "
          f"mean and width off by {errors} standard errors")
    return failed


def main(check, *runs):
    simulations = [read(run) for run in runs]
    failed = []
    if check in ("kinetic", "equipartition"):
        test = pv.kinetic_energy.distribution if check == "kinetic" else pv.kinetic_energy.equipartition
        for run, simulation in zip(runs, simulations):
            seed = {"bootstrap_seed": 1, "verbosity": 0}
            strict, loose = test(simulation, strict=True, **seed), test(simulation, strict=False, **seed)
            if check == "kinetic":
                strict, loose = [strict], [loose]
            if check_laws(run, strict, loose):
                failed.append(run)
    elif check == "temperatures":
        distance = pv.ensemble.check(*simulations, bootstrap_error=False, verbosity=1)
        print(f"slope of the potential energies off by {distance[0]:.1f} standard errors")
        failed = list(runs) if abs(distance[0]) > MOST_ERRORS else []
    elif check == "timestep":
        deviation = pv.integrator.convergence(simulations, verbose=True)
        print(f"energy errors off the square of the timestep by {100.0 * deviation:.0f} %")
        failed = list(runs) if deviation > 0.2 else []
    else:
        sys.exit(f"expected kinetic, equipartition, temperatures or timestep, found {check}")
    if failed:
        sys.exit(f"{check}: FAILED for {', '.join(failed)}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
