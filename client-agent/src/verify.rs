//! What a client believes: its own site's signed instruction, and of the files that it names those that their owners
//! and authors signed.
//!
//! Pure: bytes in, a verdict out. What the client has seen is an argument, and nothing is adopted here.

use std::collections::BTreeSet;

use packhorse_domain::{
    Digest, Timestamp,
    advertisement::Advertisement,
    id::{AdvertisementId, ClientId, PackageId, SiteCode},
    instruction::{FileName, FileReference, Instruction, Point, PointList},
    kill::{Kill, Word},
    object::{Object, ObjectKind},
    package::{PackageDefinition, PackageVersion},
};
use packhorse_proto::{
    convert::{ConvertError, decode},
    object::v1 as wire,
};
use packhorse_runtime::error_chain;
use packhorse_trust::{PublicKey, SignedType, TrustError, TrustStore};
use prost::Message as _;

use crate::ledger::Seen;

/// Who reads, and what is known already.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    pub root: &'a PublicKey,
    pub site: &'a SiteCode,
    pub client: &'a ClientId,
    pub seen: &'a Seen,
    pub now: Timestamp,
}

/// The files that an instruction names, as far as they are at hand. What they give is checked against the digest.
pub trait Files {
    fn file(&self, reference: &FileReference) -> Option<Vec<u8>>;
}

/// An instruction that is believed, with what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Of the signed bytes.
    pub digest: Digest,
    pub instruction: Instruction,
    pub trust_version: u64,
    pub offers: Vec<Offer>,
    /// Advertisements whose offer is not believed, and why.
    pub refused: Vec<(AdvertisementId, String)>,
    /// What sites above say of packages that must not run. What this client has seen may be newer.
    pub kills: Vec<(SiteCode, PackageId, Word)>,
    /// Files that should say so and are not believed, and why.
    pub doubted_kills: Vec<(String, String)>,
}

/// An advertisement that a site above this client signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub advertisement: Advertisement,
    pub traceparent: String,
    /// Its package, or why that is not believed.
    pub package: Result<OfferedPackage, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedPackage {
    /// As the author signed it.
    pub version: PackageVersion,
    /// Where its content is; the content itself is held to the signed digest.
    pub points: Vec<Point>,
}

/// Why an instruction is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the instruction does not read")]
    Unreadable { source: ConvertError },
    #[error("what should be a signed instruction is none")]
    NotSigned { source: TrustError },
    #[error("the trust file or a delegation is not believed")]
    Trust { source: TrustError },
    #[error("the instruction is not signed by site {site}")]
    Signature { site: SiteCode, source: TrustError },
    #[error("the instruction is for client {0}")]
    OtherClient(ClientId),
    #[error("the instruction is of site {0}")]
    OtherSite(SiteCode),
    #[error("the instruction has the serial {serial}, and {seen} was seen")]
    OlderSerial { serial: u64, seen: u64 },
    #[error("the trust file has the version {version}, and {seen} was seen")]
    OlderTrust { version: u64, seen: u64 },
    #[error("the instruction is too old: it held until {} µs since 1970", .0.0)]
    Expired(Timestamp),
    #[error("the instruction names {0} twice")]
    NamedTwice(String),
    #[error("{0} is missing or has another digest than the instruction says")]
    Missing(String),
}

impl Refusal {
    /// Other bytes may be on their way: the CAP has the instruction and not yet all that it names.
    pub fn is_transient(&self) -> bool {
        matches!(self, Refusal::Missing(_))
    }
}

/// What an instruction claims to name, not believed yet: needed to fetch what it is verified with.
pub fn peek(bytes: &[u8]) -> Result<Instruction, Refusal> {
    let signed = wire::Signed::decode(bytes)
        .map_err(|source| Refusal::Unreadable { source: ConvertError::Decode(source) })?;
    let instruction: Instruction =
        decode::<wire::Instruction, _>(&signed.payload).map_err(|source| Refusal::Unreadable { source })?;
    let mut names = BTreeSet::new();
    match instruction.files.iter().find(|file| !names.insert(file.name.as_str())) {
        Some(twice) => Err(Refusal::NamedTwice(twice.name.clone())),
        None => Ok(instruction),
    }
}

/// Those of the named files that the instruction itself is verified with.
pub fn is_trust_file(reference: &FileReference) -> bool {
    matches!(FileName::parse(&reference.name), Some(FileName::Trust | FileName::Delegation(_)))
}

