//! What lies deflated in the files of a bundle: told as differences from what lies deflated in the bases, and deflated again
//! where it is taken in.
//!
//! The old content goes on behind the files of the bases with what was inflated of them. Which runs these are says a stream:
//! how many, then of each the number of the file less that of the one before, where the run begins less where the one before
//! in the same file ended, its length, and twice the length of what it becomes, plus one if that is copied from. Another says
//! of each told file which of its runs are told inflated: how many, then of each the bytes in front of it, its length, that
//! of what it becomes, and the level at which zlib makes it of that. What is in front and behind is told as it is.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read, Seek as _, Write as _},
};

use packhorse_domain::Digest;

use super::{
    BundleError,
    tree::{Base, Told},
};
use crate::{
    deflated::{
        Deflated, Level, Levels, RUN_LENGTH_MIN, Region, deflated, in_archive, inflate, inflated_max,
        is_archive,
    },
    delta::{Decoder, Encoder, OldContent, Spools, Stream, Streams},
    library::Library,
    limits::Limits,
    manifest::{EntryKind, Manifest},
    reader::ChunkReader,
};

/// The archives among the told files, in one file.
#[derive(Debug)]
pub(super) struct NewArchives {
    file: File,
    /// By the number of the told file.
    archives: HashMap<usize, NewArchive>,
}

#[derive(Debug)]
struct NewArchive {
    start: u64,
    length: u64,
    runs: Vec<Found>,
}

/// A run of deflated bytes in an archive.
#[derive(Debug)]
struct Found {
    run: Deflated,
    digest: Digest,
}

/// A run in a file of the bases, inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OldRun {
    file: usize,
    at: u64,
    length: u64,
    plain: u64,
    /// Where the old content has what it becomes.
    start: u64,
}

/// What of the bases was inflated.
#[derive(Debug, Default)]
pub(super) struct OldRuns {
    runs: Vec<OldRun>,
    by_name: HashMap<Vec<u8>, Vec<usize>>,
}

impl Found {
    fn all_in(content: Region<'_>) -> io::Result<Vec<Found>> {
        let found = in_archive(content)?.into_iter().map(|run| {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(content.part(run.at, run.length).reader())?;
            Ok(Found { run, digest: Digest(*hasher.finalize().as_bytes()) })
        });
        found.collect()
    }
}

impl NewArchives {
    pub(super) fn none() -> io::Result<Self> {
        Ok(NewArchives { file: tempfile::tempfile()?, archives: HashMap::new() })
    }

    /// Looks through the told files.
    pub(super) fn of(library: &Library, told: &[Told]) -> Result<Self, BundleError> {
        let file = tempfile::tempfile_in(library.shared.dir()).map_err(BundleError::Write)?;
        let mut all = NewArchives { file, archives: HashMap::new() };
        let (mut reader, mut end) = (ChunkReader::new(&library.shared), 0);
        for (nth, told) in told.iter().enumerate() {
            let mut length = 0;
            for (place, chunk) in told.chunks.iter().enumerate() {
                let bytes = reader.exactly(chunk).map_err(BundleError::Library)?;
                if place == 0 && !is_archive(bytes) {
                    break;
                }
                all.file.write_all(bytes).map_err(BundleError::Write)?;
                length += bytes.len() as u64;
            }
            if length > 0 {
                let content = Region { file: &all.file, start: end, length };
                let runs = Found::all_in(content).map_err(BundleError::Write)?;
                all.archives.insert(nth, NewArchive { start: end, length, runs });
                end += length;
            }
        }
        Ok(all)
    }

    /// Inflates of the archives of the bases what is not in these as it is, and forgets here what is in those.
    pub(super) fn inflate_old(
        &mut self,
        base: &Base,
        target: &Manifest,
        old: &mut OldContent,
    ) -> io::Result<OldRuns> {
        let mut runs = OldRuns::default();
        let new = self.archives.values().flat_map(|archive| &archive.runs);
        let new: HashSet<Digest> = new.map(|found| found.digest).collect();
        let stays: HashSet<&Digest> =
            target.entries.iter().filter_map(|entry| content_of(&entry.kind)).collect();
        let mut known = HashSet::new();
        for (file, of) in base.files.iter().enumerate().filter(|(_, of)| !stays.contains(&of.digest)) {
            for Found { run, digest } in Found::all_in(old.region(of.start, of.length))? {
                known.insert(digest);
                if !new.contains(&digest) {
                    let one = OldRun { file, at: run.at, length: run.length, plain: 0, start: old.length() };
                    runs.add(one, run.name, base, old)?;
                }
            }
        }
        for archive in self.archives.values_mut() {
            archive.runs.retain(|found| !known.contains(&found.digest));
        }
        Ok(runs)
    }

