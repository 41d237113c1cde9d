//! What the kernel says of this process, under the names that all Prometheus clients use.

use std::fs;

use super::{Figure, Kind, Sheet};

macro_rules! figure {
    ($name:literal, $kind:ident, $help:literal) => {
        Figure { name: $name, kind: Kind::$kind, labels: &[], help: $help }
    };
}

const CPU: Figure =
    figure!("process_cpu_seconds_total", Counter, "User and system processor time in seconds");
const RESIDENT: Figure = figure!("process_resident_memory_bytes", Gauge, "Memory that is resident, in bytes");
const VIRTUAL: Figure = figure!("process_virtual_memory_bytes", Gauge, "Virtual memory in bytes");
const THREADS: Figure = figure!("process_threads", Gauge, "Threads");
const OPEN: Figure = figure!("process_open_fds", Gauge, "Open file descriptors");
const OPEN_MAX: Figure = figure!("process_max_fds", Gauge, "The most file descriptors that may be open");
const START: Figure = figure!(
    "process_start_time_seconds",
    Gauge,
    "When the process began, in seconds since the beginning of 1970"
);

/// What a machine does not tell is left out.
pub(super) fn collect(sheet: &mut Sheet) {
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        sheet.put(&CPU, &[], stat.cpu_ticks as f64 / ticks);
        sheet.put(&VIRTUAL, &[], stat.virtual_bytes as f64);
        sheet.put(&RESIDENT, &[], stat.resident_pages as f64 * rustix::param::page_size() as f64);
        sheet.put(&THREADS, &[], stat.threads as f64);
        if let Some(booted) = fs::read_to_string("/proc/stat").ok().as_deref().and_then(booted_at) {
            sheet.put(&START, &[], booted as f64 + stat.started_ticks as f64 / ticks);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The directory that is read here is one of them.
        sheet.put(&OPEN, &[], open.count().saturating_sub(1) as f64);
    }
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        sheet.put(&OPEN_MAX, &[], most as f64);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    started_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// The line of `/proc/PID/stat`. The second field is the program's name, in brackets, with anything in it.
    fn parse(line: &str) -> Option<Stat> {
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // The manual counts from 1, and the first two fields are gone.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            started_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn booted_at(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_is_no_trouble() {
        let line = "7 (a ) b) S 1 7 7 0 -1 4194560 9 0 0 0 100 20 0 0 20 0 5 0 4242 1048576 300 18446744073709551615";

        let expected = Stat {
            cpu_ticks: 120,
            threads: 5,
            started_ticks: 4242,
            virtual_bytes: 1_048_576,
            resident_pages: 300,
        };
        assert_eq!(Stat::parse(line), Some(expected));
        assert_eq!(Stat::parse("7 (cut"), None);
        assert_eq!(booted_at("cpu 1\nbtime 1700000000\nprocesses 5\n"), Some(1_700_000_000));
    }
}
