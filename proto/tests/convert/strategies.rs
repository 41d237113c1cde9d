//! Values of the domain that are fit to be sent.

use std::{str::FromStr, time::Duration};

use packhorse_domain::{
    Digest, Priority, Timestamp,
    address::{Address, Budget, Calendar, HOURS, Hour, Rate, WhenSpent},
    advertisement::{Acceptance, Advertisement, Delivery},
    client::ClientFact,
    collection::{Collection, Condition},
    courier::{Departures, Policy, Route, TRANSIT_LONGEST, Way},
    distribution::{Distribution, PointKind, Target},
    id::{AddressName, AdvertisementId, ClientId, CollectionId, PackageId, PointName, ProgramName, SiteCode},
    instruction::{FileReference, Instruction, Point, PointList},
    kill::Kill,
    link::{Frame, Hello, ItemId, ItemKind, LaneOffer, Offer, Open, Outline, Pulse, RefuseReason},
    object::{Direction, Object, ObjectKind},
    package::{PackageDefinition, PackageState, PackageVersion, Program},
    parcel::ParcelReceipt,
    reconcile::{Compare, Entry, Listing, Node},
    site::SiteFact,
    status::{AdvertisementStatus, Event, EventType, PackageStatus, PointFact, Severity},
    window::{Closed, Windows},
};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
};

fn named<T>(grammar: &'static str) -> impl Strategy<Value = T>
where
    T: FromStr + std::fmt::Debug,
    T::Err: std::fmt::Debug,
{
    grammar.prop_map(|text: String| text.parse().expect("the grammar is the id's"))
}

fn site() -> impl Strategy<Value = SiteCode> {
    named("[A-Z0-9]{3}")
}

fn package() -> impl Strategy<Value = PackageId> {
    named("[A-Z0-9]{8}")
}

fn client() -> impl Strategy<Value = ClientId> {
    named("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
}

fn point() -> impl Strategy<Value = PointName> {
    named("[a-zA-Z0-9][a-zA-Z0-9._-]{0,31}")
}

fn program_name() -> impl Strategy<Value = ProgramName> {
    named("[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")
}

fn advertisement_id() -> impl Strategy<Value = AdvertisementId> {
    named("[A-Z0-9]{8}")
}

fn collection_id() -> impl Strategy<Value = CollectionId> {
    named("[A-Z0-9]{8}")
}

/// A name for people.
fn name() -> &'static str {
    "[a-zA-Zé€0-9][a-zA-Zé€0-9 ]{0,40}"
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp)
}

fn priority() -> impl Strategy<Value = Priority> {
    select(vec![Priority::High, Priority::Medium, Priority::Low])
}

fn sender() -> impl Strategy<Value = Option<Way>> {
    select(vec![None, Some(Way::Line), Some(Way::Courier)])
}

pub(super) fn route() -> impl Strategy<Value = Route> {
    let policies = select(vec![Policy::Sooner, Policy::Always, Policy::Asked]);
    let zones = select(vec!["UTC".to_owned(), "Europe/Paris".to_owned()]);
    (site(), policies, vec(0..168u32, 0..9), zones, 1..=TRANSIT_LONGEST.as_secs()).prop_map(
        |(peer, policy, hours, time_zone, transit)| Route {
            peer,
            policy,
            departures: Departures::of(hours).expect("hours of a week"),
            time_zone,
            transit: Duration::from_secs(transit),
        },
    )
}

pub(super) fn parcel_receipt() -> impl Strategy<Value = ParcelReceipt> {
    let items = option::of(vec(any::<[u8; 16]>().prop_map(ItemId), 0..5));
    (any::<[u8; 16]>(), site(), site(), items, any::<i64>()).prop_map(
        |(parcel, sender, site, items, changed_at)| ParcelReceipt {
            parcel,
            sender,
            site,
            items,
            changed_at: Timestamp(changed_at),
        },
    )
}

pub(super) fn kill() -> impl Strategy<Value = Kill> {
    (package(), 1..=u64::MAX, name(), time()).prop_map(|(package, release, reason, at)| Kill {
        package,
        release,
        reason,
        at,
    })
}

