//! Source directories of known content, and what a directory holds.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::Seed;

const FILES_PER_DIRECTORY: usize = 50;

/// How many files of how many bytes; the seed makes the bytes.
#[derive(Debug, Clone, Copy)]
pub struct TreeSpec {
    pub files: usize,
    pub file_bytes: usize,
    pub seed: u64,
}

/// Writes files that do not compress, in directories of fifty.
pub fn make_tree(at: &Path, spec: TreeSpec) -> Result<()> {
    let mut seed = Seed::new(spec.seed);
    for number in 0..spec.files {
        let directory = at.join(format!("d{:03}", number / FILES_PER_DIRECTORY));
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let words = spec.file_bytes.div_ceil(8);
        let mut bytes: Vec<u8> = (0..words).flat_map(|_| seed.draw().to_le_bytes()).collect();
        bytes.truncate(spec.file_bytes);
        let path = directory.join(format!("f{number:05}"));
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Every regular file below a directory with its content, by relative path. A directory that is not there has none.
pub fn list_tree(root: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if directory == root && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(found);
            }
            Err(error) => return Err(error).with_context(|| format!("cannot list {}", directory.display())),
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() && !path.is_symlink() {
                todo.push(path);
            } else {
                let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                found.insert(path.strip_prefix(root)?.to_owned(), bytes);
            }
        }
    }
    Ok(found)
}
