//! The command line of the agent.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use packhorse_domain::id::AdvertisementId;
use packhorse_runtime::{
    Clock, Lifecycle, SystemClock,
    metrics::MetricsError,
    telemetry::{self, LogFormat, TelemetryConfig},
};
use packhorse_support::Agent;

use crate::{
    agent,
    config::{Config, POLL_INTERVAL_DEFAULT_S, POLL_INTERVAL_MAX_S},
    enroll::{Wishes, enroll},
    home::Home,
    ledger::{LedgerView, read_snapshot},
    runner::supervise,
};

/// Runs what the sites above this machine advertise to it.
#[derive(Debug, Parser)]
#[command(name = "client-agent", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make this machine a client of the site that gave the token.
    Enroll {
        /// The agent's own directory.
        #[arg(long)]
        dir: PathBuf,
        /// The token file.
        #[arg(long)]
        token: PathBuf,
        /// A label that collections can go by; may be repeated.
        #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
        /// What to call this machine, if not by its own name.
        #[arg(long, default_value = "")]
        hostname: String,
        /// Seconds between two polls.
        #[arg(long, default_value_t = POLL_INTERVAL_DEFAULT_S,
              value_parser = clap::value_parser!(u32).range(1..=i64::from(POLL_INTERVAL_MAX_S)))]
        poll_interval: u32,
    },
    /// Poll, fetch, run and report until stopped.
    Serve {
        #[arg(long)]
        dir: PathBuf,
        /// Print the settings in force and leave.
        #[arg(long)]
        check_config: bool,
        /// Poll once, wait for all that runs because of it, report, and leave.
        #[arg(long)]
        once: bool,
    },
    /// Show what was offered to this machine and what ran.
    Status {
        #[arg(long)]
        dir: PathBuf,
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Run an advertisement that is offered without being required, or that waits for a maintenance window.
    RunAvailable {
        #[arg(long)]
        dir: PathBuf,
        advertisement: AdvertisementId,
    },
    /// Write one archive with what a stranger needs to diagnose this agent, and no secrets.
    SupportBundle {
        #[arg(long)]
        dir: PathBuf,
        /// The file to write; one that is there is kept.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Supervise one program; the agent starts this by itself.
    #[command(hide = true)]
    Runner {
        #[arg(long)]
        spool: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("NAME=VALUE is expected".to_owned()),
    }
}

/// Does what the command line says.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Runner { spool } => {
            supervise(&spool, &SystemClock)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Status { dir, output } => {
            print_status(&read_snapshot(&dir)?, output).context("cannot print")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::RunAvailable { dir, advertisement } => {
            agent::choose(&Home::at(&dir), &advertisement)?;
            writeln!(io::stdout(), "{advertisement} runs as soon as its content is here")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::SupportBundle { dir, out } => support_bundle(&dir, &out),
        Command::Serve { dir, check_config: true, .. } => {
            let home = Home::at(&dir);
            let config = Config::load(&home.config())?;
            agent::identity(&config, &home)?;
            write!(io::stdout(), "{}", toml::to_string(&config.to_file())?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve { dir, once, .. } => serve(&Home::at(&dir), once),
        Command::Enroll { dir, token, labels, hostname, poll_interval } => {
            let labels: BTreeMap<String, String> = labels.into_iter().collect();
            let wishes = Wishes { labels, hostname, poll_interval_s: poll_interval };
            let home = Home::at(&dir);
            let now = SystemClock.now();
            let name = runtime()?.block_on(enroll(&home, &token, &wishes, now))?;
            writeln!(io::stdout(), "enrolled as {name}")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn support_bundle(dir: &Path, out: &Path) -> anyhow::Result<ExitCode> {
    let facts = Agent {
        program: "client-agent",
        version: env!("CARGO_PKG_VERSION"),
        directory: dir,
        config: "client.toml",
        now: SystemClock.now(),
    };
    let archive = packhorse_support::agent(facts, |bundle| {
        let ledger = read_snapshot(dir).map(|mut view| {
            // What programs wrote is nobody's business.
            view.advertisements.iter_mut().for_each(|row| row.output_tail.clear());
            view
        });
        bundle.json_of("ledger.json", "What was offered, and what ran, without what programs wrote.", ledger);
    })?;
    packhorse_support::write_new(out, &archive.bytes)
        .with_context(|| format!("cannot write {}", out.display()))?;
    let (bytes, files) = (archive.bytes.len(), archive.files);
    writeln!(io::stdout(), "wrote {}: {bytes} bytes, {files} files", out.display())?;
    Ok(ExitCode::SUCCESS)
}

fn serve(home: &Home, once: bool) -> anyhow::Result<ExitCode> {
    let config = Config::load(&home.config())?;
    let client = agent::identity(&config, home)?;
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let section = &config.telemetry;
    let watched = TelemetryConfig {
        format: if section.format == "json" { LogFormat::Json } else { LogFormat::Text },
        filter: section.filter.clone(),
        otlp_endpoint: section.otlp_endpoint.clone(),
        // It was checked when the settings were read.
        metrics_listen: section.metrics_listen.as_ref().and_then(|address| address.parse().ok()),
        metrics_every: Duration::from_secs(section.metrics_every_s.into()),
        service: "packhorse-client-agent".to_owned(),
        instance: client.to_string(),
    };
    let _telemetry = telemetry::init(&watched)?;

    let lifecycle = Lifecycle::new();
    // The file that this process runs, even when an upgrade has put another in its place.
    let runner = PathBuf::from("/proc/self/exe");
    let shared = agent::open(config, home.clone(), lifecycle.clock(), runner)?;
    if once {
        runtime.block_on(agent::once(&shared))?;
        return Ok(ExitCode::SUCCESS);
    }
    tracing::info!(%client, version = env!("CARGO_PKG_VERSION"), "client agent started");
    let end = runtime.block_on(async {
        telemetry::look_after_levels(&lifecycle);
        agent::metrics(&shared, &lifecycle).start(&watched).await?;
        agent::serve(&shared, &lifecycle);
        Ok::<_, MetricsError>(lifecycle.run(agent::GRACE).await)
    });
    Ok(end?.exit_code())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

fn print_status(view: &LedgerView, output: Output) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if output == Output::Json {
        serde_json::to_writer_pretty(&mut out, view)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(out, "client {} of site {}, instruction {}\n", view.client, view.site, view.serial)?;
    let mut rows =
        vec![["ADVERTISEMENT", "ACCEPTANCE", "DELIVERY", "EXIT", "VERSION", "REASON"].map(str::to_owned)];
    for row in &view.advertisements {
        rows.push([
            row.advertisement.clone(),
            row.acceptance.clone(),
            row.delivery.clone(),
            row.exit_code.map_or_else(|| "-".to_owned(), |code| code.to_string()),
            row.source_version.to_string(),
            row.reason.clone(),
        ]);
    }
    let widths: [usize; 6] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    for kill in &view.kills {
        let (package, release, site, reason) = (&kill.package, kill.release, &kill.site, &kill.reason);
        writeln!(out, "\npackage {package} is killed up to release {release} by {site}: {reason}")?;
    }
    Ok(())
}
