//! Tallies always equal the rows that they count, whatever happens to a site.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use packhorse_domain::{
    Timestamp,
    advertisement::{Acceptance, Delivery},
    distribution::Distribution,
    id::SiteCode,
    object::{Direction, Merge, Object, ObjectKind, merge},
    package::PackageState,
    status::{AdvertisementStatus, PackageStatus},
};
use packhorse_proto::{convert, object::v1 as wire};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{Store, Tx, objects, site};
use crate::record;

/// Each is the parent of the next.
const SITES: [&str; 3] = ["CEN", "PAR", "LYO"];
const COUNTED: [ObjectKind; 3] =
    [ObjectKind::PackageStatus, ObjectKind::Distribution, ObjectKind::AdvertisementStatus];

#[derive(Debug, Clone)]
enum Step {
    /// A place of the site says how it is.
    Place { at: usize, package: usize, point: usize, state: PackageState, version: u64 },
    /// A client of the site says how it is.
    Client { at: usize, advertisement: usize, client: usize, acceptance: Acceptance, delivery: Delivery },
    /// The central site targets these points, by their bits.
    Target { package: usize, points: u8 },
    /// The site buries one of its own rows.
    Bury { at: usize, which: usize },
    /// The site loses a row.
    Forget { at: usize, which: usize },
    /// Some of what one holds comes to the other: others are lost on the way.
    Bring { line: usize, up: bool, some: u64, twice: bool, backwards: bool },
    /// The site stops and starts.
    Reopen { at: usize },
    /// The site is backed up.
    BackUp { at: usize },
    /// The site begins again with its last backup.
    Restore { at: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let states = [
        PackageState::Pending,
        PackageState::Installed,
        PackageState::Retrying,
        PackageState::Failed,
        PackageState::Removing,
    ];
    prop_oneof![
        8 => (0..3_usize, 0..2_usize, 0..3_usize, select(states.to_vec()), 0..3_u64).prop_map(
            |(at, package, point, state, version)| Step::Place { at, package, point, state, version }
        ),
        6 => (0..3_usize, 0..2_usize, 0..2_usize, select(&Acceptance::ALL[..]), select(&Delivery::ALL[..]))
            .prop_map(|(at, advertisement, client, acceptance, delivery)| Step::Client {
                at, advertisement, client, acceptance, delivery
            }),
        2 => (0..2_usize, any::<u8>()).prop_map(|(package, points)| Step::Target { package, points }),
        2 => (0..3_usize, 0..9_usize).prop_map(|(at, which)| Step::Bury { at, which }),
        1 => (0..3_usize, 0..9_usize).prop_map(|(at, which)| Step::Forget { at, which }),
        6 => (0..2_usize, any::<bool>(), any::<u64>(), any::<bool>(), any::<bool>()).prop_map(
            |(line, up, some, twice, backwards)| Step::Bring { line, up, some, twice, backwards }
        ),
        1 => (0..3_usize).prop_map(|at| Step::Reopen { at }),
        1 => (0..3_usize).prop_map(|at| Step::BackUp { at }),
        1 => (0..3_usize).prop_map(|at| Step::Restore { at }),
    ]
}

struct Site {
    code: SiteCode,
    directory: PathBuf,
    store: Store,
}

impl Site {
    async fn begun(code: &str, root: &Path, template: &Path) -> Site {
        let directory = root.join(code);
        fs::create_dir(&directory).unwrap();
        fs::copy(template, directory.join("site.db")).unwrap();
        Site { code: site(code), store: super::open(&directory).await, directory }
    }

    async fn reopen(&mut self, backup: Option<PathBuf>) {
        self.store.close().await;
        if let Some(backup) = backup {
            fs::copy(backup, self.directory.join("site.db")).unwrap();
        }
        self.store = super::open(&self.directory).await;
    }

    fn backup(&self) -> PathBuf {
        self.directory.join("backup.db")
    }

    async fn back_up(&self) {
        let _ = fs::remove_file(self.backup());
        self.store.back_up(&self.backup()).await;
    }

