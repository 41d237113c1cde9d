//! Looking after real libraries of real sites: rot on the disk, chunks over TLS, content from a disk.

mod asking;
mod prestaging;
mod verifying;

use std::{fs, os::unix::fs::FileExt as _, path::Path};

use packhorse_domain::{Digest, id::PackageId, object::ObjectKind, package::PackageState};

use crate::{
    record,
    sender::tests::Line,
    testing::{Node, until},
};

/// Turns a byte of the first pack over.
fn rot(node: &Node, offset: u64) {
    let pack = node.site.directories.library().join("packs/0000000000000001.pack");
    let file = fs::File::options().read(true).write(true).open(pack).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[!byte[0]], offset).unwrap();
}

async fn manifest_of(node: &Node, package: &PackageId) -> Digest {
    let mut tx = node.site.store.read().await.unwrap();
    record::package(&mut tx, package.as_str()).await.unwrap().unwrap().version.manifest.unwrap()
}

async fn is_installed(central: &Node, package: &PackageId, at: &Node) {
    until("it is installed", || async {
        let status = central.status(package, at.code()).await;
        status.is_some_and(|status| status.state == PackageState::Installed)
    })
    .await;
}

fn is_sound(node: &Node, manifest: &Digest) -> bool {
    node.site.library.has_manifest(manifest) && node.site.library.verify(manifest).unwrap().is_empty()
}

/// A parent and a child with a package that both hold, whose file at the child's own point was altered.
async fn parent_and_child(content: &[u8]) -> (Node, Node, Line, PackageId) {
    let central = Node::central(packhorse_runtime::SystemClock::shared()).await;
    let child = central.child("PAR", packhorse_runtime::SystemClock::shared()).await;
    child.hall().await;
    central.start();
    child.start();
    let line = Line::new(&central, &child);
    until("the point is known above", || async {
        central.object(ObjectKind::DistributionPoint, "PAR/hall").await.is_some()
    })
    .await;
    let package = central.package(content).await;
    central.send(&package, child.code()).await;
    is_installed(&central, &package, &child).await;
    let file = child.path("hall").join(package.as_str()).join("setup.sh");
    until("it is on the point", || async { file.exists() }).await;
    (central, child, line, package)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
