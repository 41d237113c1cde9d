//! Addresses: what they allow, what they allow now, and what went over them.

use packhorse_domain::{
    address::{Address, Amount, Budget, LocalHour, Rate, Spent, WhenSpent, allowance},
    link::{Open, Pulse},
};
use packhorse_proto::provider::v1 as wire;
use serde::Serialize;

use crate::{
    error::ConsoleError,
    view::{Screen, View, calendar::picture, fields, or_dash, section, table},
};

#[derive(Debug, Serialize)]
pub(crate) struct Addresses {
    addresses: Vec<Shown>,
}

/// An address as it was set.
#[derive(Debug, Serialize)]
pub(crate) struct Described {
    peer: String,
    name: String,
    order: u32,
    endpoint: Option<String>,
    time_zone: String,
    /// Rules; none: always open.
    calendar: Vec<String>,
    bytes_per_second: Option<u64>,
    pulse: Option<Block>,
    budget: Option<Limits>,
    #[serde(skip)]
    picture: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Block {
    block_bytes: u32,
    pause_ms: u64,
}

#[derive(Debug, Serialize)]
struct Limits {
    per_day_bytes: Option<u64>,
    per_month_bytes: Option<u64>,
    when_spent: &'static str,
}

/// An address, and how it is with it at this hour.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    address: Described,
    now: Now,
    day_bytes: u64,
    month_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Now {
    open: &'static str,
    bytes_per_second: Option<u64>,
}

impl From<&Address> for Described {
    fn from(address: &Address) -> Self {
        let rules = address.calendar.rules();
        Described {
            peer: address.peer.to_string(),
            name: address.name.to_string(),
            order: address.order,
            endpoint: address.endpoint.clone(),
            time_zone: address.time_zone.clone(),
            picture: if rules.is_empty() { Vec::new() } else { picture(&address.calendar) },
            calendar: rules,
            bytes_per_second: address.rate.map(Rate::bytes_per_second),
            pulse: address.pulse.map(Block::from),
            budget: address.budget.map(Limits::from),
        }
    }
}

impl From<Pulse> for Block {
    fn from(pulse: Pulse) -> Self {
        let pause_ms = u64::try_from(pulse.pause.as_millis()).unwrap_or(u64::MAX);
        Block { block_bytes: pulse.block_bytes, pause_ms }
    }
}

impl From<Budget> for Limits {
    fn from(budget: Budget) -> Self {
        let when_spent = match budget.when_spent {
            WhenSpent::HighOnly => "high-only",
            WhenSpent::Closed => "closed",
        };
        Limits { per_day_bytes: budget.per_day_bytes, per_month_bytes: budget.per_month_bytes, when_spent }
    }
}

impl TryFrom<wire::AddressSummary> for Shown {
    type Error = ConsoleError;

    fn try_from(summary: wire::AddressSummary) -> Result<Self, ConsoleError> {
        let address = summary.address.ok_or(ConsoleError::Incomplete("address"))?;
        let address = Address::try_from(address).map_err(ConsoleError::Answer)?;
        let local = u8::try_from(summary.weekday).ok().zip(u8::try_from(summary.hour).ok());
        let local = local.and_then(|(weekday, hour)| LocalHour::new(weekday, hour));
        let spent = Spent { day_bytes: summary.day_bytes, month_bytes: summary.month_bytes };
        let now = allowance(&address, local.ok_or(ConsoleError::Incomplete("hour"))?, spent);
        Ok(Shown {
            address: (&address).into(),
            now: Now { open: open(now.open), bytes_per_second: now.bytes_per_second },
            day_bytes: spent.day_bytes,
            month_bytes: spent.month_bytes,
        })
    }
}

impl TryFrom<wire::ListAddressesResponse> for Addresses {
    type Error = ConsoleError;

    fn try_from(answer: wire::ListAddressesResponse) -> Result<Self, ConsoleError> {
        let addresses = answer.addresses.into_iter().map(Shown::try_from).collect::<Result<_, _>>()?;
        Ok(Addresses { addresses })
    }
}

/// The word of a calendar's rule.
fn open(open: Open) -> &'static str {
    match open {
        Open::Nothing => "closed",
        Open::High => "high",
        Open::HighAndMedium => "high+medium",
        Open::All => "all",
    }
}