    /// Tells the told file of a number, if it is an archive, and what of it is told inflated. False: it is none.
    pub(super) fn tell(
        &self,
        (nth, told): (usize, &Told),
        (runs, base): (&OldRuns, &Base),
        encoder: &mut Encoder<'_>,
        scratch: &mut File,
    ) -> io::Result<bool> {
        let Some(archive) = self.archives.get(&nth) else {
            encoder.number(Stream::Deflated, 0)?;
            return Ok(false);
        };
        let content = Region { file: &self.file, start: archive.start, length: archive.length };
        let like_file = told.like.and_then(|start| base.file_at(start));
        let (mut like, mut from) = (told.like, 0);
        let (mut inflated, mut levels) = (Vec::new(), Levels::default());
        for Found { run, .. } in &archive.runs {
            let packed = content.part(run.at, run.length);
            let Some(plain) = whole(packed, scratch)? else { continue };
            let Some(level) = levels.of(packed, plain)? else { continue };
            encoder.file(&mut content.part(from, run.at - from).reader(), like)?;
            let old = runs.like(&run.name, like_file);
            encoder.file(&mut plain.reader(), old.map(|run| run.start))?;
            like = old.map(|run| base.files[run.file].start + run.at + run.length);
            inflated.push([run.at - from, run.length, plain.length, level.number()]);
            from = run.at + run.length;
        }
        encoder.file(&mut content.part(from, u64::MAX).reader(), like)?;
        encoder.number(Stream::Deflated, inflated.len() as u64)?;
        for number in inflated.into_iter().flatten() {
            encoder.number(Stream::Deflated, number)?;
        }
        Ok(true)
    }
}

/// Inflates all of a run into a file. Nothing: it is no such run, or too much.
fn whole<'s>(packed: Region<'_>, scratch: &'s mut File) -> io::Result<Option<Region<'s>>> {
    scratch.set_len(0)?;
    scratch.rewind()?;
    let inflated = inflate(packed, inflated_max(packed.length), scratch)?;
    Ok(match inflated {
        Some((length, plain)) if length == packed.length => {
            Some(Region { file: scratch, start: 0, length: plain })
        }
        _ => None,
    })
}

impl OldRuns {
    fn add(&mut self, run: OldRun, name: Vec<u8>, base: &Base, old: &mut OldContent) -> io::Result<()> {
        let most = inflated_max(run.length);
        // The receiver takes no more than this.
        let end = old.length().saturating_add(most);
        if end > base.length().saturating_add(Limits::default().content_length_max) {
            return Ok(());
        }
        if let Some(plain) = run.inflate(base, most, old)? {
            self.by_name.entry(name).or_default().push(self.runs.len());
            self.runs.push(OldRun { plain, ..run });
        }
        Ok(())
    }

    /// The run of a name, in this file if there is one in it.
    fn like(&self, name: &[u8], file: Option<usize>) -> Option<OldRun> {
        let named = self.by_name.get(name)?.iter().map(|nth| self.runs[*nth]);
        let here = named.clone().find(|run| Some(run.file) == file);
        here.or_else(|| named.into_iter().next())
    }

    /// Tells which runs are inflated, and which of them are copied from: those that these pieces, which are in order, touch.
    pub(super) fn tell(&self, pieces: &[(u64, u64)], out: &mut Spools) -> io::Result<()> {
        out.number(Stream::Inflated, self.runs.len() as u64)?;
        let (mut file, mut end) = (0, 0);
        for run in &self.runs {
            if run.file != file {
                end = 0;
            }
            let is_used = touches(pieces, run.start, run.plain);
            for number in
                [(run.file - file) as u64, run.at - end, run.length, run.plain << 1 | u64::from(is_used)]
            {
                out.number(Stream::Inflated, number)?;
            }
            (file, end) = (run.file, run.at + run.length);
        }
        Ok(())
    }

    /// Adds the files in which what is copied from lies deflated.
    pub(super) fn mark(&self, pieces: &[(u64, u64)], used: &mut [bool]) {
        for run in self.runs.iter().filter(|run| touches(pieces, run.start, run.plain)) {
            used[run.file] = true;
        }
    }

    /// Reads which runs there are and inflates those that are copied from, each into its place. Behind them all ends the old
    /// content. None is kept: their number says nothing of how many there can be.
    pub(super) fn inflate_told(
        streams: &mut Streams,
        base: &Base,
        limits: &Limits,
        old: &mut OldContent,
    ) -> Result<(), BundleError> {
        let most = base.length().saturating_add(limits.content_length_max);
        let mut run = OldRun { file: 0, at: 0, length: 0, plain: 0, start: base.length() };
        for _ in 0..streams.number(Stream::Inflated)? {
            let is_used = run.move_on(streams, base, most)?;
            if is_used && run.inflate(base, run.plain, old).map_err(BundleError::Write)? != Some(run.plain) {
                return Err(BundleError::Damaged("it inflates what is not deflated in its bases"));
            }
        }
        old.set_length(run.start + run.plain).map_err(BundleError::Write)
    }
}

