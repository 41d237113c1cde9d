//! Sites, CAP agents and clients as processes, built step by step; each step ends when the real thing answers.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::{
    Binaries, Clock, Console, Interrupt, Line, Process, free_port, leftovers::kill_programs, reaper::Reaper,
    set_in_toml,
};

const READY_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Everything stops when it is dropped.
#[derive(Debug)]
pub struct Hierarchy {
    binaries: Binaries,
    root: PathBuf,
    sites: BTreeMap<String, Site>,
    /// CAP agents by SITE/NAME, clients by their host name.
    caps: BTreeMap<String, Process>,
    clients: BTreeMap<String, Process>,
    lines: BTreeMap<String, Line>,
    /// What all of them go by; `None`: the machine's.
    clock: Option<Clock>,
    for_test: bool,
    interrupt: Interrupt,
    reaper: Arc<Reaper>,
    /// Held so that it is removed last.
    _temporary: Option<TempDir>,
}

#[derive(Debug)]
struct Site {
    process: Process,
    console: Console,
    port: u16,
}

/// A client to be.
#[derive(Debug, Clone, Copy)]
pub struct NewClient<'a> {
    pub site: &'a str,
    pub hostname: &'a str,
    pub labels: &'a [&'a str],
}

impl Hierarchy {
    /// In a temporary directory, with a line between each child and its parent.
    pub fn for_test() -> Result<Self> {
        let temporary = tempfile::Builder::new().prefix("packhorse-").tempdir()?;
        let root = temporary.path().to_owned();
        let mut hierarchy = Hierarchy::at(&root, Binaries::find()?, Interrupt::default())?;
        hierarchy.for_test = true;
        hierarchy._temporary = Some(temporary);
        Ok(hierarchy)
    }

