//! A site without a line for ninety days: it serves its clients alone, and then one parcel brings all that happened.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use packhorse_e2e::{Clock, Hierarchy, TreeSpec, make_package, traces};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(100);
const DAY: i64 = 24 * 3600;
const CLIENT: &str = "par-1";

/// The centre CEN and the site PAR, which joined by courier and never has a line, with a CAP agent and a client. They
/// have one clock.
struct World {
    hierarchy: Hierarchy,
    clock: Clock,
    collection: String,
}

impl World {
    fn new() -> Result<Self> {
        let (mut hierarchy, clock) = Hierarchy::with_clock()?;
        hierarchy.central("CEN")?;
        let medium = hierarchy.scratch("medium");
        fs::create_dir_all(&medium)?;
        hierarchy.child_by_courier("PAR", "CEN", &medium)?;
        hierarchy.cap("PAR", "cap1")?;
        hierarchy.clients(&["PAR/par-1"])?;
        let collection = hierarchy.console("CEN").create(&["collection", "create", "Everyone", "--all"])?;
        let world = World { hierarchy, clock, collection };
        world.carry("PAR", "CEN")?;
        world.hierarchy.wait_for_points("CEN", &["PAR/cap1"])?;
        Ok(world)
    }

    /// What one site has for the other goes onto the medium and from there in. Gives the parcel's id.
    fn carry(&self, from: &str, to: &str) -> Result<String> {
        let path = self.hierarchy.scratch("medium").display().to_string();
        let made =
            self.hierarchy.console(from).json(&["courier", "create", "--to", to, "--medium", &path])?;
        let id = made["id"].as_str().context("a parcel has an id")?.to_owned();
        let answer = self.hierarchy.console(to).run(&["-o", "json", "courier", "receive", &path])?;
        let received: Value = serde_json::from_str(&answer.stdout).context(answer.stderr)?;
        ensure!(answer.code == 0, "{received}");
        let parcels = received["parcels"].as_array().context("parcels")?;
        let ours = parcels.iter().find(|one| one["parcel"]["id"] == id.as_str());
        ensure!(ours.context("the parcel is there")?["items_left"] == 0, "{received}");
        Ok(id)
    }

    /// Until these packages are in the next parcel for PAR. Gives the bytes of each.
    fn wait_for_bundles(&self, packages: &[&str]) -> Result<Vec<u64>> {
        self.hierarchy.wait_for("the bundles in the plan", LIMIT, || {
            let plan = self.hierarchy.console("CEN").json(&["courier", "plan", "--to", "PAR"])?;
            let items = plan["items"].as_array().context("items")?;
            let bytes = |package: &&str| {
                let of_it = |item: &&Value| item["kind"] == "bundle" && item["subject"] == **package;
                items.iter().find(of_it).and_then(|item| item["bytes"].as_u64())
            };
            Ok(packages.iter().map(bytes).collect())
        })
    }

    /// A package with content whose program appends a line to the trace of this name.
    fn package(&self, name: &str, version: &str) -> Result<String> {
        let source = self.source(name, version)?;
        self.hierarchy.create_package(&source, &self.hierarchy.scratch(name), &["PAR/cap1"])
    }

    fn update(&self, package: &str, name: &str, version: &str) -> Result<()> {
        let source = self.source(name, version)?.display().to_string();
        self.hierarchy.console("CEN").done(&["package", "update", package, "--upload", &source]).map(drop)
    }

    fn source(&self, name: &str, version: &str) -> Result<std::path::PathBuf> {
        let source = self.hierarchy.scratch(&format!("source-{name}"));
        let seed = name.bytes().map(u64::from).sum();
        make_package(&source, TreeSpec { files: 40, file_bytes: 20_000, seed }, version)?;
        Ok(source)
    }

    fn advertise(&self, package: &str, options: &[&str]) -> Result<String> {
        let mut command = vec!["advertise", package, "run", &self.collection];
        command.extend(options);
        self.hierarchy.console("CEN").create(&command)
    }

