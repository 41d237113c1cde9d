//! The figures of real sites in directories of their own.

use std::{sync::Arc, time::Duration};

use packhorse_domain::{
    Timestamp,
    advertisement::{Acceptance, Delivery},
    status::AdvertisementStatus,
};
use packhorse_runtime::{Clock as _, ManualClock, SystemClock, metrics::Metrics};

use super::SiteFigures;
use crate::{distribution::report_library, record, testing::Node};

async fn figures(node: &Node) -> String {
    let common = vec![("site", node.code().to_string())];
    Metrics::new(SiteFigures::new(node.site.clone()), &node.lifecycle, common, "0").text().await
}

fn value(figures: &str, row: &str) -> f64 {
    let line = figures.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(' '));
    let Some(value) = line else { panic!("{row} is missing in {figures}") };
    value.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_child_is_counted_by_class_with_the_age_of_the_oldest() {
    let clock = ManualClock::new(SystemClock.now());
    let central = Node::central(Arc::new(clock.clone())).await;
    let child = central.child("PAR", Arc::new(clock.clone())).await;
    clock.advance(Duration::from_secs(90));

    let above = figures(&central).await;
    let below = figures(&child).await;

    let row = |name: &str, peer: &str, priority: &str| {
        let site = if peer == "PAR" { "CEN" } else { "PAR" };
        format!("{name}{{site=\"{site}\",peer=\"{peer}\",priority=\"{priority}\"}}")
    };
    // The trust file goes down; what the child says of itself goes up. Nobody has started a link.
    assert!(value(&above, &row("packhorse_queue_items", "PAR", "high")) >= 1.0);
    assert!(value(&above, &row("packhorse_queue_oldest_age_seconds", "PAR", "high")) >= 90.0);
    assert!(value(&below, &row("packhorse_queue_items", "CEN", "high")) >= 1.0);
    assert_eq!(value(&above, &row("packhorse_queue_items", "PAR", "medium")), 0.0);
    assert_eq!(value(&above, &row("packhorse_queue_oldest_age_seconds", "PAR", "medium")), 0.0);
    assert_eq!(value(&above, "packhorse_link_up{site=\"CEN\",peer=\"PAR\"}"), 0.0);

    // Both certificates of the child, and the one of the central site.
    for which in ["own", "parent"] {
        let row = format!("packhorse_certificate_remaining_seconds{{site=\"PAR\",certificate=\"{which}\"}}");
        assert!(value(&below, &row) > 86_400.0, "{which}");
    }
    assert!(!above.contains("certificate=\"parent\""), "{above}");
    assert!(value(&above, "packhorse_disk_free_bytes{site=\"CEN\"}") > 0.0);
    assert!(value(&above, "packhorse_database_bytes{site=\"CEN\"}") > 0.0);
    assert_eq!(value(&above, "packhorse_metrics_complete{site=\"CEN\"}"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_gone_is_told_and_hides_nothing_else() {
    let clock = ManualClock::new(SystemClock.now());
    let central = Node::central(Arc::new(clock)).await;
    central.site.store.close().await;

    let figures = figures(&central).await;

    assert_eq!(value(&figures, "packhorse_metrics_complete{site=\"CEN\"}"), 0.0);
    assert!(value(&figures, "packhorse_disk_free_bytes{site=\"CEN\"}") > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_and_clients_are_counted_by_how_they_stand() {
    let clock = ManualClock::new(SystemClock.now());
    let central = Node::central(Arc::new(clock)).await;
    let package = central.package(b"content").await;
    let mut tx = central.site.store.begin().await.expect("the database");
    report_library(&central.site, &mut tx, &package).await.expect("reported");
    for (client, acceptance, delivery) in [
        (1, Acceptance::Accepted, Delivery::Failed),
        (2, Acceptance::Accepted, Delivery::Failed),
        (3, Acceptance::Rejected, Delivery::Waiting),
    ] {
        let status = AdvertisementStatus {
            advertisement: "CEN20001".parse().expect("an id"),
            client: format!("0b5c1f5e-6f0e-4c8e-9d57-0c1d2e3f4a5{client}").parse().expect("an id"),
            site: central.code().clone(),
            hostname: "till".to_owned(),
            acceptance,
            delivery,
            exit_code: None,
            output_tail: String::new(),
            reason: String::new(),
            source_version: 1,
            changed_at: Timestamp(1),
            generation: 1,
            closed: None,
        };
        record::put_advertisement_status(&central.site, &mut tx, &status).await.expect("written");
    }
    tx.commit().await.expect("committed");

    let figures = figures(&central).await;

    let row = |name: &str, state: &str| value(&figures, &format!("{name}{{site=\"CEN\",state=\"{state}\"}}"));
    assert_eq!(row("packhorse_package_places", "installed"), 1.0);
    assert_eq!(row("packhorse_package_places", "failed"), 0.0);
    for (state, clients) in [("failed", 2.0), ("rejected", 1.0), ("waiting", 0.0), ("succeeded", 0.0)] {
        assert_eq!(row("packhorse_advertisement_clients", state), clients, "{state}");
    }
}
