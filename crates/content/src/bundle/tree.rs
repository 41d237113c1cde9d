//! The new tree, told by the trees of the bases.
//!
//! The stream of the tree begins with how many entries there are, and goes on with 1 if names differ only in case and that
//! is meant. Then, until all entries are there: a number, whose two lowest bits say what comes and whose others how many. 0:
//! so many entries as the next of the bases. 1: so many of the next of the bases are not there. 2: a new entry; how many
//! bytes its path has in common with the begin of the one before it, how many follow, and they. 3: an entry in the place of
//! the next of the bases, with its path. After 2 and 3 comes a byte as in a manifest (0 directory, 1 file, 2 executable
//! file, 3 link). A link goes on with the length of its target and the target. A file goes on with its length and, unless
//! that is 0, with where its content is: 0, it is told; else one more than twice the number of a file of the bases, or two
//! more than twice the number of one that was told. In a bundle without bases a file of more than 64 KiB that is told goes on
//! with the lengths of its chunks and, if they are several, with its digest: so much is taken in there that to look for their
//! ends again is a tenth of the time, and to hash each byte twice another. The digest is one of the target's, as those of the
//! chunks are, which the receiver finds itself.

use std::{
    collections::{BTreeMap, HashMap},
    io,
};

use packhorse_domain::Digest;

use super::BundleError;
use crate::{
    delta::{OldContent, Spools, Stream},
    library::Library,
    limits::WHOLE_FILE_LENGTH_MAX,
    manifest::{ChunkRef, Entry, EntryKind, Manifest},
    reader::ChunkReader,
};

/// A run of none, which nothing else is told by.
pub(super) const CASE_SENSITIVE: u64 = 1;

/// The trees of the bases as one: of several entries of one path that of the first base.
pub(super) struct Base {
    pub(super) entries: Vec<Entry>,
    pub(super) files: Vec<OldFile>,
    by_digest: HashMap<Digest, usize>,
    length: u64,
    /// There are no bases.
    is_none: bool,
}

/// A content of the bases.
pub(super) struct OldFile {
    pub(super) digest: Digest,
    pub(super) length: u64,
    pub(super) chunks: Vec<ChunkRef>,
    /// Where it begins in all of the old content.
    pub(super) start: u64,
}

/// A file whose content is told.
pub(super) struct Told {
    pub(super) length: u64,
    pub(super) chunks: Vec<ChunkRef>,
    /// Where the old content has one that it may be like.
    pub(super) like: Option<u64>,
}

impl Base {
    pub(super) fn of(library: &Library, bases: &[Digest]) -> Result<Self, BundleError> {
        let mut merged = BTreeMap::new();
        for base in bases {
            let manifest = library.manifest(base).map_err(BundleError::Library)?;
            let manifest = manifest.ok_or(BundleError::BaseLacking { base: *base })?;
            for entry in manifest.entries {
                merged.entry(entry.path).or_insert(entry.kind);
            }
        }
        let entries = merged.into_iter().map(|(path, kind)| Entry { path, kind }).collect();
        let (files, by_digest, is_none) = (Vec::new(), HashMap::new(), bases.is_empty());
        let mut base = Base { entries, files, by_digest, length: 0, is_none };
        for entry in &base.entries {
            let EntryKind::File { length, digest, chunks, .. } = &entry.kind else { continue };
            if *length > 0 && !base.by_digest.contains_key(digest) {
                base.by_digest.insert(*digest, base.files.len());
                let (digest, length, chunks) = (*digest, *length, chunks.clone());
                base.files.push(OldFile { digest, length, chunks, start: base.length });
                base.length += length;
            }
        }
        Ok(base)
    }

    /// Whether there are no bases.
    pub(super) fn is_none(&self) -> bool {
        self.is_none
    }

    /// Which file begins there in the old content.
    pub(super) fn file_at(&self, start: u64) -> Option<usize> {
        self.files.binary_search_by_key(&start, |file| file.start).ok()
    }

    /// Whether the chunks of a file of this length, if it is told, are told too.
    pub(super) fn are_chunks_told(&self, length: u64) -> bool {
        self.is_none && length > WHOLE_FILE_LENGTH_MAX
    }

    /// Bytes of all contents.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The contents of the files that are asked for, at their places.
    pub(super) fn content(
        &self,
        library: &Library,
        is_asked_for: impl Fn(usize) -> bool,
    ) -> Result<OldContent, BundleError> {
        let mut old = OldContent::new(library.shared.dir()).map_err(BundleError::Write)?;
        old.set_length(self.length).map_err(BundleError::Write)?;
        let mut reader = ChunkReader::new(&library.shared);
        for (_, file) in self.files.iter().enumerate().filter(|(nth, _)| is_asked_for(*nth)) {
            let mut at = file.start;
            for chunk in &file.chunks {
                let bytes = reader.exactly(chunk).map_err(BundleError::Library)?;
                old.put(at, bytes).map_err(BundleError::Write)?;
                at += bytes.len() as u64;
            }
        }
        Ok(old)
    }

    /// Which files these pieces of the old content, which are in order, are of.
    pub(super) fn used(&self, pieces: &[(u64, u64)]) -> Vec<bool> {
        let touches = |file: &OldFile| {
            let first = pieces.partition_point(|(_, end)| *end <= file.start);
            pieces.get(first).is_some_and(|(begin, _)| *begin < file.start + file.length)
        };
        self.files.iter().map(touches).collect()
    }

