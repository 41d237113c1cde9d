//! Holds what a client reports against the limits of the protocol, and against who the client is.

use packhorse_domain::{
    client::{LABELS_MAX, TEXT_LENGTH_MAX},
    id::{AdvertisementId, ClientId, SiteCode},
    status::OUTPUT_TAIL_MAX,
};
use packhorse_proto::{
    cap::v1::{ClientReport, client_report::Body},
    client::v1::ReportRequest,
    object::v1::{AdvertisementStatus, ClientFact},
};
use tonic::Status;

const REPORTS_MAX: usize = 256;
/// What the site takes: a longer one would be dropped there.
const REASON_LENGTH_MAX: usize = 2048;
/// The W3C trace context of version 00 has 55; later versions may append.
const TRACEPARENT_LENGTH_MAX: usize = 128;

/// The reports of one call, each under the client's own name; or which field is wrong.
pub(crate) fn checked(
    request: ReportRequest,
    client: &ClientId,
    site: &SiteCode,
) -> Result<Vec<ClientReport>, Status> {
    let ReportRequest { statuses, facts, traceparent } = request;
    if statuses.len() + usize::from(facts.is_some()) > REPORTS_MAX {
        return Err(Status::invalid_argument(format!(
            "statuses: at most {REPORTS_MAX} reports are taken a call"
        )));
    }
    text("traceparent", &traceparent, TRACEPARENT_LENGTH_MAX)?;
    let mut bodies = Vec::with_capacity(statuses.len() + 1);
    for status in statuses {
        bodies.push(Body::Advertisement(checked_status(status, client, site)?));
    }
    if let Some(facts) = facts {
        bodies.push(Body::Facts(checked_facts(facts, client, site)?));
    }
    Ok(bodies
        .into_iter()
        .map(|body| ClientReport {
            client: client.to_string(),
            body: Some(body),
            traceparent: traceparent.clone(),
        })
        .collect())
}

fn checked_status(
    mut status: AdvertisementStatus,
    client: &ClientId,
    site: &SiteCode,
) -> Result<AdvertisementStatus, Status> {
    status
        .advertisement
        .parse::<AdvertisementId>()
        .map_err(|error| Status::invalid_argument(format!("statuses.advertisement: {error}")))?;
    own("statuses.client", &mut status.client, client.as_str())?;
    own("statuses.site", &mut status.site, site.as_str())?;
    text("statuses.hostname", &status.hostname, TEXT_LENGTH_MAX)?;
    text("statuses.output_tail", &status.output_tail, OUTPUT_TAIL_MAX)?;
    text("statuses.reason", &status.reason, REASON_LENGTH_MAX)?;
    Ok(status)
}

fn checked_facts(mut facts: ClientFact, client: &ClientId, site: &SiteCode) -> Result<ClientFact, Status> {
    own("facts.id", &mut facts.id, client.as_str())?;
    own("facts.site", &mut facts.site, site.as_str())?;
    for (field, value) in [
        ("facts.hostname", &facts.hostname),
        ("facts.os", &facts.os),
        ("facts.arch", &facts.arch),
        ("facts.software", &facts.software),
    ] {
        text(field, value, TEXT_LENGTH_MAX)?;
    }
    if facts.labels.len() > LABELS_MAX {
        return Err(Status::invalid_argument(format!("facts.labels: at most {LABELS_MAX} are taken")));
    }
    for (name, value) in &facts.labels {
        text("facts.labels", name, TEXT_LENGTH_MAX)?;
        text("facts.labels", value, TEXT_LENGTH_MAX)?;
    }
    Ok(facts)
}

/// A name that the certificate gives: what the client says must be the same, or nothing.
fn own(field: &str, said: &mut String, certified: &str) -> Result<(), Status> {
    if said.is_empty() {
        certified.clone_into(said);
    }
    if said == certified {
        Ok(())
    } else {
        Err(Status::permission_denied(format!("{field}: a client reports for itself alone, as {certified}")))
    }
}

fn text(field: &str, value: &str, longest: usize) -> Result<(), Status> {
    if value.len() <= longest {
        Ok(())
    } else {
        Err(Status::invalid_argument(format!("{field}: at most {longest} bytes are taken")))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    const CLIENT: &str = "0b0c8f6e-6f0e-4c56-8f0a-3a1d6a0f7d11";

    fn take(request: ReportRequest) -> Result<Vec<ClientReport>, Code> {
        let (client, site) = (CLIENT.parse().expect("a client id"), "CEN".parse().expect("a site code"));
        checked(request, &client, &site).map_err(|status| status.code())
    }

    fn status() -> AdvertisementStatus {
        AdvertisementStatus { advertisement: "CEN20001".to_owned(), ..AdvertisementStatus::default() }
    }

    fn of(status: AdvertisementStatus) -> ReportRequest {
        ReportRequest { statuses: vec![status], ..ReportRequest::default() }
    }

    #[test]
    fn reports_carry_the_name_in_the_certificate_and_the_trace() {
        let facts = Some(ClientFact::default());
        let reports =
            take(ReportRequest { facts, traceparent: "00-a".to_owned(), ..of(status()) }).expect("taken");

        assert_eq!(reports.len(), 2);
        for report in &reports {
            assert_eq!((report.client.as_str(), report.traceparent.as_str()), (CLIENT, "00-a"));
        }
        let Some(Body::Advertisement(taken)) = &reports[0].body else { panic!("the statuses come first") };
        assert_eq!((taken.client.as_str(), taken.site.as_str()), (CLIENT, "CEN"));
    }

    #[test]
    fn nobody_reports_for_another() {
        let other = "11111111-6f0e-4c56-8f0a-3a1d6a0f7d11".to_owned();
        let facts = ClientFact { id: other.clone(), ..ClientFact::default() };

        assert_eq!(take(of(AdvertisementStatus { client: other, ..status() })), Err(Code::PermissionDenied));
        assert_eq!(
            take(of(AdvertisementStatus { site: "PAR".to_owned(), ..status() })),
            Err(Code::PermissionDenied)
        );
        assert_eq!(
            take(ReportRequest { facts: Some(facts), ..ReportRequest::default() }),
            Err(Code::PermissionDenied)
        );
    }

    #[test]
    fn what_is_too_large_or_malformed_is_refused() {
        let cases = [
            AdvertisementStatus { advertisement: "../x".to_owned(), ..status() },
            AdvertisementStatus { output_tail: "x".repeat(4097), ..status() },
            AdvertisementStatus { hostname: "x".repeat(256), ..status() },
        ];
        for case in cases {
            assert_eq!(take(of(case)), Err(Code::InvalidArgument));
        }
        let many = ReportRequest { statuses: vec![status(); 257], ..ReportRequest::default() };
        assert_eq!(take(many), Err(Code::InvalidArgument));
        let most = ReportRequest { statuses: vec![status(); 256], ..ReportRequest::default() };
        assert_eq!(take(most).map(|reports| reports.len()), Ok(256));
    }
}
