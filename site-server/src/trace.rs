//! One trace from an administrator's call to the last client: work on an object is part of the trace that made this
//! version of it, at whatever site the work is done.

use packhorse_domain::object::{Direction, Object};
use packhorse_proto::{
    convert::{self, ConvertError},
    object::v1 as wire,
};
use packhorse_runtime::telemetry::set_parent;
use prost::Message as _;
use tracing::Span;

use crate::store::objects::StoredObject;

/// The span as a part of the object's trace. An object that came without one, or whose stored bytes do not decode,
/// leaves it as it is: no work depends on a trace.
pub(crate) fn of(object: &StoredObject, span: Span) -> Span {
    if let Ok(traceparent) = traceparent(object) {
        set_parent(&span, &traceparent);
    }
    span
}

fn traceparent(object: &StoredObject) -> Result<String, ConvertError> {
    let decoded: Object = match object.kind.direction() {
        Direction::Down => {
            let signed = wire::Signed::decode(object.content.as_slice()).map_err(ConvertError::Decode)?;
            convert::decode::<wire::Object, Object>(&signed.payload)?
        }
        Direction::Up => convert::decode::<wire::Object, Object>(&object.content)?,
    };
    Ok(decoded.traceparent)
}
