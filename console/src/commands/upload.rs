//! A directory of this machine to the site server, one file after the other.
//!
//! The tree is walked twice: what is refused is found before the first byte is sent, and the total is known.

use std::{
    fs::{self, File},
    future, io,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
};

use bytes::Bytes;
use futures::Stream;
use indicatif::{ProgressBar, ProgressStyle};
use packhorse_proto::provider::v1::{
    EntryKind, UploadEntry, UploadSourceRequest, upload_source_request::Body,
};
use tokio::sync::mpsc;
use walkdir::WalkDir;

use crate::{connect::Session, error::ConsoleError};

/// What the service takes in one message.
const DATA_BYTES_MAX: usize = 256 * 1024;
/// Messages that are read ahead of the network.
const AHEAD: usize = 8;

#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("it is not a directory")]
    NotADirectory,
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the name {path:?} is not UTF-8")]
    Name { path: PathBuf },
    #[error("{path} is neither a file nor a directory nor a symbolic link: leave it out")]
    SpecialFile { path: String },
    #[error("the symbolic link {path} leads out of the directory, to {target}")]
    LinkOut { path: String, target: String },
    #[error("{path} changed its length while it was sent: upload when nothing writes to it")]
    LengthChanged { path: String },
}

/// One thing in the tree, checked.
struct Item {
    path: String,
    at: PathBuf,
    kind: Kind,
}

enum Kind {
    File { executable: bool, length: u64 },
    Directory,
    Symlink { target: String },
}

/// `None`: all was sent. A sender that goes away without it has failed, and the call must not end well.
pub(super) type Message<T> = Option<T>;

/// Sends a directory and gives the id under which the site server keeps it.
pub(crate) async fn upload(session: &Session, directory: PathBuf) -> Result<String, ConsoleError> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let bar = bar();
    let tree = directory.clone();
    let shown = bar.clone();
    let mut reader = tokio::task::spawn_blocking(move || send_tree(&tree, &sender, &shown));
    let mut packages = session.packages();
    let mut call = std::pin::pin!(packages.upload_source(requests(receiver)));

    let answer = tokio::select! {
        // It answers early only to refuse.
        answer = &mut call => answer,
        read = &mut reader => match read {
            Ok(Ok(())) => call.await,
            Ok(Err(source)) => {
                bar.finish_and_clear();
                return Err(ConsoleError::Upload { dir: directory, source });
            }
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        },
    };
    bar.finish_and_clear();
    Ok(answer?.into_inner().upload)
}

/// What a reader sends, as the requests of a call.
pub(super) fn requests<T>(receiver: mpsc::Receiver<Message<T>>) -> impl Stream<Item = T> {
    futures::stream::unfold(receiver, |mut receiver| async move {
        match receiver.recv().await {
            Some(Some(request)) => Some((request, receiver)),
            Some(None) => None,
            // The caller sees the failure and drops the call, so that the server learns that it was cut.
            None => future::pending().await,
        }
    })
}

/// Hidden by itself where standard error is no terminal.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("upload [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    ProgressBar::new(0).with_style(style.expect("the template is right").progress_chars("=> "))
}

fn send_tree(
    root: &Path,
    sender: &mpsc::Sender<Message<UploadSourceRequest>>,
    bar: &ProgressBar,
) -> Result<(), UploadError> {
    let mut total = 0;
    for item in items(root)? {
        if let Kind::File { length, .. } = item?.kind {
            total += length;
        }
    }
    bar.set_length(total);
    let mut send = |body| {
        if let Body::Data(data) = &body {
            bar.inc(data.len() as u64);
        }
        sender.blocking_send(Some(UploadSourceRequest { body: Some(body) })).is_ok()
    };
    for item in items(root)? {
        if !send_item(item?, &mut send)? {
            // The call has ended, and its answer says why.
            return Ok(());
        }
    }
    // If nobody takes it, the call has ended as well.
    let _ = sender.blocking_send(None);
    Ok(())
}

