//! The chain of trust from the root down to a site.

use packhorse_proto::object::v1 as wire;
use prost::Message;

use super::*;
use crate::{
    payload::{Director, make_delegation, make_trust_file},
    signing::{SigningKey, sign},
};

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);
const LATER: Timestamp = Timestamp(NOW.0 + 1_000_000);

fn code(text: &str) -> SiteCode {
    text.parse().expect("a site code")
}

fn path(text: &str) -> SitePath {
    SitePath::new(text.split('/').map(code).collect()).expect("a path")
}

/// CEN above PAR above LYO, and NIC beside PAR.
struct Tree {
    root: SigningKey,
    cen: SigningKey,
    par: SigningKey,
    lyo: SigningKey,
    author: SigningKey,
}

impl Tree {
    fn new() -> Self {
        let [root, cen, par, lyo, author] = std::array::from_fn(|_| SigningKey::generate());
        Tree { root, cen, par, lyo, author }
    }

    fn trust_file(&self, version: u64) -> Vec<u8> {
        self.trust_file_of(version, &self.cen)
    }

    fn trust_file_of(&self, version: u64, central: &SigningKey) -> Vec<u8> {
        let author = Author {
            key: self.author.public(),
            name: "packaging".to_owned(),
            prefixes: vec!["CEN00".to_owned(), "PAR".to_owned()],
        };
        let central = Director { site: code("CEN"), key: central.public() };
        make_trust_file(version, &[author], &central, &self.root)
    }

    fn to_par(&self) -> Vec<u8> {
        make_delegation(&path("CEN/PAR"), &self.par.public(), None, &self.cen)
    }

    fn to_lyo(&self) -> Vec<u8> {
        make_delegation(&path("CEN/PAR/LYO"), &self.lyo.public(), None, &self.par)
    }

    fn store(&self) -> TrustStore {
        TrustStore::new(self.root.public(), &self.trust_file(1), &[self.to_par(), self.to_lyo()])
            .expect("a whole chain")
    }

    fn with(&self, delegations: &[Vec<u8>]) -> Result<TrustStore, TrustError> {
        TrustStore::new(self.root.public(), &self.trust_file(1), delegations)
    }

    fn version_of(&self, package: &str) -> Vec<u8> {
        let version = wire::PackageVersion { package: package.to_owned(), release: 1, ..Default::default() };
        sign(SignedType::PackageVersion, version.encode_to_vec(), &[&self.author])
    }
}

#[test]
fn the_chain_leads_from_the_root_to_a_grandchild_in_whatever_order_it_comes() {
    let tree = Tree::new();

    let store = tree.with(&[tree.to_lyo(), tree.to_par(), tree.to_lyo()]).expect("a whole chain");

    assert_eq!(store.director(&code("CEN"), NOW).expect("central"), tree.cen.public());
    assert_eq!(store.director(&code("PAR"), NOW).expect("child"), tree.par.public());
    assert_eq!(store.director(&code("LYO"), NOW).expect("grandchild"), tree.lyo.public());
    assert_eq!(store.path_of(&code("LYO")), Some(&path("CEN/PAR/LYO")));
    assert_eq!(store.path_of(&code("CEN")), Some(&path("CEN")));
    assert!(matches!(store.director(&code("NIC"), NOW), Err(TrustError::UnknownSite { .. })));
    assert_eq!(store.delegations_to(&code("LYO")).expect("two"), [tree.to_par(), tree.to_lyo()]);
}

#[test]
fn only_a_site_on_the_way_down_is_above() {
    let store = Tree::new().store();

    for above in ["CEN", "PAR", "LYO"] {
        assert!(store.is_at_or_above(&code(above), &code("LYO")), "{above}");
    }
    assert!(!store.is_at_or_above(&code("LYO"), &code("PAR")));
    assert!(!store.is_at_or_above(&code("CEN"), &code("NIC")), "a site that nobody delegated to");
}

