//! The kill list: releases of packages that must not run, at the word of a site above.
//!
//! Each site has one word about a package: that its releases up to one are killed, or that they are no more. The newest
//! word of a site stands, and the word of any site above is enough.

use std::{collections::BTreeMap, fmt};

use crate::{
    Timestamp,
    id::{PackageId, SiteCode},
};

pub const REASON_LENGTH_MAX: usize = 512;
/// Packages that one site has a word about, lifted ones too: every client holds all words of all sites above it, of which
/// there are at most eight, in an instruction of 10,000 files.
pub const KILLS_MAX: usize = 500;

/// What a site says of a package: this release and all before it must not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    pub package: PackageId,
    /// Counted by the author; at least 1.
    pub release: u64,
    /// For people.
    pub reason: String,
    pub at: Timestamp,
}

/// A kill that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KillError {
    #[error("a reason of 1 to {REASON_LENGTH_MAX} bytes without control characters is expected")]
    Reason,
    #[error("releases are counted from 1")]
    Release,
    #[error(
        "package {package} is killed up to release {held}, and {asked} is lower: if the releases above {asked} are sound, \
         lift the kill first with `packhorse package revive {package}`"
    )]
    Lower { package: PackageId, held: u64, asked: u64 },
}

impl Kill {
    /// The name of the object that says it.
    pub fn id(site: &SiteCode, package: &PackageId) -> String {
        format!("{site}/{package}")
    }

    /// Site and package out of such a name.
    pub fn parse_id(id: &str) -> Option<(SiteCode, PackageId)> {
        let (site, package) = id.split_once('/')?;
        Some((site.parse().ok()?, package.parse().ok()?))
    }

    pub fn check(&self) -> Result<(), KillError> {
        check_reason(&self.reason)?;
        if self.release == 0 { Err(KillError::Release) } else { Ok(()) }
    }

    /// Whether its site may say this where it says `held`: a kill goes on to later releases, and never gives earlier ones
    /// free unless it was lifted.
    pub fn check_after(&self, held: Option<&Kill>) -> Result<(), KillError> {
        match held {
            Some(held) if held.release > self.release => Err(KillError::Lower {
                package: self.package.clone(),
                held: held.release,
                asked: self.release,
            }),
            _ => Ok(()),
        }
    }
}

/// Why something must not run, as people are told.
pub fn check_reason(reason: &str) -> Result<(), KillError> {
    let is_sound = !reason.trim().is_empty()
        && reason.len() <= REASON_LENGTH_MAX
        && !reason.chars().any(char::is_control);
    if is_sound { Ok(()) } else { Err(KillError::Reason) }
}

/// One site's word about one package, as its object has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The object's.
    pub version: u64,
    /// `None`: it was lifted.
    pub kill: Option<Kill>,
}

/// What is known of all words that count at one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KillList(BTreeMap<(SiteCode, PackageId), Word>);

/// Why a release must not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Killed {
    pub site: SiteCode,
    pub reason: String,
}

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "killed by {}: {}", self.site, self.reason)
    }
}

impl KillList {
    /// Takes a word that is newer than what is known of it, and says whether it is. What comes late or again changes
    /// nothing.
    pub fn take(&mut self, site: SiteCode, package: PackageId, word: Word) -> bool {
        let key = (site, package);
        let is_news = self.0.get(&key).is_none_or(|known| known.version < word.version);
        if is_news {
            self.0.insert(key, word);
        }
        is_news
    }

    pub fn word(&self, site: &SiteCode, package: &PackageId) -> Option<&Word> {
        self.0.get(&(site.clone(), package.clone()))
    }

    pub fn words(&self) -> impl Iterator<Item = (&SiteCode, &PackageId, &Word)> {
        self.0.iter().map(|((site, package), word)| (site, package, word))
    }

