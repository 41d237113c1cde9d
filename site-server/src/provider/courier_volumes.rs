//! Volumes of parcels over the network, for media in the machine of the console.

use std::{fs::File, io::Write as _, path::PathBuf, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures::Stream;
use packhorse_domain::Digest;
use packhorse_parcel::{VOLUME_BYTES_MAX, Written};
use packhorse_proto::provider::v1::{
    KeepVolumeRequest, KeepVolumeResponse, ListVolumesRequest, ListVolumesResponse, ReadVolumeRequest,
    ReadVolumeResponse, TakeVolumeRequest, TakeVolumeResponse,
    courier_volume_service_server::CourierVolumeService, list_volumes_response::Volume,
};
use packhorse_runtime::{Lifecycle, peer};
use tokio::{
    io::AsyncReadExt as _,
    sync::{mpsc, oneshot},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    couriers::{find, received, shown},
    invalid, missing,
};
use crate::{
    care::room,
    courier::{
        Progress,
        elsewhere::{self, Brought},
        incoming, unheard,
    },
    error::Error,
    site::Site,
    streams::{StreamGuard, StreamKind, wire_of},
};

/// Messages that wait to be sent.
const WAITING: usize = 4;
const DATA_BYTES: usize = 256 * 1024;
const DATA_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug)]
pub(crate) struct CourierVolumes {
    site: Arc<Site>,
    lifecycle: Lifecycle,
}

impl CourierVolumes {
    pub(crate) fn new(site: Arc<Site>, lifecycle: Lifecycle) -> Self {
        CourierVolumes { site, lifecycle }
    }

    fn open<T>(&self, request: &Request<T>) -> Result<StreamGuard, Status> {
        let (streams, now) = (&self.site.streams, self.site.now());
        Ok(streams.open(StreamKind::CourierVolume, peer(request)?, wire_of(request), now))
    }

    /// Does it to its end, whether or not somebody waits for that.
    async fn finished<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Status> {
        let (done, answer) = oneshot::channel();
        self.lifecycle.spawn_finite("courier-volume", async move {
            // Nobody has to be there any more.
            drop(done.send(work.await));
        });
        answer.await.map_err(|_| Status::unavailable("the site server stops; try again"))
    }
}

type Answers = mpsc::Sender<Result<ReadVolumeResponse, Status>>;

/// Makes the volume and gives it, as long as somebody listens.
async fn give(
    site: Arc<Site>,
    id: packhorse_parcel::ParcelId,
    volume: u16,
    answers: &Answers,
) -> Result<(), Error> {
    let (listener, mut words) = mpsc::channel::<Progress>(WAITING);
    let mut made = std::pin::pin!(elsewhere::make(&site, id, volume, listener));
    let (path, written) = loop {
        tokio::select! {
            biased;
            Some(word) = words.recv() => {
                let told = ReadVolumeResponse { made_bytes: word.bytes_done, ..ReadVolumeResponse::default() };
                // Without anybody who listens the words end, and so does the making.
                if answers.send(Ok(told)).await.is_err() {
                    words.close();
                }
            }
            made = &mut made => break made?,
        }
    };
    send(path, written, answers).await
}

async fn send(path: PathBuf, written: Written, answers: &Answers) -> Result<(), Error> {
    let failed = |source| Error::File { what: format!("read {}", path.display()), source };
    let mut file = tokio::fs::File::open(&path).await.map_err(failed)?;
    let mut first = Some((written.length, Bytes::copy_from_slice(written.digest.as_bytes())));
    loop {
        let mut data = Vec::with_capacity(DATA_BYTES);
        (&mut file).take(DATA_BYTES as u64).read_to_end(&mut data).await.map_err(failed)?;
        if data.is_empty() {
            return Ok(());
        }
        let (length, digest) = first.take().unwrap_or_default();
        let message = ReadVolumeResponse { length, digest, data: data.into(), made_bytes: 0 };
        if answers.send(Ok(message)).await.is_err() {
            return Ok(());
        }
    }
}

fn number(volume: u32) -> Result<u16, Error> {
    match u16::try_from(volume) {
        Ok(number @ 1..) => Ok(number),
        _ => Err(invalid("volume", format!("there is no volume {volume}: they are counted from 1"))),
    }
}

