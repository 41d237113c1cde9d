//! Source files from the console's machine, into a directory of their own until a package is made of them.

use std::{
    collections::HashSet,
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use packhorse_content::Limits;
use packhorse_domain::care::Reserve;
use packhorse_proto::provider::v1::{
    EntryKind, UploadEntry, UploadSourceRequest, upload_source_request::Body,
};
use rustix::fs::OFlags;
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use crate::{care::room, distribution::intake::Upload, error::Error, site::Site};

const DATA_LENGTH_MAX: usize = 256 * 1024;
const PATH_LENGTH_MAX: usize = 4096;
const NAME_LENGTH_MAX: usize = 255;
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Messages that wait for the disk.
const AHEAD: usize = 8;
/// The room on the disk is looked at again after so many bytes.
const LOOK_EVERY: u64 = 64 * 1024 * 1024;

/// Takes a stream of entries and data, and gives the upload's id. Whatever cuts or spoils it leaves nothing.
pub(super) async fn receive<S>(site: &Site, stream: S) -> Result<String, Status>
where
    S: Stream<Item = Result<UploadSourceRequest, Status>>,
{
    let (uploads, reserve) = (site.directories.uploads(), site.settings.content.reserve);
    let (sender, receiver) = mpsc::channel(AHEAD);
    let writer = tokio::task::spawn_blocking(move || write_all(&uploads, reserve, receiver));
    let ended = hand_over(stream, &sender).await;
    drop(sender);
    let written = writer.await.map_err(Error::from)?;
    // A stream that broke is the cause of what the writer says then.
    ended?;
    Ok(written?)
}

/// What the writer is told: a message, or that there are no more of them. A channel that closes without the latter
/// was cut.
enum Next {
    Message(Body),
    End,
}

async fn hand_over<S>(stream: S, sender: &mpsc::Sender<Next>) -> Result<(), Status>
where
    S: Stream<Item = Result<UploadSourceRequest, Status>>,
{
    let mut stream = std::pin::pin!(stream);
    loop {
        let message = tokio::time::timeout(SILENCE_MAX, stream.next())
            .await
            .map_err(|_| Status::unavailable("nothing came for 120 s: upload again"))?
            .transpose()?;
        let (next, last) = match message {
            Some(UploadSourceRequest { body: Some(body) }) => (Next::Message(body), false),
            Some(UploadSourceRequest { body: None }) => {
                return Err(Status::invalid_argument("a message has neither an entry nor data"));
            }
            None => (Next::End, true),
        };
        // A writer that has gone away says why by itself.
        if sender.send(next).await.is_err() || last {
            return Ok(());
        }
    }
}

fn write_all(uploads: &Path, reserve: Reserve, mut receiver: mpsc::Receiver<Next>) -> Result<String, Error> {
    let upload = Upload::new(uploads)?;
    let mut tree = Tree::new(upload.path(), reserve);
    loop {
        match receiver.blocking_recv() {
            Some(Next::Message(Body::Entry(entry))) => tree.entry(&entry)?,
            Some(Next::Message(Body::Data(data))) => tree.data(&data)?,
            Some(Next::End) => break,
            None => return Err(Error::Interrupted),
        }
    }
    tree.end()?;
    upload.finish(uploads)
}

/// The files as they come in. Everything is made anew and below a directory that this made itself, so that no link is
/// ever followed.
struct Tree {
    root: PathBuf,
    reserve: Reserve,
    limits: Limits,
    directories: HashSet<String>,
    entries: u32,
    paths_length: u64,
    content_length: u64,
    unchecked: u64,
    open: Option<Open>,
}

/// The file whose data is coming.
struct Open {
    path: String,
    file: File,
    left: u64,
}

fn refused(path: &str, reason: &str) -> Error {
    let path: String = path.chars().take(200).collect();
    Error::Invalid(format!("{path:?} cannot be uploaded: {reason}"))
}

impl Tree {
    fn new(root: &Path, reserve: Reserve) -> Self {
        Tree {
            root: root.to_owned(),
            reserve,
            limits: Limits::default(),
            directories: HashSet::new(),
            entries: 0,
            paths_length: 0,
            content_length: 0,
            unchecked: 0,
            open: None,
        }
    }

    fn entry(&mut self, entry: &UploadEntry) -> Result<(), Error> {
        self.end_file()?;
        let path = entry.path.as_str();
        check_path(path)?;
        self.entries += 1;
        self.paths_length += (path.len() + entry.link_target.len()) as u64;
        self.content_length = self.content_length.saturating_add(entry.length);
        if self.entries > self.limits.entries_max
            || self.paths_length > self.limits.manifest_length_max
            || self.content_length > self.limits.content_length_max
        {
            return Err(refused(path, "the source is larger than a package may be; split the package"));
        }
        let kind = EntryKind::try_from(entry.kind).unwrap_or(EntryKind::Unspecified);
        if kind != EntryKind::File && entry.length > 0 {
            return Err(refused(path, "only a file has a length"));
        }
        if let Some((parent, _)) = path.rsplit_once('/')
            && !self.directories.contains(parent)
        {
            return Err(refused(path, "the directory that it is in did not come before it"));
        }
        match kind {
            EntryKind::File => self.begin_file(entry),
            EntryKind::Directory => {
                let made = DirBuilder::new().mode(0o700).create(self.root.join(path));
                made.map_err(|source| failed(path, source))?;
                self.directories.insert(path.to_owned());
                Ok(())
            }
            EntryKind::Symlink => {
                check_link(path, &entry.link_target)?;
                symlink(&entry.link_target, self.root.join(path)).map_err(|source| failed(path, source))
            }
            EntryKind::Unspecified => {
                Err(refused(path, "it is neither a file nor a directory nor a symbolic link"))
            }
        }
    }

    fn begin_file(&mut self, entry: &UploadEntry) -> Result<(), Error> {
        room::check(self.reserve, &self.root, entry.length)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(if entry.executable { 0o700 } else { 0o600 })
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(self.root.join(&entry.path))
            .map_err(|source| failed(&entry.path, source))?;
        self.open = Some(Open { path: entry.path.clone(), file, left: entry.length });
        Ok(())
    }

    fn data(&mut self, data: &[u8]) -> Result<(), Error> {
        let length = data.len() as u64;
        let Some(open) = &mut self.open else {
            return Err(Error::Invalid(
                "data came that belongs to no file: send the file's entry first".to_owned(),
            ));
        };
        if data.is_empty() || data.len() > DATA_LENGTH_MAX {
            return Err(refused(&open.path, "a message has 1 byte to 256 KiB of data"));
        }
        open.left = open.left.checked_sub(length).ok_or_else(|| refused(&open.path, LENGTH))?;
        open.file.write_all(data).map_err(|source| failed(&open.path, source))?;
        self.unchecked += length;
        // Others write to the disk too.
        if self.unchecked >= LOOK_EVERY {
            self.unchecked = 0;
            room::check(self.reserve, &self.root, open.left)?;
        }
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), Error> {
        match self.open.take() {
            Some(open) if open.left > 0 => Err(refused(&open.path, LENGTH)),
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), Error> {
        self.end_file()?;
        if self.entries == 0 {
            return Err(Error::Invalid(
                "the uploaded directory is empty: put the package's files there first".to_owned(),
            ));
        }
        Ok(())
    }
}

const LENGTH: &str = "it has another length than was said; upload when nothing writes to it";

fn failed(path: &str, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::AlreadyExists => refused(path, "it comes twice"),
        io::ErrorKind::InvalidFilename => refused(path, "its name is too long; shorten it"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => no_room(),
        _ => Error::File { what: format!("write the uploaded file {path:?}"), source },
    }
}

fn no_room() -> Error {
    Error::Precondition(
        "the site server's disk is too full for this upload; make room there, or give a directory that the server can \
         read instead"
            .to_owned(),
    )
}

fn check_path(path: &str) -> Result<(), Error> {
    let plain = |name: &str| {
        !matches!(name, "" | "." | "..") && name.len() <= NAME_LENGTH_MAX && !name.contains('\0')
    };
    if path.len() <= PATH_LENGTH_MAX && path.split('/').all(plain) {
        return Ok(());
    }
    Err(refused(path, "a path is relative, of plain names of at most 255 bytes, and at most 4096 bytes long"))
}

/// A link that names something outside at any step of its way is refused here; what it leads to through other links is
/// checked when the source is taken in.
fn check_link(path: &str, target: &str) -> Result<(), Error> {
    let outside =
        || refused(path, "the link leads out of the source; make it a relative link to a file inside");
    if target.is_empty()
        || target.len() >= PATH_LENGTH_MAX
        || target.contains('\0')
        || target.starts_with('/')
    {
        return Err(outside());
    }
    let mut depth = path.matches('/').count();
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => depth = depth.checked_sub(1).ok_or_else(outside)?,
            _ => depth += 1,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_are_taken() {
        for path in ["a", "a/b c/ü", "dev-disk-by\\x2dlabel", "..."] {
            assert!(check_path(path).is_ok(), "{path}");
        }
        let long = "a".repeat(256);
        for path in ["", "/a", "a//b", "a/", ".", "..", "a/../b", "a/./b", "a\0b", long.as_str()] {
            assert!(check_path(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_link_stays_inside() {
        for (path, target) in [("l", "a"), ("x/l", "../a"), ("x/l", "./y/../../a")] {
            assert!(check_link(path, target).is_ok(), "{path} -> {target}");
        }
        for (path, target) in
            [("l", ".."), ("l", "/etc/passwd"), ("x/l", "../../a"), ("x/l", "../y/../../x"), ("l", "")]
        {
            assert!(check_link(path, target).is_err(), "{path} -> {target}");
        }
    }
}
