//! The chain of trust: root key → trust file → central site's director → delegations → a site's director.

use std::collections::BTreeMap;

use packhorse_domain::{
    Timestamp,
    id::{PackageId, SiteCode},
    site::SitePath,
};
use packhorse_proto::object::v1 as wire;
use prost::Message;

use crate::{
    error::TrustError,
    payload::{Author, Delegation, TrustFile},
    signing::{Envelope, PublicKey, SignedType, open},
};

/// More sites than any tree has.
pub const DELEGATIONS_MAX: usize = 16_384;

/// What the holder of the root's public key believes. Everything in it was verified down from that key; only
/// whether it has expired is left to the moment of use.
#[derive(Debug, Clone)]
pub struct TrustStore {
    root: PublicKey,
    trust: TrustFile,
    trust_payload: Vec<u8>,
    trust_bytes: Vec<u8>,
    central_path: SitePath,
    /// With each site its parents up to the central site are in here too.
    delegations: BTreeMap<SiteCode, Held>,
}

#[derive(Debug, Clone)]
struct Held {
    delegation: Delegation,
    bytes: Vec<u8>,
}

impl TrustStore {
    /// The delegations may come in any order. One that does not verify spoils the whole: it was put there by
    /// somebody.
    pub fn new(root: PublicKey, trust_file: &[u8], delegations: &[Vec<u8>]) -> Result<Self, TrustError> {
        if delegations.len() > DELEGATIONS_MAX {
            return Err(TrustError::TooManyDelegations { max: DELEGATIONS_MAX });
        }
        let (trust, trust_payload) = open_trust_file(&root, trust_file)?;
        let central_path = SitePath::central(trust.central.site.clone());
        let mut store = TrustStore {
            root,
            trust,
            trust_payload,
            trust_bytes: trust_file.to_vec(),
            central_path,
            delegations: BTreeMap::new(),
        };
        let mut offered =
            delegations.iter().map(|bytes| Offered::parse(bytes)).collect::<Result<Vec<_>, _>>()?;
        offered.sort_by_key(Offered::depth);
        for offer in offered {
            store.check(&offer)?;
            store.hold(offer);
        }
        Ok(store)
    }

    /// Takes a trust file with a higher version, and says whether it did. Delegations that do not hang on the
    /// central director that it names are dropped: their sites have to be delegated to again.
    pub fn update_trust_file(&mut self, bytes: &[u8]) -> Result<bool, TrustError> {
        let (trust, payload) = open_trust_file(&self.root, bytes)?;
        if trust.version < self.trust.version {
            return Err(TrustError::OlderTrustFile { held: self.trust.version, offered: trust.version });
        }
        if trust.version == self.trust.version {
            return if payload == self.trust_payload {
                Ok(false)
            } else {
                Err(TrustError::ConflictingTrustFile { version: trust.version })
            };
        }
        self.central_path = SitePath::central(trust.central.site.clone());
        self.trust = trust;
        self.trust_payload = payload;
        self.trust_bytes = bytes.to_vec();
        self.drop_unfounded();
        Ok(true)
    }

    /// Takes a delegation, in place of an older one to the same site at the same path. If that changes the site's
    /// key, what the old key delegated is dropped. A delegation has no version: the caller knows that it is newer.
    pub fn add_delegation(&mut self, bytes: &[u8]) -> Result<(), TrustError> {
        let offer = Offered::parse(bytes)?;
        let site = offer.delegation.site();
        match self.delegations.get(site) {
            Some(held) if held.bytes == bytes => return Ok(()),
            // Another path is another parent: a site elsewhere in the tree must not take this one over.
            Some(held) if held.delegation.path != offer.delegation.path => {
                return Err(TrustError::ConflictingDelegation { site: site.clone() });
            }
            None if self.delegations.len() >= DELEGATIONS_MAX => {
                return Err(TrustError::TooManyDelegations { max: DELEGATIONS_MAX });
            }
            _ => {}
        }
        self.check_parent(&offer)?;
        self.hold(offer);
        self.drop_unfounded();
        Ok(())
    }

    /// Forgets a site and all below it.
    pub fn remove_delegation(&mut self, site: &SiteCode) {
        self.delegations.retain(|_, held| !held.delegation.path.is_under(site));
    }

    /// The site's place in the tree. It says nothing of expiry.
    pub fn path_of(&self, site: &SiteCode) -> Option<&SitePath> {
        if *site == self.trust.central.site {
            return Some(&self.central_path);
        }
        self.delegations.get(site).map(|held| &held.delegation.path)
    }

    /// Whether `above` is `site` or on the way from the central site to it.
    pub fn is_at_or_above(&self, above: &SiteCode, site: &SiteCode) -> bool {
        self.path_of(site).is_some_and(|path| path.is_under(above))
    }

    /// The key that a site directs with, if every delegation down to it still holds.
    pub fn director(&self, site: &SiteCode, now: Timestamp) -> Result<PublicKey, TrustError> {
        let mut key = self.trust.central.key;
        for held in self.way_to(site)? {
            if let Some(not_after) = held.delegation.not_after.filter(|end| now >= *end) {
                return Err(TrustError::Expired { site: held.delegation.site().clone(), not_after });
            }
            key = held.delegation.key;
        }
        Ok(key)
    }

