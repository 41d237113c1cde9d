//! The settings of programs, which are in TOML files.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

/// Gives a key of a TOML file, `name` or `table.name`, another value. A table that is not there is made.
pub fn set_in_toml(path: &Path, key: &str, value: impl Into<toml::Value>) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut table: toml::Table = text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
    let (of, name) = match key.split_once('.') {
        Some((section, name)) => {
            let entry = table.entry(section).or_insert_with(|| toml::Table::new().into());
            let section = entry.as_table_mut();
            (section.with_context(|| format!("{} has no table for {key}", path.display()))?, name)
        }
        None => (&mut table, key),
    };
    of.insert(name.to_owned(), value.into());
    fs::write(path, toml::to_string(&table)?).with_context(|| format!("cannot write {}", path.display()))
}
