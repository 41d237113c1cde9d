//! Parcels that come whole, in pieces, mixed up, or into the wrong hands.

use std::fs;

use packhorse_domain::link::ItemId;
use packhorse_parcel::{
    Contents, ContentsError, Limits, Medium, OpenError, ParcelId, Plan, PlanError, ReadError, Volume, scan,
};

mod kit;

use kit::{
    Received, Site, Stock, contents_of, draft, noise, plan, receive, sign, sites, take, unsign, whole,
    write_all,
};

const MIB: usize = 1024 * 1024;

/// Small ones, an empty one, and two that take several volumes of a MiB and a half.
fn mixed(to: &[u16]) -> (Stock, Vec<packhorse_parcel::Item>) {
    let mut stock = Stock::default();
    let lengths = [3 * MIB + 17, 700, 0, 65_536, MIB, 2 * MIB + 1, 1];
    let items = lengths.iter().zip(0..).map(|(length, seed)| stock.add(noise(seed, *length), to)).collect();
    (stock, items)
}

fn ids(stock: &Stock) -> Vec<ItemId> {
    // An item without bytes has no pieces.
    stock.0.iter().filter(|(_, bytes)| !bytes.is_empty()).map(|(id, _)| *id).collect()
}

#[test]
fn a_parcel_for_one_site_comes_whole_on_one_volume() {
    let (sites, (stock, items)) = (sites(1), mixed(&[0]));
    let medium = kit::memory();
    let mut plan = plan(&sites, &stock, items.clone(), None);
    let paths = write_all(&mut plan, &stock, medium.path());
    assert_eq!(paths.len(), 1);
    plan.written()[0].unwrap().verify(&paths[0], &mut kit::carry_on).unwrap();

    let (received, damaged) = receive(medium.path(), &sites[0]);

    assert!(damaged.is_empty());
    assert_eq!(whole(&received, &stock), ids(&stock));
    let mut volume = Volume::open(&paths[0], &sites[0].identity).unwrap();
    let contents = contents_of(&mut volume, &sites[0]);
    assert_eq!(
        contents.items().map(|(_, item)| item.clone()).collect::<Vec<_>>(),
        items,
        "in their order, heads too"
    );
    assert_eq!(contents.info().created.0, 1_700_000_000_000_000);
    assert_eq!(volume.reading(&contents).unwrap().verify(), []);
    let readme = fs::read_to_string(paths[0].with_file_name("README.TXT")).unwrap();
    assert!(
        readme.contains("From site:    CEN") && readme.contains("001.PHV (1 of 1)") && readme.contains("S00")
    );
}

#[test]
fn volumes_come_in_any_order_on_any_media_and_what_is_missing_is_named() {
    let (sites, (stock, items)) = (sites(2), mixed(&[0, 1]));
    let (medium, other) = (kit::memory(), kit::memory());
    let mut plan = plan(&sites, &stock, items, Some(MIB as u64 * 3 / 2));
    let count = plan.list().volumes();
    assert!(count >= 5, "{count}");
    let mut paths = Vec::new();
    for number in (1..=count).rev() {
        let root = if number % 2 == 0 { other.path() } else { medium.path() };
        let written = plan.write(number, &stock, &Medium::at(root).unwrap(), &mut kit::carry_on).unwrap();
        let path = kit::path_of(&plan, root, number);
        assert!(written.length <= MIB as u64 * 3 / 2);
        assert_eq!(fs::metadata(&path).unwrap().len(), written.length);
        paths.push(path);
    }
    let odd = &scan(medium.path()).unwrap().parcels[&plan.list().info().id];
    assert!(odd.missing().eq((1..=count).filter(|number| number % 2 == 0)));
    assert_eq!(odd.count, count);

    // The list of the first that comes serves for all.
    let mut first = Volume::open(&paths[2], &sites[1].identity).unwrap();
    let contents = contents_of(&mut first, &sites[1]);
    let mut received = Received::new();
    for nth in [2, 0, 3, 1].into_iter().chain(4..paths.len()) {
        let mut volume = Volume::open(&paths[nth], &sites[1].identity).unwrap();
        assert!(whole(&received, &stock).len() < ids(&stock).len(), "before the last came");
        assert_eq!(take(&mut volume, &contents, &mut received), []);
    }
    assert_eq!(whole(&received, &stock), ids(&stock));
}

