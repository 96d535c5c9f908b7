//! The public data sets that `mdet data fetch` knows, from registry.toml.

use crate::AnyError;
use serde::Deserialize;
use std::fmt;

const REGISTRY: &str = include_str!("registry.toml");

/// All sets.
pub(crate) fn sets() -> Vec<Set> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Registry {
        set: Vec<Set>,
    }
    let registry: Registry =
        toml::from_str(REGISTRY).expect("the registry is part of the program, and tested");
    registry.set
}

/// The set of a name.
pub(crate) fn named(name: &str) -> Result<Set, AnyError> {
    let all = sets();
    let names: Vec<String> = all.iter().map(|set| set.name.clone()).collect();
    let found = all.into_iter().find(|set| set.name == name);
    found.ok_or_else(|| format!("{name}: expected one of {}", names.join(", ")).into())
}

/// A public data set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Set {
    pub name: String,
    pub title: String,
    pub licence: String,
    pub citation: String,
    /// What all URLs begin with.
    pub base: String,
    /// What is to be done with the files, FILE each of them, FOLDER where they are.
    pub then: Option<String>,
    #[serde(default)]
    pub files: Vec<RemoteFile>,
    /// A bucket of Google Cloud Storage, which lists its files and their checksums itself, and folders in it.
    pub bucket: Option<String>,
    #[serde(default)]
    pub prefixes: Vec<String>,
}

/// One file of a set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoteFile {
    /// Its name here; it may have folders.
    pub name: String,
    /// Its name there, if another.
    pub path: Option<String>,
    /// Its size.
    pub bytes: Option<u64>,
    /// Its size in words, where it is not known to the byte.
    pub about: Option<String>,
    /// MD5, hexadecimal.
    pub md5: Option<String>,
}

impl Set {
    /// Where a file is to be had.
    pub fn url(&self, file: &RemoteFile) -> String {
        format!("{}/{}", self.base, file.path.as_ref().unwrap_or(&file.name))
    }
}

impl fmt::Display for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.bytes, &self.about) {
            (Some(bytes), _) => write!(f, "{bytes} bytes")?,
            (None, Some(about)) => write!(f, "about {about}")?,
            (None, None) => write!(f, "size not known")?,
        }
        match &self.md5 {
            Some(md5) => write!(f, ", MD5 {md5}"),
            None => write!(f, ", checksum not known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_says_where_it_is_and_how_it_may_be_used() {
        let all = sets();
        for name in ["md17", "rmd17", "md17-ccsd", "md22", "spice", "xxmd", "qm7x", "qcml"] {
            let set = all.iter().find(|set| set.name == name).unwrap();
            assert!(!set.licence.is_empty() && set.citation.contains("doi:"), "{name}");
            assert!(!set.files.is_empty() || (set.bucket.is_some() && !set.prefixes.is_empty()), "{name}");
            for file in &set.files {
                assert!(set.url(file).starts_with("http"), "{name}");
                let is_md5 = |md5: &String| md5.len() == 32 && md5.bytes().all(|b| b.is_ascii_hexdigit());
                assert!(file.md5.as_ref().is_none_or(is_md5), "{name}");
            }
        }
        assert!(named("md18").unwrap_err().to_string().contains("md17, md17-ccsd, rmd17"));
    }
}
