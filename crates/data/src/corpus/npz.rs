//! Arrays out of a NumPy archive, checked for type and shape as they are read.

use std::fmt::Debug;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use npyz::{Deserialize, NpyFile, Order};
use zip::ZipArchive;

use super::CorpusError;

/// An open `.npz` file.
pub(super) struct Archive {
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
}

impl Archive {
    pub fn open(path: &Path) -> Result<Self, CorpusError> {
        let file = File::open(path).map_err(|source| CorpusError::Open { path: path.into(), source })?;
        let zip = ZipArchive::new(BufReader::new(file))
            .map_err(|source| CorpusError::Archive { path: path.into(), source })?;
        Ok(Self { path: path.into(), zip })
    }

    /// An array `[len]`; of any length when `len` is `None`.
    pub fn column<T: Deserialize>(
        &mut self,
        key: &'static str,
        dtype: &'static str,
        len: Option<usize>,
    ) -> Result<Vec<T>, CorpusError> {
        let expected = len.map_or("[any]".to_owned(), |len| format!("[{len}]"));
        self.read(key, dtype, expected, |shape| match shape {
            [found] => len.is_none_or(|len| len as u64 == *found),
            _ => false,
        })
    }

    /// An array `[len, 3]`, row-major.
    pub fn vectors<T: Deserialize>(
        &mut self,
        key: &'static str,
        dtype: &'static str,
        len: usize,
    ) -> Result<Vec<T>, CorpusError> {
        self.read(key, dtype, format!("[{len}, 3]"), |shape| shape == [len as u64, 3])
    }

    /// The first entry that is not as it should be, as an error.
    pub fn check<T: Debug>(
        &self,
        key: &'static str,
        expected: &'static str,
        entries: &[T],
        is_right: impl Fn(&T) -> bool,
    ) -> Result<(), CorpusError> {
        match entries.iter().position(|entry| !is_right(entry)) {
            None => Ok(()),
            Some(index) => {
                let found = format!("{:?}", entries[index]);
                Err(CorpusError::Value { path: self.path.clone(), key, index, expected, found })
            }
        }
    }

    fn read<T: Deserialize>(
        &mut self,
        key: &'static str,
        dtype: &'static str,
        expected_shape: String,
        is_shape: impl Fn(&[u64]) -> bool,
    ) -> Result<Vec<T>, CorpusError> {
        let bytes = self.unpacked(key)?;
        let array_error = |source| CorpusError::Array { path: self.path.clone(), key, source };
        let array = NpyFile::new(&bytes[..]).map_err(array_error)?;

        let header = array.header();
        if !is_shape(header.shape()) || header.order() != Order::C {
            let order = if header.order() == Order::C { "" } else { ", column-major" };
            let found = format!("{:?}{order}", header.shape());
            return Err(CorpusError::Shape { path: self.path.clone(), key, expected: expected_shape, found });
        }
        let found = header.dtype().descr();
        let entries = array.data::<T>().map_err(|_| CorpusError::Type {
            path: self.path.clone(),
            key,
            expected: dtype,
            found,
        })?;
        entries.collect::<Result<_, _>>().map_err(array_error)
    }

    /// An array's file, decompressed as a whole: `npyz` reads entry by entry.
    fn unpacked(&mut self, key: &'static str) -> Result<Vec<u8>, CorpusError> {
        let Some(index) = self.zip.index_for_name(&npyz::npz::file_name_from_array_name(key)) else {
            return Err(CorpusError::Missing { path: self.path.clone(), key, found: self.array_names() });
        };
        let mut file = match self.zip.by_index(index) {
            Ok(file) => file,
            Err(source) => return Err(CorpusError::Archive { path: self.path.clone(), source }),
        };
        let mut bytes = Vec::new();
        match file.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(source) => Err(CorpusError::Array { path: self.path.clone(), key, source }),
        }
    }

    /// The arrays there are, in alphabetical order.
    fn array_names(&self) -> String {
        let files = self.zip.file_names().filter_map(Result::ok);
        let mut names: Vec<String> =
            files.filter_map(|file| npyz::npz::array_name_from_file_name(&file).map(str::to_owned)).collect();
        names.sort_unstable();
        if names.is_empty() { "no arrays".to_owned() } else { names.join(", ") }
    }
}
