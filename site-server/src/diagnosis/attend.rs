//! The child's end: takes the parent's questions beside the link, on its connection.

use std::time::Duration;

use packhorse_domain::diagnosis::Question;
use packhorse_proto::inquiry::v1::{
    Answer, AttendRequest, AttendResponse, inquiry_service_client::InquiryServiceClient,
};
use packhorse_runtime::error_chain;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, transport::Channel};

use super::{Asker, Part};

const AGAIN: Duration = Duration::from_secs(10);
const WITHIN_MAX: Duration = Duration::from_secs(30);

/// Attends to the parent's questions for as long as it is polled: with the link it ends.
pub(crate) async fn attend(asker: &Asker, channel: Channel) {
    asker.site.inquiries.set_parent(Some(channel.clone()));
    let _forgets = Forgets(asker);
    loop {
        match answer_all(asker, channel.clone()).await {
            // An older parent does not ask.
            Err(status) if status.code() == Code::Unimplemented => std::future::pending().await,
            Err(status) => {
                tracing::debug!(target: "status-manager", status = status.message(), "the parent asks nothing now");
            }
            Ok(()) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The parent is asked no more once the link is gone.
struct Forgets<'a>(&'a Asker);

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        self.0.site.inquiries.set_parent(None);
    }
}

async fn answer_all(asker: &Asker, channel: Channel) -> Result<(), tonic::Status> {
    let (answers, requests) = mpsc::channel(4);
    // Nothing waits in it yet.
    drop(answers.try_send(AttendRequest::default()));
    let mut client = InquiryServiceClient::new(channel);
    let mut questions = client.attend(ReceiverStream::new(requests)).await?.into_inner();
    while let Some(asked) = questions.next().await {
        let AttendResponse { number, question, within_us } = asked?;
        let deadline = Instant::now() + Duration::from_micros(within_us).min(WITHIN_MAX);
        let (asker, answers) = (asker.clone(), answers.clone());
        // Side by side: one question may wait for a site below that another has nothing to do with.
        asker.lifecycle.clone().spawn_finite("inquiry", async move {
            if let Some(answer) = answer(&asker, question, deadline).await {
                drop(answers.send(AttendRequest { number, answer: Some(answer) }).await);
            }
        });
    }
    Ok(())
}

async fn answer(
    asker: &Asker,
    question: Option<packhorse_proto::inquiry::v1::Question>,
    deadline: Instant,
) -> Option<Answer> {
    let question: Question = match question?.try_into() {
        Ok(question) => question,
        Err(error) => {
            let error: packhorse_proto::convert::ConvertError = error;
            tracing::warn!(target: "status-manager", error = error.text(), "a question is none");
            return None;
        }
    };
    match asker.answer(&question, Part::Below, deadline).await {
        Ok(reports) => Some((&reports).into()),
        Err(error) => {
            tracing::warn!(target: "status-manager", error = error_chain(&error), "a question has no answer");
            None
        }
    }
}
