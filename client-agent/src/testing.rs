//! Signed instructions for tests: an organisation CEN with the sites PAR and LYO below it, and a client of PAR.

use std::{collections::BTreeMap, time::Duration};

use packhorse_domain::{
    Digest, Priority, Timestamp,
    advertisement::Advertisement,
    id::{ClientId, SiteCode},
    instruction::{FileReference, Instruction},
    kill::Kill,
    object::{Object, ObjectKind},
    package::{PackageDefinition, PackageVersion, Program, TIME_LIMIT_DEFAULT},
    site::SitePath,
    window::Windows,
};
use packhorse_proto::{convert::encode, object::v1 as wire};
use packhorse_trust::{Author, Director, SignedType, SigningKey, make_delegation, make_trust_file, sign};

use crate::verify::Files;

pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000_000);
pub(crate) const CLIENT: &str = "00000000-0000-4000-8000-000000000001";

/// The keys of everybody, and what they say.
pub(crate) struct Organisation {
    pub(crate) root: SigningKey,
    pub(crate) author: SigningKey,
    pub(crate) central: SigningKey,
    pub(crate) paris: SigningKey,
    pub(crate) lyon: SigningKey,
    pub(crate) trust_version: u64,
}

/// What one instruction says, to be changed by a test before it is signed.
pub(crate) struct Draft {
    pub(crate) client: ClientId,
    pub(crate) site: SiteCode,
    pub(crate) serial: u64,
    pub(crate) not_after: Timestamp,
    pub(crate) owner: SiteCode,
    pub(crate) advertisement: Advertisement,
    pub(crate) version: PackageVersion,
    pub(crate) windows: Windows,
    /// The version as it is put into the definition, after it was signed.
    pub(crate) tamper: fn(&mut Vec<u8>),
}

/// Signed bytes and the files that they name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Issued {
    pub(crate) bytes: Vec<u8>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Files for Issued {
    fn file(&self, reference: &FileReference) -> Option<Vec<u8>> {
        self.files.get(&reference.name).cloned()
    }
}

pub(crate) fn site(code: &str) -> SiteCode {
    code.parse().unwrap()
}

