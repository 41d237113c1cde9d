//! Writing that does not end well, and what it leaves.

use std::{
    fs, io,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    sync::Arc,
};

use packhorse_content::Outliner;
use packhorse_domain::Timestamp;

use super::*;
use crate::{Destination, Draft, Identity, Item, ParcelId};

fn at(root: &Path) -> Medium {
    Medium::at(root).unwrap()
}

/// One item of 3 MB, from a source that can be made to fail.
struct Lump {
    bytes: Vec<u8>,
    kind: Option<io::ErrorKind>,
}

impl Source for Lump {
    fn read_exact_at(&self, _: &ItemId, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self.kind {
            Some(kind) if offset > 1_000_000 => Err(kind.into()),
            _ => {
                let from = offset as usize;
                let piece = self.bytes.get(from..from + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
                buffer.copy_from_slice(piece);
                Ok(())
            }
        }
    }
}

/// Where a sync costs nothing, if there is such a place.
fn memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn lump() -> Lump {
    Lump {
        bytes: (0..3_000_000_u32)
            .flat_map(|nth| nth.wrapping_mul(nth).to_le_bytes())
            .take(3_000_000)
            .collect(),
        kind: None,
    }
}

fn plan(lump: &Lump) -> Plan {
    let mut outliner = Outliner::new();
    outliner.update(&lump.bytes);
    let (digest, outline) = outliner.finish();
    let (length, head) = (lump.bytes.len() as u64, Vec::new());
    let item = Item { id: ItemId::of(&digest), length, digest, outline, head, to: Arc::from([0]) };
    let recipient = Identity::generate().recipient();
    let draft = Draft {
        id: ParcelId::random(),
        sender: "CEN".parse().unwrap(),
        created: Timestamp(0),
        destinations: vec![Destination { site: "PAR".parse().unwrap(), recipient }],
        items: vec![item],
        volume_bytes: None,
    };
    Plan::make(draft, lump, &|list| Ok(list.to_vec())).unwrap()
}

fn carry_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// What lies in the parcel's directory.
fn names(plan: &Plan, root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join(plan.list.info().id.directory())).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_item_that_changed_ends_it_and_nothing_is_left() {
    let root = memory();
    let good = lump();
    let mut plan = plan(&good);
    let mut changed = lump();
    changed.bytes[2_500_000] ^= 1;
    let error = plan.write(1, &changed, &at(root.path()), &mut carry_on).unwrap_err();
    assert!(matches!(error, WriteError::Changed { offset: 2_097_152, .. }), "{error:?}");
    changed.bytes.truncate(2_500_000);
    let error = plan.write(1, &changed, &at(root.path()), &mut carry_on).unwrap_err();
    assert!(matches!(error, WriteError::Short { .. }), "{error:?}");
    let failing = Lump { kind: Some(io::ErrorKind::PermissionDenied), ..lump() };
    let error = plan.write(1, &failing, &at(root.path()), &mut carry_on).unwrap_err();
    assert!(matches!(error, WriteError::Source { .. }), "{error:?}");
    assert!(matches!(
        plan.write(2, &good, &at(root.path()), &mut carry_on),
        Err(WriteError::NoSuchVolume { number: 2, count: 1 })
    ));

    assert!(names(&plan, root.path()).is_empty());
    assert_eq!(plan.written(), [None]);
    plan.write(1, &good, &at(root.path()), &mut carry_on).unwrap();
    assert_eq!(names(&plan, root.path()), ["001.PHV", "README.TXT"]);
}

#[test]
fn progress_grows_to_the_end_and_may_cancel_anywhere() {
    let root = memory();
    let lump = lump();
    let mut plan = plan(&lump);
    let mut seen = Vec::new();
    plan.write(1, &lump, &at(root.path()), &mut |progress| {
        seen.push(progress);
        ControlFlow::Continue(())
    })
    .unwrap();
    let length = plan.written()[0].unwrap().length;
    assert!(seen.windows(2).all(|pair| pair[0].done <= pair[1].done));
    assert_eq!(seen.last(), Some(&Progress { done: 2 * length, total: 2 * length }));
    assert!(seen.iter().all(|progress| progress.total == 2 * length));

    for calls in 0..seen.len() {
        let root = memory();
        plan.forget(1);
        let mut left = calls;
        let written = plan.write(1, &lump, &at(root.path()), &mut |_| match left.checked_sub(1) {
            Some(fewer) => {
                left = fewer;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        });
        assert!(matches!(written, Err(WriteError::Cancelled)), "{calls}");
        assert!(names(&plan, root.path()).is_empty(), "{calls}");
    }
}

#[test]
fn what_a_run_left_is_replaced_and_what_it_finished_is_taken_over() {
    let root = memory();
    let lump = lump();
    let mut plan = plan(&lump);
    let directory = root.path().join(plan.list.info().id.directory());
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("001.TMP"), vec![1; 9_000_000]).unwrap();
    let written = plan.write(1, &lump, &at(root.path()), &mut carry_on).unwrap();
    assert_eq!(names(&plan, root.path()), ["001.PHV", "README.TXT"]);
    // Killed before the record was kept.
    plan.forget(1);
    let stamp = fs::metadata(directory.join("001.PHV")).unwrap().modified().unwrap();
    assert_eq!(plan.write(1, &lump, &at(root.path()), &mut carry_on).unwrap(), written);
    assert_eq!(
        fs::metadata(directory.join("001.PHV")).unwrap().modified().unwrap(),
        stamp,
        "it is not written again"
    );

    let path = directory.join("001.PHV");
    written.verify(&path, &mut carry_on).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"other", 1_000_000).unwrap();
    file.sync_all().unwrap();
    assert!(matches!(written.verify(&path, &mut carry_on), Err(WriteError::Misread { .. })));
    let in_the_way = |error| matches!(error, Err(WriteError::Medium(MediumError::InTheWay { .. })));
    assert!(in_the_way(plan.write(1, &lump, &at(root.path()), &mut carry_on)), "it is damaged");
    fs::write(&path, "something else").unwrap();
    assert!(in_the_way(plan.write(1, &lump, &at(root.path()), &mut carry_on)));
    assert_eq!(fs::read(&path).unwrap(), b"something else");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    assert!(in_the_way(plan.write(1, &lump, &at(root.path()), &mut carry_on)));
}

