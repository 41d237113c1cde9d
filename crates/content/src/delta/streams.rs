//! The streams of a delta: spooled while they are made, one compressed section each in a bundle, read side by side.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    ops::RangeInclusive,
    path::Path,
};

use zstd::{
    stream::{read::Decoder, write::Encoder},
    zstd_safe::CParameter,
};

use super::ahead::{Ahead, Unpacker};
use crate::{
    bundle::{BundleError, Making, Source},
    frames::Frames,
};

/// What a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// The entries of the new tree.
    Tree,
    /// Which files of the bases are copied from, a bit for each.
    Used,
    /// Which runs of deflated bytes of the bases are inflated.
    Inflated,
    /// Which runs of each told file are told inflated.
    Deflated,
    LiteralLengths,
    CopyLengths,
    Shifts,
    Gaps,
    Recent,
    Low,
    Middle,
    High,
    /// Where the literals are not one frame: of each of theirs its length, and that of what it holds.
    Frames,
    /// Last, since it is the longest: what comes before it is enough to go on with as it arrives.
    Literals,
}

pub(crate) const STREAMS: [Stream; 14] = [
    Stream::Tree,
    Stream::Used,
    Stream::Inflated,
    Stream::Deflated,
    Stream::LiteralLengths,
    Stream::CopyLengths,
    Stream::Shifts,
    Stream::Gaps,
    Stream::Recent,
    Stream::Low,
    Stream::Middle,
    Stream::High,
    Stream::Frames,
    Stream::Literals,
];
/// Decoders with such windows, and nothing else, are what a reader needs.
const WINDOW_LOG_MAX: u32 = 22;
const LITERALS_WINDOW_LOG_MAX: u32 = 26;
/// What a processor's cache holds.
const QUICK_WINDOW_LOG: u32 = 20;
const _: () = assert!(QUICK_WINDOW_LOG <= WINDOW_LOG_MAX, "a reader would refuse it");
/// From this level on zstd needs more memory for a long window than a site has to have.
const LEVEL_OF_SHORT_WINDOWS: i32 = 16;
/// Of what is far away one place in two to the power of so many is known: to know more costs a tenth of the time and finds no
/// more that is worth it.
const FAR_PLACES_LOG: u32 = 7;
/// What is longer is compressed by so many threads, whatever the machine has: the bytes depend on it.
const THREADED_BYTES: u64 = 16 * 1024 * 1024;
const THREADS: u32 = 2;
/// What one thread compresses at a time. Longer takes memory, shorter finds less.
const JOB_BYTES: u32 = 24 * 1024 * 1024;
/// The same where it is to be quick: the threads begin sooner and end together.
const QUICK_JOB_BYTES: u32 = 2 * 1024 * 1024;
/// In what hardly compresses shorter repeats are told than elsewhere.
const SHORT_REPEAT: u32 = 4;
/// These levels know few places for what is long, and look at many of them for each repeat: to know as many as the highest of
/// them does, and to look at half as many, takes less time and finds as much.
const LEVELS_OF_FEW_PLACES: RangeInclusive<i32> = 7..=9;
const LONG_BYTES: u64 = 512 * 1024 * 1024;
const LONG_PLACES_LOG: u32 = 21;
const LONG_LOOKS_LOG: u32 = 3;
const BUFFER_BYTES: usize = 32 * 1024;
/// Literals that are more are unpacked by a thread of their own.
const AHEAD_BYTES: u64 = 1024 * 1024;
/// Handing over to threads costs, and so does hashing what is short.
const LITERALS_BUFFER_BYTES: usize = 1024 * 1024;
const COPY_BUFFER_BYTES: usize = 256 * 1024;

impl Stream {
    fn window_log_max(self) -> u32 {
        if self == Stream::Literals { LITERALS_WINDOW_LOG_MAX } else { WINDOW_LOG_MAX }
    }