fn bytes(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=longest)
}

pub(super) fn definition() -> impl Strategy<Value = PackageDefinition> {
    (package(), name(), ".{0,80}", priority(), sender(), bytes(300)).prop_map(
        |(id, name, description, priority, sender, signed_version)| PackageDefinition {
            id,
            name,
            description,
            priority,
            sender,
            signed_version,
        },
    )
}

pub(super) fn program() -> impl Strategy<Value = Program> {
    let command = vec("[^\\x00]{1,20}", 1..5);
    let lists = (vec(any::<i32>(), 0..4), vec("[a-z]{1,8}", 0..3), vec("[a-z0-9_]{1,8}", 0..3));
    (program_name(), command, 1..=604_800u64, lists, any::<bool>()).prop_map(
        |(name, command, seconds, (success_codes, operating_systems, architectures), idempotent)| Program {
            name,
            shell: command.len() == 1,
            command,
            time_limit: Duration::from_secs(seconds),
            success_codes,
            operating_systems,
            architectures,
            idempotent,
        },
    )
}

pub(super) fn version() -> impl Strategy<Value = PackageVersion> {
    let counts = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    (package(), counts, option::of(digest()), vec(program(), 0..4)).prop_map(
        |(package, (source_version, release, length_bytes, file_count), manifest, mut programs)| {
            programs.sort_by_key(|program| program.name.to_string());
            programs.dedup_by_key(|program| program.name.to_string());
            PackageVersion { package, source_version, release, manifest, length_bytes, file_count, programs }
        },
    )
}

pub(super) fn distribution() -> impl Strategy<Value = Distribution> {
    let targets = vec((site(), point()).prop_map(|(site, point)| Target { site, point }), 0..20);
    (package(), targets).prop_map(|(package, targets)| {
        let mut distribution = Distribution::empty(package);
        distribution.add(targets);
        distribution
    })
}

pub(super) fn collection() -> impl Strategy<Value = Collection> {
    let fact = prop_oneof![Just("site".to_owned()), Just("hostname".to_owned()), "label\\.[a-z]{1,10}"];
    let condition = (fact, "[a-z*?]{0,10}", any::<bool>()).prop_map(|(fact, pattern, negated)| Condition {
        fact,
        pattern,
        negated,
    });
    (collection_id(), name(), vec(condition, 0..4), vec(client(), 1..4), windows())
        .prop_map(|(id, name, rule, clients, windows)| Collection { id, name, rule, clients, windows })
}

pub(super) fn windows() -> impl Strategy<Value = Windows> {
    vec(0..168u32, 0..168).prop_map(|hours| Windows::of(hours).expect("hours of a week"))
}

pub(super) fn advertisement() -> impl Strategy<Value = Advertisement> {
    let what = (package(), program_name(), collection_id());
    // On the wire 0 is no time at all.
    let times = (option::of(1..=1_000_000i64), option::of(1_000_001..=i64::MAX));
    let switches = (any::<bool>(), any::<bool>(), any::<bool>());
    (advertisement_id(), name(), what, times, switches, priority()).prop_map(
        |(id, name, (package, program, collection), (start, end), switches, priority)| {
            let (required, rerun_on_update, ignore_windows) = switches;
            Advertisement {
                id,
                name,
                package,
                program,
                collection,
                required,
                start_at: start.map(Timestamp),
                expires_at: end.map(Timestamp),
                rerun_on_update,
                priority,
                ignore_windows,
            }
        },
    )
}

pub(super) fn instruction() -> impl Strategy<Value = Instruction> {
    let file =
        ("[a-z]{1,10}/[A-Z0-9]{1,20}", digest()).prop_map(|(name, digest)| FileReference { name, digest });
    (site(), client(), any::<u64>(), (time(), time()), vec(file, 0..10), windows()).prop_map(
        |(site, client, serial, (issued_at, not_after), files, windows)| Instruction {
            site,
            client,
            serial,
            issued_at,
            not_after,
            files,
            windows,
        },
    )
}

