//! What goes wrong, what to do about it, and the exit code that says so.

use std::{error::Error, io, path::PathBuf};

use packhorse_domain::id::IdError;
use packhorse_proto::convert::ConvertError;
use packhorse_runtime::ConnectError;
use packhorse_trust::CredentialsError;
use tonic::{Code, Status};

use crate::commands::{medium::MediumFault, upload::UploadError};

const COPY_AGAIN: &str = "copy the `admin` directory from the site server again, with its file modes";

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConsoleError {
    #[error("there is no admin directory: neither --admin nor a home directory is given")]
    NoHome,
    #[error("there is no admin directory at {}", .0.display())]
    NoAdminDirectory(PathBuf),
    #[error("{} cannot be read", path.display())]
    ReadSettings { path: PathBuf, source: io::Error },
    #[error("{} is not right", path.display())]
    Settings { path: PathBuf, source: toml::de::Error },
    #[error("{} names no site", path.display())]
    SettingsSite { path: PathBuf, source: IdError },
    #[error("the certificate in {} cannot be used", dir.display())]
    Credentials { dir: PathBuf, source: CredentialsError },
    #[error(transparent)]
    Connect(ConnectError),
    #[error("the connection to the site server was lost or refused")]
    Lost(#[source] Status),
    /// The server's own words, with the remedy in them.
    #[error("{}", first_line(.0.message(), .0.code()))]
    Refused(Status),
    #[error("the site server's answer has no {0}")]
    Incomplete(&'static str),
    #[error("the site server's answer does not decode")]
    Answer(#[source] ConvertError),
    #[error("a shell command is one string, not {0}: quote it")]
    ShellWords(usize),
    #[error("{} cannot be uploaded", dir.display())]
    Upload { dir: PathBuf, source: UploadError },
    #[error("the token cannot be written to {}", path.display())]
    TokenFile { path: PathBuf, source: io::Error },
    #[error("{0} version(s) of the content library could not be mended")]
    NotMended(u64),
    #[error("not everything was taken in: {0}")]
    Prestage(String),
    /// The parcel is there, so that the same command would make another.
    #[error("parcel {parcel} is laid out, but not all of it is written")]
    NotWritten { parcel: String, medium: String, here: bool, source: Box<ConsoleError> },
    #[error("the medium at {}", path.display())]
    MediumHere { path: PathBuf, source: Box<MediumFault> },
    #[error("{0} fault(s) were found on the medium")]
    Medium(usize),
    #[error("no volume of the parcel lies whole on the medium")]
    NoVolume,
    #[error("not everything was taken in")]
    NotTaken,
    #[error("no parcel for this site lies there")]
    NoParcel,
    #[error("no request of a site lies there")]
    NoRequest,
    #[error("{0} site(s) were not admitted")]
    NotAdmitted(usize),
    /// The answer says what.
    #[error("not everything is as it should be")]
    Stands,
    #[error("the support bundle cannot be written to {}", path.display())]
    Bundle { path: PathBuf, source: io::Error },
    #[error("stopped before the support bundle was whole; nothing is left of it")]
    Interrupted,
    #[error("the answer cannot be written")]
    Output(#[source] io::Error),
}

impl From<Status> for ConsoleError {
    /// A status that a server sent has no cause; one that the transport made has.
    fn from(status: Status) -> Self {
        if status.source().is_some() { ConsoleError::Lost(status) } else { ConsoleError::Refused(status) }
    }
}

impl ConsoleError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            ConsoleError::NoHome
            | ConsoleError::NoAdminDirectory(_)
            | ConsoleError::ReadSettings { .. }
            | ConsoleError::Settings { .. }
            | ConsoleError::SettingsSite { .. }
            | ConsoleError::Credentials { .. }
            | ConsoleError::ShellWords(_)
            | ConsoleError::Connect(ConnectError::Endpoint { .. } | ConnectError::Credentials { .. }) => 2,
            ConsoleError::Connect(_) | ConsoleError::Lost(_) => 3,
            ConsoleError::Refused(_)
            | ConsoleError::Incomplete(_)
            | ConsoleError::Answer(_)
            | ConsoleError::Upload { .. }
            | ConsoleError::TokenFile { .. }
            | ConsoleError::NotMended(_)
            | ConsoleError::Prestage(_)
            | ConsoleError::Medium(_)
            | ConsoleError::NoVolume
            | ConsoleError::NotTaken
            | ConsoleError::MediumHere { .. }
            | ConsoleError::NoParcel
            | ConsoleError::NoRequest
            | ConsoleError::NotAdmitted(_)
            | ConsoleError::Stands
            | ConsoleError::Bundle { .. }
            | ConsoleError::Interrupted
            | ConsoleError::Output(_) => 1,
            ConsoleError::NotWritten { source, .. } => source.exit_code(),
        }
    }

    /// Whether asking again may help: a server that starts anew is away for a moment.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            ConsoleError::Lost(_) => !matches!(self.connect_error(), Some(ConnectError::Refused { .. })),
            ConsoleError::Refused(status) => status.code() == Code::Unavailable,
            _ => false,
        }
    }

    /// What to do, where that can be said.
    fn remedy(&self) -> Option<String> {
        let text = match self {
            ConsoleError::NoHome | ConsoleError::NoAdminDirectory(_) => {
                "give --admin or PACKHORSE_ADMIN the `admin` directory that `init` made on the site server, or copy \
                 it to ~/.config/packhorse"
            }
            ConsoleError::ReadSettings { .. }
            | ConsoleError::Settings { .. }
            | ConsoleError::SettingsSite { .. }
            | ConsoleError::Credentials { .. } => COPY_AGAIN,
            ConsoleError::Connect(_) | ConsoleError::Lost(_) => self.connection_remedy(),
            ConsoleError::Refused(status) => return remedy_of(status),
            ConsoleError::Incomplete(_) | ConsoleError::Answer(_) => {
                "the site server is of another version than this console"
            }
            ConsoleError::ShellWords(_) => {
                "as in: packhorse program set ID NAME --shell -- 'first && second'"
            }
            ConsoleError::Bundle { .. } => {
                "name with --out a file that is not there yet in a directory where you may write"
            }
            ConsoleError::TokenFile { .. } => {
                "name a file that is not there yet in a directory that is; the token that was made stays unused"
            }
            ConsoleError::NotMended(_) => {
                "they come whole again from the parent or the source directory; `packhorse status package ID` shows what a \
                 package waits for, and `packhorse package update ID` makes a new version where its source has changed"
            }
            ConsoleError::Prestage(_) => {
                "correct that and give the same command again: it goes on where it was"
            }
            ConsoleError::NotWritten { parcel, medium, here, source } => {
                let here = if *here { " --here" } else { "" };
                let first = source.remedy().map(|remedy| format!("{remedy}\n")).unwrap_or_default();
                return Some(format!(
                    "{first}`packhorse courier write {parcel} {medium}{here}` goes on with it"
                ));
            }
            ConsoleError::Medium(_) => {
                "write those volumes again with `packhorse courier write PARCEL DIR --volume N`, if it goes wrong again onto \
                 another medium"
            }
            ConsoleError::NoVolume => {
                "check on the site server that the medium is mounted at that directory, and that it is the right one"
            }
            ConsoleError::NotTaken => {
                "correct what is named above, or bring the medium with the missing volumes, and give the same command again: \
                 what was taken stays"
            }
            ConsoleError::NoParcel => {
                "check on the site server that the medium is mounted at that directory: parcels lie below PARCELS in it"
            }
            ConsoleError::MediumHere { .. } => {
                "what was written or taken in before stays: put it right, or take another medium, and give the same command \
                 again; `packhorse courier write PARCEL DIR --here` goes on with a parcel"
            }
            ConsoleError::NoRequest => {
                "check on the site server that the medium is mounted at that directory: requests lie below JOINING in it"
            }
            ConsoleError::NotAdmitted(_) => {
                "correct what is named above, and give the same command again: those that were admitted stay so"
            }
            ConsoleError::Upload { .. }
            | ConsoleError::Stands
            | ConsoleError::Interrupted
            | ConsoleError::Output(_) => return None,
        };
        Some(text.to_owned())
    }

    fn connection_remedy(&self) -> &'static str {
        match self.connect_error() {
            Some(ConnectError::Endpoint { .. }) => "as in: --endpoint 192.0.2.7:7443",
            Some(ConnectError::Credentials { .. }) => COPY_AGAIN,
            Some(ConnectError::Refused { .. }) => {
                "copy the `admin` directory from this site's server again, and check that the address is this site's"
            }
            Some(ConnectError::Unreachable { .. } | ConnectError::TimedOut { .. }) => {
                "check that the site server runs and that this is its address; --endpoint gives another"
            }
            None => "check that the site server runs, and try again",
        }
    }

    /// Why there is no connection, also where a later call found that out.
    fn connect_error(&self) -> Option<&ConnectError> {
        match self {
            ConsoleError::Connect(error) => Some(error),
            other => causes(other).find_map(|cause| cause.downcast_ref()),
        }
    }

    /// The error, its causes and its remedy, as it is shown.
    pub(crate) fn report(&self) -> String {
        let mut text = format!("error: {self}");
        let mut last = self.to_string();
        // Of a connection that was cut midway the causes are words of the libraries below, and no help.
        let is_cut = matches!(self, ConsoleError::Lost(_)) && self.connect_error().is_none();
        for cause in causes(self).filter(|_| !is_cut).map(|cause| cause.to_string()) {
            // Transport errors wrap themselves in others with the same words.
            if !last.contains(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
            last = cause;
        }
        let mut text = crate::view::clean_lines(&text);
        if let Some(remedy) = self.remedy() {
            for line in crate::view::clean_lines(&remedy).lines() {
                text.push_str("\n  ");
                text.push_str(line.trim());
            }
        }
        text
    }
}