    fn window_log(self, level: i32) -> u32 {
        let most = if level < LEVEL_OF_SHORT_WINDOWS { LITERALS_WINDOW_LOG_MAX } else { WINDOW_LOG_MAX + 1 };
        self.window_log_max().min(most)
    }
}

/// Whatever is not read of a bundle is one thing too many.
pub(super) const LEFT_OVER: BundleError = BundleError::Damaged("it holds more than its tree needs");
/// How often a number's byte says that another follows, at most.
const NUMBER_BYTES_MAX: u32 = 10;

/// Streams that are being made, each in a file of its own without a name.
pub(crate) struct Spools {
    files: Vec<Spool>,
    /// The literals, where they come in frames.
    framed: Option<BufWriter<File>>,
}

struct Spool {
    to: To,
    length: u64,
}

/// Where a stream goes while it is made.
enum To {
    /// As it is.
    File(BufWriter<File>),
    /// Compressed already.
    Section(BufWriter<Encoder<'static, File>>),
}

/// The compressed streams, ready to be written out.
pub(crate) struct Sections {
    /// One after the other.
    files: Vec<File>,
    /// Plain and compressed bytes of each.
    pub(crate) lengths: Vec<(u64, u64)>,
}

impl Spools {
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        let spool = |_| {
            let file = BufWriter::with_capacity(BUFFER_BYTES, tempfile::tempfile_in(directory)?);
            Ok(Spool { to: To::File(file), length: 0 })
        };
        Ok(Spools { files: STREAMS.iter().map(spool).collect::<io::Result<_>>()?, framed: None })
    }

    /// Has the literals, of which there will be so many bytes, compressed as they come.
    pub(crate) fn compress_literals(
        &mut self,
        directory: &Path,
        making: Making,
        bytes: u64,
    ) -> io::Result<()> {
        let encoder = encoder(tempfile::tempfile_in(directory)?, Stream::Literals, making, bytes)?;
        self.files[Stream::Literals as usize].to =
            To::Section(BufWriter::with_capacity(LITERALS_BUFFER_BYTES, encoder));
        Ok(())
    }

    /// The next literals, in a frame that holds so many of them. All of them come in frames, or none.
    pub(crate) fn frame(&mut self, directory: &Path, data: &[u8], plain: u64) -> io::Result<()> {
        self.number(Stream::Frames, data.len() as u64)?;
        self.number(Stream::Frames, plain)?;
        self.files[Stream::Literals as usize].length += plain;
        let framed = match &mut self.framed {
            Some(framed) => framed,
            none => none
                .insert(BufWriter::with_capacity(LITERALS_BUFFER_BYTES, tempfile::tempfile_in(directory)?)),
        };
        framed.write_all(data)
    }

    pub(crate) fn put(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let spool = &mut self.files[stream as usize];
        spool.length += bytes.len() as u64;
        match &mut spool.to {
            To::File(file) => file.write_all(bytes),
            To::Section(encoder) => encoder.write_all(bytes),
        }
    }

    pub(crate) fn number(&mut self, stream: Stream, mut number: u64) -> io::Result<()> {
        let (mut bytes, mut length) = ([0; NUMBER_BYTES_MAX as usize], 0);
        loop {
            let byte = (number & 0x7f) as u8;
            number >>= 7;
            bytes[length] = byte | if number > 0 { 0x80 } else { 0 };
            length += 1;
            if number == 0 {
                return self.put(stream, &bytes[..length]);
            }
        }
    }