/// Verifies an instruction with nothing but its trust file and delegations.
pub fn open_instruction(
    reader: &Reader<'_>,
    bytes: &[u8],
    files: &dyn Files,
) -> Result<(TrustStore, Instruction), Refusal> {
    let claimed = peek(bytes)?;
    let trust_file = claimed.files.iter().find(|file| file.name == FileName::Trust.to_string());
    let trust_file = trust_file.ok_or_else(|| Refusal::Missing(FileName::Trust.to_string()))?;
    let delegations = claimed
        .files
        .iter()
        .filter(|file| matches!(FileName::parse(&file.name), Some(FileName::Delegation(_))))
        .map(|file| whole(files, file))
        .collect::<Result<Vec<_>, _>>()?;
    let trust = TrustStore::new(*reader.root, &whole(files, trust_file)?, &delegations)
        .map_err(|source| Refusal::Trust { source })?;
    let (version, seen) = (trust.trust_version(), reader.seen.trust_version);
    if version < seen {
        return Err(Refusal::OlderTrust { version, seen });
    }

    let payload = trust
        .open_by_site(SignedType::Instruction, bytes, reader.site, reader.now)
        .map_err(|source| Refusal::Signature { site: reader.site.clone(), source })?;
    let instruction: Instruction =
        decode::<wire::Instruction, _>(&payload).map_err(|source| Refusal::Unreadable { source })?;
    let (serial, seen) = (instruction.serial, reader.seen.serial);
    if instruction.client != *reader.client {
        return Err(Refusal::OtherClient(instruction.client));
    }
    if instruction.site != *reader.site {
        return Err(Refusal::OtherSite(instruction.site));
    }
    if serial < seen {
        return Err(Refusal::OlderSerial { serial, seen });
    }
    Ok((trust, instruction))
}

/// Verifies an instruction with all that it names. Nothing of it is believed unless every file is there, so that old
/// and new files are never mixed.
pub fn read(reader: &Reader<'_>, bytes: &[u8], files: &dyn Files) -> Result<Held, Refusal> {
    let (trust, instruction) = open_instruction(reader, bytes, files)?;
    let mut contents = Vec::with_capacity(instruction.files.len());
    for file in &instruction.files {
        contents.push((file.name.as_str(), whole(files, file)?));
    }

    let view = View { reader, trust: &trust, files: &contents };
    let (mut offers, mut refused) = (Vec::new(), Vec::new());
    let (mut kills, mut doubted_kills) = (Vec::new(), Vec::new());
    for (name, content) in &contents {
        match FileName::parse(name) {
            Some(FileName::Offer(id)) => {
                // A name that is no advertisement's can be reported to nobody.
                let Ok(id) = id.parse::<AdvertisementId>() else { continue };
                match view.offer(&id, content) {
                    Ok(offer) => offers.push(offer),
                    Err(doubt) => refused.push((id, error_chain(&doubt))),
                }
            }
            Some(FileName::Kill { site, package }) => match view.kill(site, package, content) {
                Ok(word) => kills.push(word),
                Err(doubt) => doubted_kills.push(((*name).to_owned(), error_chain(&doubt))),
            },
            _ => {}
        }
    }
    let (digest, trust_version) = (Digest(*blake3::hash(bytes).as_bytes()), trust.trust_version());
    Ok(Held { digest, trust_version, instruction, offers, refused, kills, doubted_kills })
}

/// As [`read`], for an instruction that is to be taken on: one that is too old is not.
pub fn read_new(reader: &Reader<'_>, bytes: &[u8], files: &dyn Files) -> Result<Held, Refusal> {
    let held = read(reader, bytes, files)?;
    if reader.now >= held.instruction.not_after {
        return Err(Refusal::Expired(held.instruction.not_after));
    }
    Ok(held)
}

impl Held {
    /// What has been seen once this is adopted.
    pub fn seen(&self) -> Seen {
        let mut seen = Seen {
            serial: self.instruction.serial,
            trust_version: self.trust_version,
            instruction: Some(self.digest),
            ..Seen::default()
        };
        for package in self.offers.iter().filter_map(|offer| offer.package.as_ref().ok()) {
            seen.releases.insert(package.version.package.clone(), package.version.release);
        }
        for (site, package, word) in &self.kills {
            seen.kills.take(site.clone(), package.clone(), word.clone());
        }
        seen
    }
}

fn whole(files: &dyn Files, reference: &FileReference) -> Result<Vec<u8>, Refusal> {
    files
        .file(reference)
        .filter(|content| blake3::hash(content).as_bytes() == reference.digest.as_bytes())
        .ok_or_else(|| Refusal::Missing(reference.name.clone()))
}

/// Why an offer or a package is not believed.
#[derive(Debug, thiserror::Error)]
enum Doubt {
    #[error("it does not read")]
    Unreadable { source: ConvertError },
    #[error("it is not signed by its owner {owner}")]
    Signature { owner: SiteCode, source: TrustError },
    #[error("its owner {0} is not above this site")]
    OwnerNotAbove(SiteCode),
    #[error("it is another object than its name says")]
    OtherObject,
    #[error("it was removed")]
    Removed,
    #[error("the instruction does not name package {0}")]
    NoPackage(PackageId),
    #[error("the version of package {package} is not signed by an author who may")]
    Author { package: PackageId, source: TrustError },
    #[error("package {package} has the release {release}, and {seen} was seen")]
    OlderRelease { package: PackageId, release: u64, seen: u64 },
}

