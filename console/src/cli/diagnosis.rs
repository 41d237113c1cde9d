//! `packhorse inspect` and `packhorse support-bundle`: what a site server does, and all of it for somebody else.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use packhorse_domain::id::SiteCode;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  packhorse inspect
  packhorse inspect workers
  packhorse inspect links --peer PAR --watch
  packhorse inspect queues --items 100
  packhorse -o json inspect links --watch --every 5

workers: the components, what each did last, and when it looks again and why. links: the line to each \
neighbour, what moves on it, and what may leave in this hour. queues: what waits in each class, and why \
each item does. streams: who is connected for longer. With --watch and -o json each look is a document on \
its own line. `grpcurl` shows the same: see \"With grpcurl\" in docs/operations.md.")]
pub(crate) struct Inspect {
    /// What to look at [default: all of it]
    #[arg(value_enum)]
    pub(crate) what: Option<Subject>,
    /// Only the link to this neighbour
    #[arg(long, value_name = "SITE")]
    pub(crate) peer: Option<SiteCode>,
    /// So many waiting items of each neighbour
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) items: u32,
    /// Look again and again, until Ctrl-C
    #[arg(long)]
    pub(crate) watch: bool,
    /// Seconds between two looks, 0.1 to 60
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval, requires = "watch")]
    pub(crate) every: Duration,
}

/// What can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    Workers,
    Links,
    Queues,
    Streams,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  packhorse support-bundle
  packhorse support-bundle --out /tmp/site.tar.zst
  packhorse -o json support-bundle --out /tmp/site.tar.zst

The site server makes it; the file is written here, readable by you alone, and has its name only once it is \
whole. It holds no keys, tokens or passwords; names of machines, sites and packages are in it, so look \
through it before you give it away: README.txt says what each file is. Who made one is noted. Where the \
site server does not run, `site-server support-bundle DIR --out FILE` makes one on its machine.")]
pub(crate) struct SupportBundle {
    /// The file to write; one that is there is kept [default: packhorse-support-SITE-TIME.tar.zst]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
#[error("0.1 to 60 seconds are expected")]
struct IntervalError;

fn interval(text: &str) -> Result<Duration, IntervalError> {
    let seconds: f64 = text.parse().map_err(|_| IntervalError)?;
    if !(0.1..=60.0).contains(&seconds) {
        return Err(IntervalError);
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| IntervalError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_what_the_site_takes() {
        assert_eq!(interval("0.1").expect("good"), Duration::from_millis(100));
        assert_eq!(interval("60").expect("good"), Duration::from_secs(60));
        for bad in ["0", "0.09", "60.1", "-1", "NaN", "inf", "1s", ""] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
