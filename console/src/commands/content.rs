//! The site's content library: what it takes, whether it is sound, filling it.

use packhorse_domain::address::Rate;
use packhorse_proto::provider::v1 as wire;

use crate::{
    cli::content::{ContentCommand, Prestage, Verify},
    commands::watch::{Line, Look, watch},
    connect::Session,
    error::ConsoleError,
    view::{
        content::{Prestaging, Usage, Verifications},
        done::Done,
        show,
    },
};

const DAY_S: u64 = 86_400;

pub(crate) async fn content(session: &Session, command: ContentCommand) -> Result<(), ConsoleError> {
    match command {
        ContentCommand::Usage => {
            let answer = session.library().get_usage(wire::GetUsageRequest {}).await?.into_inner();
            show(&Usage::from(answer), session.format)
        }
        ContentCommand::Verify(verify) => self::verify(session, &verify).await,
        ContentCommand::Prestage(prestage) => self::prestage(session, prestage).await,
    }
}

async fn verify(session: &Session, asked: &Verify) -> Result<(), ConsoleError> {
    if asked.how.stop {
        session.library().stop_verification(wire::StopVerificationRequest {}).await?;
        return show(&Done::new("content", "verification", "stopped"), session.format);
    }
    if !asked.how.status {
        let bytes_per_s = asked.rate.map_or(0, Rate::bytes_per_second);
        session.library().start_verification(wire::StartVerificationRequest { bytes_per_s }).await?;
    }
    if asked.how.status || asked.how.no_wait {
        return show(&verifications(session).await?, session.format);
    }
    let mut lost = 0;
    watch(session, async || {
        let view = verifications(session).await?;
        lost = if view.goes_on() { 0 } else { view.lost_versions() };
        let lines = view.lines().into_iter().map(|(key, text, bytes)| Line { key, text, bytes }).collect();
        Ok(Look { settled: !view.goes_on(), view, lines })
    })
    .await?;
    if lost > 0 { Err(ConsoleError::NotMended(lost)) } else { Ok(()) }
}

async fn verifications(session: &Session) -> Result<Verifications, ConsoleError> {
    let answer = session.library().get_verification(wire::GetVerificationRequest {}).await?;
    Ok(Verifications::from(answer.into_inner()))
}

async fn prestage(session: &Session, asked: Prestage) -> Result<(), ConsoleError> {
    if asked.how.stop {
        session.library().stop_prestage(wire::StopPrestageRequest {}).await?;
        return show(&Done::new("content", "prestage", "stopped"), session.format);
    }
    if let Some(path) = asked.dir {
        // More than the site allows either way, so the site says what the limit is.
        let days = asked.keep.map_or(0, |keep| keep.as_secs().div_ceil(DAY_S).max(1));
        let keep_d = u32::try_from(days).unwrap_or(u32::MAX);
        session.library().start_prestage(wire::StartPrestageRequest { path, keep_d }).await?;
    }
    if asked.how.status || asked.how.no_wait {
        return show(&prestaging(session).await?, session.format);
    }
    let mut failed = None;
    watch(session, async || {
        let view = prestaging(session).await?;
        failed = view.error();
        let lines = view.lines().into_iter().map(|(key, text, bytes)| Line { key, text, bytes }).collect();
        Ok(Look { settled: !view.goes_on(), view, lines })
    })
    .await?;
    failed.map_or(Ok(()), |error| Err(ConsoleError::Prestage(error)))
}

async fn prestaging(session: &Session) -> Result<Prestaging, ConsoleError> {
    let answer = session.library().get_prestage(wire::GetPrestageRequest {}).await?;
    Ok(Prestaging::from(answer.into_inner()))
}
