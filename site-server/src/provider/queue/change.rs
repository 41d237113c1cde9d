//! Holding, releasing, cancelling and moving items. One call is one transaction: all of it is done, or nothing.

use std::collections::BTreeSet;

use packhorse_domain::{
    courier::Way,
    link::{ItemId, ItemKind},
    message,
    queue::{Change as OrderChange, ItemPrefix, Order, State},
};
use packhorse_proto::{
    convert,
    provider::v1::{ChangeQueueRequest, ChangeQueueResponse, QueueAction},
};
use packhorse_trust::Name;

use super::{list::shown, neighbours, not_queued};
use crate::{
    error::Error,
    provider::{
        change::Change,
        invalid, missing, parsed,
        transfers::{Board, Entry},
    },
    scheduler,
    site::Site,
    store::{
        Tx,
        bundles::{self, Sending, SendingState},
        neighbours::Neighbour,
        objects,
        queue::{self, QueueOrder},
    },
};

/// Named in one call.
const ITEMS_MAX: usize = 256;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Hold,
    Release,
    Cancel,
    Priority(packhorse_domain::Priority),
    First,
}

pub(super) async fn change(
    site: &Site,
    who: &Name,
    asked: &ChangeQueueRequest,
) -> Result<ChangeQueueResponse, Error> {
    let action = Action::decode(asked)?;
    let prefixes = prefixes(&asked.items)?;
    let mut change = Change::begin(site, who).await?;
    let neighbours = neighbours(site, &mut change.tx, &asked.peer).await?;
    let mut named = Vec::new();
    for prefix in &prefixes {
        named.extend(find(site, &mut change.tx, &neighbours, prefix, &asked.peer).await?);
    }
    // Two prefixes can mean one item.
    let mut seen = BTreeSet::new();
    named.retain(|entry| seen.insert((entry.peer.clone(), entry.item)));

    let mut in_turn: Vec<&Entry> = named.iter().collect();
    if action == Action::First {
        // The last of several that are put first would otherwise be the first of them.
        in_turn.reverse();
    }
    let mut changed = false;
    for entry in in_turn {
        if apply(&mut change, entry, action).await? {
            let message = message::queue_changed(&action.done(), &name_of(entry), &entry.peer);
            change.note(&entry.subject, message).await?;
            changed = true;
        }
    }
    let items = as_they_are(site, &mut change.tx, &named).await?;
    if changed {
        change.tx.commit().await?;
    }
    Ok(ChangeQueueResponse { items: items.into_iter().map(shown).collect() })
}

impl Action {
    fn decode(asked: &ChangeQueueRequest) -> Result<Action, Error> {
        match QueueAction::try_from(asked.action) {
            Ok(QueueAction::Hold) => Ok(Action::Hold),
            Ok(QueueAction::Release) => Ok(Action::Release),
            Ok(QueueAction::Cancel) => Ok(Action::Cancel),
            Ok(QueueAction::First) => Ok(Action::First),
            Ok(QueueAction::Priority) if asked.priority == 0 => Err(missing("priority")),
            Ok(QueueAction::Priority) => Ok(Action::Priority(convert::priority("priority", asked.priority)?)),
            Ok(QueueAction::Unspecified) => Err(missing("action")),
            Err(_) => Err(invalid("action", "this version does not know it; update the site server")),
        }
    }

    /// As the note of it says.
    fn done(self) -> String {
        match self {
            Action::Hold => "holds".to_owned(),
            Action::Release => "released".to_owned(),
            Action::Cancel => "cancelled".to_owned(),
            Action::Priority(priority) => format!("set priority {priority} for"),
            Action::First => "put first".to_owned(),
        }
    }

    fn command(self) -> &'static str {
        match self {
            Action::Hold => "hold",
            Action::Release => "release",
            Action::Cancel => "cancel",
            Action::Priority(_) => "priority",
            Action::First => "first",
        }
    }
}

fn prefixes(items: &[String]) -> Result<Vec<ItemPrefix>, Error> {
    match items.len() {
        0 => Err(missing("items")),
        1..=ITEMS_MAX => items.iter().map(|text| parsed("items", text)).collect(),
        many => {
            Err(invalid("items", format!("{many} are named, at most {ITEMS_MAX} go at once; name fewer")))
        }
    }
}

fn name_of(entry: &Entry) -> String {
    format!("{} ({})", entry.subject, &entry.item.to_string()[..8])
}

/// The one item that a prefix means, to each neighbour where it is to be sent.
async fn find(
    site: &Site,
    tx: &mut Tx,
    neighbours: &[Neighbour],
    prefix: &ItemPrefix,
    peer: &str,
) -> Result<Vec<Entry>, Error> {
    let mut board = Board::load(site, tx).await?;
    let mut found = board.bundles(tx).await?;
    found.extend(board.arrivals(site, tx).await?);
    found.retain(|entry| {
        let is_through = matches!(entry.state, State::Delivered | State::Replaced);
        let is_named = prefix.matches(&entry.item) && neighbours.iter().any(|one| one.code == entry.peer);
        is_named && !is_through
    });
    let (first, last) = prefix.range();
    for neighbour in neighbours {
        let direction = scheduler::direction(neighbour.relation);
        for object in scheduler::lacking_between(tx, &neighbour.code, direction, (&first, &last)).await? {
            found.push(board.object(&neighbour.code, &object)?);
        }
    }
    let items: BTreeSet<ItemId> = found.iter().map(|entry| entry.item).collect();
    if items.len() > 1 {
        let known = items.iter().take(4).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let reason = format!("`{prefix}` begins more than one item: {known}; give more digits");
        return Err(invalid("items", reason));
    }
    let (outgoing, incoming): (Vec<_>, Vec<_>) = found.into_iter().partition(|entry| entry.outgoing);
    match (outgoing.is_empty(), incoming.first()) {
        (false, _) => Ok(outgoing),
        (true, Some(entry)) => Err(elsewhere(site, entry)),
        (true, None) => Err(not_queued(prefix, peer)),
    }
}

