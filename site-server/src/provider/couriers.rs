//! Parcels as administrators see them, and what they do with them.

mod shown;

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use futures::Stream;
use packhorse_domain::{Timestamp, id::SiteCode, message, parcel::ParcelState};
use packhorse_parcel::{ParcelId, Recipient};
use packhorse_proto::provider::v1::{
    CourierKey, CreateParcelRequest, CreateParcelResponse, GetParcelRequest, GetParcelResponse,
    ListKeysRequest, ListKeysResponse, ListParcelsRequest, ListParcelsResponse, MarkParcelRequest,
    MarkParcelResponse, Parcel, ParcelSite, PlanParcelRequest, PlanParcelResponse, ReceiveParcelsRequest,
    ReceiveParcelsResponse, TrustKeyRequest, TrustKeyResponse, VerifyParcelRequest, VerifyParcelResponse,
    WriteParcelRequest, WriteParcelResponse, courier_service_server::CourierService, mark_parcel_request::As,
};
use packhorse_runtime::{Lifecycle, error_chain, peer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use self::shown::{describe, unknown};
pub(super) use self::shown::{received, shown};
use super::{change::Change, invalid, missing, parsed};
use crate::{
    courier::{self, Progress, custody, incoming, kin, outgoing},
    error::Error,
    site::Site,
    store::{neighbours, parcels},
};

/// Words of progress that wait to be sent.
const WORDS_WAITING: usize = 4;
const TEXT_BYTES_MAX: usize = 255;
const PATH_BYTES_MAX: usize = 4096;
const SITES_MAX: usize = 1024;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Debug)]
pub(crate) struct Couriers {
    site: Arc<Site>,
    lifecycle: Lifecycle,
}

impl Couriers {
    pub(crate) fn new(site: Arc<Site>, lifecycle: Lifecycle) -> Self {
        Couriers { site, lifecycle }
    }

    async fn keys(&self) -> Result<Vec<CourierKey>, Error> {
        let mut tx = self.site.store.read().await?;
        let own = self.site.courier.recipient().to_string();
        let mut keys = vec![CourierKey { site: self.site.code().to_string(), recipient: own }];
        for neighbour in neighbours::list(&mut tx).await? {
            let known = courier::known(&mut tx, &neighbour.code).await?;
            let recipient = known.map(|known| known.to_string()).unwrap_or_default();
            keys.push(CourierKey { site: neighbour.code.to_string(), recipient });
        }
        Ok(keys)
    }

    async fn mark(&self, id: ParcelId, marked: As) -> Result<(), Error> {
        let mut tx = self.site.store.begin().await?;
        let Some(mut row) = parcels::get(&mut tx, &id).await? else { return Err(unknown(&id.to_string())) };
        if row.sender != *self.site.code() {
            return Err(Error::Precondition(format!(
                "parcel {} came from site {}: there it is marked",
                id.short(),
                row.sender
            )));
        }
        let to = match marked {
            As::Sent(sent) => {
                row.carrier = text("carrier", sent.carrier)?;
                row.tracking = text("tracking", sent.tracking)?;
                row.expected_at = (sent.expected_at_us > 0).then_some(Timestamp(sent.expected_at_us));
                row.sent_at = row.sent_at.or(Some(self.site.now()));
                ParcelState::Sent
            }
            As::Lost(_) => ParcelState::Lost,
        };
        let sites = parcels::sites(&mut tx, &id).await?;
        let is_through = sites.values().all(|(state, _)| *state == ParcelState::Confirmed);
        for (peer, (state, _)) in sites {
            // What one site has in hands is not lost for it, nor on its way.
            if state == ParcelState::Confirmed && !is_through {
                continue;
            }
            custody::step(&self.site, &mut tx, &id, (&peer, to)).await?;
        }
        parcels::put(&mut tx, &row).await?;
        tx.commit().await?;
        if to == ParcelState::Lost {
            outgoing::clean(&self.site, &id)?;
        }
        Ok(())
    }
}

