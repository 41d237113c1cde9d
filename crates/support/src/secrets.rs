//! Pieces of the private keys in a directory, so that they are recognised wherever they turn up. They are not collected.

use std::{fs, path::Path};

use walkdir::WalkDir;
use zeroize::Zeroizing;

/// No key is larger.
const KEY_BYTES_MAX: u64 = 64 * 1024;
/// Keys lie at most so deep below the directory of a site or an agent.
const DEPTH_MAX: usize = 3;

/// The lines of the private keys in the files `*.pem` and `*.key` below a directory. What cannot be read cannot turn up
/// in a text either.
pub fn pieces_of_keys(directory: &Path) -> Vec<String> {
    let files =
        WalkDir::new(directory).max_depth(DEPTH_MAX).into_iter().filter_map(Result::ok).filter(|entry| {
            let name = entry.path().extension().is_some_and(|end| end == "pem" || end == "key");
            name && entry.metadata().is_ok_and(|facts| facts.is_file() && facts.len() <= KEY_BYTES_MAX)
        });
    let mut pieces = Vec::new();
    for entry in files {
        let Ok(text) = fs::read_to_string(entry.path()).map(Zeroizing::new) else { continue };
        if text.contains("PRIVATE KEY") || text.contains("SECRET-KEY") {
            let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['-', '#']));
            pieces.extend(lines.map(str::to_owned));
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_private_keys_are_pieces() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("keys")).unwrap();
        let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAw\nBQYDK2Vw\n-----END PRIVATE KEY-----\n";
        fs::write(root.join("keys/director.pem"), key).unwrap();
        fs::write(root.join("keys/courier.key"), "# made\nAGE-SECRET-KEY-1QQ\n").unwrap();
        fs::write(root.join("cert.pem"), "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
            .unwrap();
        fs::write(root.join("notes.txt"), key).unwrap();

        let mut pieces = pieces_of_keys(root);
        pieces.sort();

        assert_eq!(pieces, ["AGE-SECRET-KEY-1QQ", "BQYDK2Vw", "MC4CAQAw"]);
    }
}