    /// In a directory that stays.
    pub fn at(root: &Path, binaries: Binaries, interrupt: Interrupt) -> Result<Self> {
        let logs = root.join("log");
        fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        Ok(Hierarchy {
            binaries,
            root: root.to_owned(),
            sites: BTreeMap::new(),
            caps: BTreeMap::new(),
            clients: BTreeMap::new(),
            lines: BTreeMap::new(),
            clock: None,
            for_test: false,
            interrupt,
            reaper: Arc::new(Reaper::start()?),
            _temporary: None,
        })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// In a temporary directory, with one clock for all that is started, which is set while it runs.
    pub fn with_clock() -> Result<(Self, Clock)> {
        let mut hierarchy = Hierarchy::for_test()?;
        let clock = Clock::make(&hierarchy.root, "of-all")?;
        hierarchy.clock = Some(clock.clone());
        Ok((hierarchy, clock))
    }

    /// The central site.
    pub fn central(&mut self, code: &str) -> Result<()> {
        self.site(code, None)
    }

    /// A site that joins its parent.
    pub fn child(&mut self, code: &str, parent: &str) -> Result<()> {
        let token = self.root.join(format!("{code}.token"));
        self.console(parent).done(&words(&["site", "token", code, "--out"], &token))?;
        if self.for_test {
            let line = Line::start(free_port()?, self.port(parent))?;
            let endpoints = vec![format!("127.0.0.1:{}", line.port())];
            set_in_toml(&token, "endpoints", endpoints)?;
            self.lines.insert(code.to_owned(), line);
        }
        self.site(code, Some(&token))?;
        self.wait_for(&format!("the link of {code}"), READY_LIMIT, || {
            Ok(self.console(code).site()?.links.iter().any(|link| link.up).then_some(()))
        })
    }

    /// A site that joins its parent by courier and never has a line to it.
    pub fn child_by_courier(&mut self, code: &str, parent: &str, medium: &Path) -> Result<()> {
        let token = self.root.join(format!("{code}.token"));
        self.console(parent).done(&words(&["site", "token", code, "--out"], &token))?;
        // Where nobody answers.
        set_in_toml(&token, "endpoints", vec![format!("127.0.0.1:{}", free_port()?)])?;
        let (port, init) = self.init(code, &[("--join", &token), ("--medium", medium)])?;
        self.run_once(&self.binaries.site_server, &init)?;
        self.console(parent).done(&words(&["site", "admit"], medium))?;
        self.run_once(&self.binaries.site_server, &init)?;
        self.serve(code, port)
    }

    /// A CAP agent of a site, which is also a distribution point.
    pub fn cap(&mut self, site: &str, name: &str) -> Result<()> {
        let id = format!("{site}/{name}");
        let token = self.root.join(format!("{site}-{name}.token"));
        self.console(site).done(&words(&["cap", "token", name, "--out"], &token))?;
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let directory = self.root.join(format!("cap-{site}-{name}"));
        let mut enroll = words(&["enroll", "--dir"], &directory);
        enroll.extend(words(&["--token"], &token));
        enroll.extend(["--listen", &address, "--endpoint", &address].map(OsString::from));
        self.run_once(&self.binaries.cap_agent, &enroll)?;
        if self.for_test {
            // Content that nobody wants goes at once, so that a test can see it go.
            set_in_toml(&directory.join("cap.toml"), "keep_unwanted_s", 0)?;
        }
        let process = self.process(&format!("cap-{site}-{name}"), &self.binaries.cap_agent, &directory);
        process.start()?;
        self.caps.insert(id.clone(), process);
        self.wait_for(&format!("the CAP {id}"), READY_LIMIT, || {
            let connected = |site: &str| -> Result<bool> {
                Ok(self.console(site).site()?.caps.iter().any(|cap| cap.name == name && cap.connected))
            };
            Ok((TcpStream::connect(("127.0.0.1", port)).is_ok() && connected(site)?).then_some(()))
        })
    }

    /// A client agent that looks every second. The site knows it when this returns.
    pub fn client(&mut self, new: NewClient<'_>) -> Result<()> {
        let NewClient { site, hostname, labels } = new;
        let token = self.root.join(format!("{hostname}.token"));
        self.console(site).done(&words(&["client", "token", "--out"], &token))?;
        let directory = self.client_directory(hostname);
        let mut enroll = words(&["enroll", "--dir"], &directory);
        enroll.extend(words(&["--token"], &token));
        enroll.extend(["--hostname", hostname, "--poll-interval", "1"].map(OsString::from));
        enroll.extend(labels.iter().flat_map(|label| ["--label", label]).map(OsString::from));
        self.run_once(&self.binaries.client_agent, &enroll)?;
        let process = self.process(&format!("client-{hostname}"), &self.binaries.client_agent, &directory);
        process.start()?;
        self.clients.insert(hostname.to_owned(), process);
        self.wait_for(&format!("the client {hostname}"), READY_LIMIT, || {
            let answer = self.console(site).json(&["client", "list"])?;
            let clients = answer["clients"].as_array().context("a list of clients")?;
            Ok(clients.iter().any(|client| client["hostname"] == hostname).then_some(()))
        })
    }

    pub fn console(&self, site: &str) -> &Console {
        &self.site_named(site).console
    }

    /// Where the site's server listens.
    pub fn port(&self, site: &str) -> u16 {
        self.site_named(site).port
    }

    pub fn site_process(&self, site: &str) -> &Process {
        &self.site_named(site).process
    }

    pub fn site_directory(&self, site: &str) -> PathBuf {
        self.root.join(format!("site-{site}"))
    }

    /// The process of the CAP agent SITE/NAME.
    pub fn cap_process(&self, id: &str) -> &Process {
        self.caps.get(id).unwrap_or_else(|| panic!("there is no CAP agent {id}"))
    }

    pub fn cap_directory(&self, id: &str) -> PathBuf {
        self.root.join(format!("cap-{}", id.replace('/', "-")))
    }

    pub fn client_process(&self, hostname: &str) -> &Process {
        self.clients.get(hostname).unwrap_or_else(|| panic!("there is no client {hostname}"))
    }

    pub fn client_directory(&self, hostname: &str) -> PathBuf {
        self.root.join(format!("client-{hostname}"))
    }

    /// Another program on the machine, which is killed when this process ends; it is not one of those that must go on.
    pub fn stranger(&self, name: &str, program: &Path, arguments: &[&Path]) -> Process {
        let log = self.root.join("log").join(format!("{name}.log"));
        let arguments = arguments.iter().map(OsString::from).collect();
        Process::new(name.to_owned(), program, arguments, log, Arc::clone(&self.reaper))
    }

    /// Kills what a client runs, and what looks after it, as a power cut would.
    pub fn kill_programs(&self, hostname: &str) {
        kill_programs(&self.client_directory(hostname));
    }

    /// The line between a child site and its parent.
    pub fn line(&self, child: &str) -> &Line {
        self.lines.get(child).unwrap_or_else(|| panic!("there is no line of {child}"))
    }

    /// Every process: sites first, then CAP agents, then clients.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.sites.values().map(|site| &site.process).chain(self.caps.values()).chain(self.clients.values())
    }

    /// Stops the central site, gives it another author's key by the word of its root, and starts it again.
    pub fn renew_author(&self, central: &str) -> Result<()> {
        let directory = self.site_directory(central);
        let mut renew = words(&["renew-author", "--dir"], &directory);
        renew.extend(words(&["--root"], &directory.join("keys/root.pem")));
        let process = self.site_process(central);
        process.stop()?;
        self.run_once(&self.binaries.site_server, &renew)?;
        process.start()?;
        self.wait_until_ready(central)
    }