fn rate(bytes_per_second: Option<u64>) -> Option<String> {
    bytes_per_second
        .map(|bytes| Rate::new(bytes).map_or_else(|_| format!("{bytes}B/s"), |rate| rate.to_string()))
}

impl Block {
    fn words(&self) -> String {
        let pause = std::time::Duration::from_millis(self.pause_ms);
        Pulse { block_bytes: self.block_bytes, pause }.to_string()
    }
}

impl Limits {
    fn words(&self) -> String {
        let of = |limit: Option<u64>, unit: &str| limit.map(|bytes| format!("{} a {unit}", Amount(bytes)));
        let limits = [of(self.per_day_bytes, "day"), of(self.per_month_bytes, "month")];
        let then = format!("then {}", self.when_spent.replace('-', " "));
        limits.into_iter().flatten().chain([then]).collect::<Vec<_>>().join(", ")
    }
}

impl View for Described {
    fn text(&self, _screen: Screen) -> String {
        let mut text = fields(&[
            ("address", format!("{}/{}", self.peer, self.name)),
            ("order", self.order.to_string()),
            ("endpoint", self.endpoint.clone().unwrap_or_default()),
            ("rate", rate(self.bytes_per_second).unwrap_or_default()),
            ("pulse", self.pulse.as_ref().map(Block::words).unwrap_or_default()),
            ("budget", self.budget.as_ref().map(Limits::words).unwrap_or_default()),
            ("time zone", self.time_zone.clone()),
            ("calendar", if self.calendar.is_empty() { "always open".to_owned() } else { String::new() }),
        ]);
        if !self.picture.is_empty() {
            text.push_str(&section("calendar", &self.picture.join("\n")));
        }
        text
    }
}

impl Shown {
    /// Bytes that went, and of how many if there is a budget.
    fn used(bytes: u64, limit: Option<u64>) -> String {
        let used = indicatif::DecimalBytes(bytes);
        limit.map_or_else(|| used.to_string(), |limit| format!("{used} of {}", Amount(limit)))
    }

    fn open_now(&self) -> String {
        let rate = rate(self.now.bytes_per_second).filter(|_| self.now.open != "closed");
        rate.map_or_else(|| self.now.open.to_owned(), |rate| format!("{} {rate}", self.now.open))
    }
}

