//! What neighbours do wrong: a status message for each kind of it now and then, and the rest in the log.

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use packhorse_domain::{
    Timestamp,
    id::SiteCode,
    status::{EventType, Severity},
};

use crate::{error::Error, site::Site, status, store::Tx};

/// For so long a neighbour's fault is told of once.
const ONCE_WITHIN: Duration = Duration::from_secs(600);

/// What was told of lately. A restart forgets it, which costs one message more.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    told: Mutex<HashMap<(SiteCode, String), Timestamp>>,
}

impl Complaints {
    /// Whether this kind of fault of this neighbour is worth a message now.
    fn is_news(&self, peer: &SiteCode, kind: &str, now: Timestamp) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back would make what was told seem to come later.
        told.retain(|_, at| *at <= now && now.since(*at) < ONCE_WITHIN);
        let key = (peer.clone(), kind.to_owned());
        let is_news = !told.contains_key(&key);
        told.entry(key).or_insert(now);
        is_news
    }
}

/// Tells people of a fault of a neighbour, or only the log if they were told of its like within ten minutes.
pub(crate) async fn complain(
    site: &Site,
    tx: &mut Tx,
    component: &'static str,
    (peer, kind): (&SiteCode, &str),
    text: &str,
) -> Result<(), Error> {
    if !site.complaints.is_news(peer, kind, site.now()) {
        tracing::warn!(target: "status-manager", component, subject = peer.as_str(), "{text}");
        return Ok(());
    }
    let class = (Severity::Warning, EventType::Milestone);
    status::report(site, tx, component, class, peer.as_str(), text).await
}

/// The kind of a fault: the name of its variant. What a peer chooses, such as offsets, is in the fields and makes no
/// new kind.
pub(crate) fn kind_of(fault: &impl Debug) -> String {
    let text = format!("{fault:?}");
    text.split(|character: char| !character.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use packhorse_domain::link::{ItemId, Violation};

    use super::*;

    #[test]
    fn a_fault_is_told_once_in_ten_minutes_for_each_neighbour_and_kind() {
        let complaints = Complaints::default();
        let site = |code: &str| code.parse::<SiteCode>().unwrap();
        for (peer, kind, minute, is_news) in [
            ("PAR", "SecondHello", 0, true),
            ("PAR", "SecondHello", 0, false),
            ("PAR", "NotWanted", 1, true),
            ("LYO", "SecondHello", 1, true),
            ("PAR", "SecondHello", 9, false),
            ("PAR", "SecondHello", 10, true),
            ("PAR", "SecondHello", 5, true),
        ] {
            let now = Timestamp(minute * 60_000_000);
            assert_eq!(complaints.is_news(&site(peer), kind, now), is_news, "{peer} {kind} {minute}");
        }
    }

    #[test]
    fn what_a_peer_chooses_makes_no_new_kind() {
        let item = ItemId([7; 16]);

        assert_eq!(kind_of(&Violation::SecondHello), "SecondHello");
        assert_eq!(kind_of(&Violation::NotWanted { item }), "NotWanted");
        assert_eq!(kind_of(&Some(5)), "Some");
    }
}
