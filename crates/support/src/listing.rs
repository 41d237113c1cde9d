//! What lies in a directory: names, kinds, modes, owners, sizes and times, and nothing of what is in the files.

use std::{fmt::Write as _, fs, os::unix::fs::MetadataExt as _, path::Path};

use walkdir::WalkDir;

/// A library or a spool can have many more; what is left out is counted.
const ENTRIES_MAX: usize = 20_000;

/// One line for each entry below a directory, in the order of their paths. Links are not followed.
pub fn listing(directory: &Path) -> String {
    let mut text = format!("{}\n", directory.display());
    text.push_str("MODE    UID:GID          BYTES  MODIFIED              PATH\n");
    let (mut entries, mut bytes, mut left_out) = (0_usize, 0_u64, 0_usize);
    for entry in WalkDir::new(directory).sort_by_file_name() {
        let line = match &entry {
            Ok(entry) => match entry.metadata() {
                Ok(facts) => {
                    bytes += if facts.is_file() { facts.len() } else { 0 };
                    line(entry.path().strip_prefix(directory).unwrap_or(entry.path()), &facts)
                }
                Err(error) => format!("{}: {error}", entry.path().display()),
            },
            Err(error) => error.to_string(),
        };
        entries += 1;
        if entries > ENTRIES_MAX {
            left_out += 1;
            continue;
        }
        text.push_str(&line);
        text.push('\n');
    }
    let _ = writeln!(text, "{entries} entries, {bytes} bytes in files");
    if left_out > 0 {
        let _ = writeln!(text, "{left_out} of them are not listed");
    }
    text
}

fn line(path: &Path, facts: &fs::Metadata) -> String {
    let kind = match facts.file_type() {
        kind if kind.is_dir() => 'd',
        kind if kind.is_symlink() => 'l',
        kind if kind.is_file() => '-',
        _ => '?',
    };
    let modified = jiff::Timestamp::from_second(facts.mtime()).unwrap_or_default();
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    // A name may have anything in it, and must not look like another line.
    let path: String =
        path.display().to_string().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    format!(
        "{kind}{:04o}  {:>5}:{:<5} {:>10}  {}  {path}",
        facts.mode() & 0o7777,
        facts.uid(),
        facts.gid(),
        facts.len(),
        modified.strftime("%Y-%m-%d %H:%M:%SZ"),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn names_modes_and_sizes_are_there_and_contents_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("keys")).unwrap();
        fs::write(root.join("keys/director.pem"), "hunter2").unwrap();
        fs::set_permissions(root.join("keys/director.pem"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("/etc", root.join("etc")).unwrap();
        fs::write(root.join("a\nb"), "").unwrap();

        let text = listing(root);

        assert!(!text.contains("hunter2") && !text.contains("passwd"), "{text}");
        let found = |end: &str| {
            text.lines().find(|line| line.ends_with(end)).unwrap_or_else(|| panic!("{end}: {text}"))
        };
        assert!(
            found("keys/director.pem").starts_with("-0640") && found("keys/director.pem").contains(" 7  ")
        );
        assert!(found("  etc").starts_with('l') && found("  keys").starts_with('d'));
        assert!(found("a?b").starts_with('-'));
        assert!(text.ends_with("5 entries, 7 bytes in files\n"), "{text}");
        assert!(listing(&root.join("none")).contains("No such file"));
    }
}
