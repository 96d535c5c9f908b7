#!/usr/bin/env python3
"""Pictures of runs of mdet, and the numbers in them.

    pip install ase matplotlib
    tools/show_dynamics.py nvt RUN OUT.png          temperature, bond lengths and dihedrals of an NVT run
    tools/show_dynamics.py drift OUT.png RUN...     kinetic energy of NVE runs, with its slope

Energies are meV per atom; slopes are those of summary.toml, with the error that blocking gives.
"""

import csv
import os
import sys
import tomllib

import ase.io
import matplotlib
import numpy as np
from ase.neighborlist import natural_cutoffs, neighbor_list

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def read(run):
    """The table of a run by columns, and the averages of its summary."""
    with open(f"{run}/observables.csv") as file:
        rows = list(csv.DictReader(file))
    with open(f"{run}/summary.toml", "rb") as file:
        summary = tomllib.load(file)["replica"][0]
    return {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}, summary


def running_mean(series, width):
    return np.convolve(series, np.ones(width) / width, mode="valid")


def plot_with_mean(axes, time, series, window_ps, **style):
    """The series, pale, below its running mean."""
    width = max(int(window_ps / (time[1] - time[0])), 1)
    line = axes.plot(time, series, lw=0.3, alpha=0.3)[0]
    mean = running_mean(series, width)
    first = (width - 1) // 2
    axes.plot(time[first:first + len(mean)], mean, color=line.get_color(), lw=1.2, **style)


def bonds_of(atoms):
    i, j = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.2))
    return [(int(a), int(b)) for a, b in zip(i, j) if a < b]


def dihedrals_of(atoms, bonds):
    """One dihedral for each bond that is not at an end, along the heaviest neighbours; none within rings."""
    neighbours = {k: {b if a == k else a for a, b in bonds if k in (a, b)} for k in range(len(atoms))}

    def in_ring(b, c):
        seen, front = {b}, [b]
        while front:
            k = front.pop()
            for other in neighbours[k] - seen - ({c} if k == b else set()):
                seen.add(other)
                front.append(other)
        return c in seen

    found = []
    for b, c in bonds:
        ends = [(a, d) for a in neighbours[b] - {c} for d in neighbours[c] - {b} if a != d]
        if ends and not in_ring(b, c):
            a, d = max(ends, key=lambda pair: (atoms.numbers[pair[0]] + atoms.numbers[pair[1]], -pair[0] - pair[1]))
            found.append((a, b, c, d))
    return found


def nvt(run, picture):
    table, summary = read(run)
    frames = ase.io.read(f"{run}/trajectory.xyz", ":")
    frames = frames[len(frames) // 5:]
    first = frames[0]
    bonds = bonds_of(ase.io.read(f"{run}/trajectory.xyz", 0))
    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(7, 8), layout="constrained")
    plot_with_mean(top, table["time_fs"] / 1000.0, table["temperature_k"], 1.0)
    mean = summary["temperature_k"]
    top.axhline(300.0, color="k", lw=0.8, ls="--")
    title = f"{first.get_chemical_formula()}: {mean['value']:.1f} ± {mean['standard_error']:.1f} K"
    top.set(xlabel="time (ps)", ylabel="temperature (K)", title=title, ylim=(0, None), xlim=(0, None))
    kinds = {}
    for a, b in bonds:
        kinds.setdefault("–".join(sorted((first.symbols[a], first.symbols[b]))), []).append((a, b))
    for kind, pairs in sorted(kinds.items()):
        lengths = np.array([np.linalg.norm(f.positions[a] - f.positions[b]) for f in frames for a, b in pairs])
        middle.hist(lengths, bins=100, density=True, histtype="step", label=kind)
        print(f"{kind:5} {len(pairs):2} bonds, length {lengths.mean():.3f} ± {lengths.std():.3f} Å (width), "
              f"{lengths.min():.2f} to {lengths.max():.2f}")
    middle.set(xlabel="bond length (Å)", ylabel="density (1/Å)")
    middle.legend()
    for dihedral in dihedrals_of(first, bonds):
        angles = np.array([(f.get_dihedral(*dihedral) + 180.0) % 360.0 - 180.0 for f in frames])
        label = "–".join(f"{first.symbols[k]}{k + 1}" for k in dihedral)
        bottom.hist(angles, bins=72, range=(-180, 180), density=True, histtype="step", label=label)
        thirds = [np.mean(np.abs(angles) > 120), np.mean((angles > 0) & (angles <= 120)),
                  np.mean((angles <= 0) & (angles >= -120))]
        print(f"{label:16} beyond ±120° {thirds[0]:.2f}, 0 to 120° {thirds[1]:.2f}, -120° to 0 {thirds[2]:.2f}")
    bottom.set(xlabel="dihedral (°)", ylabel="density (1/°)", xlim=(-180, 180), xticks=range(-180, 181, 60))
    bottom.legend(fontsize=8)
    figure.savefig(picture, dpi=100)


def drift(picture, *runs):
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for run in runs:
        table, summary = read(run)
        n_atoms = len(ase.io.read(f"{run}/trajectory.xyz", 0))
        slope = summary["kinetic_drift"]
        slope, error = 1000.0 * slope["value"], 1000.0 * slope["standard_error"]
        label = f"{os.path.basename(run.rstrip('/'))}: {slope:+.2f} ± {error:.2f} meV/atom/ps"
        plot_with_mean(axes, table["time_fs"] / 1000.0, 1000.0 * table["kinetic_ev"] / n_atoms, 1.0, label=label)
        print(f"{label}, mean {summary['temperature_k']['value']:.0f} K, {table['time_fs'][-1] / 1000.0:.1f} ps")
    axes.set(xlabel="time (ps)", ylabel="kinetic energy (meV/atom)", xlim=(0, None), ylim=(0, None))
    axes.legend()
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] not in ("nvt", "drift"):
        sys.exit(__doc__)
    {"nvt": nvt, "drift": drift}[sys.argv[1]](*sys.argv[2:])
