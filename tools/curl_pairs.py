#!/usr/bin/env python3
"""Heating by the antisymmetric part of the Jacobian as a sum over pairs of normal modes: the table of docs/drift.md.

    pip install ase numpy
    tools/curl_pairs.py MINIMUM.xyz [MODEL.safetensors]

MINIMUM.xyz is what `mdet opt` wrote with the model [built-in]; `mdet` is on the path. Central differences of its forces in f64 over
2·10⁻³ Å.
"""
import os
import subprocess
import sys
import tempfile

import numpy as np
from ase import Atoms
from ase.data import atomic_masses_iupac2016
from ase.io import read, write

STEP = 1e-3  # Å
PER_PS2 = 9648.53  # eV/(Å² u) in 1/ps²
PER_CM = 2 * np.pi * 0.0299792458  # cm⁻¹ in rad/ps
THERMAL_MEV = 0.08617333 * 300


def jacobian(molecule, options):
    frames = []
    for k in range(3 * len(molecule)):
        for sign in (1, -1):
            moved = Atoms(molecule.numbers, molecule.positions.copy())
            moved.positions.ravel()[k] += sign * STEP
            frames.append(moved)
    with tempfile.TemporaryDirectory() as folder:
        displaced, forces = os.path.join(folder, "displaced.xyz"), os.path.join(folder, "forces.xyz")
        write(displaced, frames, format="xyz")
        command = ["mdet", "predict", displaced, "-o", forces, "--raw", "--precision", "f64", *options]
        subprocess.run(command, check=True, capture_output=True)
        found = np.array([frame.get_forces().ravel() for frame in read(forces, ":")])
    return ((found[0::2] - found[1::2]) / (2 * STEP)).T


def main(path, *model):
    molecule = read(path)
    n, masses = len(molecule), atomic_masses_iupac2016[molecule.numbers]
    scale = np.repeat(masses, 3) ** -0.5
    stiffness = -scale[:, None] * jacobian(molecule, ["--model", *model] if model else []) * scale * PER_PS2
    symmetric, antisymmetric = (stiffness + stiffness.T) / 2, (stiffness - stiffness.T) / 2
    r, root = molecule.positions - np.average(molecule.positions, axis=0, weights=masses), masses**0.5
    rigid = [np.outer(root, e).ravel() for e in np.eye(3)] + [(root[:, None] * np.cross(e, r)).ravel() for e in np.eye(3)]
    q, _ = np.linalg.qr(np.array(rigid).T)
    inner = np.eye(3 * n) - q @ q.T
    squares, modes = np.linalg.eigh(inner @ symmetric @ inner)
    inside = abs(squares) > 1e-6 * squares.max()
    omega, modes = np.sqrt(abs(squares[inside])), modes[:, inside]
    growth = np.sqrt(np.linalg.eigvals(modes.T @ stiffness @ modes).astype(complex)).imag
    print(f"{molecule.get_chemical_formula()}: {len(omega)} modes, {np.sum(growth > 1e-9)} growing pairs, the fastest at {growth.max():.3f}/ps")
    j, k = np.triu_indices(len(omega), 1)
    between, total = omega[j] - omega[k], omega[j] + omega[k]
    coupling = (modes.T @ antisymmetric @ modes)[j, k] ** 2 / (2 * omega[j] ** 2 * omega[k] ** 2)
    print("width cm⁻¹, heating of the kinetic energy at 300 K in meV/atom/ps")
    for width in (0.1, 0.5, 1, 2, 5, 10, 20, 50):
        gamma = width * PER_CM
        pairs = coupling * gamma * (total**2 / (between**2 + gamma**2) + between**2 / (total**2 + gamma**2))
        print(f"{width:5} {THERMAL_MEV * pairs.sum() / (2 * n):.3f}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
