#!/usr/bin/env python3
"""The shows of dynamics, with a picture each.

    pip install ase matplotlib
    tools/show_dynamics.py nvt MDET examples/ethanol.xyz OUT --time "100 ps"      temperature, bonds, dihedrals
    tools/show_dynamics.py ablation MDET examples/octane.xyz OUT --time "20 ps"   NVE: f32, f64, with and without offset

MDET is the program; OUT becomes a folder of runs with a PNG. Further options go to every run (--model, --threads, ...).
Runs that are there already are taken as they are.
"""

import csv
import os
import subprocess
import sys

import ase.io
import matplotlib
import numpy as np
from ase.neighborlist import natural_cutoffs, neighbor_list

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def run(mdet, molecule, folder, *options):
    if not os.path.exists(folder):
        subprocess.run([mdet, "md", molecule, "--out", folder, *options], check=True)
    with open(f"{folder}/observables.csv") as file:
        rows = list(csv.DictReader(file))
    return {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}


def bonds_of(atoms):
    i, j = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.2))
    return [(a, b) for a, b in zip(i, j) if a < b]


def heavy_dihedrals(atoms, bonds):
    neighbours = {k: {b if a == k else a for a, b in bonds if k in (a, b)} for k in range(len(atoms))}
    found = {}
    for b, c in bonds:
        ends = [(a, d) for a in neighbours[b] - {c} for d in neighbours[c] - {b} if a != d]
        heavy = lambda k: -atoms.numbers[k]
        ends.sort(key=lambda pair: heavy(pair[0]) + heavy(pair[1]))
        if ends:
            found[b, c] = (ends[0][0], b, c, ends[0][1])
    return list(found.values())


def nvt(mdet, molecule, out, *options):
    table = run(mdet, molecule, f"{out}/nvt", "--ensemble", "nvt-langevin", "--temperature", "300 K", *options)
    frames = ase.io.read(f"{out}/nvt/trajectory.xyz", ":")
    time = table["time_fs"] / 1000.0
    bonds = bonds_of(frames[0])
    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(7, 9), layout="constrained")
    top.plot(time, table["temperature_k"], lw=0.3)
    top.axhline(300.0, color="k", lw=0.8)
    top.set(xlabel="time (ps)", ylabel="temperature (K)", title=os.path.basename(molecule))
    kinds = {}
    for a, b in bonds:
        kinds.setdefault("–".join(sorted((frames[0].symbols[a], frames[0].symbols[b]))), []).append((a, b))
    for kind, pairs in sorted(kinds.items()):
        lengths = [np.linalg.norm(f.positions[a] - f.positions[b]) for f in frames for a, b in pairs]
        middle.hist(lengths, bins=100, density=True, histtype="step", label=kind)
    middle.set(xlabel="bond length (Å)", ylabel="density")
    middle.legend()
    for dihedral in heavy_dihedrals(frames[0], bonds):
        angles = [(f.get_dihedral(*dihedral) + 180.0) % 360.0 - 180.0 for f in frames]
        label = "–".join(f"{frames[0].symbols[k]}{k + 1}" for k in dihedral)
        bottom.hist(angles, bins=72, range=(-180, 180), density=True, histtype="step", label=label)
    bottom.set(xlabel="dihedral (°)", ylabel="density")
    bottom.legend(fontsize=7, ncols=2)
    figure.savefig(f"{out}/nvt.png", dpi=150)


def ablation(mdet, molecule, out, *options):
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for precision in ("f32", "f64"):
        for offset in ("off", "on"):
            name = f"{precision}-offset-{offset}"
            switch = f"--rotation-offset={offset}"
            nve = ("--ensemble", "nve", "--precision", precision, switch, "--velocities", "scaled")
            table = run(mdet, molecule, f"{out}/{name}", *nve, *options)
            time = table["time_fs"] / 1000.0
            n_atoms = len(ase.io.read(molecule))
            # From a minimum half of the kinetic energy goes into the potential at once: fit what comes after.
            late = time > 0.1 * time[-1]
            kinetic = 1000.0 * table["kinetic_ev"] / n_atoms
            slope, offset_mev = np.polyfit(time[late], kinetic[late], 1)
            line = axes.plot(time, kinetic, lw=0.3)[0]
            label = f"{name}: {slope:+.4f} meV/atom/ps"
            axes.plot(time[late], slope * time[late] + offset_mev, color=line.get_color(), label=label)
            print(label)
    axes.set(xlabel="time (ps)", ylabel="kinetic energy (meV/atom)", title=os.path.basename(molecule))
    axes.legend()
    figure.savefig(f"{out}/ablation.png", dpi=150)


if __name__ == "__main__":
    os.makedirs(sys.argv[4], exist_ok=True)
    {"nvt": nvt, "ablation": ablation}[sys.argv[1]](*sys.argv[2:])
