//! The wire: generated messages and services, and their conversions to and from the domain.
//!
//! Generated types stop here and at the gRPC edge of each binary.

pub mod convert;

/// The encoded `FileDescriptorSet` of every service, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/packhorse.bin"));

macro_rules! generated {
    ($role:ident, $package:literal) => {
        pub mod $role {
            #[allow(
                clippy::all,
                clippy::pedantic,
                clippy::allow_attributes,
                missing_debug_implementations,
                unreachable_pub,
                reason = "generated; not every package trips every lint"
            )]
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    };
}

generated!(object, "packhorse.object.v1");
generated!(link, "packhorse.link.v1");
generated!(enroll, "packhorse.enroll.v1");
generated!(cap, "packhorse.cap.v1");
generated!(client, "packhorse.client.v1");
generated!(content, "packhorse.content.v1");
generated!(courier, "packhorse.courier.v1");
generated!(inquiry, "packhorse.inquiry.v1");
generated!(provider, "packhorse.provider.v1");