    /// Writes an own row as its next version.
    async fn write(&self, kind: ObjectKind, id: &str, body: Option<Vec<u8>>) {
        let mut tx = self.store.begin().await.unwrap();
        let held = objects::held(&mut tx, kind, id).await.unwrap();
        let version = held.map_or(1, |held| held.version + 1);
        self.put(&mut tx, (kind, id), version, body).await;
        tx.commit().await.unwrap();
    }

    async fn put(&self, tx: &mut Tx, (kind, id): (ObjectKind, &str), version: u64, body: Option<Vec<u8>>) {
        let object = Object {
            kind,
            id: id.to_owned(),
            owner: self.code.clone(),
            version,
            deleted: body.is_none(),
            body: body.unwrap_or_default(),
            traceparent: String::new(),
        };
        let content = convert::encode::<wire::Object, _>(&object);
        objects::put(tx, &object, &content, &record::digest(&content), Timestamp(1)).await.unwrap();
    }

    async fn rows(&self, direction: Direction) -> Vec<Object> {
        let mut tx = self.store.read().await.unwrap();
        let mut rows = Vec::new();
        for kind in COUNTED.into_iter().filter(|kind| kind.direction() == direction) {
            for id in objects::names(&mut tx, kind).await.unwrap() {
                let held = objects::get(&mut tx, kind, &id).await.unwrap().unwrap();
                rows.push(record::object_in(&held.content).unwrap().0);
            }
        }
        rows
    }

    /// Takes rows in by the merge rule.
    async fn take(&self, rows: impl IntoIterator<Item = &Object>) {
        let mut tx = self.store.begin().await.unwrap();
        for object in rows {
            let content = convert::encode::<wire::Object, _>(object);
            let digest = record::digest(&content);
            let held = objects::held(&mut tx, object.kind, &object.id).await.unwrap();
            if merge(held.as_ref(), &object.owner, object.version, &digest) == Merge::Adopt {
                objects::put(&mut tx, object, &content, &digest, Timestamp(2)).await.unwrap();
            }
        }
        tx.commit().await.unwrap();
    }

    /// What the tallies say, as they lie in the database.
    async fn told(&self) -> BTreeMap<String, i64> {
        let mut tx = self.store.read().await.unwrap();
        let places: Vec<(String, i64)> = sqlx::query_as(
            "SELECT site || ' ' || package || ' ' || place || ' ' || standing || ' ' || source_version, places
             FROM package_tally",
        )
        .fetch_all(tx.connection())
        .await
        .unwrap();
        let clients: Vec<(String, i64)> = sqlx::query_as(
            "SELECT site || ' ' || advertisement || ' ' || acceptance || ' ' || delivery, clients
             FROM advertisement_tally",
        )
        .fetch_all(tx.connection())
        .await
        .unwrap();
        places.into_iter().chain(clients).collect()
    }

