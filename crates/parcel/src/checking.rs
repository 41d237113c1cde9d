//! Written volumes read again, in whatever machine their medium is.

use std::{ops::ControlFlow, path::Path};

use crate::{
    id::ParcelId,
    plan::Written,
    write::{Progress, WriteError},
};

/// What lies on a medium of the volumes that were written of a parcel.
#[derive(Debug, Default)]
pub struct Checked {
    pub whole: Vec<u16>,
    pub faults: Vec<VolumeFault>,
}

/// What is wrong with a volume that lies there.
#[derive(Debug, thiserror::Error)]
pub enum VolumeFault {
    #[error("volume {0} is there and was not written from here")]
    NotOurs(u16),
    #[error("volume {0} is damaged, or not the copy that was written last")]
    Damaged(u16),
    #[error("volume {volume}")]
    Unreadable {
        volume: u16,
        #[source]
        source: WriteError,
    },
}

/// Reads those volumes of a parcel again that lie below `root`, past the page cache, and takes no keys. `written`: what
/// each was, from the first on, when it was written. Nothing on the medium changes. `None`: `progress` cancelled it.
pub fn check_written(
    id: &ParcelId,
    written: &[Option<Written>],
    root: &Path,
    progress: &mut dyn FnMut(u16, Progress) -> ControlFlow<()>,
) -> Option<Checked> {
    let mut checked = Checked::default();
    for (volume, written) in (1..).zip(written) {
        let path = root.join(id.volume(volume));
        if !path.exists() {
            continue;
        }
        let Some(written) = written else {
            checked.faults.push(VolumeFault::NotOurs(volume));
            continue;
        };
        match written.verify(&path, &mut |now| progress(volume, now)) {
            Ok(()) => checked.whole.push(volume),
            Err(WriteError::Cancelled) => return None,
            Err(WriteError::Misread { .. }) => checked.faults.push(VolumeFault::Damaged(volume)),
            Err(source) => checked.faults.push(VolumeFault::Unreadable { volume, source }),
        }
    }
    Some(checked)
}
