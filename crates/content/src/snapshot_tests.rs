//! Tests of snapshots: every kind of source, and every reason to refuse one.

use std::{
    cell::RefCell,
    fs::{self, File},
    io::Write,
    ops::ControlFlow,
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    path::Path,
};

use super::{SnapshotError, SnapshotOptions, snapshot, snapshot_with};
use crate::{
    CaseClashes, EntryKind, Library, Progress,
    testing::{carry_on, library, noise, source, take},
    wire::digest_of,
};

/// Takes a source that must be refused; nothing of it may show.
fn refused(source: &Path) -> SnapshotError {
    let (_dir, library) = library();
    let error = snapshot(source, &library, &carry_on).unwrap_err();
    assert!(library.manifests().unwrap().is_empty());
    assert!(!error.to_string().contains('\n'));
    error
}

#[test]
fn a_source_is_taken_as_it_is() {
    let (_dir, library) = library();
    let source = source(1);
    let taken = take(source.path(), &library);

    let paths: Vec<&str> = taken.manifest.entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["bin", "bin.txt", "bin/data", "bin/empty", "bin/run", "large", "nothing", "start"]);
    assert_eq!(library.manifest(&taken.digest).unwrap().as_ref(), Some(&taken.manifest));
    assert!(library.verify(&taken.digest).unwrap().is_empty());
    for entry in &taken.manifest.entries {
        let EntryKind::File { executable, length, digest, chunks } = &entry.kind else { continue };
        let bytes = fs::read(source.path().join(&entry.path)).unwrap();
        assert_eq!((*length, *digest), (bytes.len() as u64, digest_of(&bytes)));
        assert_eq!(*executable, entry.path == "bin/run");
        let read: Vec<u8> =
            chunks.iter().flat_map(|chunk| library.chunk(&chunk.digest).unwrap().unwrap()).collect();
        assert_eq!(read, bytes);
    }
}

#[test]
fn the_same_source_gives_the_same_manifest_and_takes_no_more_room() {
    let (_dir, library) = library();
    let first = take(source(1).path(), &library);
    let before = library.disk_bytes();
    assert_eq!(take(source(1).path(), &library), first);
    assert_eq!(library.disk_bytes(), before);
}

/// The cut points decide what versions share: they may not move from one release to the next.
#[test]
fn cut_points_do_not_change() {
    let (_dir, library) = library();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), noise(1, 500_000)).unwrap();
    let taken = take(dir.path(), &library);
    let lengths: Vec<u32> = taken.manifest.chunks().map(|chunk| chunk.length).collect();
    assert_eq!(lengths, [76_660, 159_933, 188_476, 66_903, 8_028]);
}

#[test]
fn an_insertion_changes_the_chunks_around_it_only() {
    let (_dir, library) = library();
    let source = source(1);
    let before = take(source.path(), &library);
    let mut large = noise(1, 700_000);
    large.insert(350_000, 7);
    fs::write(source.path().join("large"), large).unwrap();
    let after = take(source.path(), &library);
    let known: Vec<_> = before.manifest.chunks().collect();
    assert!(after.manifest.chunks().filter(|chunk| !known.contains(chunk)).count() <= 2);
}

#[test]
fn a_source_that_is_missing_empty_or_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(refused(&dir.path().join("no")), SnapshotError::SourceMissing { .. }));
    assert!(matches!(refused(dir.path()), SnapshotError::SourceEmpty { .. }));
    fs::write(dir.path().join("file"), b"x").unwrap();
    assert!(matches!(refused(&dir.path().join("file")), SnapshotError::SourceNotADirectory { .. }));
    assert!(matches!(refused(&dir.path().join("file/below")), SnapshotError::SourceMissing { .. }));
}

#[test]
fn links_out_of_the_source_are_refused() {
    for target in ["/etc/passwd", "../../outside", "d/../../outside"] {
        let dir = source(1);
        symlink(target, dir.path().join("bin/leak")).unwrap();
        let error = refused(dir.path());
        let SnapshotError::LinkLeaves { path, target: told } = &error else { panic!("{error}") };
        assert_eq!(
            (path.as_path(), told.as_path()),
            (dir.path().join("bin/leak").as_path(), Path::new(target))
        );
    }
}

#[test]
fn names_that_differ_only_in_case_are_refused_or_kept() {
    let keep = |source: &Path| {
        let options = SnapshotOptions { case_clashes: CaseClashes::Keep, ..SnapshotOptions::default() };
        let (_dir, library) = library();
        let taken = snapshot_with(source, &library, options, &carry_on).unwrap();
        assert_eq!(library.manifest(&taken.digest).unwrap().as_ref(), Some(&taken.manifest));
        taken
    };
    let cases: [(&str, &str, &[&str]); 3] = [
        ("xt_HL.ko", "xt_hl.ko", &["xt_HL.ko", "xt_hl.ko"]),
        ("Data", "data", &["Data/x", "data/y"]),
        ("bin/RUN", "bin/run", &["bin/RUN"]),
    ];
    for (one, other, files) in cases {
        let dir = source(1);
        for file in files {
            fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
            fs::write(dir.path().join(file), file).unwrap();
        }

        let error = refused(dir.path());
        let text = error.to_string();
        assert!(
            text.contains("rename one of them") && text.contains("content.case_clashes = \"keep\""),
            "{text}"
        );
        let SnapshotError::CaseClash { path, other: told } = error else { panic!("{text}") };
        assert_eq!((path, told), (dir.path().join(one), dir.path().join(other)));
        assert!(keep(dir.path()).manifest.case_sensitive);
    }
    // A link is a name too.
    let dir = source(1);
    symlink("bin/run", dir.path().join("START")).unwrap();
    assert!(matches!(refused(dir.path()), SnapshotError::CaseClash { .. }));

    // To keep them changes nothing where there are none.
    let (_dir, library) = library();
    assert_eq!(keep(source(1).path()), take(source(1).path(), &library));
}