    /// What there is to count, row by row.
    async fn counted(&self) -> BTreeMap<String, i64> {
        let mut counted = BTreeMap::new();
        let mut add = |site: &SiteCode, rest: String| {
            *counted.entry(format!("{site} {rest}")).or_default() += 1;
            *counted.entry(format!(" {rest}")).or_default() += 1;
        };
        for direction in [Direction::Up, Direction::Down] {
            for row in self.rows(direction).await.into_iter().filter(|row| !row.deleted) {
                match row.kind {
                    ObjectKind::PackageStatus => {
                        let status: PackageStatus =
                            convert::decode::<wire::PackageStatus, _>(&row.body).unwrap();
                        let place = if status.point.is_some() { "point" } else { "library" };
                        let (state, version) = (status.state.as_str(), status.source_version);
                        add(&status.site, format!("{} {place} {state} {version}", status.package));
                    }
                    ObjectKind::AdvertisementStatus => {
                        let status: AdvertisementStatus =
                            convert::decode::<wire::AdvertisementStatus, _>(&row.body).unwrap();
                        let (acceptance, delivery) = (status.acceptance.as_str(), status.delivery.as_str());
                        add(&status.site, format!("{} {acceptance} {delivery}", status.advertisement));
                    }
                    _ => {
                        let distribution: Distribution =
                            convert::decode::<wire::Distribution, _>(&row.body).unwrap();
                        for target in &distribution.targets {
                            add(&target.site, format!("{} point targeted 0", distribution.package));
                        }
                    }
                }
            }
        }
        counted
    }
}

fn place(
    code: &SiteCode,
    package: usize,
    point: usize,
    state: PackageState,
    version: u64,
) -> (String, Vec<u8>) {
    let status = PackageStatus {
        package: format!("CEN0000{package}").parse().unwrap(),
        site: code.clone(),
        point: (point > 0).then(|| format!("dp{point}").parse().unwrap()),
        state,
        source_version: version,
        held: Vec::new(),
        reason: String::new(),
        changed_at: Timestamp(0),
    };
    (record::package_status_id(&status), convert::encode::<wire::PackageStatus, _>(&status))
}

fn client(
    code: &SiteCode,
    (advertisement, client): (usize, usize),
    acceptance: Acceptance,
    delivery: Delivery,
) -> (String, Vec<u8>) {
    let number = SITES.iter().position(|site| *site == code.as_str()).unwrap() * 10 + client;
    let status = AdvertisementStatus {
        advertisement: format!("CEN2000{advertisement}").parse().unwrap(),
        client: format!("00000000-0000-0000-0000-0000000000{number:02}").parse().unwrap(),
        site: code.clone(),
        hostname: String::new(),
        acceptance,
        delivery,
        exit_code: None,
        output_tail: String::new(),
        reason: String::new(),
        source_version: 1,
        changed_at: Timestamp(0),
        generation: 1,
        closed: None,
    };
    let id = format!("{}/{}", status.advertisement, status.client);
    (id, convert::encode::<wire::AdvertisementStatus, _>(&status))
}

fn distribution(package: usize, points: u8) -> (String, Vec<u8>) {
    let mut distribution = Distribution::empty(format!("CEN0000{package}").parse().unwrap());
    let target = |bit: usize| format!("{}/dp{}", SITES[bit % 3], 1 + bit / 3).parse().unwrap();
    distribution.add((0..6).filter(|bit| points & (1 << bit) != 0).map(target));
    (distribution.package.to_string(), convert::encode::<wire::Distribution, _>(&distribution))
}

async fn take_step(sites: &mut [Site], step: &Step) {
    match *step {
        Step::Place { at, package, point, state, version } => {
            let (id, body) = place(&sites[at].code, package, point, state, version);
            sites[at].write(ObjectKind::PackageStatus, &id, Some(body)).await;
        }
        Step::Client { at, advertisement, client: who, acceptance, delivery } => {
            let (id, body) = client(&sites[at].code, (advertisement, who), acceptance, delivery);
            sites[at].write(ObjectKind::AdvertisementStatus, &id, Some(body)).await;
        }
        Step::Target { package, points } => {
            let (id, body) = distribution(package, points);
            sites[0].write(ObjectKind::Distribution, &id, Some(body)).await;
        }
        Step::Bury { at, which } => {
            let mut own = sites[at].rows(Direction::Up).await;
            own.extend(sites[at].rows(Direction::Down).await);
            own.retain(|row| row.owner == sites[at].code);
            if let Some(row) = own.get(which) {
                sites[at].write(row.kind, &row.id, None).await;
            }
        }
        Step::Forget { at, which } => {
            if let Some(row) = sites[at].rows(Direction::Up).await.get(which) {
                let mut tx = sites[at].store.begin().await.unwrap();
                objects::remove(&mut tx, row.kind, &row.id).await.unwrap();
                tx.commit().await.unwrap();
            }
        }
        Step::Bring { line, up, some, twice, backwards } => {
            let (from, to) = if up { (line + 1, line) } else { (line, line + 1) };
            let mut rows = sites[from].rows(if up { Direction::Up } else { Direction::Down }).await;
            let mut at = 0;
            rows.retain(|_| {
                at += 1;
                some & (1 << (at % 64)) != 0
            });
            if backwards {
                rows.reverse();
            }
            sites[to].take(&rows).await;
            if twice {
                sites[to].take(&rows).await;
            }
        }
        Step::Reopen { at } => sites[at].reopen(None).await,
        Step::BackUp { at } => sites[at].back_up().await,
        Step::Restore { at } => {
            let backup = sites[at].backup();
            if backup.exists() {
                sites[at].reopen(Some(backup)).await;
            }
        }
    }
}

/// What the sites come to when they have compared what they hold: the newest copy comes back to its owner, and two
/// contents of one version are settled by the owner with a higher one.
async fn reconcile(sites: &mut [Site]) {
    for direction in [Direction::Up, Direction::Down] {
        let mut newest = BTreeMap::<(ObjectKind, String), Vec<Object>>::new();
        for site in &*sites {
            for row in site.rows(direction).await {
                let copies = newest.entry((row.kind, row.id.clone())).or_default();
                let version = copies.first().map_or(0, |copy| copy.version);
                if row.version > version {
                    copies.clear();
                }
                if row.version >= version && !copies.contains(&row) {
                    copies.push(row);
                }
            }
        }
        for ((kind, id), copies) in newest {
            let owner = sites.iter().position(|site| site.code == copies[0].owner).unwrap();
            sites[owner].take(&copies).await;
            if copies.len() > 1 {
                let mut tx = sites[owner].store.begin().await.unwrap();
                let held = objects::get(&mut tx, kind, &id).await.unwrap().unwrap();
                let body = (!held.deleted).then_some(held.body);
                sites[owner].put(&mut tx, (kind, &id), held.version + 1, body).await;
                tx.commit().await.unwrap();
            }
        }
    }
    for line in [1, 0] {
        let rows = sites[line + 1].rows(Direction::Up).await;
        sites[line].take(&rows).await;
    }
    for line in [0, 1] {
        let rows = sites[line].rows(Direction::Down).await;
        sites[line + 1].take(&rows).await;
    }
}

/// Of the tallies at a site those that it has in common with the one below: of the sites below.
async fn of_sites_below(above: &Site, below: &[&str]) -> BTreeMap<String, i64> {
    let mut told = above.told().await;
    told.retain(|cell, _| below.iter().any(|code| cell.starts_with(&format!("{code} "))));
    told
}

async fn check(steps: &[Step], template: &Path) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().unwrap();
    let mut sites = Vec::new();
    for code in SITES {
        sites.push(Site::begun(code, directory.path(), template).await);
    }
    for (number, step) in steps.iter().enumerate() {
        take_step(&mut sites, step).await;
        for site in &sites {
            prop_assert_eq!(
                site.told().await,
                site.counted().await,
                "{} after {} {:?}",
                &site.code,
                number,
                step
            );
        }
    }
    reconcile(&mut sites).await;
    for site in &sites {
        prop_assert_eq!(site.told().await, site.counted().await, "{} at the end", &site.code);
    }
    for (above, below) in [(0, 1), (1, 2)] {
        let common = &SITES[below..];
        let (above, below) = (&sites[above], &sites[below]);
        prop_assert_eq!(of_sites_below(above, common).await, of_sites_below(below, common).await);
    }
    for site in sites {
        site.store.close().await;
    }
    Ok(())
}