    /// The payload of an envelope that this site's director signed.
    pub fn open_by_site(
        &self,
        kind: SignedType,
        bytes: &[u8],
        site: &SiteCode,
        now: Timestamp,
    ) -> Result<Vec<u8>, TrustError> {
        open(kind, bytes, &[self.director(site, now)?])
    }

    /// The payload of a `package-version` of this very package, signed by an author who may sign it.
    pub fn open_by_author(&self, bytes: &[u8], package: &PackageId) -> Result<Vec<u8>, TrustError> {
        let kind = SignedType::PackageVersion;
        let envelope = Envelope::parse(kind, bytes)?;
        let keys: Vec<PublicKey> = self.trust.authors.iter().map(|author| author.key).collect();
        let signers = envelope.signers(&keys);
        let signed: Vec<&Author> =
            self.trust.authors.iter().filter(|author| signers.contains(&author.key)).collect();
        let Some(first) = signed.first() else {
            return Err(TrustError::NotSigned { kind });
        };
        if !signed.iter().any(|author| author.covers(package)) {
            return Err(TrustError::AuthorOutsidePrefixes {
                author: first.name.clone(),
                package: package.clone(),
            });
        }
        let version = wire::PackageVersion::decode(envelope.payload.as_slice())
            .map_err(|source| TrustError::Malformed { what: "a package version", source })?;
        if version.package != package.as_str() {
            return Err(TrustError::OtherPackage {
                wanted: package.clone(),
                found: version.package.chars().take(80).collect(),
            });
        }
        Ok(envelope.payload)
    }

    pub fn trust_version(&self) -> u64 {
        self.trust.version
    }

    pub fn trust_file(&self) -> &TrustFile {
        &self.trust
    }

    /// The signed trust file as it came.
    pub fn trust_file_bytes(&self) -> &[u8] {
        &self.trust_bytes
    }

    pub fn root(&self) -> &PublicKey {
        &self.root
    }

    pub fn central(&self) -> &SiteCode {
        &self.trust.central.site
    }

    /// The author that this key belongs to.
    pub fn author(&self, key: &PublicKey) -> Option<&Author> {
        self.trust.authors.iter().find(|author| author.key == *key)
    }

    /// The signed delegations from the central site's child down to `site`, as they came; none for the central
    /// site itself.
    pub fn delegations_to(&self, site: &SiteCode) -> Result<Vec<&[u8]>, TrustError> {
        Ok(self.way_to(site)?.into_iter().map(|held| held.bytes.as_slice()).collect())
    }

    fn way_to(&self, site: &SiteCode) -> Result<Vec<&Held>, TrustError> {
        let path = self.path_of(site).ok_or_else(|| TrustError::UnknownSite { site: site.clone() })?;
        path.sites()[1..]
            .iter()
            .map(|step| {
                self.delegations.get(step).ok_or_else(|| TrustError::UnknownSite { site: step.clone() })
            })
            .collect()
    }

    fn check(&self, offer: &Offered) -> Result<(), TrustError> {
        let site = offer.delegation.site();
        if self.delegations.get(site).is_some_and(|held| held.bytes != offer.bytes) {
            return Err(TrustError::ConflictingDelegation { site: site.clone() });
        }
        self.check_parent(offer)
    }

    /// The parent must be held at exactly the path that the delegation gives it, and must have signed.
    fn check_parent(&self, offer: &Offered) -> Result<(), TrustError> {
        let (site, above) = offer.delegation.path.sites().split_last().expect("a site path is never empty");
        let parent = above.last().expect("a delegation's path has a parent");
        let key = match self.delegations.get(parent) {
            Some(held) if held.delegation.path.sites() == above => held.delegation.key,
            None if above == self.central_path.sites() => self.trust.central.key,
            _ => return Err(TrustError::ParentUnknown { site: site.clone(), parent: parent.clone() }),
        };
        if offer.envelope.signers(&[key]).is_empty() {
            return Err(TrustError::NotByParent { site: site.clone(), parent: parent.clone() });
        }
        Ok(())
    }

    fn hold(&mut self, offer: Offered) {
        let site = offer.delegation.site().clone();
        self.delegations.insert(site, Held { delegation: offer.delegation, bytes: offer.bytes });
    }

    /// Keeps what still hangs, link by link, on the central director.
    fn drop_unfounded(&mut self) {
        let mut held: Vec<Held> = std::mem::take(&mut self.delegations).into_values().collect();
        held.sort_by_key(|held| held.delegation.path.sites().len());
        for held in held {
            if let Ok(offer) = Offered::parse(&held.bytes)
                && self.check(&offer).is_ok()
            {
                self.hold(offer);
            }
        }
    }
}

/// A delegation that was read and not yet believed.
struct Offered {
    envelope: Envelope,
    delegation: Delegation,
    bytes: Vec<u8>,
}

impl Offered {
    fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        let envelope = Envelope::parse(SignedType::Delegation, bytes)?;
        let delegation = Delegation::decode(&envelope.payload)?;
        Ok(Offered { envelope, delegation, bytes: bytes.to_vec() })
    }

    fn depth(&self) -> usize {
        self.delegation.path.sites().len()
    }
}

fn open_trust_file(root: &PublicKey, bytes: &[u8]) -> Result<(TrustFile, Vec<u8>), TrustError> {
    let payload = open(SignedType::TrustFile, bytes, &[*root])?;
    Ok((TrustFile::decode(&payload)?, payload))
}

#[cfg(test)]
mod tests;
