//! Messages of the protocol as JSON, the way grpcurl and its like write them.

use std::sync::OnceLock;

use packhorse_runtime::error_chain;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

/// The document of a message whose full name is `packhorse.NAME`.
pub(super) fn json<M: Message>(name: &str, message: &M) -> Result<Value, String> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| DescriptorPool::decode(packhorse_proto::DESCRIPTORS).ok());
    let kind = pool.as_ref().and_then(|pool| pool.get_message_by_name(&format!("packhorse.{name}")));
    let kind = kind.ok_or_else(|| format!("there is no message {name}"))?;
    let decoded = DynamicMessage::decode(kind, message.encode_to_vec().as_slice());
    let decoded = decoded.map_err(|error| error_chain(&error))?;
    let options = SerializeOptions::new().skip_default_fields(false).stringify_64_bit_integers(false);
    decoded.serialize_with_options(serde_json::value::Serializer, &options).map_err(|error| error.to_string())
}

/// The same for many of one kind.
pub(super) fn list<M: Message>(name: &str, messages: &[M]) -> Result<Vec<Value>, String> {
    messages.iter().map(|message| json(name, message)).collect()
}

#[cfg(test)]
mod tests {
    use packhorse_domain::Timestamp;
    use packhorse_proto::{
        convert::time::timestamp,
        provider::v1::{ListWorkersResponse, LiveWorker, WakeReason},
    };

    use super::*;

    #[test]
    fn a_message_reads_well() {
        let worker = LiveWorker {
            name: "despooler".to_owned(),
            steps: 3,
            next_wake_reason: WakeReason::Backoff.into(),
            next_wake_at: Some(timestamp(Timestamp(1_795_780_248_250_000))),
            ..LiveWorker::default()
        };
        let message = ListWorkersResponse { workers: vec![worker], ..ListWorkersResponse::default() };

        let document = json("provider.v1.ListWorkersResponse", &message).unwrap();

        let worker = &document["workers"][0];
        assert_eq!(worker["nextWakeReason"], "WAKE_REASON_BACKOFF");
        assert_eq!(worker["nextWakeAt"], "2026-11-27T11:50:48.250Z");
        assert_eq!((&worker["steps"], &worker["running"]), (&Value::from(3), &Value::from(false)));
        assert!(json("provider.v1.Nonsense", &message).is_err());
    }
}
