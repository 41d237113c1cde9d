//! A report's way from a client through the agent's disk to the site.

use packhorse_proto::{
    cap::v1::{ClientReport, client_report::Body},
    client::v1::ReportRequest,
    object::v1::{AdvertisementStatus, ClientFact},
};
use packhorse_trust::Role;
use tonic::Code;

use crate::{
    setting::{CLIENT, OTHER_CLIENT, Setting},
    site::Known,
};

fn report(advertisement: &str, generation: u64) -> ReportRequest {
    let status = AdvertisementStatus {
        advertisement: advertisement.to_owned(),
        generation,
        ..AdvertisementStatus::default()
    };
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
    ReportRequest { statuses: vec![status], facts: None, traceparent }
}

fn about(report: &ClientReport) -> Option<&str> {
    match &report.body {
        Some(Body::Advertisement(status)) => Some(&status.advertisement),
        Some(Body::Facts(_)) | None => None,
    }
}

/// How often a call brought a report about this advertisement.
fn times(known: &Known, advertisement: &str) -> usize {
    known.submitted.iter().flatten().filter(|report| about(report) == Some(advertisement)).count()
}

#[tokio::test]
async fn a_report_reaches_the_site_under_the_name_in_the_certificate() {
    let mut setting = Setting::new().await;
    setting.start_agent().await;
    let mut client = setting.client(Role::Client, CLIENT).await;

    let facts = Some(ClientFact { hostname: "till-3".to_owned(), ..ClientFact::default() });
    client.report(ReportRequest { facts, ..report("CEN20001", 1) }).await.expect("taken");

    let sent = setting.site.wait_for("the reports arrive", |known| known.submitted.first().cloned()).await;
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|report| report.client == CLIENT && report.traceparent.starts_with("00-0af7")));
    let Some(Body::Facts(facts)) = &sent[1].body else { panic!("facts come last") };
    assert_eq!((facts.id.as_str(), facts.site.as_str(), facts.hostname.as_str()), (CLIENT, "CEN", "till-3"));
}

#[tokio::test]
async fn a_report_for_another_client_is_refused() {
    let mut setting = Setting::new().await;
    setting.start_agent().await;
    let mut client = setting.client(Role::Client, CLIENT).await;
    let mut forged = report("CEN20001", 1);
    forged.statuses[0].client = OTHER_CLIENT.to_owned();

    let refused = client.report(forged).await.expect_err("refused");
    client.report(report("CEN20002", 1)).await.expect("its own is taken");

    assert_eq!(refused.code(), Code::PermissionDenied);
    setting.site.wait_for("its own arrives", |known| (times(known, "CEN20002") == 1).then_some(())).await;
    assert_eq!(times(&setting.site.known(), "CEN20001"), 0);
}

#[tokio::test]
async fn a_report_taken_without_the_site_outlives_the_agent() {
    let mut setting = Setting::new().await;
    setting.start_agent().await;
    setting.stop_site().await;
    let mut client = setting.client(Role::Client, CLIENT).await;
    client.report(report("CEN20001", 1)).await.expect("taken");
    drop(client);
    setting.stop_agent().await;

    setting.start_agent().await;
    setting.start_site().await;

    setting.site.wait_for("the report arrives", |known| (times(known, "CEN20001") == 1).then_some(())).await;
}

#[tokio::test]
async fn a_report_leaves_the_outbox_only_after_the_sites_answer() {
    let mut setting = Setting::new().await;
    setting.site.change(|known| known.refuse_reports = Some(Code::Unavailable));
    setting.start_agent().await;
    let mut client = setting.client(Role::Client, CLIENT).await;
    client.report(report("CEN20001", 1)).await.expect("taken");
    setting.site.wait_for("it is tried again", |known| (times(known, "CEN20001") >= 2).then_some(())).await;

    setting.site.change(|known| {
        known.submitted.clear();
        known.refuse_reports = None;
    });
    setting.site.wait_for("it is answered", |known| (times(known, "CEN20001") == 1).then_some(())).await;
    client.report(report("CEN20002", 1)).await.expect("taken");
    setting.site.wait_for("the next arrives", |known| (times(known, "CEN20002") == 1).then_some(())).await;

    assert_eq!(times(&setting.site.known(), "CEN20001"), 1, "what was answered is not sent again");
}

#[tokio::test]
async fn one_report_that_the_site_cannot_read_does_not_hold_up_the_others() {
    let mut setting = Setting::new().await;
    setting.start_agent().await;
    setting.stop_site().await;
    let mut client = setting.client(Role::Client, CLIENT).await;
    for advertisement in ["CEN20001", "CEN20002", "CEN20003"] {
        client.report(report(advertisement, 1)).await.expect("taken");
    }
    setting.site.change(|known| known.refuse_if = Some("CEN20002"));

    setting.start_site().await;

    setting
        .site
        .wait_for("the good ones are taken", |known| {
            let taken = known.taken.iter().filter_map(about).collect::<Vec<_>>();
            (taken == ["CEN20001", "CEN20003"]).then_some(())
        })
        .await;
}
