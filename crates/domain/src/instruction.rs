//! Instruction files: what a site tells one client to hold.

use crate::{
    Digest, Timestamp,
    id::{ClientId, PackageId, PointName, SiteCode},
    window::Windows,
};

/// Everything one client should hold, by name and digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    pub site: SiteCode,
    pub client: ClientId,
    /// Grows; a client refuses a lower one than it has seen.
    pub serial: u64,
    pub issued_at: Timestamp,
    /// A client starts nothing new on an older instruction.
    pub not_after: Timestamp,
    pub files: Vec<FileReference>,
    /// Those of all collections that the client is in.
    pub windows: Windows,
}

/// A file that the CAP holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReference {
    pub name: String,
    pub digest: Digest,
}

/// Where a package's content is at a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointList {
    pub package: PackageId,
    pub manifest: Digest,
    pub points: Vec<Point>,
}

/// A distribution point that serves clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    pub name: PointName,
    /// host:port.
    pub endpoints: Vec<String>,
}

/// What an instruction file is, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileName<'a> {
    Trust,
    Delegation(&'a str),
    Offer(&'a str),
    Package(&'a str),
    Points(&'a str),
    /// A site's word that a package must not run, or may again.
    Kill {
        site: &'a str,
        package: &'a str,
    },
    /// A Signed instruction, for that client alone.
    Instruction(&'a str),
    /// What a distribution point should hold, for that point alone.
    Content {
        point: &'a str,
        package: &'a str,
    },
}

impl<'a> FileName<'a> {
    pub fn parse(name: &'a str) -> Option<Self> {
        if name == "trust" {
            return Some(FileName::Trust);
        }
        let (kind, rest) = name.split_once('/')?;
        let plain = !rest.is_empty() && !rest.contains('/');
        match kind {
            "delegation" if plain => Some(FileName::Delegation(rest)),
            "offer" if plain => Some(FileName::Offer(rest)),
            "package" if plain => Some(FileName::Package(rest)),
            "points" if plain => Some(FileName::Points(rest)),
            "instruction" if plain => Some(FileName::Instruction(rest)),
            "content" => two(rest).map(|(point, package)| FileName::Content { point, package }),
            "kill" => two(rest).map(|(site, package)| FileName::Kill { site, package }),
            _ => None,
        }
    }
}

impl std::fmt::Display for FileName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FileName::Trust => f.write_str("trust"),
            FileName::Delegation(site) => write!(f, "delegation/{site}"),
            FileName::Offer(advertisement) => write!(f, "offer/{advertisement}"),
            FileName::Package(package) => write!(f, "package/{package}"),
            FileName::Points(package) => write!(f, "points/{package}"),
            FileName::Instruction(client) => write!(f, "instruction/{client}"),
            FileName::Content { point, package } => write!(f, "content/{point}/{package}"),
            FileName::Kill { site, package } => write!(f, "kill/{site}/{package}"),
        }
    }
}

/// Two names.
fn two(rest: &str) -> Option<(&str, &str)> {
    rest.split_once('/')
        .filter(|(first, second)| !first.is_empty() && !second.is_empty() && !second.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_they_were_written() {
        for name in [
            "trust",
            "delegation/LYO",
            "offer/CEN20001",
            "package/P",
            "points/P",
            "instruction/c",
            "content/dp1/P",
            "kill/CEN/P",
        ] {
            assert_eq!(FileName::parse(name).map(|parsed| parsed.to_string()).as_deref(), Some(name));
        }
        for bad in [
            "",
            "offer",
            "offer/",
            "offer/a/b",
            "content/dp1",
            "content//P",
            "content/a/b/c",
            "../trust",
            "kill/CEN",
            "kill/CEN/P/x",
        ] {
            assert_eq!(FileName::parse(bad), None, "{bad}");
        }
    }
}
