//! The hierarchy that the faults are made in, and what is done to it.
//!
//! CEN, PAR below it, LYO below that; a CAP agent `cap1` at each, a directory `share` and the clients `lyo-1` and `lyo-2`
//! at LYO.

use std::{collections::BTreeMap, fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use packhorse_e2e::{Hierarchy, Process, set_in_toml};
use serde_json::Value;

use crate::{certificates, clocks::Clocks, steps::words};

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) hierarchy: Hierarchy,
    /// What steps have named, as `package`.
    pub(crate) named: BTreeMap<String, String>,
    /// Clients by their host names.
    pub(crate) clients: BTreeMap<String, String>,
    pub(crate) clocks: Clocks,
    /// Programs that hold the databases of sites, by the codes of these.
    pub(crate) holders: BTreeMap<String, Process>,
    made: u32,
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        let mut hierarchy = Hierarchy::three_levels()?;
        hierarchy.clients(&["LYO/lyo-1", "LYO/lyo-2"])?;
        let share = hierarchy.scratch("share");
        fs::create_dir_all(&share)?;
        hierarchy.console("LYO").done(&["dp", "add", "share", "--path", &share.display().to_string()])?;
        hierarchy.wait_for_points("CEN", &["LYO/share"])?;
        let mut world = World {
            hierarchy,
            named: BTreeMap::new(),
            clients: BTreeMap::new(),
            clocks: Clocks::default(),
            holders: BTreeMap::new(),
            made: 0,
        };
        world.learn_clients(2)?;
        Ok(world)
    }

    /// Until so many clients are known at the central site.
    fn learn_clients(&mut self, count: usize) -> Result<()> {
        let listed = self.hierarchy.wait_for("the clients to be known", LIMIT, || {
            let answer = self.hierarchy.console("CEN").json(&["client", "list"])?;
            let listed = answer["clients"].as_array().cloned().unwrap_or_default();
            Ok((listed.len() >= count).then_some(listed))
        })?;
        for client in &listed {
            let (host, id) = (client["hostname"].as_str(), client["id"].as_str());
            let (host, id) = host.zip(id).context("a client has a host name and an id")?;
            self.clients.insert(host.to_owned(), id.to_owned());
        }
        Ok(())
    }

    /// A row names its own things.
    pub(crate) fn begin(&mut self) {
        self.holders.clear();
        self.named.clear();
    }

    /// One step:
    ///
    /// - `SITE$ COMMAND`: the console of a site; `SITE$ NAME = COMMAND` keeps the id of what it made.
    /// - `package BYTES TARGET...`: a package with a program `run`; `broken SCRIPT TARGET...`: one whose `run` is that.
    /// - `advertise [OPTION...]`: `run` of the package to every client.
    /// - `kill|start|restart|freeze|thaw PROCESS`: a site, SITE/CAP or a client's host name.
    /// - `cut|restore SITE`, `limit SITE BYTES`: the line of a site to its parent; 0 is no limit.
    /// - `set SITE KEY VALUE`: in site.toml, in force after a restart, which follows.
    /// - `up SITE` (all of its links; with `--above` that to its parent), `installed SITE`, `ran`: waits for it.
    /// - `points SITE/POINT`, `gone SITE/POINT`: waits until the central site knows it, or knows it no more.
    /// - `give NAME VALUE`: another value for what is named; `item {item CEN PAR}`: waits until it is in the queue.
    /// - `killprograms CLIENT`, `runs FILE` (waits for it), `enrolled SITE/HOST` (a new client), `join SITE PARENT`,
    ///   `cap SITE NAME`.
    /// - `SITE$? COMMAND`: the same, and it may fail.
    /// - `clock WHO SECONDS`: sets its clock ahead, or behind if that is below zero. The first time, it begins anew.
    /// - `hold SITE`: another program holds its database locked.
    /// - `expire SITE PARENT`: the certificate that it shows its parent; `age SITE`: that of its console begins days ago.
    /// - `sh COMMAND`.
    pub(crate) fn step(&mut self, step: &str) -> Result<()> {
        let step = self.fill(step)?;
        if let Some((site, typed)) = step.split_once("$ ").filter(|(site, _)| site.len() == 3) {
            return self.console(site, typed);
        }
        if let Some((site, typed)) = step.split_once("$? ").filter(|(site, _)| site.len() == 3) {
            return self.hierarchy.console(site).run(&words(typed)?).map(drop);
        }
        let (verb, rest) = step.split_once(' ').unwrap_or((&step, ""));
        match verb {
            "package" => self.package(rest, None),
            "broken" => {
                let mut given = words(rest)?.into_iter();
                let script = given.next().context("a script")?;
                let targets: Vec<String> = given.collect();
                self.package(&format!("1000 {}", targets.join(" ")), Some(&script))
            }
            "advertise" => self.advertise(rest),
            "set" => self.set(rest),
            "sh" => shell(rest),
            "give" => {
                let (name, value) = rest.split_once(' ').context("NAME VALUE")?;
                self.named.insert(name.to_owned(), value.to_owned());
                Ok(())
            }
            "join" => {
                let (site, parent) = rest.split_once(' ').context("SITE PARENT")?;
                self.hierarchy.child(site, parent)
            }
            "hold" => self.hold(rest),
            "clock" => {
                let (who, seconds) = rest.split_once(' ').context("WHO SECONDS")?;
                self.set_clock(who, seconds.parse()?)
            }
            "cap" => {
                let (site, name) = rest.split_once(' ').context("SITE NAME")?;
                self.hierarchy.cap(site, name)
            }
            "enrolled" => {
                self.hierarchy.clients(&[rest])?;
                self.learn_clients(self.clients.len() + 1)
            }
            _ => self.happens(verb, rest),
        }
    }

    /// What is done to processes and lines, and what is waited for.
    fn happens(&self, verb: &str, rest: &str) -> Result<()> {
        match verb {
            "kill" => self.process(rest)?.kill9()?,
            "start" => self.start(rest)?,
            "restart" => {
                self.process(rest)?.kill9()?;
                self.start(rest)?;
            }
            "freeze" => self.process(rest)?.freeze(),
            "thaw" => self.process(rest)?.thaw(),
            "killprograms" => self.hierarchy.kill_programs(rest),
            "cut" => self.cut(rest)?,
            "restore" => self.hierarchy.line(rest).restore(),
            "limit" => {
                let (site, bytes) = rest.split_once(' ').context("SITE BYTES")?;
                self.hierarchy.line(site).limit(bytes.parse()?);
            }
            "expire" => {
                let (child, parent) = rest.split_once(' ').context("SITE PARENT")?;
                let directory = |site| self.hierarchy.site_directory(site);
                certificates::expire(&directory(parent), &directory(child))?;
            }
            "age" => certificates::age_console(&self.hierarchy.site_directory(rest))?,
            "up" => self.up(rest)?,
            // It was waited for while the words were filled in.
            "item" => {}
            "points" => self.hierarchy.wait_for_points("CEN", &[rest])?,
            "gone" => self.hierarchy.wait_for("the point to be gone", LIMIT, || {
                let listed = self.hierarchy.console("CEN").json(&["dp", "list"])?;
                let points = listed["distribution_points"].as_array().context("a list")?;
                let is_it = |point: &Value| {
                    let (site, name) = (point["site"].as_str(), point["name"].as_str());
                    site.zip(name).is_some_and(|(site, name)| format!("{site}/{name}") == rest)
                };
                Ok((!points.iter().any(is_it)).then_some(()))
            })?,
            "runs" => self
                .hierarchy
                .wait_for("the file", LIMIT, || Ok(std::path::Path::new(rest).exists().then_some(())))?,
            "spent" => self.spent(rest)?,
            "installed" => self.installed(rest)?,
            "ran" => self.ran()?,
            _ => bail!("no step begins with `{verb}`"),
        }
        Ok(())
    }

    /// Until the budget of the line from a site to a neighbour is spent.
    fn spent(&self, way: &str) -> Result<()> {
        let (from, to) = way.split_once(' ').context("FROM TO")?;
        self.hierarchy.wait_for("the budget to be spent", LIMIT, || {
            let shown = self.hierarchy.console(from).json(&["address", "show", to])?;
            let addresses = shown["addresses"].as_array().context("addresses")?;
            let used = addresses.first().and_then(|address| address["day_bytes"].as_u64());
            Ok(used.is_some_and(|bytes| bytes > 1000).then_some(()))
        })
    }

    pub(crate) fn start(&self, who: &str) -> Result<()> {
        self.process(who)?.start()?;
        if who.len() == 3 { self.hierarchy.wait_until_ready(who) } else { Ok(()) }
    }

    pub(crate) fn process(&self, who: &str) -> Result<&Process> {
        Ok(match who {
            site if site.len() == 3 => self.hierarchy.site_process(site),
            cap if cap.contains('/') => self.hierarchy.cap_process(cap),
            client => self.hierarchy.client_process(client),
        })
    }

    fn console(&mut self, site: &str, typed: &str) -> Result<()> {
        let words = words(typed)?;
        if words.get(1).is_some_and(|word| word == "=") {
            let id = self.hierarchy.console(site).create(&words[2..])?;
            self.named.insert(words[0].clone(), id);
            return Ok(());
        }
        self.hierarchy.console(site).done(&words).map(drop)
    }

    fn package(&mut self, rest: &str, script: Option<&str>) -> Result<()> {
        let given = words(rest)?;
        let (bytes, targets) = given.split_first().context("BYTES TARGET...")?;
        self.made += 1;
        let source = self.hierarchy.scratch(&format!("source-{}", self.made));
        fs::create_dir_all(&source)?;
        fs::write(source.join("content"), noise(bytes.parse()?, self.made))?;
        fs::write(source.join("run.sh"), script.unwrap_or("echo done"))?;
        let source = source.display().to_string();
        let mut command =
            vec!["package", "create", "Sample", "--source", &source, "--program", "run=/bin/sh run.sh"];
        let mut options = targets.iter().peekable();
        while let Some(target) = options.next() {
            match options.next_if(|_| target.starts_with("--")) {
                Some(value) => command.extend([target.as_str(), value.as_str()]),
                None => command.extend(["--to", target.as_str()]),
            }
        }
        let id = self.hierarchy.console("CEN").create(&command)?;
        self.named.insert("source".to_owned(), source);
        self.named.insert("package".to_owned(), id);
        Ok(())
    }

    fn advertise(&mut self, rest: &str) -> Result<()> {
        let console = self.hierarchy.console("CEN");
        let collection = match self.named.get("collection") {
            Some(known) => known.clone(),
            None => console.create(&["collection", "create", "Everyone", "--all"])?,
        };
        let package = self.named.get("package").context("no package yet")?.clone();
        let mut command = vec!["advertise".to_owned(), package, "run".to_owned(), collection.clone()];
        command.extend(words(rest)?);
        let id = console.create(&command)?;
        self.named.insert("collection".to_owned(), collection);
        self.named.insert("advertisement".to_owned(), id);
        Ok(())
    }

    fn set(&self, rest: &str) -> Result<()> {
        let given = words(rest)?;
        let [site, key, value] = given.as_slice() else { bail!("SITE KEY VALUE is expected") };
        let path = self.hierarchy.site_directory(site).join("site.toml");
        let value: toml::Value = match value.parse::<i64>() {
            Ok(number) => number.into(),
            Err(_) if value.starts_with('[') => vec![value.trim_matches(['[', ']']).to_owned()].into(),
            Err(_) => value.clone().into(),
        };
        set_in_toml(&path, key, value)?;
        let process = self.hierarchy.site_process(site);
        if process.is_started() {
            process.restart()?;
        }
        self.hierarchy.wait_until_ready(site)
    }

    /// Until both sides of the line have noticed.
    fn cut(&self, site: &str) -> Result<()> {
        self.hierarchy.line(site).cut();
        let parent = parent(site);
        self.hierarchy.wait_for("the link to be down", LIMIT, || {
            let is_up = |at: &str, peer: &str| -> Result<bool> {
                Ok(self.hierarchy.console(at).site()?.links.iter().any(|link| link.peer == peer && link.up))
            };
            Ok((!is_up(site, parent)? && !is_up(parent, site)?).then_some(()))
        })
    }

    /// Until both sides of the line of a site to its parent, and of all of its lines, know that it is up.
    fn up(&self, site: &str) -> Result<()> {
        let (site, only_above) = match site.strip_suffix(" --above") {
            Some(site) => (site, true),
            None => (site, false),
        };
        let parent = parent(site);
        self.hierarchy.wait_for("the link", LIMIT, || {
            let links = self.hierarchy.console(site).site()?.links;
            let above = self.hierarchy.console(parent).site()?.links;
            let mut there = above.iter().filter(|link| parent == site || link.peer == site);
            let mut own = links.iter().filter(|link| !only_above || link.peer == parent);
            Ok((own.all(|link| link.up) && there.all(|link| link.up)).then_some(()))
        })
    }

    fn installed(&self, site: &str) -> Result<()> {
        let package = self.named.get("package").context("no package yet")?;
        self.hierarchy.wait_installed(package, &[site], 1)
    }

    fn ran(&self) -> Result<()> {
        let advertisement = self.named.get("advertisement").context("no advertisement yet")?;
        self.hierarchy.wait_ran("CEN", advertisement, 1, 1).map(drop)
    }
}

fn parent(site: &str) -> &str {
    match site {
        "LYO" => "PAR",
        "PAR" => "CEN",
        _ => site,
    }
}

fn shell(command: &str) -> Result<()> {
    let output = Command::new("/bin/sh").args(["-ec", command]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Bytes that do not compress.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed) + 0x9E37_79B9_7F4A_7C15;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}
