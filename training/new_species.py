#!/usr/bin/env python3
"""Structures beside the corpus: new species, half of them ions, and small ones of its own; thermal geometries, labels.

    new_species.py CORPUS LABELER SERIES.xyz OUT [EACH]

Needs rdkit and the labeler's requirements, and takes a quarter of an hour of a core. CORPUS has species.json, LABELER label.py, SERIES.xyz
the molecules of `mdet judge map`. EACH species are neutral and as many are ions [5500]. Writes OUT/new-species.npz,
OUT/new-species.json, the list of [SMILES, charge] that `species` − 100000 counts, and OUT/small-species.npz, more structures of
the corpus' own training species of up to 8 atoms. README.md says what is left out.
"""
import json
import os
import random
import sys

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem

RDLogger.DisableLog("rdApp.*")

# The corpus has none of these, since models are judged on them: MD17, acetylacetone, 3BPA, …
KEPT_OUT = """CC(=O)Oc1ccccc1C(=O)O c1ccc(N=Nc2ccccc2)cc1 c1ccccc1 CCO O=CCC=O O=CC=CO c1ccc2ccccc2c1 CC(=O)Nc1ccc(O)cc1
O=C(O)c1ccccc1O Cc1ccccc1 O=c1cc[nH]c(=O)[nH]1 CC(=O)CC(C)=O CC(=O)C=C(C)O Nc1ncccc1OCc1ccccc1 CNC(C)=O O=c1cccccc1O
CCCCCCCC CCCCCCCCCC CCCCCCCCCCCC CCCCCCCCCCCCCCC"""
GROUPS = """C CC O OC N NC N(C)C S SC Cl C#N C=O C(C)=O C(=O)O C(N)=O C#C C=C C(=O)OC NC=O NC(C)=O [N+](=O)[O-] S(C)(=O)=O S(N)(=O)=O
S(C)=O CO CN CS CCl N=C OC(C)=O c1ccco1 c1cccs1 c1cn[nH]c1 C1CC1 N1CCOC1""".split()
OTHER = {6: [7, 7, 8, 16], 7: [6, 6, 8], 8: [16, 7, 6], 16: [8, 8, 6], 17: [6]}
BAD = [Chem.MolFromSmarts(x) for x in """[#8,#16;X2]~[#8;X2]~[#8,#16] [#7]~[#7]~[#7]~[#7]~[#7] [#8;X2][#8;X2] [Cl][#7,#8,#16] [#17][#17]
[#16]~[#16]~[#16] *=*=* [#7;X3;!$([#7]~[#6,#16,#1])] C1=CC1 [r3,r4]=[r3,r4] [S;X4;!$(S(=O)=O)] [#6;-,+] [N+;!$([N+](=O)[O-])]
[S;X3;!$(S=O)] [n+,o+,s+]""".split()]
# Where a proton leaves or comes, and how often.
ACIDS = [("[OX2H][C,S]=O", 5), ("[OX2H]c", 3), ("[OX2H][CX4]", 1), ("[OX2H][N,n]", 1), ("[SX2H]", 3), ("[nH]", 2), ("[NX3;H1,H2][C,S]=O", 2),
         ("[NX3;H1,H2]c", 1), ("[CX4;H1,H2]([C]=O)[C]=O", 1), ("[CX4;H1,H2,H3]C=O", 0.5)]
BASES = [("[NX3;!$(N~[*]=,:[*]);!$(N-[O,N,S])]", 5), ("[n;H0;X2]", 3), ("[NX2]=[C]", 2), ("[OX1]=[C]", 1), ("[NX3]c", 1),
         ("[NX3][#7,#8,#16]", 0.5), ("[NX1]#C", 0.3)]
SITES = {sign: [(Chem.MolFromSmarts(x), w) for x, w in of] for sign, of in ((-1, ACIDS), (1, BASES))}
MASSES = {1: 4.0, 6: 12.011, 7: 14.007, 8: 15.999, 16: 32.06, 17: 35.45}  # u; heavy hydrogens
KCAL = 4.184e-4  # kcal/mol in u Å²/fs²


def flat(molecule):
    """SMILES without stereo, as the corpus tells species apart."""
    return Chem.MolToSmiles(molecule, isomericSmiles=False)


def joined(molecule, i, j):
    """With a bond between i and j, in the place of a hydrogen of each."""
    out = Chem.RWMol(molecule)
    out.AddBond(i, j, Chem.BondType.SINGLE)
    for k in (i, j):
        atom = out.GetAtomWithIdx(k)
        if atom.GetNumExplicitHs():
            atom.SetNumExplicitHs(atom.GetNumExplicitHs() - 1)
    return out


def add_group(m):
    at = random.choice([a.GetIdx() for a in m.GetAtoms() if a.GetTotalNumHs() > 0])
    return joined(Chem.CombineMols(m, Chem.MolFromSmiles(random.choice(GROUPS))), at, m.GetNumAtoms())


def swap_element(m):
    out = Chem.RWMol(m)
    atom = random.choice(list(out.GetAtoms()))
    atom.SetAtomicNum(random.choice(OTHER[atom.GetAtomicNum()]))
    atom.SetFormalCharge(0)
    atom.SetNumExplicitHs(0)
    atom.SetNoImplicit(False)
    return out


