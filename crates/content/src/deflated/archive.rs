//! Where in an archive deflated bytes lie: in a zip (a wheel, a jar, an office document) and in a gzip.

use std::io;

use rawzip::{CompressionMethod, RECOMMENDED_BUFFER_SIZE, ReaderAt as _, ZipLocator};

use super::{Region, inflate, inflated_max};

/// Fewer deflated bytes are not worth it.
pub(crate) const RUN_LENGTH_MIN: u64 = 128;
/// More of one archive are left as they are.
const STREAMS_MAX: usize = 1 << 17;
const NAME_BYTES_MAX: usize = 4096;

/// Deflated bytes of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deflated {
    /// Where they begin in it.
    pub(crate) at: u64,
    pub(crate) length: u64,
    /// What the archive calls them.
    pub(crate) name: Vec<u8>,
}

/// Whether what begins so may be an archive.
pub(crate) fn is_archive(begin: &[u8]) -> bool {
    begin.starts_with(b"PK\x03\x04") || begin.starts_with(&[0x1f, 0x8b, 8])
}

/// Those of what may be an archive, in order, without overlap. What is none, or is not understood, has none.
pub(crate) fn in_archive(content: Region<'_>) -> io::Result<Vec<Deflated>> {
    let mut begin = [0; 4];
    let read = content.read_at(&mut begin, 0)?;
    let mut found = match &begin[..read] {
        b"PK\x03\x04" => in_zip(content).unwrap_or_default(),
        [0x1f, 0x8b, 8, _] => in_gzip(content)?,
        _ => Vec::new(),
    };
    found.retain(|one| one.length >= RUN_LENGTH_MIN);
    found.sort_by_key(|one| one.at);
    let mut end = 0;
    found.retain(|one| {
        let is_apart =
            one.at >= end && one.at.checked_add(one.length).is_some_and(|end| end <= content.length);
        if is_apart {
            end = one.at + one.length;
        }
        is_apart
    });
    Ok(found)
}

fn in_zip(content: Region<'_>) -> Result<Vec<Deflated>, rawzip::Error> {
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let archive = ZipLocator::new().locate_in_reader(content, &mut buffer, content.length);
    let archive = archive.map_err(|(_, error)| error)?;
    let mut found = Vec::new();
    let mut entries = archive.entries(&mut buffer);
    while let Some(entry) = entries.next_entry()? {
        if entry.compression_method() != CompressionMethod::DEFLATE || entry.flags().is_encrypted() {
            continue;
        }
        let mut name = entry.file_path().as_bytes().to_vec();
        name.truncate(NAME_BYTES_MAX);
        let (at, end) = archive.get_entry(entry.wayfinder())?.compressed_data_range();
        found.push(Deflated { at, length: end.saturating_sub(at), name });
        if found.len() == STREAMS_MAX {
            break;
        }
    }
    Ok(found)
}

/// A gzip says nowhere how long it is: each of its members is inflated to find out.
fn in_gzip(content: Region<'_>) -> io::Result<Vec<Deflated>> {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(at) = gzip_header(content, from)?.filter(|_| found.len() < STREAMS_MAX) {
        let rest = content.part(at, u64::MAX);
        let Some((length, _)) = inflate(rest, inflated_max(rest.length), &mut io::sink())? else { break };
        found.push(Deflated { at, length, name: Vec::new() });
        from = at + length + GZIP_END_BYTES;
    }
    Ok(found)
}

/// Behind what is deflated: a checksum and a length.
const GZIP_END_BYTES: u64 = 8;
const GZIP_HEADER_BYTES: usize = 10;
/// A name or a comment that is longer is not looked at.
const GZIP_TEXT_BYTES_MAX: usize = 4096;

/// Where the deflated bytes of the member at `from` begin.
fn gzip_header(content: Region<'_>, from: u64) -> io::Result<Option<u64>> {
    let mut bytes = vec![0; GZIP_HEADER_BYTES + 2 * GZIP_TEXT_BYTES_MAX];
    let read = content.read_at(&mut bytes, from)?;
    let Some(([0x1f, 0x8b, 8, flags, ..], mut rest)) = bytes[..read].split_first_chunk::<GZIP_HEADER_BYTES>()
    else {
        return Ok(None);
    };
    let all = rest.len();
    if flags & 4 != 0 {
        let Some((length, after)) = rest.split_first_chunk::<2>() else { return Ok(None) };
        rest = after.get(usize::from(u16::from_le_bytes(*length))..).unwrap_or_default();
    }
    for text in [8, 16] {
        if flags & text != 0 {
            let Some(end) = rest.iter().position(|byte| *byte == 0) else { return Ok(None) };
            rest = &rest[end + 1..];
        }
    }
    if flags & 2 != 0 {
        rest = rest.get(2..).unwrap_or_default();
    }
    Ok(Some(from + (GZIP_HEADER_BYTES + all - rest.len()) as u64))
}
