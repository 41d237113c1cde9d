//! Rules for status messages.

use std::sync::Arc;

use packhorse_domain::message::{
    self,
    rules::{RULES_MAX, Rule},
};
use packhorse_proto::provider::v1::{
    AddEventRuleRequest, AddEventRuleResponse, EventRule, ListEventRulesRequest, ListEventRulesResponse,
    MoveEventRuleRequest, MoveEventRuleResponse, RemoveEventRuleRequest, RemoveEventRuleResponse,
    event_rule_service_server::EventRuleService,
};
use packhorse_runtime::peer;
use packhorse_trust::Name;
use tonic::{Request, Response, Status};

use super::{change::Change, invalid, missing};
use crate::{error::Error, site::Site, status::rules, store::Tx};

#[derive(Debug)]
pub(crate) struct EventRules {
    site: Arc<Site>,
}

impl EventRules {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        EventRules { site }
    }

    async fn list(&self) -> Result<Vec<EventRule>, Error> {
        Ok(shown(&rules::read(&mut self.site.store.read().await?).await?))
    }

    async fn add(&self, who: &Name, asked: AddEventRuleRequest) -> Result<Vec<EventRule>, Error> {
        let rule = Rule::try_from(asked.rule.ok_or_else(|| missing("rule"))?)?;
        let mut change = Change::begin(&self.site, who).await?;
        let mut all = rules::read(&mut change.tx).await?;
        if all.len() >= RULES_MAX {
            return Err(Error::Precondition(format!(
                "there are {RULES_MAX} rules, which is the most; remove one first"
            )));
        }
        let at = match asked.place {
            0 => all.len(),
            place => at(place, all.len() + 1, "place")?,
        };
        let name = named(&rule);
        all.insert(at, rule);
        self.save(change, &all, message::event_rule_added(&name, &(at + 1))).await
    }

    async fn remove(&self, who: &Name, place: u32) -> Result<Vec<EventRule>, Error> {
        let mut change = Change::begin(&self.site, who).await?;
        let mut all = rules::read(&mut change.tx).await?;
        let at = taken(place, &mut change.tx).await?;
        let name = named(&all.remove(at));
        self.save(change, &all, message::event_rule_removed(&name, &place)).await
    }

    async fn shift(&self, who: &Name, asked: &MoveEventRuleRequest) -> Result<Vec<EventRule>, Error> {
        let mut change = Change::begin(&self.site, who).await?;
        let mut all = rules::read(&mut change.tx).await?;
        let from = taken(asked.place, &mut change.tx).await?;
        let to = at(asked.to, all.len(), "to")?;
        if from == to {
            return Ok(shown(&all));
        }
        let rule = all.remove(from);
        let name = named(&rule);
        all.insert(to, rule);
        self.save(change, &all, message::event_rule_moved(&name, &asked.place, &asked.to)).await
    }

    async fn save(
        &self,
        mut change: Change<'_>,
        all: &[Rule],
        message: message::Message,
    ) -> Result<Vec<EventRule>, Error> {
        rules::write(&mut change.tx, all).await?;
        change.finish(self.site.code().as_str(), message).await?;
        self.site.event_rules.forget();
        Ok(shown(all))
    }
}

fn named(rule: &Rule) -> String {
    if rule.name.is_empty() { "without a name".to_owned() } else { rule.name.clone() }
}

fn shown(rules: &[Rule]) -> Vec<EventRule> {
    rules.iter().map(EventRule::from).collect()
}

/// A place as an index.
fn at(place: u32, places: usize, field: &str) -> Result<usize, Error> {
    match usize::try_from(place) {
        Ok(place) if (1..=places).contains(&place) => Ok(place - 1),
        _ => Err(invalid(field, format!("a place from 1 to {places} is expected"))),
    }
}

async fn taken(place: u32, tx: &mut Tx) -> Result<usize, Error> {
    let count = rules::read(tx).await?.len();
    at(place, count, "place").map_err(|_| Error::NotFound { what: "events rule", id: place.to_string() })
}

#[tonic::async_trait]
impl EventRuleService for EventRules {
    async fn list_event_rules(
        &self,
        _: Request<ListEventRulesRequest>,
    ) -> Result<Response<ListEventRulesResponse>, Status> {
        Ok(Response::new(ListEventRulesResponse { rules: self.list().await? }))
    }

    async fn add_event_rule(
        &self,
        request: Request<AddEventRuleRequest>,
    ) -> Result<Response<AddEventRuleResponse>, Status> {
        let who = peer(&request)?.clone();
        Ok(Response::new(AddEventRuleResponse { rules: self.add(&who, request.into_inner()).await? }))
    }

    async fn remove_event_rule(
        &self,
        request: Request<RemoveEventRuleRequest>,
    ) -> Result<Response<RemoveEventRuleResponse>, Status> {
        let who = peer(&request)?.clone();
        let place = request.get_ref().place;
        Ok(Response::new(RemoveEventRuleResponse { rules: self.remove(&who, place).await? }))
    }

    async fn move_event_rule(
        &self,
        request: Request<MoveEventRuleRequest>,
    ) -> Result<Response<MoveEventRuleResponse>, Status> {
        let who = peer(&request)?.clone();
        Ok(Response::new(MoveEventRuleResponse { rules: self.shift(&who, request.get_ref()).await? }))
    }
}
