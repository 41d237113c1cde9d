//! What a run took.

use std::{fs, time::Duration};

use anyhow::Context as _;
use serde::Serialize;

/// One line of JSON for the script.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Figures {
    /// Of the content, all receivers together.
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    /// User and system, of this process, in that time.
    pub(crate) cpu_s: f64,
}

impl Figures {
    pub(crate) fn new(bytes: u64, took: Duration, cpu: Duration) -> Self {
        Figures { bytes, seconds: took.as_secs_f64(), cpu_s: cpu.as_secs_f64() }
    }
}

/// User and system time of this process so far.
pub(crate) fn cpu() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    let ticks = ticks_of(&text).context("/proc/self/stat is not as proc(5) has it")?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

fn ticks_of(stat: &str) -> Option<u64> {
    // The program's name comes in brackets and may hold anything; what is counted comes behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_may_hold_anything() {
        let stat = "7 (a) 1 b) S 1 7 7 0 -1 4194560 103 0 0 0 25 17 0 0 20 0 1 0 5 0 0";

        assert_eq!(ticks_of(stat), Some(42));
        assert_eq!(ticks_of("7 (a) S 1"), None);
        assert!(cpu().is_ok());
    }
}
