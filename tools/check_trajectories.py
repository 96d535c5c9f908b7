#!/usr/bin/env python3
"""Open mdet's trajectories in ASE and MDAnalysis and compare them with the extended XYZ one.

    pip install ase MDAnalysis netCDF4
    for f in xyz netcdf dcd; do mdet md examples/ethanol.xyz --steps 100 --format $f --out check-$f; done
    tools/check_trajectories.py check-xyz check-netcdf check-dcd

The three runs have one seed, so they hold the same frames: exactly in XYZ, in single precision in the others.
"""

import sys

import ase.io
import ase.io.cp2k
import ase.units
import MDAnalysis
import numpy as np
from ase.io.netcdftrajectory import NetCDFTrajectory

KCAL_PER_MOL = ase.units.kcal / ase.units.mol


def close(name, found, expected, tolerance):
    worst = np.abs(np.asarray(found) - np.asarray(expected)).max()
    assert worst < tolerance, f"{name}: off by {worst}, expected below {tolerance}"
    print(f"{name:48} agrees to {worst:.1e}")


def main(xyz, netcdf, dcd):
    frames = ase.io.read(f"{xyz}/trajectory.xyz", ":")
    positions = np.array([frame.positions for frame in frames])
    velocities = np.array([frame.arrays["velo"] for frame in frames])
    forces = np.array([frame.get_forces() for frame in frames])
    times_ps = np.array([frame.info["time_fs"] for frame in frames]) / 1000.0
    # Single precision: seven digits of a few ångström.
    single = 1e-5

    with NetCDFTrajectory(f"{netcdf}/trajectory.nc") as trajectory:
        assert len(trajectory) == len(frames)
        assert (trajectory[0].numbers == frames[0].numbers).all()
        close("ASE, NetCDF, positions", [f.positions for f in trajectory], positions, single)
        # ASE takes these in the units of the file, ångström/ps and kcal/mol/ångström.
        close("ASE, NetCDF, velocities (Å/fs)", [f.get_velocities() / 1000.0 for f in trajectory], velocities, single)
        close("ASE, NetCDF, forces (eV/Å)", [f.arrays["forces"] * KCAL_PER_MOL for f in trajectory], forces, single)
    with open(f"{dcd}/trajectory.dcd", "rb") as file:
        read = list(ase.io.cp2k.read_cp2k_dcd(file, slice(None), ref_atoms=frames[0]))
        close("ASE, DCD, positions", [f.positions for f in read], positions, single)

    topology = f"{xyz}/trajectory.xyz"
    for name, path in [("XYZ", topology), ("NetCDF", f"{netcdf}/trajectory.nc"), ("DCD", f"{dcd}/trajectory.dcd")]:
        universe = MDAnalysis.Universe(topology, path, convert_units=False)
        assert len(universe.trajectory) == len(frames)
        read = [step.positions.copy() for step in universe.trajectory]
        close(f"MDAnalysis, {name}, positions", read, positions, single)
    universe = MDAnalysis.Universe(topology, f"{netcdf}/trajectory.nc", convert_units=False)
    steps = [(s.time, s.velocities.copy(), s.forces.copy()) for s in universe.trajectory]
    close("MDAnalysis, NetCDF, time (ps)", [s[0] for s in steps], times_ps, single)
    close("MDAnalysis, NetCDF, velocities (Å/fs)", [s[1] / 1000.0 for s in steps], velocities, single)
    close("MDAnalysis, NetCDF, forces (eV/Å)", [s[2] * KCAL_PER_MOL for s in steps], forces, single)


if __name__ == "__main__":
    main(*sys.argv[1:])
