//! The store against its promises: whole batches, private memory, an outbox that forgets nothing too early.

use packhorse_domain::Timestamp;
use packhorse_proto::{
    cap::v1::ClientReport,
    cap::v1::client_report::Body,
    object::v1::{AdvertisementStatus, ClientFact, PackageStatus},
};

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);
const CLIENT: &str = "0b0c8f6e-6f0e-4c56-8f0a-3a1d6a0f7d11";

fn client() -> ClientId {
    CLIENT.parse().expect("a client id")
}

fn file(name: &str, content: &str) -> CapFile {
    CapFile { name: name.to_owned(), content: Bytes::copy_from_slice(content.as_bytes()), deleted: false }
}

fn batch(cursor: u64, files: Vec<CapFile>) -> Batch {
    Batch { restart: false, files, position: FeedPosition { feed: b"one".to_vec(), cursor } }
}

fn advertised(advertisement: &str, generation: u64) -> ClientReport {
    let status = AdvertisementStatus {
        advertisement: advertisement.to_owned(),
        generation,
        ..AdvertisementStatus::default()
    };
    ClientReport {
        client: CLIENT.to_owned(),
        body: Some(Body::Advertisement(status)),
        traceparent: String::new(),
    }
}

fn facts(hostname: &str) -> ClientReport {
    let facts = ClientFact { hostname: hostname.to_owned(), ..ClientFact::default() };
    ClientReport { client: CLIENT.to_owned(), body: Some(Body::Facts(facts)), traceparent: String::new() }
}

fn open(directory: &tempfile::TempDir) -> Store {
    Store::open(&directory.path().join("cap.redb")).expect("a database")
}

fn waiting(store: &Store) -> Vec<ClientReport> {
    let rows = store.first_reports(100, usize::MAX).expect("reports");
    rows.into_iter().map(|row| row.report).collect()
}

#[test]
fn files_and_the_cursor_are_there_after_reopening() {
    let directory = tempfile::tempdir().expect("a directory");
    let name = format!("instruction/{CLIENT}");
    let store = open(&directory);
    store.apply(&batch(7, vec![file("trust", "t"), file(&name, "for you")])).expect("stored");
    store
        .apply(&Batch { files: vec![CapFile { deleted: true, ..file("trust", "") }], ..batch(8, vec![]) })
        .expect("stored");
    drop(store);

    let store = open(&directory);

    assert_eq!(store.position(), FeedPosition { feed: b"one".to_vec(), cursor: 8 });
    assert_eq!(store.file("trust").expect("read"), None);
    assert_eq!(store.file(&name).expect("read").as_deref(), Some(b"for you".as_slice()));
    assert_eq!(store.instruction_digest(&client()), Some(Digest(*blake3::hash(b"for you").as_bytes())));
}

#[test]
fn a_restart_forgets_the_files_and_keeps_the_reports() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory);
    store
        .apply(&batch(7, vec![file("trust", "t"), file(&format!("instruction/{CLIENT}"), "for you")]))
        .expect("stored");
    store.push_reports(&[facts("a")], NOW).expect("stored");

    store
        .apply(&Batch {
            restart: true,
            files: vec![file("offer/CEN20001", "o")],
            position: FeedPosition::default(),
        })
        .expect("stored");

    assert_eq!(store.file("trust").expect("read"), None);
    assert_eq!(store.instruction_digest(&client()), None);
    assert!(store.file("offer/CEN20001").expect("read").is_some());
    assert_eq!(waiting(&store).len(), 1);
}

#[test]
fn a_point_sees_its_own_content_files_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory);
    let names =
        ["content/dp/CEN00001", "content/dp-2/CEN00002", "content/dp0/CEN00003", "content/d/CEN00004"];
    store.apply(&batch(1, names.iter().map(|name| file(name, "")).collect())).expect("stored");

    let wanted = store.wanted(&"dp".parse().expect("a name")).expect("wanted");

    assert_eq!(wanted.iter().map(|file| file.package.as_str()).collect::<Vec<_>>(), ["CEN00001"]);
}