#[test]
fn a_volume_that_is_there_twice_is_told_from_one_that_was_written_twice() {
    let (sites, (stock, items)) = (sites(1), mixed(&[0]));
    let medium = kit::memory();
    let mut plan = plan(&sites, &stock, items, Some(MIB as u64 * 3 / 2));
    let paths = write_all(&mut plan, &stock, medium.path());
    let id = plan.list().info().id;
    let copy = medium.path().join("copy of 002.phv");
    fs::copy(&paths[1], &copy).unwrap();
    let twice = |scan: &packhorse_parcel::Scan| scan.parcels[&id].twice().collect::<Vec<_>>();
    let found = scan(medium.path()).unwrap();
    assert_eq!(twice(&found), [(2, true)]);
    assert!(found.parcels[&id].missing().next().is_none());

    let aside = kit::memory();
    plan.forget(2);
    plan.write(2, &stock, &Medium::at(aside.path()).unwrap(), &mut kit::carry_on).unwrap();
    fs::copy(kit::path_of(&plan, aside.path(), 2), &copy).unwrap();
    assert_eq!(twice(&scan(medium.path()).unwrap()), [(2, false)]);
    // It was signed alike: either does.
    let mut volume = Volume::open(&copy, &sites[0].identity).unwrap();
    let contents = contents_of(&mut Volume::open(&paths[0], &sites[0].identity).unwrap(), &sites[0]);
    assert_eq!(volume.reading(&contents).unwrap().verify(), []);
}

#[test]
fn a_volume_of_another_parcel_is_told_and_so_is_what_is_no_volume() {
    let (sites, (stock, items)) = (sites(1), mixed(&[0]));
    let medium = kit::memory();
    let mut first = plan(&sites, &stock, items.clone(), None);
    let mut draft = draft(&sites, items, None);
    // The same directory, another parcel.
    draft.id = ParcelId(first.list().info().id.0);
    draft.id.0[15] ^= 1;
    let mut second = Plan::make(draft, &stock, &sign).unwrap();
    let path = write_all(&mut first, &stock, medium.path()).remove(0);
    let error = second.write(1, &stock, &Medium::at(medium.path()).unwrap(), &mut kit::carry_on).unwrap_err();
    assert!(
        matches!(error, packhorse_parcel::WriteError::Medium(packhorse_parcel::MediumError::InTheWay { .. })),
        "{error:?}"
    );
    let aside = kit::memory();
    let foreign = write_all(&mut second, &stock, aside.path()).remove(0);
    fs::copy(&foreign, path.with_file_name("002.PHV")).unwrap();
    fs::write(path.with_file_name("003.PHV"), "no volume").unwrap();
    std::os::unix::fs::symlink(&foreign, path.with_file_name("004.PHV")).unwrap();
    let elsewhere = medium.path().join("PARCELS/00000000");
    fs::create_dir(&elsewhere).unwrap();
    fs::copy(&path, elsewhere.join("001.PHV")).unwrap();

    let found = scan(medium.path()).unwrap();

    assert_eq!(found.parcels.len(), 2);
    assert_eq!(found.others.len(), 1, "{found:?}");
    let places: Vec<bool> =
        found.parcels[&first.list().info().id].volumes[&1].iter().map(|volume| volume.misplaced).collect();
    assert!(places.contains(&true) && places.contains(&false));
    let contents = contents_of(&mut Volume::open(&path, &sites[0].identity).unwrap(), &sites[0]);
    let error = Volume::open(&foreign, &sites[0].identity).unwrap().reading(&contents).unwrap_err();
    assert!(matches!(error, ReadError::OtherParcel { .. }));
}

#[test]
fn another_list_under_the_same_id_is_refused() {
    let (sites, (stock, items)) = (sites(1), mixed(&[0]));
    let (medium, aside) = (kit::memory(), kit::memory());
    let mut first = plan(&sites, &stock, items.clone(), None);
    let mut draft = draft(&sites, items[..3].to_vec(), None);
    draft.id = first.list().info().id;
    let mut second = Plan::make(draft, &stock, &sign).unwrap();
    let path = write_all(&mut first, &stock, medium.path()).remove(0);
    let other = write_all(&mut second, &stock, aside.path()).remove(0);
    let contents = contents_of(&mut Volume::open(&path, &sites[0].identity).unwrap(), &sites[0]);
    let error = Volume::open(&other, &sites[0].identity).unwrap().reading(&contents).unwrap_err();
    assert_eq!(error, ReadError::OtherList { number: 1 });
}