pub(super) fn point_list() -> impl Strategy<Value = PointList> {
    let point = (point(), vec("[a-z.]{1,20}:[1-9][0-9]{0,3}", 0..=8))
        .prop_map(|(name, endpoints)| Point { name, endpoints });
    (package(), digest(), vec(point, 0..5)).prop_map(|(package, manifest, points)| PointList {
        package,
        manifest,
        points,
    })
}

pub(super) fn site_fact() -> impl Strategy<Value = SiteFact> {
    (site(), option::of(site()), ".{0,40}", ".{0,10}", "[a-z0-9]{0,62}").prop_map(
        |(code, parent, name, software, courier_key)| SiteFact { code, parent, name, software, courier_key },
    )
}

pub(super) fn point_fact() -> impl Strategy<Value = PointFact> {
    let kind = select(vec![PointKind::Agent, PointKind::Directory]);
    (site(), point(), kind, ".{0,80}").prop_map(|(site, name, kind, location)| PointFact {
        site,
        name,
        kind,
        location,
    })
}

pub(super) fn client_fact() -> impl Strategy<Value = ClientFact> {
    let text = || "[a-zé0-9._ -]{0,30}";
    let labels = btree_map("[a-z]{1,10}", text(), 0..5);
    (client(), site(), (text(), text(), text()), labels, text()).prop_map(
        |(id, site, (hostname, os, arch), labels, software)| ClientFact {
            id,
            site,
            hostname,
            os,
            arch,
            labels,
            software,
        },
    )
}

pub(super) fn package_status() -> impl Strategy<Value = PackageStatus> {
    let state = select(vec![
        PackageState::Pending,
        PackageState::Installed,
        PackageState::Retrying,
        PackageState::Failed,
        PackageState::Removing,
    ]);
    let place = (site(), option::of(point()));
    (package(), place, state, any::<u64>(), vec(digest(), 0..=16), ".{0,100}", time()).prop_map(
        |(package, (site, point), state, source_version, held, reason, changed_at)| PackageStatus {
            package,
            site,
            point,
            state,
            source_version,
            held,
            reason,
            changed_at,
        },
    )
}

pub(super) fn advertisement_status() -> impl Strategy<Value = AdvertisementStatus> {
    let acceptance = select(vec![Acceptance::Accepted, Acceptance::Rejected, Acceptance::Expired]);
    let delivery = select(vec![
        Delivery::Waiting,
        Delivery::Downloading,
        Delivery::Retrying,
        Delivery::Running,
        Delivery::Succeeded,
        Delivery::Failed,
        Delivery::Interrupted,
    ]);
    let who = (advertisement_id(), client(), site(), ".{0,30}");
    let texts = (".{0,100}", ".{0,100}");
    let counts = (any::<u64>(), any::<u64>(), time());
    // 0 is no time.
    let opens = prop_oneof![Just(Closed::NoRoom), (1..=i64::MAX).prop_map(|at| Closed::Until(Timestamp(at)))];
    (who, acceptance, delivery, option::of(any::<i32>()), texts, counts, option::of(opens)).prop_map(
        |(who, acceptance, delivery, exit_code, (output_tail, reason), counts, closed)| {
            let (advertisement, client, site, hostname) = who;
            let (source_version, generation, changed_at) = counts;
            AdvertisementStatus {
                advertisement,
                client,
                site,
                hostname,
                acceptance,
                delivery,
                exit_code,
                output_tail,
                reason,
                source_version,
                changed_at,
                generation,
                closed,
            }
        },
    )
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    let severity = select(vec![Severity::Info, Severity::Warning, Severity::Error]);
    let event_type = select(vec![EventType::Milestone, EventType::Detail, EventType::Audit]);
    let texts = ("[a-z-]{0,20}", "[A-Z0-9]{0,20}", ".{0,100}");
    let said = (any::<u32>(), btree_map("[a-z_]{1,32}", ".{0,20}", 0..8), 1..=u64::MAX, time());
    (site(), any::<u64>(), time(), severity, event_type, texts, said).prop_map(
        |(site, sequence, at, severity, event_type, (component, subject, text), said)| Event {
            site,
            sequence,
            at,
            component,
            severity,
            event_type,
            subject,
            text,
            message: said.0,
            fields: said.1,
            count: said.2,
            last_at: if said.2 > 1 { said.3 } else { at },
        },
    )
}

