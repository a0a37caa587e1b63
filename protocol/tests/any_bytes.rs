//! Whatever the bytes are: what is written is read, and what cannot be read is refused.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod oracle;

use handoff_protocol::v2::Envelope;
use handoff_protocol::v2::envelope::Octets;
use handoff_protocol::v2::message::Header;
use proptest::collection::vec;
use proptest::prelude::*;

fn octets() -> impl Strategy<Value = Octets> {
    vec(any::<u8>(), 0..20).prop_map(|bytes| Octets::from(&bytes[..]))
}

fn fields() -> impl Strategy<Value = Vec<(Octets, Octets)>> {
    vec((octets(), octets()), 0..4)
}

prop_compose! {
    fn envelopes()(
        (method, target, protocol) in (octets(), octets(), octets()),
        (id, scheme, server_name, user) in
            (prop::option::of(octets()), prop::option::of(octets()), prop::option::of(octets()), prop::option::of(octets())),
        client in prop::option::of(any::<(std::net::IpAddr, u16)>().prop_map(Into::into)),
        local in prop::option::of(any::<(std::net::IpAddr, u16)>().prop_map(Into::into)),
        useragent in any::<Option<std::net::IpAddr>>(),
        request_headers in fields(),
        status in any::<Option<u16>>(),
        response_headers in fields(),
    ) -> Envelope {
        Envelope {
            method, target, protocol, id, scheme, server_name, client, useragent, local, user, request_headers, status,
            response_headers,
        }
    }
}

proptest! {
    #[test]
    fn an_envelope_of_any_octets_is_read_as_it_was_written(envelope in envelopes()) {
        let bytes = oracle::write(&envelope);
        prop_assert!(bytes.is_ascii());
        prop_assert_eq!(Envelope::decode(&bytes).unwrap(), envelope);
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..100)) {
        oracle::check(&bytes);
    }

    /// A message as it should be, but for a few bytes.
    #[test]
    fn a_message_with_bytes_changed_does_no_harm(
        envelope in envelopes(),
        payload in vec(any::<u8>(), 0..20),
        in_file in any::<bool>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let envelope = oracle::write(&envelope);
        let header = Header::new(in_file, envelope.len(), payload.len(), 0).unwrap();
        let mut bytes = [&header.encode()[..], &envelope, &payload].concat();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        oracle::check(&bytes);
    }
}

#[test]
fn every_seed_of_the_fuzzer_does_no_harm() {
    let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/handoff");
    let mut count = 0;
    for seed in std::fs::read_dir(&seeds).unwrap() {
        oracle::check(&std::fs::read(seed.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", seeds.display());
}
