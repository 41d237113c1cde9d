//! The instruction of each client: signed, for it alone, naming everything that it should hold.

use std::collections::{BTreeSet, HashMap};

use packhorse_domain::{
    advertisement::Advertisement,
    id::ClientId,
    instruction::{FileName, FileReference, Instruction},
    window::Windows,
};
use packhorse_proto::{convert, object::v1 as wire};
use packhorse_trust::{SignedType, sign};

use crate::{
    error::Error,
    offer::{View, files::Files},
    record,
    site::Site,
    store::{
        Tx, caps,
        objects::StoredObject,
        offers::{self, InstructionRow},
    },
};

/// Writes the instructions that changed, or that would soon be too old to act on.
pub(super) async fn write(
    site: &Site,
    tx: &mut Tx,
    view: &View,
    offered: &[&(StoredObject, Advertisement)],
    files: &Files,
) -> Result<(), Error> {
    let for_all: BTreeSet<&str> = files.keys().map(String::as_str).filter(|name| is_for_all(name)).collect();
    let offers = offers_by_client(view, offered);
    let mut windows = view.windows();
    for client in &view.clients {
        let offers = offers.get(client).map(Vec::as_slice).unwrap_or_default();
        let windows = windows.remove(client).unwrap_or_default();
        let references = references(&for_all, offers, files);
        let list = digest_of(&references, &windows);
        let held = offers::instruction(tx, client).await?;
        let now = site.now();
        let half = site.settings.instruction_validity / 2;
        if held.as_ref().is_some_and(|held| held.files == list && now.plus(half) < held.not_after) {
            continue;
        }
        let instruction = Instruction {
            site: site.code().clone(),
            client: client.clone(),
            serial: held.map_or(1, |held| held.serial + 1),
            issued_at: now,
            not_after: now.plus(site.settings.instruction_validity),
            files: references,
            windows,
        };
        let row =
            InstructionRow { serial: instruction.serial, files: list, not_after: instruction.not_after };
        let encoded = convert::encode::<wire::Instruction, _>(&instruction);
        let signed = sign(SignedType::Instruction, encoded, &[site.director()]);
        let name = FileName::Instruction(client.as_str()).to_string();
        caps::put_file(tx, &name, Some(&signed), "").await?;
        offers::put_instruction(tx, client, &row).await?;
    }
    Ok(())
}

fn is_for_all(name: &str) -> bool {
    matches!(FileName::parse(name), Some(FileName::Trust | FileName::Delegation(_) | FileName::Kill { .. }))
}

/// What is offered to each client, in one pass over the memberships.
fn offers_by_client<'a>(
    view: &'a View,
    offered: &[&'a (StoredObject, Advertisement)],
) -> HashMap<&'a ClientId, Vec<&'a Advertisement>> {
    let mut offers: HashMap<&ClientId, Vec<&Advertisement>> = HashMap::new();
    for (_, advertisement) in offered {
        for client in view.members.get(&advertisement.collection).into_iter().flatten() {
            offers.entry(client).or_default().push(advertisement);
        }
    }
    offers
}

/// The files that a client is to hold, by name.
fn references(for_all: &BTreeSet<&str>, offers: &[&Advertisement], files: &Files) -> Vec<FileReference> {
    let mut names: BTreeSet<String> = for_all.iter().map(|name| (*name).to_owned()).collect();
    for advertisement in offers {
        let package = advertisement.package.as_str();
        names.insert(FileName::Offer(advertisement.id.as_str()).to_string());
        names.insert(FileName::Package(package).to_string());
        names.insert(FileName::Points(package).to_string());
    }
    names
        .into_iter()
        .filter_map(|name| files.get(&name).map(|digest| FileReference { digest: *digest, name }))
        .collect()
}

/// Of all that is said. Without windows it is what it was before there were any, so that nothing is issued anew.
fn digest_of(references: &[FileReference], windows: &Windows) -> packhorse_domain::Digest {
    let mut text: Vec<u8> = references
        .iter()
        .flat_map(|file| [file.name.as_bytes(), &[0], file.digest.as_bytes().as_slice()].concat())
        .collect();
    // No name begins with a NUL.
    if !windows.is_empty() {
        text.push(0);
        text.extend(windows.hours());
    }
    record::digest(&text)
}

#[cfg(test)]
mod tests {
    use packhorse_domain::Digest;

    use super::*;

    #[test]
    fn what_says_nothing_of_windows_counts_as_it_did_before_there_were_any() {
        let references = [FileReference { name: "trust".to_owned(), digest: Digest([9; 32]) }];
        let before = record::digest(&[b"trust\0".as_slice(), &[9; 32]].concat());
        let windows = |text: &str| text.parse::<Windows>().expect("a window");

        assert_eq!(digest_of(&references, &Windows::NONE), before);
        assert_ne!(digest_of(&references, &windows("mon 1-2")), before);
        assert_ne!(digest_of(&references, &windows("mon 1-2")), digest_of(&references, &windows("mon 1-3")));
    }
}
