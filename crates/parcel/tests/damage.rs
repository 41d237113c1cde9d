//! Volumes that are damaged or cut off anywhere: never a wrong byte, and all the rest is still there.

use std::{
    fs::{self, File, OpenOptions},
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use packhorse_parcel::{Contents, Damage, Limits, ReadError, Volume, scan};

#[expect(dead_code, reason = "others use the rest of it")]
mod kit;

use kit::{Received, Site, Stock, contents_of, noise, plan, sites, take, unsign, whole, write_all};

const CHUNK: u64 = 65_536 + 16;
const CHECKSUM: u64 = 32;
/// Length of the front, magic, checksum.
const END: u64 = 4 + 4 + CHECKSUM;

struct Case {
    _directory: tempfile::TempDir,
    site: Site,
    stock: Stock,
    paths: Vec<PathBuf>,
    length: u64,
    /// Bytes of the front.
    front: u64,
}

fn case(lengths: &[usize], volume_bytes: Option<u64>) -> Case {
    let directory = kit::memory();
    let sites = sites(1);
    let mut stock = Stock::default();
    let items = lengths.iter().zip(0..).map(|(length, seed)| stock.add(noise(seed, *length), &[0])).collect();
    let mut plan = plan(&sites, &stock, items, volume_bytes);
    let paths = write_all(&mut plan, &stock, directory.path());
    let length = plan.written()[0].expect("it works").length;
    let mut front = [0; 4];
    File::open(&paths[0]).expect("it works").read_exact_at(&mut front, length - END).expect("it works");
    let front = u32::from_le_bytes(front).into();
    Case { _directory: directory, site: sites[0].clone(), stock, paths, length, front }
}

impl Case {
    /// What is got of a volume as it now is, if it can be opened.
    fn read(&self, path: &Path) -> Option<(Received, Vec<Damage>)> {
        let mut volume = Volume::open(path, &self.site.identity).ok()?;
        let envelope = volume.envelope(&Limits::default()).ok()?;
        let recipient = &self.site.destination.recipient;
        let contents = Contents::open(&envelope, recipient, &Limits::default(), &unsign).expect("it works");
        let mut received = Received::new();
        let damaged = take(&mut volume, &contents, &mut received);
        whole(&received, &self.stock);
        Some((received, damaged))
    }

    fn flipped<T>(&self, at: u64, then: impl FnOnce() -> T) -> T {
        let file = OpenOptions::new().read(true).write(true).open(&self.paths[0]).expect("it works");
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("it works");
        file.write_all_at(&[byte[0] ^ (1 << (at % 8))], at).expect("it works");
        let result = then();
        file.write_all_at(&byte, at).expect("it works");
        result
    }
}

fn bytes(received: &Received) -> u64 {
    received.values().flat_map(|pieces| pieces.values()).map(|piece| piece.len() as u64).sum()
}

#[test]
fn a_flip_at_any_byte_of_a_small_volume_gives_no_wrong_byte() {
    let case = case(&[300, 200], None);
    for at in 0..case.length {
        let read = case.flipped(at, || case.read(&case.paths[0]));
        let in_stream = (case.front..case.length - END - case.front).contains(&at);
        match read {
            Some((received, damaged)) if !in_stream => {
                assert!(
                    damaged.is_empty() && bytes(&received) == 500,
                    "what stands there twice is lost at {at}"
                );
            }
            // All of its stream is one chunk.
            other => assert!(in_stream && other.is_none(), "{at}"),
        }
        let scan = case.flipped(at, || scan(&case.paths[0]).unwrap());
        assert_eq!(scan.parcels.len(), 1, "{at}");
    }
}

#[test]
fn a_small_volume_that_is_cut_off_anywhere_gives_no_wrong_byte() {
    let case = case(&[300, 200], None);
    let whole_file = fs::read(&case.paths[0]).unwrap();
    let cut = case.paths[0].with_file_name("CUT.PHV");
    for length in 0..case.length {
        fs::write(&cut, &whole_file[..length as usize]).unwrap();
        let read = case.read(&cut);
        assert_eq!(read.is_some(), length >= case.length - END - case.front, "{length}");
        let found = scan(&cut).unwrap();
        let told = found.parcels.values().all(|parcel| parcel.volumes[&1][0].is_cut_off());
        assert!(told && found.parcels.len() + found.others.len() == 1, "{length}");
    }
}

/// Where each item lies in the stream of a volume, whose last bytes before the second envelope are those of the last item.
fn places(case: &Case, lengths: &[usize]) -> Vec<Range<u64>> {
    let mut volume = Volume::open(&case.paths[0], &case.site.identity).expect("it works");
    let mut from = 8 + volume.envelope(&Limits::default()).expect("it works").len() as u64;
    let place = |length: &usize| {
        from += *length as u64;
        from - *length as u64..from
    };
    lengths.iter().map(place).collect()
}

#[test]
fn a_flip_costs_the_pieces_in_its_chunk_and_nothing_else() {
    let lengths = [30_000; 12];
    let case = case(&lengths, None);
    let places = places(&case, &lengths);
    let ids: Vec<_> = {
        let mut volume = Volume::open(&case.paths[0], &case.site.identity).unwrap();
        contents_of(&mut volume, &case.site).items().map(|(_, item)| item.id).collect()
    };
    for at in (case.front..case.length - END - case.front).step_by(773) {
        let (received, damaged) = case.flipped(at, || case.read(&case.paths[0])).unwrap();

        let nth = (at - case.front) / CHUNK;
        let chunk = nth * 65_536..(nth + 1) * 65_536;
        let hit = |place: &Range<u64>| place.start < chunk.end && chunk.start < place.end;
        let lost: Vec<_> =
            places.iter().zip(&ids).filter(|(place, _)| hit(place)).map(|(_, id)| *id).collect();
        assert_eq!(damaged.iter().map(|damage| damage.item).collect::<Vec<_>>(), lost, "{at}");
        assert!(damaged.iter().all(|damage| damage.range == (0..30_000)));
        assert_eq!(bytes(&received) as usize, 30_000 * (12 - lost.len()), "{at}");
    }
}

#[test]
fn what_lies_before_the_cut_is_given() {
    let lengths = [30_000; 12];
    let case = case(&lengths, None);
    let places = places(&case, &lengths);
    for length in (0..case.length).rev().step_by(4001) {
        OpenOptions::new().write(true).open(&case.paths[0]).unwrap().set_len(length).unwrap();
        let chunks = length.saturating_sub(case.front) / CHUNK;
        match case.read(&case.paths[0]) {
            None => assert_eq!(chunks, 0, "{length}"),
            Some((received, damaged)) => {
                let there = places.iter().filter(|place| place.end <= chunks * 65_536).count();
                assert!(received.len() >= there && received.len() + damaged.len() == 12, "{length}");
            }
        }
    }
}

#[test]
fn a_long_item_loses_the_pieces_that_are_damaged() {
    let case = case(&[5 * 1024 * 1024 + 5], None);
    let (received, damaged) = case
        .flipped(case.length / 2, || case.flipped(case.length / 2 + 3 * CHUNK, || case.read(&case.paths[0])))
        .unwrap();
    assert_eq!(damaged.len(), 1, "neighbours are told as one: {damaged:?}");
    let lost = damaged[0].range.end - damaged[0].range.start;
    assert!(lost <= 2 * 1024 * 1024);
    assert_eq!(bytes(&received) + lost, 5 * 1024 * 1024 + 5);
}

#[test]
fn the_list_of_another_volume_serves() {
    // So many that the list is longer than what an envelope may add to it.
    let lengths: Vec<usize> = [vec![1_000_000; 3], (10..80).collect()].concat();
    let case = case(&lengths, Some(1024 * 1024));
    let mut good = Volume::open(&case.paths[1], &case.site.identity).unwrap();
    let contents = contents_of(&mut good, &case.site);
    // The first and the last chunk.
    let last = case.length - END - case.front - 1;
    let (error, got, damaged) = case.flipped(case.front + 1, || {
        case.flipped(last, || {
            let mut volume = Volume::open(&case.paths[0], &case.site.identity).unwrap();
            let error = volume.envelope(&Limits::default()).unwrap_err();
            let mut received = Received::new();
            let damaged = take(&mut volume, &contents, &mut received);
            whole(&received, &case.stock);
            (error, bytes(&received), damaged)
        })
    });
    assert_eq!(error, ReadError::ListDamaged { number: 1 });
    // Both chunks hold bytes of the items beside the list: one piece is lost at each end, for all of a MiB.
    let lost: u64 = damaged.iter().map(|damage| damage.range.end - damage.range.start).sum();
    assert_eq!(got + lost, contents.bytes(1));

    let limits = Limits { list_bytes_max: 10, ..Limits::default() };
    let error = Volume::open(&case.paths[1], &case.site.identity).unwrap().envelope(&limits).unwrap_err();
    assert!(matches!(error, ReadError::ListTooLong { .. }), "{error:?}");
}
