//! The encrypted stream of a volume: made, and read at any offset, past what is damaged.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt as _,
    rc::Rc,
    sync::Arc,
};

use age::{
    DecryptError, Decryptor, EncryptError, Encryptor,
    secrecy::ExposeSecret as _,
    stream::{StreamReader, StreamWriter},
};
use age_core::format::{FileKey, Stanza};

use crate::{
    head::CHUNK_BYTES,
    key::{Identity, Recipient},
};

/// How much of a file is read at a time.
const READ_BYTES: usize = 512 * 1024;

/// Encrypts a stream. What it makes is taken from it piece by piece.
pub(crate) struct Sealer {
    stream: StreamWriter<Made>,
    made: Made,
}

#[derive(Clone, Default)]
struct Made(Rc<RefCell<Vec<u8>>>);

impl Write for Made {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sealer {
    /// Begins a stream; the header and the nonce are what is taken first.
    pub(crate) fn new<'a>(recipients: impl Iterator<Item = &'a Recipient>) -> Result<Self, EncryptError> {
        let made = Made::default();
        let encryptor = Encryptor::with_recipients(recipients.map(|one| &one.0 as &dyn age::Recipient))?;
        let stream = encryptor.wrap_output(made.clone())?;
        Ok(Sealer { stream, made })
    }

    /// What came out since the last time.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.made.0.take()
    }

    pub(crate) fn push(&mut self, plain: &[u8]) -> io::Result<()> {
        self.made.0.borrow_mut().reserve(plain.len() + plain.len() / 1024);
        self.stream.write_all(plain)
    }

    /// The rest of the stream.
    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        self.stream.finish()?;
        Ok(self.made.0.take())
    }
}

/// An encrypted stream that is read at any offset.
pub(crate) struct Opened {
    sealed: Sealed,
    key: Unwrapped,
    reader: StreamReader<BufReader<Sealed>>,
    /// The offset of the next byte that the reader gives.
    at: u64,
    /// The last chunk that turned out to be damaged: many small pieces may lie in it.
    damaged: Option<u64>,
}

/// Bytes of a stream that are damaged, or not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

impl Opened {
    /// `seal` is age's header and nonce, the rest of the stream are the bytes `from..to` of the file.
    pub(crate) fn new(
        file: File,
        seal: Vec<u8>,
        from: u64,
        to: u64,
        identity: &Identity,
    ) -> Result<Self, DecryptError> {
        let sealed = Sealed { seal: Arc::from(seal), file: Arc::new(file), from, to, at: 0 };
        let once = Once { identity, key: RefCell::new(None) };
        let reader = Decryptor::new_buffered(sealed.buffered())?.decrypt(std::iter::once(&once as _))?;
        let key = once.key.take().ok_or(DecryptError::NoMatchingKeys)?;
        Ok(Opened { sealed, key: Unwrapped(key), reader, at: 0, damaged: None })
    }

    /// Fills the buffer with what the stream has from `offset` on.
    pub(crate) fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Broken> {
        let Some(last) = (buffer.len() as u64).checked_sub(1) else { return Ok(()) };
        let last = offset.checked_add(last).ok_or(Broken)?;
        let chunks = offset / CHUNK_BYTES..=last / CHUNK_BYTES;
        // An offset far beyond the end is one that age cannot reckon with.
        if last >= self.sealed.length() || self.damaged.is_some_and(|chunk| chunks.contains(&chunk)) {
            return Err(Broken);
        }
        let read = self.go_to(offset).and_then(|()| self.fill(buffer));
        read.map_err(|_| {
            // Within a chunk that was read well it is the stream that ends.
            if self.at.is_multiple_of(CHUNK_BYTES) {
                self.damaged = Some(self.at / CHUNK_BYTES);
            }
            self.begin_anew();
            Broken
        })
    }

    /// age's reader is used in a narrow way, since an offset beyond the end of a chunk that it holds would be its panic,
    /// and one at the beginning of a chunk has it ask for the last chunk, which may be what is missing.
    fn go_to(&mut self, offset: u64) -> io::Result<()> {
        let begin = offset - offset % CHUNK_BYTES;
        if offset < self.at || begin > self.at {
            let held = self.at - self.at % CHUNK_BYTES;
            if begin != held {
                // First, so that it is this chunk that is damaged if it is.
                self.at = begin;
                self.reader.seek(SeekFrom::Start(begin + 1))?;
                self.reader.seek(SeekFrom::Start(begin))?;
            } else {
                self.reader.seek(SeekFrom::Start(offset))?;
                self.at = offset;
            }
        }
        while self.at < offset {
            let mut scrap = [0; 4096];
            let length = (offset - self.at).min(scrap.len() as u64) as usize;
            self.fill(&mut scrap[..length])?;
        }
        Ok(())
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.reader.read(buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    self.at += read as u64;
                    buffer = &mut buffer[read..];
                }
            }
        }
        Ok(())
    }

    /// A reader that met a damaged chunk gives nothing any more.
    fn begin_anew(&mut self) {
        let decryptor = Decryptor::new_buffered(self.sealed.buffered());
        if let Ok(reader) = decryptor.and_then(|one| one.decrypt(std::iter::once(&self.key as _))) {
            (self.reader, self.at) = (reader, 0);
        }
    }
}

/// The identity, which is asked once, and the stream's key that it found.
struct Once<'a> {
    identity: &'a Identity,
    key: RefCell<Option<FileKey>>,
}

/// The key of a stream whose header was read before.
struct Unwrapped(FileKey);

fn copy(key: &FileKey) -> FileKey {
    FileKey::init_with_mut(|bytes| bytes.copy_from_slice(key.expose_secret()))
}

impl age::Identity for Once<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        let found = self.identity.0.unwrap_stanza(stanza)?;
        if let Ok(key) = &found {
            self.key.replace(Some(copy(key)));
        }
        Some(found)
    }
}

impl age::Identity for Unwrapped {
    fn unwrap_stanza(&self, _: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        Some(Ok(copy(&self.0)))
    }
}

/// An age file whose header may have come from elsewhere.
#[derive(Clone)]
struct Sealed {
    seal: Arc<[u8]>,
    file: Arc<File>,
    from: u64,
    to: u64,
    at: u64,
}

impl Sealed {
    fn buffered(&self) -> BufReader<Sealed> {
        BufReader::with_capacity(READ_BYTES, Sealed { at: 0, ..self.clone() })
    }

    fn length(&self) -> u64 {
        self.seal.len() as u64 + self.to.saturating_sub(self.from)
    }
}

impl Read for Sealed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = (buffer.len() as u64).min(self.length().saturating_sub(self.at)) as usize;
        let seal = self.seal.len() as u64;
        let read = match self.seal.get(self.at.min(seal) as usize..) {
            Some(rest) if !rest.is_empty() => (&rest[..room.min(rest.len())]).read(buffer)?,
            _ => self.file.read_at(&mut buffer[..room], self.from + (self.at - seal))?,
        };
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Sealed {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
