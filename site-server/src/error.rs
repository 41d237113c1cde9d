//! What can go wrong in a site server, and what a caller over gRPC hears of it.

use packhorse_content::{BundleError, LibraryError, SnapshotError, TreeError};
use packhorse_domain::object::ObjectKind;
use packhorse_proto::convert::ConvertError;
use packhorse_runtime::error_chain;
use packhorse_trust::{AuthorityError, TokenError, TrustError};
use tonic::Status;

use crate::store::StoreError;

/// One variant per thing that a component or a caller can do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The caller's words are off; the text names the field, the reason and the remedy.
    #[error("{0}")]
    Invalid(String),
    #[error("there is no {what} {id}; `packhorse {what} list` shows those that there are")]
    NotFound { what: &'static str, id: String },
    #[error("no item begins with {prefix} on {link}; `packhorse queue` lists them")]
    NotQueued { prefix: String, link: String },
    /// The text names it, and says where to look.
    #[error("{0}")]
    Missing(String),
    #[error("{0}")]
    Exists(String),
    /// Not here or not now; the text says what to do first.
    #[error("{0}")]
    Precondition(String),
    /// A medium failed, or is not what it should be; the text says what to do.
    #[error("{0}")]
    Medium(String),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("the site database failed")]
    Store(#[from] StoreError),
    #[error("the stored {} {id} does not decode", kind.as_str())]
    Stored { kind: ObjectKind, id: String, source: ConvertError },
    #[error("the content library failed")]
    Library(#[from] LibraryError),
    #[error("the bundle failed")]
    Bundle(#[from] BundleError),
    #[error("the directory failed")]
    Tree(#[from] TreeError),
    #[error("the signature check failed")]
    Trust(#[from] TrustError),
    #[error("the site's authority failed")]
    Authority(#[from] AuthorityError),
    #[error("the token failed")]
    Token(#[from] TokenError),
    #[error("cannot {what}")]
    File { what: String, source: std::io::Error },
    #[error("cannot write a file")]
    Durable(#[from] packhorse_runtime::durable::DurableError),
    #[error("a task ended before its work was done")]
    Interrupted,
}

impl From<ConvertError> for Error {
    fn from(error: ConvertError) -> Self {
        Error::Invalid(error.text())
    }
}

impl From<packhorse_domain::id::IdError> for Error {
    fn from(error: packhorse_domain::id::IdError) -> Self {
        Error::Invalid(error.to_string())
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(_: tokio::task::JoinError) -> Self {
        Error::Interrupted
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match &error {
            Error::Invalid(text) => Status::invalid_argument(text),
            Error::NotFound { .. } | Error::NotQueued { .. } | Error::Missing(_) => {
                Status::not_found(error.to_string())
            }
            Error::Exists(text) => Status::already_exists(text),
            Error::Precondition(text) => Status::failed_precondition(text),
            Error::Medium(text) => Status::aborted(text),
            Error::Snapshot(snapshot) => Status::invalid_argument(error_chain(snapshot)),
            Error::Interrupted => Status::unavailable("the server is stopping; try again"),
            Error::Store(_)
            | Error::Stored { .. }
            | Error::Library(_)
            | Error::Bundle(_)
            | Error::Tree(_)
            | Error::Trust(_)
            | Error::Authority(_)
            | Error::Token(_)
            | Error::File { .. }
            | Error::Durable(_) => {
                // The details are for the log of this server and not for whoever called.
                tracing::error!(error = error_chain(&error), "a call failed");
                Status::internal("the site server failed; its log says how")
            }
        }
    }
}