fn causes(error: &ConsoleError) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

/// A server's text says what is wrong, then `;` or a line end, then what to do.
fn parts(message: &str) -> (&str, &str) {
    let message = message.trim();
    let (said, remedy) = match message.find("; ").into_iter().chain(message.find('\n')).min() {
        Some(at) => message.split_at(at),
        None => (message, ""),
    };
    (said.trim_end(), remedy.trim_start_matches(';').trim())
}

fn first_line(message: &str, code: Code) -> String {
    match parts(message) {
        ("", _) => code.description().to_lowercase(),
        (said, _) => said.to_owned(),
    }
}

/// What the server says to do; otherwise what its code means here.
fn remedy_of(status: &Status) -> Option<String> {
    let (_, remedy) = parts(status.message());
    if !remedy.is_empty() {
        return Some(remedy.to_owned());
    }
    let text = match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => {
            "this needs an administrator's certificate of this site: use the `admin` directory of its server"
        }
        Code::Unimplemented => "the site server is of another version than this console",
        Code::Unavailable | Code::ResourceExhausted | Code::Aborted => "try again in a moment",
        Code::Internal | Code::Unknown => "the site server's log says more",
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_and_its_remedy_are_shown() {
        let refused =
            ConsoleError::from(Status::not_found("package CEN00009 is not known here\nlist them first"));

        assert_eq!(refused.report(), "error: package CEN00009 is not known here\n  list them first");
        assert_eq!(refused.exit_code(), 1);
        let refused = ConsoleError::from(Status::not_found("there is no package X; list them; or make it"));
        assert_eq!(refused.report(), "error: there is no package X\n  list them; or make it");
    }

    #[test]
    fn a_refusal_without_words_has_those_of_its_code() {
        let denied = ConsoleError::from(Status::permission_denied(""));
        assert!(denied.report().contains("administrator's certificate"), "{}", denied.report());

        let internal = ConsoleError::from(Status::internal(""));
        assert!(internal.report().starts_with("error: internal error"), "{}", internal.report());
    }

    #[test]
    fn a_status_that_the_transport_made_means_that_the_server_is_not_reached() {
        let broken = Status::from_error(Box::new(io::Error::new(io::ErrorKind::ConnectionReset, "reset")));
        let lost = ConsoleError::from(broken);

        assert_eq!(lost.exit_code(), 3);
        assert!(lost.report().contains("check that the site server runs"), "{}", lost.report());
    }

    #[test]
    fn a_connection_that_is_refused_later_has_the_same_remedy_as_one_refused_at_once() {
        let refused = || ConnectError::Refused {
            endpoint: "127.0.0.1:7443".into(),
            server: "packhorse://CEN/site/CEN".into(),
            refusal: packhorse_runtime::Refusal::ByServer,
            source: io::Error::other("received fatal alert: BadCertificate"),
        };

        let at_once = ConsoleError::Connect(refused());
        let later = ConsoleError::from(Status::from_error(Box::new(refused())));

        for error in [at_once, later] {
            assert_eq!(error.exit_code(), 3);
            assert!(error.report().contains("copy the `admin` directory"), "{}", error.report());
        }
    }

    #[test]
    fn a_parcel_that_could_not_be_written_is_named_with_what_goes_on() {
        let source = ConsoleError::from(Status::aborted("the medium is full; mount another"));
        let medium = "/media/usb".to_owned();
        let failed = ConsoleError::NotWritten {
            parcel: "3fa2bc91".to_owned(),
            medium,
            here: false,
            source: Box::new(source),
        };

        assert_eq!(
            failed.report(),
            "error: parcel 3fa2bc91 is laid out, but not all of it is written: the medium is full\n  mount another\n  \
             `packhorse courier write 3fa2bc91 /media/usb` goes on with it"
        );
        assert_eq!(failed.exit_code(), 1);
    }

    #[test]
    fn what_a_server_sends_cannot_move_the_cursor() {
        let refused = ConsoleError::from(Status::not_found("bad \u{1b}[2Jname"));

        assert!(!refused.report().contains('\u{1b}'));
    }
}