#[test]
fn a_medium_that_gives_back_something_else_is_bad() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("001.TMP");
    for length in [0, 31, 32, 4095, 4096, 9_000_000] {
        let bytes: Vec<u8> = (0..length).map(|nth| (nth % 251) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        let written = Written { length: length as u64, digest: Digest(*blake3::hash(&bytes).as_bytes()) };
        whole::read_back(&path, &written, &mut carry_on).unwrap();
        let other = Written { digest: Digest([0; 32]), ..written };
        assert!(matches!(whole::read_back(&path, &other, &mut carry_on), Err(WriteError::Misread { .. })));
        let longer = Written { length: written.length + 1, ..written };
        assert!(matches!(whole::read_back(&path, &longer, &mut carry_on), Err(WriteError::Misread { .. })));

        assert_eq!(whole::digest(&path, &mut carry_on).unwrap(), None, "it has no checksum");
        let sealed = [bytes.as_slice(), blake3::hash(&bytes).as_bytes()].concat();
        fs::write(&path, &sealed).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        let digest = Digest(*blake3::hash(&sealed).as_bytes());
        let expected = Written { length: sealed.len() as u64, digest };
        assert_eq!(whole::digest(&path, &mut carry_on).unwrap(), Some(expected), "{length}");
    }
}

#[test]
fn a_medium_that_is_gone_or_full_is_told() {
    let root = memory();
    let lump = lump();
    let mut plan = plan(&lump);
    assert!(matches!(Medium::at(&root.path().join("gone")), Err(MediumError::Io { .. })));
    let error = medium::check_room(&root.path().join("file"), u64::MAX).unwrap_err();
    assert!(matches!(error, MediumError::Full { needed: u64::MAX, free: 1.., .. }), "{error:?}");
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o500)).unwrap();
    // Whoever runs as root may write there all the same.
    if let Err(error) = plan.write(1, &lump, &at(root.path()), &mut carry_on) {
        assert!(matches!(error, WriteError::Medium(MediumError::ReadOnly { .. })), "{error:?}");
    }
}

/// Once it is unmounted, its path names a directory of the machine's own disk.
#[test]
fn what_lies_elsewhere_after_the_medium_was_removed_does_not_count() {
    let root = memory();
    let (mounted, beside) = (root.path().join("mounted"), root.path().join("beside"));
    let own = |root: &Path, plan: &Plan| root.join(plan.list().info().id.directory()).join("001.PHV");
    let lump = lump();
    for early in [true, false] {
        fs::create_dir(&mounted).unwrap();
        let medium = at(&mounted);
        let mut plan = plan(&lump);
        let remove = || {
            fs::rename(&mounted, &beside).unwrap();
            fs::create_dir(&mounted).unwrap();
        };
        if early {
            remove();
        }
        let mut is_removed = early;
        let written = plan.write(1, &lump, &medium, &mut |progress| {
            // While the first half is written.
            if !is_removed && progress.done > progress.total / 4 {
                remove();
                is_removed = true;
            }
            ControlFlow::Continue(())
        });
        assert!(matches!(written, Err(WriteError::Medium(MediumError::Removed { .. }))), "{written:?}");
        assert!(!own(&mounted, &plan).exists());
        assert_eq!(plan.unwritten().count(), usize::from(plan.list().volumes()));
        fs::remove_dir_all(&beside).unwrap();
        fs::remove_dir_all(&mounted).unwrap();
    }
}
