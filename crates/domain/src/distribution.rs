//! Where packages go, and what each place should do about it.

use crate::{
    Digest,
    id::{PackageId, PointName, SiteCode},
};

/// Which distribution points hold a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    pub package: PackageId,
    /// Sorted, each once.
    pub targets: Vec<Target>,
}

/// A distribution point of a site; its text is `LYO/dp1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    pub site: SiteCode,
    pub point: PointName,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("`{0}` is not a distribution point: SITE/NAME is expected, as LYO/dp1")]
    Form(String),
    #[error(transparent)]
    Id(#[from] crate::id::IdError),
}

impl std::str::FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (site, point) =
            text.split_once('/').ok_or_else(|| TargetError::Form(text.chars().take(80).collect()))?;
        Ok(Target { site: site.parse()?, point: point.parse()? })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.site, self.point)
    }
}

pub const TARGETS_MAX: usize = 10_000;

impl Distribution {
    pub fn empty(package: PackageId) -> Self {
        Distribution { package, targets: Vec::new() }
    }

    /// Adds targets; those that are there stay once. Says whether anything changed.
    pub fn add(&mut self, targets: impl IntoIterator<Item = Target>) -> bool {
        let before = self.targets.len();
        self.targets.extend(targets);
        self.targets.sort();
        self.targets.dedup();
        self.targets.len() != before
    }

    pub fn remove(&mut self, targets: &[Target]) -> bool {
        let before = self.targets.len();
        self.targets.retain(|target| !targets.contains(target));
        self.targets.len() != before
    }

    /// The points of one site.
    pub fn points_at<'a>(&'a self, site: &'a SiteCode) -> impl Iterator<Item = &'a PointName> {
        self.targets.iter().filter(move |target| target.site == *site).map(|target| &target.point)
    }

    /// Whether any of these sites has a target.
    pub fn reaches(&self, sites: &[SiteCode]) -> bool {
        self.targets.iter().any(|target| sites.contains(&target.site))
    }
}

/// What a kind of distribution point it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointKind {
    /// A CAP agent that serves content over gRPC.
    Agent,
    /// A directory that receives the files themselves.
    Directory,
}

/// What a child site is to get next for one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChildNeed {
    Nothing,
    /// The content of `target`, built on these manifests that the child is known to hold.
    Bundle {
        target: Digest,
        bases: Vec<Digest>,
    },
}

/// The newest bases are the likeliest to share content; more than this costs more to consider than it saves.
pub const BASES_MAX: usize = 4;

/// Decides what a child lacks: `held` are the manifests it reported, newest first and of this package before others.
pub fn child_need(target: &Digest, held: &[Digest], here: impl Fn(&Digest) -> bool) -> ChildNeed {
    if held.contains(target) {
        return ChildNeed::Nothing;
    }
    let bases = held.iter().filter(|base| here(base)).take(BASES_MAX).copied().collect();
    ChildNeed::Bundle { target: *target, bases }
}

/// Whether a site should hold a package's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Yes,
    No,
    /// The objects that would say so are still on their way.
    NotYetKnown,
}

/// A version in a site's library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldVersion {
    /// The package's definition names it.
    pub is_current: bool,
    /// It may be the one that the next definition names.
    pub may_be_ahead: bool,
}

/// Versions of a package that are kept beside the newest, for bundles that build on them.
pub const OLDER_VERSIONS_KEPT: usize = 1;

/// Which of the held versions of a package are kept, the newest first.
pub fn kept(wanted: Wanted, versions: &[HeldVersion]) -> Vec<bool> {
    let mut older = 0;
    versions
        .iter()
        .map(|version| match wanted {
            Wanted::No => false,
            Wanted::NotYetKnown => true,
            Wanted::Yes if version.is_current || version.may_be_ahead => true,
            Wanted::Yes => {
                older += 1;
                older <= OLDER_VERSIONS_KEPT
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().expect("a target")
    }

    #[test]
    fn a_target_is_a_site_and_a_point() {
        assert_eq!(target("LYO/dp1").to_string(), "LYO/dp1");
        for bad in ["LYO", "LYO/", "/dp1", "lyo/dp1", "LYO/a/b", "LYO/.."] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn adding_a_target_twice_is_the_same_as_once() {
        let mut distribution = Distribution::empty("CEN00001".parse().expect("an id"));
        assert!(distribution.add([target("LYO/b"), target("LYO/a"), target("PAR/a")]));
        assert!(!distribution.add([target("LYO/a")]));

        let lyo = "LYO".parse().expect("a code");
        assert_eq!(distribution.points_at(&lyo).map(PointName::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert!(distribution.remove(&[target("PAR/a")]) && !distribution.remove(&[target("PAR/a")]));
        assert!(!distribution.reaches(&["PAR".parse().expect("a code")]));
    }

    #[test]
    fn the_current_version_and_one_older_are_kept() {
        let current = HeldVersion { is_current: true, may_be_ahead: false };
        let ahead = HeldVersion { is_current: false, may_be_ahead: true };
        let old = HeldVersion { is_current: false, may_be_ahead: false };

        for (wanted, versions, expected) in [
            (Wanted::Yes, vec![current, old, old], vec![true, true, false]),
            (Wanted::Yes, vec![old, old], vec![true, false]),
            (Wanted::Yes, vec![current, old, old, ahead], vec![true, true, false, true]),
            (Wanted::Yes, vec![old, current], vec![true, true]),
            (Wanted::No, vec![current, old, ahead], vec![false; 3]),
            (Wanted::NotYetKnown, vec![old, old, ahead], vec![true; 3]),
            (Wanted::Yes, vec![], vec![]),
        ] {
            assert_eq!(kept(wanted, &versions), expected, "{wanted:?} {versions:?}");
        }
    }

    #[test]
    fn a_child_gets_only_what_it_lacks() {
        let [v1, v2, other] = [1, 2, 3].map(|n| Digest([n; 32]));

        assert_eq!(child_need(&v2, &[v2, v1], |_| true), ChildNeed::Nothing);
        assert_eq!(
            child_need(&v2, &[v1, other], |base| *base == v1),
            ChildNeed::Bundle { target: v2, bases: vec![v1] },
            "a base that is not here cannot be built on"
        );
    }
}
