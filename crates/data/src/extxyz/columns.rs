//! The columns of an atom's line: what `Properties` declares, and reading a line by it.

use mdet_core::elements;

use super::error::{Problem, excerpt};

/// The plain XYZ line: an element and a position.
const PLAIN_COLUMNS: usize = 4;

/// Names of the columns read, in order of preference.
const SPECIES: &[&str] = &["species", "symbols", "element"];
const NUMBERS: &[&str] = &["Z", "numbers", "atomic_numbers"];
const POSITIONS: &[&str] = &["pos", "positions"];
const FORCES: &[&str] = &["REF_forces", "forces", "force"];
const VELOCITIES: &[&str] = &["velo"];
const MASSES: &[&str] = &["masses"];

/// Which column of a line holds what, counted from 0; a vector is named by its first column.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    element: usize,
    position: usize,
    force: Option<usize>,
    velocity: Option<usize>,
    mass: Option<usize>,
    count: Count,
}

/// How many columns a line must have.
#[derive(Debug, PartialEq, Eq)]
enum Count {
    /// As declared by `Properties`.
    Exactly(usize),
    /// A plain XYZ line with or without a program's own columns behind.
    Plain,
}

/// One atom. Lengths Å, force eV/Å, velocity Å/fs, mass u.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    pub number: u8,
    pub position: [f64; 3],
    pub force: Option<[f64; 3]>,
    pub velocity: Option<[f64; 3]>,
    pub mass: Option<f64>,
}

/// One `name:type:columns` of `Properties`.
struct Property<'a> {
    name: &'a str,
    kind: &'a str,
    n_columns: usize,
    first_column: usize,
}

impl Columns {
    /// The columns that the value of `Properties` declares, or those of plain XYZ without it.
    pub fn declared(properties: Option<&str>) -> Result<Self, Problem> {
        let Some(text) = properties else {
            let (force, velocity, mass) = (None, None, None);
            return Ok(Self { element: 0, position: 1, force, velocity, mass, count: Count::Plain });
        };
        let properties = parse_properties(text)?;
        let missing = |expected| Problem::Properties { expected, found: text.to_owned() };

        let element = match find(&properties, SPECIES) {
            Some(species) => species,
            None => find(&properties, NUMBERS)
                .ok_or_else(|| missing("a column of elements, species:S:1 or Z:I:1"))?,
        };
        if element.n_columns != 1 {
            return Err(Problem::Properties {
                expected: "one column of elements",
                found: format!("{}:{}:{}", element.name, element.kind, element.n_columns),
            });
        }
        let position =
            vector(&properties, POSITIONS)?.ok_or_else(|| missing("a column of positions, pos:R:3"))?;
        Ok(Self {
            element: element.first_column,
            position,
            force: vector(&properties, FORCES)?,
            velocity: vector(&properties, VELOCITIES)?,
            mass: match find(&properties, MASSES) {
                Some(masses) if (masses.kind, masses.n_columns) != ("R", 1) => {
                    return Err(Problem::Properties {
                        expected: "one real column of masses, masses:R:1",
                        found: format!("{}:{}:{}", masses.name, masses.kind, masses.n_columns),
                    });
                }
                masses => masses.map(|masses| masses.first_column),
            },
            count: Count::Exactly(properties.iter().map(|property| property.n_columns).sum()),
        })
    }

    pub fn has_forces(&self) -> bool {
        self.force.is_some()
    }

    pub fn has_velocities(&self) -> bool {
        self.velocity.is_some()
    }

    pub fn has_masses(&self) -> bool {
        self.mass.is_some()
    }

