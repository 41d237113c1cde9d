//! Collections.

use packhorse_domain::{id::CollectionId, window::Windows};
use packhorse_proto::{
    object::v1::{Collection as WireCollection, collection::Condition},
    provider::v1 as wire,
};

use crate::{
    cli::collection::{Changes, CollectionCommand, NewMembers, Update},
    connect::Session,
    error::ConsoleError,
    view::{
        collection::{Collection, Collections, Shown},
        done::Done,
        show,
    },
};

pub(crate) async fn collection(session: &Session, command: CollectionCommand) -> Result<(), ConsoleError> {
    let mut collections = session.collections();
    match command {
        CollectionCommand::Create { name, id, members, windows } => {
            let id = id.map(|id| id.to_string()).unwrap_or_default();
            let request =
                wire::CreateCollectionRequest { collection: Some(described(id, name, members, &windows)) };
            show_collection(session, collections.create_collection(request).await?.into_inner().collection)
        }
        CollectionCommand::Update(Update { collection, changes }) => {
            let held = get(session, &collection).await?;
            let held = held.collection.and_then(|summary| summary.collection);
            let held = held.ok_or(ConsoleError::Incomplete("collection"))?;
            let request = wire::UpdateCollectionRequest { collection: Some(changed(held, changes)) };
            show_collection(session, collections.update_collection(request).await?.into_inner().collection)
        }
        CollectionCommand::Delete { collection } => {
            let request = wire::DeleteCollectionRequest { collection: collection.to_string() };
            collections.delete_collection(request).await?;
            show(&Done::new("collection", collection.as_str(), "deleted"), session.format)
        }
        CollectionCommand::List => {
            let answer = collections.list_collections(wire::ListCollectionsRequest {}).await?.into_inner();
            show(&Collections::from(answer), session.format)
        }
        CollectionCommand::Show { collection } => {
            show(&Shown::from(get(session, &collection).await?), session.format)
        }
    }
}

async fn get(session: &Session, id: &CollectionId) -> Result<wire::GetCollectionResponse, ConsoleError> {
    let request = wire::GetCollectionRequest { collection: id.to_string() };
    Ok(session.collections().get_collection(request).await?.into_inner())
}

/// The rule that every client meets: each has an id.
fn everyone() -> Vec<Condition> {
    vec![Condition { fact: "id".to_owned(), pattern: "*".to_owned(), negated: false }]
}

fn described(id: String, name: String, members: NewMembers, windows: &[Windows]) -> WireCollection {
    WireCollection {
        id,
        name,
        rule: if members.all { everyone() } else { members.conditions },
        clients: members.clients.iter().map(ToString::to_string).collect(),
        window_hours: hours(windows),
    }
}

/// All that is in one of the windows.
fn hours(windows: &[Windows]) -> Vec<u32> {
    let all = windows.iter().fold(Windows::NONE, |all, window| all.and(window));
    all.hours().iter().map(|hour| u32::from(*hour)).collect()
}

fn changed(held: WireCollection, changes: Changes) -> WireCollection {
    let rule = match changes.conditions {
        _ if changes.all => everyone(),
        _ if changes.no_rule => Vec::new(),
        conditions if conditions.is_empty() => held.rule,
        conditions => conditions,
    };
    let clients = match changes.clients {
        _ if changes.no_clients => Vec::new(),
        clients if clients.is_empty() => held.clients,
        clients => clients.iter().map(ToString::to_string).collect(),
    };
    let window_hours = match changes.windows.as_slice() {
        _ if changes.no_windows => Vec::new(),
        [] => held.window_hours,
        windows => hours(windows),
    };
    WireCollection { id: held.id, name: changes.name.unwrap_or(held.name), rule, clients, window_hours }
}

fn show_collection(session: &Session, collection: Option<WireCollection>) -> Result<(), ConsoleError> {
    show(&Collection::from(collection.ok_or(ConsoleError::Incomplete("collection"))?), session.format)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    const CLIENT: &str = "0b5c1f5e-0000-4000-8000-000000000001";

    fn update(arguments: &[&str]) -> WireCollection {
        let held = WireCollection {
            id: "CEN00002".into(),
            name: "Tills".into(),
            rule: vec![Condition { fact: "os".into(), pattern: "linux".into(), negated: false }],
            clients: vec![CLIENT.into()],
            window_hours: vec![0, 1],
        };
        let typed = ["packhorse", "collection", "update", "CEN00002"].iter().chain(arguments);
        match Cli::try_parse_from(typed).expect("a command line").command {
            Command::Collection(CollectionCommand::Update(update)) => changed(held, update.changes),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_update_keeps_what_it_does_not_name() {
        let renamed = update(&["--name", "All tills"]);
        assert_eq!((renamed.name.as_str(), renamed.rule.len(), renamed.clients.len()), ("All tills", 1, 1));

        let ruled = update(&["--where", "site=PAR", "--where", "os!=windows"]);
        assert_eq!((ruled.name.as_str(), ruled.clients.len()), ("Tills", 1));
        assert_eq!(
            ruled.rule.iter().map(|condition| condition.fact.as_str()).collect::<Vec<_>>(),
            ["site", "os"]
        );
    }

    #[test]
    fn windows_are_replaced_kept_or_taken_away() {
        assert_eq!(update(&["--name", "All tills"]).window_hours, [0, 1]);
        assert_eq!(update(&["--window", "mon 22-24", "--window", "sun 0-1"]).window_hours, [22, 23, 144]);
        let bare = update(&["--no-windows"]);
        assert!(bare.window_hours.is_empty() && bare.rule.len() == 1 && bare.clients.len() == 1);
        let typed = ["packhorse", "collection", "create", "Tills", "--all", "--window", "mon 1-2"];
        match Cli::try_parse_from(typed).expect("a command line").command {
            Command::Collection(CollectionCommand::Create { name, members, windows, .. }) => {
                assert_eq!(described(String::new(), name, members, &windows).window_hours, [1]);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_update_can_take_rule_or_clients_away() {
        assert!(update(&["--no-rule"]).rule.is_empty());
        let everyone = update(&["--all", "--no-clients"]);
        assert_eq!((everyone.rule[0].fact.as_str(), everyone.rule[0].pattern.as_str()), ("id", "*"));
        assert!(everyone.clients.is_empty());
    }
}
