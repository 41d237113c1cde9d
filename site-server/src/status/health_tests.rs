//! What sites say of themselves: over a real link, in storms, and in how many bytes.

use std::{fs, path::Path, sync::Arc, time::Duration};

use packhorse_domain::{
    Priority, Timestamp,
    care::Reserve,
    health::{
        Level, SiteHealth,
        telling::{Pace, is_due},
    },
    id::{PointName, SiteCode},
    object::ObjectKind,
};
use packhorse_proto::{
    object::v1::{self as wire, HealthLevel},
    provider::v1::{
        ExplainRequest, ListSiteHealthRequest, ListSiteHealthResponse, SiteStanding, Standing,
        diagnosis_service_server::DiagnosisService as _, status_service_server::StatusService as _,
    },
};
use packhorse_runtime::{Clock, ManualClock, SystemClock, Worker as _};
use tonic::Code;

use super::HealthReporter;
use crate::{
    config::Settings,
    diagnosis::Asker,
    provider::{Diagnoses, Statuses},
    record,
    sender::dial_parent,
    store::caps::{self, CapRow},
    testing::{Node, until},
};

/// As the real pace, sixty times as fast.
fn fast(settings: &mut Settings) {
    roomy(settings);
    settings.health = Pace {
        every: Duration::from_secs(15),
        shortest: Duration::from_secs(1),
        calm: Duration::from_secs(1),
    };
}

/// However full the disk of the machine is that runs the tests.
fn roomy(settings: &mut Settings) {
    settings.content.reserve = Reserve::Bytes(0);
}

fn dial(child: &Node, parent: &Node) {
    let dial =
        dial_parent(child.site.clone(), child.lifecycle.clone(), child.wakers.clone(), parent.code().clone());
    child.lifecycle.spawn_finite("link-to-parent", dial);
}

async fn listed(node: &Node, site: &str) -> Result<ListSiteHealthResponse, tonic::Status> {
    let statuses = Statuses::new(node.site.clone(), node.lifecycle.clone());
    let asked = ListSiteHealthRequest { site: site.to_owned() };
    Ok(statuses.list_site_health(node.asked(asked)).await?.into_inner())
}

async fn seen(node: &Node, site: &Node) -> SiteStanding {
    listed(node, site.code().as_str()).await.unwrap().sites.remove(0)
}

fn component(standing: &SiteStanding, name: &str) -> Option<(HealthLevel, String)> {
    let health = standing.health.as_ref()?;
    let one = health.components.iter().find(|one| one.name == name)?;
    Some((one.level(), one.last_error.clone()))
}

async fn own(node: &Node) -> (u64, SiteHealth) {
    let held = node.object(ObjectKind::SiteHealth, node.code().as_str()).await.expect("it was told");
    (held.version, record::read::<wire::SiteHealth, SiteHealth>(&held).unwrap())
}

fn replace_by_file(path: &Path) {
    fs::remove_dir_all(path).unwrap();
    fs::write(path, b"in the way").unwrap();
}