struct View<'a> {
    reader: &'a Reader<'a>,
    trust: &'a TrustStore,
    files: &'a [(&'a str, Vec<u8>)],
}

impl View<'_> {
    fn offer(&self, id: &AdvertisementId, content: &[u8]) -> Result<Offer, Doubt> {
        let object = self.object(ObjectKind::Advertisement, id.as_str(), content)?;
        let advertisement: Advertisement =
            decode::<wire::Advertisement, _>(&object.body).map_err(|source| Doubt::Unreadable { source })?;
        if advertisement.id != *id {
            return Err(Doubt::OtherObject);
        }
        let package = self.package(&advertisement.package).map_err(|doubt| error_chain(&doubt));
        Ok(Offer { advertisement, traceparent: object.traceparent, package })
    }

    fn package(&self, id: &PackageId) -> Result<OfferedPackage, Doubt> {
        let content =
            self.named(&FileName::Package(id.as_str())).ok_or_else(|| Doubt::NoPackage(id.clone()))?;
        let object = self.object(ObjectKind::Package, id.as_str(), content)?;
        let definition: PackageDefinition = decode::<wire::PackageDefinition, _>(&object.body)
            .map_err(|source| Doubt::Unreadable { source })?;
        if definition.id != *id {
            return Err(Doubt::OtherObject);
        }
        let payload = self
            .trust
            .open_by_author(&definition.signed_version, id)
            .map_err(|source| Doubt::Author { package: id.clone(), source })?;
        let version: PackageVersion =
            decode::<wire::PackageVersion, _>(&payload).map_err(|source| Doubt::Unreadable { source })?;
        let (release, seen) = (version.release, self.reader.seen.release(id));
        if version.package != *id {
            return Err(Doubt::OtherObject);
        }
        if release < seen {
            return Err(Doubt::OlderRelease { package: id.clone(), release, seen });
        }
        Ok(OfferedPackage { version, points: self.points(id)? })
    }

    /// A package whose content is nowhere yet has no such file.
    fn points(&self, id: &PackageId) -> Result<Vec<Point>, Doubt> {
        let Some(content) = self.named(&FileName::Points(id.as_str())) else { return Ok(Vec::new()) };
        let list: PointList =
            decode::<wire::PointList, _>(content).map_err(|source| Doubt::Unreadable { source })?;
        if list.package == *id { Ok(list.points) } else { Err(Doubt::OtherObject) }
    }

    /// A site's word about a package. Nobody but a site at or above this one has any, and none in the name of another.
    fn kill(&self, site: &str, package: &str, content: &[u8]) -> Result<(SiteCode, PackageId, Word), Doubt> {
        let id = format!("{site}/{package}");
        let (site, package) = Kill::parse_id(&id).ok_or(Doubt::OtherObject)?;
        let object = self.object_or_tombstone(ObjectKind::Kill, &id, content)?;
        let kill = match object.deleted {
            true => None,
            false => Some(
                decode::<wire::Kill, Kill>(&object.body).map_err(|source| Doubt::Unreadable { source })?,
            ),
        };
        if object.owner != site || kill.as_ref().is_some_and(|kill| kill.package != package) {
            return Err(Doubt::OtherObject);
        }
        Ok((site, package, Word { version: object.version, kill }))
    }

    /// An object of this kind and name, signed by a site at or above this one.
    fn object(&self, kind: ObjectKind, id: &str, bytes: &[u8]) -> Result<Object, Doubt> {
        let object = self.object_or_tombstone(kind, id, bytes)?;
        if object.deleted { Err(Doubt::Removed) } else { Ok(object) }
    }

    fn object_or_tombstone(&self, kind: ObjectKind, id: &str, bytes: &[u8]) -> Result<Object, Doubt> {
        let signed = wire::Signed::decode(bytes)
            .map_err(|source| Doubt::Unreadable { source: ConvertError::Decode(source) })?;
        // Read before it is believed, to know whose signature it needs; then read again from what was signed.
        let claimed: Object =
            decode::<wire::Object, _>(&signed.payload).map_err(|source| Doubt::Unreadable { source })?;
        let owner = claimed.owner;
        if !self.trust.is_at_or_above(&owner, self.reader.site) {
            return Err(Doubt::OwnerNotAbove(owner));
        }
        let payload = self
            .trust
            .open_by_site(SignedType::Object, bytes, &owner, self.reader.now)
            .map_err(|source| Doubt::Signature { owner: owner.clone(), source })?;
        let object: Object =
            decode::<wire::Object, _>(&payload).map_err(|source| Doubt::Unreadable { source })?;
        if object.kind != kind || object.id != id || object.owner != owner {
            return Err(Doubt::OtherObject);
        }
        Ok(object)
    }

    fn named(&self, name: &FileName<'_>) -> Option<&[u8]> {
        let name = name.to_string();
        self.files.iter().find(|(held, _)| *held == name).map(|(_, content)| content.as_slice())
    }
}

#[cfg(test)]
mod tests;
