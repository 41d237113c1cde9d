//! What a peer sends as a frame is read or refused, and what was read is said again as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use packhorse_domain::link::Frame;
use packhorse_proto::link::v1 as wire;
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    let Ok(read) = wire::Frame::decode(bytes) else { return };
    let Ok(frame) = Frame::try_from(read) else { return };
    if matches!(frame, Frame::Unknown | Frame::UnknownOffer { .. }) {
        return;
    }
    let said = wire::Frame::from(frame.clone()).encode_to_vec();
    let heard = wire::Frame::decode(said.as_slice()).expect("what was encoded can be decoded");
    assert_eq!(Frame::try_from(heard).expect("what was read keeps to the limits"), frame);
});