    /// Where a content begins that the file at this path may be like: at the same path, or of the same name.
    fn like(&self, path: &str, by_name: &HashMap<&str, usize>) -> Option<u64> {
        let same = self.entries.binary_search_by(|entry| entry.path.as_str().cmp(path));
        let entry =
            same.ok().or_else(|| by_name.get(name_of(path)).copied()).map(|nth| &self.entries[nth])?;
        match &entry.kind {
            EntryKind::File { digest, .. } => self.by_digest.get(digest).map(|nth| self.files[*nth].start),
            _ => None,
        }
    }

    fn by_name(&self) -> HashMap<&str, usize> {
        let files = self.entries.iter().enumerate();
        let files = files.filter(|(_, entry)| matches!(entry.kind, EntryKind::File { .. }));
        files.map(|(nth, entry)| (name_of(&entry.path), nth)).collect()
    }
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Tells a tree. Gives the files whose content is to be told, in order.
pub(super) fn tell(manifest: &Manifest, base: &Base, out: &mut Spools) -> io::Result<Vec<Told>> {
    let by_name = base.by_name();
    let mut telling = Telling { base, out, run: (0, 0), told: Vec::new(), known: HashMap::new(), last: "" };
    telling.out.number(Stream::Tree, manifest.entries.len() as u64)?;
    if manifest.case_sensitive {
        telling.out.number(Stream::Tree, CASE_SENSITIVE)?;
    }
    let mut at = 0;
    for entry in &manifest.entries {
        while base.entries.get(at).is_some_and(|old| old.path < entry.path) {
            telling.count(1)?;
            at += 1;
        }
        match base.entries.get(at).filter(|old| old.path == entry.path) {
            Some(old) if old == entry => {
                telling.count(0)?;
                at += 1;
            }
            Some(_) => {
                telling.entry(3, entry, &by_name)?;
                at += 1;
            }
            None => telling.entry(2, entry, &by_name)?,
        }
        telling.last = &entry.path;
    }
    telling.end_run()?;
    Ok(telling.told)
}

struct Telling<'a> {
    base: &'a Base,
    out: &'a mut Spools,
    /// What the last entries were, and how many.
    run: (u64, u64),
    told: Vec<Told>,
    /// Contents that are told, and their numbers.
    known: HashMap<Digest, u64>,
    last: &'a str,
}

impl Telling<'_> {
    fn count(&mut self, what: u64) -> io::Result<()> {
        if self.run.0 != what {
            self.end_run()?;
        }
        self.run = (what, self.run.1 + 1);
        Ok(())
    }

    fn end_run(&mut self) -> io::Result<()> {
        let (what, count) = std::mem::take(&mut self.run);
        if count > 0 { self.out.number(Stream::Tree, count << 2 | what) } else { Ok(()) }
    }

    fn entry(&mut self, what: u64, entry: &Entry, by_name: &HashMap<&str, usize>) -> io::Result<()> {
        self.end_run()?;
        self.out.number(Stream::Tree, what)?;
        if what == 2 {
            let common =
                self.last.bytes().zip(entry.path.bytes()).take_while(|(one, other)| one == other).count();
            self.out.number(Stream::Tree, common as u64)?;
            self.text(&entry.path.as_bytes()[common..])?;
        }
        match &entry.kind {
            EntryKind::Directory => self.out.put(Stream::Tree, &[0]),
            EntryKind::Symlink { target } => {
                self.out.put(Stream::Tree, &[3])?;
                self.text(target.as_bytes())
            }
            EntryKind::File { executable, length, digest, chunks } => {
                self.out.put(Stream::Tree, &[1 + u8::from(*executable)])?;
                self.out.number(Stream::Tree, *length)?;
                if *length == 0 { Ok(()) } else { self.content(entry, (*length, digest), chunks, by_name) }
            }
        }
    }

    fn content(
        &mut self,
        entry: &Entry,
        (length, digest): (u64, &Digest),
        chunks: &[ChunkRef],
        by_name: &HashMap<&str, usize>,
    ) -> io::Result<()> {
        let place = match (self.base.by_digest.get(digest), self.known.get(digest)) {
            (Some(old), _) => 2 * *old as u64 + 1,
            (None, Some(told)) => 2 * told + 2,
            (None, None) => {
                self.known.insert(*digest, self.told.len() as u64);
                let like = self.base.like(&entry.path, by_name);
                self.told.push(Told { length, chunks: chunks.to_vec(), like });
                0
            }
        };
        self.out.number(Stream::Tree, place)?;
        if place == 0 && self.base.are_chunks_told(length) {
            for chunk in chunks {
                self.out.number(Stream::Tree, chunk.length.into())?;
            }
            if chunks.len() > 1 {
                self.out.put(Stream::Tree, &digest.0)?;
            }
        }
        Ok(())
    }

    fn text(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.number(Stream::Tree, bytes.len() as u64)?;
        self.out.put(Stream::Tree, bytes)
    }
}

/// Tells which files of the bases are copied from, bit 0 of byte 0 first.
pub(super) fn tell_used(used: &[bool], out: &mut Spools) -> io::Result<()> {
    let bytes = used.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit)));
    out.put(Stream::Used, &bytes.collect::<Vec<u8>>())
}
