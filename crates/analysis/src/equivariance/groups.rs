//! Equivariance over many structures: quartiles by domain, size and class.

use super::{SinglePrecision, StructureEquivariance};
use crate::statistics::quantile;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Quartiles over the structures of a group: a quarter, a half, three quarters of them lie below.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupEquivariance {
    /// What they have in common.
    pub name: String,
    /// Structures in it.
    pub n_structures: usize,
    /// Equivariance error in f64, meV/Å.
    pub error_quartiles_mev_per_angstrom: [f64; 3],
    /// Spread of the f32 forces over orientations, equivariance and rounding together, meV/Å; `None` where f32 was not
    /// computed.
    pub single_quartiles_mev_per_angstrom: Option<[f64; 3]>,
    /// Rounding error of f32, meV/Å; likewise.
    pub rounding_quartiles_mev_per_angstrom: Option<[f64; 3]>,
    /// Mean angle to the mean force in f64, degrees, of the structures that have one; `None` if none has.
    pub angle_quartiles_degrees: Option<[f64; 3]>,
}

/// Upper ends of the classes of size, atoms.
const SIZES: [usize; 3] = [10, 20, 32];

pub(super) fn groups(structures: &[StructureEquivariance]) -> Vec<GroupEquivariance> {
    let size = |s: &StructureEquivariance| {
        let class = SIZES.partition_point(|&upper| upper < s.n_atoms);
        SIZES.get(class).map_or("over 32 atoms".into(), |upper| format!("up to {upper} atoms"))
    };
    let domain = |s: &StructureEquivariance| match s.inside_domain {
        Some(true) => "inside the domain".to_string(),
        Some(false) => "outside the domain".to_string(),
        None => String::new(),
    };
    let by: [&dyn Fn(&StructureEquivariance) -> String; 3] = [&domain, &size, &|s| s.class.clone()];
    let mut groups = vec![group("all".into(), structures)];
    for key in by {
        // In the order of their first structure.
        let mut names: Vec<String> = Vec::new();
        structures.iter().map(key).for_each(|name| {
            if !names.contains(&name) {
                names.push(name);
            }
        });
        if names.len() > 1 {
            groups.extend(names.into_iter().map(|name| {
                let members: Vec<_> = structures.iter().filter(|s| key(s) == name).cloned().collect();
                group(if name.is_empty() { "unknown".into() } else { name }, &members)
            }));
        }
    }
    groups
}

fn group(name: String, members: &[StructureEquivariance]) -> GroupEquivariance {
    let quartiles = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        [0.25, 0.5, 0.75].map(|q| quantile(&values, q).unwrap_or(f64::NAN))
    };
    let single = |value: fn(&SinglePrecision) -> f64| {
        let values: Option<Vec<f64>> = members.iter().map(|s| s.single.as_ref().map(value)).collect();
        values.filter(|values| !values.is_empty()).map(quartiles)
    };
    let angles: Vec<f64> = members.iter().filter_map(|s| s.angle_degrees).collect();
    GroupEquivariance {
        name,
        n_structures: members.len(),
        error_quartiles_mev_per_angstrom: quartiles(
            members.iter().map(|s| s.error_mev_per_angstrom.mean).collect(),
        ),
        single_quartiles_mev_per_angstrom: single(|s| s.error_mev_per_angstrom.mean),
        rounding_quartiles_mev_per_angstrom: single(|s| s.rounding_mev_per_angstrom.mean),
        angle_quartiles_degrees: (!angles.is_empty()).then(|| quartiles(angles)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Spread;

    fn structure(n_atoms: usize, error: f64, inside: bool) -> StructureEquivariance {
        let spread = Spread { mean: error, standard_deviation: 0.0, n: 2 };
        StructureEquivariance {
            name: String::new(),
            class: "alkanes".into(),
            n_atoms,
            inside_domain: Some(inside),
            force_mev_per_angstrom: 1.0,
            error_mev_per_angstrom: spread,
            single: None,
            magnitude_mev_per_angstrom: 0.0,
            angle_degrees: None,
            averaged: Vec::new(),
            share_per_l: Vec::new(),
        }
    }

    #[test]
    fn groups_are_those_that_tell_structures_apart() {
        let structures = [structure(5, 1.0, true), structure(9, 3.0, true), structure(50, 9.0, false)];
        let found = groups(&structures);
        let names: Vec<(&str, usize)> = found.iter().map(|g| (g.name.as_str(), g.n_structures)).collect();
        let domains = [("inside the domain", 2), ("outside the domain", 1)];
        assert_eq!(
            names,
            [[("all", 3)].as_slice(), &domains, &[("up to 10 atoms", 2), ("over 32 atoms", 1)]].concat()
        );
        assert_eq!(found[0].error_quartiles_mev_per_angstrom, [2.0, 3.0, 6.0]);
        assert_eq!(found[1].rounding_quartiles_mev_per_angstrom, None);
        assert_eq!(found[1].angle_quartiles_degrees, None);
    }
}
