//! What goes by courier leaves its traces, as what goes over a line does.

use packhorse_domain::object::ObjectKind;
use packhorse_runtime::telemetry::within;

use super::{
    contents::{ItemKind, object_of, objects_from_bytes},
    packing::{Content, Packed, Packing},
};
use crate::{error::Error, site::Site, trace};

/// Of a parcel with more objects, the first: nobody looks at more.
const OBJECTS_MAX: usize = 256;

/// Says in the trace of each thing that goes into a parcel that it does.
pub(super) async fn packed(site: &Site, packing: &Packing) -> Result<(), Error> {
    let to = packing.destinations.iter().map(|one| one.site.to_string()).collect::<Vec<_>>().join(" ");
    let span = |subject: &str| tracing::info_span!(target: "courier-sender", "pack", peer = to, subject);
    let mut tx = site.store.read().await?;
    let mut left = OBJECTS_MAX;
    for Packed { kind, content, .. } in &packing.items {
        match (kind, content) {
            (ItemKind::Bundle(bundle), _) => {
                let traceparent = trace::of_package(&mut tx, bundle.package.as_str()).await?;
                drop(within(&traceparent, || span(bundle.package.as_str())));
            }
            (ItemKind::Objects(_), Content::Bytes(bytes)) => {
                let objects = objects_from_bytes(bytes).unwrap_or_default();
                let objects = objects.iter().filter_map(|content| object_of(content));
                for object in objects.filter(|object| object.kind != ObjectKind::Event).take(left) {
                    left -= 1;
                    let subject = format!("{}/{}", object.kind.as_str(), object.id);
                    drop(within(&object.traceparent, || span(&subject)));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
