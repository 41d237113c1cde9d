//! The tree of sites.

use std::fmt;

use crate::id::SiteCode;

/// The way from the central site down to a site, both included; never empty, no code twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SitePath(Vec<SiteCode>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SitePathError {
    #[error("a site path has at least the central site")]
    Empty,
    #[error("site {0} occurs twice in a site path")]
    Repeated(SiteCode),
    #[error("a site path has at most {0} levels")]
    TooDeep(usize),
}

impl SitePath {
    /// Deeper trees are refused: each level costs a hop for every byte.
    pub const LEVELS_MAX: usize = 8;

    pub fn new(sites: Vec<SiteCode>) -> Result<Self, SitePathError> {
        if sites.is_empty() {
            return Err(SitePathError::Empty);
        }
        if sites.len() > Self::LEVELS_MAX {
            return Err(SitePathError::TooDeep(Self::LEVELS_MAX));
        }
        match sites.iter().enumerate().find(|(at, site)| sites[..*at].contains(site)) {
            Some((_, site)) => Err(SitePathError::Repeated(site.clone())),
            None => Ok(SitePath(sites)),
        }
    }

    pub fn central(site: SiteCode) -> Self {
        SitePath(vec![site])
    }

    pub fn child(&self, site: SiteCode) -> Result<Self, SitePathError> {
        let mut sites = self.0.clone();
        sites.push(site);
        SitePath::new(sites)
    }

    pub fn sites(&self) -> &[SiteCode] {
        &self.0
    }

    /// The site at the end.
    pub fn site(&self) -> &SiteCode {
        self.0.last().expect("a site path is never empty")
    }

    pub fn parent(&self) -> Option<&SiteCode> {
        self.0.len().checked_sub(2).map(|at| &self.0[at])
    }

    /// Whether `site` is this site or one above it.
    pub fn is_under(&self, site: &SiteCode) -> bool {
        self.0.contains(site)
    }
}

impl fmt::Display for SitePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, site) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("/")?;
            }
            write!(f, "{site}")?;
        }
        Ok(())
    }
}

/// What a site is to its parent: a child may have sites of its own below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteFact {
    pub code: SiteCode,
    pub parent: Option<SiteCode>,
    pub name: String,
    /// The version of the software that it runs.
    pub software: String,
    /// What parcels for it are encrypted to, `age1...`; empty: it takes none.
    pub courier_key: String,
}

/// A site and all below it, itself first; `parents` gives (site, parent) of all known. A loop in it ends.
pub fn subtree(site: &SiteCode, parents: &[(SiteCode, SiteCode)]) -> Vec<SiteCode> {
    let mut below = vec![site.clone()];
    let mut at = 0;
    while at < below.len() {
        let under = below[at].clone();
        for (child, parent) in parents {
            if *parent == under && !below.contains(child) {
                below.push(child.clone());
            }
        }
        at += 1;
    }
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> SiteCode {
        text.parse().expect("a site code")
    }

    #[test]
    fn a_path_has_no_loop_and_an_end() {
        let path = SitePath::central(code("CEN")).child(code("PAR")).expect("a child");

        assert_eq!(path.to_string(), "CEN/PAR");
        assert_eq!(path.parent(), Some(&code("CEN")));
        assert_eq!(path.child(code("CEN")), Err(SitePathError::Repeated(code("CEN"))));
        assert_eq!(SitePath::new(vec![]), Err(SitePathError::Empty));
    }

    #[test]
    fn a_grandchild_lies_behind_its_parent() {
        let parents = [
            (code("PAR"), code("CEN")),
            (code("LYO"), code("PAR")),
            (code("AAA"), code("BBB")),
            (code("BBB"), code("AAA")),
        ];

        assert_eq!(subtree(&code("CEN"), &parents), [code("CEN"), code("PAR"), code("LYO")]);
        assert_eq!(subtree(&code("PAR"), &parents), [code("PAR"), code("LYO")]);
        assert_eq!(subtree(&code("LYO"), &parents), [code("LYO")], "its parent is not below it");
        assert_eq!(subtree(&code("AAA"), &parents), [code("AAA"), code("BBB")], "a loop ends");
    }
}