    /// Reads one atom's line.
    pub fn row(&self, line: &str) -> Result<Row, Problem> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match self.count {
            Count::Exactly(expected) if fields.len() != expected => {
                return Err(Problem::ColumnCount { expected, found: fields.len() });
            }
            Count::Plain if fields.len() < PLAIN_COLUMNS => {
                return Err(Problem::PlainColumnCount { found: fields.len() });
            }
            _ => {}
        }
        let three = |first: usize, names| numbers(&fields[first..first + 3], names);
        Ok(Row {
            number: element(fields[self.element])?,
            position: three(self.position, ["x", "y", "z"])?,
            force: self.force.map(|first| three(first, ["force x", "force y", "force z"])).transpose()?,
            velocity: self
                .velocity
                .map(|first| three(first, ["velocity x", "velocity y", "velocity z"]))
                .transpose()?,
            mass: self.mass.map(|column| mass(fields[column])).transpose()?,
        })
    }
}

/// Splits `name:type:columns:name:…` into its properties.
fn parse_properties(text: &str) -> Result<Vec<Property<'_>>, Problem> {
    let wrong = |expected, found: &str| Problem::Properties { expected, found: found.to_owned() };
    let parts: Vec<&str> = text.split(':').collect();
    if !parts.len().is_multiple_of(3) {
        return Err(wrong("name:type:columns for each property", text));
    }
    let mut properties: Vec<Property<'_>> = Vec::new();
    let mut first_column = 0_usize;
    for part in parts.chunks_exact(3) {
        let (name, kind) = (part[0], part[1]);
        if !matches!(kind, "R" | "I" | "S" | "L") {
            return Err(wrong("a type R, I, S or L", kind));
        }
        let n_columns = part[2]
            .parse()
            .ok()
            .filter(|n| (1..=MAX_COLUMNS).contains(n))
            .ok_or_else(|| wrong("a number of columns of at least 1", part[2]))?;
        if properties.iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
            return Err(wrong("each property once", name));
        }
        properties.push(Property { name, kind, n_columns, first_column });
        first_column += n_columns;
    }
    Ok(properties)
}

/// Columns of one property beyond which `Properties` is taken to be garbled.
const MAX_COLUMNS: usize = 1_000_000;

/// The property with the most preferred of several names.
fn find<'a>(properties: &'a [Property<'a>], names: &[&str]) -> Option<&'a Property<'a>> {
    names.iter().find_map(|name| properties.iter().find(|property| property.name.eq_ignore_ascii_case(name)))
}

/// The first column of the vector with one of these names.
fn vector(properties: &[Property<'_>], names: &[&str]) -> Result<Option<usize>, Problem> {
    match find(properties, names) {
        Some(property) if property.n_columns != 3 || property.kind != "R" => Err(Problem::Properties {
            expected: "three real columns, R:3",
            found: format!("{}:{}:{}", property.name, property.kind, property.n_columns),
        }),
        property => Ok(property.map(|property| property.first_column)),
    }
}

/// An atomic number from a symbol, in any case, or from the number itself.
fn element(text: &str) -> Result<u8, Problem> {
    let number = match text.parse::<u8>() {
        Ok(number) => Some(number).filter(|z| (1..=elements::MAX_ATOMIC_NUMBER).contains(z)),
        Err(_) => elements::from_symbol(text),
    };
    number.ok_or_else(|| Problem::Element { found: excerpt(text) })
}

fn mass(text: &str) -> Result<f64, Problem> {
    let mass_u = number("mass", text)?;
    let wrong = || Problem::Number { name: "mass above zero".to_owned(), found: excerpt(text) };
    if mass_u > 0.0 { Ok(mass_u) } else { Err(wrong()) }
}

fn numbers(fields: &[&str], names: [&'static str; 3]) -> Result<[f64; 3], Problem> {
    let mut values = [0.0; 3];
    for axis in 0..3 {
        values[axis] = number(names[axis], fields[axis])?;
    }
    Ok(values)
}

/// A finite number, also with a Fortran exponent (`1.0D-3`).
pub(super) fn number(name: &str, text: &str) -> Result<f64, Problem> {
    text.parse()
        .or_else(|_| text.replace(['D', 'd'], "e").parse())
        .ok()
        .filter(|value: &f64| value.is_finite())
        .ok_or_else(|| Problem::Number { name: name.to_owned(), found: excerpt(text) })
}
