//! One trace from an administrator's call to the last client: work on an object is part of the trace that made this
//! version of it, at whatever site the work is done, and work on a package's content part of the package's.

use packhorse_domain::object::ObjectKind;
use packhorse_runtime::telemetry::{set_parent, within};
use tracing::Span;

use crate::{
    error::Error,
    record,
    store::{
        Tx,
        objects::{self, StoredObject},
    },
};

/// The span as a part of the object's trace. An object that came without one, or whose stored bytes do not decode,
/// leaves it as it is: no work depends on a trace.
pub(crate) fn of(object: &StoredObject, span: Span) -> Span {
    set_parent(&span, &of_content(&object.content));
    span
}

/// The trace context of an object as it is sent on; empty if it has none.
pub(crate) fn of_content(content: &[u8]) -> String {
    record::object_in(content).map(|(object, _)| object.traceparent).unwrap_or_default()
}

/// The trace context of a package's present version; empty if it is not known here.
pub(crate) async fn of_package(tx: &mut Tx, package: &str) -> Result<String, Error> {
    let object = objects::get(tx, ObjectKind::Package, package).await?;
    Ok(object.map(|object| of_content(&object.content)).unwrap_or_default())
}

/// A short span that only says that this happened to an object here.
pub(crate) fn note(content: &[u8], span: impl FnOnce() -> Span) {
    drop(within(&of_content(content), span));
}