/// The parcel whose id begins so.
pub(super) async fn find(site: &Site, prefix: &str) -> Result<ParcelId, Error> {
    let prefix = prefix.to_ascii_lowercase();
    if prefix.is_empty() {
        return Err(missing("parcel"));
    }
    let mut tx = site.store.read().await?;
    let rows = parcels::list(&mut tx).await?;
    let mut found = rows.iter().filter(|row| row.id.to_string().starts_with(&prefix));
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row.id),
        (Some(_), Some(_)) => Err(invalid("parcel", format!("several begin with {prefix}: give more of it"))),
        (None, _) => Err(unknown(&prefix)),
    }
}

fn text(field: &str, text: String) -> Result<String, Error> {
    if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(invalid(field, "at most 255 bytes without control characters are expected"));
    }
    Ok(text)
}

/// The sites that are named, and those of the subtrees that are.
async fn destinations(site: &Site, to: &[String], subtrees: &[String]) -> Result<kin::Subtree, Error> {
    let many = || invalid("to", "a parcel goes to at most 1024 sites: make several");
    if to.len() + subtrees.len() > SITES_MAX {
        return Err(many());
    }
    let named = to.iter().map(|code| parsed("to", code)).collect::<Result<_, _>>()?;
    let mut all = kin::Subtree { to: named, passed_on: Vec::new() };
    let mut tx = site.store.read().await?;
    for top in subtrees {
        let kin::Subtree { to, passed_on } =
            kin::subtree_of(site, &mut tx, &parsed("subtrees", top)?).await?;
        for (sites, known) in [(to, &mut all.to), (passed_on, &mut all.passed_on)] {
            for one in sites {
                if !known.contains(&one) {
                    known.push(one);
                }
            }
        }
    }
    match all.to.len() {
        0 if subtrees.is_empty() => Err(missing("to")),
        0 => Err(Error::Precondition(format!("no site below site {} is known yet", site.code()))),
        1..=SITES_MAX => {
            let to = &all.to;
            all.passed_on.retain(|one| !to.contains(one));
            Ok(all)
        }
        _ => Err(many()),
    }
}

/// A path on the site server at which something is; not within its own files.
fn path_of(site: &Site, path: &str) -> Result<PathBuf, Error> {
    let is_sound =
        path.starts_with('/') && path.len() <= PATH_BYTES_MAX && !path.chars().any(char::is_control);
    if !is_sound {
        return Err(invalid(
            "path",
            "an absolute path on the site server is expected: mount the medium there",
        ));
    }
    let Ok(real) = Path::new(path).canonicalize() else {
        let text =
            format!("{path} is not there, or this site server may not enter it: is the medium mounted?");
        return Err(Error::Precondition(text));
    };
    let own = site.directories.config();
    let own = own.parent().and_then(|own| own.canonicalize().ok()).unwrap_or_default();
    if real.starts_with(&own) {
        return Err(invalid(
            "path",
            format!("{path} is among the site's own files: name a directory on the medium"),
        ));
    }
    Ok(real)
}

pub(super) fn directory_of(site: &Site, path: &str) -> Result<PathBuf, Error> {
    let real = path_of(site, path)?;
    if real.is_dir() { Ok(real) } else { Err(invalid("path", format!("{path} is no directory"))) }
}

fn names(of: &[impl ToString]) -> Vec<String> {
    of.iter().map(ToString::to_string).collect()
}

fn volume_bytes(given: u64) -> Option<u64> {
    (given > 0).then_some(given)
}

