//! What lies on a medium, as its files say: nothing is decrypted and nothing proved.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    head::{Front, Head, HeadError},
    id::{EXTENSION, ParcelId},
    limits::VOLUMES_MAX,
    medium,
};

/// How deep below the path volumes are looked for.
const DEPTH_MAX: usize = 8;
/// How many names are looked at.
const NAMES_MAX: usize = 100_000;

/// What was found below a path.
#[derive(Debug, Default)]
pub struct Scan {
    /// By their ids.
    pub parcels: BTreeMap<ParcelId, FoundParcel>,
    /// Files with the name of a volume that are none, or whose heads are damaged.
    pub others: Vec<(PathBuf, HeadError)>,
    /// Directories that could not be read.
    pub unread: Vec<(PathBuf, io::Error)>,
    /// There was more than is looked at: 100,000 names, 8 levels deep. Name a directory further down.
    pub cut_off: bool,
}

impl Scan {
    /// What was not looked at, and what is no volume, one line each, for people.
    pub fn faults(&self) -> Vec<String> {
        let others = self
            .others
            .iter()
            .map(|(path, error)| format!("{} is no volume that can be used: {error}", path.display()));
        let unread =
            self.unread.iter().map(|(path, error)| format!("{} cannot be read: {error}", path.display()));
        let cut_off = "there are more names than are looked at: name a directory further down".to_owned();
        others.chain(unread).chain(self.cut_off.then_some(cut_off)).collect()
    }
}

/// The volumes of a parcel that were found.
#[derive(Debug)]
pub struct FoundParcel {
    /// 1 to 999. If volumes disagree, the most.
    pub count: u16,
    /// By their numbers; several files if one was found more than once.
    pub volumes: BTreeMap<u16, Vec<FoundVolume>>,
}

#[derive(Debug)]
pub struct FoundVolume {
    pub path: PathBuf,
    pub head: Head,
    /// Bytes of the file. If they are fewer than the head says, it is cut off.
    pub file_bytes: u64,
    /// It lies in the directory of another parcel.
    pub misplaced: bool,
    seal: Vec<u8>,
}

impl FoundParcel {
    /// The numbers that were not found.
    pub fn missing(&self) -> impl Iterator<Item = u16> {
        (1..=self.count).filter(|number| !self.volumes.contains_key(number))
    }

    /// The volumes that were found more than once, and whether they are copies of one. If not, the volume was written
    /// twice, or one of them is false.
    pub fn twice(&self) -> impl Iterator<Item = (u16, bool)> {
        self.volumes.iter().filter(|(_, found)| found.len() > 1).map(|(number, found)| {
            let copies =
                found.windows(2).all(|pair| pair[0].seal == pair[1].seal && pair[0].head == pair[1].head);
            (*number, copies)
        })
    }
}

impl FoundVolume {
    pub fn is_cut_off(&self) -> bool {
        self.file_bytes < self.head.length
    }
}

/// Looks for volumes: `path` is one, or a directory. Links are not followed, and other file systems below are looked at too.
pub fn scan(path: &Path) -> io::Result<Scan> {
    let mut scan = Scan::default();
    if !fs::metadata(path)?.is_dir() {
        scan.look_at(path.to_owned());
        return Ok(scan);
    }
    let mut names = 0;
    let mut directories = vec![(path.to_owned(), 0)];
    while let Some((directory, depth)) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Err(error) if depth == 0 => return Err(error),
            Err(error) => {
                scan.unread.push((directory, error));
                continue;
            }
            Ok(entries) => entries,
        };
        for entry in entries {
            names += 1;
            if names > NAMES_MAX {
                scan.cut_off = true;
                return Ok(scan);
            }
            let Ok(entry) = entry.map_err(|error| scan.unread.push((directory.clone(), error))) else {
                break;
            };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < DEPTH_MAX => directories.push((entry.path(), depth + 1)),
                Ok(kind) if kind.is_dir() => scan.cut_off = true,
                Ok(kind) if kind.is_file() && is_named_so(&entry.path()) => scan.look_at(entry.path()),
                _ => {}
            }
        }
    }
    Ok(scan)
}

fn is_named_so(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(EXTENSION))
}

impl Scan {
    fn look_at(&mut self, path: PathBuf) {
        let found = match found(path.clone()) {
            Ok(found) => found,
            Err(error) => return self.others.push((path, error)),
        };
        let parcel = self.parcels.entry(found.head.parcel);
        let parcel = parcel.or_insert_with(|| FoundParcel { count: 0, volumes: BTreeMap::new() });
        parcel.count = parcel.count.max(found.head.count).min(VOLUMES_MAX);
        let same = parcel.volumes.entry(found.head.number).or_default();
        let at = same.partition_point(|other| other.path < found.path);
        same.insert(at, found);
    }
}

fn found(path: PathBuf) -> Result<FoundVolume, HeadError> {
    let file = medium::open_regular(&path).map_err(HeadError::Read)?.ok_or(HeadError::NotAVolume)?;
    let file_bytes = file.metadata().map_err(HeadError::Read)?.len();
    let Front { head, seal } = Front::read(&file)?;
    let directory = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let misplaced =
        directory.is_some_and(|name| is_short_id(name) && !name.eq_ignore_ascii_case(&head.parcel.short()));
    Ok(FoundVolume { path, head, file_bytes, misplaced, seal })
}

fn is_short_id(name: &str) -> bool {
    name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
