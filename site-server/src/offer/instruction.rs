//! The instruction of each client: signed, for it alone, naming everything that it should hold.

use packhorse_domain::{
    advertisement::Advertisement,
    id::ClientId,
    instruction::{FileName, FileReference, Instruction},
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
    for client in &view.clients {
        let references = references(view, client, offered, files);
        let list = digest_of(&references);
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

fn references(
    view: &View,
    client: &ClientId,
    offered: &[&(StoredObject, Advertisement)],
    files: &Files,
) -> Vec<FileReference> {
    let is_for_client = |name: &str| match FileName::parse(name) {
        Some(FileName::Trust | FileName::Delegation(_)) => true,
        Some(FileName::Offer(id)) => offered.iter().any(|(_, advertisement)| {
            advertisement.id.as_str() == id && view.is_member(client, advertisement)
        }),
        Some(FileName::Package(id) | FileName::Points(id)) => offered.iter().any(|(_, advertisement)| {
            advertisement.package.as_str() == id && view.is_member(client, advertisement)
        }),
        Some(FileName::Instruction(_) | FileName::Content { .. }) | None => false,
    };
    files
        .iter()
        .filter(|(name, _)| is_for_client(name))
        .map(|(name, digest)| FileReference { name: name.clone(), digest: *digest })
        .collect()
}

fn digest_of(references: &[FileReference]) -> packhorse_domain::Digest {
    let text: Vec<u8> = references
        .iter()
        .flat_map(|file| [file.name.as_bytes(), &[0], file.digest.as_bytes().as_slice()].concat())
        .collect();
    record::digest(&text)
}
