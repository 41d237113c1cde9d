//! Each limit: at it a message is taken, one beyond it is refused, and the refusal names the field.

use bytes::Bytes;
use packhorse_domain::{
    address::{Address, BUDGET_BYTES_MAX},
    advertisement::Advertisement,
    client::ClientFact,
    collection::Collection,
    distribution::Distribution,
    instruction::{Instruction, PointList},
    kill::Kill,
    link::{Frame, RefuseReason},
    object::Object,
    package::{PackageDefinition, PackageVersion, Program},
    site::SiteFact,
    status::{AdvertisementStatus, Event, PackageStatus, PointFact},
};
use packhorse_proto::{
    convert::ConvertError,
    link::v1::{self as link, frame::Body},
    object::v1 as wire,
    provider::v1 as provider,
};

const CLIENT: &str = "0b5c1f5e-0000-4000-8000-000000000001";

fn digest() -> Bytes {
    Bytes::from_static(&[7; 32])
}

fn text(length: usize) -> String {
    "x".repeat(length)
}

/// The field that a message is refused for; nothing if it is taken.
pub(crate) fn refused<M, T: TryFrom<M, Error = ConvertError>>(message: M) -> Option<&'static str> {
    match T::try_from(message).err()? {
        ConvertError::Decode(error) => panic!("nothing is decoded here: {error}"),
        ConvertError::Missing(field)
        | ConvertError::Invalid { field, .. }
        | ConvertError::TooLarge { field, .. }
        | ConvertError::Unknown { field, .. } => Some(field),
    }
}

fn changed<M: Clone>(good: &M, change: fn(&mut M)) -> M {
    let mut changed = good.clone();
    change(&mut changed);
    changed
}

/// `good` is taken as it is; each change of it is refused for its field, or taken if none is named.
macro_rules! limits {
    ($domain:ty, $good:expr, { $($change:expr => $field:expr;)* }) => {{
        let good = $good;
        assert_eq!(refused::<_, $domain>(good.clone()), None, "the unchanged one is taken");
        $(
            assert_eq!(refused::<_, $domain>(changed(&good, $change)), $field, "{}", stringify!($change));
        )*
    }};
}

fn program() -> wire::Program {
    wire::Program {
        name: "install".to_owned(),
        command: vec!["./install.sh".to_owned()],
        ..Default::default()
    }
}

#[test]
fn of_a_program() {
    limits!(Program, program(), {
        |p| p.name = text(64) => None;
        |p| p.name = text(65) => Some("program name");
        |p| p.name = "../x".to_owned() => Some("program name");
        |p| p.command = vec![] => Some("program");
        |p| p.command = vec![String::new()] => Some("program");
        |p| p.command = vec!["a\0b".to_owned()] => Some("program");
        |p| p.command = vec![text(1); 256] => None;
        |p| p.command = vec![text(1); 257] => Some("program");
        |p| p.command = vec![text(32 * 1024)] => None;
        |p| p.command = vec![text(32 * 1024 + 1)] => Some("program");
        |p| { p.shell = true; p.command = vec![text(1); 2] } => Some("program");
        |p| p.time_limit_s = 604_800 => None;
        |p| p.time_limit_s = 604_801 => Some("program");
        |p| p.time_limit_s = u32::MAX => Some("program");
        |p| p.success_codes = vec![0; 256] => None;
        |p| p.success_codes = vec![0; 257] => Some("success_codes");
        |p| p.operating_systems = vec![text(1); 17] => Some("operating_systems");
        |p| p.architectures = vec![text(1); 17] => Some("architectures");
    });
    let default = Program::try_from(program()).expect("taken");
    assert_eq!(default.time_limit.as_secs(), 7_200, "no limit given is the default");
}

#[test]
fn of_a_kill() {
    let kill = wire::Kill { package: "CEN00001".to_owned(), release: 1, reason: text(1), at_us: 1 };
    limits!(Kill, kill, {
        |k| k.package = "CEN".to_owned() => Some("package");
        |k| k.package = "../../x1".to_owned() => Some("package");
        |k| k.release = 0 => Some("release");
        |k| k.release = u64::MAX => None;
        |k| k.reason = String::new() => Some("reason");
        |k| k.reason = "a\nb".to_owned() => Some("reason");
        |k| k.reason = text(512) => None;
        |k| k.reason = text(513) => Some("reason");
    });
}

