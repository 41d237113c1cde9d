//! Three sites whose middle line is down: everything travels on a directory used as medium, and nothing twice.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use packhorse_e2e::{Hierarchy, TreeSpec, list_tree, make_package, make_tree};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// What one site has for another goes onto a medium and from there in. Gives the parcel's id.
fn carry(hierarchy: &Hierarchy, from: &str, to: &str, medium: &Path) -> Result<String> {
    carry_as(hierarchy, (from, to), "--to", medium)
}

/// The same, for the site alone (`--to`) or with all below it (`--subtree`).
fn carry_as(hierarchy: &Hierarchy, (from, to): (&str, &str), whom: &str, medium: &Path) -> Result<String> {
    let path = medium.display().to_string();
    let made = hierarchy.console(from).json(&["courier", "create", whom, to, "--medium", &path])?;
    let id = made["id"].as_str().context("a parcel has an id")?.to_owned();
    let received = hierarchy.console(to).json(&["courier", "receive", &path])?;
    let parcels = received["parcels"].as_array().context("parcels")?;
    let ours =
        parcels.iter().find(|one| one["parcel"]["id"] == id.as_str()).context("the parcel is there")?;
    ensure!(ours["items_left"] == 0, "{received}");
    Ok(id)
}

fn state(hierarchy: &Hierarchy, site: &str, parcel: &str) -> Result<Value> {
    Ok(hierarchy.console(site).json(&["courier", "show", parcel])?["state"].clone())
}

/// Until a bundle was made for the next parcel.
fn wait_for_bundle(hierarchy: &Hierarchy, (from, to): (&str, &str), package: &str) -> Result<Value> {
    hierarchy.wait_for("a bundle in the plan", LIMIT, || {
        let planned = hierarchy.console(from).run(&["-o", "json", "courier", "plan", "--to", to])?;
        if planned.code != 0 {
            return Ok(None);
        }
        let plan: Value = serde_json::from_str(&planned.stdout)?;
        let items = plan["items"].as_array().context("items")?;
        let bundle =
            items.iter().find(|item| item["kind"] == "bundle" && item["subject"] == package).cloned();
        Ok(bundle)
    })
}

/// A client of LYO that PAR has heard of.
fn client_at_lyon(hierarchy: &mut Hierarchy) -> Result<()> {
    hierarchy.clients(&["LYO/lyo-1"])?;
    hierarchy.wait_for("the client at PAR", LIMIT, || {
        Ok(hierarchy.console("PAR").run(&["client", "list"])?.stdout.contains("lyo-1").then_some(()))
    })
}

/// Until a site knows that a version is on a distribution point of LYO.
fn wait_installed(
    hierarchy: &Hierarchy,
    site: &str,
    package: &str,
    (point, version): (&str, u64),
) -> Result<()> {
    hierarchy.wait_for(
        &format!("version {version} of {package} on LYO/{point}, as {site} knows"),
        LIMIT,
        || {
            let progress = hierarchy.console(site).package(package)?;
            ensure!(progress.installed("LYO", &[point], version), "{:?}", progress.places);
            Ok(Some(()))
        },
    )
}

fn same(left: &Path, right: &Path) -> Result<bool> {
    Ok(right.exists() && list_tree(left)? == list_tree(&fs::canonicalize(right)?)?)
}

