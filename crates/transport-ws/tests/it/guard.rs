//! Discovered relays at addresses that they may not have (SPEC §13).

use std::net::{IpAddr, TcpListener};

use sync_core::model::RelayUrl;
use sync_core::transport::{Connector, FaultKind, Target};
use transport_ws::{AddressClass as Class, AddressGuard, TransportConfig};

use crate::support::{Relay, connector, relay_url, soon};

const GUARD: AddressGuard = AddressGuard { allow_private: false };

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn every_class_is_refused_from_its_first_address_to_its_last() {
    let cases = [
        (Class::Unspecified, "0.0.0.0", "0.255.255.255"),
        (Class::Unspecified, "::", "::"),
        (Class::Loopback, "127.0.0.0", "127.255.255.255"),
        (Class::Loopback, "::1", "::1"),
        (Class::Private, "10.0.0.0", "10.255.255.255"),
        (Class::Private, "172.16.0.0", "172.31.255.255"),
        (Class::Private, "192.168.0.0", "192.168.255.255"),
        (Class::Private, "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        (Class::Private, "fd00:ec2::254", "fd20:ce::254"),
        (Class::Private, "fec0::", "feff:ffff::1"),
        (Class::Shared, "100.64.0.0", "100.127.255.255"),
        (Class::Shared, "100.100.100.200", "100.100.100.200"),
        (Class::LinkLocal, "169.254.0.0", "169.254.255.255"),
        (Class::LinkLocal, "169.254.169.254", "169.254.170.2"),
        (Class::LinkLocal, "fe80::", "febf:ffff::1"),
        (Class::Metadata, "168.63.129.16", "168.63.129.16"),
        (Class::Multicast, "224.0.0.0", "239.255.255.255"),
        (Class::Multicast, "ff00::", "ff02::fb"),
        (Class::Broadcast, "255.255.255.255", "255.255.255.255"),
        (Class::Documentation, "192.0.2.0", "192.0.2.255"),
        (Class::Documentation, "198.51.100.0", "198.51.100.255"),
        (Class::Documentation, "203.0.113.0", "203.0.113.255"),
        (Class::Documentation, "198.18.0.0", "198.19.255.255"),
        (Class::Documentation, "2001:db8::", "2001:db8:ffff::1"),
        (Class::Documentation, "3fff::", "3fff:fff:ffff::1"),
        (Class::Documentation, "2001:2::", "2001:2:0:ffff::1"),
        (Class::Reserved, "192.0.0.0", "192.0.0.255"),
        (Class::Reserved, "192.88.99.0", "192.88.99.255"),
        (Class::Reserved, "240.0.0.0", "255.255.255.254"),
        (Class::Reserved, "100::", "100::ffff:ffff:ffff:ffff"),
        (Class::Reserved, "2001:1::", "2001:1ff:ffff::1"),
        (Class::Reserved, "4000::", "5f00::1"),
        (Class::EmbeddedV4, "::ffff:0.0.0.0", "::ffff:255.255.255.255"),
        (Class::EmbeddedV4, "::ffff:127.0.0.1", "::ffff:8.8.8.8"),
        (Class::EmbeddedV4, "::2", "::127.0.0.1"),
        (Class::EmbeddedV4, "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"),
        (Class::EmbeddedV4, "64:ff9b:1::", "64:ff9b:1:ffff::1"),
        (Class::EmbeddedV4, "2001::", "2001:0:ffff::1"),
        // Judged by what they lead to.
        (Class::Loopback, "64:ff9b::127.0.0.1", "64:ff9b::7f00:1"),
        (Class::LinkLocal, "64:ff9b::169.254.169.254", "64:ff9b::a9fe:a9fe"),
        (Class::Loopback, "2002:7f00:1::", "2002:7fff:ffff::1"),
        (Class::Private, "2002:a00::1", "2002:c0a8:101::1"),
    ];
    for (class, first, last) in cases {
        for text in [first, last] {
            let refused = GUARD.check(address(text)).expect_err(text);
            assert_eq!((refused.class, refused.address), (class, address(text)), "{text}");
            assert_eq!(AddressGuard { allow_private: true }.check(address(text)), Ok(()), "{text}");
        }
    }
}

#[test]
fn public_addresses_beside_the_classes_are_permitted() {
    let public = [
        "1.0.0.0",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2003::1",
        "2606:4700::1111",
        "2a01:4f8::1",
        "3ffe:ffff::1",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
    ];
    for text in public {
        assert_eq!(GUARD.check(address(text)), Ok(()), "{text}");
    }
}

#[tokio::test]
async fn no_spelling_of_loopback_is_dialled() {
    let v4 = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = v4.local_addr().expect("bound").port();
    // The same port on the IPv6 loopback, where the machine has one and it is free.
    let v6 = TcpListener::bind(("::1", port)).ok();
    let connector = connector(TransportConfig::default());
    let hosts = [
        "127.0.0.1",
        "127.1",
        "127.0.0.1.",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "%31%32%37.0.0.1",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "0.0.0.0",
        "0",
        "localhost",
        "LOCALHOST.",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ];
    for host in hosts {
        for scheme in ["ws", "wss"] {
            let text = format!("{scheme}://{host}:{port}");
            let relay = RelayUrl::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let target = Target { relay: relay.clone(), named: false };
            let Err(fault) = soon(connector.connect(target)).await else { panic!("{text} was connected to") };
            assert_eq!(fault.kind, FaultKind::Forbidden, "{text}: {fault}");
            assert!(fault.text.contains(relay.host()), "{fault}");
        }
    }
    for listener in [Some(v4), v6].into_iter().flatten() {
        listener.set_nonblocking(true).expect("set");
        assert!(listener.accept().is_err(), "something was dialled");
    }
}

#[tokio::test]
async fn the_operator_may_permit_and_may_name() {
    let mut relay = Relay::start().await;
    let permissive = TransportConfig { guard: AddressGuard { allow_private: true }, ..TransportConfig::default() };
    for (config, named) in [(permissive, false), (TransportConfig::default(), true)] {
        let target = Target { relay: relay_url(relay.url.as_str()), named };
        assert!(soon(connector(config).connect(target)).await.is_ok());
        relay.peer().await;
    }
}
