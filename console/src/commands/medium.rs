//! Media in this machine: volumes come from the site server, or go there, over the network.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use indicatif::ProgressBar;
use packhorse_domain::Digest;
use packhorse_parcel::{
    Checked, FoundVolume, Medium, MediumError, ParcelId, VolumeCopy, WriteError, Written, check_written, scan,
};
use packhorse_proto::provider::v1::{self as wire, ReadVolumeResponse, TakeVolumeRequest};
use packhorse_runtime::error_chain;
use tokio::{sync::mpsc, task::JoinHandle};
use tonic::{Status, Streaming};

use crate::{
    commands::{
        progress::bar,
        upload::{Message, requests},
    },
    connect::Session,
    error::ConsoleError,
    view::clean,
};

/// Messages that are ahead of the medium.
const AHEAD: usize = 8;
const DATA_BYTES: usize = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum MediumFault {
    #[error("the medium failed")]
    Medium(#[source] MediumError),
    #[error("volume {volume} was not written")]
    Volume {
        volume: u32,
        #[source]
        source: WriteError,
    },
    #[error("the site server sent no whole volume {0}")]
    CutOff(u32),
    #[error("{} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Writes volumes of a parcel to a medium in this machine, one after the other. Gives the parcel as it stands then.
pub(crate) async fn write(
    session: &Session,
    parcel: &wire::Parcel,
    medium: &Path,
    volumes: &[u32],
) -> Result<wire::Parcel, ConsoleError> {
    let id: ParcelId = parcel.id.parse().map_err(|_| ConsoleError::Incomplete("parcel"))?;
    let fault = |source| ConsoleError::MediumHere { path: medium.to_owned(), source: Box::new(source) };
    // As it is now: what is mounted there later is another medium.
    let there = Medium::at(medium).map_err(|error| fault(MediumFault::Medium(error)))?;
    let there = Arc::new(there);
    let mut stands = parcel.clone();
    let missing: Vec<u32> = (1..=parcel.volumes).filter(|one| !parcel.volumes_done.contains(one)).collect();
    for volume in if volumes.is_empty() { &missing } else { volumes } {
        let digest = copy(session, (&id, *volume), medium, &there).await?;
        let request = wire::KeepVolumeRequest {
            parcel: parcel.id.clone(),
            volume: *volume,
            digest: Bytes::copy_from_slice(digest.as_bytes()),
        };
        let kept = session.courier_volumes().keep_volume(request).await?.into_inner();
        stands = kept.parcel.ok_or(ConsoleError::Incomplete("parcel"))?;
    }
    Ok(stands)
}

async fn copy(
    session: &Session,
    (id, volume): (&ParcelId, u32),
    path: &Path,
    medium: &Arc<Medium>,
) -> Result<Digest, ConsoleError> {
    let request = wire::ReadVolumeRequest { parcel: id.to_string(), volume };
    let mut messages = session.courier_volumes().read_volume(request).await?.into_inner();
    let bar = bar();
    let id = *id;
    let fault = |source| ConsoleError::MediumHere { path: path.to_owned(), source: Box::new(source) };
    let first =
        first(&mut messages, volume, &bar).await?.ok_or_else(|| fault(MediumFault::CutOff(volume)))?;
    let digest = digest_of(&first.digest)?;
    let written = Written { length: first.length, digest };
    bar.set_length(2 * written.length);
    bar.set_message(format!("volume {volume}: writing"));
    let (data, arriving) = mpsc::channel(AHEAD);
    let (medium, shown) = (medium.clone(), bar.clone());
    let writer = tokio::task::spawn_blocking(move || put(&medium, (&id, volume), written, arriving, &shown));
    let mut next = Some(first);
    let mut ended = Ok(());
    while let Some(message) = next {
        // A writer that is gone says why.
        if data.send(message.data).await.is_err() {
            break;
        }
        match messages.message().await {
            Ok(message) => next = message,
            Err(status) => {
                ended = Err(status);
                break;
            }
        }
    }
    drop(data);
    let put = finished(writer).await;
    bar.finish_and_clear();
    // What the writer says explains more than that it went away.
    put.map_err(fault)?;
    ended?;
    Ok(digest)
}

/// The first message with data. Before that the volume is made.
async fn first(
    messages: &mut Streaming<ReadVolumeResponse>,
    volume: u32,
    bar: &ProgressBar,
) -> Result<Option<ReadVolumeResponse>, Status> {
    bar.set_message(format!("volume {volume}: the site server makes it"));
    loop {
        match messages.message().await? {
            Some(message) if message.data.is_empty() => bar.set_position(message.made_bytes),
            other => return Ok(other),
        }
    }
}

fn put(
    medium: &Medium,
    (id, volume): (&ParcelId, u32),
    written: Written,
    mut arriving: mpsc::Receiver<Bytes>,
    bar: &ProgressBar,
) -> Result<(), MediumFault> {
    let failed = |source| MediumFault::Volume { volume, source };
    let number = u16::try_from(volume).unwrap_or(u16::MAX);
    let Some(mut copy) = VolumeCopy::begin(medium, id, number, written).map_err(failed)? else {
        // The run that wrote it ended before the site server heard of it.
        return Ok(());
    };
    let mut came = 0;
    while let Some(data) = arriving.blocking_recv() {
        copy.push(&data).map_err(failed)?;
        came += data.len() as u64;
        bar.set_position(came);
    }
    if came < written.length {
        return Err(MediumFault::CutOff(volume));
    }
    bar.set_message(format!("volume {volume}: reading back"));
    let finished = copy.finish(&mut |progress| {
        bar.set_position(progress.done);
        ControlFlow::Continue(())
    });
    finished.map_err(failed)
}

/// Reads the volumes of a parcel again that lie on a medium in this machine, and compares them with what the site server says
/// was written.
pub(crate) async fn verify(
    session: &Session,
    parcel: String,
    medium: &Path,
) -> Result<wire::VerifyParcelResponse, ConsoleError> {
    let fault = |source| ConsoleError::MediumHere { path: medium.to_owned(), source: Box::new(source) };
    let request = wire::ListVolumesRequest { parcel };
    let listed = session.courier_volumes().list_volumes(request).await?.into_inner();
    let id: ParcelId = listed.parcel.parse().map_err(|_| ConsoleError::Incomplete("parcel"))?;
    let written: Vec<Option<Written>> = listed.volumes.iter().map(was_written).collect::<Result<_, _>>()?;
    // Where no medium is there is none of its volumes, and that is not what was asked.
    Medium::at(medium).map_err(|error| fault(MediumFault::Medium(error)))?;
    let (root, bar) = (medium.to_owned(), bar());
    let shown = bar.clone();
    let checked = aside(move || {
        check_written(&id, &written, &root, &mut |volume, now| {
            shown.set_length(now.total);
            shown.set_message(format!("volume {volume}: reading"));
            shown.set_position(now.done);
            ControlFlow::Continue(())
        })
    })
    .await;
    bar.finish_and_clear();
    // Nobody cancels it but by ending the program.
    let Checked { whole, faults } = checked.unwrap_or_default();
    Ok(wire::VerifyParcelResponse {
        whole: whole.into_iter().map(u32::from).collect(),
        faults: faults.iter().map(|fault| error_chain(fault)).collect(),
        ..wire::VerifyParcelResponse::default()
    })
}

fn was_written(volume: &wire::list_volumes_response::Volume) -> Result<Option<Written>, ConsoleError> {
    if volume.digest.is_empty() {
        return Ok(None);
    }
    Ok(Some(Written { length: volume.length, digest: digest_of(&volume.digest)? }))
}

fn digest_of(bytes: &[u8]) -> Result<Digest, ConsoleError> {
    bytes.try_into().map(Digest).map_err(|_| ConsoleError::Incomplete("digest"))
}

/// Does what waits for a medium in a thread of its own.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    finished(tokio::task::spawn_blocking(work)).await
}

async fn finished<T>(work: JoinHandle<T>) -> T {
    match work.await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// Brings the volumes that lie below a path in this machine, and are for this site, to the site server. Gives what came of
/// each parcel with its last volume.
pub(crate) async fn bring(
    session: &Session,
    path: PathBuf,
) -> Result<wire::ReceiveParcelsResponse, ConsoleError> {
    let looked = path.clone();
    let found = aside(move || scan(&looked)).await;
    let found = found.map_err(|source| ConsoleError::MediumHere {
        path: path.clone(),
        source: Box::new(MediumFault::Read { path, source }),
    })?;
    let no_parcel = |fault| wire::ReceivedParcel { faults: vec![fault], ..Default::default() };
    let mut parcels: Vec<wire::ReceivedParcel> = found.faults().into_iter().map(no_parcel).collect();
    for (id, parcel) in found.parcels {
        let volumes: Vec<FoundVolume> = parcel.volumes.into_values().flatten().collect();
        let is_ours =
            |one: &FoundVolume| one.head.destinations.iter().any(|site| site.as_str() == session.site());
        if !volumes.iter().any(is_ours) {
            let parcel = wire::Parcel { id: id.to_string(), incoming: true, ..wire::Parcel::default() };
            let for_others = wire::ReceivedParcel {
                parcel: Some(parcel),
                for_others: true,
                ..wire::ReceivedParcel::default()
            };
            parcels.push(for_others);
            continue;
        }
        let mut came = wire::ReceivedParcel::default();
        for volume in volumes {
            let answer = bring_one(session, volume.path).await?;
            for mut one in answer.parcels {
                // What was wrong with others stays worth knowing.
                let mut faults = std::mem::take(&mut came.faults);
                faults.append(&mut one.faults);
                came = wire::ReceivedParcel { faults, ..one };
            }
        }
        parcels.push(came);
    }
    Ok(wire::ReceiveParcelsResponse { parcels, ..wire::ReceiveParcelsResponse::default() })
}

async fn bring_one(session: &Session, path: PathBuf) -> Result<wire::TakeVolumeResponse, ConsoleError> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let (bar, from) = (bar(), path.clone());
    bar.set_message(clean(&path.display().to_string()));
    let shown = bar.clone();
    let mut reader = tokio::task::spawn_blocking(move || read(&from, &sender, &shown));
    let mut volumes = session.courier_volumes();
    let mut call = std::pin::pin!(volumes.take_volume(requests(receiver)));
    let answer = tokio::select! {
        // It answers early only to refuse.
        answer = &mut call => answer,
        read = &mut reader => match read {
            Ok(Ok(())) => call.await,
            Ok(Err(source)) => {
                bar.finish_and_clear();
                let source = Box::new(MediumFault::Read { path: path.clone(), source });
                return Err(ConsoleError::MediumHere { path, source });
            }
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        },
    };
    bar.finish_and_clear();
    Ok(answer?.into_inner())
}

/// `None` at the end: all was sent.
fn read(
    path: &Path,
    sender: &mpsc::Sender<Message<TakeVolumeRequest>>,
    bar: &ProgressBar,
) -> std::io::Result<()> {
    use std::io::Read as _;
    let file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    bar.set_length(length);
    let mut file = file.take(length);
    loop {
        let mut data = Vec::with_capacity(DATA_BYTES);
        (&mut file).take(DATA_BYTES as u64).read_to_end(&mut data)?;
        if data.is_empty() {
            break;
        }
        bar.inc(data.len() as u64);
        if sender.blocking_send(Some(TakeVolumeRequest { length, data: data.into() })).is_err() {
            // The call has ended, and its answer says why.
            return Ok(());
        }
    }
    // Nobody has to be there any more.
    drop(sender.blocking_send(None));
    Ok(())
}