pub(crate) fn program(command: &[&str]) -> Program {
    Program {
        name: "install".parse().unwrap(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        shell: false,
        time_limit: TIME_LIMIT_DEFAULT,
        success_codes: vec![],
        operating_systems: vec![],
        architectures: vec![],
        idempotent: false,
    }
}

pub(crate) fn draft() -> Draft {
    Draft {
        client: CLIENT.parse().unwrap(),
        site: site("PAR"),
        serial: 10,
        not_after: NOW.plus(Duration::from_secs(3600)),
        owner: site("CEN"),
        advertisement: Advertisement {
            id: "CEN20001".parse().unwrap(),
            name: "editor for everyone".into(),
            package: "CEN00001".parse().unwrap(),
            program: "install".parse().unwrap(),
            collection: "CEN00002".parse().unwrap(),
            required: true,
            start_at: None,
            expires_at: None,
            rerun_on_update: false,
            priority: Priority::Medium,
            ignore_windows: false,
        },
        version: PackageVersion {
            package: "CEN00001".parse().unwrap(),
            source_version: 0,
            release: 3,
            manifest: None,
            length_bytes: 0,
            file_count: 0,
            programs: vec![program(&["true"])],
        },
        windows: Windows::NONE,
        tamper: |_| {},
    }
}

impl Organisation {
    pub(crate) fn new() -> Self {
        let [root, author, central, paris, lyon] = std::array::from_fn(|_| SigningKey::generate());
        Organisation { root, author, central, paris, lyon, trust_version: 2 }
    }

    pub(crate) fn issue(&self, draft: &Draft) -> Issued {
        let mut files = BTreeMap::new();
        files.insert("trust".to_owned(), self.trust_file());
        let below = |code| SitePath::central(site("CEN")).child(site(code)).unwrap();
        for (code, key) in [("PAR", &self.paris), ("LYO", &self.lyon)] {
            let delegation = make_delegation(&below(code), &key.public(), None, &self.central);
            files.insert(format!("delegation/{code}"), delegation);
        }
        let advertisement = encode::<wire::Advertisement, _>(&draft.advertisement);
        let id = draft.advertisement.id.to_string();
        files.insert(
            format!("offer/{id}"),
            self.object(&draft.owner, ObjectKind::Advertisement, &id, advertisement),
        );
        let package = draft.version.package.to_string();
        let definition = self.object(&site("CEN"), ObjectKind::Package, &package, self.definition(draft));
        files.insert(format!("package/{package}"), definition);
        self.seal(draft, files)
    }

    /// Signs an instruction over these files as they are.
    pub(crate) fn seal(&self, draft: &Draft, files: BTreeMap<String, Vec<u8>>) -> Issued {
        let references = files.iter().map(|(name, content)| FileReference {
            name: name.clone(),
            digest: Digest(*blake3::hash(content).as_bytes()),
        });
        let instruction = Instruction {
            site: draft.site.clone(),
            client: draft.client.clone(),
            serial: draft.serial,
            issued_at: NOW,
            not_after: draft.not_after,
            files: references.collect(),
            windows: draft.windows.clone(),
        };
        let payload = encode::<wire::Instruction, _>(&instruction);
        Issued { bytes: sign(SignedType::Instruction, payload, &[&self.paris]), files }
    }

    fn trust_file(&self) -> Vec<u8> {
        let author =
            Author { key: self.author.public(), name: "author".into(), prefixes: vec!["CEN0".into()] };
        let central = Director { site: site("CEN"), key: self.central.public() };
        make_trust_file(self.trust_version, &[author], &central, &self.root)
    }

    fn definition(&self, draft: &Draft) -> Vec<u8> {
        let payload = encode::<wire::PackageVersion, _>(&draft.version);
        let mut signed_version = sign(SignedType::PackageVersion, payload, &[&self.author]);
        (draft.tamper)(&mut signed_version);
        encode::<wire::PackageDefinition, _>(&PackageDefinition {
            id: draft.version.package.clone(),
            name: "editor".into(),
            description: String::new(),
            priority: Priority::Medium,
            sender: None,
            signed_version,
        })
    }

    /// A site's word about the package of most tests: it is killed up to a release, or that is lifted.
    pub(crate) fn word(&self, owner: &str, version: u64, release: Option<u64>) -> Vec<u8> {
        self.sign(&kill_object(owner, version, release))
    }

    /// Signed by the director of its owner.
    pub(crate) fn sign(&self, object: &Object) -> Vec<u8> {
        sign(SignedType::Object, encode::<wire::Object, _>(object), &[self.director(&object.owner)])
    }

    fn director(&self, site: &SiteCode) -> &SigningKey {
        match site.as_str() {
            "CEN" => &self.central,
            "PAR" => &self.paris,
            _ => &self.lyon,
        }
    }

    fn object(&self, owner: &SiteCode, kind: ObjectKind, id: &str, body: Vec<u8>) -> Vec<u8> {
        let object = Object {
            kind,
            id: id.to_owned(),
            owner: owner.clone(),
            version: 1,
            deleted: false,
            body,
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        };
        self.sign(&object)
    }
}

pub(crate) fn kill_object(owner: &str, version: u64, release: Option<u64>) -> Object {
    let package = "CEN00001".parse().unwrap();
    let body = release.map(|release| Kill { package, release, reason: "it wipes disks".into(), at: NOW });
    Object {
        kind: ObjectKind::Kill,
        id: format!("{owner}/CEN00001"),
        owner: site(owner),
        version,
        deleted: body.is_none(),
        body: body.map(|kill| encode::<wire::Kill, _>(&kill)).unwrap_or_default(),
        traceparent: String::new(),
    }
}
