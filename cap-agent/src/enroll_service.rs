//! Enrolment of clients: hands their calls on to the site, so that a client needs to reach nothing but its CAP.
//!
//! Anybody may call this, so it is the one service with a rate: what comes in excess never reaches the site.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use packhorse_proto::enroll::v1::{
    EnrollRequest, EnrollResponse, enroll_service_client::EnrollServiceClient,
    enroll_service_server::EnrollService,
};
use packhorse_runtime::error_chain;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

use crate::site::Site;

pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024;
const SECRET_LENGTH: usize = 32;
const REQUEST_LENGTH_MAX: usize = 16 * 1024;
const HOSTNAME_LENGTH_MAX: usize = 255;
const CALLS_AT_ONCE: u32 = 50;
const PAUSE_PER_CALL: Duration = Duration::from_millis(100);
const ANSWER_LONGEST: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct ForwardEnrolment {
    site: Arc<Site>,
    rate: Mutex<Rate>,
}

/// So many calls at once, and then one for each pause.
#[derive(Debug)]
struct Rate {
    left: u32,
    counted_at: Instant,
}

impl ForwardEnrolment {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        ForwardEnrolment { site, rate: Mutex::new(Rate::new(Instant::now())) }
    }
}

#[tonic::async_trait]
impl EnrollService for ForwardEnrolment {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let request = request.into_inner();
        check(&request)?;
        if !self.rate.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
            return Err(Status::resource_exhausted("too many enrolments at once: come back in 5 s"));
        }
        let channel = self.site.connect_anonymously().await.map_err(|error| {
            tracing::warn!(error = error_chain(&error), "cannot hand on an enrolment");
            Status::unavailable("the site cannot be reached just now: try again")
        })?;
        let mut client = EnrollServiceClient::new(channel);
        match tokio::time::timeout(ANSWER_LONGEST, client.enroll(request)).await {
            Ok(answer) => answer.map_err(|status| handed_back(&status)),
            Err(_) => Err(Status::unavailable("the site does not answer just now: try again")),
        }
    }
}

impl Rate {
    fn new(now: Instant) -> Self {
        Rate { left: CALLS_AT_ONCE, counted_at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.counted_at).as_millis() / PAUSE_PER_CALL.as_millis();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX).min(CALLS_AT_ONCE);
        if earned == CALLS_AT_ONCE {
            self.counted_at = now;
        } else {
            self.counted_at += PAUSE_PER_CALL * earned;
        }
        self.left = self.left.saturating_add(earned).min(CALLS_AT_ONCE);
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

fn check(request: &EnrollRequest) -> Result<(), Status> {
    let limits = [
        (request.secret.len() == SECRET_LENGTH, "secret: 32 bytes are expected"),
        (
            request.certificate_request.len() <= REQUEST_LENGTH_MAX,
            "certificate_request: at most 16 KiB are taken",
        ),
        (request.director_key.is_empty(), "director_key: a child site joins at its parent's site server"),
        (request.hostname.len() <= HOSTNAME_LENGTH_MAX, "hostname: at most 255 bytes are taken"),
    ];
    match limits.iter().find(|(holds, _)| !holds) {
        Some((_, text)) => Err(Status::invalid_argument(*text)),
        None => Ok(()),
    }
}

/// The site's refusal without what belongs to its connection; what is no answer of the site becomes "try again".
fn handed_back(status: &Status) -> Status {
    match status.code() {
        code @ (Code::PermissionDenied | Code::InvalidArgument | Code::ResourceExhausted) => {
            Status::new(code, status.message())
        }
        code => {
            tracing::warn!(?code, reason = status.message(), "an enrolment failed at the site");
            Status::unavailable("the site cannot answer just now: try again")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_excess_wait_for_their_time() {
        let start = Instant::now();
        let mut rate = Rate::new(start);

        let at_once = (0..1000).filter(|_| rate.take(start)).count();
        let later = (0..1000).filter(|_| rate.take(start + PAUSE_PER_CALL * 3)).count();
        let much_later = (0..1000).filter(|_| rate.take(start + Duration::from_secs(3600))).count();

        assert_eq!((at_once, later, much_later), (50, 3, 50));
    }

    #[test]
    fn what_no_client_sends_is_not_handed_on() {
        let good = EnrollRequest { secret: vec![0; 32].into(), ..EnrollRequest::default() };
        assert!(check(&good).is_ok());

        for bad in [
            EnrollRequest { secret: vec![0; 31].into(), ..good.clone() },
            EnrollRequest { certificate_request: "x".repeat(16 * 1024 + 1), ..good.clone() },
            EnrollRequest { director_key: vec![0; 32].into(), ..good.clone() },
            EnrollRequest { hostname: "x".repeat(256), ..good.clone() },
        ] {
            assert!(check(&bad).is_err());
        }
    }

    #[test]
    fn only_the_sites_own_refusals_are_handed_back() {
        assert_eq!(handed_back(&Status::permission_denied("used")).code(), Code::PermissionDenied);
        assert_eq!(handed_back(&Status::unknown("transport error")).code(), Code::Unavailable);
        assert_eq!(handed_back(&Status::unauthenticated("who?")).code(), Code::Unavailable);
    }
}
