//! What a parent gives to a child that asks for chunks, and what it does not.

use std::sync::Arc;

use bytes::Bytes;
use packhorse_content::{ChunkRef, ScrubPlace};
use packhorse_domain::{Digest, address::Calendar, id::PackageId};
use packhorse_proto::{
    content::v1::{
        ChunkReference, GetManifestRequest, GiveChunksRequest, ListLackingRequest, ReadChunksRequest,
        content_service_client::ContentServiceClient, mend_service_client::MendServiceClient,
    },
    provider::v1::{SetAddressRequest, address_service_server::AddressService as _},
};
use tonic::{Code, Status, transport::Channel};

use super::{is_sound, manifest_of, parent_and_child, rot};
use crate::{
    provider, sender,
    testing::{Node, noise},
};

async fn client(central: &Node, child: &Node) -> ContentServiceClient<Channel> {
    let endpoint = central.site.settings.listen.to_string();
    let channel = sender::channel(&child.site, central.code(), &endpoint, Arc::default()).await.unwrap();
    ContentServiceClient::new(channel)
}

async fn manifest(client: &mut ContentServiceClient<Channel>, manifest: &Digest) -> Result<usize, Status> {
    let request = GetManifestRequest { manifest: manifest.0.to_vec().into() };
    let mut pieces = client.get_manifest(request).await?.into_inner();
    let mut length = 0;
    while let Some(piece) = pieces.message().await? {
        length += piece.data.len();
    }
    Ok(length)
}

async fn chunks(
    client: &mut ContentServiceClient<Channel>,
    manifest: &[u8],
    chunks: &[ChunkRef],
) -> Result<usize, Status> {
    let request = ReadChunksRequest {
        manifest: Bytes::copy_from_slice(manifest),
        chunks: chunks.iter().map(|chunk| chunk.digest.0.to_vec().into()).collect(),
    };
    let mut blocks = client.read_chunks(request).await?.into_inner();
    let mut count = 0;
    while let Some(block) = blocks.message().await? {
        count += block.chunks.len();
    }
    Ok(count)
}

async fn chunks_of(node: &Node, package: &PackageId) -> (Digest, Vec<ChunkRef>) {
    let manifest = manifest_of(node, package).await;
    (manifest, node.site.library.manifest(&manifest).unwrap().unwrap().chunks().collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_gets_what_is_for_it_and_nothing_else() {
    let (central, child, _line, package) = parent_and_child(&noise(100_000, 2)).await;
    let other = central.package(&noise(100_000, 3)).await;
    let (mine, my_chunks) = chunks_of(&central, &package).await;
    let (not_mine, others) = chunks_of(&central, &other).await;
    let mut client = client(&central, &child).await;

    assert!(manifest(&mut client, &mine).await.unwrap() > 50);
    assert_eq!(chunks(&mut client, &mine.0, &my_chunks).await.unwrap(), my_chunks.len());
    for (result, code) in [
        (manifest(&mut client, &not_mine).await, Code::NotFound),
        (manifest(&mut client, &Digest([7; 32])).await, Code::NotFound),
        (chunks(&mut client, &not_mine.0, &others).await, Code::NotFound),
        (chunks(&mut client, &mine.0, &others).await, Code::NotFound),
        (chunks(&mut client, b"", &my_chunks).await, Code::InvalidArgument),
        (chunks(&mut client, &mine.0, &my_chunks[..1].repeat(257)).await, Code::InvalidArgument),
    ] {
        assert_eq!(result.unwrap_err().code(), code);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_hour_is_closed_for_chunks_too() {
    let (central, child, _line, package) = parent_and_child(&noise(100_000, 2)).await;
    let (mine, my_chunks) = chunks_of(&central, &package).await;
    let mut client = client(&central, &child).await;
    let addresses = provider::Addresses::new(central.site.clone());
    let closed = Calendar::of(["closed"]).unwrap();
    let closed = SetAddressRequest {
        peer: "PAR".to_owned(),
        calendar: Some((&closed).into()),
        ..SetAddressRequest::default()
    };
    addresses.set_address(central.asked(closed)).await.unwrap();

    let refused = chunks(&mut client, &mine.0, &my_chunks).await.unwrap_err();

    assert_eq!(refused.code(), Code::Unavailable, "{}", refused.message());
    assert!(refused.message().contains("closed for content at this hour"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_names_only_what_it_lost_and_takes_nothing_else() {
    let (central, child, _line, package) = parent_and_child(&noise(900_000, 2)).await;
    let endpoint = central.site.settings.listen.to_string();
    let channel = sender::channel(&child.site, central.code(), &endpoint, Arc::default()).await.unwrap();
    let mut client = MendServiceClient::new(channel);
    let sound = client.list_lacking(ListLackingRequest {}).await.unwrap().into_inner();
    assert!(sound.chunks.is_empty());
    let mut blocks = Vec::new();
    let (manifest, all) = chunks_of(&child, &package).await;
    let digests: Vec<Digest> = all.iter().map(|chunk| chunk.digest).collect();
    child
        .site
        .library
        .read_blocks(&digests, &mut |block| {
            blocks.push(block);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    let message = |block: &packhorse_content::Block, turned: bool| {
        let chunk = |chunk: &ChunkRef| ChunkReference {
            digest: chunk.digest.0.to_vec().into(),
            length: chunk.length,
        };
        let mut data = block.data.clone();
        if turned {
            let middle = data.len() / 2;
            data[middle] ^= 1;
        }
        GiveChunksRequest { chunks: block.chunks.iter().map(chunk).collect(), data: data.into() }
    };

    let unasked: Vec<_> = blocks.iter().map(|block| message(block, false)).collect();
    let taken = client.give_chunks(tokio_stream::iter(unasked)).await.unwrap().into_inner().taken;
    assert_eq!(taken, 0);
    let flood = vec![message(&blocks[0], false); 100];
    let refused = client.give_chunks(tokio_stream::iter(flood)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{}", refused.message());

    rot(&central, 200_000);
    let found =
        central.site.library.scrub(ScrubPlace::default(), &mut |_| std::ops::ControlFlow::Continue(()));
    let rotten: Vec<Digest> = found.unwrap().rotten.iter().map(|chunk| chunk.digest).collect();
    central.site.library.forget_damaged(&rotten).unwrap();
    let mut tx = central.site.store.begin().await.unwrap();
    crate::store::contents::set_source(&mut tx, &package, None).await.unwrap();
    crate::store::contents::remove(&mut tx, &package, &manifest).await.unwrap();
    tx.commit().await.unwrap();
    let lacking = client.list_lacking(ListLackingRequest {}).await.unwrap().into_inner();
    assert_eq!(lacking.chunks.len(), rotten.len());
    let wrong: Vec<_> = blocks.iter().map(|block| message(block, true)).collect();
    let refused = client.give_chunks(tokio_stream::iter(wrong)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{}", refused.message());
    assert!(!is_sound(&central, &manifest));

    let right: Vec<_> = blocks.iter().map(|block| message(block, false)).collect();
    let taken = client.give_chunks(tokio_stream::iter(right)).await.unwrap().into_inner().taken;
    assert_eq!(taken, rotten.len() as u64);
    assert!(is_sound(&central, &manifest));
}