#[tokio::test]
async fn a_component_that_fails_is_critical_at_the_parent_and_well_again_once_it_works() {
    let central = Node::central_with(SystemClock::shared(), fast).await;
    let child = central.child_with("PAR", SystemClock::shared(), fast).await;
    assert_eq!(seen(&central, &child).await.standing(), Standing::Unknown, "it has said nothing yet");
    let uploads = child.site.directories.uploads();
    replace_by_file(&uploads);
    central.start();
    child.start();
    dial(&child, &central);

    until("the centre knows", || async {
        let seen = seen(&central, &child).await;
        let found = component(&seen, "distribution-manager");
        seen.standing() == Standing::Critical
            && found.is_some_and(|(level, error)| level == HealthLevel::Critical && error.contains("uploads"))
    })
    .await;
    let all = listed(&central, "").await.unwrap().sites;
    let order: Vec<&str> = all.iter().map(|one| one.site.as_str()).collect();
    assert_eq!(order, ["PAR", "CEN"], "the worst first");
    let health = all[0].health.clone().unwrap();
    assert!(health.disk.is_some_and(|disk| disk.total_bytes > 0));
    assert!(health.certificate.is_some_and(|one| one.ends_us > SystemClock.now().0));
    assert!(health.lines.iter().any(|line| line.peer == "CEN" && line.up), "{:?}", health.lines);

    fs::remove_file(&uploads).unwrap();
    fs::create_dir(&uploads).unwrap();
    until("the centre knows that it is mended", || async {
        let found = component(&seen(&central, &child).await, "distribution-manager");
        found == Some((HealthLevel::Unspecified, String::new()))
    })
    .await;

    let unknown = listed(&central, "XXX").await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn a_site_that_says_nothing_is_silent_and_why_tells_what_it_said_last() {
    let clock = ManualClock::new(SystemClock.now());
    let central = Node::central(Arc::new(clock.clone())).await;
    let child = central.child_with("PAR", Arc::new(clock.clone()), roomy).await;
    let mut reporter = HealthReporter::new(child.site.clone(), child.lifecycle.clone());
    reporter.step().await.unwrap();
    child.tell(&central, ObjectKind::SiteHealth, "PAR").await;
    child.tell(&central, ObjectKind::Site, "PAR").await;
    let told = own(&child).await.1.at;

    assert_eq!(seen(&central, &child).await.standing(), Standing::Ok);
    clock.advance(Duration::from_secs(30 * 60));
    assert_eq!(seen(&central, &child).await.standing(), Standing::Ok);
    clock.advance(Duration::from_secs(1));
    let silent = seen(&central, &child).await;

    assert_eq!((silent.standing(), silent.silent_since_us), (Standing::Silent, told.0));
    assert!(silent.health.is_some(), "what it said is kept");
    let asker = Asker { site: central.site.clone(), lifecycle: central.lifecycle.clone() };
    let asked = ExplainRequest { subject: "PAR".to_owned(), ..ExplainRequest::default() };
    let answer = Diagnoses::new(asker).explain(central.asked(asked)).await.unwrap().into_inner();
    let report = answer.reports.iter().find(|report| report.site == "PAR").expect("a report");
    assert_eq!((report.live, report.at_us), (false, told.0));
    let checks: Vec<&str> = report.findings.iter().map(|found| found.check.as_str()).collect();
    assert_eq!(checks, ["components-well", "disk-room", "certificate-valid"], "{report:?}");
}

/// A clock that is so many microseconds behind.
#[derive(Debug)]
struct Behind(i64);

impl Clock for Behind {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 - self.0)
    }
}

#[tokio::test]
async fn a_site_whose_clock_is_wrong_says_how_far_it_is_off_its_parents() {
    let central = Node::central_with(SystemClock::shared(), roomy).await;
    let child = central.child_with("PAR", Arc::new(Behind(90_000_000)), fast).await;
    central.start();
    child.start();
    dial(&child, &central);

    until("the parent has said what time it is", || async {
        seen(&central, &child).await.health.is_some_and(|health| health.clock.is_some())
    })
    .await;

    let seen = seen(&central, &child).await;
    let clock = seen.health.clone().unwrap().clock.unwrap();
    assert!((-91_000_000..-80_000_000).contains(&clock.ahead_us), "{clock:?}");
    assert_eq!(clock.level(), HealthLevel::Warning);
    // It tells every 15 seconds, and is behind by twice that.
    assert_eq!(seen.standing(), Standing::Silent);
    let asker = Asker { site: central.site.clone(), lifecycle: central.lifecycle.clone() };
    let asked = ExplainRequest { subject: "PAR".to_owned(), ..ExplainRequest::default() };
    child.lifecycle.stop();
    until("the link is down", || async { central.site.links(|links| !links[child.code()].up) }).await;
    let answer = Diagnoses::new(asker).explain(central.asked(asked)).await.unwrap().into_inner();
    let report = answer.reports.iter().find(|report| report.site == "PAR").expect("a report");
    let found = report.findings.iter().find(|found| found.check == "clock-agrees").expect("a finding");
    assert!(found.text.contains("s behind its parent's"), "{found:?}");
    let ahead_us = central.site.links(|links| links[child.code()].clock_ahead_us);
    assert!(ahead_us.is_some_and(|us| us > 60_000_000), "{ahead_us:?}");
}