/// The medium is in the machine of whoever gives the commands, and neither site server ever sees it.
#[test]
fn a_site_that_never_had_a_line_joins_and_is_served_by_courier() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    let (share, medium) = (hierarchy.scratch("share"), hierarchy.scratch("medium"));
    for directory in [&share, &medium] {
        fs::create_dir_all(directory)?;
    }
    hierarchy.child_by_courier("PAR", "CEN", &medium)?;
    let path = medium.display().to_string();
    let (central, child) = (hierarchy.console("CEN"), hierarchy.console("PAR"));
    child.done(&["dp", "add", "share", "--path", &share.display().to_string()])?;
    child.done(&["courier", "create", "--to", "CEN", "--medium", &path, "--here"])?;
    central.done(&["courier", "receive", &path, "--here"])?;
    hierarchy.wait_for_points("CEN", &["PAR/share"])?;

    // All that goes there waits for the courier by itself, and says so.
    central.done(&["courier", "route", "set", "PAR", "--takes", "always", "--transit", "2d"])?;
    let source = hierarchy.scratch("source");
    make_tree(&source, TreeSpec { files: 60, file_bytes: 50_000, seed: 3 })?;
    let create =
        ["package", "create", "Till", "--source", &source.display().to_string(), "--to", "PAR/share"];
    let package = central.create(&create)?;
    let reason = hierarchy.wait_for("the bundle in the queue", LIMIT, || {
        let queue = central.json(&["queue"])?;
        let mut items = queue["links"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|link| link["items"].as_array().cloned().unwrap_or_default());
        Ok(items.find(|item| item["subject"] == package.as_str()).map(|item| item["reason"].to_string()))
    })?;
    ensure!(reason.contains("waits for a courier: that is how the site is served"), "{reason}");
    let made = central.json(&[
        "courier",
        "create",
        "--to",
        "PAR",
        "--volume-size",
        "1M",
        "--medium",
        &path,
        "--here",
    ])?;
    let id = made["id"].as_str().context("a parcel has an id")?;
    ensure!(made["state"] == "created" && made["volumes"].as_u64() > Some(1), "{made}");
    let verified = central.done(&["courier", "verify", id, &path])?;
    ensure!(verified.contains("whole volume(s): 1"), "{verified}");
    ensure!(
        central.done(&["courier", "verify", id, &path, "--here"])? == verified,
        "not what the server reads"
    );
    let second = medium.join("PARCELS").join(id[..8].to_uppercase()).join("002.PHV");
    let sound = fs::read(&second)?;
    let mut damaged = sound.clone();
    damaged[sound.len() / 2] ^= 1;
    fs::write(&second, &damaged)?;
    let found = central.run(&["courier", "verify", id, &path, "--here"])?;
    ensure!(found.code == 1 && found.stdout.contains("volume 2 is damaged"), "{found:?}");
    fs::write(&second, &sound)?;

    // A volume that another medium brings is asked for, and comes.
    let first = medium.join("PARCELS").join(id[..8].to_uppercase()).join("001.PHV");
    let aside = hierarchy.scratch("aside.PHV");
    fs::rename(&first, &aside)?;
    let partly = child.run(&["courier", "receive", &path, "--here"])?;
    ensure!(partly.code == 1 && partly.stdout.contains("volume(s) 1"), "{partly:?}");
    let back = ["courier", "receive", &aside.display().to_string(), "--here", "--receipt-to", &path];
    let received = child.done(&back)?;
    ensure!(received.contains(" 0 left") && received.contains("receipt written"), "{received}");
    hierarchy.wait_for("the tree", LIMIT, || Ok(same(&source, &share.join(&package))?.then_some(())))?;

    central.done(&["courier", "receive", &path, "--here"])?;
    ensure!(state(&hierarchy, "CEN", id)? == "confirmed");
    Ok(())
}

#[test]
fn all_travels_on_media_and_the_line_that_comes_up_later_brings_nothing_twice() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.child("PAR", "CEN")?;
    hierarchy.child("LYO", "PAR")?;
    hierarchy.cap("LYO", "cap1")?;
    hierarchy.line("PAR").cut();
    let (share, medium) = (hierarchy.scratch("share"), hierarchy.scratch("medium"));
    for directory in [&share, &medium] {
        fs::create_dir_all(directory)?;
    }
    let lyon = hierarchy.console("LYO");
    lyon.done(&["dp", "add", "share", "--path", &share.display().to_string()])?;
    hierarchy.wait_for_points("PAR", &["LYO/share", "LYO/cap1"])?;
    client_at_lyon(&mut hierarchy)?;
    // Up: the sites, their distribution points, the client.
    carry(&hierarchy, "PAR", "CEN", &medium)?;
    hierarchy.wait_for_points("CEN", &["LYO/share", "LYO/cap1"])?;

    // Down: a package and its advertisement, and from PAR on by the line.
    let (source, trace) = (hierarchy.scratch("source"), hierarchy.scratch("trace"));
    make_package(&source, TreeSpec { files: 60, file_bytes: 20_000, seed: 7 }, "one")?;
    let package = hierarchy.create_package(&source, &trace, &["LYO/share", "LYO/cap1"])?;
    let advertisement = hierarchy.advertise(&package)?;
    let first = wait_for_bundle(&hierarchy, ("CEN", "PAR"), &package)?;
    ensure!(first["is_delta"] == false, "{first}");
    let sent = carry(&hierarchy, "CEN", "PAR", &medium)?;
    let tracked = ["courier", "sent", &sent, "--carrier", "van", "--tracking", "7", "--expect", "3d"];
    hierarchy.console("CEN").done(&tracked)?;
    wait_installed(&hierarchy, "PAR", &package, ("share", 1))?;
    ensure!(same(&source, &share.join(&package))?, "the tree is another");
    hierarchy.wait_ran("PAR", &advertisement, 1, 1)?;

    // Up again: status, and the receipt.
    ensure!(state(&hierarchy, "CEN", &sent)? == "sent");
    carry(&hierarchy, "PAR", "CEN", &medium)?;
    ensure!(state(&hierarchy, "CEN", &sent)? == "confirmed");
    wait_installed(&hierarchy, "CEN", &package, ("cap1", 1))?;
    hierarchy.wait_ran("CEN", &advertisement, 1, 1)?;

    // An update, as a delta.
    make_package(&source, TreeSpec { files: 61, file_bytes: 20_000, seed: 7 }, "two")?;
    let from = source.display().to_string();
    hierarchy.console("CEN").done(&["package", "update", &package, "--source", &from])?;
    let delta = wait_for_bundle(&hierarchy, ("CEN", "PAR"), &package)?;
    let bytes = |item: &Value| item["bytes"].as_u64().context("bytes");
    ensure!(bytes(&delta)? * 5 < bytes(&first)?, "{delta} after {first}");
    carry(&hierarchy, "CEN", "PAR", &medium)?;
    wait_installed(&hierarchy, "PAR", &package, ("cap1", 2))?;

    // A larger one, of which the medium brings all before the line is up again.
    let large = hierarchy.scratch("large");
    make_tree(&large, TreeSpec { files: 100, file_bytes: 40_000, seed: 9 })?;
    let source = large.display().to_string();
    let create = ["package", "create", "Large", "--source", &source, "--to", "LYO/share"];
    let second = hierarchy.console("CEN").create(&create)?;
    // What is being made is waited for.
    let last = carry(&hierarchy, "CEN", "PAR", &medium)?;
    let line = hierarchy.line("PAR");
    let before = line.bytes().down;
    line.restore();
    wait_installed(&hierarchy, "CEN", &second, ("share", 1))?;
    hierarchy.wait_for("the line to find all of it there", LIMIT, || {
        Ok((state(&hierarchy, "CEN", &last)? == "confirmed").then_some(()))
    })?;
    let carried = line.bytes().down - before;
    ensure!(carried < 400_000, "{carried} bytes came over the line that the medium had brought");

    // A removal; the line is down again.
    line.cut();
    hierarchy.console("CEN").done(&["package", "recall", &second, "--from", "LYO/share"])?;
    carry(&hierarchy, "CEN", "PAR", &medium)?;
    hierarchy.wait_for("the removal", LIMIT, || Ok((!share.join(&second).exists()).then_some(())))
}

