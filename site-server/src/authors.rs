//! Another author's key for the central site, by the word of the root: the next version of the trust file names it.
//!
//! The site's server does not run meanwhile. Keys that the trust file named stay named, so that what they signed still runs.

use std::{fs, path::Path, sync::Arc};

use packhorse_domain::{id::SiteCode, object::ObjectKind};
use packhorse_runtime::{Clock, durable::sync_directory};
use packhorse_trust::{Author, PublicKey, SigningKey, TrustFile, make_trust_file};

use crate::{
    app,
    record::{self, Body},
    site::Site,
};

/// Why a site gets no other author's key.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    #[error("{0} is not the central site: no other has a trust file to write")]
    NotCentral(SiteCode),
    #[error("the key is not the root's, whose public key is {0}")]
    OtherRoot(PublicKey),
    #[error("cannot {step}")]
    Step { step: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
}

fn step<E>(step: &'static str) -> impl FnOnce(E) -> RenewError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |source| RenewError::Step { step, source: source.into() }
}

/// Makes a key, has the root name it as the site's author, and puts it in the place of the present one. An attempt that was
/// cut goes on with the key that it had made.
pub async fn renew(directory: &Path, root: &Path, clock: Arc<dyn Clock>) -> Result<PublicKey, RenewError> {
    let settings = app::settings(directory).map_err(step("read the site's settings"))?;
    let root = SigningKey::from_file(root).map_err(step("read the root's key"))?;
    let site = Site::open(directory, settings, clock)
        .await
        .map_err(step("open the site, whose server must not run"))?;
    let renewed = renew_at(&site, &root).await;
    site.store.close().await;
    renewed
}

async fn renew_at(site: &Site, root: &SigningKey) -> Result<PublicKey, RenewError> {
    if site.trust(|trust| trust.central() != site.code()) {
        return Err(RenewError::NotCentral(site.code().clone()));
    }
    if root.public() != *site.root() {
        return Err(RenewError::OtherRoot(*site.root()));
    }
    let (next, present) = (site.directories.key("author-next"), site.directories.key("author"));
    let key = match next.exists() {
        true => SigningKey::from_file(&next),
        false => SigningKey::create_file(&next),
    };
    let key = key.map_err(step("make the author's key"))?.public();
    if site.trust(|trust| trust.author(&key).is_none()) {
        name(site, key, root).await?;
    }
    fs::rename(&next, &present).map_err(step("put the author's key in its place"))?;
    sync_directory(&site.directories.keys()).map_err(step("put the author's key in its place"))?;
    Ok(key)
}

/// Writes the next trust file, which names this key first.
async fn name(site: &Site, key: PublicKey, root: &SigningKey) -> Result<(), RenewError> {
    let TrustFile { version, authors, central } = site.trust(|trust| trust.trust_file().clone());
    let renewed = Author { key, name: site.code().to_string(), prefixes: vec![String::new()] };
    let authors: Vec<Author> = [renewed].into_iter().chain(authors).collect();
    let file = make_trust_file(version + 1, &authors, &central, root);
    // Nothing is written that others would refuse.
    site.change_trust(|trust| trust.update_trust_file(&file)).map_err(step("renew the trust file"))?;
    let mut tx = site.store.begin().await.map_err(step("write the trust file"))?;
    record::write(site, &mut tx, ObjectKind::Trust, "trust", Body::Value(file))
        .await
        .map_err(step("write the trust file"))?;
    tx.commit().await.map_err(step("write the trust file"))
}

#[cfg(test)]
mod tests {
    use packhorse_runtime::SystemClock;
    use tempfile::TempDir;

    use super::*;
    use crate::init::{Plan, init};

    async fn central() -> TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        let plan = Plan {
            directory: directory.path().to_owned(),
            code: "CEN".parse().expect("a code"),
            name: "Central".to_owned(),
            listen: "127.0.0.1:1".parse().expect("an address"),
            endpoints: vec!["127.0.0.1:1".to_owned()],
            join: None,
            medium: None,
        };
        init(&plan, &SystemClock).await.expect("a site");
        directory
    }

    fn key(directory: &Path, name: &str) -> SigningKey {
        SigningKey::from_file(&directory.join("keys").join(name)).expect("a key")
    }

    /// The version of the trust file, and the keys that it names.
    async fn named(directory: &Path) -> (u64, Vec<PublicKey>) {
        let settings = app::settings(directory).expect("settings");
        let site = Site::open(directory, settings, SystemClock::shared()).await.expect("a site");
        let trust = site.trust(|trust| trust.trust_file().clone());
        site.store.close().await;
        (trust.version, trust.authors.iter().map(|author| author.key).collect())
    }

    #[tokio::test]
    async fn the_root_names_a_new_author_beside_the_old_one() {
        let directory = central().await;
        let (path, root) = (directory.path(), directory.path().join("keys/root.pem"));
        let old = key(path, "author.pem").public();

        let new = renew(path, &root, SystemClock::shared()).await.expect("renewed");

        assert_eq!(named(path).await, (2, vec![new, old]));
        assert_eq!(key(path, "author.pem").public(), new);
        assert!(!path.join("keys/author-next.pem").exists());
    }

    #[tokio::test]
    async fn an_attempt_that_was_cut_goes_on_with_the_key_that_is_named() {
        let directory = central().await;
        let (path, root) = (directory.path(), directory.path().join("keys/root.pem"));
        let old = key(path, "author.pem").public();
        let new = renew(path, &root, SystemClock::shared()).await.expect("renewed");
        // As if the power had gone before the new key was in its place.
        fs::rename(path.join("keys/author.pem"), path.join("keys/author-next.pem")).expect("renamed");

        let again = renew(path, &root, SystemClock::shared()).await.expect("renewed");

        assert_eq!(again, new);
        assert_eq!(named(path).await, (2, vec![new, old]));
        assert_eq!(key(path, "author.pem").public(), new);
    }

    #[tokio::test]
    async fn another_key_than_the_roots_names_nobody() {
        let directory = central().await;
        let (path, other) = (directory.path(), directory.path().join("keys/director.pem"));
        let old = key(path, "author.pem").public();

        let refused = renew(path, &other, SystemClock::shared()).await;

        assert!(matches!(refused, Err(RenewError::OtherRoot(_))), "{refused:?}");
        assert_eq!(named(path).await, (1, vec![old]));
        assert_eq!(key(path, "author.pem").public(), old);
    }
}
