//! What a volume consists of, in order: front, envelope, pieces, envelope again, front again.

use std::{
    io,
    ops::ControlFlow,
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

use super::{WAITING_MAX, WriteError};
use crate::{
    head::Front,
    layout::Piece,
    limits::PIECE_BYTES_MAX,
    plan::{Plan, Source},
    seal::Sealer,
};

pub(super) struct Feeding<'a> {
    pub(super) plan: &'a Plan,
    pub(super) number: u16,
    pub(super) source: &'a dyn Source,
    pub(super) front: &'a Front,
}

/// Why it ends early.
enum End {
    /// Nobody takes what is made: whoever should knows why.
    Untaken,
    Failed(WriteError),
}

impl Feeding<'_> {
    /// Makes the volume up to its checksum.
    pub(super) fn run(
        &self,
        sealer: Sealer,
        out: &SyncSender<Vec<u8>>,
        progress: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<(), WriteError> {
        match self.feed(sealer, out, progress) {
            Ok(()) | Err(End::Untaken) => Ok(()),
            Err(End::Failed(error)) => Err(error),
        }
    }

    fn feed(
        &self,
        mut sealer: Sealer,
        out: &SyncSender<Vec<u8>>,
        progress: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<(), End> {
        let send = |bytes| out.send(bytes).map_err(|_| End::Untaken);
        let mut push = |plain: &[u8]| {
            sealer.push(plain).map_err(failed)?;
            send(sealer.take())?;
            match progress() {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(End::Failed(WriteError::Cancelled)),
            }
        };
        send(self.front.encode())?;
        let envelope = &self.plan.envelope;
        let length = (envelope.len() as u64).to_le_bytes();
        push(&length)?;
        envelope.chunks(PIECE_BYTES_MAX as usize).try_for_each(&mut push)?;
        thread::scope(|scope| {
            let (ahead, pieces) = sync_channel(WAITING_MAX);
            scope.spawn(move || self.read_ahead(&ahead));
            pieces.into_iter().try_for_each(|piece| push(&piece.map_err(End::Failed)?))
        })?;
        envelope.chunks(PIECE_BYTES_MAX as usize).try_for_each(&mut push)?;
        push(&length)?;
        send(sealer.finish().map_err(failed)?)?;
        send(self.front.encode_end())
    }

    /// Reads and checks in a thread of its own, until somebody has seen an error or nobody takes it any more.
    fn read_ahead(&self, out: &SyncSender<Result<Vec<u8>, WriteError>>) {
        for piece in self.plan.list.pieces(self.number) {
            let bytes = self.read(&piece);
            let failed = bytes.is_err();
            if out.send(bytes).is_err() || failed {
                return;
            }
        }
    }

    /// Nothing leaves that is not what the signed list says.
    fn read(&self, piece: &Piece) -> Result<Vec<u8>, WriteError> {
        let item = self.plan.list.items()[piece.item].id;
        let mut buffer = vec![0; piece.length as usize];
        self.source.read_exact_at(&item, piece.offset, &mut buffer).map_err(|source| {
            match source.kind() {
                io::ErrorKind::UnexpectedEof => WriteError::Short { item },
                _ => WriteError::Source { item, source },
            }
        })?;
        match self.plan.list.holds(piece, &buffer) {
            true => Ok(buffer),
            false => Err(WriteError::Changed { item, offset: piece.offset }),
        }
    }
}

/// Encryption into memory fails only if age has it so.
fn failed(error: io::Error) -> End {
    End::Failed(WriteError::Encrypt(error.into()))
}
