//! How items of a queue stand.

use packhorse_domain::{
    link::ItemKind,
    queue::{State, Wait},
};

use super::ConvertError;
use crate::provider::v1 as wire;

impl From<State> for wire::QueueState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => wire::QueueState::Queued,
            State::Offered => wire::QueueState::Offered,
            State::Sending => wire::QueueState::Sending,
            State::Held => wire::QueueState::Held,
            State::Paused => wire::QueueState::Paused,
            State::Retrying => wire::QueueState::Retrying,
            State::Cancelled => wire::QueueState::Cancelled,
            State::Replaced => wire::QueueState::Replaced,
            State::Delivered => wire::QueueState::Delivered,
            State::Receiving => wire::QueueState::Receiving,
            State::Waiting => wire::QueueState::Waiting,
            State::Despooling => wire::QueueState::Despooling,
            State::Failed => wire::QueueState::Failed,
        }
    }
}

impl TryFrom<wire::QueueState> for State {
    type Error = ConvertError;

    fn try_from(state: wire::QueueState) -> Result<Self, ConvertError> {
        let known = State::ALL.into_iter().find(|known| wire::QueueState::from(*known) == state);
        known.ok_or(ConvertError::Unknown { field: "state", value: state.into() })
    }
}

impl From<Wait> for wire::WaitReason {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::Nothing => wire::WaitReason::Nothing,
            Wait::Turn => wire::WaitReason::Turn,
            Wait::Peer => wire::WaitReason::Peer,
            Wait::Link => wire::WaitReason::Link,
            Wait::Hour => wire::WaitReason::Hour,
            Wait::Budget => wire::WaitReason::Budget,
            Wait::Release => wire::WaitReason::Release,
            Wait::Courier => wire::WaitReason::Courier,
            Wait::Retry => wire::WaitReason::Retry,
        }
    }
}

impl From<ItemKind> for wire::QueueItemKind {
    fn from(kind: ItemKind) -> Self {
        match kind {
            ItemKind::Object => wire::QueueItemKind::Object,
            ItemKind::Bundle => wire::QueueItemKind::Bundle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_comes_back_and_its_name_is_its_text() {
        for state in State::ALL {
            let sent = wire::QueueState::from(state);

            assert_eq!(State::try_from(sent).expect("known"), state);
            let name = sent.as_str_name().trim_start_matches("QUEUE_STATE_").to_lowercase();
            assert_eq!(name, state.as_str());
        }
        assert!(State::try_from(wire::QueueState::Unspecified).is_err());
    }
}