/// Writes what comes to the file, and no more than was announced.
async fn take_in(
    site: &Site,
    requests: &mut Streaming<TakeVolumeRequest>,
    path: PathBuf,
    mut file: File,
) -> Result<(), Status> {
    let mut announced = None;
    let mut taken = 0;
    while let Some(request) = requests.message().await? {
        let length = *announced.get_or_insert(request.length);
        if taken == 0 {
            check_length(site, &path, length)?;
        }
        taken += request.data.len() as u64;
        if request.data.len() > DATA_BYTES_MAX || taken > length {
            return Err(invalid("data", "at most 1 MiB, and no more than was announced, is taken").into());
        }
        let data = request.data;
        file = tokio::task::spawn_blocking(move || file.write_all(&data).map(|()| file))
            .await
            .map_err(Error::from)?
            .map_err(|source| Error::File { what: "keep a volume that was brought".to_owned(), source })?;
    }
    match announced {
        None => Err(missing("length").into()),
        Some(length) if taken < length => {
            Err(invalid("data", format!("{taken} of {length} bytes came: send all of it")).into())
        }
        Some(_) => Ok(()),
    }
}

fn check_length(site: &Site, path: &std::path::Path, length: u64) -> Result<(), Error> {
    if length == 0 || length > VOLUME_BYTES_MAX {
        return Err(invalid("length", "a volume has 1 byte to 4 GiB - 1"));
    }
    let directory = path.parent().unwrap_or(path);
    Ok(room::check(site.settings.content.reserve, directory, length)?)
}

#[tonic::async_trait]
impl CourierVolumeService for CourierVolumes {
    type ReadVolumeStream = Pin<Box<dyn Stream<Item = Result<ReadVolumeResponse, Status>> + Send>>;

    async fn read_volume(
        &self,
        request: Request<ReadVolumeRequest>,
    ) -> Result<Response<Self::ReadVolumeStream>, Status> {
        let open = self.open(&request)?;
        let asked = request.into_inner();
        let (id, volume) = (find(&self.site, &asked.parcel).await?, number(asked.volume)?);
        let (answers, heard) = mpsc::channel(WAITING);
        let site = self.site.clone();
        self.lifecycle.spawn_finite("courier-volume", async move {
            if let Err(error) = give(site, id, volume, &answers).await {
                // Nobody has to be there any more.
                drop(answers.send(Err(error.into())).await);
            }
        });
        Ok(Response::new(Box::pin(open.over(ReceiverStream::new(heard)))))
    }

    async fn list_volumes(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Result<Response<ListVolumesResponse>, Status> {
        let id = find(&self.site, &request.into_inner().parcel).await?;
        let shown = |written: Option<Written>| {
            let told = |one: Written| Volume {
                length: one.length,
                digest: Bytes::copy_from_slice(one.digest.as_bytes()),
            };
            written.map(told).unwrap_or_default()
        };
        let volumes = elsewhere::list(&self.site, id).await?.into_iter().map(shown).collect();
        Ok(Response::new(ListVolumesResponse { parcel: id.to_string(), volumes }))
    }

    async fn keep_volume(
        &self,
        request: Request<KeepVolumeRequest>,
    ) -> Result<Response<KeepVolumeResponse>, Status> {
        let asked = request.into_inner();
        let (id, volume) = (find(&self.site, &asked.parcel).await?, number(asked.volume)?);
        let digest = asked.digest.as_ref().try_into().map(Digest);
        let digest = digest.map_err(|_| invalid("digest", "32 bytes are expected"))?;
        let site = self.site.clone();
        // Whoever asked may go: what was begun is noted all the same.
        self.finished(async move { elsewhere::keep(&site, id, volume, digest, unheard()).await }).await??;
        Ok(Response::new(KeepVolumeResponse { parcel: Some(shown(&self.site, &id, true).await?) }))
    }

    async fn take_volume(
        &self,
        request: Request<Streaming<TakeVolumeRequest>>,
    ) -> Result<Response<TakeVolumeResponse>, Status> {
        let _open = self.open(&request)?;
        let mut requests = request.into_inner();
        let (brought, file) = Brought::begin(&self.site)?;
        take_in(&self.site, &mut requests, brought.path().to_owned(), file).await?;
        let site = self.site.clone();
        let taken = self.finished(async move {
            let taken = incoming::receive(&site, brought.path().to_owned(), unheard()).await;
            drop(brought);
            taken
        });
        let taken = taken.await?;
        Ok(Response::new(TakeVolumeResponse { parcels: received(&self.site, taken?).await? }))
    }
}
