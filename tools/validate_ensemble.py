#!/usr/bin/env python3
"""Check mdet runs with physical_validation: kinetic energy against the Maxwell-Boltzmann law, the conserved energy
against the square of the timestep.

    pip install physical_validation
    tools/validate_ensemble.py kinetic RUN...       NVT runs, e.g. of --replicas, at one temperature
    tools/validate_ensemble.py timestep RUN RUN...  NVE runs of one start with different timesteps

The potential energy of these force fields is the work along the path, whose zero differs from run to run, so the
comparison of two temperatures is made in the project's own tests, with analytic potentials.
"""

import csv
import glob
import sys
import tomllib

import numpy as np
import physical_validation as pv

KJ_PER_MOL_PER_EV = 96.48533212
UNITS = pv.data.UnitData(
    kb=8.314462618e-3, energy_str="kJ/mol", energy_conversion=1.0, length_str="nm", length_conversion=1.0,
    volume_str="nm^3", volume_conversion=1.0, temperature_str="K", temperature_conversion=1.0,
    pressure_str="bar", pressure_conversion=1.0, time_str="ps", time_conversion=1.0,
)


def read(run):
    with open(f"{run}/config.toml", "rb") as file:
        config = tomllib.load(file)
    tables = []
    for path in sorted(glob.glob(f"{run}/observables*.csv")):
        with open(path) as file:
            rows = list(csv.DictReader(file))
        tables.append({key: np.array([float(row[key]) for row in rows]) for key in rows[0]})
    return config, tables


def data(config, tables, n_degrees, n_atoms):
    dynamics = config["dynamics"]
    name, thermostat = next(iter(dynamics["ensemble"].items())) if isinstance(dynamics["ensemble"], dict) else ("nve", {})
    rest = 3 * n_atoms - n_degrees
    system = pv.data.SystemData(
        natoms=n_atoms, nconstraints=0, ndof_reduction_tra=min(rest, 3), ndof_reduction_rot=max(rest - 3, 0),
    )
    ensemble = pv.data.EnsembleData(
        "NVE" if name == "nve" else "NVT", natoms=n_atoms, volume=1.0, energy=0.0 if name == "nve" else None,
        temperature=thermostat.get("temperature_k"),
    )
    # The first fifth equilibrates.
    column = lambda key: np.concatenate([t[key][len(t[key]) // 5:] for t in tables]) * KJ_PER_MOL_PER_EV
    observables = pv.data.ObservableData(
        kinetic_energy=column("kinetic_ev"), potential_energy=column("potential_ev"),
        total_energy=column("total_ev"), constant_of_motion=column("conserved_ev"),
    )
    every_ps = config["every"] * dynamics["timestep_fs"] / 1000.0
    return pv.data.SimulationData(
        units=UNITS, dt=every_ps, system=system, ensemble=ensemble, observables=observables,
    )


def degrees(run):
    """Degrees of freedom that mdet counts, from the first checkpoint."""
    import json
    with open(f"{run}/checkpoint.json") as file:
        replica = json.load(file)["replicas"][0]
    return replica["progress"]["degrees_of_freedom"], len(replica["numbers"])


def main(check, *runs):
    simulations = []
    for run in runs:
        config, tables = read(run)
        simulation = data(config, tables, *degrees(run))
        if check == "timestep":
            simulation.dt = config["dynamics"]["timestep_fs"] / 1000.0
        simulations.append(simulation)
    if check == "kinetic":
        for run, simulation in zip(runs, simulations):
            print(run)
            low, high = pv.kinetic_energy.distribution(simulation, strict=False, verbosity=1)
            assert max(abs(low), abs(high)) < 4.0, f"{low} and {high} standard errors from the law"
    elif check == "timestep":
        deviation = pv.integrator.convergence(simulations, verbose=True)
        assert deviation < 0.2, f"energy errors deviate from the square of the timestep by {deviation}"
    else:
        sys.exit(f"expected kinetic or timestep, found {check}")


if __name__ == "__main__":
    main(*sys.argv[1:])
