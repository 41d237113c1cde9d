//! How a site joins that has no line: its request and the answer lie on a medium, each encrypted to whom it is for.
//!
//! The child's token names the key of the parent, and with the request the parent learns that of the child. A request on a
//! medium is what it is on a line; it holds the secret of the token, so nobody else may read it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use packhorse_domain::id::SiteCode;
use packhorse_parcel::{LetterError, Medium, MediumError, Recipient, open_letter, seal_letter};
use packhorse_proto::enroll::v1::{EnrollRequest, EnrollResponse};
use prost::Message;

use super::Courier;
use crate::{enroll, error::Error, site::Site};

/// Below the directory where the medium is mounted.
const DIRECTORY: &str = "JOINING";
const REQUEST: &str = "ASK";
const ANSWER: &str = "ANS";
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// A trust file may name many authors.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What the encryption adds to a letter of 64 KiB chunks, with room to spare.
const SEAL_BYTES_MAX: usize = 64 * 1024;
/// Looked at in one directory.
const REQUESTS_MAX: usize = 256;

/// A letter that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoiningError {
    #[error("{} cannot be used", path.display())]
    Letter { path: PathBuf, source: LetterError },
    #[error("{} does not say what it should", .0.display())]
    Senseless(PathBuf),
    #[error("{} is not there any more, or no file", .0.display())]
    Gone(PathBuf),
    #[error("the medium failed")]
    Medium(#[from] MediumError),
}

fn request_of(code: &SiteCode) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{code}.{REQUEST}"))
}

fn answer_of(code: &SiteCode) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{code}.{ANSWER}"))
}

/// Puts a request onto a medium, for the parent with this key. Gives where it lies.
pub(crate) fn ask(
    medium: &Path,
    code: &SiteCode,
    parent: &Recipient,
    request: &EnrollRequest,
) -> Result<PathBuf, JoiningError> {
    let request = seal_letter(parent, &request.encode_to_vec());
    Medium::at(medium)?.put(&request_of(code), &request)?;
    Ok(medium.join(request_of(code)))
}

/// The answer to a request, if it lies on the medium.
pub(crate) fn answer(
    medium: &Path,
    code: &SiteCode,
    courier: &Courier,
) -> Result<Option<EnrollResponse>, JoiningError> {
    match medium.join(answer_of(code)).exists() {
        true => read(medium, &answer_of(code), courier, ANSWER_BYTES_MAX).map(Some),
        false => Ok(None),
    }
}

fn read<T: Message + Default>(
    medium: &Path,
    file: &Path,
    courier: &Courier,
    bytes_max: usize,
) -> Result<T, JoiningError> {
    let path = medium.join(file);
    let sealed = Medium::at(medium)?.get(file, (bytes_max + SEAL_BYTES_MAX) as u64)?;
    let sealed = sealed.ok_or_else(|| JoiningError::Gone(path.clone()))?;
    let bytes = open_letter(&courier.identity, &sealed, bytes_max)
        .map_err(|source| JoiningError::Letter { path: path.clone(), source })?;
    T::decode(bytes.as_slice()).map_err(|_| JoiningError::Senseless(path))
}

/// What became of the request of a site.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) code: SiteCode,
    /// Why it was not.
    pub(crate) refused: Option<String>,
}

/// Answers all requests on a medium.
pub(crate) async fn admit(site: &Arc<Site>, medium: &Path) -> Result<Vec<Admitted>, Error> {
    let mut admitted = Vec::new();
    let directory = medium.join(DIRECTORY);
    for code in tokio::task::spawn_blocking(move || requests(&directory)).await?? {
        let refused = admit_one(site, medium, &code).await.err();
        admitted.push(Admitted { code, refused });
    }
    Ok(admitted)
}

fn requests(directory: &Path) -> Result<Vec<SiteCode>, Error> {
    let failed = |source| Error::File { what: format!("read {}", directory.display()), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut codes = Vec::new();
    for entry in entries.take(REQUESTS_MAX) {
        let name = PathBuf::from(entry.map_err(failed)?.file_name());
        // A FAT may give names back in other letters.
        let is_request = name.extension().is_some_and(|one| one.eq_ignore_ascii_case(REQUEST));
        let code = name.file_stem().and_then(|stem| stem.to_str()?.to_ascii_uppercase().parse().ok());
        codes.extend(code.filter(|_| is_request));
    }
    codes.sort_unstable();
    codes.dedup();
    Ok(codes)
}

/// The reason, for people, if there is no answer.
async fn admit_one(site: &Arc<Site>, medium: &Path, code: &SiteCode) -> Result<(), String> {
    let told = |error: JoiningError| packhorse_runtime::error_chain(&error);
    let ended = |error: tokio::task::JoinError| error.to_string();
    let (reader, from, file) = (site.clone(), medium.to_owned(), request_of(code));
    let reading = move || read(&from, &file, &reader.courier, REQUEST_BYTES_MAX);
    let request: EnrollRequest = tokio::task::spawn_blocking(reading).await.map_err(ended)?.map_err(told)?;
    let child: Recipient = request.courier_key.parse().map_err(|_| {
        "the request names no key for the answer: make it anew with a newer site server".to_owned()
    })?;
    let answer = enroll::answer(site, &request, code).await.map_err(|status| status.message().to_owned())?;
    let sealed = seal_letter(&child, &answer.encode_to_vec());
    let (to, file) = (medium.to_owned(), answer_of(code));
    let writing = move || -> Result<(), JoiningError> { Ok(Medium::at(&to)?.put(&file, &sealed)?) };
    tokio::task::spawn_blocking(writing).await.map_err(ended)?.map_err(told)
}