impl OldRun {
    /// Becomes the next one that is told. Whether that is copied from.
    fn move_on(&mut self, streams: &mut Streams, base: &Base, most: u64) -> Result<bool, BundleError> {
        let [further, gap, length, plain] = numbers(streams, Stream::Inflated)?;
        let (plain, is_used) = (plain >> 1, plain & 1 == 1);
        let end = if further > 0 { 0 } else { self.at + self.length };
        let file = usize::try_from(further).ok().and_then(|further| self.file.checked_add(further));
        let of = file.and_then(|file| Some((file, base.files.get(file)?)));
        let at = end.checked_add(gap);
        let until = at.and_then(|at| at.checked_add(length));
        let (Some((file, of)), Some(at), Some(until)) = (of, at, until) else {
            return Err(BundleError::Damaged("it inflates what is not in its bases"));
        };
        let start = self.start + self.plain;
        let is_run = length >= RUN_LENGTH_MIN && plain <= inflated_max(length);
        if !is_run || until > of.length || start.checked_add(plain).is_none_or(|behind| behind > most) {
            return Err(BundleError::Damaged("it inflates what is not in its bases"));
        }
        *self = OldRun { file, at, length, plain, start };
        Ok(is_used)
    }

    /// To its place in the old content. How long it is; nothing if it is no run, or longer than `most`.
    fn inflate(&self, base: &Base, most: u64, old: &mut OldContent) -> io::Result<Option<u64>> {
        let packed = old.region(base.files[self.file].start + self.at, self.length);
        let inflated = inflate(packed, most, &mut old.writer(self.start))?;
        let plain = inflated.filter(|(length, _)| *length == self.length).map(|(_, plain)| plain);
        old.end_at(self.start + plain.unwrap_or(0))?;
        Ok(plain)
    }
}

fn content_of(kind: &EntryKind) -> Option<&Digest> {
    match kind {
        EntryKind::File { digest, .. } => Some(digest),
        _ => None,
    }
}

fn touches(pieces: &[(u64, u64)], start: u64, length: u64) -> bool {
    let first = pieces.partition_point(|(_, end)| *end <= start);
    pieces.get(first).is_some_and(|(begin, _)| *begin < start + length)
}

fn numbers(streams: &mut Streams, stream: Stream) -> Result<[u64; 4], BundleError> {
    Ok([streams.number(stream)?, streams.number(stream)?, streams.number(stream)?, streams.number(stream)?])
}

/// Makes a told file of this length again, where some of it is told inflated. False: nothing of it is, and it is told as it
/// is.
pub(super) fn make(
    streams: &mut Streams,
    decoder: &mut Decoder<'_>,
    length: u64,
    scratch: &mut File,
) -> Result<bool, BundleError> {
    let count = streams.number(Stream::Deflated)?;
    if count == 0 {
        return Ok(false);
    }
    scratch.set_len(0).and_then(|()| scratch.rewind()).map_err(BundleError::Write)?;
    let mut left = length;
    for _ in 0..count {
        let [gap, length, plain, level] = numbers(streams, Stream::Deflated)?;
        let rest = left.checked_sub(gap).and_then(|left| left.checked_sub(length));
        // One that is empty would leave room for any number of them.
        let is_run = length >= RUN_LENGTH_MIN && plain <= inflated_max(length);
        let rest = rest.filter(|_| is_run).zip(Level::from_number(level));
        let (rest, level) = rest.ok_or(BundleError::Damaged("it deflates what its file has no room for"))?;
        left = rest;
        plainly(decoder, streams, gap, scratch)?;
        let mut packed = deflated(decoder.file(streams, plain), level);
        let made = io::copy(&mut (&mut packed).take(length + 1), scratch).map_err(BundleError::Write)?;
        if let Some(error) = packed.into_inner().failure() {
            return Err(error);
        }
        if made != length {
            return Err(BundleError::Damaged("what it deflates becomes something else here"));
        }
    }
    plainly(decoder, streams, left, scratch)?;
    scratch.rewind().map_err(BundleError::Write)?;
    Ok(true)
}

fn plainly(
    decoder: &mut Decoder<'_>,
    streams: &mut Streams,
    length: u64,
    out: &mut File,
) -> Result<(), BundleError> {
    let mut content = decoder.file(streams, length);
    let copied = io::copy(&mut content, out).map_err(BundleError::Write);
    match (content.failure(), copied?) {
        (Some(error), _) => Err(error),
        (None, copied) if copied == length => Ok(()),
        (None, _) => Err(BundleError::Damaged("a file in it has another length")),
    }
}

#[cfg(test)]
#[path = "archives_tests.rs"]
mod tests;