#[test]
fn of_a_package() {
    let definition =
        wire::PackageDefinition { id: "CEN00001".to_owned(), name: "Till".to_owned(), ..Default::default() };
    limits!(PackageDefinition, definition, {
        |d| d.id = "CEN0001".to_owned() => Some("id");
        |d| d.name = String::new() => Some("definition");
        |d| d.name = text(128) => None;
        |d| d.name = text(129) => Some("definition");
        |d| d.name = "a\nb".to_owned() => Some("definition");
        |d| d.description = text(2_048) => None;
        |d| d.description = text(2_049) => Some("definition");
        |d| d.priority = 4 => Some("priority");
    });
    let version = wire::PackageVersion { package: "CEN00001".to_owned(), ..Default::default() };
    let programs = |count: usize| {
        (0..count).map(|at| wire::Program { name: format!("p{at}"), ..program() }).collect::<Vec<_>>()
    };
    assert_eq!(
        refused::<_, PackageVersion>(wire::PackageVersion { programs: programs(64), ..version.clone() }),
        None
    );
    let many = wire::PackageVersion { programs: programs(65), ..version.clone() };
    assert_eq!(refused::<_, PackageVersion>(many), Some("programs"));
    limits!(PackageVersion, version, {
        |v| v.package = "cen00001".to_owned() => Some("package");
        |v| v.manifest = digest() => None;
        |v| v.manifest = Bytes::from_static(&[7; 31]) => Some("manifest");
        |v| v.programs = vec![program(), program()] => Some("programs");
    });
}

#[test]
fn of_a_distribution() {
    let target = wire::distribution::Target { site: "LYO".to_owned(), distribution_point: "dp1".to_owned() };
    let good = wire::Distribution { package: "CEN00001".to_owned(), targets: vec![target] };
    limits!(Distribution, good, {
        |d| d.package = String::new() => Some("package");
        |d| d.targets[0].site = "LYON".to_owned() => Some("site");
        |d| d.targets[0].distribution_point = text(33) => Some("distribution_point");
        |d| d.targets = vec![d.targets[0].clone(); 10_000] => None;
        |d| d.targets = vec![d.targets[0].clone(); 10_001] => Some("targets");
    });
}

#[test]
fn of_a_collection() {
    let condition =
        wire::collection::Condition { fact: "site".to_owned(), pattern: "*".to_owned(), negated: false };
    let good = wire::Collection {
        id: "CEN00002".to_owned(),
        name: "Tills".to_owned(),
        rule: vec![condition],
        clients: vec![],
        window_hours: vec![],
    };
    limits!(Collection, good, {
        |c| c.id = text(8) => Some("id");
        |c| c.name = text(129) => Some("collection");
        |c| c.rule = vec![] => Some("collection");
        |c| c.rule = vec![c.rule[0].clone(); 64] => None;
        |c| c.rule = vec![c.rule[0].clone(); 65] => Some("rule");
        |c| c.rule[0].fact = "colour".to_owned() => Some("collection");
        |c| c.rule[0].pattern = text(256) => None;
        |c| c.rule[0].pattern = text(257) => Some("collection");
        |c| c.rule[0].pattern = "*".repeat(17) => Some("collection");
        |c| c.clients = vec![CLIENT.to_owned(); 20_000] => None;
        |c| c.clients = vec![CLIENT.to_owned(); 20_001] => Some("clients");
        |c| c.clients = vec!["me".to_owned()] => Some("clients");
        |c| c.window_hours = (0..168).collect() => None;
        |c| c.window_hours = vec![3; 169] => Some("window_hours");
        |c| c.window_hours = vec![168] => Some("window_hours");
        |c| c.window_hours = vec![u32::MAX] => Some("window_hours");
    });
}

#[test]
fn of_an_advertisement() {
    let good = wire::Advertisement {
        id: "CEN20001".to_owned(),
        name: "Install".to_owned(),
        package: "CEN00001".to_owned(),
        program: "install".to_owned(),
        collection: "CEN00002".to_owned(),
        ..Default::default()
    };
    limits!(Advertisement, good, {
        |a| a.id = String::new() => Some("id");
        |a| a.name = String::new() => Some("advertisement");
        |a| a.package = String::new() => Some("package");
        |a| a.program = String::new() => Some("program");
        |a| a.collection = String::new() => Some("collection");
        |a| a.priority = -1 => Some("priority");
        |a| { a.start_at_us = 5; a.expires_at_us = 6 } => None;
        |a| { a.start_at_us = 5; a.expires_at_us = 5 } => Some("advertisement");
    });
}