#[tokio::test]
async fn what_waits_too_long_on_a_line_that_was_up_is_told_by_how_urgent_it_is() {
    let clock = ManualClock::new(SystemClock.now());
    let central = Node::central_with(Arc::new(clock.clone()), roomy).await;
    let child = central.child_with("PAR", Arc::new(clock.clone()), roomy).await;
    let package = central.package(b"echo").await;
    let mut reporter = HealthReporter::new(central.site.clone(), central.lifecycle.clone());
    let peer = child.code().clone();

    clock.advance(Duration::from_secs(25 * 3600));
    reporter.step().await.unwrap();
    let without_line = own(&central).await.1;
    central.site.links(|links| {
        let view = links.entry(peer).or_default();
        (view.up, view.since) = (true, clock.now());
    });
    clock.advance(Duration::from_secs(15 * 60));
    reporter.step().await.unwrap();
    let (_, health) = own(&central).await;

    assert!(!without_line.queues.is_empty(), "{package} waits");
    assert!(without_line.queues.iter().all(|queue| queue.level == Level::Ok), "{without_line:?}");
    let worst = health.queues.iter().map(|queue| queue.level).max();
    assert_eq!((worst, health.level), (Some(Level::Critical), Level::Critical), "{health:?}");
    let medium = health.queues.iter().find(|queue| queue.priority == Priority::Medium);
    assert_eq!(medium.map(|queue| queue.level), Some(Level::Warning), "{health:?}");
}

#[tokio::test]
async fn agents_that_come_and_go_each_second_make_no_more_than_a_version_a_minute() {
    let clock = ManualClock::new(SystemClock.now());
    let node = Node::central(Arc::new(clock.clone())).await;
    let mut reporter = HealthReporter::new(node.site.clone(), node.lifecycle.clone());
    for second in 0..600_u64 {
        let seen_at = if second % 2 == 0 { clock.now() } else { Timestamp(1) };
        let name: PointName = "cap1".parse().unwrap();
        let row = CapRow { name, cursor: 0, endpoints: vec![], seen_at };
        let mut tx = node.site.store.begin().await.unwrap();
        caps::put(&mut tx, &row).await.unwrap();
        tx.commit().await.unwrap();
        reporter.step().await.unwrap();
        clock.advance(Duration::from_secs(1));
    }

    let (version, health) = own(&node).await;

    // Ten minutes: one in each, and what got worse by being away for so long.
    assert!((5..=12).contains(&version), "{version} versions");
    assert_eq!(health.caps.agents, 1);
}

#[tokio::test]
async fn an_idle_site_costs_its_line_less_than_forty_thousand_bytes_a_day() {
    let node = Node::central(SystemClock::shared()).await;
    node.start();
    until("it is told", || async {
        node.object(ObjectKind::SiteHealth, "CEN").await.is_some()
            && !own(&node).await.1.components.is_empty()
    })
    .await;
    let peers: Vec<SiteCode> = ["PAR", "LYO"].map(|code| code.parse().unwrap()).into();
    let (version, mut health) = own(&node).await;
    let line = |peer| packhorse_domain::health::LineHealth {
        peer,
        up: true,
        since: Some(health.at),
        level: packhorse_domain::health::Level::Ok,
    };
    health.lines = peers.into_iter().map(line).collect();
    let (mut told, mut writes, mut bytes) = (health.clone(), 0, 0);
    for look in 1..=24 * 360 {
        let now = SiteHealth { at: health.at.plus(Duration::from_secs(10 * look)), ..health.clone() };
        if is_due(Some(&told), &now, Pace::default()) {
            let object = packhorse_domain::object::Object {
                kind: ObjectKind::SiteHealth,
                id: "CEN".to_owned(),
                owner: "CEN".parse().unwrap(),
                version: version + writes,
                deleted: false,
                body: packhorse_proto::convert::encode::<wire::SiteHealth, _>(&now),
                traceparent: String::new(),
            };
            bytes += packhorse_proto::convert::encode::<wire::Object, _>(&object).len();
            (told, writes) = (now, writes + 1);
        }
    }

    assert_eq!(writes, 96);
    assert!((20_000..40_000).contains(&bytes), "{bytes} bytes a day");
}
