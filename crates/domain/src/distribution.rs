//! Where packages go, and what each place should do about it.

use std::time::Duration;

use crate::{
    Digest, Timestamp,
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

/// What a child reported to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Manifests of the package, newest first.
    pub own: Vec<Digest>,
    /// Those of other packages.
    pub others: Vec<Digest>,
}

/// Manifests of other packages that a bundle builds on, at most.
const OTHERS_MAX: usize = 2;
/// Each has so much of the target, at least: less costs more to look through than it saves.
const SHARED_PERCENT_MIN: u64 = 5;

/// Decides what a child lacks. `here`: whether this site holds a manifest too. `shared`: how much of the target's content a
/// manifest has as well, in percent.
///
/// The newest version of the package is most like the next one, and it alone makes one bundle do for all children that
/// hold it. Where there is none, what other packages have in common with it counts.
pub fn child_need(
    target: &Digest,
    held: &Held,
    here: impl Fn(&Digest) -> bool,
    mut shared: impl FnMut(&Digest) -> u64,
) -> ChildNeed {
    if held.own.contains(target) || held.others.contains(target) {
        return ChildNeed::Nothing;
    }
    let bases = match held.own.iter().find(|base| here(base)) {
        Some(base) => vec![*base],
        None => {
            let mut others: Vec<(u64, Digest)> =
                held.others.iter().filter(|base| here(base)).map(|base| (shared(base), *base)).collect();
            others.retain(|(shared, _)| *shared >= SHARED_PERCENT_MIN);
            others.sort_unstable_by_key(|(shared, base)| (std::cmp::Reverse(*shared), *base));
            others.dedup();
            others.into_iter().take(OTHERS_MAX).map(|(_, base)| base).collect()
        }
    };
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

/// Which of the held versions of a package are kept, the newest first; `older_max`: of those that are neither current nor
/// ahead, for bundles that build on them.
pub fn kept(wanted: Wanted, versions: &[HeldVersion], older_max: usize) -> Vec<bool> {
    let mut older = 0;
    versions
        .iter()
        .map(|version| match wanted {
            Wanted::No => false,
            Wanted::NotYetKnown => true,
            Wanted::Yes if version.is_current || version.may_be_ahead => true,
            Wanted::Yes => {
                older += 1;
                older <= older_max
            }
        })
        .collect()
}

/// How a directory that shows what it should is compared with what it should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryCheck {
    /// Not now.
    No,
    /// Files that look as they did are not read.
    WhatWasTouched,
    Everything,
}

/// What is known of earlier checks of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EarlierChecks {
    /// How long ago it was last looked at, by this process.
    pub looked: Option<Duration>,
    /// When every file was last compared.
    pub compared_at: Option<Timestamp>,
    /// When somebody asked for that.
    pub asked_at: Option<Timestamp>,
}

/// How often a directory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// How often all its files are read: what escapes a look is found then.
const COMPARE_EVERY: Duration = Duration::from_secs(24 * 3600);

impl EarlierChecks {
    /// Whether somebody waits for an answer.
    pub fn is_asked(&self) -> bool {
        self.asked_at.is_some() && self.asked_at >= self.compared_at
    }
}

pub fn due_check(earlier: &EarlierChecks, now: Timestamp) -> DirectoryCheck {
    if earlier.is_asked() {
        return DirectoryCheck::Everything;
    }
    if earlier.looked.is_some_and(|age| age < LOOK_EVERY) {
        return DirectoryCheck::No;
    }
    // A time that is still to come was written by a clock that was wrong.
    match earlier.compared_at {
        Some(at) if at <= now && now.since(at) < COMPARE_EVERY => DirectoryCheck::WhatWasTouched,
        _ => DirectoryCheck::Everything,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_looked_at_often_and_read_now_and_then() {
        use DirectoryCheck::{Everything, No, WhatWasTouched};
        const HOUR: i64 = 3_600_000_000;
        let now = Timestamp(1000 * HOUR);
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        let at = |hours: i64| Some(Timestamp(hours * HOUR));
        for (looked, compared_at, asked_at, due) in [
            (minutes(1), at(999), None, No),
            (minutes(10), at(999), None, WhatWasTouched),
            (None, at(999), None, WhatWasTouched),
            (minutes(1), at(900), None, No),
            (minutes(10), at(976), None, Everything),
            (None, None, None, Everything),
            (minutes(10), at(1001), None, Everything),
            (minutes(1), at(999), at(1000), Everything),
            (minutes(1), at(999), at(998), No),
            (minutes(1), at(999), at(999), Everything),
            (minutes(1), None, at(1), Everything),
        ] {
            let earlier = EarlierChecks { looked, compared_at, asked_at };
            assert_eq!(due_check(&earlier, now), due, "{earlier:?}");
        }
    }

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
    fn the_current_version_and_some_older_are_kept() {
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
            assert_eq!(kept(wanted, &versions, 1), expected, "{wanted:?} {versions:?}");
        }
        assert_eq!(kept(Wanted::Yes, &[current, old, old, old], 2), [true, true, true, false]);
        assert_eq!(kept(Wanted::Yes, &[current, old], 0), [true, false]);
    }

    #[test]
    fn a_child_gets_only_what_it_lacks() {
        let [v1, v2, v3, like, unlike, likest] = [1, 2, 3, 4, 5, 6].map(|n| Digest([n; 32]));
        let shared = |base: &Digest| {
            [(like, 5), (unlike, 4), (likest, 90)].iter().find(|one| one.0 == *base).map_or(0, |one| one.1)
        };
        let bases = |own: &[Digest], others: &[Digest], here: &dyn Fn(&Digest) -> bool| {
            let held = Held { own: own.to_vec(), others: others.to_vec() };
            match child_need(&v3, &held, here, shared) {
                ChildNeed::Nothing => None,
                ChildNeed::Bundle { target, bases } => {
                    assert_eq!(target, v3);
                    Some(bases)
                }
            }
        };

        for (own, others, expected, why) in [
            (&[v3, v2][..], &[][..], None, "it has it"),
            (&[v1], &[v3], None, "another package has the same"),
            (&[v2, v1], &[likest], Some(vec![v2]), "the newest of its own is enough"),
            (&[], &[like, unlike, likest, like], Some(vec![likest, like]), "what has most of it first, once"),
            (&[], &[unlike], Some(vec![]), "too little in common"),
            (&[], &[], Some(vec![]), "it has nothing"),
        ] {
            assert_eq!(bases(own, others, &|_| true), expected, "{why}");
        }
        assert_eq!(bases(&[v2, v1], &[], &|base| *base != v2), Some(vec![v1]), "a base has to be here");
        assert_eq!(bases(&[v2], &[likest], &|_| false), Some(vec![]));
    }
}
