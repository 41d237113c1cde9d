//! Advertisements.

use packhorse_domain::{Timestamp, id::AdvertisementId};
use packhorse_proto::{object::v1 as object, provider::v1 as wire};

use crate::{
    cli::advertisement::{Advertise, AdvertisementCommand},
    commands::{now, priority},
    connect::Session,
    error::ConsoleError,
    view::{
        advertisement::{Advertisement, Advertisements, Summary},
        done::Done,
        show,
    },
};

pub(crate) async fn advertise(session: &Session, advertise: Advertise) -> Result<(), ConsoleError> {
    let request = wire::CreateAdvertisementRequest { advertisement: Some(described(advertise, now())) };
    let answer = session.advertisements().create_advertisement(request).await?.into_inner();
    let advertisement = answer.advertisement.ok_or(ConsoleError::Incomplete("advertisement"))?;
    show(&Advertisement::from(advertisement), session.format)
}

pub(crate) async fn advertisement(
    session: &Session,
    command: AdvertisementCommand,
) -> Result<(), ConsoleError> {
    let mut advertisements = session.advertisements();
    match command {
        AdvertisementCommand::List => {
            let answer =
                advertisements.list_advertisements(wire::ListAdvertisementsRequest {}).await?.into_inner();
            show(&Advertisements::from(answer), session.format)
        }
        AdvertisementCommand::Show { advertisement } => {
            show(&Summary::from(get(session, &advertisement).await?), session.format)
        }
        AdvertisementCommand::Delete { advertisement } => {
            let request = wire::DeleteAdvertisementRequest { advertisement: advertisement.to_string() };
            advertisements.delete_advertisement(request).await?;
            show(&Done::new("advertisement", advertisement.as_str(), "deleted"), session.format)
        }
    }
}

pub(crate) async fn get(
    session: &Session,
    id: &AdvertisementId,
) -> Result<wire::AdvertisementSummary, ConsoleError> {
    let request = wire::GetAdvertisementRequest { advertisement: id.to_string() };
    let answer = session.advertisements().get_advertisement(request).await?.into_inner();
    answer.advertisement.ok_or(ConsoleError::Incomplete("advertisement"))
}

fn described(advertise: Advertise, now: Timestamp) -> object::Advertisement {
    let name = advertise.name.unwrap_or_else(|| format!("{} {}", advertise.package, advertise.program));
    object::Advertisement {
        id: String::new(),
        name,
        package: advertise.package.to_string(),
        program: advertise.program.to_string(),
        collection: advertise.collection.to_string(),
        required: !advertise.available,
        start_at_us: advertise.at.map_or(0, |at| at.resolve(now).0),
        expires_at_us: advertise.expires.map_or(0, |at| at.resolve(now).0),
        rerun_on_update: !advertise.once,
        priority: priority(advertise.priority),
        ignore_windows: advertise.ignore_windows,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn typed(arguments: &[&str]) -> object::Advertisement {
        let typed = ["packhorse", "advertise", "CEN00001", "install", "CEN00002"].iter().chain(arguments);
        match Cli::try_parse_from(typed).expect("a command line").command {
            Command::Advertise(advertise) => described(advertise, Timestamp(1_000_000)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_advertisement_is_required_at_once_and_for_each_version() {
        let plain = typed(&[]);

        assert_eq!(plain.name, "CEN00001 install");
        assert!(plain.required && plain.rerun_on_update);
        assert_eq!((plain.start_at_us, plain.expires_at_us), (0, 0));
        assert_eq!(plain.priority, object::Priority::Medium as i32);
        assert!(!plain.ignore_windows && typed(&["--ignore-windows"]).ignore_windows);
    }

    #[test]
    fn its_times_are_relative_to_now() {
        let timed = typed(&["--available", "--once", "--at", "+1m", "--expires", "1970-01-02T00:00:00Z"]);

        assert!(!timed.required && !timed.rerun_on_update);
        assert_eq!((timed.start_at_us, timed.expires_at_us), (61_000_000, 86_400_000_000));
    }
}