#[test]
fn what_a_site_signed_opens_as_its_own_and_as_nobody_elses() {
    let tree = Tree::new();
    let store = tree.store();
    let object = sign(SignedType::Object, b"an object".to_vec(), &[&tree.par]);

    let own = store.open_by_site(SignedType::Object, &object, &code("PAR"), NOW);

    assert_eq!(own.expect("signed by PAR"), b"an object");
    for other in ["CEN", "LYO"] {
        let opened = store.open_by_site(SignedType::Object, &object, &code(other), NOW);
        assert!(matches!(opened, Err(TrustError::NotSigned { .. })), "{other}");
    }
    assert!(store.open_by_site(SignedType::Instruction, &object, &code("PAR"), NOW).is_err());
}

#[test]
fn a_trust_file_that_the_root_did_not_sign_is_refused() {
    let tree = Tree::new();
    let stranger = SigningKey::generate();

    let store = TrustStore::new(stranger.public(), &tree.trust_file(1), &[]);

    assert!(matches!(store, Err(TrustError::NotSigned { kind: SignedType::TrustFile })));
}

#[test]
fn a_delegation_by_another_than_the_parent_is_refused() {
    let tree = Tree::new();

    for signer in [&tree.root, &tree.cen, &tree.lyo] {
        let forged = make_delegation(&path("CEN/PAR/LYO"), &tree.lyo.public(), None, signer);
        let refused = tree.with(&[tree.to_par(), forged]).expect_err("not by PAR");
        assert!(matches!(refused, TrustError::NotByParent { .. }), "{refused}");
    }
}

#[test]
fn a_site_delegates_nowhere_but_right_below_itself() {
    let tree = Tree::new();
    let nic = SigningKey::generate();
    let beside = make_delegation(&path("CEN/NIC"), &nic.public(), None, &tree.par);
    let elsewhere = make_delegation(&path("CEN/NIC/PAR/LYO"), &nic.public(), None, &tree.par);
    let skipping = make_delegation(&path("CEN/PAR/LYO"), &tree.lyo.public(), None, &tree.cen);
    let other_central = make_delegation(&path("NIC/LYO"), &nic.public(), None, &tree.cen);
    let over_itself = make_delegation(&path("PAR/CEN"), &nic.public(), None, &tree.par);

    assert!(matches!(tree.with(&[tree.to_par(), beside]), Err(TrustError::NotByParent { .. })));
    assert!(matches!(tree.with(&[tree.to_par(), elsewhere]), Err(TrustError::ParentUnknown { .. })));
    assert!(matches!(tree.with(&[skipping]), Err(TrustError::ParentUnknown { .. })));
    assert!(matches!(tree.with(&[other_central]), Err(TrustError::ParentUnknown { .. })));
    assert!(matches!(tree.with(&[tree.to_par(), over_itself]), Err(TrustError::ParentUnknown { .. })));
}

#[test]
fn two_parents_cannot_claim_one_site() {
    let tree = Tree::new();
    let stolen = make_delegation(&path("CEN/PAR/NIC"), &tree.lyo.public(), None, &tree.par);
    let nic = make_delegation(&path("CEN/NIC"), &SigningKey::generate().public(), None, &tree.cen);
    let mut store = tree.with(&[tree.to_par(), nic.clone()]).expect("two children");

    let at_once = tree.with(&[tree.to_par(), nic, stolen.clone()]);
    let afterwards = store.add_delegation(&stolen);

    assert!(matches!(at_once, Err(TrustError::ConflictingDelegation { .. })));
    assert!(matches!(afterwards, Err(TrustError::ConflictingDelegation { .. })));
    assert_eq!(store.path_of(&code("NIC")), Some(&path("CEN/NIC")));
}