/// Work that goes on as long as somebody listens: what it says, and at last its answer.
fn answered<T, F>(
    lifecycle: &Lifecycle,
    say: impl Fn(Progress) -> T + Send + 'static,
    work: impl FnOnce(courier::Listener) -> F + Send + 'static,
) -> Response<Answers<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let (answers, heard) = mpsc::channel(WORDS_WAITING);
    let (listener, mut words) = mpsc::channel(WORDS_WAITING);
    let stopping = lifecycle.stopping();
    lifecycle.spawn_finite("courier", async move {
        let mut work = std::pin::pin!(work(listener));
        loop {
            tokio::select! {
                biased;
                Some(word) = words.recv() => {
                    if stopping.is_cancelled() || answers.send(Ok(say(word))).await.is_err() {
                        // Whoever works hears of it at its next word, and what was done is kept.
                        drop(words);
                        drop(answers.send(work.await.map_err(Status::from)).await);
                        return;
                    }
                }
                last = &mut work => {
                    // Nobody has to be there any more.
                    drop(answers.send(last.map_err(Status::from)).await);
                    return;
                }
            }
        }
    });
    Response::new(Box::pin(ReceiverStream::new(heard)))
}

#[tonic::async_trait]
impl CourierService for Couriers {
    type WriteParcelStream = Answers<WriteParcelResponse>;
    type VerifyParcelStream = Answers<VerifyParcelResponse>;
    type ReceiveParcelsStream = Answers<ReceiveParcelsResponse>;

    async fn list_keys(&self, _: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        Ok(Response::new(ListKeysResponse { keys: self.keys().await? }))
    }

    async fn trust_key(
        &self,
        request: Request<TrustKeyRequest>,
    ) -> Result<Response<TrustKeyResponse>, Status> {
        let who = peer(&request)?.clone();
        let asked = request.into_inner();
        let site: SiteCode = parsed("site", &asked.site)?;
        let recipient: Recipient = parsed("recipient", asked.recipient.trim())?;
        let mut change = Change::begin(&self.site, &who).await?;
        courier::trust(&self.site, &mut change.tx, &site, (&recipient, self.site.now())).await?;
        change.finish(site.as_str(), message::courier_key_trusted()).await?;
        Ok(Response::new(TrustKeyResponse {}))
    }

    async fn plan_parcel(
        &self,
        request: Request<PlanParcelRequest>,
    ) -> Result<Response<PlanParcelResponse>, Status> {
        let asked = request.into_inner();
        let kin::Subtree { to, passed_on } = destinations(&self.site, &asked.to, &asked.subtrees).await?;
        let (plan, left_out) = outgoing::draft(&self.site, &to, volume_bytes(asked.volume_bytes)).await?;
        let mut parcel = Parcel {
            sender: self.site.code().to_string(),
            created_at_us: self.site.now().0,
            left_out: names(&left_out),
            passed_on: names(&passed_on),
            to: to
                .iter()
                .map(|site| ParcelSite { site: site.to_string(), ..ParcelSite::default() })
                .collect(),
            ..Parcel::default()
        };
        describe(&mut parcel, &plan, &[]);
        Ok(Response::new(PlanParcelResponse { parcel: Some(parcel) }))
    }

    async fn create_parcel(
        &self,
        request: Request<CreateParcelRequest>,
    ) -> Result<Response<CreateParcelResponse>, Status> {
        let who = peer(&request)?.clone();
        let asked = request.into_inner();
        let kin::Subtree { to, passed_on } = destinations(&self.site, &asked.to, &asked.subtrees).await?;
        let (row, left_out) =
            outgoing::create(&self.site, &to, volume_bytes(asked.volume_bytes), asked.hold_line).await?;
        let change = Change::begin(&self.site, &who).await?;
        change.finish(self.site.code().as_str(), message::parcel_created(&row.id.short())).await?;
        let mut parcel = shown(&self.site, &row.id, true).await?;
        (parcel.left_out, parcel.passed_on) = (names(&left_out), names(&passed_on));
        Ok(Response::new(CreateParcelResponse { parcel: Some(parcel) }))
    }

