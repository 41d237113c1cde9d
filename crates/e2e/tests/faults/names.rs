//! What stands between braces in a step, a question or a blank: what a step has named, and what is looked up.

use anyhow::{Context as _, Result, bail};
use packhorse_runtime::{Clock as _, SystemClock};

use crate::{
    steps::filled,
    world::{LIMIT, World},
};

impl World {
    pub(crate) fn fill(&self, text: &str) -> Result<String> {
        filled(text, |name| {
            if let Some(value) = self.named.get(name) {
                return Ok(value.clone());
            }
            match name.split_once(' ').unwrap_or((name, "")) {
                ("client", "") => Ok(self.clients["lyo-1"].clone()),
                ("client", host) => {
                    Ok(self.clients.get(host).with_context(|| format!("no client {host}"))?.clone())
                }
                ("line", site) => Ok(self.hierarchy.line(site).port().to_string()),
                ("port", site) => Ok(self.hierarchy.port(site).to_string()),
                ("parcel", site) => self.parcel(site),
                ("definition", way) => self.definition(way),
                ("otherday", _) => Ok(other_day().to_owned()),
                ("root", _) => Ok(self.hierarchy.root().display().to_string()),
                ("dir", site) => Ok(self.hierarchy.site_directory(site).display().to_string()),
                ("clientdir", host) => Ok(self.hierarchy.client_directory(host).display().to_string()),
                ("capdir", id) => Ok(self.hierarchy.cap_directory(id).display().to_string()),
                ("item", way) => self.item(way),
                _ => bail!("nothing is named {name}"),
            }
        })
    }

    /// `CEN PAR`: the bundle of the package on the way from one site to the other.
    fn item(&self, way: &str) -> Result<String> {
        let (from, to) = way.split_once(' ').context("FROM TO")?;
        let package = self.named.get("package").context("no package yet")?;
        self.queued(from, to, package)
    }

    /// `CEN PAR package`: a definition on its way.
    fn definition(&self, way: &str) -> Result<String> {
        let given: Vec<&str> = way.split(' ').collect();
        let [from, to, kind] = given[..] else { bail!("FROM TO KIND is expected") };
        let id = self.named.get(if kind == "distribution" { "package" } else { kind });
        let id = id.with_context(|| format!("no {kind} yet"))?;
        self.queued(from, to, &format!("{kind}/{id}"))
    }

    fn queued(&self, from: &str, to: &str, subject: &str) -> Result<String> {
        self.hierarchy.wait_for(&format!("{subject} in the queue"), LIMIT, || {
            let queue = self.hierarchy.console(from).json(&["queue", "list", "--peer", to])?;
            let links = queue["links"].as_array().context("links")?;
            let mut items = links.iter().filter_map(|link| link["items"].as_array()).flatten();
            let ours = items.find(|item| item["subject"] == subject && item["direction"] == "to");
            let seen = || format!("{queue:#}");
            let ours = ours.with_context(seen)?;
            Ok(ours["item"].as_str().map(str::to_owned))
        })
    }

    /// The newest parcel that a site made.
    fn parcel(&self, site: &str) -> Result<String> {
        let listed = self.hierarchy.console(site).json(&["courier", "list"])?;
        let first = listed["parcels"].as_array().and_then(|all| all.first());
        let first = first.with_context(|| format!("no parcel at {site}: {listed}"))?;
        Ok(first["id"].as_str().with_context(|| format!("{first}"))?.to_owned())
    }
}

/// The name of a day that it is in no zone now.
fn other_day() -> &'static str {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    // 1970 began on a Thursday; three days on.
    let day = SystemClock.now().0.div_euclid(86_400_000_000) + 3 + 3;
    DAYS[usize::try_from(day.rem_euclid(7)).unwrap_or_default()]
}
