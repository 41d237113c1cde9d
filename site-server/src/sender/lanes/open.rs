//! How a child opens lanes to its parent.

use std::{net::SocketAddr, str::FromStr as _, sync::Arc};

use packhorse_domain::{
    id::SiteCode,
    link::{Frame, LaneOffer},
};
use packhorse_proto::link::v1::{ExchangeRequest, link_service_client::LinkServiceClient};
use packhorse_runtime::{Caller, Lifecycle, QuicConnectError, QuicDial, Wire, error_chain, quic_connect};
use packhorse_trust::{Credentials, Name};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, metadata::AsciiMetadataValue};

use super::{
    LANE, Plan,
    quic::{CHILD_LIMITS, line_of},
};
use crate::{
    sender::{
        dial::{DialError, channel},
        fault::MESSAGE_BYTES_MAX,
        inbound::read_frames,
        lines::Line,
        session::OUTBOUND_FRAMES_MAX,
    },
    site::Site,
};

/// Opens lanes beside the link's first connection.
#[derive(Clone)]
pub(in crate::sender) struct Opener {
    pub(in crate::sender) site: Arc<Site>,
    pub(in crate::sender) lifecycle: Lifecycle,
    pub(in crate::sender) parent: SiteCode,
    pub(in crate::sender) endpoint: String,
    /// The first connection.
    pub(in crate::sender) main: Arc<Wire>,
}

impl Opener {
    /// Opens lanes, beside everything else. The link goes on without those that fail.
    pub(super) fn open(
        &self,
        plan: Plan,
        offer: LaneOffer,
        enter: &mpsc::Sender<Line>,
        token: &CancellationToken,
    ) {
        let (opener, enter, token) = (self.clone(), enter.clone(), token.clone());
        self.lifecycle.spawn_finite("lanes", async move {
            let opening = Box::pin(opener.open_now(plan, offer, &enter, &token));
            token.run_until_cancelled(opening).await;
        });
    }

    async fn open_now(
        &self,
        plan: Plan,
        offer: LaneOffer,
        enter: &mpsc::Sender<Line>,
        token: &CancellationToken,
    ) {
        if plan.udp {
            match self.over_udp(&offer).await {
                Ok(line) => return drop(enter.send(line).await),
                Err(error) => {
                    self.failed(&error_chain(&error));
                    let now = self.site.now();
                    self.site.links(|links| {
                        links.entry(self.parent.clone()).or_default().udp_failed_at = Some(now);
                    });
                }
            }
        }
        for _ in 0..plan.calls {
            let (opener, enter, token) = (self.clone(), enter.clone(), token.clone());
            self.lifecycle.spawn_finite("lane", async move {
                match token.run_until_cancelled(Box::pin(opener.over_tcp(offer.session))).await {
                    Some(Ok(line)) => drop(enter.send(line).await),
                    Some(Err(error)) => opener.failed(&error_chain(&error)),
                    None => {}
                }
            });
        }
    }

    fn failed(&self, error: &str) {
        tracing::warn!(target: "sender", peer = %self.parent, error, "a lane was not opened");
    }

    async fn over_udp(&self, offer: &LaneOffer) -> Result<Line, LaneError> {
        let dialled = self.main.dialled().ok_or(LaneError::NotDialled)?;
        let address = SocketAddr::new(dialled.address.ip(), offer.port);
        let credentials =
            Credentials::load(&self.site.directories.parent_credentials()).map_err(DialError::Credentials)?;
        let server = Name::of_site(self.parent.clone(), &self.parent);
        let dial = QuicDial { address, trip: Some(dialled.within) };
        let caller = Caller::Known(&credentials);
        let quic = quic_connect(dial, &server, caller, &offer.session, CHILD_LIMITS).await?;
        Ok(line_of(&self.lifecycle, quic))
    }

    async fn over_tcp(&self, session: [u8; 16]) -> Result<Line, DialError> {
        let counter = Arc::<Wire>::default();
        let channel = channel(&self.site, &self.parent, &self.endpoint, counter.clone()).await?;
        let (outbound, frames) = mpsc::channel(OUTBOUND_FRAMES_MAX);
        let frames =
            ReceiverStream::new(frames).map(|frame: Frame| ExchangeRequest { frame: Some(frame.into()) });
        let mut request = Request::new(frames);
        let name = AsciiMetadataValue::from_str(&hex::encode(session)).expect("digits are ASCII");
        request.metadata_mut().insert(LANE, name);
        let mut client = LinkServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let answer = client.exchange(request).await;
        let answers = answer.map_err(|status| DialError::Refused(Box::new(status)))?.into_inner();
        let answers = answers.map(|message| message.map(|message| message.frame));
        Ok(Line { counter, inbound: read_frames(&self.lifecycle, answers), outbound })
    }
}

/// Why there is no lane over UDP.
#[derive(Debug, thiserror::Error)]
enum LaneError {
    #[error("where the first connection leads to is not known")]
    NotDialled,
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("no lane over UDP")]
    Connect(#[from] QuicConnectError),
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::{config::LaneMode, sender::tests::lanes::linked};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn where_udp_does_not_pass_lanes_go_over_tcp() {
        let (central, child, _wires) = linked(LaneMode::Tcp, LaneMode::Off).await;
        let door = central.site.links(|links| links[child.code()].door.clone()).expect("lanes are taken");
        let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
        let offer = LaneOffer { port: deaf.local_addr().unwrap().port(), ..door.offer };
        let main = child.site.links(|links| links[central.code()].counter.clone());
        let endpoint = main.dialled().expect("it dialled").address.to_string();
        let (site, lifecycle) = (child.site.clone(), child.lifecycle.clone());
        let opener = Opener { site, lifecycle, parent: central.code().clone(), endpoint, main };
        let (enter, mut entered) = mpsc::channel(8);

        opener.open(Plan { udp: true, calls: 2 }, offer, &enter, &child.lifecycle.stopping());

        for _ in 0..2 {
            let line = entered.recv().await.expect("a lane");
            assert!(!line.counter.is_quic());
        }
        let failed_at = child.site.links(|links| links[central.code()].udp_failed_at);
        assert!(failed_at.is_some(), "it is not tried again soon");
    }
}
