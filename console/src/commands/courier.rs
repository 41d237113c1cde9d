//! Parcels on media: laying out, writing, following and taking in.

use std::{
    io::{self, Write as _},
    path::Path,
};

use packhorse_domain::id::SiteCode;
use packhorse_proto::provider::v1::{self as wire, mark_parcel_request::As};

use crate::{
    cli::courier::{Contents, CourierCommand, Create, OnMedium, Receive, Sent, Show, Write},
    commands::{
        medium, now,
        progress::{Step, follow},
        route,
    },
    connect::Session,
    error::ConsoleError,
    view::{
        courier::{Keys, Received, Verified},
        done::Done,
        label::Labels,
        parcel::{Brief, Parcel, Parcels, short},
        show,
    },
};

pub(crate) async fn courier(session: &Session, command: CourierCommand) -> Result<(), ConsoleError> {
    match command {
        CourierCommand::Plan(contents) => plan(session, &contents).await,
        CourierCommand::Create(create) => self::create(session, create).await,
        CourierCommand::Write(write) => self::write(session, write).await,
        CourierCommand::Verify(on) => verify(session, on).await,
        CourierCommand::Sent(sent) => self::sent(session, sent).await,
        CourierCommand::Lost(named) => {
            mark(session, named.parcel, As::Lost(wire::mark_parcel_request::Lost {})).await
        }
        CourierCommand::List => {
            let answer = session.courier().list_parcels(wire::ListParcelsRequest {}).await?.into_inner();
            show(&Parcels::from(answer), session.format)
        }
        CourierCommand::Show(asked) => self::show_one(session, asked).await,
        CourierCommand::Route(command) => route::route(session, command).await,
        CourierCommand::Take(asked) => route::take(session, asked).await,
        CourierCommand::Receive(asked) => receive(session, asked).await,
        CourierCommand::Keys => {
            let answer = session.courier().list_keys(wire::ListKeysRequest {}).await?.into_inner();
            show(&Keys::from(answer), session.format)
        }
        CourierCommand::Trust { site, recipient } => {
            let request = wire::TrustKeyRequest { site: site.to_string(), recipient };
            session.courier().trust_key(request).await?;
            show(&Done::new("courier_key", site.as_str(), "trusted"), session.format)
        }
    }
}

async fn plan(session: &Session, contents: &Contents) -> Result<(), ConsoleError> {
    let request = wire::PlanParcelRequest {
        to: codes(&contents.to),
        volume_bytes: volume_bytes(contents),
        subtrees: codes(&contents.subtree),
    };
    let answer = session.courier().plan_parcel(request).await?.into_inner();
    show(&Parcel::from(whole(answer.parcel)?), session.format)
}

async fn create(session: &Session, asked: Create) -> Result<(), ConsoleError> {
    let request = wire::CreateParcelRequest {
        to: codes(&asked.contents.to),
        volume_bytes: volume_bytes(&asked.contents),
        subtrees: codes(&asked.contents.subtree),
        hold_line: asked.hold_line,
    };
    let parcel = whole(session.courier().create_parcel(request).await?.into_inner().parcel)?;
    match asked.medium {
        None => show(&Parcel::from(parcel), session.format),
        Some(medium) => {
            let parcel = to_medium(session, parcel, medium, asked.here).await?;
            show(&Brief(parcel.into()), session.format)
        }
    }
}

/// A parcel of all that waits for some sites, on a medium.
async fn laid_and_written(
    session: &Session,
    to: Vec<String>,
    (medium, here): (&str, bool),
) -> Result<wire::Parcel, ConsoleError> {
    let request = wire::CreateParcelRequest { to, ..wire::CreateParcelRequest::default() };
    let parcel = whole(session.courier().create_parcel(request).await?.into_inner().parcel)?;
    to_medium(session, parcel, medium.to_owned(), here).await
}

/// Writes all of a parcel that has just been laid out.
async fn to_medium(
    session: &Session,
    parcel: wire::Parcel,
    medium: String,
    here: bool,
) -> Result<wire::Parcel, ConsoleError> {
    let digits = short(&parcel.id);
    // Whoever leaves it now must know the name, and nothing is on standard output yet.
    let flag = if here { " --here" } else { "" };
    let note = format!(
        "parcel {digits} is laid out; if this is stopped, `packhorse courier write {digits} {medium}{flag}` goes on"
    );
    // There is nowhere else to say it.
    let _ = writeln!(io::stderr(), "{}", crate::view::clean(&note));
    let written = match here {
        true => medium::write(session, &parcel, Path::new(&medium), &[]).await,
        false => {
            let (parcel, path) = (parcel.id, medium.clone());
            written(session, wire::WriteParcelRequest { parcel, path, volumes: Vec::new() }).await
        }
    };
    written.map_err(|source| ConsoleError::NotWritten {
        parcel: digits,
        medium,
        here,
        source: Box::new(source),
    })
}

async fn write(session: &Session, asked: Write) -> Result<(), ConsoleError> {
    if asked.on.here {
        let request = wire::GetParcelRequest { parcel: asked.on.named.parcel };
        let parcel = whole(session.courier().get_parcel(request).await?.into_inner().parcel)?;
        let parcel = medium::write(session, &parcel, Path::new(&asked.on.dir), &asked.volume).await?;
        return show(&Brief(parcel.into()), session.format);
    }
    let request =
        wire::WriteParcelRequest { parcel: asked.on.named.parcel, path: asked.on.dir, volumes: asked.volume };
    show(&Brief(written(session, request).await?.into()), session.format)
}

