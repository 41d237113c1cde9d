//! What a site server is doing, once or over and over.

use std::{
    io::{self, IsTerminal as _},
    pin::pin,
};

use packhorse_proto::{convert::time::duration, provider::v1 as wire};

use crate::{
    cli::{
        Format,
        diagnosis::{Inspect, Subject},
    },
    commands::watch::interrupted,
    connect::Session,
    error::ConsoleError,
    view::{self, inspect::Inspection, show, show_line},
};

/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(crate) async fn inspect(session: &Session, asked: Inspect) -> Result<(), ConsoleError> {
    if !asked.watch {
        return show(&look(session, &asked).await?, session.format);
    }
    let mut stop = pin!(interrupted());
    tokio::select! {
        () = &mut stop => Ok(()),
        ended = watch(session, &asked) => ended,
    }
}

async fn look(session: &Session, asked: &Inspect) -> Result<Inspection, ConsoleError> {
    let mut client = session.inspect();
    let wants = |subject| asked.what.is_none_or(|what| what == subject);
    let peer = peer_of(asked);
    let mut seen = Inspection::default();
    if wants(Subject::Workers) {
        seen.take_workers(client.list_workers(wire::ListWorkersRequest {}).await?.into_inner());
    }
    if wants(Subject::Links) {
        let request = wire::ListLinksRequest { peer: peer.clone() };
        seen.take_links(client.list_links(request).await?.into_inner());
    }
    if wants(Subject::Queues) {
        let request = wire::ListQueuesRequest { peer, items_max: asked.items, all: false };
        seen.take_queues(client.list_queues(request).await?.into_inner());
    }
    if wants(Subject::Streams) {
        seen.take_streams(client.list_streams(wire::ListStreamsRequest {}).await?.into_inner());
    }
    Ok(seen)
}

/// Until the site server ends it. It sends what it sees by itself; streams alone are asked for again and again.
async fn watch(session: &Session, asked: &Inspect) -> Result<(), ConsoleError> {
    if asked.what == Some(Subject::Streams) {
        loop {
            draw(session, &look(session, asked).await?)?;
            tokio::time::sleep(asked.every).await;
        }
    }
    let request = wire::WatchRequest {
        interval: Some(duration(asked.every)),
        peer: peer_of(asked),
        items_max: asked.items,
    };
    let mut looks = session.inspect().watch(request).await?.into_inner();
    while let Some(seen) = looks.message().await? {
        let mut inspection = Inspection::default();
        let wants = |subject| asked.what.is_none_or(|what| what == subject);
        if wants(Subject::Workers) {
            let (at, workers) = (seen.at, seen.workers);
            inspection.take_workers(wire::ListWorkersResponse { at, workers, started_at: None });
        }
        if wants(Subject::Links) {
            inspection.take_links(wire::ListLinksResponse { at: seen.at, links: seen.links });
        }
        if wants(Subject::Queues) {
            inspection.take_queues(wire::ListQueuesResponse { at: seen.at, queues: seen.queues });
        }
        draw(session, &inspection)?;
    }
    Ok(())
}

fn peer_of(asked: &Inspect) -> String {
    asked.peer.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn draw(session: &Session, seen: &Inspection) -> Result<(), ConsoleError> {
    if session.format == Format::Table && io::stdout().is_terminal() {
        view::write(CLEAR)?;
    }
    show_line(seen, session.format)
}