impl View for Addresses {
    fn text(&self, screen: Screen) -> String {
        let row = |shown: &Shown| {
            let (address, budget) = (&shown.address, shown.address.budget.as_ref());
            [
                address.peer.clone(),
                address.name.clone(),
                address.order.to_string(),
                or_dash(address.endpoint.as_deref().unwrap_or_default()),
                shown.open_now(),
                or_dash(&address.pulse.as_ref().map(Block::words).unwrap_or_default()),
                Shown::used(shown.day_bytes, budget.and_then(|budget| budget.per_day_bytes)),
                Shown::used(shown.month_bytes, budget.and_then(|budget| budget.per_month_bytes)),
            ]
        };
        let rows: Vec<_> = self.addresses.iter().map(row).collect();
        let header = ["PEER", "NAME", "ORDER", "ENDPOINT", "OPEN NOW", "PULSE", "TODAY", "THIS MONTH"];
        let nothing = "no addresses: every neighbour may be sent everything at any time";
        let mut text = table(screen, header, &rows, nothing);
        for address in self.addresses.iter().map(|shown| &shown.address) {
            if !address.picture.is_empty() {
                let title =
                    format!("{}/{} by the clock of {}", address.peer, address.name, address.time_zone);
                text.push_str(&section(&title, &address.picture.join("\n")));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use packhorse_domain::address::Calendar;
    use serde_json::json;

    use super::*;

    const PIPE: Screen = Screen { terminal: false };

    fn main() -> Address {
        Address {
            endpoint: Some("par.example.net:7443".to_owned()),
            time_zone: "Europe/Paris".to_owned(),
            calendar: Calendar::of(["mon-fri 8-18 high 64k"]).expect("a rule"),
            rate: Some("2M".parse().expect("a rate")),
            pulse: Some("5kB/2s".parse().expect("a pulse")),
            budget: Some(Budget {
                per_day_bytes: Some(50_000_000),
                per_month_bytes: None,
                when_spent: WhenSpent::Closed,
            }),
            ..Address::open("PAR".parse().expect("a code"), "main".parse().expect("a name"))
        }
    }

    fn summary(address: &Address, hour: u32, day_bytes: u64) -> wire::AddressSummary {
        wire::AddressSummary {
            address: Some(address.into()),
            weekday: 0,
            hour,
            day_bytes,
            month_bytes: 2 * day_bytes,
        }
    }

    fn shown(summaries: Vec<wire::AddressSummary>) -> Addresses {
        Addresses::try_from(wire::ListAddressesResponse { addresses: summaries }).expect("whole")
    }

    #[test]
    fn addresses_are_listed_with_what_they_allow_now() {
        let modem = Address { order: 2, ..Address::open(main().peer, "modem".parse().expect("a name")) };

        let text = shown(vec![summary(&main(), 9, 12_000_000), summary(&modem, 9, 0)]).text(PIPE);

        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("PEER") && lines[0].ends_with("THIS MONTH"), "{text}");
        for words in ["par.example.net:7443", "high 64kbit/s", "5kB/2s", "12.00 MB of 50MB", "24.00 MB"] {
            assert!(lines[1].contains(words), "{words}: {text}");
        }
        assert!(lines[2].contains("all") && lines[2].contains("0 B"), "{text}");
        assert_eq!(lines[4], "PAR/main by the clock of Europe/Paris");
        assert_eq!(lines[6], "mon  AAAAAAAAHHHHHHHHHHAAAAAA");
        assert!(!text.contains("PAR/modem"), "one that is always open needs no picture");
        assert!(shown(vec![]).text(PIPE).contains("everything at any time"));
    }

    #[test]
    fn the_hour_and_the_budget_decide_what_is_open() {
        for (hour, day_bytes, expected) in
            [(9, 0, "high 64kbit/s"), (19, 0, "all 2Mbit/s"), (19, 50_000_000, "closed")]
        {
            let addresses = shown(vec![summary(&main(), hour, day_bytes)]);
            assert_eq!(addresses.addresses[0].open_now(), expected);
        }
    }

    #[test]
    fn one_address_is_told_in_full() {
        let text = Described::from(&main()).text(PIPE);

        for words in ["PAR/main", "2Mbit/s", "50MB a day, then closed", "mon-fri 08:00-18:00 high 64kbit/s"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let open = Address::open(main().peer, main().name);
        assert!(Described::from(&open).text(PIPE).ends_with("always open"));
    }

    #[test]
    fn the_document_has_numbers_and_rules() {
        let document = serde_json::to_value(shown(vec![summary(&main(), 9, 1)])).expect("json");

        assert_eq!(
            document,
            json!({ "addresses": [{
                "peer": "PAR",
                "name": "main",
                "order": 1,
                "endpoint": "par.example.net:7443",
                "time_zone": "Europe/Paris",
                "calendar": ["mon-fri 08:00-18:00 high 64kbit/s"],
                "bytes_per_second": 250_000,
                "pulse": { "block_bytes": 5_000, "pause_ms": 2_000 },
                "budget": { "per_day_bytes": 50_000_000, "per_month_bytes": null, "when_spent": "closed" },
                "now": { "open": "high", "bytes_per_second": 8_000 },
                "day_bytes": 1,
                "month_bytes": 2,
            }] })
        );
    }

    #[test]
    fn an_answer_that_is_not_whole_is_no_panic() {
        let of = |summary| Shown::try_from(summary).is_err();

        assert!(of(wire::AddressSummary { address: None, ..summary(&main(), 9, 0) }));
        assert!(of(summary(&main(), 24, 0)));
        assert!(of(wire::AddressSummary { weekday: 999, ..summary(&main(), 9, 0) }));
    }
}