def remove_end(m):
    out = Chem.RWMol(m)
    out.RemoveAtom(random.choice([a.GetIdx() for a in m.GetAtoms() if a.GetDegree() == 1]))
    return out


def change_order(m):
    single, double = Chem.BondType.SINGLE, Chem.BondType.DOUBLE
    bonds = [b for b in m.GetBonds() if not b.GetIsAromatic() and b.GetBondType() != Chem.BondType.TRIPLE]
    out = Chem.RWMol(m)
    bond = out.GetBondWithIdx(random.choice(bonds).GetIdx())
    bond.SetBondType(double if bond.GetBondType() == single else single)
    return out


def close_ring(m):
    apart, of = Chem.GetDistanceMatrix(m), m.GetAtomWithIdx
    pairs = [(i, j) for i in range(m.GetNumAtoms()) for j in range(i) if 3 < apart[i, j] < 6 and of(i).GetTotalNumHs()
             and of(j).GetTotalNumHs() and not (of(i).IsInRing() and of(j).IsInRing())]
    return joined(m, *random.choice(pairs))


EDITS = [add_group] * 4 + [swap_element] * 3 + [remove_end] * 2 + [change_order, close_ring]


def usable(m):
    """The molecule read anew, or None where it is not one that the corpus could have."""
    try:
        m = Chem.Mol(m)
        Chem.SanitizeMol(m)
        m = Chem.MolFromSmiles(Chem.MolToSmiles(m))
    except Exception:  # RDKit has a class for every reason
        return None
    if m is None or "." in Chem.MolToSmiles(m):
        return None
    if any(a.GetNumRadicalElectrons() for a in m.GetAtoms()) or any(m.HasSubstructMatch(bad) for bad in BAD):
        return None
    return m if 5 <= m.GetNumHeavyAtoms() <= 16 and 9 <= Chem.AddHs(m).GetNumAtoms() <= 30 else None


def mutate(m):
    for _ in range(random.choice([1, 1, 2, 2, 3])):
        try:
            m = usable(random.choice(EDITS)(m))
        except (IndexError, KeyError):  # no place for this edit
            return None
        if m is None:
            return None
    return m


def ionise(m, sign):
    """With a proton less or more."""
    sites = [(match[0], weight) for pattern, weight in SITES[sign] for match in m.GetSubstructMatches(pattern)]
    if not sites:
        return None
    out = Chem.RWMol(m)
    atom = out.GetAtomWithIdx(random.choices([s for s, _ in sites], [w for _, w in sites])[0])
    hydrogens = atom.GetTotalNumHs()
    if hydrogens + sign < 0:
        return None
    atom.SetFormalCharge(sign)
    atom.SetNoImplicit(True)
    atom.SetNumExplicitHs(hydrogens + sign)
    try:
        Chem.SanitizeMol(out)
        out = Chem.MolFromSmiles(Chem.MolToSmiles(out))
    except Exception:  # RDKit has a class for every reason
        return None
    return None if out is None or any(a.GetNumRadicalElectrons() for a in out.GetAtoms()) else out


