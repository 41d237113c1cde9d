//! The command line of the CAP agent.

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use packhorse_cap_agent::{EnrollOptions, Settings, check, enroll, start};
use packhorse_runtime::{Clock as _, Lifecycle, SystemClock, error_chain, telemetry};
use packhorse_support::{Agent, agent, write_new};

/// How long calls and fetches may take to end after the agent was told to stop.
const GRACE: Duration = Duration::from_secs(20);

/// Client access point and distribution point of a site.
#[derive(Debug, Parser)]
#[command(name = "cap-agent", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Get a certificate from the site with a token, and write the settings. May be repeated.
    Enroll {
        /// The agent's directory; made if it is not there.
        #[arg(long)]
        dir: PathBuf,
        /// The token file that the site's administrator gave.
        #[arg(long)]
        token: PathBuf,
        /// The address to serve clients on.
        #[arg(long, default_value = "0.0.0.0:7453")]
        listen: SocketAddr,
        /// Where clients reach this agent, as host:port; this machine's name if none is given.
        #[arg(long)]
        endpoint: Vec<String>,
        /// Serve instruction files only, no content.
        #[arg(long)]
        no_distribution_point: bool,
    },
    /// Serve clients.
    Serve {
        /// The agent's directory.
        #[arg(long)]
        dir: PathBuf,
        /// Check settings and credentials, print the settings that would be used, and leave.
        #[arg(long)]
        check_config: bool,
    },
    /// Write one archive with what a stranger needs to diagnose this agent, and no secrets.
    SupportBundle {
        /// The agent's directory.
        #[arg(long)]
        dir: PathBuf,
        /// The file to write; one that is there is kept.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to tell it to if even this fails.
            let _ = writeln!(std::io::stderr(), "cap-agent: {}", error_chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match command {
        Command::Enroll { dir, token, listen, endpoint, no_distribution_point } => {
            let options = EnrollOptions {
                directory: dir,
                token,
                listen,
                endpoints: endpoint,
                distribution_point: !no_distribution_point,
            };
            let enrolled = runtime.block_on(enroll(&options, &SystemClock))?;
            let Settings { site, name, .. } = &enrolled.settings;
            let mut out = std::io::stdout();
            writeln!(out, "enrolled as {name} of site {site} in {}", options.directory.display())?;
            if enrolled.kept_settings {
                writeln!(out, "cap.toml was there already and is unchanged")?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::SupportBundle { dir, out } => {
            let facts = Agent {
                program: "cap-agent",
                version: env!("CARGO_PKG_VERSION"),
                directory: &dir,
                config: "cap.toml",
                now: SystemClock.now(),
            };
            let archive = agent(facts, |_| {})?;
            write_new(&out, &archive.bytes)?;
            let (bytes, files) = (archive.bytes.len(), archive.files);
            writeln!(std::io::stdout(), "wrote {}: {bytes} bytes, {files} files", out.display())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve { dir, check_config } => {
            let settings = Settings::load(&dir)?;
            if check_config {
                check(&dir, &settings, SystemClock.now())?;
                std::io::stdout().write_all(settings.encode().as_bytes())?;
                return Ok(ExitCode::SUCCESS);
            }
            runtime.block_on(async {
                let _telemetry = telemetry::init(&settings.telemetry())?;
                let lifecycle = Lifecycle::new();
                telemetry::look_after_levels(&lifecycle);
                start(&dir, settings, &lifecycle).await?;
                Ok(lifecycle.run(GRACE).await.exit_code())
            })
        }
    }
}
