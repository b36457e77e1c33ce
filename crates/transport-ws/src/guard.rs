//! Which addresses a discovered relay may have (SPEC §13). Pure: it judges an address, and resolves nothing.
//!
//! IPv6 is refused unless it is known to be public: outside `2000::/3` only the well-known NAT64 prefix is looked into.
//! Addresses that carry an IPv4 address which the network will connect to (NAT64, 6to4) are judged by that one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Judges the addresses that discovered relays resolve to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddressGuard {
    /// Permits every address: for tests and closed networks (`limits.allow_private_addresses`).
    pub allow_private: bool,
}

impl AddressGuard {
    /// Whether a discovered relay may have `address`.
    ///
    /// # Errors
    /// [`Forbidden`] with the class of the address, where it isn't public.
    pub fn check(&self, address: IpAddr) -> Result<(), Forbidden> {
        if self.allow_private {
            return Ok(());
        }
        let class = match address {
            IpAddr::V4(v4) => class_of_v4(v4),
            IpAddr::V6(v6) => class_of_v6(v6),
        };
        class.map_or(Ok(()), |class| Err(Forbidden { address, class }))
    }
}

/// An address that a discovered relay may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address}, {class} address")]
pub struct Forbidden {
    /// The address.
    pub address: IpAddr,
    /// Why.
    pub class: AddressClass,
}

/// Kinds of addresses that aren't public (IANA's special-purpose registries).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressClass {
    /// `0.0.0.0/8`, `::`.
    Unspecified,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// RFC 1918, `fc00::/7`, `fec0::/10`.
    Private,
    /// `100.64.0.0/10`, behind a provider's NAT.
    Shared,
    /// `169.254.0.0/16`, `fe80::/10`; the metadata services of most clouds.
    LinkLocal,
    /// Addresses of cloud services outside the other classes: `168.63.129.16`.
    Metadata,
    /// `224.0.0.0/4`, `ff00::/8`.
    Multicast,
    /// `255.255.255.255`.
    Broadcast,
    /// Documentation and benchmarking networks.
    Documentation,
    /// An IPv4 address in a form that only hides it: mapped, compatible, translated, Teredo, local NAT64.
    EmbeddedV4,
    /// Set aside for protocols or the future.
    Reserved,
}

impl fmt::Display for AddressClass {
    /// With its article.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified",
            Self::Loopback => "a loopback",
            Self::Private => "a private",
            Self::Shared => "a shared (carrier NAT)",
            Self::LinkLocal => "a link-local",
            Self::Metadata => "a cloud metadata",
            Self::Multicast => "a multicast",
            Self::Broadcast => "a broadcast",
            Self::Documentation => "a documentation or benchmarking",
            Self::EmbeddedV4 => "an IPv4-embedding",
            Self::Reserved => "a reserved",
        })
    }
}

fn class_of_v4(address: Ipv4Addr) -> Option<AddressClass> {
    use AddressClass as Class;
    Some(match address.octets() {
        [0, ..] => Class::Unspecified,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Class::Private,
        [100, 64..=127, ..] => Class::Shared,
        [127, ..] => Class::Loopback,
        [168, 63, 129, 16] => Class::Metadata,
        [169, 254, ..] => Class::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18..=19, ..] => Class::Documentation,
        // IETF protocol assignments and the withdrawn 6to4 relays.
        [192, 0, 0, _] | [192, 88, 99, _] => Class::Reserved,
        [224..=239, ..] => Class::Multicast,
        [255, 255, 255, 255] => Class::Broadcast,
        [240..=255, ..] => Class::Reserved,
        _ => return None,
    })
}

fn class_of_v6(address: Ipv6Addr) -> Option<AddressClass> {
    use AddressClass as Class;
    Some(match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        // Compatible, mapped, translated.
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => Class::EmbeddedV4,
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => return class_of_v4(v4_of(high, low)),
        [0x64, 0xff9b, 1, ..] => Class::EmbeddedV4,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Class::Private,
        [0xfe80..=0xfebf, ..] => Class::LinkLocal,
        [0xff00..=0xffff, ..] => Class::Multicast,
        // Teredo, then the rest of the IETF protocol assignments 2001::/23.
        [0x2001, 0, ..] => Class::EmbeddedV4,
        [0x2001, 0x2, 0, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Class::Documentation,
        [0x2001, 0..=0x1ff, ..] => Class::Reserved,
        [0x2002, high, low, ..] => return class_of_v4(v4_of(high, low)),
        [0x2000..=0x3fff, ..] => return None,
        _ => Class::Reserved,
    })
}

fn v4_of(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}