def new_species(corpus, series, each):
    """`each` neutral species and as many ions, as pairs of SMILES and charge."""
    random.seed(3)
    known = json.load(open(f"{corpus}/species.json"))
    key = lambda smiles: flat(Chem.MolFromSmiles(smiles))
    of_split = lambda split: {key(s) for s, _, _, own in known if own == split and s}
    pool = [Chem.MolFromSmiles(s) for s, q, kind, split in known if split == 0 and q == 0 and kind not in ("complex", "tiny") and s]
    names = KEPT_OUT.split() + [line.split("smiles=")[1].split()[0].strip('"') for line in open(series) if "smiles=" in line]
    validation, left_out, hits = of_split(1), of_split(0) | {key(s) for s in names}, {}
    new, want, have = {}, {0: each, -1: each // 2, 1: each // 2}, {0: 0, -1: 0, 1: 0}
    while have != want:
        charge = random.choice([q for q in want if have[q] < want[q]])
        m = random.choice(pool)
        m = mutate(m) if charge == 0 or random.random() < 0.4 else usable(m)
        if m is not None and charge:
            m = ionise(m, charge)
        # Small molecules that have not been changed much could be species of the corpus' test split, whose names are not known.
        if m is None or m.GetNumHeavyAtoms() < (6 if charge else 9):
            continue
        name = flat(m)
        if name in new or name in left_out:
            continue
        if name in validation:
            hits[name] = charge
            continue
        new[name] = charge
        have[charge] += 1
    print(f"{len(new)} species; left out, since among the {len(validation)} validation species: {hits}")
    return list(new.items())


def geometries(species, first, n_conformers, rng):
    """Two frames each of Langevin dynamics in MMFF94 or UFF, of conformers of [(seed, SMILES, charge)] of up to 32 atoms."""
    for seed, smiles, charge in species:
        m = Chem.AddHs(Chem.MolFromSmiles(smiles))
        numbers = [a.GetAtomicNum() for a in m.GetAtoms()]
        if len(numbers) > 32 or (sum(numbers) - charge) % 2:
            continue
        for conformer in AllChem.EmbedMultipleConfs(m, n_conformers, randomSeed=seed + 1, maxAttempts=20):
            of_molecule = AllChem.MMFFGetMoleculeProperties(m)
            try:
                field = (AllChem.MMFFGetMoleculeForceField(m, of_molecule, confId=conformer) if of_molecule is not None
                         else AllChem.UFFGetMoleculeForceField(m, confId=conformer))
            except RuntimeError:  # UFF lacks the type of an atom
                continue
            field.Initialize()
            field.Minimize(maxIts=400, forceTol=1e-3, energyTol=1e-5)
            for temperature, positions in langevin(field, m.GetConformer(conformer), numbers, rng):
                yield first + seed, numbers, charge, temperature, positions


def small_species(corpus):
    """The corpus' training species of 2 to 8 atoms and one molecule, with their numbers."""
    for number, (smiles, charge, _, split) in enumerate(json.load(open(f"{corpus}/species.json"))):
        m = Chem.MolFromSmiles(smiles) if split == 0 and smiles and "." not in smiles else None
        if m is not None and 2 <= Chem.AddHs(m).GetNumAtoms() <= 8:
            yield number, smiles, charge


def langevin(field, conformer, numbers, rng):
    """BAOAB from the minimum with twice the kinetic energy: 1.5 fs, 20/ps; the geometries after 135 and 225 fs."""

    def accelerations(x):
        conformer.SetPositions(x.reshape(-1, 3))
        field.Initialize()  # RDKit's field keeps the distances of the positions before
        return -np.array(field.CalcGrad()) * KCAL / mass

    x = np.array(conformer.GetPositions()).ravel()
    temperature = rng.uniform(50, 700)
    mass, kt, dt, keep = np.repeat([MASSES[z] for z in numbers], 3), 0.0019872 * temperature * KCAL, 1.5, np.exp(-0.02 * 1.5)
    v = rng.standard_normal(len(x)) * np.sqrt(2 * kt / mass)
    a = accelerations(x)
    for step in range(1, 151):
        v += dt / 2 * a
        x = x + dt / 2 * v
        v = keep * v + np.sqrt((1 - keep * keep) * kt / mass) * rng.standard_normal(len(x))
        x = x + dt / 2 * v
        a = accelerations(x)
        v += dt / 2 * a
        if step not in (90, 150):
            continue
        y = x.reshape(-1, 3)
        y = np.round((y - y.mean(0)) * 2048) / 2048
        apart = np.linalg.norm(y[:, None] - y[None], axis=-1) + 9 * np.eye(len(numbers))
        if not np.isfinite(y).all() or apart.min() < 0.75 or abs(y).max() > 15:
            return
        yield temperature, y


def label(frames, source, limit, path):
    """Writes the arrays of the corpus, of at most `limit` frames whose labels it would take, shuffled."""
    from label import Labeler
    _, numbers, charges, _, positions = zip(*frames)
    labels = Labeler().label(numbers, positions, charges)
    good = [(frame, label) for frame, label in zip(frames, zip(*labels)) if label[2] < 0.25 and abs(np.asarray(label[1])).max() < 10]
    good = [good[k] for k in np.random.default_rng(0).permutation(len(good))[:limit]]
    per_structure = {
        "n_atoms": ([len(f[1]) for f, _ in good], "u1"), "energy": ([l[0] for _, l in good], "f8"), "charge": ([f[2] for f, _ in good], "i1"),
        "species": ([f[0] for f, _ in good], "u4"), "source": ([source] * len(good), "u1"),
        "temperature": ([f[3] for f, _ in good], "f2"), "disagreement": ([l[2] for _, l in good], "f2")}
    per_atom = {"numbers": ([f[1] for f, _ in good], "u1"), "positions": ([np.round(f[4] * 2048) for f, _ in good], "i2"),
                "forces": ([np.asarray(l[1], float) for _, l in good], "f2")}
    np.savez_compressed(path, **{k: np.array(v).astype(t) for k, (v, t) in per_structure.items()},
                        **{k: np.concatenate(v).astype(t) for k, (v, t) in per_atom.items()})
    print(f"{len(good)} of {len(frames)} structures kept")


def main(corpus, labeler, series, out, each=5500):
    sys.path.insert(0, labeler)
    os.makedirs(out)
    species = new_species(corpus, series, int(each))
    numbered = [(number, *one) for number, one in enumerate(species)]
    frames = [frame for part in (0, 1) for frame in geometries(numbered[part::2], 100000, 2, np.random.default_rng(7 + part))]
    label(frames, 7, 34000, f"{out}/new-species.npz")
    json.dump(species, open(f"{out}/new-species.json", "w"), separators=(",", ":"))
    frames = list(geometries(small_species(corpus), 0, 20, np.random.default_rng(11)))
    label(frames, 8, None, f"{out}/small-species.npz")


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6):
        sys.exit(__doc__)
    main(*sys.argv[1:])