/// False: nobody takes it any more.
fn send_item(item: Item, send: &mut dyn FnMut(Body) -> bool) -> Result<bool, UploadError> {
    let entry = UploadEntry { path: item.path, ..UploadEntry::default() };
    match item.kind {
        Kind::Directory => Ok(send(Body::Entry(UploadEntry { kind: EntryKind::Directory.into(), ..entry }))),
        Kind::Symlink { target } => Ok(send(Body::Entry(UploadEntry {
            kind: EntryKind::Symlink.into(),
            link_target: target,
            ..entry
        }))),
        Kind::File { executable, length } => {
            let path = entry.path.clone();
            let header = UploadEntry { kind: EntryKind::File.into(), executable, length, ..entry };
            if !send(Body::Entry(header)) {
                return Ok(false);
            }
            send_file(&item.at, path, length, send)
        }
    }
}

fn send_file(
    at: &Path,
    path: String,
    length: u64,
    send: &mut dyn FnMut(Body) -> bool,
) -> Result<bool, UploadError> {
    let failed = |source| UploadError::Read { path: at.to_owned(), source };
    let mut file = File::open(at).map_err(failed)?;
    let mut left = length;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(DATA_BYTES_MAX).min(DATA_BYTES_MAX);
        let mut data = vec![0; wanted];
        match file.read_exact(&mut data) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(UploadError::LengthChanged { path });
            }
            Err(error) => return Err(failed(error)),
        }
        if !send(Body::Data(Bytes::from(data))) {
            return Ok(false);
        }
        left -= wanted as u64;
    }
    match file.read(&mut [0]).map_err(failed)? {
        0 => Ok(true),
        _ => Err(UploadError::LengthChanged { path }),
    }
}

/// Everything below `root`, a directory before what is in it, names in order.
fn items(root: &Path) -> Result<impl Iterator<Item = Result<Item, UploadError>> + use<'_>, UploadError> {
    let metadata =
        fs::metadata(root).map_err(|source| UploadError::Read { path: root.to_owned(), source })?;
    if !metadata.is_dir() {
        return Err(UploadError::NotADirectory);
    }
    let walk = WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter();
    Ok(walk.map(move |entry| check(root, entry)))
}

fn check(root: &Path, entry: walkdir::Result<walkdir::DirEntry>) -> Result<Item, UploadError> {
    let entry = entry.map_err(|error| UploadError::Read {
        path: error.path().unwrap_or(root).to_owned(),
        source: error.into(),
    })?;
    let at = entry.path().to_owned();
    let relative = at.strip_prefix(root).unwrap_or(&at);
    let path = relative.to_str().ok_or_else(|| UploadError::Name { path: relative.to_owned() })?.to_owned();
    let read_error = |source| UploadError::Read { path: at.clone(), source };
    let kind = entry.file_type();
    let kind = if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        let target = fs::read_link(&at).map_err(read_error)?;
        let text = target.to_str().ok_or_else(|| UploadError::Name { path: target.clone() })?.to_owned();
        if leads_out(relative, &target) {
            return Err(UploadError::LinkOut { path, target: text });
        }
        Kind::Symlink { target: text }
    } else if kind.is_file() {
        let metadata = fs::symlink_metadata(&at).map_err(read_error)?;
        Kind::File { executable: metadata.permissions().mode() & 0o111 != 0, length: metadata.len() }
    } else {
        return Err(UploadError::SpecialFile { path });
    };
    Ok(Item { path, at, kind })
}