    /// Waits until a site that was started again answers its console.
    pub fn wait_until_ready(&self, site: &str) -> Result<()> {
        self.wait_for(&format!("the site {site}"), READY_LIMIT, || {
            Ok(self.console(site).site().is_ok().then_some(()))
        })
    }

    /// Stops everything in good order: clients, CAP agents, sites. Programs that go on are killed.
    pub fn stop(self) -> Result<()> {
        let clients: Vec<&Process> = self.clients.values().collect();
        let caps: Vec<&Process> = self.caps.values().collect();
        let sites: Vec<&Process> = self.sites.values().map(|site| &site.process).collect();
        for together in [clients, caps, sites] {
            together.iter().for_each(|process| process.ask_to_stop());
            for process in together.iter().filter(|process| process.is_started()) {
                let status = process.stop()?;
                ensure!(status.success(), "{} stopped with {status}{}", process.name(), process.tail());
            }
        }
        Ok(())
    }

    /// An error if it is to stop, or if a process ended by itself.
    pub fn check(&self) -> Result<()> {
        self.interrupt.check()?;
        self.processes().try_for_each(Process::check_alive)
    }

    /// Looks again and again until there is an answer. After `limit` the error holds the end of every log.
    pub fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let began = Instant::now();
        loop {
            let last = look();
            if let Ok(Some(found)) = last {
                return Ok(found);
            }
            self.check()?;
            if began.elapsed() > limit {
                let seen = last.err().map_or_else(String::new, |error| format!(": {error:#}"));
                bail!("waited {limit:?} in vain for {what}{seen}{}", self.tails());
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn site(&mut self, code: &str, token: Option<&Path>) -> Result<()> {
        let join: Vec<_> = token.map(|token| ("--join", token)).into_iter().collect();
        let (port, init) = self.init(code, &join)?;
        self.run_once(&self.binaries.site_server, &init)?;
        if self.for_test {
            // A lane over UDP would go around the line that counts and is cut, and each over TCP holds bytes of its own
            // that a kill loses.
            set_in_toml(&self.site_directory(code).join("site.toml"), "link.lanes", "off")?;
        }
        self.serve(code, port)
    }

    /// The port of a site to be, and the arguments that make it.
    fn init(&self, code: &str, more: &[(&str, &Path)]) -> Result<(u16, Vec<OsString>)> {
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let directory = self.site_directory(code);
        let mut init = words(&["init", "--dir"], &directory);
        let name = format!("Site {code}");
        init.extend(
            ["--code", code, "--name", &name, "--listen", &address, "--endpoint", &address]
                .map(OsString::from),
        );
        init.extend(more.iter().flat_map(|(word, path)| words(&[word], path)));
        Ok((port, init))
    }

    fn serve(&mut self, code: &str, port: u16) -> Result<()> {
        let directory = self.site_directory(code);
        let process = self.process(&format!("site-{code}"), &self.binaries.site_server, &directory);
        process.start()?;
        let console = Console::new(&self.binaries.packhorse, directory.join("admin"), self.clock.clone());
        self.sites.insert(code.to_owned(), Site { process, console, port });
        self.wait_until_ready(code)
    }

    fn site_named(&self, code: &str) -> &Site {
        self.sites.get(code).unwrap_or_else(|| panic!("there is no site {code}"))
    }

    fn process(&self, name: &str, program: &Path, directory: &Path) -> Process {
        let log = self.root.join("log").join(format!("{name}.log"));
        let arguments = words(&["serve", "--dir"], directory);
        let process = Process::new(name.to_owned(), program, arguments, log, Arc::clone(&self.reaper));
        self.clock.iter().for_each(|clock| process.go_by(clock));
        process
    }

    /// A command that ends by itself and must succeed.
    fn run_once(&self, program: &Path, arguments: &[OsString]) -> Result<()> {
        let output = Command::new(program)
            .args(arguments)
            .envs(self.clock.iter().flat_map(Clock::variables))
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {}", program.display()))?;
        if !output.status.success() {
            let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`{} {}` failed: {}: {}", program.display(), words.join(" "), output.status, said.trim());
        }
        Ok(())
    }

    fn tails(&self) -> String {
        self.processes().map(Process::tail).collect()
    }
}

impl Drop for Hierarchy {
    /// Clients first, so that nobody complains of a server that has gone. A test that panics shows the logs.
    fn drop(&mut self) {
        if thread::panicking() {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "{}", self.tails());
        }
        let hosts: Vec<String> = self.clients.keys().cloned().collect();
        self.clients.clear();
        hosts.iter().for_each(|host| kill_programs(&self.client_directory(host)));
        self.caps.clear();
        self.lines.clear();
        self.sites.clear();
    }
}

fn words(words: &[&str], path: &Path) -> Vec<OsString> {
    words.iter().map(OsString::from).chain([path.into()]).collect()
}
