//! Looking for a fault with the real programs: what a site does, and a bundle of it for somebody else.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use packhorse_e2e::{Hierarchy, Line, NewClient, free_port};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
/// Must not get out.
const PLANTED: &str = "PLANTEDx9Kq";

/// The files of an archive by their names below its directory.
fn unpack(path: &Path) -> Result<BTreeMap<String, String>> {
    let mut tar = tar::Archive::new(zstd::Decoder::new(fs::File::open(path)?)?);
    let mut files = BTreeMap::new();
    for entry in tar.entries()? {
        let mut entry = entry?;
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        let name = entry.path()?.display().to_string();
        files.insert(name.split_once('/').context("all is below one directory")?.1.to_owned(), text);
    }
    Ok(files)
}

/// Lines of private keys below a directory.
fn keys(directory: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let text = fs::read_to_string(entry?.path())?;
        ensure!(text.contains("PRIVATE KEY") || text.contains("AGE-SECRET-KEY"), "no key");
        found.extend(text.lines().filter(|line| !line.starts_with('-')).map(str::to_owned));
    }
    Ok(found)
}

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

#[test]
fn what_a_site_does_is_shown_once_and_again_and_again() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.child("PAR", "CEN")?;
    let console = hierarchy.console("CEN");

    let seen = console.json(&["inspect"])?;
    let names: Vec<&str> =
        seen["workers"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
    ensure!(names.contains(&"despooler") && names.contains(&"monitor"), "{names:?}");
    ensure!(seen["links"][0]["peer"] == "PAR" && seen["links"][0]["up"] == true, "{seen}");
    ensure!(seen["queues"][0]["classes"].as_array().is_some_and(|classes| classes.len() == 3), "{seen}");
    let streams = seen["streams"].as_array().context("streams")?;
    ensure!(streams.iter().any(|one| one["kind"] == "link" && one["peer"] == "site PAR"), "{seen}");
    let table = console.done(&["inspect", "workers"])?;
    ensure!(table.contains("LOOKS AGAIN") && !table.contains("WAITS FOR"), "{table}");

    let mut watching = Command::new(&hierarchy.binaries().packhorse)
        .arg("--admin")
        .arg(console.admin_directory())
        .args(["-o", "json", "inspect", "links", "--watch", "--every", "0.2"])
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(watching.stdout.take().context("its output")?).lines();
    let looks: Vec<Value> =
        lines.take(2).map(|line| Ok(serde_json::from_str(&line?)?)).collect::<Result<_>>()?;
    watching.kill()?;
    watching.wait()?;
    ensure!(looks[0]["links"][0]["peer"] == "PAR" && looks[0]["at"] != looks[1]["at"], "{looks:?}");
    Ok(())
}

#[test]
fn a_bundle_is_whole_private_and_without_secrets() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.child("PAR", "CEN")?;
    hierarchy.cap("CEN", "cap1")?;
    hierarchy.client(NewClient { site: "CEN", hostname: "cen-1", labels: &[] })?;
    let console = hierarchy.console("CEN");
    let endpoint = format!("https://anna:{PLANTED}@par.example:7443");
    // It is noted, and the note is logged.
    console.done(&["address", "set", "PAR", "--dial", &endpoint])?;
    let mut secrets = keys(&hierarchy.site_directory("CEN").join("keys"))?;
    secrets.push(PLANTED.to_owned());

    let out = hierarchy.scratch("site.tar.zst");
    let out_path = out.display().to_string();
    let answer = console.json(&["support-bundle", "--out", &out_path])?;
    ensure!(answer["path"] == out_path.as_str() && answer["bytes"] == fs::metadata(&out)?.len(), "{answer}");
    ensure!(mode(&out)? == 0o600, "its mode is {:o}", mode(&out)?);
    let files = unpack(&out)?;
    ensure!(answer["files"] == files.len(), "{answer}");
    ensure!(
        files["log.txt"].contains("set address PAR/main")
            && files["log.txt"].contains("[redacted]@par.example")
    );
    ensure!(files["README.txt"].contains("live/links.json"), "{}", files["README.txt"]);

    let kept = console.run(&["support-bundle", "--out", &out_path])?;
    ensure!(kept.code == 1 && kept.stderr.contains("is there already"), "{kept:?}");

    let (cap, client) = (hierarchy.scratch("cap.tar.zst"), hierarchy.scratch("client.tar.zst"));
    let binaries = hierarchy.binaries();
    let cap_directory = hierarchy.cap_directory("CEN/cap1");
    let client_directory = hierarchy.client_directory("cen-1");
    for (program, directory, out) in
        [(&binaries.cap_agent, &cap_directory, &cap), (&binaries.client_agent, &client_directory, &client)]
    {
        let mut command = Command::new(program);
        command.arg("support-bundle").arg("--dir").arg(directory).arg("--out").arg(out);
        let output = command.output()?;
        ensure!(
            output.status.success() && mode(out)? == 0o600,
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let key = fs::read_to_string(directory.join("credentials/key.pem"))?;
        secrets.extend(key.lines().filter(|line| !line.starts_with('-')).map(str::to_owned));
    }
    ensure!(unpack(&client)?.contains_key("ledger.json") && unpack(&cap)?.contains_key("cap.toml"));

    hierarchy.site_process("CEN").stop()?;
    let offline = hierarchy.scratch("offline.tar.zst");
    let mut command = Command::new(&hierarchy.binaries().site_server);
    command.arg("support-bundle").arg(hierarchy.site_directory("CEN")).arg("--out").arg(&offline);
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(unpack(&offline)?["events.json"].contains("set address PAR/main"));

    for archive in [&out, &cap, &client, &offline] {
        for (name, text) in unpack(archive)? {
            let secret = secrets.iter().find(|secret| text.contains(secret.as_str()));
            ensure!(secret.is_none(), "{secret:?} is in {name} of {}", archive.display());
        }
    }
    Ok(())
}

#[test]
fn a_bundle_that_is_stopped_leaves_nothing() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    let line = Line::start(free_port()?, hierarchy.port("CEN"))?;
    line.limit(1_500);
    let place = hierarchy.scratch("place");
    fs::create_dir(&place)?;
    let mut child = Command::new(&hierarchy.binaries().packhorse)
        .arg("--admin")
        .arg(hierarchy.console("CEN").admin_directory())
        .args(["--endpoint", &format!("127.0.0.1:{}", line.port()), "support-bundle", "--out"])
        .arg(place.join("site.tar.zst"))
        .stderr(Stdio::piped())
        .spawn()?;
    hierarchy.wait_for("the file that is being written", LIMIT, || {
        Ok(fs::read_dir(&place)?.next().is_some().then_some(()))
    })?;

    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("its number")?;
    kill_process(pid, Signal::INT)?;
    let status = child.wait()?;

    let mut said = String::new();
    child.stderr.take().context("what it said")?.read_to_string(&mut said)?;
    ensure!(status.code() == Some(1) && said.contains("nothing is left of it"), "{status}: {said}");
    ensure!(fs::read_dir(&place)?.next().is_none(), "something is left");
    Ok(())
}
