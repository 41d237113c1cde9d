//! A site that never had a line: it joins with a medium, and is served by others.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use packhorse_proto::provider::v1::{CreateSiteTokenRequest, site_service_server::SiteService as _};
use packhorse_runtime::SystemClock;
use tempfile::TempDir;

use super::{carry, lies_in_hall, package};
use crate::{
    courier::joining,
    init::{Made, Plan, init},
    provider,
    testing::{Node, noise},
};

async fn token(central: &Node, code: &str) -> PathBuf {
    let request = CreateSiteTokenRequest { code: code.to_owned(), valid_s: 0 };
    let sites = provider::Sites::new(central.site.clone());
    let token = sites.create_site_token(central.asked(request)).await.unwrap().into_inner().token;
    let path = central.path(&format!("{code}.token"));
    fs::write(&path, token).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn plan(directory: &TempDir, token: PathBuf, medium: &TempDir) -> Plan {
    Plan {
        directory: directory.path().join("site"),
        code: "PAR".parse().unwrap(),
        name: "Paris".to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        endpoints: vec!["par.invalid:1".to_owned()],
        join: Some(token),
        medium: Some(medium.path().to_owned()),
    }
}

#[tokio::test]
async fn a_site_joins_with_a_medium_and_is_served_by_others() {
    let central = Node::central(SystemClock::shared()).await;
    central.start();
    let (directory, medium) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plan = plan(&directory, token(&central, "PAR").await, &medium);
    let request = medium.path().join("JOINING/PAR.ASK");

    // As often as one likes.
    for _ in 0..2 {
        assert_eq!(init(&plan, &SystemClock).await.unwrap(), Made::Asked(request.clone()));
    }
    for _ in 0..2 {
        let admitted = joining::admit(&central.site, medium.path()).await.unwrap();
        assert_eq!((admitted.len(), &admitted[0].refused), (1, &None));
    }
    assert_eq!(init(&plan, &SystemClock).await.unwrap(), Made::Site);

    let child = Node::opened(&plan, directory, SystemClock::shared()).await;
    child.start();
    child.hall().await;
    carry(&child, &central, None).await;
    let content = noise(50_000, 8);
    let package = package(&central, &child, &content).await;
    carry(&central, &child, None).await;
    lies_in_hall(&child, &package, &content).await;
}

#[tokio::test]
async fn what_is_wrong_on_a_medium_is_named_and_nobody_joins_by_it() {
    let central = Node::central(SystemClock::shared()).await;
    let (directory, medium) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let there = medium.path().join("JOINING");
    assert!(joining::admit(&central.site, medium.path()).await.unwrap().is_empty());
    let plan = plan(&directory, token(&central, "PAR").await, &medium);
    init(&plan, &SystemClock).await.unwrap();
    let refusal = async || {
        let admitted = joining::admit(&central.site, medium.path()).await.unwrap();
        admitted.into_iter().find_map(|one| one.refused).unwrap()
    };

    // Damaged, and of another code than its token's.
    let sound = fs::read(there.join("PAR.ASK")).unwrap();
    let mut damaged = sound.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    fs::write(there.join("PAR.ASK"), damaged).unwrap();
    assert!(refusal().await.contains("damaged"));
    fs::rename(there.join("PAR.ASK"), there.join("LYO.ASK")).unwrap();
    fs::write(there.join("LYO.ASK"), &sound).unwrap();
    assert!(refusal().await.contains("the token in it is for PAR"));
    fs::remove_file(there.join("LYO.ASK")).unwrap();

    // What another site answers.
    let stranger = Node::central(SystemClock::shared()).await;
    fs::write(there.join("PAR.ASK"), &sound).unwrap();
    let admitted = joining::admit(&stranger.site, medium.path()).await.unwrap();
    assert!(admitted[0].refused.as_deref().unwrap().contains("another key"));
    let copied = tempfile::tempdir().unwrap();
    let other = Plan {
        directory: copied.path().join("site"),
        join: Some(token(&stranger, "PAR").await),
        medium: Some(copied.path().to_owned()),
        ..plan.clone()
    };
    init(&other, &SystemClock).await.unwrap();
    joining::admit(&stranger.site, copied.path()).await.unwrap();
    fs::copy(copied.path().join("JOINING/PAR.ANS"), there.join("PAR.ANS")).unwrap();
    let refused = init(&plan, &SystemClock).await.unwrap_err();
    assert!(packhorse_runtime::error_chain(&refused).contains("another key"), "{refused:?}");
    assert!(!plan.directory.join("site.toml").exists());
}
