//! Addresses of the neighbours.

use packhorse_domain::address::{Address, Amount, Calendar, Rate};
use packhorse_proto::provider::v1 as wire;

use crate::{
    cli::{
        address::{AddressCommand, Set, WhenSpent},
        parse::Limit,
    },
    connect::Session,
    error::ConsoleError,
    view::{
        address::{Addresses, Described},
        done::Done,
        show,
    },
};

pub(crate) async fn address(session: &Session, command: AddressCommand) -> Result<(), ConsoleError> {
    let mut addresses = session.addresses();
    match command {
        AddressCommand::Set(set) => {
            let answer = addresses.set_address(request(*set)).await?.into_inner();
            let address = answer.address.ok_or(ConsoleError::Incomplete("address"))?;
            let address = Address::try_from(address).map_err(ConsoleError::Answer)?;
            show(&Described::from(&address), session.format)
        }
        AddressCommand::Show { peer } => {
            let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
            let answer = addresses.list_addresses(wire::ListAddressesRequest { peer }).await?.into_inner();
            show(&Addresses::try_from(answer)?, session.format)
        }
        AddressCommand::Remove { peer, name } => {
            let request = wire::RemoveAddressRequest { peer: peer.to_string(), name: name.to_string() };
            addresses.remove_address(request).await?;
            show(&Done::new("address", &format!("{peer}/{name}"), "removed"), session.format)
        }
    }
}

/// What was typed, and nothing else: the site leaves the rest as it is.
fn request(set: Set) -> wire::SetAddressRequest {
    let rules = !set.calendar.is_empty();
    let mut calendar = Calendar::default();
    set.calendar.iter().for_each(|rule| calendar.apply(rule));
    let bytes = |limit: Limit<Amount>| limit.is().map_or(0, |amount| amount.0);
    let when_spent = match set.when_spent {
        None => wire::WhenSpent::Unspecified,
        Some(WhenSpent::HighOnly) => wire::WhenSpent::HighOnly,
        Some(WhenSpent::Closed) => wire::WhenSpent::Closed,
    };
    wire::SetAddressRequest {
        peer: set.peer.to_string(),
        name: set.name.to_string(),
        order: set.order,
        endpoint: set.dial.map(|endpoint| endpoint.is().unwrap_or_default()),
        time_zone: set.time_zone,
        calendar: (rules || set.open_always).then(|| (&calendar).into()),
        bytes_per_second: set.rate.map(|rate| rate.is().map_or(0, Rate::bytes_per_second)),
        // One without a block is none.
        pulse: set.pulse.map(|pulse| pulse.is().map(Into::into).unwrap_or_default()),
        per_day_bytes: set.per_day.map(bytes),
        per_month_bytes: set.per_month.map(bytes),
        when_spent: when_spent.into(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn typed(options: &[&str]) -> wire::SetAddressRequest {
        let words = ["packhorse", "address", "set", "PAR"].into_iter().chain(options.iter().copied());
        match Cli::try_parse_from(words).expect("well typed").command {
            Command::Address(AddressCommand::Set(set)) => request(*set),
            other => panic!("another command: {other:?}"),
        }
    }

    #[test]
    fn what_was_not_typed_is_not_asked_for() {
        let nothing =
            wire::SetAddressRequest { peer: "PAR".to_owned(), name: "main".to_owned(), ..Default::default() };

        assert_eq!(typed(&[]), nothing);
        assert_eq!(typed(&["--order", "3"]), wire::SetAddressRequest { order: Some(3), ..nothing.clone() });
        assert_eq!(
            typed(&["--per-month", "1GB", "--when-spent", "closed"]),
            wire::SetAddressRequest { per_month_bytes: Some(1_000_000_000), when_spent: 2, ..nothing }
        );
    }

    #[test]
    fn none_takes_away_and_rules_make_a_calendar() {
        let none = ["--dial", "none", "--rate", "none", "--pulse", "none", "--per-day", "none"];
        let asked = typed(&none);
        assert_eq!(asked.endpoint.as_deref(), Some(""));
        assert_eq!((asked.bytes_per_second, asked.per_day_bytes), (Some(0), Some(0)));
        assert_eq!((asked.pulse, asked.calendar), (Some(wire::Pulse::default()), None));

        assert_eq!(typed(&["--open-always"]).calendar, Some(wire::Calendar::default()));
        let asked = typed(&["--calendar", "closed", "--calendar", "* 22-6 all 2M", "--pulse", "5kB/2s"]);
        let calendar = Calendar::try_from(asked.calendar.expect("a calendar")).expect("168 hours");
        assert_eq!(
            calendar.rules(),
            ["* 00:00-06:00 all 2Mbit/s", "* 06:00-22:00 closed", "* 22:00-24:00 all 2Mbit/s"]
        );
        assert_eq!(asked.pulse, Some(wire::Pulse { block_bytes: 5_000, pause_us: 2_000_000 }));
    }

    #[test]
    fn what_is_wrong_is_said_before_anybody_is_asked() {
        for (options, words) in [
            (&["--calendar", "mon-fri hgih"][..], "`hgih` is not a word of a calendar"),
            (&["--calendar", "mon 08:30-18:00 high"], "whole hours"),
            (&["--rate", "64"], "64kbit/s"),
            (&["--rate", "64kb/s"], "bits or bytes"),
            (&["--pulse", "5kB"], "5kB/2s"),
            (&["--per-day", "50"], "50MB"),
            (&["--per-day", "0B"], "`none`"),
            (&["--when-spent", "stop"], "high-only"),
            (&["--open-always", "--calendar", "closed"], "cannot be used with"),
            (&["--name", "Main"], "a-z 0-9"),
        ] {
            let words_typed =
                ["packhorse", "address", "set", "PAR"].into_iter().chain(options.iter().copied());
            let error = Cli::try_parse_from(words_typed).expect_err("badly typed").to_string();
            assert!(error.contains(words), "{options:?}: {error}");
        }
    }
}