    async fn write_parcel(
        &self,
        request: Request<WriteParcelRequest>,
    ) -> Result<Response<Self::WriteParcelStream>, Status> {
        let asked = request.into_inner();
        let (id, root) = (find(&self.site, &asked.parcel).await?, directory_of(&self.site, &asked.path)?);
        let volumes = asked.volumes.iter().map(|number| u16::try_from(*number).unwrap_or(u16::MAX)).collect();
        let site = self.site.clone();
        Ok(answered(
            &self.lifecycle,
            |word| WriteParcelResponse {
                volume: word.volume.into(),
                bytes_done: word.bytes_done,
                bytes_total: word.bytes_total,
                parcel: None,
            },
            async move |listener| {
                outgoing::write(&site, id, root, volumes, listener).await?;
                let parcel = Some(shown(&site, &id, true).await?);
                Ok(WriteParcelResponse { parcel, ..WriteParcelResponse::default() })
            },
        ))
    }

    async fn verify_parcel(
        &self,
        request: Request<VerifyParcelRequest>,
    ) -> Result<Response<Self::VerifyParcelStream>, Status> {
        let asked = request.into_inner();
        let (id, root) = (find(&self.site, &asked.parcel).await?, directory_of(&self.site, &asked.path)?);
        let site = self.site.clone();
        Ok(answered(
            &self.lifecycle,
            |word| VerifyParcelResponse {
                volume: word.volume.into(),
                bytes_done: word.bytes_done,
                bytes_total: word.bytes_total,
                ..VerifyParcelResponse::default()
            },
            async move |listener| {
                let (whole, faults) = outgoing::verify(&site, id, root, listener).await?;
                let whole = whole.into_iter().map(u32::from).collect();
                Ok(VerifyParcelResponse { whole, faults, ..VerifyParcelResponse::default() })
            },
        ))
    }

    async fn mark_parcel(
        &self,
        request: Request<MarkParcelRequest>,
    ) -> Result<Response<MarkParcelResponse>, Status> {
        let asked = request.into_inner();
        let id = find(&self.site, &asked.parcel).await?;
        self.mark(id, asked.r#as.ok_or_else(|| missing("as"))?).await?;
        Ok(Response::new(MarkParcelResponse { parcel: Some(shown(&self.site, &id, true).await?) }))
    }

    async fn list_parcels(
        &self,
        _: Request<ListParcelsRequest>,
    ) -> Result<Response<ListParcelsResponse>, Status> {
        let mut tx = self.site.store.read().await.map_err(Error::from)?;
        let rows = parcels::list(&mut tx).await.map_err(Error::from)?;
        drop(tx);
        let mut parcels = Vec::with_capacity(rows.len());
        custody::tidy(&self.site).await?;
        for row in rows {
            if let Err(error) = custody::look(&self.site, &row).await {
                tracing::warn!(target: "courier-sender", parcel = %row.id.short(), error = %error_chain(&error),
                    "a parcel cannot be looked at");
            }
            parcels.push(shown(&self.site, &row.id, false).await?);
        }
        Ok(Response::new(ListParcelsResponse { parcels }))
    }

    async fn get_parcel(
        &self,
        request: Request<GetParcelRequest>,
    ) -> Result<Response<GetParcelResponse>, Status> {
        let id = find(&self.site, &request.get_ref().parcel).await?;
        let mut tx = self.site.store.read().await.map_err(Error::from)?;
        let row = parcels::get(&mut tx, &id).await.map_err(Error::from)?;
        drop(tx);
        if let Some(row) = row {
            custody::look(&self.site, &row).await?;
        }
        Ok(Response::new(GetParcelResponse { parcel: Some(shown(&self.site, &id, true).await?) }))
    }

    async fn receive_parcels(
        &self,
        request: Request<ReceiveParcelsRequest>,
    ) -> Result<Response<Self::ReceiveParcelsStream>, Status> {
        let path = path_of(&self.site, &request.get_ref().path)?;
        let site = self.site.clone();
        Ok(answered(
            &self.lifecycle,
            |word| ReceiveParcelsResponse {
                step: word.step,
                bytes_done: word.bytes_done,
                bytes_total: word.bytes_total,
                parcels: Vec::new(),
            },
            async move |listener| {
                let parcels = incoming::receive(&site, path, listener).await?;
                let parcels = received(&site, parcels).await?;
                Ok(ReceiveParcelsResponse { parcels, ..ReceiveParcelsResponse::default() })
            },
        ))
    }
}
