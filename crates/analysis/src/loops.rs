//! The work done around closed loops: zero for forces with a potential, and what a trajectory that cycles gains.
//!
//! ```text
//! W = ∮ Σ_i F_i · dr_i      by n evenly spaced points, spectrally exact for smooth forces
//! ```
//!
//! | loop | path |
//! |---|---|
//! | turn | the whole molecule about x, y or z through its centroid |
//! | torsion | the smaller side of an open bond about it, by 360° |
//! | bond | an atom on a circle of 0.05 Å in the plane of a bond and a direction across it |
//!
//! The relative work is W / ∮ |Σ_i F_i · dr_i|: 1 when the force pushes all the way round. The error of the
//! quadrature is estimated by half of the points; where it is not small the forces are rough on the scale of the step.

use mdet_core::{ForceField, ForceFieldError, Rotation, Structure, bonds, elements};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Radius of the circle an atom is led around, Å: a thermal displacement.
const RADIUS_ANGSTROM: f64 = 0.05;

/// Points of a circle of an atom.
const N_CIRCLE: usize = 32;

/// Points of a full turn: steps of 2°.
const N_TURN: usize = 180;

/// Points in one call of the force field.
const PER_CALL: usize = 30;

/// The kind of a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoopKind {
    /// The whole molecule turned.
    Turn,
    /// A bond turned.
    Torsion,
    /// An atom led around a circle.
    Bond,
}

/// The work around one loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoopWork {
    /// Name of the structure.
    pub structure: String,
    /// Its kind.
    pub kind: LoopKind,
    /// Which axis, bond or atom: "z", "C1–C2", "H4 around C1".
    pub path: String,
    /// Work of the forces around it, meV.
    pub work_mev: f64,
    /// Work without regard of sign, meV.
    pub absolute_work_mev: f64,
    /// Change of the work with half of the points, meV.
    pub quadrature_error_mev: f64,
}

/// Where atoms go as an angle runs from 0 to 2π.
enum Path {
    /// These atoms turn about an axis through a point.
    Turn { axis: [f64; 3], through: [f64; 3], atoms: Vec<usize> },
    /// One atom runs on a circle about its place in the plane of two directions.
    Circle { atom: usize, directions: [[f64; 3]; 2] },
}

/// The work around the loops of a structure: three turns, every open bond's torsion, a circle for every bonded atom.
///
/// # Errors
/// [`ForceFieldError`] of the force field.
pub fn loop_works(
    name: &str,
    structure: &Structure,
    force_field: &mut dyn ForceField,
) -> Result<Vec<LoopWork>, ForceFieldError> {
    let mut works = Vec::new();
    for (kind, path_name, path) in paths(structure) {
        let n_points = if kind == LoopKind::Bond { N_CIRCLE } else { N_TURN };
        let [work, absolute, half] = work(structure, &path, n_points, force_field)?;
        works.push(LoopWork {
            structure: name.to_string(),
            kind,
            path: path_name,
            work_mev: 1e3 * work,
            absolute_work_mev: 1e3 * absolute,
            quadrature_error_mev: 1e3 * (half - work).abs(),
        });
    }
    Ok(works)
}

fn paths(structure: &Structure) -> Vec<(LoopKind, String, Path)> {
    let positions = structure.positions();
    let n = structure.n_atoms();
    let atom = |i: usize| format!("{}{}", elements::symbol(structure.numbers()[i]), i + 1);
    let mut paths = Vec::new();
    let centroid: [f64; 3] =
        std::array::from_fn(|axis| positions.iter().map(|r| r[axis]).sum::<f64>() / n as f64);
    for (axis, name) in ["x", "y", "z"].into_iter().enumerate() {
        let unit = std::array::from_fn(|a| if a == axis { 1.0 } else { 0.0 });
        let turn = Path::Turn { axis: unit, through: centroid, atoms: (0..n).collect() };
        paths.push((LoopKind::Turn, name.to_string(), turn));
    }
    let bonds = bonds(structure.numbers(), positions);
    for &[i, j] in &bonds {
        let Some(atoms) = smaller_side(n, &bonds, [i, j]) else { continue };
        let axis = unit(&positions[i], &positions[j]);
        let turn = Path::Turn { axis, through: positions[i], atoms };
        paths.push((LoopKind::Torsion, format!("{}–{}", atom(i), atom(j)), turn));
    }
    for i in 0..n {
        let Some(&[a, b]) = bonds.iter().find(|bond| bond.contains(&i)) else { continue };
        let neighbour = a + b - i;
        let along = unit(&positions[neighbour], &positions[i]);
        let directions = [along, perpendicular(&along)];
        let path = Path::Circle { atom: i, directions };
        paths.push((LoopKind::Bond, format!("{} around {}", atom(i), atom(neighbour)), path));
    }
    paths
}

