//! Whose turn it is, when more destinations have bundles waiting than may be sent to at once.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use packhorse_domain::{
    Priority, Timestamp,
    id::SiteCode,
    sendings::{Claim, grant},
};

/// The claims of all links of this process.
#[derive(Debug, Default)]
pub(crate) struct Sendings {
    claims: Mutex<BTreeMap<SiteCode, Claim>>,
}

impl Sendings {
    /// A destination's most urgent bundle, and when it last moved. True: it is its turn.
    pub(crate) fn claim(
        &self,
        site: &SiteCode,
        (priority, moved_at): (Priority, Timestamp),
        sendings_max: usize,
        now: Timestamp,
    ) -> bool {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = claims.entry(site.clone()).or_insert_with(|| Claim {
            site: site.clone(),
            priority,
            since: now,
            moved_at: None,
        });
        claim.priority = priority;
        claim.moved_at = claim.moved_at.map(|known| known.max(moved_at));
        if claims.len() <= sendings_max {
            // There is room for all: who comes before whom is of no interest.
            for claim in claims.values_mut() {
                claim.moved_at.get_or_insert(now);
            }
            return true;
        }
        let all: Vec<Claim> = claims.values().cloned().collect();
        let granted = grant(&all, sendings_max, now);
        for claim in claims.values_mut() {
            match (granted.contains(&claim.site), claim.moved_at) {
                (true, None) => claim.moved_at = Some(now),
                (false, Some(_)) => {
                    claim.moved_at = None;
                    claim.since = now;
                }
                _ => {}
            }
        }
        granted.contains(site)
    }

    /// It has nothing waiting, or no link.
    pub(crate) fn withdraw(&self, site: &SiteCode) {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).remove(site);
    }
}
