//! Collections.

use packhorse_domain::{
    address::HOURS,
    collection::{CLIENTS_MAX, CONDITIONS_MAX, Collection, Condition},
    window::Windows,
};

use super::{ConvertError, invalid, limited, parse};
use crate::object::v1 as wire;

impl From<&Collection> for wire::Collection {
    fn from(collection: &Collection) -> Self {
        wire::Collection {
            id: collection.id.to_string(),
            name: collection.name.clone(),
            rule: collection
                .rule
                .iter()
                .map(|condition| wire::collection::Condition {
                    fact: condition.fact.clone(),
                    pattern: condition.pattern.clone(),
                    negated: condition.negated,
                })
                .collect(),
            clients: collection.clients.iter().map(ToString::to_string).collect(),
            window_hours: hours_on_wire(&collection.windows),
        }
    }
}

impl TryFrom<wire::Collection> for Collection {
    type Error = ConvertError;

    fn try_from(collection: wire::Collection) -> Result<Self, ConvertError> {
        limited("rule", &collection.rule, CONDITIONS_MAX)?;
        limited("clients", &collection.clients, CLIENTS_MAX)?;
        let rule = collection
            .rule
            .into_iter()
            .map(|condition| Condition {
                fact: condition.fact,
                pattern: condition.pattern,
                negated: condition.negated,
            })
            .collect();
        let collection = Collection {
            id: parse("id", &collection.id)?,
            name: collection.name,
            rule,
            clients: collection
                .clients
                .iter()
                .map(|client| parse("clients", client))
                .collect::<Result<_, _>>()?,
            windows: windows("window_hours", &collection.window_hours)?,
        };
        collection.check().map_err(|source| invalid("collection", source))?;
        Ok(collection)
    }
}

/// Maintenance windows as the wire has them.
pub(super) fn hours_on_wire(windows: &Windows) -> Vec<u32> {
    windows.hours().iter().map(|hour| u32::from(*hour)).collect()
}

/// Maintenance windows from the hours of the week that they are.
///
/// # Errors
/// More of them than a week has, or one that is not in it.
pub(super) fn windows(field: &'static str, hours: &[u32]) -> Result<Windows, ConvertError> {
    limited(field, hours, HOURS)?;
    Windows::of(hours.iter().copied()).map_err(|source| invalid(field, source))
}
