//! What waits on the site's links, once or over and over, and changing it.

use packhorse_domain::Priority;
use packhorse_proto::provider::v1::{self as wire, QueueAction};

use crate::{
    cli::queue::{List, Named, Queue, QueueCommand},
    commands::{
        priority,
        watch::{Line, Look, watch},
    },
    connect::Session,
    error::ConsoleError,
    view::{
        queue::{Changed, Queues},
        show,
    },
};

pub(crate) async fn queue(session: &Session, queue: Queue) -> Result<(), ConsoleError> {
    match queue.command.unwrap_or(QueueCommand::List(queue.list)) {
        QueueCommand::List(list) if list.watch.watch => {
            watch(session, async || look(session, &list).await).await
        }
        QueueCommand::List(list) => show(&get(session, &list).await?, session.format),
        QueueCommand::Hold(named) => change(session, named, QueueAction::Hold, None).await,
        QueueCommand::Release(named) => change(session, named, QueueAction::Release, None).await,
        QueueCommand::Cancel(named) => change(session, named, QueueAction::Cancel, None).await,
        QueueCommand::Priority { named, priority } => {
            change(session, named, QueueAction::Priority, Some(priority)).await
        }
        QueueCommand::First(named) => change(session, named, QueueAction::First, None).await,
    }
}

async fn get(session: &Session, list: &List) -> Result<Queues, ConsoleError> {
    let peer = list.peer.as_ref().map(ToString::to_string).unwrap_or_default();
    let request = wire::ListQueueRequest { peer, all: list.all };
    Ok(Queues::from(session.queue().list_queue(request).await?.into_inner()))
}

/// A queue is never at its end: it is watched until Ctrl-C.
async fn look(session: &Session, list: &List) -> Result<Look<Queues>, ConsoleError> {
    let queues = get(session, list).await?;
    let mut lines = Vec::new();
    for link in queues.links() {
        lines.push(Line::text(link.key(), link.headline()));
        lines.extend(link.items().iter().map(|item| Line {
            key: item.key(),
            text: item.headline(queues.at_us()),
            bytes: Some(item.bytes()),
        }));
    }
    Ok(Look { view: queues, lines, settled: false })
}

async fn change(
    session: &Session,
    named: Named,
    action: QueueAction,
    to: Option<Priority>,
) -> Result<(), ConsoleError> {
    let request = wire::ChangeQueueRequest {
        items: named.item.iter().map(ToString::to_string).collect(),
        peer: named.peer.as_ref().map(ToString::to_string).unwrap_or_default(),
        action: action.into(),
        priority: to.map(priority).unwrap_or_default(),
    };
    let answer = session.queue().change_queue(request).await?.into_inner();
    show(&Changed::from(answer), session.format)
}
