//! What becomes of parcels: receipts that come twice, destinations that are through, stops, delays, plans that are gone.

use std::{fs, sync::Arc, time::Duration};

use packhorse_domain::parcel::ParcelState;
use packhorse_parcel::ParcelId;
use packhorse_proto::provider::v1::{
    ListParcelsRequest, MarkParcelRequest,
    courier_service_server::CourierService as _,
    mark_parcel_request::{As, Sent},
};
use packhorse_runtime::{Clock as _, ManualClock, SystemClock, Worker as _};

use super::{MIB, carry, create, package, receive, sites, state, waiting, write};
use crate::{
    courier::{CourierSender, custody, outgoing},
    provider,
    store::parcels,
    testing::{Node, noise},
};

/// What was told once is not told again when it is read again: of a parcel that was given up since, or of a bundle that is
/// needed once more.
#[tokio::test]
async fn an_old_receipt_changes_nothing_that_happened_since() {
    let (central, child) = sites().await;
    carry(&child, &central, None).await;
    package(&central, &child, &noise(3 * MIB as usize, 4)).await;
    let medium = tempfile::tempdir().unwrap();
    let id = create(&central, &child, Some(MIB)).await;
    write(&central, id, medium.path()).await;
    // The objects come, the bundle does not.
    for volume in ["002.PHV", "003.PHV", "004.PHV"] {
        drop(fs::remove_file(medium.path().join(id.directory()).join(volume)));
    }
    assert!(receive(&child, medium.path()).await[0].left > 0);
    let (_, back) = carry(&child, &central, None).await;
    assert_eq!(state(&central, &id, child.code()).await, ParcelState::Received);
    let mut tx = central.site.store.begin().await.unwrap();
    custody::step(&central.site, &mut tx, &id, (child.code(), ParcelState::Lost)).await.unwrap();
    tx.commit().await.unwrap();

    receive(&central, back.path()).await;

    assert_eq!(state(&central, &id, child.code()).await, ParcelState::Lost);
    assert_eq!(waiting(&central, &child).await, 1);
}

/// One of two has all of it already, by the line.
#[tokio::test]
async fn what_is_through_with_one_site_goes_on_with_the_others() {
    let (central, child) = sites().await;
    let other = central.child("LYO", SystemClock::shared()).await;
    carry(&child, &central, None).await;
    package(&central, &child, &noise(MIB as usize, 4)).await;
    let to = [child.code().clone(), other.code().clone()];
    let id = outgoing::create(&central.site, &to, None, false).await.unwrap().0.id;
    let mut tx = central.site.store.begin().await.unwrap();
    parcels::put_site(&mut tx, &id, child.code(), ParcelState::Confirmed, central.site.now()).await.unwrap();
    tx.commit().await.unwrap();

    let medium = tempfile::tempdir().unwrap();
    write(&central, id, medium.path()).await;

    assert_eq!(state(&central, &id, other.code()).await, ParcelState::Created);
    assert_eq!(state(&central, &id, child.code()).await, ParcelState::Confirmed);
    let couriers = provider::Couriers::new(central.site.clone(), central.lifecycle.clone());
    let sent = As::Sent(Sent { carrier: "van".to_owned(), ..Sent::default() });
    let request = MarkParcelRequest { parcel: id.to_string(), r#as: Some(sent) };
    couriers.mark_parcel(central.asked(request)).await.unwrap();
    assert_eq!(state(&central, &id, other.code()).await, ParcelState::Sent);
}

/// A stop between the last volume and the note that all are written.
#[tokio::test]
async fn a_parcel_of_which_all_is_written_does_not_stay_planned() {
    let (central, child) = sites().await;
    let id = create(&child, &central, None).await;
    let medium = tempfile::tempdir().unwrap();
    write(&child, id, medium.path()).await;
    let mut tx = child.site.store.begin().await.unwrap();
    parcels::put_site(&mut tx, &id, central.code(), ParcelState::Planned, child.site.now()).await.unwrap();
    let row = parcels::get(&mut tx, &id).await.unwrap().unwrap();
    tx.commit().await.unwrap();

    custody::look(&child.site, &row).await.unwrap();

    assert_eq!(state(&child, &id, central.code()).await, ParcelState::Created);
}

#[tokio::test]
async fn a_parcel_that_is_overdue_is_pointed_out_once() {
    let clock = ManualClock::new(SystemClock.now());
    let central = Node::central(Arc::new(clock.clone())).await;
    let child = central.child("PAR", Arc::new(clock.clone())).await;
    let id = create(&central, &child, None).await;
    let medium = tempfile::tempdir().unwrap();
    write(&central, id, medium.path()).await;
    let couriers = provider::Couriers::new(central.site.clone(), central.lifecycle.clone());
    let expected_at_us = clock.now().0 + 3_600_000_000;
    let sent = As::Sent(Sent { carrier: "DHL".to_owned(), tracking: "77".to_owned(), expected_at_us });
    let request = MarkParcelRequest { parcel: id.to_string(), r#as: Some(sent) };
    couriers.mark_parcel(central.asked(request)).await.unwrap();
    let mut watcher = CourierSender::new(central.site.clone());
    let told = async || {
        let events = central.events().await;
        events.into_iter().filter(|text| text.contains("is overdue at PAR: ask DHL (77)")).count()
    };

    watcher.step().await.unwrap();
    assert_eq!(told().await, 0);
    clock.advance(Duration::from_secs(3_601));
    for _ in 0..2 {
        watcher.step().await.unwrap();
    }
    assert_eq!(told().await, 1);
}

/// As after a restore of the database alone.
#[tokio::test]
async fn a_parcel_whose_plan_is_gone_hides_no_other() {
    let (central, child) = sites().await;
    let (lost, kept) = (create(&child, &central, None).await, create(&child, &central, None).await);
    fs::remove_file(outgoing::directory(&child.site, &lost).join("plan")).unwrap();
    let couriers = provider::Couriers::new(child.site.clone(), child.lifecycle.clone());

    let listed = couriers.list_parcels(child.asked(ListParcelsRequest {})).await.unwrap().into_inner();

    let bytes = |id: &ParcelId| listed.parcels.iter().find(|one| one.id == id.to_string()).unwrap().bytes;
    assert_eq!(bytes(&lost), 0);
    assert!(bytes(&kept) > 0);
    let medium = tempfile::tempdir().unwrap();
    write(&child, kept, medium.path()).await;
    assert_eq!(receive(&central, medium.path()).await[0].left, 0);
}
