//! Sites that ask each other, over real connections.

use std::time::Duration;

use packhorse_domain::{
    diagnosis::{Question, Subject},
    id::SiteCode,
    object::ObjectKind,
};
use packhorse_proto::{
    inquiry::v1::{
        Answer, AskRequest, AttendRequest, Finding, Report, Verdict,
        inquiry_service_client::InquiryServiceClient,
    },
    provider::v1::{
        ExplainRequest, ExplainResponse, GetCustodyRequest, diagnosis_service_server::DiagnosisService as _,
    },
};
use packhorse_runtime::{Caller, ChannelOptions, SystemClock, connect};
use packhorse_trust::{Credentials, Name};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, transport::Channel};

use super::super::Asker;
use crate::{
    provider::Diagnoses,
    sender::dial_parent,
    testing::{Node, noise, until},
};

fn asker(node: &Node) -> Asker {
    Asker { site: node.site.clone(), lifecycle: node.lifecycle.clone() }
}

async fn explain(node: &Node, subject: &str, site: &str) -> Result<ExplainResponse, tonic::Status> {
    let asked =
        ExplainRequest { subject: subject.to_owned(), site: site.to_owned(), ..ExplainRequest::default() };
    let answer = Diagnoses::new(asker(node)).explain(node.asked(asked)).await?;
    Ok(answer.into_inner())
}

/// A centre and a child with its real link, both at work.
async fn linked() -> (Node, Node) {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    central.start();
    child.start();
    child.hall().await;
    let parent = central.code().clone();
    let dial = dial_parent(child.site.clone(), child.lifecycle.clone(), child.wakers.clone(), parent);
    child.lifecycle.spawn_finite("link-to-parent", dial);
    until("the child attends", || async { asks(&central).await.is_some() }).await;
    until("its point is known", || async {
        central.object(ObjectKind::DistributionPoint, "PAR/hall").await.is_some()
    })
    .await;
    (central, child)
}

async fn asks(central: &Node) -> Option<usize> {
    let question = Question { subject: Subject::Site, sites: vec![code("PAR")], client: None };
    let answer = central.site.inquiries.ask(&code("PAR"), &question, Duration::from_secs(5)).await;
    answer.map(|reports| reports.len())
}

fn code(text: &str) -> SiteCode {
    text.parse().unwrap()
}

/// Whether a site's report is there, and told by itself.
fn told(answer: &ExplainResponse, site: &str) -> Option<bool> {
    answer.reports.iter().filter(|report| report.site == site).map(|report| report.live).next_back()
}

async fn channel(parent: &Node, child: &Node) -> Channel {
    let credentials = Credentials::load(&child.site.directories.parent_credentials()).unwrap();
    let server = Name::of_site(parent.code().clone(), parent.code());
    let endpoint = parent.site.settings.endpoints[0].clone();
    connect(&endpoint, &server, Caller::Known(&credentials), ChannelOptions::default()).await.unwrap()
}

#[tokio::test]
async fn a_way_is_walked_live_from_both_of_its_ends_and_from_what_was_told_where_nobody_answers() {
    let (central, child) = linked().await;
    let package = central.package(&noise(20_000, 1)).await;
    central.send(&package, child.code()).await;
    until("it is there", || async {
        let answer = explain(&central, package.as_str(), "PAR").await.unwrap();
        answer.cause.is_none() && told(&answer, "PAR") == Some(true)
    })
    .await;

    let from_below = explain(&child, package.as_str(), "").await.unwrap();
    let walked = explain(&child, package.as_str(), "PAR").await.unwrap();

    assert!(from_below.cause.is_none(), "{from_below:?}");
    assert_eq!((told(&walked, "CEN"), told(&walked, "PAR")), (Some(true), Some(true)), "{walked:?}");
    assert_eq!(walked.reports[0].site, "CEN", "the way begins above");

    let above = explain(&child, "CEN", "").await.unwrap();
    assert!(above.cause.is_none() && told(&above, "CEN") == Some(true), "{above:?}");
    let prying =
        Question { subject: Subject::Package(package.clone()), sites: vec![code("CEN")], client: None };
    let told_it = central.site.inquiries.ask_parent(&prying, Duration::from_secs(1)).await;
    assert!(told_it.is_none(), "the centre has nobody to ask");
    let told_it = child.site.inquiries.ask_parent(&prying, Duration::from_secs(5)).await.unwrap();
    assert!(told_it.is_empty(), "a child is told of its own subtree alone: {told_it:?}");

    child.lifecycle.stop();
    until("the link is down", || async {
        !central.site.links(|links| links.get(child.code()).is_some_and(|link| link.up))
    })
    .await;
    let began = Instant::now();
    let answer = explain(&central, package.as_str(), "PAR").await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "nobody is waited for who cannot be asked");
    assert_eq!(told(&answer, "PAR"), Some(false), "what it told before: {answer:?}");
    let site = explain(&central, "PAR", "").await.unwrap();
    assert_eq!(site.cause.map(|cause| cause.check).as_deref(), Some("link-up"));
}