/// W, ∮|…| and W with every other point, eV.
fn work(
    structure: &Structure,
    path: &Path,
    n_points: usize,
    force_field: &mut dyn ForceField,
) -> Result<[f64; 3], ForceFieldError> {
    let step = std::f64::consts::TAU / n_points as f64;
    let (mut total, mut absolute, mut half) = (0.0, 0.0, 0.0);
    let (moved, tangents): (Vec<Structure>, Vec<_>) =
        (0..n_points).map(|k| path.at(structure, step * k as f64)).unzip();
    let mut forces = vec![[0.0; 3]; structure.n_atoms() * n_points];
    let n_atoms = structure.n_atoms();
    for (moved, forces) in moved.chunks(PER_CALL).zip(forces.chunks_mut(PER_CALL * n_atoms)) {
        force_field.forces(moved, forces)?;
    }
    for (k, (forces, tangents)) in forces.chunks(n_atoms).zip(&tangents).enumerate() {
        let along =
            |(i, tangent): &(usize, [f64; 3])| (0..3).map(|a| forces[*i][a] * tangent[a]).sum::<f64>();
        let power: f64 = tangents.iter().map(along).sum();
        total += power * step;
        absolute += power.abs() * step;
        half += if k % 2 == 0 { 2.0 * power * step } else { 0.0 };
    }
    Ok([total, absolute, half])
}

impl Path {
    /// The structure at an angle, and dr/dangle of the atoms that move, Å.
    fn at(&self, structure: &Structure, angle: f64) -> (Structure, Vec<(usize, [f64; 3])>) {
        let mut moved = structure.clone();
        let positions = moved.positions_mut();
        let tangents = match self {
            Self::Turn { axis, through, atoms } => {
                let (sin, cos) = (0.5 * angle).sin_cos();
                let rotation = Rotation::from_quaternion([cos, sin * axis[0], sin * axis[1], sin * axis[2]]);
                let turned = |&i: &usize| {
                    let mut arm = [std::array::from_fn(|a| positions[i][a] - through[a])];
                    rotation.apply(&mut arm);
                    positions[i] = std::array::from_fn(|a| through[a] + arm[0][a]);
                    (i, cross(axis, &arm[0]))
                };
                atoms.iter().map(turned).collect()
            }
            Self::Circle { atom, directions: [u, v] } => {
                let (sin, cos) = angle.sin_cos();
                for a in 0..3 {
                    positions[*atom][a] += RADIUS_ANGSTROM * (cos * u[a] + sin * v[a]);
                }
                vec![(*atom, std::array::from_fn(|a| RADIUS_ANGSTROM * (cos * v[a] - sin * u[a])))]
            }
        };
        (moved, tangents)
    }
}

/// The atoms on the smaller side of a bond, without its own atom there; `None` for a bond in a ring or at the end.
fn smaller_side(n_atoms: usize, bonds: &[[usize; 2]], bond: [usize; 2]) -> Option<Vec<usize>> {
    let side = |start: usize| {
        let mut reached = vec![false; n_atoms];
        let mut open = vec![start];
        while let Some(atom) = open.pop() {
            if !std::mem::replace(&mut reached[atom], true) {
                let others = bonds.iter().filter(|&&other| other != bond && other.contains(&atom));
                open.extend(others.map(|other| other[0] + other[1] - atom));
            }
        }
        (0..n_atoms).filter(|&atom| reached[atom]).collect::<Vec<usize>>()
    };
    let (first, second) = (side(bond[0]), side(bond[1]));
    if first.contains(&bond[1]) || first.len() < 2 || second.len() < 2 {
        return None;
    }
    let (atoms, own) = if first.len() <= second.len() { (first, bond[0]) } else { (second, bond[1]) };
    Some(atoms.into_iter().filter(|&atom| atom != own).collect())
}

fn unit(from: &[f64; 3], to: &[f64; 3]) -> [f64; 3] {
    let difference: [f64; 3] = std::array::from_fn(|a| to[a] - from[a]);
    let length = difference.iter().map(|x| x * x).sum::<f64>().sqrt();
    difference.map(|x| x / length)
}

/// A unit vector across another: in the plane with the coordinate axis it is least along.
fn perpendicular(direction: &[f64; 3]) -> [f64; 3] {
    let least = (0..3).min_by(|&a, &b| direction[a].abs().total_cmp(&direction[b].abs())).unwrap_or(0);
    let mut axis = [0.0; 3];
    axis[least] = 1.0;
    let across = cross(direction, &axis);
    let length = across.iter().map(|x| x * x).sum::<f64>().sqrt();
    across.map(|x| x / length)
}

fn cross(a: &[f64; 3], b: &[f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}
