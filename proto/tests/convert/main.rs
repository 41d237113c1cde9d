//! Conversions between the wire and the domain: what the domain says comes back as it was, what breaks a limit is
//! refused with the name of its field, and no bytes whatever bring a receiver down.

mod diagnosis;
mod health;
mod limits;
mod strategies;
mod unchanged;

use packhorse_domain::{
    address::Address,
    advertisement::Advertisement,
    client::ClientFact,
    collection::Collection,
    courier::Route,
    distribution::Distribution,
    instruction::{Instruction, PointList},
    kill::Kill,
    link::Frame,
    object::Object,
    package::{PackageDefinition, PackageVersion, Program},
    parcel::ParcelReceipt,
    site::SiteFact,
    status::{AdvertisementStatus, Event, PackageStatus, PointFact},
};
use packhorse_proto::{
    convert::{ConvertError, decode, encode},
    link::v1 as link,
    object::v1 as wire,
    provider::v1 as provider,
};
use proptest::{collection::vec, prelude::*};
use prost::Message;

/// Through the bytes and back.
fn there_and_back<M, T>(value: &T) -> T
where
    M: Message + Default + for<'a> From<&'a T>,
    T: TryFrom<M, Error = ConvertError>,
{
    decode::<M, T>(&encode::<M, T>(value)).expect("what the domain says is fit to be sent")
}

/// Whatever comes of it, it is no panic.
fn read<M, T>(bytes: &[u8])
where
    M: Message + Default,
    T: TryFrom<M, Error = ConvertError>,
{
    drop(decode::<M, T>(bytes));
}

macro_rules! comes_back {
    ($($test:ident: $wire:ty => $domain:ty, $strategy:expr;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
            $(
                #[test]
                fn $test(value in $strategy) {
                    prop_assert_eq!(there_and_back::<$wire, $domain>(&value), value);
                }
            )*
        }
    };
}

comes_back! {
    a_package_definition_comes_back: wire::PackageDefinition => PackageDefinition, strategies::definition();
    a_package_version_comes_back: wire::PackageVersion => PackageVersion, strategies::version();
    a_program_comes_back: wire::Program => Program, strategies::program();
    a_distribution_comes_back: wire::Distribution => Distribution, strategies::distribution();
    a_collection_comes_back: wire::Collection => Collection, strategies::collection();
    an_advertisement_comes_back: wire::Advertisement => Advertisement, strategies::advertisement();
    an_instruction_comes_back: wire::Instruction => Instruction, strategies::instruction();
    a_point_list_comes_back: wire::PointList => PointList, strategies::point_list();
    a_kill_comes_back: wire::Kill => Kill, strategies::kill();
    a_site_fact_comes_back: wire::SiteFact => SiteFact, strategies::site_fact();
    a_point_fact_comes_back: wire::DistributionPointFact => PointFact, strategies::point_fact();
    a_client_fact_comes_back: wire::ClientFact => ClientFact, strategies::client_fact();
    a_package_status_comes_back: wire::PackageStatus => PackageStatus, strategies::package_status();
    an_advertisement_status_comes_back:
        wire::AdvertisementStatus => AdvertisementStatus, strategies::advertisement_status();
    an_event_comes_back: wire::Event => Event, strategies::event();
    a_parcel_receipt_comes_back: wire::ParcelReceipt => ParcelReceipt, strategies::parcel_receipt();
    an_address_comes_back: provider::Address => Address, strategies::address();
    a_courier_comes_back: provider::CourierRoute => Route, strategies::route();
    an_object_comes_back: wire::Object => Object, strategies::object();
}

/// Whatever a receiver makes of the bytes, it makes it without a panic.
fn read_everything(bytes: &[u8]) {
    drop(decode::<wire::PackageDefinition, PackageDefinition>(bytes));
    drop(decode::<wire::PackageVersion, PackageVersion>(bytes));
    drop(decode::<wire::Program, Program>(bytes));
    drop(decode::<wire::Distribution, Distribution>(bytes));
    drop(decode::<wire::Collection, Collection>(bytes));
    drop(decode::<wire::Advertisement, Advertisement>(bytes));
    drop(decode::<wire::Instruction, Instruction>(bytes));
    drop(decode::<wire::PointList, PointList>(bytes));
    drop(decode::<wire::Kill, Kill>(bytes));
    drop(decode::<wire::SiteFact, SiteFact>(bytes));
    drop(decode::<wire::DistributionPointFact, PointFact>(bytes));
    drop(decode::<wire::ClientFact, ClientFact>(bytes));
    drop(decode::<wire::PackageStatus, PackageStatus>(bytes));
    drop(decode::<wire::AdvertisementStatus, AdvertisementStatus>(bytes));
    drop(decode::<wire::Event, Event>(bytes));
    drop(decode::<wire::Object, Object>(bytes));
    drop(decode::<provider::Address, Address>(bytes));
    drop(decode::<wire::ParcelReceipt, ParcelReceipt>(bytes));
    drop(decode::<provider::CourierRoute, Route>(bytes));
    drop(decode::<link::Frame, Frame>(bytes));
}

/// What gRPC, HTTP/2 and TLS put around a message: 5, 9 and 22.
const CONNECTION_BYTES: usize = 36;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_frame_comes_back(frame in strategies::frame()) {
        let bytes = link::Frame::from(frame.clone()).encode_to_vec();
        prop_assert_eq!(decode::<link::Frame, Frame>(&bytes).expect("fit to be sent"), frame);
    }

    /// Who waits until a frame has left would else wait for bytes that never come.
    #[test]
    fn a_frame_takes_no_less_of_a_connection_than_it_says(frame in strategies::frame()) {
        let said = frame.bytes();
        let length = link::ExchangeRequest { frame: Some(frame.into()) }.encoded_len();
        prop_assert!(said <= length + CONNECTION_BYTES, "{said} for {length}");
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        read_everything(&bytes);
    }

    #[test]
    fn a_damaged_message_is_read_or_refused(
        frame in strategies::frame(),
        object in strategies::object(),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        for mut bytes in [link::Frame::from(frame).encode_to_vec(), encode::<wire::Object, _>(&object)] {
            if bytes.is_empty() {
                continue;
            }
            let at = at.index(bytes.len());
            bytes[at] = with;
            read_everything(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            read_everything(&bytes);
        }
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over(value in strategies::advertisement(), added in any::<u64>()) {
        let mut bytes = encode::<wire::Advertisement, _>(&value);
        // Field 1,000 as a varint.
        prost::encoding::uint64::encode(1_000, &added, &mut bytes);
        prop_assert_eq!(decode::<wire::Advertisement, Advertisement>(&bytes).expect("read"), value);
    }
}
