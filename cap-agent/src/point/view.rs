//! What a distribution point should hold and what it holds, at one instant. Reads the disk; decides nothing.

use std::collections::{BTreeSet, HashSet};

use packhorse_content::{Library, LibraryError};
use packhorse_domain::{
    Digest,
    id::{PackageId, PointName},
};

use super::PointError;
use crate::store::{Store, WantedFile};

/// A package that should be here.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) package: String,
    pub(crate) source_version: u64,
    /// What to hold, or why that cannot be known.
    pub(crate) manifest: Result<Digest, &'static str>,
    /// Where the order came from.
    pub(crate) traceparent: String,
}

/// What is wanted and what is there, at one instant.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) wanted: Vec<Wanted>,
    /// Every manifest in the library, complete or not.
    pub(crate) present: BTreeSet<Digest>,
    /// Manifests of which every chunk is there.
    pub(crate) whole: HashSet<Digest>,
}

impl View {
    /// Looks at the database and the library; of the manifests in `known`, it was seen before that they are whole.
    pub(crate) fn take(
        store: &Store,
        library: &Library,
        point: &PointName,
        known: &HashSet<Digest>,
    ) -> Result<Self, PointError> {
        let wanted = store.wanted(point).map_err(PointError::Store)?;
        let complete = library.manifests().map_err(PointError::Library)?;
        let staged = library.staged_manifests().map_err(PointError::Library)?;
        let mut whole = HashSet::new();
        for digest in &complete {
            if known.contains(digest) || is_whole(library, digest).map_err(PointError::Library)? {
                whole.insert(*digest);
            }
        }
        // A name that is no package's cannot even be reported on; the site never writes one.
        let wanted = wanted.into_iter().filter(|file| file.package.parse::<PackageId>().is_ok());
        let wanted = wanted.map(Wanted::from).collect();
        Ok(View { wanted, present: complete.into_iter().chain(staged).collect(), whole })
    }
}

impl From<WantedFile> for Wanted {
    fn from(file: WantedFile) -> Self {
        let source_version = file.content.as_ref().map_or(0, |content| content.source_version);
        let traceparent =
            file.content.as_ref().map(|content| content.traceparent.clone()).unwrap_or_default();
        let manifest = match &file.content {
            None => Err("the site's order for this package does not decode"),
            Some(content)
                if content.package != file.package || file.package.parse::<PackageId>().is_err() =>
            {
                Err("the site's order is for another package than its name says")
            }
            Some(content) => Digest::try_from(content.manifest.as_ref())
                .map_err(|_| "the site's order for this package names no content"),
        };
        Wanted { package: file.package, source_version, manifest, traceparent }
    }
}

fn is_whole(library: &Library, digest: &Digest) -> Result<bool, LibraryError> {
    match library.manifest(digest) {
        Ok(Some(manifest)) => Ok(library.missing(&manifest).is_empty()),
        Ok(None) | Err(LibraryError::DamagedManifest { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