#[test]
fn of_instruction_files() {
    let file = wire::FileReference { name: "trust".to_owned(), digest: digest() };
    let instruction = wire::Instruction {
        site: "LYO".to_owned(),
        client: CLIENT.to_owned(),
        files: vec![file],
        ..Default::default()
    };
    limits!(Instruction, instruction, {
        |i| i.site = String::new() => Some("site");
        |i| i.client = String::new() => Some("client");
        |i| i.files[0].name = text(128) => None;
        |i| i.files[0].name = text(129) => Some("name");
        |i| i.files[0].digest = Bytes::new() => Some("digest");
        |i| i.files = vec![i.files[0].clone(); 10_000] => None;
        |i| i.files = vec![i.files[0].clone(); 10_001] => Some("files");
        |i| i.window_hours = (0..168).rev().collect() => None;
        |i| i.window_hours = vec![3; 169] => Some("window_hours");
        |i| i.window_hours = vec![168] => Some("window_hours");
    });
    let point = wire::point_list::Point { name: "cap1".to_owned(), endpoints: vec!["lyo:7453".to_owned()] };
    let list = wire::PointList { package: "CEN00001".to_owned(), manifest: digest(), points: vec![point] };
    limits!(PointList, list, {
        |l| l.package = String::new() => Some("package");
        |l| l.manifest = Bytes::new() => Some("manifest");
        |l| l.points[0].name = String::new() => Some("name");
        |l| l.points[0].endpoints = vec![text(1); 8] => None;
        |l| l.points[0].endpoints = vec![text(1); 9] => Some("endpoints");
        |l| l.points = vec![l.points[0].clone(); 256] => None;
        |l| l.points = vec![l.points[0].clone(); 257] => Some("points");
    });
}

#[test]
fn of_facts() {
    let site = wire::SiteFact { code: "LYO".to_owned(), ..Default::default() };
    limits!(SiteFact, site, {
        |s| s.code = String::new() => Some("code");
        |s| s.parent = "P".to_owned() => Some("parent");
        |s| s.name = text(512) => None;
        |s| s.name = text(513) => Some("name");
        |s| s.software = text(65) => Some("software");
        |s| s.courier_key = text(62) => None;
        |s| s.courier_key = text(63) => Some("courier_key");
    });
    let point = wire::DistributionPointFact {
        site: "LYO".to_owned(),
        name: "dp1".to_owned(),
        kind: 1,
        location: "/srv/share".to_owned(),
    };
    limits!(PointFact, point, {
        |p| p.site = String::new() => Some("site");
        |p| p.name = String::new() => Some("name");
        |p| p.kind = 0 => Some("kind");
        |p| p.kind = 3 => Some("kind");
        |p| p.location = text(4_096) => None;
        |p| p.location = text(4_097) => Some("location");
    });
    let client = wire::ClientFact { id: CLIENT.to_owned(), site: "LYO".to_owned(), ..Default::default() };
    limits!(ClientFact, client, {
        |c| c.id = text(36) => Some("id");
        |c| c.site = String::new() => Some("site");
        |c| c.hostname = text(255) => None;
        |c| c.hostname = text(256) => Some("facts");
        |c| c.os = text(256) => Some("facts");
        |c| c.arch = "a\u{7}".to_owned() => Some("facts");
        |c| c.software = text(256) => Some("facts");
        |c| c.labels = (0..64).map(|at| (at.to_string(), text(255))).collect() => None;
        |c| c.labels = (0..65).map(|at| (at.to_string(), text(1))).collect() => Some("labels");
        |c| c.labels = [("role".to_owned(), text(256))].into() => Some("facts");
    });
}

