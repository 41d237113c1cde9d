//! Questions to other sites: to the children that attend, and to the parent.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use packhorse_domain::{
    diagnosis::{Question, Report},
    id::SiteCode,
};
use packhorse_proto::inquiry::v1::{
    Answer, AskRequest, AskResponse, AttendRequest, AttendResponse,
    inquiry_service_client::InquiryServiceClient, inquiry_service_server::InquiryService,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, transport::Channel};

use super::Asker;
use crate::{error::Error, sender::calling_child};

/// Questions that one child has open.
const OPEN_MAX: usize = 16;
const WITHIN: Duration = Duration::from_secs(5);
const WITHIN_MAX: Duration = Duration::from_secs(30);
/// An answer as the sites below give it.
pub(crate) const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Whom this site can ask.
#[derive(Debug, Default)]
pub(crate) struct Inquiries {
    children: Mutex<BTreeMap<SiteCode, Attending>>,
    parent: Mutex<Option<Channel>>,
    number: AtomicU64,
}

/// A child that takes questions.
#[derive(Debug, Clone)]
struct Attending {
    questions: mpsc::Sender<Result<AttendResponse, Status>>,
    open: Open,
}

type Open = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>>;

impl Inquiries {
    /// Asks a child. `None`: it does not attend, or did not answer in time, or not what an answer is.
    pub(crate) async fn ask(
        &self,
        child: &SiteCode,
        question: &Question,
        within: Duration,
    ) -> Option<Vec<Report>> {
        let attending = self.children.lock().unwrap_or_else(PoisonError::into_inner).get(child).cloned()?;
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let (answered, answer) = oneshot::channel();
        {
            let mut open = attending.open.lock().unwrap_or_else(PoisonError::into_inner);
            if open.len() >= OPEN_MAX {
                return None;
            }
            open.insert(number, answered);
        }
        let within_us = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
        let asked = AttendResponse { number, question: Some(question.into()), within_us };
        let answer = tokio::time::timeout(within, async {
            attending.questions.send(Ok(asked)).await.ok()?;
            answer.await.ok()
        })
        .await;
        attending.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        read(child, answer.ok()??)
    }

    /// Asks the parent, while there is a link to it.
    pub(crate) async fn ask_parent(&self, question: &Question, within: Duration) -> Option<Vec<Report>> {
        let channel = self.parent.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let mut client = InquiryServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let within_us = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
        let request = AskRequest { question: Some(question.into()), within_us };
        match tokio::time::timeout(within, client.ask(request)).await {
            Ok(Ok(answer)) => answer.into_inner().answer?.try_into().ok(),
            Ok(Err(status)) => {
                tracing::debug!(target: "status-manager", status = status.message(), "the parent gives no answer");
                None
            }
            Err(_) => None,
        }
    }

    pub(super) fn set_parent(&self, channel: Option<Channel>) {
        *self.parent.lock().unwrap_or_else(PoisonError::into_inner) = channel;
    }
}

fn read(child: &SiteCode, answer: Answer) -> Option<Vec<Report>> {
    match answer.try_into() {
        Ok(reports) => Some(reports),
        Err(error) => {
            let error: packhorse_proto::convert::ConvertError = error;
            tracing::warn!(target: "status-manager", peer = %child, error = error.text(), "an answer is none");
            None
        }
    }
}

/// Serves `InquiryService`: the parent's end.
#[derive(Debug, Clone)]
pub(crate) struct InquiryServer {
    pub(crate) asker: Asker,
}

#[tonic::async_trait]
impl InquiryService for InquiryServer {
    type AttendStream = ReceiverStream<Result<AttendResponse, Status>>;

    async fn attend(
        &self,
        request: Request<Streaming<AttendRequest>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let child = calling_child(&self.asker.site, &request).await?;
        let (questions, asked) = mpsc::channel(OPEN_MAX);
        let open = Open::default();
        let attending = Attending { questions: questions.clone(), open: open.clone() };
        let site = self.asker.site.clone();
        site.inquiries
            .children
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(child.clone(), attending);
        let mut answers = request.into_inner();
        let stop = self.asker.lifecycle.stopping();
        self.asker.lifecycle.spawn_finite("inquiries", async move {
            loop {
                let next = tokio::select! {
                    () = stop.cancelled() => break,
                    () = questions.closed() => break,
                    next = answers.next() => next,
                };
                let Some(Ok(AttendRequest { number, answer })) = next else { break };
                let asked = open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
                if let (Some(asked), Some(answer)) = (asked, answer) {
                    // Whoever asked may have gone.
                    drop(asked.send(answer));
                }
            }
            let mut children = site.inquiries.children.lock().unwrap_or_else(PoisonError::into_inner);
            if children.get(&child).is_some_and(|attending| Arc::ptr_eq(&attending.open, &open)) {
                children.remove(&child);
            }
        });
        Ok(Response::new(ReceiverStream::new(asked)))
    }

    async fn ask(&self, request: Request<AskRequest>) -> Result<Response<AskResponse>, Status> {
        let child = calling_child(&self.asker.site, &request).await?;
        let request = request.into_inner();
        let within = match request.within_us {
            0 => WITHIN,
            us => Duration::from_micros(us).min(WITHIN_MAX),
        };
        let question =
            request.question.ok_or_else(|| Status::invalid_argument("field `question` is missing"))?;
        let question: Question = question.try_into().map_err(Error::from)?;
        let reports = self.asker.answer_child(&question, &child, Instant::now() + within).await?;
        Ok(Response::new(AskResponse { answer: Some((&reports).into()) }))
    }
}