/// The parcel as it stands when all volumes that were asked for are written.
async fn written(session: &Session, request: wire::WriteParcelRequest) -> Result<wire::Parcel, ConsoleError> {
    let messages = session.courier().write_parcel(request).await?.into_inner();
    whole(follow(messages, writing).await?.parcel)
}

fn writing(message: &wire::WriteParcelResponse) -> Step {
    // Each byte counts twice: the second half is the reading.
    let doing = if message.bytes_done < message.bytes_total / 2 { "writing" } else { "reading back" };
    Step {
        text: format!("volume {}: {doing}", message.volume),
        bytes_done: message.bytes_done,
        bytes_total: message.bytes_total,
    }
}

async fn verify(session: &Session, on: OnMedium) -> Result<(), ConsoleError> {
    let parcel = on.named.parcel.clone();
    let last = match on.here {
        true => medium::verify(session, on.named.parcel, Path::new(&on.dir)).await?,
        false => read_again(session, on).await?,
    };
    let verified = Verified::new(parcel, last);
    show(&verified, session.format)?;
    match verified.faults() {
        0 if verified.has_whole() => Ok(()),
        0 => Err(ConsoleError::NoVolume),
        faults => Err(ConsoleError::Medium(faults)),
    }
}

/// What lies on a medium in the site server's machine.
async fn read_again(session: &Session, on: OnMedium) -> Result<wire::VerifyParcelResponse, ConsoleError> {
    let request = wire::VerifyParcelRequest { parcel: on.named.parcel, path: on.dir };
    let messages = session.courier().verify_parcel(request).await?.into_inner();
    follow(messages, |message| Step {
        text: format!("volume {}: reading", message.volume),
        bytes_done: message.bytes_done,
        bytes_total: message.bytes_total,
    })
    .await
}

async fn sent(session: &Session, asked: Sent) -> Result<(), ConsoleError> {
    let sent = wire::mark_parcel_request::Sent {
        carrier: asked.carrier,
        tracking: asked.tracking.unwrap_or_default(),
        expected_at_us: asked.expect.map_or(0, |expected| expected.resolve(now()).0),
    };
    mark(session, asked.named.parcel, As::Sent(sent)).await
}

async fn mark(session: &Session, parcel: String, said: As) -> Result<(), ConsoleError> {
    let request = wire::MarkParcelRequest { parcel, r#as: Some(said) };
    let answer = session.courier().mark_parcel(request).await?.into_inner();
    show(&Brief(whole(answer.parcel)?.into()), session.format)
}

async fn show_one(session: &Session, asked: Show) -> Result<(), ConsoleError> {
    let request = wire::GetParcelRequest { parcel: asked.named.parcel };
    let parcel = whole(session.courier().get_parcel(request).await?.into_inner().parcel)?;
    if asked.labels {
        show(&Labels::from(&parcel), session.format)
    } else {
        show(&Parcel::from(parcel), session.format)
    }
}

async fn receive(session: &Session, asked: Receive) -> Result<(), ConsoleError> {
    let last = match asked.here {
        true => medium::bring(session, asked.path.into()).await?,
        false => taken_in(session, asked.path).await?,
    };
    let mut received = Received::from(last);
    let mut answered = Ok(());
    if let Some(medium) = asked.receipt_to {
        for site in received.receipts_to() {
            match laid_and_written(session, vec![site], (&medium, asked.here)).await {
                Ok(parcel) => received.answer(parcel),
                // What was taken is taken, and has to be shown.
                Err(error) => answered = Err(error),
            }
        }
    }
    show(&received, session.format)?;
    answered?;
    match received.is_everything() {
        Some(true) => Ok(()),
        Some(false) => Err(ConsoleError::NotTaken),
        None => Err(ConsoleError::NoParcel),
    }
}

/// What came of a medium in the site server's machine.
async fn taken_in(session: &Session, path: String) -> Result<wire::ReceiveParcelsResponse, ConsoleError> {
    let request = wire::ReceiveParcelsRequest { path };
    let messages = session.courier().receive_parcels(request).await?.into_inner();
    follow(messages, |message| Step {
        text: message.step.clone(),
        bytes_done: message.bytes_done,
        bytes_total: message.bytes_total,
    })
    .await
}

fn codes(sites: &[SiteCode]) -> Vec<String> {
    sites.iter().map(ToString::to_string).collect()
}

/// 0: the most.
fn volume_bytes(contents: &Contents) -> u64 {
    contents.volume_size.map_or(0, |size| size.0)
}

fn whole(parcel: Option<wire::Parcel>) -> Result<wire::Parcel, ConsoleError> {
    parcel.ok_or(ConsoleError::Incomplete("parcel"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_half_of_a_volume_is_its_reading() {
        let at = |bytes_done| {
            let message = wire::WriteParcelResponse { volume: 2, bytes_done, bytes_total: 100, parcel: None };
            writing(&message).text
        };

        assert_eq!(at(49), "volume 2: writing");
        assert_eq!(at(50), "volume 2: reading back");
    }

    #[test]
    fn a_last_answer_without_the_parcel_is_an_error() {
        assert!(matches!(whole(None), Err(ConsoleError::Incomplete("parcel"))));
    }
}