    /// The versions that a client has run by the trace of this name.
    fn ran(&self, name: &str, client: &str) -> Result<Vec<String>> {
        let lines = traces(&self.hierarchy.scratch(name))?;
        Ok(lines.into_iter().filter(|(_, host)| host == client).map(|(version, _)| version).collect())
    }

    fn wait_ran(&self, name: &str, client: &str, versions: &[&str]) -> Result<()> {
        self.hierarchy.wait_for(&format!("{client} to run {name} {versions:?}"), LIMIT, || {
            let ran = self.ran(name, client)?;
            ensure!(ran == versions, "it ran {ran:?}");
            Ok(Some(()))
        })
    }

    /// Until a site says of an advertisement that this is what became of it at the client.
    fn wait_delivery(&self, site: &str, advertisement: &str, expected: &str) -> Result<String> {
        self.hierarchy.wait_for(
            &format!("{advertisement} to be {expected} at {CLIENT}, as {site} knows"),
            LIMIT,
            || {
                let progress = self.hierarchy.console(site).advertisement(advertisement)?;
                let client = progress.clients.iter().find(|client| client.hostname == CLIENT);
                let client = client.with_context(|| format!("no word of the client: {progress:?}"))?;
                ensure!(client.delivery == expected || client.acceptance == expected, "{client:?}");
                Ok(Some(client.reason.clone()))
            },
        )
    }

    /// As when the power comes back.
    fn begin_anew(&self) -> Result<()> {
        let hierarchy = &self.hierarchy;
        let all = [
            hierarchy.client_process(CLIENT),
            hierarchy.cap_process("PAR/cap1"),
            hierarchy.site_process("PAR"),
        ];
        for process in all {
            process.kill9()?;
        }
        hierarchy.kill_programs(CLIENT);
        for process in all.iter().rev() {
            process.start()?;
        }
        hierarchy.wait_until_ready("PAR")
    }
}

/// The programs that were begun, by what they wrote down.
fn begun(file: &Path) -> Result<Vec<String>> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    Ok(text.lines().map(str::to_owned).collect())
}

