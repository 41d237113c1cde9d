//! Names that differ only in case. A tree that has such names cannot be laid out where the file system does not tell
//! case apart, so they are refused unless somebody said that they are meant.
//!
//! Compared is the Unicode lowercase of paths, as `str::to_lowercase` gives it: of no language, and of the characters as
//! they are, composed or not. Case pairs never change once Unicode has them, so two programs can differ only over letters
//! that the older of them does not know.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

/// What becomes of a source in which names differ only in case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CaseClashes {
    #[default]
    Refuse,
    /// They are meant: a Linux kernel has modules that are named so.
    Keep,
}

/// The first two of the paths, which are sorted, that differ only in case. Each directory must be among them: then
/// the two lie in one directory, since of `A/x` and `a/y` the first two are `A` and `a`.
pub(crate) fn clash<'a>(paths: &[&'a str]) -> Option<(&'a str, &'a str)> {
    // Hashes take less memory than 2,000,000 paths in lower case; those that are alike are compared.
    let keys = RandomState::new();
    let hash = |path: &str| keys.hash_one(path.to_lowercase());
    let mut hashes: Vec<(u64, usize)> =
        paths.iter().enumerate().map(|(nth, path)| (hash(path), nth)).collect();
    hashes.sort_unstable();
    let alike = hashes.chunk_by(|one, other| one.0 == other.0).filter(|alike| alike.len() > 1);
    let (one, other) = alike.filter_map(|alike| first_of(paths, alike)).min()?;
    Some((paths[one], paths[other]))
}

fn first_of(paths: &[&str], alike: &[(u64, usize)]) -> Option<(usize, usize)> {
    let mut seen = HashMap::new();
    alike.iter().find_map(|&(_, nth)| Some((seen.insert(paths[nth].to_lowercase(), nth)?, nth)))
}

#[cfg(test)]
mod tests {
    use super::clash;

    #[test]
    fn paths_clash_if_they_differ_only_in_case() {
        type Clash = Option<(&'static str, &'static str)>;
        let cases: [(&[&str], Clash); 9] = [
            (&[], None),
            (&["a", "b"], None),
            (&["A", "a"], Some(("A", "a"))),
            (&["a", "a/A", "a/a.b", "b", "b/A"], None),
            (&["xt_HL.ko", "xt_dscp.ko", "xt_hl.ko"], Some(("xt_HL.ko", "xt_hl.ko"))),
            // The directories, not what is in them, whether that clashes too or not.
            (&["A", "A/x", "a", "a/y"], Some(("A", "a"))),
            (&["d", "d/A", "d/A/x", "d/a", "d/a/x"], Some(("d/A", "d/a"))),
            (&["ÄRGER", "ärger"], Some(("ÄRGER", "ärger"))),
            // One is composed of two characters.
            (&["A\u{308}", "ä"], None),
        ];
        for (paths, expected) in cases {
            assert_eq!(clash(paths), expected, "{paths:?}");
        }
    }

    #[test]
    fn the_first_of_many_clashes_is_found() {
        let mut paths: Vec<String> = (0..5000).map(|nth| format!("d{nth:04}")).collect();
        paths.extend((1000..5000).map(|nth| format!("D{nth:04}")));
        paths.sort_unstable();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();

        assert_eq!(clash(&paths), Some(("D1000", "d1000")));
    }
}
