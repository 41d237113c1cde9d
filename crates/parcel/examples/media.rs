//! Parcels by hand, for `bench/media.sh`: keys and the plan are kept in a directory, and nothing is signed.
//!
//!     media plan STATE VOLUME_BYTES FILE...     lays out a parcel of the files, for one site
//!     media write STATE ROOT NUMBER...          writes those volumes below ROOT
//!     media verify STATE ROOT NUMBER...         reads them again from the medium
//!     media read STATE ROOT OUT                 puts what is whole of the parcel into OUT, one file an item
//!
//! It prints `name value` lines, and on standard error what went wrong.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    ops::ControlFlow,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use packhorse_content::Outline;
use packhorse_domain::{Timestamp, link::ItemId};
use packhorse_parcel::{
    Contents, Destination, Draft, Identity, Item, Limits, Medium, OpenError, ParcelId, Plan, Progress,
    Source, Volume, scan,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Files(BTreeMap<ItemId, File>);

impl Source for Files {
    fn read_exact_at(&self, item: &ItemId, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.get(item).ok_or(io::ErrorKind::NotFound)?.read_exact_at(buffer, offset)
    }
}

fn carry_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn say(name: &str, value: impl std::fmt::Display) -> Result<()> {
    Ok(writeln!(io::stdout(), "{name} {value}")?)
}

fn peak_mib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

fn make_plan(state: &Path, volume_bytes: &str, files: &[String]) -> Result<()> {
    let identity = Identity::generate();
    fs::write(state.join("identity"), identity.secret_text().as_str())?;
    let (mut items, mut sources) = (Vec::new(), BTreeMap::new());
    for path in files {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let (digest, outline) = Outline::of_file(&file, length)?;
        let id = ItemId::of(&digest);
        items.push(Item { id, length, digest, outline, head: path.clone().into_bytes(), to: Arc::from([0]) });
        sources.insert(id, file);
    }
    let draft = Draft {
        id: ParcelId::random(),
        sender: "CEN".parse()?,
        created: Timestamp(0),
        destinations: vec![Destination { site: "PAR".parse()?, recipient: identity.recipient() }],
        items,
        volume_bytes: Some(volume_bytes.parse()?),
    };
    let plan = Plan::make(draft, &Files(sources), &|list| Ok(list.to_vec()))?;
    say("volumes", plan.list().volumes())?;
    say("directory", plan.list().info().id.directory().display())?;
    Ok(fs::write(state.join("plan"), plan.to_bytes())?)
}

fn plan_of(state: &Path) -> Result<Plan> {
    Ok(Plan::from_bytes(&fs::read(state.join("plan"))?, &|envelope| Ok(envelope.to_vec()))?)
}

fn write(state: &Path, root: &Path, numbers: &[String]) -> Result<()> {
    let mut plan = plan_of(state)?;
    let mut files = BTreeMap::new();
    for item in plan.list().items() {
        files.insert(item.id, File::open(String::from_utf8(item.head.clone())?)?);
    }
    let medium = Medium::at(root)?;
    let (files, began, mut bytes) = (Files(files), Instant::now(), 0);
    for number in numbers {
        bytes += plan.write(number.parse()?, &files, &medium, &mut carry_on)?.length;
        fs::write(state.join("plan"), plan.to_bytes())?;
    }
    say("write_s", format!("{:.2}", began.elapsed().as_secs_f64()))?;
    say("write_bytes", bytes)?;
    say("write_peak_mib", peak_mib()?)
}

fn verify(state: &Path, root: &Path, numbers: &[String]) -> Result<()> {
    let plan = plan_of(state)?;
    for number in numbers {
        let number: usize = number.parse()?;
        let written = plan.written()[number - 1].ok_or("that volume was not written")?;
        let path = root.join(plan.list().info().id.directory()).join(format!("{number:03}.PHV"));
        written.verify(&path, &mut carry_on)?;
    }
    say("verified", numbers.len())
}

/// What was found out about the volumes of one parcel.
#[derive(Default)]
struct Taken {
    bytes: u64,
    damaged: u64,
    refused: u64,
}

fn read(state: &Path, root: &Path, out: &Path) -> Result<()> {
    let identity: Identity = fs::read_to_string(state.join("identity"))?.parse()?;
    let ours = plan_of(state)?.list().info().id;
    let found = scan(root)?;
    let parcel = found.parcels.get(&ours).ok_or("no volume of the parcel is there")?;
    let (mut contents, mut taken) = (None, Taken::default());
    let began = Instant::now();
    for volume in parcel.volumes.values().flatten() {
        take(&volume.path, &identity, &mut contents, out, &mut taken)?;
    }
    say("read_s", format!("{:.2}", began.elapsed().as_secs_f64()))?;
    say("missing", parcel.missing().count())?;
    say("twice", parcel.twice().count())?;
    say("foreign", found.parcels.len() - 1)?;
    say("others", found.others.len())?;
    say("read_bytes", taken.bytes)?;
    say("damaged_bytes", taken.damaged)?;
    say("refused", taken.refused)?;
    say("read_peak_mib", peak_mib()?)
}

fn take(
    path: &Path,
    identity: &Identity,
    contents: &mut Option<Contents>,
    out: &Path,
    taken: &mut Taken,
) -> Result<()> {
    let mut volume = match Volume::open(path, identity) {
        Ok(volume) => volume,
        Err(error @ OpenError::Io(_)) => return Err(error.into()),
        Err(_) => {
            taken.refused += 1;
            return Ok(());
        }
    };
    if contents.is_none() {
        let envelope = volume.envelope(&Limits::default())?;
        let open = |envelope: &[u8]| Ok(envelope.to_vec());
        *contents = Some(Contents::open(&envelope, &identity.recipient(), &Limits::default(), &open)?);
    }
    let Some(contents) = contents else { return Ok(()) };
    let mut files: BTreeMap<ItemId, File> = BTreeMap::new();
    let mut failed = None;
    let damaged = volume.reading(contents)?.read_all(&mut |piece, bytes| {
        let id = contents.item(piece).id;
        let mut write = || -> io::Result<()> {
            let file = match files.entry(id) {
                std::collections::btree_map::Entry::Occupied(file) => file.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => place.insert(
                    OpenOptions::new()
                        .write(true)
                        .create(true)
                        .truncate(false)
                        .open(out.join(id.to_string()))?,
                ),
            };
            file.write_all_at(bytes, piece.offset)
        };
        taken.bytes += bytes.len() as u64;
        match write() {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    taken.damaged += damaged.iter().map(|damage| damage.range.end - damage.range.start).sum::<u64>();
    for file in files.values() {
        file.sync_all()?;
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [command, state, rest @ ..] = &arguments[..] else {
        return Err("see the first lines of this file".into());
    };
    let state = PathBuf::from(state);
    match (command.as_str(), rest) {
        ("plan", [volume_bytes, files @ ..]) => make_plan(&state, volume_bytes, files),
        ("write", [root, numbers @ ..]) => write(&state, Path::new(root), numbers),
        ("verify", [root, numbers @ ..]) => verify(&state, Path::new(root), numbers),
        ("read", [root, out]) => read(&state, Path::new(root), Path::new(out)),
        _ => Err("see the first lines of this file".into()),
    }
}