#[test]
fn a_stranger_opens_nothing_and_a_finder_learns_nothing() {
    let (sites, (stock, items)) = (sites(3), mixed(&[0, 1, 2]));
    let medium = kit::memory();
    let mut plan = plan(&sites, &stock, items.clone(), None);
    let path = write_all(&mut plan, &stock, medium.path()).remove(0);
    let stranger = kit::sites(1).remove(0);
    assert!(matches!(Volume::open(&path, &stranger.identity), Err(OpenError::NotForUs)));
    let opened =
        Contents::open(plan.envelope(), &stranger.destination.recipient, &Limits::default(), &unsign);
    assert!(matches!(opened, Err(ContentsError::NotForUs)));
    let unsigned = Contents::open(b"nothing", &sites[0].destination.recipient, &Limits::default(), &unsign);
    assert!(matches!(unsigned, Err(ContentsError::Open(_))));

    let file = fs::read(&path).unwrap();
    let occurs = |what: &[u8]| file.windows(what.len()).any(|window| window == what);
    assert!(occurs(b"S02"), "the destinations are in plain");
    for item in &items {
        assert!(!occurs(&item.head) && !occurs(item.id.as_bytes()) && !occurs(item.digest.as_bytes()));
    }
    for bytes in stock.0.values().filter(|bytes| bytes.len() >= 8) {
        assert!(!occurs(&bytes[..8]) && !occurs(&bytes[bytes.len() - 8..]));
    }
    for site in &sites {
        assert!(!occurs(site.destination.recipient.to_string().as_bytes()));
    }
}

#[test]
fn each_site_sees_what_is_its_own() {
    let sites = sites(3);
    let mut stock = Stock::default();
    let groups: [&[u16]; 5] = [&[0], &[1], &[0, 1], &[2], &[0, 1, 2]];
    let items: Vec<_> =
        groups.iter().zip(10..).map(|(to, seed)| stock.add(noise(seed, 300_000), to)).collect();
    let medium = kit::memory();
    let mut plan = plan(&sites, &stock, items.clone(), None);
    let path = write_all(&mut plan, &stock, medium.path()).remove(0);
    for (place, site) in sites.iter().enumerate() {
        let (received, _) = receive(medium.path(), site);
        let its_own = |to: &&[u16]| to.contains(&(place as u16));
        let mut expected: Vec<_> =
            items.iter().filter(|item| its_own(&&*item.to)).map(|item| item.id).collect();
        expected.sort();
        assert_eq!(whole(&received, &stock), expected);
        let mut volume = Volume::open(&path, &site.identity).unwrap();
        let contents = contents_of(&mut volume, site);
        let mut seen: Vec<_> = contents.items().map(|(_, item)| item.id).collect();
        seen.sort();
        assert_eq!(seen, expected);
        assert!(contents.sites().eq([&site.destination.site]));
        assert_eq!(contents.bytes(1), 300_000 * expected.len() as u64);
    }
}

#[test]
fn thirty_sites_cost_little_more_than_one() {
    let mut stock = Stock::default();
    let mut bytes_for = |count: u16| {
        let to: Vec<u16> = (0..count).collect();
        let items = (0..40).map(|seed| stock.add(noise(seed, 100_000), &to)).collect();
        let medium = kit::memory();
        let mut plan = plan(&sites(count.into()), &stock, items, None);
        write_all(&mut plan, &stock, medium.path());
        plan.written()[0].unwrap().length
    };
    let (one, thirty) = (bytes_for(1), bytes_for(30));
    assert!(thirty as f64 <= 1.05 * one as f64, "{thirty} for 30 sites, {one} for one");
    assert!(one as f64 <= 1.01 * 4_000_000.0, "{one} for 4,000,000 bytes");
}

#[test]
fn two_hundred_sites_are_no_limit() {
    let identities = sites(200);
    let mut stock = Stock::default();
    let to: Vec<u16> = (0..200).collect();
    let items = vec![stock.add(noise(1, 1000), &to)];
    let codes = (0..200).map(|nth| format!("{nth:03}"));
    let mut draft = draft(&identities, items, None);
    for (destination, code) in draft.destinations.iter_mut().zip(codes) {
        destination.site = code.parse().unwrap();
    }
    let medium = kit::memory();
    let mut plan = Plan::make(draft, &stock, &sign).unwrap();
    let path = write_all(&mut plan, &stock, medium.path()).remove(0);
    let last: &Site = &identities[199];
    let mut volume = Volume::open(&path, &last.identity).unwrap();
    let contents = contents_of(&mut volume, last);
    assert_eq!(contents.bytes(1), 1000);
}

#[test]
fn a_plan_comes_back_from_its_bytes_with_what_was_written() {
    let (sites, (stock, items)) = (sites(1), mixed(&[0]));
    let medium = kit::memory();
    let mut plan = plan(&sites, &stock, items, Some(MIB as u64 * 2));
    plan.write(2, &stock, &Medium::at(medium.path()).unwrap(), &mut kit::carry_on).unwrap();
    let bytes = plan.to_bytes();
    assert_eq!(Plan::from_bytes(&bytes, &unsign).unwrap(), plan);
    assert!(!plan.unwritten().any(|number| number == 2));
    for cut in 0..60 {
        assert!(Plan::from_bytes(&bytes[..cut], &unsign).is_err(), "{cut}");
    }
    assert!(matches!(Plan::from_bytes(b"PHPP\x02\0\0\0", &unsign), Err(PlanError::Version(2))));
}
