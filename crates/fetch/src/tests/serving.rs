//! Limits and status codes of the service.

use packhorse_proto::content::v1::{GetManifestRequest, content_service_client::ContentServiceClient};
use tonic::{Code, transport::Channel};

use super::*;

async fn client(server: ContentServer) -> (ContentServiceClient<Channel>, Running) {
    let running = start("server", server.into_service()).await;
    (ContentServiceClient::new(running.source.channel.clone()), running)
}

async fn read(client: &ContentServiceClient<Channel>, chunks: Vec<Vec<u8>>) -> Result<usize, Status> {
    let request = ReadChunksRequest {
        chunks: chunks.into_iter().map(Into::into).collect(),
        ..ReadChunksRequest::default()
    };
    let mut blocks = client.clone().read_chunks(request).await?.into_inner();
    let mut count = 0;
    while let Some(block) = blocks.message().await? {
        count += block.chunks.len();
    }
    Ok(count)
}

fn digests(manifest: &Manifest) -> Vec<Vec<u8>> {
    manifest.chunks().map(|chunk| chunk.digest.0.to_vec()).collect()
}

#[tokio::test]
async fn requests_beyond_the_limits_are_refused_with_the_field() {
    let (shelf, manifest) = Shelf::with(3, 100);
    let (client, _server) = client(shelf.server()).await;
    let good = digests(&manifest);

    for (chunks, text) in [
        (vec![], "chunks: 1 to 4096 are expected, not 0"),
        (vec![vec![0; 32]; 4097], "chunks: 1 to 4096 are expected, not 4097"),
        (vec![good[0].clone(), vec![0; 31]], "chunks: a digest has 32 bytes, not 31"),
    ] {
        let status = read(&client, chunks).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, text));
    }
    let status = client.clone().get_manifest(GetManifestRequest::default()).await.unwrap_err();
    assert_eq!(status.message(), "manifest: a digest has 32 bytes, not 0");
    assert_eq!(read(&client, [good.clone(), good].concat()).await.unwrap(), 3, "each once");
}

#[tokio::test]
async fn what_is_not_held_is_not_found() {
    let (shelf, manifest) = Shelf::with(3, 100);
    let (client, _server) = client(shelf.server()).await;

    let chunks = [digests(&manifest), vec![vec![9; 32]]].concat();
    let of_chunks = read(&client, chunks).await.unwrap_err();
    let request = GetManifestRequest { manifest: vec![9; 32].into() };
    let of_manifest =
        client.clone().get_manifest(request).await.unwrap().into_inner().message().await.unwrap_err();

    assert_eq!(of_chunks.code(), Code::NotFound);
    assert_eq!(of_manifest.code(), Code::NotFound);
}

#[tokio::test]
async fn a_long_manifest_comes_in_pieces() {
    let (shelf, manifest) = Shelf::with(6000, 10);
    let (client, _server) = client(shelf.server()).await;

    let request = GetManifestRequest { manifest: manifest.digest().0.to_vec().into() };
    let mut pieces = client.clone().get_manifest(request).await.unwrap().into_inner();
    let mut lengths = Vec::new();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        lengths.push(piece.data.len());
        bytes.extend_from_slice(&piece.data);
    }

    assert_eq!(bytes, manifest.encode());
    assert!(lengths.len() > 1 && lengths.iter().all(|length| *length <= 256 * 1024), "{lengths:?}");
}

#[tokio::test]
async fn too_many_readers_are_sent_away_until_others_leave() {
    let (shelf, manifest) = Shelf::with(80, 256 * 1024);
    let (client, _server) = client(shelf.server().with_readers_max(1)).await;
    let chunks = digests(&manifest);
    let request = ReadChunksRequest {
        chunks: chunks.iter().cloned().map(Into::into).collect(),
        ..ReadChunksRequest::default()
    };
    // Nobody reads on: the rest waits at the server.
    let mut held = client.clone().read_chunks(request).await.unwrap().into_inner();
    held.message().await.unwrap();

    let refused = read(&client, chunks.clone()).await.unwrap_err();
    drop(held);
    let served = loop {
        match read(&client, chunks.clone()).await {
            Err(status) if status.code() == Code::ResourceExhausted => tokio::task::yield_now().await,
            other => break other,
        }
    };

    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(served.unwrap(), 80);
}