#[tokio::test]
async fn custody_says_how_far_each_hop_is() {
    let (central, child) = linked().await;
    let package = central.package(&noise(20_000, 2)).await;
    central.send(&package, child.code()).await;
    let custody = async || {
        let asked = GetCustodyRequest { package: package.to_string() };
        Diagnoses::new(asker(&central)).get_custody(central.asked(asked)).await.unwrap().into_inner()
    };

    until("it is there", || async {
        let sites = custody().await.sites;
        sites.iter().all(|site| site.held && site.points == site.points_installed)
    })
    .await;

    let sites = custody().await.sites;
    let order: Vec<(&str, &str)> = sites.iter().map(|one| (one.site.as_str(), one.parent.as_str())).collect();
    assert_eq!(order, [("CEN", ""), ("PAR", "CEN")]);
    assert!(sites[1].live && sites[1].hop.is_some(), "{sites:?}");
}

#[tokio::test]
async fn what_nobody_knows_is_said_and_asked_of_nobody() {
    let central = Node::central(SystemClock::shared()).await;
    let error = |answer: Result<ExplainResponse, tonic::Status>| answer.unwrap_err();

    let unknown = explain(&central, "XYZ", "").await.unwrap();
    assert_eq!(unknown.cause.map(|cause| cause.check).as_deref(), Some("site-known"));
    assert_eq!(error(explain(&central, "CEN00001", "").await).code(), Code::NotFound);
    assert_eq!(error(explain(&central, "", "").await).code(), Code::InvalidArgument);
    assert_eq!(error(explain(&central, "3fa2bc91", "").await).code(), Code::NotFound);
    assert_eq!(error(explain(&central, "CEN", "much too long").await).code(), Code::InvalidArgument);
}

#[tokio::test]
async fn an_answer_that_is_none_or_never_comes_counts_as_none_and_strangers_are_asked_nothing() {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    let mut client = InquiryServiceClient::new(channel(&central, &child).await);
    let (answers, requests) = mpsc::channel(4);
    answers.send(AttendRequest::default()).await.unwrap();
    let mut questions = client.attend(ReceiverStream::new(requests)).await.unwrap().into_inner();
    let question = Question { subject: Subject::Site, sites: vec![code("PAR")], client: None };
    let ask = async |within| central.site.inquiries.ask(&code("PAR"), &question, within).await;

    let silent = ask(Duration::from_millis(50)).await;
    assert!(silent.is_none(), "it says nothing");
    let asked = questions.next().await.unwrap().unwrap();

    let finding = Finding {
        site: "PAR".into(),
        check: "of-a-later-version".into(),
        verdict: Verdict::Holds.into(),
        ..Finding::default()
    };
    let long = Finding { text: "x".repeat(4096), ..finding.clone() };
    for (finding, is_taken) in [(finding, true), (long, false), (Finding::default(), false)] {
        let report = Report { site: "PAR".into(), findings: vec![finding], ..Report::default() };
        let answer = async {
            let number = questions.next().await.unwrap().unwrap().number;
            // What answers a question that is over, or was never asked, is passed over.
            for number in [asked.number, 4711, number] {
                let answer = Some(Answer { reports: vec![report.clone()] });
                answers.send(AttendRequest { number, answer }).await.unwrap();
            }
        };
        let (reports, ()) = tokio::join!(ask(Duration::from_secs(20)), answer);
        assert_eq!(reports.is_some(), is_taken, "{report:?}");
    }

    let grandchild = child.child("LYO", SystemClock::shared()).await;
    let own = Credentials::load(&grandchild.site.directories.parent_credentials()).unwrap();
    let server = Name::of_site(child.code().clone(), child.code());
    let endpoint = child.site.settings.endpoints[0].clone();
    let known = connect(&endpoint, &server, Caller::Known(&own), ChannelOptions::default()).await.unwrap();
    let mut client = InquiryServiceClient::new(known);
    let refused = client.ask(AskRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "a child must ask something");
    let refused = InquiryServiceClient::new(channel(&central, &child).await)
        .ask(AskRequest { question: Some(packhorse_proto::inquiry::v1::Question::default()), within_us: 0 })
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
}
