//! Packages and their programs.

use std::time::Duration;

use indicatif::ProgressBar;
use packhorse_domain::id::PackageId;
use packhorse_proto::{
    convert::courier::sender_on_wire,
    object::v1::Program,
    provider::v1::{self as wire, source::From as SourceFrom},
};
use tonic::Status;

use crate::{
    cli::{
        package::{Create, PackageCommand, Source},
        program::{ProgramCommand, Set},
    },
    commands::{priority, upload::upload, whole_seconds},
    connect::Session,
    error::ConsoleError,
    view::{
        done::Done,
        kill::Kills,
        package::{Package, Packages, Programs, Updated},
        show,
    },
};

pub(crate) async fn package(session: &Session, command: PackageCommand) -> Result<(), ConsoleError> {
    let mut packages = session.packages();
    match command {
        PackageCommand::Create(create) => show_package(session, create_package(session, create).await?),
        PackageCommand::Update { package, source } => update(session, &package, source).await,
        PackageCommand::Sender { package, sender } => {
            let sender = sender_on_wire(sender.way());
            let request = wire::SetSenderRequest { package: package.to_string(), sender };
            show_package(session, packages.set_sender(request).await?.into_inner().package)
        }
        PackageCommand::Delete { package } => {
            packages.delete_package(wire::DeletePackageRequest { package: package.to_string() }).await?;
            show(&Done::new("package", package.as_str(), "deleted"), session.format)
        }
        PackageCommand::List => {
            let answer = packages.list_packages(wire::ListPackagesRequest {}).await?.into_inner();
            show(&Packages::from(answer), session.format)
        }
        PackageCommand::Show { package } => show_package(session, get(session, &package).await?),
        PackageCommand::Kill { package, release, reason } => {
            let package = package.to_string();
            let request = wire::KillPackageRequest { package, release: release.unwrap_or_default(), reason };
            let kills = packages.kill_package(request).await?.into_inner().kills;
            show(&Kills::new(kills), session.format)
        }
        PackageCommand::Kills => {
            let kills = packages.list_kills(wire::ListKillsRequest {}).await?.into_inner().kills;
            show(&Kills::new(kills), session.format)
        }
        PackageCommand::Revive { package } => revive(session, &package).await,
        PackageCommand::Send { package, to } => {
            let request = wire::AddTargetsRequest { package: package.to_string(), targets: to };
            show_package(session, packages.add_targets(request).await?.into_inner().package)
        }
        PackageCommand::Recall { package, from } => {
            let request = wire::RemoveTargetsRequest { package: package.to_string(), targets: from };
            show_package(session, packages.remove_targets(request).await?.into_inner().package)
        }
    }
}

pub(crate) async fn program(session: &Session, command: ProgramCommand) -> Result<(), ConsoleError> {
    let mut packages = session.packages();
    match command {
        ProgramCommand::Set(set) => {
            let package = set.package.to_string();
            let request = wire::SetProgramRequest { package, program: Some(described(set)) };
            show_package(session, packages.set_program(request).await?.into_inner().package)
        }
        ProgramCommand::Remove { package, name } => {
            let request =
                wire::RemoveProgramRequest { package: package.to_string(), program: name.to_string() };
            show_package(session, packages.remove_program(request).await?.into_inner().package)
        }
        ProgramCommand::List { package } => {
            let package = get(session, &package).await?.ok_or(ConsoleError::Incomplete("package"))?;
            show(&Programs::of(Package::from(package)), session.format)
        }
    }
}

/// What the grammar of the command line cannot say.
pub(crate) fn check(command: &ProgramCommand) -> Result<(), ConsoleError> {
    match command {
        ProgramCommand::Set(set) if set.shell && set.command.len() != 1 => {
            Err(ConsoleError::ShellWords(set.command.len()))
        }
        _ => Ok(()),
    }
}

pub(crate) async fn get(session: &Session, id: &PackageId) -> Result<Option<wire::Package>, ConsoleError> {
    let request = wire::GetPackageRequest { package: id.to_string() };
    Ok(session.packages().get_package(request).await?.into_inner().package)
}