    /// Compresses them, one after the other.
    pub(crate) fn finish(self, directory: &Path, making: Making) -> io::Result<Sections> {
        let mut file = tempfile::tempfile_in(directory)?;
        let (mut lengths, mut literals, mut framed) = (Vec::new(), None, self.framed);
        for (stream, spool) in STREAMS.into_iter().zip(self.files) {
            let framed = framed.take_if(|_| stream == Stream::Literals);
            let compressed = match (spool.to, framed) {
                (_, Some(framed)) => {
                    let framed = framed.into_inner().map_err(io::IntoInnerError::into_error)?;
                    literals.insert(framed).stream_position()?
                }
                (To::File(plain), None) => {
                    let begin = file.stream_position()?;
                    let mut plain = plain.into_inner().map_err(io::IntoInnerError::into_error)?;
                    plain.seek(SeekFrom::Start(0))?;
                    let mut encoder = encoder(&file, stream, making, spool.length)?;
                    io::copy(&mut plain, &mut encoder)?;
                    encoder.finish()?;
                    file.stream_position()? - begin
                }
                (To::Section(encoder), None) => {
                    let encoder = encoder.into_inner().map_err(io::IntoInnerError::into_error)?;
                    literals.insert(encoder.finish()?).stream_position()?
                }
            };
            lengths.push((spool.length, compressed));
        }
        Ok(Sections { files: [Some(file), literals].into_iter().flatten().collect(), lengths })
    }
}

/// Compresses a stream of so many bytes.
fn encoder<W: Write>(to: W, stream: Stream, making: Making, bytes: u64) -> io::Result<Encoder<'static, W>> {
    let level = making.level();
    let mut encoder = Encoder::new(to, level)?;
    encoder.set_pledged_src_size(Some(bytes))?;
    let needed = bytes.max(1).next_power_of_two().ilog2();
    if making.is_quick() {
        // To look for what is far away takes half as long again.
        encoder.window_log(needed.clamp(10, QUICK_WINDOW_LOG))?;
        if bytes >= THREADED_BYTES {
            encoder.multithread(THREADS)?;
            encoder.set_parameter(CParameter::JobSize(QUICK_JOB_BYTES))?;
        }
        return Ok(encoder);
    }
    encoder.window_log(needed.clamp(10, stream.window_log(level)))?;
    encoder.long_distance_matching(stream == Stream::Literals)?;
    if level < LEVEL_OF_SHORT_WINDOWS {
        encoder.set_parameter(CParameter::LdmHashRateLog(FAR_PLACES_LOG))?;
    }
    if bytes >= THREADED_BYTES && level < LEVEL_OF_SHORT_WINDOWS {
        encoder.multithread(THREADS)?;
        encoder.set_parameter(CParameter::JobSize(JOB_BYTES))?;
    }
    if making.is_dense() {
        encoder.set_parameter(CParameter::MinMatch(SHORT_REPEAT))?;
    } else if bytes >= LONG_BYTES && LEVELS_OF_FEW_PLACES.contains(&level) {
        encoder.set_parameter(CParameter::HashLog(LONG_PLACES_LOG))?;
        encoder.set_parameter(CParameter::SearchLog(LONG_LOOKS_LOG))?;
    }
    Ok(encoder)
}

impl Sections {
    pub(crate) fn write(self, out: &mut dyn Write) -> io::Result<()> {
        for mut file in self.files {
            file.seek(SeekFrom::Start(0))?;
            io::copy(&mut BufReader::with_capacity(COPY_BUFFER_BYTES, file), out)?;
        }
        Ok(())
    }
}

/// One stream, as it is read.
pub(super) type Section = BufReader<io::Take<Decoder<'static, BufReader<Part>>>>;

/// The streams of a delta that is being read.
pub(crate) struct Streams {
    decoders: Vec<Section>,
    /// The literals, if they come in frames or are many.
    ahead: Option<Ahead>,
}

/// A part of a bundle.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) source: Source,
    pub(super) at: u64,
    pub(super) end: u64,
}

