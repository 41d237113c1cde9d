//! Follows the package over each hop to the last client, until all is done or something has failed.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use packhorse_e2e::{AdvertisementProgress, Console, Hierarchy, PackageProgress};

use super::{
    CLIENTS, Job, POINT, TARGETS,
    meter::{Meter, Reading, Unit},
};

const LOOK_EVERY: Duration = Duration::from_millis(300);
const HOPS: [(&str, &str); 2] = [("CEN", "PAR"), ("PAR", "LYO")];

pub(crate) fn until_done(hierarchy: &Hierarchy, job: &Job) -> Result<()> {
    let mut meter = Meter::new();
    let result = follow(hierarchy, job, &mut meter);
    meter.end();
    result
}

fn follow(hierarchy: &Hierarchy, job: &Job, meter: &mut Meter) -> Result<()> {
    let centre = hierarchy.console("CEN");
    loop {
        hierarchy.check()?;
        for (from, to) in HOPS {
            if let Some(reading) = hop(hierarchy.console(from), to, job) {
                meter.show(&format!("{from} → {to}"), &reading)?;
            }
        }
        let package = centre.package(&job.package)?;
        let advertisement = centre.advertisement(&job.advertisement)?;
        meter.show("distribution", &places(&package))?;
        meter.show("clients", &clients(&advertisement))?;
        if let Some(failed) = failures(&package, &advertisement) {
            bail!("{failed}");
        }
        if done(&package, &advertisement) {
            return Ok(());
        }
        if Instant::now() > job.deadline {
            bail!("it is not done after {:.0?}: {}", job.began.elapsed(), missing(&package, &advertisement));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// The bundle's transfer as the sending site counts it. `None` before there is one, or while the site does not know
/// the package.
fn hop(console: &Console, to: &str, job: &Job) -> Option<Reading> {
    let transfers = console.package(&job.package).ok()?.transfers;
    let transfer = transfers
        .iter()
        .filter(|transfer| transfer.peer == to && transfer.subject == job.package)
        .max_by_key(|transfer| transfer.bytes_total)?;
    Some(Reading {
        done: transfer.bytes_done,
        total: transfer.bytes_total,
        unit: Unit::Bytes,
        text: transfer.state.clone(),
    })
}

fn installed(package: &PackageProgress, site: &str, point: Option<&str>) -> bool {
    package.place(site, point).is_some_and(|place| place.state == "installed")
}

fn wanted_places() -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    TARGETS.iter().flat_map(|site| [(*site, None), (*site, Some(POINT))])
}

fn name_of(site: &str, point: Option<&str>) -> String {
    point.map_or_else(|| format!("{site} library"), |point| format!("{site}/{point}"))
}

fn places(package: &PackageProgress) -> Reading {
    let waiting: Vec<String> = wanted_places()
        .filter(|(site, point)| !installed(package, site, *point))
        .map(|(site, point)| name_of(site, point))
        .collect();
    let total = wanted_places().count();
    let text = if waiting.is_empty() {
        "everywhere".to_owned()
    } else {
        format!("waiting for {}", waiting.join(", "))
    };
    Reading { done: (total - waiting.len()) as u64, total: total as u64, unit: Unit::Things, text }
}

fn clients(advertisement: &AdvertisementProgress) -> Reading {
    let done = advertisement.clients.iter().filter(|client| client.delivery == "succeeded").count();
    let states: Vec<String> = advertisement
        .clients
        .iter()
        .map(|client| format!("{} {}", client.hostname, client.delivery))
        .collect();
    Reading { done: done as u64, total: CLIENTS.len() as u64, unit: Unit::Things, text: states.join(", ") }
}

fn failures(package: &PackageProgress, advertisement: &AdvertisementProgress) -> Option<String> {
    let place = package.places.iter().find(|place| place.state == "failed").map(|place| {
        let name = name_of(&place.site, place.distribution_point.as_deref());
        format!("the package failed at {name}: {}", place.reason)
    });
    let client = || {
        let failed = |client: &&packhorse_e2e::ClientProgress| {
            client.delivery == "failed" || client.acceptance == "rejected"
        };
        let client = advertisement.clients.iter().find(failed)?;
        Some(format!(
            "the program failed on {} with exit code {:?}: {} {}",
            client.hostname, client.exit_code, client.reason, client.output_tail
        ))
    };
    place.or_else(client)
}

fn done(package: &PackageProgress, advertisement: &AdvertisementProgress) -> bool {
    let ran = |(_, hostname): &(&str, &str)| {
        advertisement
            .clients
            .iter()
            .any(|client| client.hostname == *hostname && client.delivery == "succeeded")
    };
    wanted_places().all(|(site, point)| installed(package, site, point)) && CLIENTS.iter().all(ran)
}

fn missing(package: &PackageProgress, advertisement: &AdvertisementProgress) -> String {
    let held =
        advertisement.held_back.as_ref().map(|text| format!("; held back: {text}")).unwrap_or_default();
    format!("places: {}; clients: {}{held}", places(package).text, clients(advertisement).text)
}