pub(super) fn object() -> impl Strategy<Value = Object> {
    let kind = select(ObjectKind::ALL.to_vec());
    let state = (any::<u64>(), any::<bool>(), bytes(200), "[0-9a-f-]{0,64}");
    (kind, "[a-zA-Z0-9/-]{1,128}", site(), state).prop_map(
        |(kind, id, owner, (version, deleted, body, traceparent))| Object {
            kind,
            id,
            owner,
            version,
            deleted,
            body,
            traceparent,
        },
    )
}

fn rate() -> impl Strategy<Value = Rate> {
    (Rate::SLOWEST..=Rate::FASTEST).prop_map(|rate| Rate::new(rate).expect("in range"))
}

fn calendar() -> impl Strategy<Value = Calendar> {
    let open = select(vec![Open::Nothing, Open::High, Open::HighAndMedium, Open::All]);
    let hour = (open, option::of(rate()), any::<bool>()).prop_map(|(open, rate, backup)| Hour {
        open,
        rate,
        backup,
    });
    let week = vec(hour, HOURS).prop_map(|hours| Calendar::from_hours(hours).expect("a week"));
    prop_oneof![Just(Calendar::default()), week]
}

fn budget() -> impl Strategy<Value = Budget> {
    let limits = prop_oneof![
        (1..=1u64 << 40).prop_map(|day| (Some(day), None)),
        (1..=1u64 << 40).prop_map(|month| (None, Some(month))),
        (1..=1u64 << 40, 1..=1u64 << 40).prop_map(|(day, month)| (Some(day), Some(month))),
    ];
    (limits, select(vec![WhenSpent::HighOnly, WhenSpent::Closed])).prop_map(
        |((per_day_bytes, per_month_bytes), when_spent)| Budget {
            per_day_bytes,
            per_month_bytes,
            when_spent,
        },
    )
}

pub(super) fn address() -> impl Strategy<Value = Address> {
    let name = named::<AddressName>("[a-z0-9][a-z0-9-]{0,31}");
    let endpoint = option::of("[a-z.]{1,20}:[1-9][0-9]{0,3}");
    let zone = select(vec!["UTC".to_owned(), "Europe/Paris".to_owned(), "Etc/GMT+3".to_owned()]);
    let pulse = (1_000..=16_000_000u32, 100..=600_000u64)
        .prop_map(|(block_bytes, ms)| Pulse { block_bytes, pause: Duration::from_millis(ms) });
    let limits = (calendar(), option::of(rate()), option::of(pulse), option::of(budget()));
    (site(), name, any::<u32>(), (endpoint, zone), limits).prop_map(
        |(peer, name, order, (endpoint, time_zone), (calendar, rate, pulse, budget))| Address {
            peer,
            name,
            order,
            endpoint,
            time_zone,
            calendar,
            rate,
            pulse,
            budget,
        },
    )
}

fn hello() -> impl Strategy<Value = Hello> {
    let lanes = (0..=8_u32, 1..=u16::MAX, any::<[u8; 16]>()).prop_map(|(calls, port, session)| LaneOffer {
        calls,
        port,
        session,
    });
    let features = vec("[a-z-]{1,64}", 0..4);
    (site(), any::<u32>(), features, bytes(32), any::<u64>(), option::of(lanes)).prop_map(
        |(site, revision, features, epoch, window_bytes, lanes)| Hello {
            site,
            revision,
            features,
            epoch,
            window_bytes,
            lanes,
        },
    )
}