#[test]
fn a_newer_report_takes_the_place_of_an_older_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory);
    store
        .push_reports(&[advertised("CEN20001", 1), facts("a"), advertised("CEN20002", 5)], NOW)
        .expect("stored");

    store
        .push_reports(&[advertised("CEN20001", 2), facts("b"), advertised("CEN20002", 4)], NOW)
        .expect("stored");

    assert_eq!(waiting(&store), [advertised("CEN20002", 5), advertised("CEN20001", 2), facts("b")]);
}

#[test]
fn removing_what_was_sent_leaves_what_came_meanwhile() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory);
    store.push_reports(&[advertised("CEN20001", 1), facts("a")], NOW).expect("stored");
    let sent = store.first_reports(100, usize::MAX).expect("reports");
    store.push_reports(&[advertised("CEN20001", 2)], NOW).expect("stored");

    store.remove_reports(&sent).expect("removed");

    assert_eq!(waiting(&store), [advertised("CEN20001", 2)]);
    store.push_reports(&[advertised("CEN20001", 3)], NOW).expect("stored");
    assert_eq!(waiting(&store), [advertised("CEN20001", 3)], "its subject is still known");
}

#[test]
fn reports_and_their_order_outlive_the_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory);
    store.push_reports(&[advertised("CEN20001", 1)], NOW).expect("stored");
    let sent = store.first_reports(1, usize::MAX).expect("reports");
    store.remove_reports(&sent).expect("removed");
    drop(store);

    let store = open(&directory);
    store.push_reports(&[advertised("CEN20002", 1)], NOW).expect("stored");

    let after = store.first_reports(1, usize::MAX).expect("reports");
    assert!(after[0].sequence > sent[0].sequence, "a sequence is never given twice");
    assert_eq!(store.reports_waiting().expect("count"), 1);
}

#[test]
fn a_batch_of_reports_is_cut_by_count_and_by_bytes_and_is_never_empty() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory);
    store
        .push_reports(&["CEN20001", "CEN20002", "CEN20003"].map(|id| advertised(id, 1)), NOW)
        .expect("stored");

    assert_eq!(store.first_reports(2, usize::MAX).expect("reports").len(), 2);
    assert_eq!(store.first_reports(100, 1).expect("reports").len(), 1);
}

#[test]
fn states_of_packages_outlive_the_process_until_they_are_forgotten() {
    let directory = tempfile::tempdir().expect("a directory");
    let status =
        PackageStatus { package: "CEN00001".to_owned(), source_version: 3, ..PackageStatus::default() };
    open(&directory).put_point_status(&status).expect("stored");

    let store = open(&directory);
    assert_eq!(store.point_statuses().expect("states"), [status]);
    store.remove_point_status("CEN00001").expect("forgotten");

    assert_eq!(store.point_statuses().expect("states"), []);
}

#[test]
fn a_second_process_is_kept_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let _store = open(&directory);

    let second = Store::open(&directory.path().join("cap.redb"));

    assert!(matches!(second, Err(StoreError::Open { .. })));
}

#[test]
fn a_closed_database_is_opened_again_at_its_next_use() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory);
    store.apply(&batch(3, vec![file("trust", "t")])).expect("stored");
    *store.database.write().expect("not poisoned") = None;

    let held = store.file("trust").expect("read");

    assert_eq!(held.as_deref(), Some(b"t".as_slice()));
    assert_eq!(store.position().cursor, 3);
}

#[test]
fn the_oldest_report_says_how_long_it_waits() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory);
    let at = |seconds: i64| Timestamp(NOW.0 + seconds * 1_000_000);
    assert_eq!(store.oldest_report().expect("read"), None);
    store.push_reports(&[advertised("CEN20001", 1)], at(1)).expect("stored");
    store.push_reports(&[advertised("CEN20002", 1)], at(2)).expect("stored");
    assert_eq!(store.oldest_report().expect("read"), Some(at(1)));

    // A newer one of the same subject waits from its own coming on.
    store.push_reports(&[advertised("CEN20001", 2)], at(3)).expect("stored");
    assert_eq!(store.oldest_report().expect("read"), Some(at(2)));

    let sent = store.first_reports(1, 1_000_000).expect("read");
    store.remove_reports(&sent).expect("removed");
    assert_eq!(store.oldest_report().expect("read"), Some(at(3)));
}
