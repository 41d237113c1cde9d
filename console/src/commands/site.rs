//! Sites, CAP agents, clients and distribution points, and the tokens with which they join.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use packhorse_proto::provider::v1 as wire;

use crate::{
    cli::site::{CapCommand, ClientCommand, PointCommand, SiteCommand, TokenOptions},
    commands::{status, whole_seconds},
    connect::Session,
    error::ConsoleError,
    view::{
        client::Clients,
        done::{self, Done},
        show,
        site::{Admitted, Points, Sites},
    },
};

pub(crate) async fn site(session: &Session, command: SiteCommand) -> Result<(), ConsoleError> {
    match command {
        SiteCommand::List => {
            let answer = session.sites().list_sites(wire::ListSitesRequest {}).await?.into_inner();
            show(&Sites::from(answer), session.format)
        }
        SiteCommand::Status => status::site(session).await,
        SiteCommand::Admit { path } => admit(session, path).await,
        SiteCommand::Token { code, token } => {
            let request =
                wire::CreateSiteTokenRequest { code: code.to_string(), valid_s: whole_seconds(token.valid) };
            let answer = session.sites().create_site_token(request).await?.into_inner();
            hand_over(session, &token, answer.token)
        }
    }
}

async fn admit(session: &Session, path: String) -> Result<(), ConsoleError> {
    let answer = session.sites().admit_sites(wire::AdmitSitesRequest { path }).await?.into_inner();
    let admitted = Admitted::from(answer);
    show(&admitted, session.format)?;
    match admitted.refused() {
        _ if admitted.is_empty() => Err(ConsoleError::NoRequest),
        0 => Ok(()),
        refused => Err(ConsoleError::NotAdmitted(refused)),
    }
}

pub(crate) async fn cap(session: &Session, command: CapCommand) -> Result<(), ConsoleError> {
    let CapCommand::Token { name, token } = command;
    let request = wire::CreateCapTokenRequest { name: name.to_string(), valid_s: whole_seconds(token.valid) };
    let answer = session.sites().create_cap_token(request).await?.into_inner();
    hand_over(session, &token, answer.token)
}

pub(crate) async fn client(session: &Session, command: ClientCommand) -> Result<(), ConsoleError> {
    match command {
        ClientCommand::List => {
            let answer = session.status().list_clients(wire::ListClientsRequest {}).await?.into_inner();
            show(&Clients::from(answer), session.format)
        }
        ClientCommand::Token { name, token } => {
            let request = wire::CreateClientTokenRequest {
                name: name.unwrap_or_default(),
                valid_s: whole_seconds(token.valid),
            };
            let answer = session.sites().create_client_token(request).await?.into_inner();
            hand_over(session, &token, answer.token)
        }
    }
}

pub(crate) async fn point(session: &Session, command: PointCommand) -> Result<(), ConsoleError> {
    let mut points = session.points();
    match command {
        PointCommand::List => {
            let answer =
                points.list_distribution_points(wire::ListDistributionPointsRequest {}).await?.into_inner();
            show(&Points::from(answer.points), session.format)
        }
        PointCommand::Add { name, path } => {
            points.add_directory(wire::AddDirectoryRequest { name: name.to_string(), path }).await?;
            show(&Done::new("distribution_point", name.as_str(), "added"), session.format)
        }
        PointCommand::Remove { name } => {
            let request = wire::RemoveDistributionPointRequest { name: name.to_string() };
            points.remove_distribution_point(request).await?;
            show(&Done::new("distribution_point", name.as_str(), "removed"), session.format)
        }
        PointCommand::Check { name } => {
            points.check_directory(wire::CheckDirectoryRequest { name: name.to_string() }).await?;
            show(&Done::new("distribution_point", name.as_str(), "check asked for"), session.format)
        }
    }
}

fn hand_over(session: &Session, options: &TokenOptions, token: String) -> Result<(), ConsoleError> {
    match &options.out {
        None => show(&done::Token::text(token), session.format),
        Some(path) => {
            write_secret(path, &token)
                .map_err(|source| ConsoleError::TokenFile { path: path.clone(), source })?;
            show(&done::Token::file(path), session.format)
        }
    }
}

/// A token lets its holder in: only the owner may read it, and no other file is overwritten.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_token_file_is_its_owners_alone_and_never_overwrites() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("par.token");

        write_secret(&path, "secret").expect("written");

        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(
            write_secret(&path, "other").is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists)
        );
        assert_eq!(fs::read_to_string(&path).expect("read"), "secret");
    }
}