impl Read for Part {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(into.len());
        let read = self.source.read_at(&mut into[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Streams {
    /// Sections that begin at `at`, one after the other; `lengths`: plain and compressed bytes of each.
    pub(crate) fn open(source: &Source, mut at: u64, lengths: &[(u64, u64)]) -> Result<Self, BundleError> {
        let mut decoders = Vec::with_capacity(STREAMS.len());
        let (mut ahead, mut numbers) = (None, None);
        for (stream, (plain, compressed)) in STREAMS.into_iter().zip(lengths) {
            let end = at.checked_add(*compressed).ok_or(BundleError::Damaged("its sections have no end"))?;
            let (part, mut plain) = (Part { source: source.clone(), at, end }, *plain);
            if stream == Stream::Frames && plain > 0 {
                numbers = Some(section(part.clone(), stream, std::mem::take(&mut plain))?);
            }
            if stream == Stream::Literals {
                ahead = unpacker(part.clone(), numbers.take(), plain)?.map(Ahead::new);
                plain = if ahead.is_some() { 0 } else { plain };
            }
            decoders.push(section(part, stream, plain)?);
            at = end;
        }
        Ok(Streams { decoders, ahead })
    }

    /// What the literals come in, if they come in frames.
    pub(crate) fn frames(&self) -> Option<Frames> {
        self.ahead.as_ref().and_then(Ahead::frames)
    }

    pub(crate) fn bytes(&mut self, stream: Stream, into: &mut [u8]) -> Result<(), BundleError> {
        match &mut self.ahead {
            Some(ahead) if stream == Stream::Literals => ahead.read_exact(into),
            _ => self.decoders[stream as usize].read_exact(into).map_err(read_failed),
        }
    }

    pub(crate) fn byte(&mut self, stream: Stream) -> Result<u8, BundleError> {
        let mut byte = [0];
        self.bytes(stream, &mut byte)?;
        Ok(byte[0])
    }

    pub(crate) fn number(&mut self, stream: Stream) -> Result<u64, BundleError> {
        number(&mut self.decoders[stream as usize])
    }

    /// Nothing may be left over.
    pub(crate) fn check_end(&mut self) -> Result<(), BundleError> {
        self.decoders.iter_mut().try_for_each(check_section_end)?;
        self.ahead.as_mut().map_or(Ok(()), Ahead::check_end)
    }
}

/// Who unpacks the literals ahead. Few are unpacked where they are wanted.
fn unpacker(part: Part, numbers: Option<Section>, left: u64) -> Result<Option<Unpacker>, BundleError> {
    Ok(match numbers {
        Some(numbers) => Some(Unpacker::Frames { part, numbers, left }),
        None if left >= AHEAD_BYTES => {
            let source = part.source.clone();
            Some(Unpacker::Stream { source, section: section(part, Stream::Literals, left)?, left })
        }
        None => None,
    })
}

/// A stream of so many bytes.
fn section(part: Part, stream: Stream, plain: u64) -> Result<Section, BundleError> {
    let part = BufReader::with_capacity(BUFFER_BYTES, part);
    let mut decoder = Decoder::with_buffer(part).map_err(BundleError::Read)?.single_frame();
    decoder.window_log_max(stream.window_log_max()).map_err(BundleError::Read)?;
    Ok(BufReader::with_capacity(BUFFER_BYTES, decoder.take(plain)))
}

pub(super) fn check_section_end(section: &mut Section) -> Result<(), BundleError> {
    let is_read = section.fill_buf().map_err(read_failed)?.is_empty();
    if is_read && section.get_ref().limit() == 0 { Ok(()) } else { Err(LEFT_OVER) }
}

pub(super) fn number(from: &mut Section) -> Result<u64, BundleError> {
    let mut number = 0_u64;
    for group in 0..NUMBER_BYTES_MAX {
        let mut byte = [0];
        from.read_exact(&mut byte).map_err(read_failed)?;
        let bits = u64::from(byte[0] & 0x7f);
        number |= bits << (7 * group);
        if number >> (7 * group) != bits {
            break;
        }
        if byte[0] & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(BundleError::Damaged("a number in it is too long"))
}

pub(super) fn read_failed(error: io::Error) -> BundleError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => BundleError::Damaged("it holds less than its tree needs"),
        _ if error.raw_os_error().is_none() => BundleError::Damaged("it cannot be decompressed"),
        _ => BundleError::Read(error),
    }
}