fn is_alive(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

/// What the site has before it goes.
struct Before {
    kept: String,
    gone: String,
    bad: String,
    of_kept: String,
    of_gone: String,
    of_bad: String,
    of_later: String,
}

impl Before {
    fn make(world: &World) -> Result<Self> {
        let kept = world.package("kept", "1")?;
        let gone = world.package("gone", "1")?;
        let later = world.package("later", "1")?;
        // Of this one a program runs when the parcel comes, and another would begin after that.
        let program = "echo $$ >> \"$0\"; sleep 600; true";
        let path = world.hierarchy.scratch("bad").display().to_string();
        let central = world.hierarchy.console("CEN");
        let bad = central.create(&["package", "create", "Bad"])?;
        central.done(&["program", "set", &bad, "run", "--", "/bin/sh", "-c", program, &path])?;
        let of_kept = world.advertise(&kept, &[])?;
        let of_gone = world.advertise(&gone, &["--at", "+91d"])?;
        let of_bad = world.advertise(&bad, &["--at", "+86d"])?;
        world.advertise(&bad, &["--at", "+91d"])?;
        // Of what begins on a day this is the last.
        let of_later = world.advertise(&later, &["--at", "+40d", "--priority", "low"])?;
        world.wait_for_bundles(&[&kept, &gone, &later])?;
        world.carry("CEN", "PAR")?;
        world.wait_ran("kept", CLIENT, &["1"])?;
        // What it holds is known above when it goes.
        world.wait_delivery("PAR", &of_kept, "succeeded")?;
        world.carry("PAR", "CEN")?;
        world.wait_delivery("CEN", &of_kept, "succeeded")?;
        Ok(Before { kept, gone, bad, of_kept, of_gone, of_bad, of_later })
    }
}

/// What happened above while it was away.
struct Meanwhile {
    added: String,
    of_added: String,
    of_expired: String,
}

impl Meanwhile {
    fn make(world: &World, before: &Before) -> Result<Self> {
        let central = world.hierarchy.console("CEN");
        world.hierarchy.renew_author("CEN")?;
        world.update(&before.kept, "kept", "2")?;
        let added = world.package("added", "1")?;
        let of_added = world.advertise(&added, &[])?;
        let of_expired = world.advertise(&added, &["--expires", "+30d"])?;
        world.advertise(&added, &["--at", "+46d", "--priority", "low"])?;
        central.done(&["advertisement", "delete", &before.of_gone])?;
        central.done(&["package", "delete", &before.gone])?;
        central.done(&["package", "kill", &before.bad, "--reason", "it never ends"])?;
        Ok(Meanwhile { added, of_added, of_expired })
    }
}

#[test]
fn a_site_without_a_line_serves_its_clients_for_ninety_days_and_one_parcel_brings_the_rest() -> Result<()> {
    let mut world = World::new()?;
    let before = Before::make(&world)?;

    // Half-way the power is cut. Nobody above hears of what the site goes on to do.
    world.clock.set(45 * DAY)?;
    world.begin_anew()?;
    world.wait_ran("later", CLIENT, &["1"])?;
    world.wait_delivery("PAR", &before.of_later, "succeeded")?;
    world.hierarchy.clients(&["PAR/par-2"])?;
    for name in ["kept", "later"] {
        world.wait_ran(name, "par-2", &["1"])?;
    }
    let meanwhile = Meanwhile::make(&world, &before)?;

    world.clock.set(90 * DAY)?;
    world.begin_anew()?;
    let bad = world.hierarchy.scratch("bad");
    let pids = world.hierarchy.wait_for("what was scheduled to begin", LIMIT, || {
        Ok(Some(begun(&bad)?).filter(|pids| pids.len() == 2))
    })?;
    ensure!(pids.iter().all(|pid| is_alive(pid)), "{pids:?}");
    let bytes = world.wait_for_bundles(&[&before.kept, &meanwhile.added])?;
    ensure!(bytes[0] * 5 < bytes[1], "the update has {} bytes, and what is new {}", bytes[0], bytes[1]);
    let parcel = world.carry("CEN", "PAR")?;

    let reason = world.wait_delivery("PAR", &before.of_bad, "failed")?;
    ensure!(reason == "it was stopped: killed by CEN: it never ends", "{reason}");
    for client in ["par-1", "par-2"] {
        world.wait_ran("kept", client, &["1", "2"])?;
        world.wait_ran("added", client, &["1"])?;
    }
    world.hierarchy.wait_ran("PAR", &before.of_kept, 2, 2)?;
    world.hierarchy.wait_ran("PAR", &meanwhile.of_added, 2, 1)?;
    ensure!(!pids.iter().any(|pid| is_alive(pid)), "{pids:?}");

    // The last program of the day after ran, and none of those that must not.
    world.clock.set(92 * DAY)?;
    world.begin_anew()?;
    for client in ["par-1", "par-2"] {
        world.wait_ran("added", client, &["1", "1"])?;
        for (name, versions) in [("kept", vec!["1", "2"]), ("gone", vec![]), ("later", vec!["1"])] {
            let ran = world.ran(name, client)?;
            ensure!(ran == versions, "{client} ran {name} {ran:?}");
        }
    }
    ensure!(begun(&bad)? == pids, "{bad:?} has run again");
    let held_back = world.hierarchy.console("PAR").advertisement(&meanwhile.of_expired)?.held_back;
    ensure!(held_back.as_deref() == Some("it has expired"), "{held_back:?}");

    // And the centre knows.
    world.carry("PAR", "CEN")?;
    let shown = world.hierarchy.console("CEN").json(&["courier", "show", &parcel])?;
    ensure!(shown["state"] == "confirmed", "{shown}");
    for (advertisement, became) in [
        (&before.of_kept, "succeeded"),
        (&before.of_later, "succeeded"),
        (&before.of_bad, "failed"),
        (&meanwhile.of_added, "succeeded"),
    ] {
        world.wait_delivery("CEN", advertisement, became)?;
    }
    let progress = world.hierarchy.console("CEN").advertisement(&before.of_kept)?;
    ensure!(progress.succeeded(2) == 2, "{progress:?}");
    world.hierarchy.stop()
}