#[test]
fn tallies_equal_the_rows_whatever_happens() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let template = directory.path().join("site.db");
    runtime.block_on(async { super::open(directory.path()).await.close().await });
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in vec(step(), 10..60))| {
        runtime.block_on(check(&steps, &template))?;
    });
}

#[tokio::test]
async fn a_database_of_before_the_tallies_is_counted_when_it_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let store = super::open(directory.path()).await;
    store.close().await;
    let mut site = Site::begun("CEN", directory.path(), &directory.path().join("site.db")).await;
    for (point, state) in [(0, PackageState::Installed), (1, PackageState::Failed), (2, PackageState::Failed)]
    {
        let (id, body) = place(&site.code, 1, point, state, 1);
        site.write(ObjectKind::PackageStatus, &id, Some(body)).await;
    }
    let (id, body) = distribution(1, 0b1001);
    site.write(ObjectKind::Distribution, &id, Some(body)).await;
    site.store.by_hand("DELETE FROM package_tally; DELETE FROM setting WHERE name = 'tallies'").await;

    site.reopen(None).await;

    let told = site.told().await;
    assert_eq!(told, site.counted().await);
    assert_eq!(told[" CEN00001 point failed 1"], 2);
    assert_eq!(told["CEN CEN00001 point targeted 0"], 2);
    let words: BTreeSet<&str> = told.keys().filter_map(|cell| cell.split(' ').nth(3)).collect();
    assert_eq!(words, ["failed", "installed", "targeted"].into());
}