/// Whether a link at `path` names something above the root at any step of the way.
fn leads_out(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    for component in target.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, os::unix::fs::symlink, os::unix::net::UnixListener};

    use tempfile::TempDir;

    use super::*;

    fn tree() -> TempDir {
        let tree = tempfile::tempdir().expect("a directory");
        fs::create_dir(tree.path().join("bin")).expect("made");
        fs::write(tree.path().join("bin/run.sh"), "#!/bin/sh\n").expect("written");
        fs::set_permissions(tree.path().join("bin/run.sh"), fs::Permissions::from_mode(0o755)).expect("set");
        fs::write(tree.path().join("big"), vec![7; DATA_BYTES_MAX + 5]).expect("written");
        fs::write(tree.path().join("empty"), "").expect("written");
        symlink("../big", tree.path().join("bin/link")).expect("linked");
        tree
    }

    /// What a directory sends, to its end or its error.
    fn sent(root: &Path) -> (Vec<Body>, Result<(), UploadError>) {
        let (sender, mut receiver) = mpsc::channel(AHEAD);
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || send_tree(root, &sender, &ProgressBar::hidden()));
            let mut bodies = Vec::new();
            while let Some(Some(request)) = receiver.blocking_recv() {
                bodies.push(request.body.expect("a body"));
            }
            (bodies, reader.join().expect("no panic"))
        })
    }

    fn refusal(root: &Path) -> UploadError {
        let (bodies, result) = sent(root);
        assert!(bodies.is_empty(), "nothing is sent of a tree that is refused");
        result.expect_err("refused")
    }

    #[test]
    fn a_tree_is_sent_in_order_with_headers_before_data() {
        let tree = tree();

        let (bodies, result) = sent(tree.path());

        result.expect("sent");
        let described: Vec<String> = bodies
            .iter()
            .map(|body| match body {
                Body::Entry(entry) => {
                    let kind = EntryKind::try_from(entry.kind).expect("a kind");
                    format!(
                        "{} {kind:?} {} {} {}",
                        entry.path, entry.executable, entry.length, entry.link_target
                    )
                }
                Body::Data(data) => format!("data {}", data.len()),
            })
            .collect();
        assert_eq!(
            described,
            [
                "big File false 262149 ",
                "data 262144",
                "data 5",
                "bin Directory false 0 ",
                "bin/link Symlink false 0 ../big",
                "bin/run.sh File true 10 ",
                "data 10",
                "empty File false 0 ",
            ]
        );
    }

    #[test]
    fn links_stay_inside() {
        for (path, target, out) in [
            ("link", "big", false),
            ("bin/link", "../big", false),
            ("bin/link", "./a/../../big", false),
            ("link", "../big", true),
            ("bin/link", "../../x/bin", true),
            ("link", "/etc/passwd", true),
            ("bin/link", "../bin/../../x", true),
        ] {
            assert_eq!(leads_out(Path::new(path), Path::new(target)), out, "{path} -> {target}");
        }

        let tree = tree();
        symlink("/etc/passwd", tree.path().join("out")).expect("linked");
        assert!(matches!(refusal(tree.path()), UploadError::LinkOut { path, .. } if path == "out"));
    }

    #[test]
    fn special_files_and_foreign_names_are_refused_by_name() {
        let with_socket = tree();
        let _socket = UnixListener::bind(with_socket.path().join("bin/socket")).expect("bound");
        assert!(
            matches!(refusal(with_socket.path()), UploadError::SpecialFile { path } if path == "bin/socket")
        );

        let with_name = tree();
        fs::write(with_name.path().join(OsStr::from_bytes(b"caf\xe9")), "").expect("written");
        assert!(refusal(with_name.path()).to_string().contains("caf\\xE9"));
    }

    #[test]
    fn only_a_directory_is_uploaded() {
        let tree = tree();

        assert!(matches!(refusal(&tree.path().join("big")), UploadError::NotADirectory));
        assert!(matches!(refusal(&tree.path().join("absent")), UploadError::Read { .. }));
    }

    #[test]
    fn a_file_that_changes_its_length_is_an_error() {
        let tree = tree();
        let at = tree.path().join("bin/run.sh");
        let sent_as = |length| send_file(&at, "bin/run.sh".to_owned(), length, &mut |_| true);

        assert!(matches!(sent_as(10), Ok(true)));
        assert!(matches!(sent_as(11), Err(UploadError::LengthChanged { .. })));
        assert!(matches!(sent_as(9), Err(UploadError::LengthChanged { .. })));
    }

    #[test]
    fn a_call_that_has_ended_stops_the_reading() {
        let tree = tree();
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);

        assert!(send_tree(tree.path(), &sender, &ProgressBar::hidden()).is_ok());
    }

    #[tokio::test]
    async fn a_reader_that_fails_does_not_end_the_stream_as_if_all_was_sent() {
        use futures::{FutureExt as _, StreamExt as _};

        let (sender, receiver) = mpsc::channel(AHEAD);
        let mut stream = std::pin::pin!(requests(receiver));
        sender.send(Some(UploadSourceRequest { body: None })).await.expect("taken");
        drop(sender);

        assert!(stream.next().await.is_some());
        assert!(stream.next().now_or_never().is_none(), "it must neither go on nor end");
    }
}
