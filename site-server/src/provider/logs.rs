//! What the components log, and changing that for a while.

use std::{sync::Arc, time::Duration};

use packhorse_domain::{log::LogLevel, message};
use packhorse_proto::provider::v1::{
    ComponentLogLevel, ListLogLevelsRequest, ListLogLevelsResponse, LogLevel as WireLevel,
    SetLogLevelsRequest, SetLogLevelsResponse, log_service_server::LogService,
};
use packhorse_runtime::{
    peer,
    telemetry::{ALL, CHANGE_LASTS, CHANGE_LASTS_MAX, LogLevels},
};
use packhorse_trust::Name;
use tonic::{Request, Response, Status};

use super::{change::Change, invalid};
use crate::{error::Error, site::Site};

const CHANGES_MAX: usize = 64;

/// All that log under a name of their own: the workers, and the others with a target.
pub(super) const COMPONENTS: &[&str] = &[
    "collection-evaluator",
    "content-check",
    "content-giver",
    "content-verifier",
    "courier-sender",
    "despooler",
    "distribution-manager",
    "health-reporter",
    "inbox-manager",
    "metrics",
    "monitor",
    "offer-manager",
    "prestager",
    "provider",
    "receiver",
    "replication-manager",
    "scheduler",
    "sender",
    "status-manager",
];

#[derive(Debug)]
pub(crate) struct Logs {
    site: Arc<Site>,
    levels: LogLevels,
}

impl Logs {
    pub(crate) fn new(site: Arc<Site>, levels: LogLevels) -> Self {
        Logs { site, levels }
    }

    fn list(&self) -> Vec<ComponentLogLevel> {
        let listed = self.levels.list(COMPONENTS).into_iter().map(|one| ComponentLogLevel {
            component: one.component,
            level: WireLevel::from(one.level).into(),
            configured: WireLevel::from(one.configured).into(),
            until_us: one.until.map_or(0, |until| until.0),
        });
        listed.collect()
    }

    async fn set(&self, who: &Name, asked: &SetLogLevelsRequest) -> Result<(), Error> {
        let (changes, lasts) = check(asked)?;
        let until = self.site.now().plus(lasts);
        let words = changes.iter().map(|(component, level)| match level {
            Some(level) => format!("{component}={level}"),
            None => format!("{component}=default"),
        });
        let set = message::log_levels_set(&words.collect::<Vec<_>>().join(" "), &lasts.as_secs());
        // Noted first: what nobody is told of is not done.
        let change = Change::begin(&self.site, who).await?;
        change.finish(self.site.code().as_str(), set).await?;
        for (component, level) in changes {
            match level {
                Some(level) => self.levels.set(component, level, until),
                None => self.levels.reset(component),
            }
        }
        Ok(())
    }
}

type Checked<'a> = Vec<(&'a str, Option<LogLevel>)>;

/// Each component with its level, `None` for what the settings say, and for how long.
fn check(asked: &SetLogLevelsRequest) -> Result<(Checked<'_>, Duration), Error> {
    let count = asked.changes.len();
    if count == 0 || count > CHANGES_MAX {
        return Err(invalid("changes", format!("{count} were given, and 1 to {CHANGES_MAX} are expected")));
    }
    let lasts = match asked.for_s {
        0 => CHANGE_LASTS,
        seconds => Duration::from_secs(seconds.into()),
    };
    if lasts > CHANGE_LASTS_MAX {
        let text = "at most a day is expected; for longer, set `telemetry.filter` in site.toml and start the server again";
        return Err(invalid("for_s", text));
    }
    let mut changes = Vec::with_capacity(count);
    for change in &asked.changes {
        if change.component != ALL && !COMPONENTS.contains(&change.component.as_str()) {
            let given: String = change.component.chars().take(40).collect();
            let known = COMPONENTS.join(", ");
            return Err(invalid("component", format!("there is no `{given}`; name {ALL} or one of {known}")));
        }
        let level = match change.level() {
            WireLevel::Unspecified if change.level == 0 => None,
            level => Some(LogLevel::try_from(level)?),
        };
        changes.push((change.component.as_str(), level));
    }
    Ok((changes, lasts))
}

#[tonic::async_trait]
impl LogService for Logs {
    async fn list_log_levels(
        &self,
        _: Request<ListLogLevelsRequest>,
    ) -> Result<Response<ListLogLevelsResponse>, Status> {
        Ok(Response::new(ListLogLevelsResponse { components: self.list() }))
    }

    async fn set_log_levels(
        &self,
        request: Request<SetLogLevelsRequest>,
    ) -> Result<Response<SetLogLevelsResponse>, Status> {
        let who = peer(&request)?.clone();
        self.set(&who, request.get_ref()).await?;
        Ok(Response::new(SetLogLevelsResponse { components: self.list() }))
    }
}
