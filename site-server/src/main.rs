//! The command line of the site server.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use packhorse_domain::id::SiteCode;
use packhorse_runtime::{Clock as _, SystemClock, error_chain};
use packhorse_site_server::{
    app, authors,
    config::Config,
    init::{Made, Plan, init},
    support,
};

/// Site server of Packhorse: a site's database, its content, and its links to the parent and the children.
#[derive(Debug, Parser)]
#[command(
    name = "site-server",
    version,
    after_help = "\
Exit codes: 0 it was done, or the server was told to stop and stopped; 1 it failed, and standard error says why; \
2 the command line is wrong.

Examples:
  site-server init --dir /var/lib/packhorse --code CEN --name Central --endpoint cen.example.org:7443
  site-server serve --dir /var/lib/packhorse"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a site: a central one, or a child that joins its parent with a token
    #[command(after_help = "\
Examples:
  site-server init --dir /var/lib/packhorse --code CEN --name Central --endpoint cen.example.org:7443
  site-server init --dir /var/lib/packhorse --code PAR --name Paris --endpoint par.example.org:7443 --join par.token

  site-server init --dir /var/lib/packhorse --code LYO --name Lyon --join lyo.token --medium /media/usb

The parent's administrator makes the token with `packhorse site token PAR --out par.token`. An attempt that was cut \
is repeated with the same command. With --medium nothing goes over a line: the first run leaves a request on the \
medium, `packhorse site admit DIR` at the parent answers it, and the same command again makes the site. The directory's `admin` holds what the console needs. The central site's \
`keys/root.pem` signs the trust file: keep a copy offline.")]
    Init(Init),
    /// Run the site server
    #[command(after_help = "\
Examples:
  site-server serve --dir /var/lib/packhorse
  site-server serve --dir /var/lib/packhorse --check-config")]
    Serve {
        /// The site's directory, as `init` made it
        #[arg(long)]
        dir: PathBuf,
        /// Check the settings, print those in effect, and leave
        #[arg(long)]
        check_config: bool,
    },
    /// Give the central site another key for signing packages, by the word of the root
    #[command(after_help = "\
Examples:
  site-server renew-author --dir /var/lib/packhorse --root /media/usb/root.pem

The site's server must not run. The next version of the trust file names the new key beside those before it, and goes to \
every site and client as other objects do, on a line or in a parcel; the new key takes the place of the one in the \
site's `keys`. What was signed before still runs. An attempt that was cut is repeated with the same command.")]
    RenewAuthor {
        /// The central site's directory
        #[arg(long)]
        dir: PathBuf,
        /// The root's key
        #[arg(long, value_name = "FILE")]
        root: PathBuf,
    },
    /// Make a support bundle of a site whose server does not run
    #[command(after_help = "\
Examples:
  site-server support-bundle /var/lib/packhorse --out site.tar.zst

Of a server that runs, `packhorse support-bundle` makes a better one. The database is opened to read only, and nothing \
is changed. What cannot be read is named in the bundle, and the rest is there. It has no keys, tokens or passwords in it.")]
    SupportBundle {
        /// The site's directory, as `init` made it
        dir: PathBuf,
        /// The file to write; one that is there is kept
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Init {
    /// The site's directory; made if it is not there
    #[arg(long)]
    dir: PathBuf,
    /// The site's code: 3 characters A-Z 0-9
    #[arg(long)]
    code: SiteCode,
    /// What people call the site
    #[arg(long)]
    name: String,
    /// The address to serve on
    #[arg(long, default_value = "0.0.0.0:7443")]
    listen: SocketAddr,
    /// Where others reach it, may be given up to 8 times [default: this machine's name, or the address to serve on]
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Vec<String>,
    /// The token file of the parent site; without it the site is a central one
    #[arg(long, value_name = "TOKENFILE")]
    join: Option<PathBuf>,
    /// Join by courier: the directory of a medium, for the request, and then for the answer
    #[arg(long, value_name = "DIR", requires = "join")]
    medium: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            // There is nowhere left to tell of an error here.
            let _ = writeln!(io::stderr(), "site-server: {}", error_chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    match command {
        Command::Init(asked) => {
            let plan = plan(asked);
            let mut out = io::stdout();
            if let Made::Asked(path) = runtime.block_on(init(&plan, &SystemClock))? {
                writeln!(out, "the request to join lies in {}", path.display())?;
                writeln!(out, "at the parent: packhorse site admit DIR, where the medium is mounted")?;
                writeln!(out, "then here:     the same command again, with the medium")?;
                return Ok(ExitCode::SUCCESS);
            }
            writeln!(out, "made site {} in {}", plan.code, plan.directory.display())?;
            writeln!(out, "start it:      site-server serve --dir {}", plan.directory.display())?;
            writeln!(out, "the console's: {}", plan.directory.join("admin").display())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve { dir, check_config: true } => {
            app::settings(&dir)?;
            let effective: Config = packhorse_runtime::config::load(&dir.join("site.toml"))?;
            io::stdout().write_all(toml::to_string(&effective)?.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve { dir, check_config: false } => runtime.block_on(app::serve_site(&dir)),
        Command::RenewAuthor { dir, root } => {
            let key = runtime.block_on(authors::renew(&dir, &root, SystemClock::shared()))?;
            writeln!(io::stdout(), "packages are signed with {key} from now on")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::SupportBundle { dir, out } => {
            let archive = runtime.block_on(support::offline(&dir, SystemClock.now()))?;
            packhorse_support::write_new(&out, &archive.bytes)
                .with_context(|| format!("cannot write {}", out.display()))?;
            let (bytes, files) = (archive.bytes.len(), archive.files);
            writeln!(io::stdout(), "wrote {}: {bytes} bytes, {files} files", out.display())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn plan(asked: Init) -> Plan {
    let endpoints = if asked.endpoint.is_empty() { vec![own_endpoint(asked.listen)] } else { asked.endpoint };
    Plan {
        directory: asked.dir,
        code: asked.code,
        name: asked.name,
        listen: asked.listen,
        endpoints,
        join: asked.join,
        medium: asked.medium,
    }
}

/// Where this machine is reached if nobody says it: at the address it serves on, or else by its name.
fn own_endpoint(listen: SocketAddr) -> String {
    if !listen.ip().is_unspecified() {
        return listen.to_string();
    }
    let machine = rustix::system::uname();
    format!("{}:{}", machine.nodename().to_string_lossy(), listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_site_that_listens_on_one_address_is_reached_there() {
        assert_eq!(own_endpoint("127.0.0.1:7443".parse().expect("an address")), "127.0.0.1:7443");
        assert!(own_endpoint("0.0.0.0:7443".parse().expect("an address")).ends_with(":7443"));
        assert!(!own_endpoint("0.0.0.0:7443".parse().expect("an address")).starts_with("0.0.0.0"));
    }
}