#[test]
fn pipes_sockets_and_odd_names_are_refused_by_name() {
    let dir = source(1);
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    assert!(refused(dir.path()).to_string().contains("pipe\" is a named pipe"));
    fs::remove_file(pipe).unwrap();
    let socket = UnixListener::bind(dir.path().join("socket")).unwrap();
    assert!(refused(dir.path()).to_string().contains("socket\" is a socket"));
    drop(socket);
    fs::remove_file(dir.path().join("socket")).unwrap();
    fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"bad\xff")), b"").unwrap();
    assert!(matches!(refused(dir.path()), SnapshotError::Name { .. }));
}

#[test]
fn a_file_that_changes_meanwhile_is_refused() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 6] = [
        ("grows", |file| {
            let mut file = File::options().append(true).open(file).unwrap();
            file.write_all(b"more").unwrap();
        }),
        ("shrinks", |file| File::options().write(true).open(file).unwrap().set_len(500_000).unwrap()),
        ("is written in place", |file| {
            let file = File::options().write(true).open(file).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"x", 690_000).unwrap();
        }),
        ("is replaced", |file| {
            fs::write(file.with_extension("new"), noise(1, 700_000)).unwrap();
            fs::rename(file.with_extension("new"), file).unwrap();
        }),
        ("gets company", |file| fs::write(file.with_extension("new"), b"").unwrap()),
        ("becomes a link", |file| {
            fs::remove_file(file).unwrap();
            symlink("/etc/passwd", file).unwrap();
        }),
    ];
    for (what, change) in changes {
        let dir = source(1);
        let file = dir.path().join("large");
        let (_library_dir, library) = library();
        let done = RefCell::new(false);
        let error = snapshot(dir.path(), &library, &|progress: Progress| {
            // After the walk, and in the middle of the large file where it is that far.
            let middle = progress.bytes_done > 200_000 || what == "is replaced" || what == "becomes a link";
            if middle && !done.replace(true) {
                change(&file);
            }
            if !middle { carry_on(progress) } else { ControlFlow::Continue(()) }
        })
        .unwrap_err();
        let fits = matches!(error, SnapshotError::Changed { .. })
            || what == "becomes a link" && matches!(error, SnapshotError::Unreadable { .. });
        assert!(fits, "{what}: {error}");
        assert!(library.manifests().unwrap().is_empty(), "{what}");
    }
}

#[test]
fn all_files_that_cannot_be_read_are_named() {
    let dir = source(1);
    for number in 0..30 {
        fs::write(dir.path().join(format!("secret{number:02}")), b"x").unwrap();
    }
    let (_library_dir, library) = library();
    // A user who may read everything still cannot read what vanishes after the walk.
    let error = snapshot(dir.path(), &library, &|_| {
        for number in 0..30 {
            let _ = fs::remove_file(dir.path().join(format!("secret{number:02}")));
        }
        ControlFlow::Continue(())
    })
    .unwrap_err();
    let text = error.to_string();
    let SnapshotError::Unreadable { path, others, .. } = error else { panic!("{text}") };
    assert_eq!(path, dir.path().join("secret00"));
    assert_eq!((others.named.len(), others.more), (19, 10));
    assert!(text.contains("secret19\" and 10 more: give the site server"), "{text}");
    assert!(!text.contains('\n'));
    assert!(library.manifests().unwrap().is_empty());
}

#[test]
fn progress_counts_up_and_cancels() {
    let (_dir, library) = library();
    let source = source(1);
    let reports = RefCell::new(Vec::new());
    snapshot(source.path(), &library, &|progress| {
        reports.borrow_mut().push(progress);
        ControlFlow::Continue(())
    })
    .unwrap();
    let reports = reports.into_inner();
    let last = *reports.last().unwrap();
    assert_eq!((last.files_done, last.bytes_done), (last.files_total, last.bytes_total));
    assert_eq!(last.files_total, 4);
    assert!(reports.is_sorted_by_key(|progress| (progress.files_done, progress.bytes_done)));
    assert!(reports.len() > 8);

    let (_dir, other): (_, Library) = crate::testing::library();
    let cancelled = snapshot(source.path(), &other, &|progress| match progress.bytes_done {
        0..100_000 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    });
    assert!(matches!(cancelled, Err(SnapshotError::Cancelled)));
    assert!(other.manifests().unwrap().is_empty());
}

#[test]
fn thousands_of_small_files_share_few_blocks_and_one_pack() {
    let (dir, library) = library();
    let source = tempfile::tempdir().unwrap();
    for number in 0..3000 {
        fs::write(source.path().join(format!("{number:05}")), format!("file number {number}")).unwrap();
    }
    let taken = take(source.path(), &library);
    assert_eq!(taken.manifest.chunks().count(), 3000);
    assert!(library.verify(&taken.digest).unwrap().is_empty());
    assert_eq!(fs::read_dir(dir.path().join("packs")).unwrap().count(), 2);
}