#[test]
fn malformed_delegations_are_refused() {
    let key = SigningKey::generate();
    let director = |site: &str| {
        Some(wire::Director { site: site.to_owned(), public_key: key.public().as_bytes().to_vec().into() })
    };
    let delegation = |path: &[&str], director, not_after_us| {
        let path = path.iter().map(|&site| site.to_owned()).collect();
        wire::Delegation { path, director, not_after_us }.encode_to_vec()
    };

    assert!(Delegation::decode(&delegation(&["CEN", "PAR"], director("PAR"), 0)).is_ok());
    for (bad, why) in [
        (delegation(&[], director("PAR"), 0), "no path"),
        (delegation(&["PAR"], director("PAR"), 0), "no parent"),
        (delegation(&["CEN", "PAR", "CEN"], director("CEN"), 0), "a site twice"),
        (delegation(&["CEN", "par"], director("par"), 0), "no code"),
        (delegation(&["CEN", "PAR"], director("LYO"), 0), "another site's director"),
        (delegation(&["CEN", "PAR"], None, 0), "no director"),
        (delegation(&["CEN", "PAR"], director("PAR"), -1), "a negative end"),
        (delegation(&["AAA"; 100_000], director("AAA"), 0), "a very long path"),
        (vec![0xff; 8], "no message"),
    ] {
        assert!(Delegation::decode(&bad).is_err(), "{why}");
    }
}

#[test]
fn a_delegation_ends_for_the_site_and_all_below_it() {
    let tree = Tree::new();
    let to_par = make_delegation(&path("CEN/PAR"), &tree.par.public(), Some(LATER), &tree.cen);
    let store = tree.with(&[to_par, tree.to_lyo()]).expect("a whole chain");
    let object = sign(SignedType::Object, b"an object".to_vec(), &[&tree.lyo]);

    assert!(store.open_by_site(SignedType::Object, &object, &code("LYO"), NOW).is_ok());
    for site in ["PAR", "LYO"] {
        let refused = store.director(&code(site), LATER).expect_err("it has ended");
        assert!(matches!(refused, TrustError::Expired { ref site, .. } if *site == code("PAR")), "{refused}");
    }
    assert!(store.open_by_site(SignedType::Object, &object, &code("LYO"), LATER).is_err());
    assert!(store.director(&code("CEN"), LATER).is_ok());
}

#[test]
fn a_new_key_of_a_site_ends_what_the_old_one_delegated() {
    let tree = Tree::new();
    let mut store = tree.store();
    let renewed = SigningKey::generate();
    let to_par = make_delegation(&path("CEN/PAR"), &renewed.public(), None, &tree.cen);

    store.add_delegation(&to_par).expect("by the parent");

    assert_eq!(store.director(&code("PAR"), NOW).expect("the new key"), renewed.public());
    assert!(matches!(store.director(&code("LYO"), NOW), Err(TrustError::UnknownSite { .. })));
    assert!(matches!(store.add_delegation(&tree.to_lyo()), Err(TrustError::NotByParent { .. })));
}

#[test]
fn a_removed_site_takes_its_subtree_along() {
    let mut store = Tree::new().store();

    store.remove_delegation(&code("PAR"));

    assert_eq!(store.path_of(&code("PAR")), None);
    assert_eq!(store.path_of(&code("LYO")), None);
}

#[test]
fn an_older_or_a_different_trust_file_of_the_same_version_is_refused() {
    let tree = Tree::new();
    let mut store = tree.store();
    assert!(store.update_trust_file(&tree.trust_file(3)).expect("newer"));

    let older = store.update_trust_file(&tree.trust_file(2));
    let same = store.update_trust_file(&tree.trust_file(3));
    let different = store.update_trust_file(&tree.trust_file_of(3, &tree.lyo));

    assert!(matches!(older, Err(TrustError::OlderTrustFile { held: 3, offered: 2 })));
    assert!(!same.expect("the same is no news"));
    assert!(matches!(different, Err(TrustError::ConflictingTrustFile { version: 3 })));
    assert_eq!(store.trust_version(), 3);
    assert_eq!(store.trust_file_bytes(), tree.trust_file(3));
    assert!(store.director(&code("LYO"), NOW).is_ok(), "the delegations stay");
}