fn offer() -> impl Strategy<Value = Offer> {
    let kind = select(vec![ItemKind::Object, ItemKind::Bundle]);
    let content = (option::of(digest()), vec(digest(), 0..5), option::of(vec(any::<u8>(), 1..100)));
    (item(), kind, priority(), any::<u64>(), digest(), ".{0,40}", content).prop_map(
        |(item, kind, priority, length, digest, subject, (target, bases, inline))| Offer {
            item,
            kind,
            priority,
            length,
            digest,
            subject,
            target,
            bases,
            inline,
        },
    )
}

fn item() -> impl Strategy<Value = ItemId> {
    any::<[u8; 16]>().prop_map(ItemId)
}

fn set() -> impl Strategy<Value = Direction> {
    select(vec![Direction::Down, Direction::Up])
}

fn compare() -> impl Strategy<Value = Compare> {
    let node = ("[0-9a-f]{0,64}", any::<u64>(), digest()).prop_map(|(prefix, entries, digest)| Node {
        prefix,
        entries,
        digest,
    });
    (set(), vec(node, 0..17)).prop_map(|(set, nodes)| Compare { set, nodes })
}

fn listing() -> impl Strategy<Value = Listing> {
    let entry = ("[a-z-]{1,20}", "[a-zA-Z0-9/-]{1,128}", any::<u64>(), digest())
        .prop_map(|(kind, id, version, digest)| Entry { kind, id, version, digest });
    (set(), "[0-9a-f]{0,64}", vec(entry, 0..5), any::<bool>())
        .prop_map(|(set, prefix, entries, is_answer)| Listing { set, prefix, entries, is_answer })
}

/// Every frame that is sent: `Unknown` and `UnknownOffer` are only received.
pub(super) fn frame() -> impl Strategy<Value = Frame> {
    let reason = select(vec![
        RefuseReason::Held,
        RefuseReason::BaseMissing,
        RefuseReason::NotAllowed,
        RefuseReason::Damaged,
        RefuseReason::NoSpace,
        RefuseReason::UnknownKind,
        RefuseReason::Other,
    ]);
    prop_oneof![
        hello().prop_map(Frame::Hello),
        offer().prop_map(Frame::Offer),
        (item(), any::<u64>()).prop_map(|(item, offset)| Frame::Want { item, offset }),
        (item(), any::<u32>(), vec((1..100_u64, 1..100_u64), 1..64)).prop_map(|(item, offset, runs)| {
            let mut at = u64::from(offset);
            let runs = runs.into_iter().map(|(gap, length)| {
                at += gap + length;
                at - length..at
            });
            Frame::WantRest { item, offset: offset.into(), held: runs.collect() }
        }),
        (item(), reason, ".{0,100}").prop_map(|(item, reason, text)| Frame::Refuse { item, reason, text }),
        (item(), any::<u64>(), bytes(300)).prop_map(|(item, offset, bytes)| Frame::Data {
            item,
            offset,
            bytes: bytes.into()
        }),
        (item(), any::<u64>(), bytes(300), 1..u64::MAX).prop_map(|(item, offset, bytes, want)| Frame::Bulk {
            item,
            offset,
            bytes: bytes.into(),
            want
        }),
        (item(), any::<u64>()).prop_map(|(item, offset)| Frame::Ack { item, offset }),
        (item(), any::<u64>()).prop_map(|(item, offset)| Frame::Written { item, offset }),
        item().prop_map(|item| Frame::Receipt { item }),
        item().prop_map(|item| Frame::Cancel { item }),
        (".{0,100}", any::<bool>()).prop_map(|(reason, at_fault)| Frame::Goodbye { reason, at_fault }),
        any::<u64>().prop_map(|value| Frame::Ping { value }),
        (any::<u64>(), option::of(1..i64::MAX))
            .prop_map(|(value, clock)| Frame::Pong { value, clock: clock.map(Timestamp) }),
        any::<u64>().prop_map(|bytes| Frame::Got { bytes }),
        (item(), any::<u64>(), vec(digest(), 0..5))
            .prop_map(|(item, part_bytes, hashes)| Frame::Outline(Outline { item, part_bytes, hashes })),
        compare().prop_map(Frame::Compare),
        listing().prop_map(Frame::Listing),
    ]
}
