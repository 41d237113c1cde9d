//! The site's rules for messages, kept in mind: every message asks for them.

use std::sync::{Arc, PoisonError, RwLock};

use packhorse_domain::message::rules::Rule;
use packhorse_proto::{convert, provider::v1 as wire};

use crate::{
    error::Error,
    store::{StoreError, Tx, events},
};

/// The rules as they were read last; forgotten when they change.
#[derive(Debug, Default)]
pub(crate) struct RulesInMind(RwLock<Option<Arc<Vec<Rule>>>>);

impl RulesInMind {
    pub(crate) async fn get(&self, tx: &mut Tx) -> Result<Arc<Vec<Rule>>, StoreError> {
        if let Some(rules) = self.0.read().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(rules);
        }
        let rules = Arc::new(read(tx).await?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(rules.clone());
        Ok(rules)
    }

    /// They were changed, and the change is committed.
    pub(crate) fn forget(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// One that does not decode was written by a newer version; it counts for nothing here.
pub(crate) async fn read(tx: &mut Tx) -> Result<Vec<Rule>, StoreError> {
    let decode = |content: Vec<u8>| match convert::decode::<wire::EventRule, Rule>(&content) {
        Ok(rule) => Some(rule),
        Err(error) => {
            tracing::warn!(target: "status-manager", "a rule for messages is not understood: {}", error.text());
            None
        }
    };
    Ok(events::rules(tx).await?.into_iter().filter_map(decode).collect())
}

pub(crate) async fn write(tx: &mut Tx, rules: &[Rule]) -> Result<(), Error> {
    let rules: Vec<_> = rules.iter().map(convert::encode::<wire::EventRule, _>).collect();
    Ok(events::set_rules(tx, &rules).await?)
}