#[test]
fn of_status() {
    let package = wire::PackageStatus {
        package: "CEN00001".to_owned(),
        site: "LYO".to_owned(),
        state: 1,
        ..Default::default()
    };
    limits!(PackageStatus, package, {
        |s| s.package = String::new() => Some("package");
        |s| s.site = String::new() => Some("site");
        |s| s.distribution_point = "a/b".to_owned() => Some("distribution_point");
        |s| s.state = 0 => Some("state");
        |s| s.state = 6 => Some("state");
        |s| s.held = vec![digest(); 16] => None;
        |s| s.held = vec![digest(); 17] => Some("held");
        |s| s.held = vec![Bytes::new()] => Some("held");
        |s| s.reason = text(2_048) => None;
        |s| s.reason = text(2_049) => Some("reason");
    });
    let advertisement = wire::AdvertisementStatus {
        advertisement: "CEN20001".to_owned(),
        client: CLIENT.to_owned(),
        site: "LYO".to_owned(),
        acceptance: 1,
        delivery: 1,
        ..Default::default()
    };
    limits!(AdvertisementStatus, advertisement, {
        |s| s.advertisement = String::new() => Some("advertisement");
        |s| s.client = String::new() => Some("client");
        |s| s.site = String::new() => Some("site");
        |s| s.hostname = text(256) => Some("hostname");
        |s| s.acceptance = 0 => Some("acceptance");
        |s| s.acceptance = 4 => Some("acceptance");
        |s| s.delivery = 0 => Some("delivery");
        |s| s.delivery = 8 => Some("delivery");
        |s| s.output_tail = text(4_096) => None;
        |s| s.output_tail = text(4_097) => Some("output_tail");
        |s| s.reason = text(2_049) => Some("reason");
    });
    let event = wire::Event { site: "LYO".to_owned(), severity: 1, r#type: 1, ..Default::default() };
    limits!(Event, event, {
        |e| e.site = String::new() => Some("site");
        |e| e.component = text(65) => Some("component");
        |e| e.severity = 0 => Some("severity");
        |e| e.r#type = 0 => Some("type");
        |e| e.subject = text(129) => Some("subject");
        |e| e.text = text(2_048) => None;
        |e| e.text = text(2_049) => Some("text");
        |e| e.fields = [("a".to_owned(), text(2_047))].into() => None;
        |e| e.fields = [("a".to_owned(), text(2_048))].into() => Some("fields");
        |e| e.fields = (0..16).map(|n| (n.to_string(), String::new())).collect() => None;
        |e| e.fields = (0..17).map(|n| (n.to_string(), String::new())).collect() => Some("fields");
    });
}

#[test]
fn of_an_object() {
    let good = wire::Object {
        kind: 1,
        id: "CEN00001".to_owned(),
        owner: "CEN".to_owned(),
        version: 1,
        ..Default::default()
    };
    limits!(Object, good, {
        |o| o.kind = 0 => Some("kind");
        |o| o.kind = 7 => Some("kind");
        |o| o.id = String::new() => Some("id");
        |o| o.id = text(128) => None;
        |o| o.id = text(129) => Some("id");
        |o| o.owner = String::new() => Some("owner");
        |o| o.body = vec![0; 1024 * 1024].into() => None;
        |o| o.body = vec![0; 1024 * 1024 + 1].into() => Some("body");
        |o| o.traceparent = text(64) => None;
        |o| o.traceparent = text(65) => Some("traceparent");
    });
}

#[test]
fn of_an_address() {
    let good = provider::Address { peer: "PAR".to_owned(), name: "main".to_owned(), ..Default::default() };
    let hour = || provider::calendar::Hour { open: 4, ..Default::default() };
    limits!(Address, good.clone(), {
        |a| a.peer = "par".to_owned() => Some("peer");
        |a| a.name = String::new() => Some("name");
        |a| a.name = text(32) => None;
        |a| a.name = text(33) => Some("name");
        |a| a.endpoint = format!("{}:7443", text(295)) => None;
        |a| a.endpoint = format!("{}:7443", text(296)) => Some("endpoint");
        |a| a.endpoint = text(10) => Some("address");
        |a| a.time_zone = text(64) => None;
        |a| a.time_zone = text(65) => Some("address");
        |a| a.bytes_per_second = 124 => Some("bytes_per_second");
        |a| a.bytes_per_second = 12_500_000_000 => None;
        |a| a.bytes_per_second = 12_500_000_001 => Some("bytes_per_second");
        |a| a.pulse = Some(provider::Pulse { block_bytes: 1_000, pause_us: 100_000 }) => None;
        |a| a.pulse = Some(provider::Pulse { block_bytes: 999, pause_us: 100_000 }) => Some("address");
        |a| a.pulse = Some(provider::Pulse { block_bytes: 1_000, pause_us: u64::MAX }) => Some("address");
        |a| a.budget = Some(provider::Budget::default()) => Some("address");
        |a| a.budget = Some(provider::Budget { per_day_bytes: BUDGET_BYTES_MAX, ..Default::default() }) => None;
        |a| a.budget = Some(provider::Budget { per_day_bytes: u64::MAX, ..Default::default() }) => Some("address");
        |a| a.budget = Some(provider::Budget { when_spent: 3, ..Default::default() }) => Some("budget.when_spent");
    });
    let refused = |hours: Vec<provider::calendar::Hour>| {
        let calendar = Some(provider::Calendar { hours });
        refused::<_, Address>(provider::Address { calendar, ..good.clone() })
    };
    assert_eq!(refused(vec![]), None);
    assert_eq!(refused(vec![hour(); 168]), None);
    assert_eq!(refused(vec![hour(); 167]), Some("calendar.hours"));
    assert_eq!(refused(vec![hour(); 169]), Some("calendar.hours"));
    let of = |hour: provider::calendar::Hour| refused(vec![hour; 168]);
    assert_eq!(of(provider::calendar::Hour { open: 0, ..hour() }), Some("calendar.hours.open"));
    assert_eq!(of(provider::calendar::Hour { open: 5, ..hour() }), Some("calendar.hours.open"));
    let slow = provider::calendar::Hour { bytes_per_second: 1, ..hour() };
    assert_eq!(of(slow), Some("calendar.hours.bytes_per_second"));
}

fn frame(body: impl Into<Option<Body>>) -> link::Frame {
    link::Frame { body: body.into() }
}

#[test]
fn of_a_hello() {
    let good = link::Hello { site: "PAR".to_owned(), revision: 1, ..Default::default() };
    let refused =
        |change: fn(&mut link::Hello)| refused::<_, Frame>(frame(Body::Hello(changed(&good, change))));
    assert_eq!(refused(|_| {}), None);
    assert_eq!(refused(|h| h.site = String::new()), Some("site"));
    assert_eq!(refused(|h| h.features = vec![text(64); 64]), None);
    assert_eq!(refused(|h| h.features = vec![text(1); 65]), Some("features"));
    assert_eq!(refused(|h| h.features = vec![text(65)]), Some("features"));
    assert_eq!(refused(|h| h.epoch = vec![0; 32].into()), None);
    assert_eq!(refused(|h| h.epoch = vec![0; 33].into()), Some("epoch"));
}

#[test]
fn of_a_want() {
    let refused = |ends: Vec<(u64, u64)>| {
        let held = ends.into_iter().map(|(from, to)| link::want::Range { from, to }).collect();
        let want = link::Want { item: vec![1; 16].into(), offset: 10, held };
        refused::<_, Frame>(frame(Body::Want(want)))
    };
    let many = |runs: u64| (0..runs).map(|nth| (20 + 2 * nth, 21 + 2 * nth)).collect();
    assert_eq!(refused(vec![]), None);
    assert_eq!(refused(vec![(11, 12), (13, 14)]), None);
    assert_eq!(refused(many(64)), None);
    assert_eq!(refused(many(65)), Some("held"));
    for wrong in [[(10, 12), (13, 14)], [(11, 12), (12, 14)], [(20, 21), (11, 12)], [(11, 11), (13, 14)]] {
        assert_eq!(refused(wrong.to_vec()), Some("held"), "{wrong:?}");
    }
}

#[test]
fn of_an_offer() {
    let good = link::Offer { item: vec![1; 16].into(), kind: 2, digest: digest(), ..Default::default() };
    let refused =
        |change: fn(&mut link::Offer)| refused::<_, Frame>(frame(Body::Offer(changed(&good, change))));
    assert_eq!(refused(|_| {}), None);
    assert_eq!(refused(|o| o.item = vec![1; 15].into()), Some("item"));
    assert_eq!(refused(|o| o.priority = 9), Some("priority"));
    assert_eq!(refused(|o| o.digest = Bytes::new()), Some("digest"));
    assert_eq!(refused(|o| o.subject = text(256)), None);
    assert_eq!(refused(|o| o.subject = text(257)), Some("subject"));
    assert_eq!(refused(|o| o.target = vec![1].into()), Some("target"));
    assert_eq!(refused(|o| o.bases = vec![digest(); 64]), None);
    assert_eq!(refused(|o| o.bases = vec![digest(); 65]), Some("bases"));
    assert_eq!(refused(|o| o.bases = vec![Bytes::new()]), Some("bases"));
    assert_eq!(refused(|o| o.inline_data = vec![0; 64 * 1024].into()), None);
    assert_eq!(refused(|o| o.inline_data = vec![0; 64 * 1024 + 1].into()), Some("inline_data"));
}

#[test]
fn of_the_other_frames() {
    let item = Bytes::from_static(&[1; 16]);
    let data = |length: usize| {
        frame(Body::Data(link::Data {
            item: item.clone(),
            offset: 0,
            bytes: vec![0; length].into(),
            want: 0,
        }))
    };
    let refuse = |length: usize| {
        frame(Body::Refuse(link::Refuse { item: item.clone(), reason: 1, text: text(length) }))
    };
    let goodbye =
        |length: usize| frame(Body::Goodbye(link::Goodbye { reason: text(length), at_fault: false }));
    assert_eq!(refused::<_, Frame>(data(256 * 1024)), None);
    assert_eq!(refused::<_, Frame>(data(256 * 1024 + 1)), Some("bytes"));
    assert_eq!(refused::<_, Frame>(refuse(512)), None);
    assert_eq!(refused::<_, Frame>(refuse(513)), Some("text"));
    assert_eq!(refused::<_, Frame>(goodbye(512)), None);
    assert_eq!(refused::<_, Frame>(goodbye(513)), Some("reason"));
    for body in [
        Body::Want(link::Want::default()),
        Body::Refuse(link::Refuse::default()),
        Body::Data(link::Data::default()),
        Body::Ack(link::Ack::default()),
        Body::Written(link::Written::default()),
        Body::Receipt(link::Receipt::default()),
        Body::Cancel(link::Cancel::default()),
    ] {
        assert_eq!(refused::<_, Frame>(frame(body)), Some("item"));
    }
}

#[test]
fn of_anti_entropy() {
    let node = |prefix: &str| link::compare::Node { prefix: prefix.to_owned(), entries: 1, digest: digest() };
    let compare = |nodes: Vec<link::compare::Node>| {
        refused::<_, Frame>(frame(Body::Compare(link::Compare { set: 1, nodes })))
    };
    assert_eq!(compare(vec![node("0f"); 256]), None);
    assert_eq!(compare(vec![node("0f"); 257]), Some("nodes"));
    assert_eq!(compare(vec![node(&"a".repeat(64))]), None);
    assert_eq!(compare(vec![node(&"a".repeat(65))]), Some("prefix"));
    assert_eq!(compare(vec![node("AB")]), Some("prefix"));
    let entry = |length: usize| link::listing::Entry {
        kind: "event".to_owned(),
        id: text(length),
        version: 1,
        digest: digest(),
    };
    let listing = |entries: Vec<link::listing::Entry>| {
        let listing = link::Listing { set: 2, entries, ..Default::default() };
        refused::<_, Frame>(frame(Body::Listing(listing)))
    };
    assert_eq!(listing(vec![entry(128); 64]), None);
    assert_eq!(listing(vec![entry(128); 65]), Some("entries"));
    assert_eq!(listing(vec![entry(129)]), Some("id"));
    let outline = |length: usize| {
        let item = Bytes::from_static(&[1; 16]);
        let outline = link::Outline { item, part_bytes: 1 << 20, hashes: vec![0; length].into() };
        refused::<_, Frame>(frame(Body::Outline(outline)))
    };
    assert_eq!(outline(32 * 4096), None);
    assert_eq!(outline(32 * 4096 + 32), Some("hashes"));
    assert_eq!(outline(31), Some("hashes"));
    let later = link::Compare { set: 9, nodes: Vec::new() };
    assert_eq!(Frame::try_from(frame(Body::Compare(later))).expect("taken"), Frame::Unknown);
}

#[test]
fn what_a_later_revision_says_is_told_from_what_is_wrong() {
    let item = Bytes::from_static(&[1; 16]);
    let offer = link::Offer { item: item.clone(), kind: 77, ..Default::default() };
    let refuse = link::Refuse { item: item.clone(), reason: 77, text: String::new() };

    assert_eq!(Frame::try_from(frame(None)).expect("taken"), Frame::Unknown);
    let offer = Frame::try_from(frame(Body::Offer(offer))).expect("taken");
    assert!(matches!(offer, Frame::UnknownOffer { .. }), "{offer:?}");
    let refuse = Frame::try_from(frame(Body::Refuse(refuse))).expect("taken");
    assert!(matches!(refuse, Frame::Refuse { reason: RefuseReason::Other, .. }), "{refuse:?}");
}