fn elsewhere(site: &Site, entry: &Entry) -> Error {
    Error::Precondition(format!(
        "{} comes from site {peer} to site {}, and only its sender can change that; do it at site {peer}",
        name_of(entry),
        site.code(),
        peer = entry.peer,
    ))
}

/// Does it to one item; says whether that changed anything.
async fn apply(change: &mut Change<'_>, entry: &Entry, action: Action) -> Result<bool, Error> {
    match (action, entry.state) {
        (Action::Cancel, State::Cancelled) => Ok(false),
        (Action::Cancel, _) => cancel(change, entry).await,
        (Action::Release, _) if entry.by_courier && !entry.held => {
            let (by, to) = (change.by(), (&entry.peer, &entry.item));
            scheduler::ways::give(change.site, &mut change.tx, to, Some(Way::Line), &by).await?;
            Ok(true)
        }
        (Action::Release, State::Cancelled | State::Retrying) => {
            put(change, entry, SendingState::Queued, String::new()).await?;
            Ok(true)
        }
        (_, State::Cancelled) => Err(Error::Precondition(format!(
            "{} to {} is cancelled; `packhorse queue release {}` queues it again, then {}",
            name_of(entry),
            entry.peer,
            &entry.item.to_string()[..8],
            action.command(),
        ))),
        _ => reorder(change, entry, action).await,
    }
}

async fn cancel(change: &mut Change<'_>, entry: &Entry) -> Result<bool, Error> {
    if entry.kind == ItemKind::Object {
        return Err(Error::Precondition(format!(
            "{} is an object, and objects are state that the other site would lack for ever; hold it with `packhorse \
             queue hold`, or delete it at its owner",
            name_of(entry)
        )));
    }
    queue::remove(&mut change.tx, &entry.peer, &entry.item).await?;
    let reason = format!("cancelled by {}", change.by());
    put(change, entry, SendingState::Cancelled, reason).await?;
    Ok(true)
}

/// Writes how a bundle's mini-job stands now.
async fn put(
    change: &mut Change<'_>,
    entry: &Entry,
    state: SendingState,
    reason: String,
) -> Result<(), Error> {
    let now = change.site.now();
    for sending in bundles::sendings(&mut change.tx).await? {
        if sending.peer == entry.peer && ItemId::of(&sending.digest) == entry.item {
            let sending =
                Sending { state, reason: reason.clone(), retry_at: now, changed_at: now, ..sending };
            bundles::put_sending(&mut change.tx, &sending).await?;
        }
    }
    Ok(())
}

/// Changes what is wanted of the item; says whether it was not so before.
async fn reorder(change: &mut Change<'_>, entry: &Entry, action: Action) -> Result<bool, Error> {
    let orders = queue::of(&mut change.tx, &entry.peer).await?;
    let before = orders.get(&entry.item).map(|given| given.order).unwrap_or_default();
    let others = orders
        .iter()
        .filter(|(item, _)| **item != entry.item)
        .map(|(_, given)| given.order.rank)
        .min()
        .unwrap_or_default();
    let after = before.after(match action {
        Action::Hold => OrderChange::Hold,
        Action::Priority(priority) => OrderChange::Priority(priority),
        Action::First => OrderChange::First { others },
        Action::Release | Action::Cancel => OrderChange::Release,
    });
    if after == before {
        return Ok(false);
    }
    if after == Order::default() {
        queue::remove(&mut change.tx, &entry.peer, &entry.item).await?;
    } else {
        let (changed_by, changed_at) = (change.by(), change.site.now());
        let given = QueueOrder { order: after, changed_by, changed_at };
        queue::put(&mut change.tx, &entry.peer, &entry.item, &given).await?;
    }
    Ok(true)
}

/// The same items after the change.
async fn as_they_are(site: &Site, tx: &mut Tx, named: &[Entry]) -> Result<Vec<Entry>, Error> {
    let mut board = Board::load(site, tx).await?;
    let bundles = board.bundles(tx).await?;
    let mut items = Vec::new();
    for entry in named {
        let same = |one: &&Entry| one.item == entry.item && one.peer == entry.peer;
        match bundles.iter().find(same) {
            Some(bundle) => items.push(bundle.clone()),
            None => {
                for object in objects::of_items(tx, (&entry.item, &entry.item), 1).await? {
                    items.push(board.object(&entry.peer, &object)?);
                }
            }
        }
    }
    Ok(items)
}
