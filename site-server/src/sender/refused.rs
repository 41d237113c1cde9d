//! Objects that a peer refuses: when each is offered again, and that people hear of it once for each version.

use std::time::Duration;

use packhorse_domain::{Timestamp, id::SiteCode, link::RefuseReason, message, object::ObjectKind};

use crate::{
    error::Error,
    scheduler::{Job, JobContent},
    site::Site,
    status,
    store::{
        Tx,
        refusals::{self, Refusal},
    },
};

/// What may pass by itself soon: a full disk, a byte that fell over on the way.
const SOON: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
/// What passes when somebody does something about it, such as setting a clock.
const LATER: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(86_400));

/// Takes note that a peer does not take an object. Says when it is offered again; `None`: after the peer's next Hello.
pub(super) async fn record(
    site: &Site,
    tx: &mut Tx,
    peer: &SiteCode,
    job: &Job,
    (reason, text): (RefuseReason, &str),
) -> Result<Option<Timestamp>, Error> {
    let JobContent::Object { kind, id, version, .. } = &job.content else { return Ok(None) };
    let before = refusals::tries(tx, peer, (*kind, id, *version)).await?;
    let wait = wait_after(reason, before);
    let retry_at = wait.map(|wait| site.now().plus(wait));
    let refusal = Refusal { kind: *kind, id: id.clone(), version: *version, tries: before + 1, retry_at };
    refusals::put(tx, peer, &refusal).await?;
    let again = match wait {
        Some(wait) => format!("in {} min", wait.as_secs() / 60),
        None => "when the site connects anew, as after an upgrade".to_owned(),
    };
    let message = message::object_refused_there(peer, &reason, &text, &again);
    if matches!(kind, ObjectKind::Event | ObjectKind::SiteHealth) || before > 0 {
        // A message about a message could go on for ever, how a site is comes anew all the time, and of this version
        // people know.
        tracing::warn!(target: "sender", peer = %peer, subject = job.item.subject, text = message.text(), "refused");
        if *kind == ObjectKind::Event && reason == RefuseReason::NotAllowed {
            status::skip_used(site, tx, id).await?;
        }
    } else {
        status::report(site, tx, &job.item.subject, &message).await?;
    }
    Ok(retry_at)
}

/// How long to wait after a refusal that followed so many others of the same version.
fn wait_after(reason: RefuseReason, before: u64) -> Option<Duration> {
    let (first, most) = match reason {
        // The same program would say the same again.
        RefuseReason::UnknownKind | RefuseReason::Other => return None,
        RefuseReason::NotAllowed => LATER,
        RefuseReason::Held | RefuseReason::BaseMissing | RefuseReason::Damaged | RefuseReason::NoSpace => {
            SOON
        }
    };
    let doubled = u32::try_from(before).ok().and_then(|before| 2_u32.checked_pow(before));
    Some(first.saturating_mul(doubled.unwrap_or(u32::MAX)).min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_again_waits_twice_as_long_and_what_is_unknown_for_the_next_hello() {
        for (reason, before, minutes) in [
            (RefuseReason::NotAllowed, 0, Some(10)),
            (RefuseReason::NotAllowed, 1, Some(20)),
            (RefuseReason::NotAllowed, 7, Some(1280)),
            (RefuseReason::NotAllowed, 8, Some(1440)),
            (RefuseReason::NotAllowed, 1_000_000, Some(1440)),
            (RefuseReason::Damaged, 0, Some(1)),
            (RefuseReason::NoSpace, 60, Some(60)),
            (RefuseReason::UnknownKind, 0, None),
            (RefuseReason::Other, 3, None),
        ] {
            let expected = minutes.map(|minutes| Duration::from_secs(60 * minutes));
            assert_eq!(wait_after(reason, before), expected, "{reason} after {before}");
        }
    }
}