#[test]
fn a_trust_file_by_another_key_changes_nothing() {
    let tree = Tree::new();
    let mut store = tree.store();
    let central = Director { site: code("CEN"), key: tree.par.public() };
    let forged = make_trust_file(9, &[], &central, &tree.cen);

    assert!(matches!(store.update_trust_file(&forged), Err(TrustError::NotSigned { .. })));
    assert_eq!(store.trust_version(), 1);
}

#[test]
fn a_new_central_director_ends_what_the_old_one_delegated() {
    let tree = Tree::new();
    let mut store = tree.store();
    let renewed = SigningKey::generate();

    store.update_trust_file(&tree.trust_file_of(2, &renewed)).expect("newer");

    assert_eq!(store.director(&code("CEN"), NOW).expect("the new key"), renewed.public());
    assert!(matches!(store.director(&code("PAR"), NOW), Err(TrustError::UnknownSite { .. })));
    assert!(matches!(store.director(&code("LYO"), NOW), Err(TrustError::UnknownSite { .. })));
}

#[test]
fn an_author_signs_packages_of_its_prefixes_and_no_others() {
    let tree = Tree::new();
    let store = tree.store();
    let package = |id: &str| id.parse::<PackageId>().expect("a package id");

    for inside in ["CEN00001", "PAR12345"] {
        assert!(store.open_by_author(&tree.version_of(inside), &package(inside)).is_ok(), "{inside}");
    }
    for outside in ["CEN10001", "LYO00001"] {
        let refused = store.open_by_author(&tree.version_of(outside), &package(outside));
        assert!(matches!(refused, Err(TrustError::AuthorOutsidePrefixes { .. })), "{outside}");
    }
    assert!(store.author(&tree.author.public()).is_some_and(|author| author.covers(&package("PAR00001"))));
    assert!(store.author(&tree.cen.public()).is_none());
}

#[test]
fn a_version_counts_for_its_own_package_and_only_by_an_author() {
    let tree = Tree::new();
    let store = tree.store();
    let package: PackageId = "CEN00001".parse().expect("a package id");
    let version = wire::PackageVersion { package: package.to_string(), ..Default::default() }.encode_to_vec();

    let other = store.open_by_author(&tree.version_of("CEN00002"), &package);
    let by_site =
        store.open_by_author(&sign(SignedType::PackageVersion, version.clone(), &[&tree.cen]), &package);
    let as_object = store.open_by_author(&sign(SignedType::Object, version, &[&tree.author]), &package);

    assert!(matches!(other, Err(TrustError::OtherPackage { .. })));
    assert!(matches!(by_site, Err(TrustError::NotSigned { .. })));
    assert!(matches!(as_object, Err(TrustError::OtherType { .. })));
}

#[test]
fn malformed_trust_files_are_refused() {
    let key = SigningKey::generate().public();
    let central =
        || Some(wire::Director { site: "CEN".to_owned(), public_key: key.as_bytes().to_vec().into() });
    let author = |name: String, prefixes: Vec<String>| wire::trust_file::Author {
        public_key: key.as_bytes().to_vec().into(),
        name,
        prefixes,
    };
    let plain = || author("a".to_owned(), vec![String::new()]);
    let decode = |file: wire::TrustFile| TrustFile::decode(&file.encode_to_vec());
    let file = |authors| wire::TrustFile { version: 1, authors, central: central() };

    assert!(decode(file(vec![plain()])).is_ok());
    assert!(decode(wire::TrustFile { version: 0, ..file(vec![]) }).is_err());
    assert!(decode(wire::TrustFile { central: None, ..file(vec![]) }).is_err());
    assert!(decode(file(vec![author("a".repeat(129), vec![])])).is_err());
    assert!(decode(file(vec![author("a".to_owned(), vec!["CEN*".to_owned()])])).is_err());
    assert!(decode(file(vec![author("a".to_owned(), vec![String::new(); 65])])).is_err());
    assert!(decode(file(vec![plain(); 1025])).is_err());
    assert!(
        decode(file(vec![wire::trust_file::Author { public_key: vec![0; 31].into(), ..plain() }])).is_err()
    );
}