async fn create_package(session: &Session, create: Create) -> Result<Option<wire::Package>, ConsoleError> {
    let request = wire::CreatePackageRequest {
        id: create.id.map(|id| id.to_string()).unwrap_or_default(),
        name: create.name,
        description: create.description,
        priority: priority(create.priority),
        source: provide(session, create.source).await?,
        programs: create.program,
        targets: create.to,
        sender: sender_on_wire(create.sender.way()),
    };
    let mut packages = session.packages();
    Ok(taking_in(packages.create_package(request)).await?.into_inner().package)
}

async fn update(session: &Session, id: &PackageId, source: Source) -> Result<(), ConsoleError> {
    let source = provide(session, source).await?;
    let request = wire::UpdatePackageRequest { package: id.to_string(), source };
    let mut packages = session.packages();
    let answer = taking_in(packages.update_package(request)).await?.into_inner();
    let package = answer.package.ok_or(ConsoleError::Incomplete("package"))?;
    show(&Updated::new(package, answer.changed), session.format)
}

async fn revive(session: &Session, id: &PackageId) -> Result<(), ConsoleError> {
    let request = wire::RevivePackageRequest { package: id.to_string() };
    let left = session.packages().revive_package(request).await?.into_inner().kills;
    if left.is_empty() {
        return show(&Done::new("package", id.as_str(), "revived"), session.format);
    }
    // What others say holds on, and has to be seen.
    show(&Kills::new(left), session.format)
}

/// Shows on a terminal that the site server is at work: a large source takes it minutes.
async fn taking_in<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let spinner = ProgressBar::new_spinner().with_message("the site server takes the source in");
    spinner.enable_steady_tick(Duration::from_millis(120));
    let answer = call.await;
    spinner.finish_and_clear();
    answer
}

/// The source as the request names it; files of this machine are with the site server after this.
async fn provide(session: &Session, source: Source) -> Result<Option<wire::Source>, ConsoleError> {
    let from = match (source.source, source.upload) {
        (Some(directory), _) => Some(SourceFrom::Directory(directory)),
        (None, Some(directory)) => Some(SourceFrom::Upload(upload(session, directory).await?)),
        (None, None) => None,
    };
    Ok(from.map(|from| wire::Source { from: Some(from) }))
}

fn described(set: Set) -> Program {
    Program {
        name: set.name.to_string(),
        command: set.command,
        shell: set.shell,
        time_limit_s: whole_seconds(set.time_limit),
        success_codes: set.success_code,
        operating_systems: set.os,
        architectures: set.arch,
        idempotent: set.idempotent,
    }
}

fn show_package(session: &Session, package: Option<wire::Package>) -> Result<(), ConsoleError> {
    show(&Package::from(package.ok_or(ConsoleError::Incomplete("package"))?), session.format)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn set(arguments: &[&str]) -> Result<Program, ConsoleError> {
        let typed = ["packhorse", "program", "set", "CEN00001", "install"].iter().chain(arguments);
        match Cli::try_parse_from(typed).expect("a command line").command {
            Command::Program(command) => {
                check(&command)?;
                match command {
                    ProgramCommand::Set(set) => Ok(described(set)),
                    other => panic!("{other:?}"),
                }
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_program_is_what_was_typed_after_the_dashes() {
        let program = set(&[
            "--time-limit",
            "90m",
            "--success-code",
            "0",
            "--success-code",
            "-1",
            "--idempotent",
            "--",
        ]
        .iter()
        .chain(&["./x", "--shell", "-v"])
        .copied()
        .collect::<Vec<_>>())
        .expect("a program");

        assert_eq!(program.command, ["./x", "--shell", "-v"]);
        assert_eq!((program.time_limit_s, program.shell, program.idempotent), (5400, false, true));
        assert_eq!(program.success_codes, [0, -1]);
    }

    #[test]
    fn a_shell_command_is_one_string() {
        assert!(matches!(set(&["--shell", "--", "echo", "x"]), Err(ConsoleError::ShellWords(2))));
        assert!(set(&["--shell", "--", "echo x"]).is_ok_and(|program| program.shell));
    }
}
