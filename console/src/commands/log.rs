//! What the components log: shown, and changed for a while.

use packhorse_proto::provider::v1 as wire;

use crate::{
    cli::log::LogLevels,
    commands::{now, whole_seconds},
    connect::Session,
    error::ConsoleError,
    view::{log::Levels, show},
};

pub(crate) async fn log_level(session: &Session, asked: LogLevels) -> Result<(), ConsoleError> {
    let components = if asked.changes.is_empty() {
        session.logs().list_log_levels(wire::ListLogLevelsRequest {}).await?.into_inner().components
    } else {
        let changes = asked.changes.into_iter().map(|change| wire::LogLevelChange {
            component: change.component,
            level: change.level.map_or(wire::LogLevel::Unspecified, Into::into).into(),
        });
        let for_s = asked.lasts.map_or(0, whole_seconds);
        let request = wire::SetLogLevelsRequest { changes: changes.collect(), for_s };
        session.logs().set_log_levels(request).await?.into_inner().components
    };
    show(&Levels::new(components, now()), session.format)
}