    /// Who killed this release, and why. Of several sites the first by its code is named.
    pub fn killed(&self, package: &PackageId, release: u64) -> Option<Killed> {
        self.words().find_map(|(site, of, word)| {
            let kill = word.kill.as_ref().filter(|kill| of == package && release <= kill.release)?;
            Some(Killed { site: site.clone(), reason: kill.reason.clone() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(code: &str) -> SiteCode {
        code.parse().expect("a code")
    }

    fn package(id: &str) -> PackageId {
        id.parse().expect("an id")
    }

    fn kill(release: u64) -> Kill {
        Kill { package: package("CEN00001"), release, reason: "it wipes disks".into(), at: Timestamp(7) }
    }

    fn word(version: u64, release: Option<u64>) -> Word {
        Word { version, kill: release.map(kill) }
    }

    /// Site, version, release.
    type Said = (&'static str, u64, Option<u64>);

    #[test]
    fn the_newest_word_of_each_site_stands_and_one_is_enough() {
        // Words as they come: site, version, the killed release. Then whether release 3 runs, and who killed it.
        let lifted = None;
        let cases: &[(&[Said], Option<&str>)] = &[
            (&[], None),
            (&[("CEN", 1, Some(3))], Some("CEN")),
            (&[("CEN", 1, Some(4))], Some("CEN")),
            (&[("CEN", 1, Some(2))], None),
            (&[("CEN", 1, Some(3)), ("CEN", 2, lifted)], None),
            // An older one that comes again or late.
            (&[("CEN", 1, Some(3)), ("CEN", 2, lifted), ("CEN", 1, Some(3))], None),
            (&[("CEN", 3, Some(3)), ("CEN", 2, lifted)], Some("CEN")),
            (&[("CEN", 2, lifted), ("CEN", 1, Some(3))], None),
            (&[("CEN", 2, Some(3)), ("CEN", 2, lifted)], Some("CEN")),
            // Killed, lifted, killed again with a lower release.
            (&[("CEN", 1, Some(9)), ("CEN", 2, lifted), ("CEN", 3, Some(2))], None),
            (&[("CEN", 1, Some(9)), ("CEN", 3, Some(2))], None),
            // Each speaks for itself.
            (&[("CEN", 1, Some(3)), ("PAR", 9, lifted)], Some("CEN")),
            (&[("CEN", 2, lifted), ("PAR", 1, Some(3))], Some("PAR")),
            (&[("PAR", 1, Some(3)), ("CEN", 1, Some(3))], Some("CEN")),
        ];
        for (words, expected) in cases {
            let mut list = KillList::default();
            for (by, version, release) in *words {
                list.take(site(by), package("CEN00001"), word(*version, *release));
            }
            let killed = list.killed(&package("CEN00001"), 3);
            assert_eq!(killed.as_ref().map(|killed| killed.site.as_str()), *expected, "{words:?}");
            assert_eq!(list.killed(&package("CEN00002"), 3), None, "another package");
        }
    }

    #[test]
    fn a_word_is_news_once() {
        let mut list = KillList::default();
        assert!(list.take(site("CEN"), package("CEN00001"), word(2, Some(3))));
        assert!(!list.take(site("CEN"), package("CEN00001"), word(2, Some(3))));
        assert!(!list.take(site("CEN"), package("CEN00001"), word(1, None)));
        assert!(list.take(site("CEN"), package("CEN00001"), word(3, None)));
        let killed = Killed { site: site("CEN"), reason: "it wipes disks".into() };
        assert_eq!(killed.to_string(), "killed by CEN: it wipes disks");
    }

    #[test]
    fn a_kill_rises_and_comes_down_only_when_it_was_lifted() {
        for (held, asked, is_taken) in
            [(None, 1, true), (Some(3), 3, true), (Some(3), 4, true), (Some(3), 2, false)]
        {
            let held: Option<Kill> = held.map(kill);
            assert_eq!(kill(asked).check_after(held.as_ref()).is_ok(), is_taken, "{held:?} {asked}");
        }
    }

    #[test]
    fn a_kill_has_a_release_and_a_reason() {
        let longest = "x".repeat(REASON_LENGTH_MAX);
        let longer = "x".repeat(REASON_LENGTH_MAX + 1);
        for (release, reason, is_sound) in [
            (1, "x", true),
            (u64::MAX, longest.as_str(), true),
            (0, "x", false),
            (1, "", false),
            (1, "  ", false),
            (1, "a\nb", false),
            (1, longer.as_str(), false),
        ] {
            let kill = Kill { reason: reason.into(), ..kill(release) };
            assert_eq!(kill.check().is_ok(), is_sound, "{release} {reason:?}");
        }
    }

    #[test]
    fn names_read_back_as_they_were_written() {
        let id = Kill::id(&site("PAR"), &package("CEN00001"));
        assert_eq!(id, "PAR/CEN00001");
        assert_eq!(Kill::parse_id(&id), Some((site("PAR"), package("CEN00001"))));
        for bad in ["", "PAR", "PAR/", "/CEN00001", "PAR/CEN00001/", "par/CEN00001", "PAR/../x", "PAR/CEN"] {
            assert_eq!(Kill::parse_id(bad), None, "{bad}");
        }
    }
}
