//! Where a site server keeps what, below its one directory.

use std::path::{Path, PathBuf};

use packhorse_domain::{Digest, id::PackageId, link::ItemId};

#[derive(Debug, Clone)]
pub(crate) struct Directories {
    root: PathBuf,
}

impl Directories {
    pub(crate) fn new(root: &Path) -> Self {
        Directories { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Written last when a site is made: where it is, the site is whole.
    pub(crate) fn config(&self) -> PathBuf {
        self.root.join("site.toml")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("site.db")
    }

    /// Director, author and, at the central site until it is taken away, root.
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.root.join("keys").join(format!("{name}.pem"))
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// What opens the parcels for this site.
    pub(crate) fn courier_key(&self) -> PathBuf {
        self.root.join("keys/courier.key")
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.root.join("authority")
    }

    /// What this site shows to those who call it.
    pub(crate) fn credentials(&self) -> PathBuf {
        self.root.join("credentials/own")
    }

    /// What this site shows to its parent.
    pub(crate) fn parent_credentials(&self) -> PathBuf {
        self.root.join("credentials/parent")
    }

    /// What the console of this site's first administrator uses.
    pub(crate) fn admin(&self) -> PathBuf {
        self.root.join("admin")
    }

    pub(crate) fn library(&self) -> PathBuf {
        self.root.join("library")
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// What the files of source directories looked like when they were last read.
    pub(crate) fn sources(&self) -> PathBuf {
        self.root.join("sources")
    }

    /// The record of one source directory.
    pub(crate) fn source_record(&self, source: &Path) -> PathBuf {
        self.sources().join(blake3::hash(source.as_os_str().as_encoded_bytes()).to_hex().as_str())
    }

    /// What the files in directories that are distribution points looked like when they were last compared.
    pub(crate) fn points(&self) -> PathBuf {
        self.root.join("points")
    }

    /// The record of one package in one directory.
    pub(crate) fn point_record(&self, location: &str, package: &PackageId) -> PathBuf {
        let place = format!("{location}\0{package}");
        self.points().join(blake3::hash(place.as_bytes()).to_hex().as_str())
    }

    pub(crate) fn outgoing(&self) -> PathBuf {
        self.root.join("spool/outgoing")
    }

    pub(crate) fn incoming(&self) -> PathBuf {
        self.root.join("spool/incoming")
    }

    pub(crate) fn bundle(&self, digest: &Digest) -> PathBuf {
        self.outgoing().join(format!("{digest}.bundle"))
    }

    /// The hashes of a bundle's parts.
    pub(crate) fn outline(&self, digest: &Digest) -> PathBuf {
        self.outgoing().join(format!("{digest}.outline"))
    }

    pub(crate) fn arrival_outline(&self, item: &ItemId) -> PathBuf {
        self.incoming().join(format!("{item}.outline"))
    }

    /// Which parts of an arrival are there, if not all before its end.
    pub(crate) fn arrival_ranges(&self, item: &ItemId) -> PathBuf {
        self.incoming().join(format!("{item}.ranges"))
    }

    pub(crate) fn arrival(&self, item: &ItemId) -> PathBuf {
        self.incoming().join(format!("{item}.part"))
    }

    /// What a parcel that was laid out is made of, but for bundles.
    pub(crate) fn parcels_out(&self) -> PathBuf {
        self.root.join("courier/outgoing")
    }

    /// What came of parcels and is not whole, but for bundles.
    pub(crate) fn parcels_in(&self) -> PathBuf {
        self.root.join("courier/incoming")
    }

    /// Programs that rules may run for messages; only this machine's operator fills it.
    pub(crate) fn event_programs(&self) -> PathBuf {
        self.root.join("event-programs")
    }

    /// Those that must be there before a server runs.
    pub(crate) fn working(&self) -> [PathBuf; 8] {
        [
            self.event_programs(),
            self.uploads(),
            self.sources(),
            self.points(),
            self.outgoing(),
            self.incoming(),
            self.parcels_out(),
            self.parcels_in(),
        ]
    }
}