fn is_alive(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[test]
fn a_kill_on_a_medium_stops_the_program_two_sites_further_on() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.child("PAR", "CEN")?;
    hierarchy.child("LYO", "PAR")?;
    hierarchy.cap("LYO", "cap1")?;
    let medium = hierarchy.scratch("medium");
    fs::create_dir_all(&medium)?;
    client_at_lyon(&mut hierarchy)?;
    hierarchy.line("PAR").cut();
    let (central, lyon) = (hierarchy.console("CEN"), hierarchy.console("LYO"));
    // The first time it runs for ever, the next time it ends at once.
    let started = hierarchy.scratch("started");
    let path = started.display();
    let program = format!("run=/bin/sh -c 'test -e {path} && exit 0; echo $$ > {path}; sleep 600; true'");
    let package = central.create(&["package", "create", "Waiter", "--program", &program])?;
    let advertisement = hierarchy.advertise(&package)?;
    carry(&hierarchy, "CEN", "PAR", &medium)?;
    let pid = hierarchy.wait_for("the program", LIMIT, || {
        let text = fs::read_to_string(&started)?;
        Ok(text.ends_with('\n').then(|| text.trim().to_owned()))
    })?;
    ensure!(is_alive(&pid));

    central.done(&["package", "kill", &package, "--reason", "it never ends"])?;
    carry_as(&hierarchy, ("CEN", "PAR"), "--subtree", &medium)?;

    hierarchy.wait_for("the client to stop it, as PAR knows", LIMIT, || {
        let progress = hierarchy.console("PAR").advertisement(&advertisement)?;
        let client = progress.clients.first().context("a client")?;
        ensure!(client.delivery == "failed", "{client:?}");
        ensure!(client.reason == "it was stopped: killed by CEN: it never ends", "{client:?}");
        Ok(Some(()))
    })?;
    ensure!(!is_alive(&pid), "it goes on");
    let held_back = lyon.advertisement(&advertisement)?.held_back;
    ensure!(held_back.as_deref() == Some("the package is killed by CEN: it never ends"), "{held_back:?}");
    let shown = lyon.done(&["package", "show", &package])?;
    ensure!(shown.contains("up to release 1, by CEN: it never ends"), "{shown}");
    let view = hierarchy.client_directory("lyo-1").join("ledger.json");
    ensure!(fs::read_to_string(view)?.contains("it never ends"), "the client's ledger does not know it");
    let refused = lyon.run(&["package", "revive", &package])?;
    ensure!(refused.code != 0 && refused.stderr.contains("it is lifted at CEN"), "{refused:?}");
    carry(&hierarchy, "PAR", "CEN", &medium)?;
    let client = central.advertisement(&advertisement)?.clients.into_iter().next().context("a client")?;
    ensure!(client.delivery == "failed", "{client:?}");

    // Lifted, it may run again: not what was stopped, but what is new.
    central.done(&["package", "revive", &package])?;
    let again = hierarchy.advertise(&package)?;
    carry(&hierarchy, "CEN", "PAR", &medium)?;
    hierarchy.wait_ran("PAR", &again, 1, 0)?;
    let kills = lyon.json(&["package", "kills"])?;
    ensure!(kills["kills"] == serde_json::json!([]), "{kills}");
    Ok(())
}
