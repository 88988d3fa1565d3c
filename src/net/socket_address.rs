//! Socket addresses for serde, whole: serde's own binary form leaves out the scope of an
//! IPv6 address, without which a link-local one is nowhere. As text they are what they
//! always were, the scope included: `[fe80::1%2]:80`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// All of an address.
#[derive(Serialize, Deserialize)]
enum Whole {
    V4(Ipv4Addr, u16),
    V6 { ip: Ipv6Addr, port: u16, flow: u32, scope: u32 },
}

impl From<SocketAddr> for Whole {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self::V4(*v4.ip(), v4.port()),
            SocketAddr::V6(v6) => Self::V6 {
                ip: *v6.ip(),
                port: v6.port(),
                flow: v6.flowinfo(),
                scope: v6.scope_id(),
            },
        }
    }
}

impl From<Whole> for SocketAddr {
    fn from(whole: Whole) -> Self {
        match whole {
            Whole::V4(ip, port) => SocketAddrV4::new(ip, port).into(),
            Whole::V6 { ip, port, flow, scope } => SocketAddrV6::new(ip, port, flow, scope).into(),
        }
    }
}

/// One address.
pub(crate) mod one {
    use super::{Deserialize, Deserializer, Serialize, Serializer, SocketAddr, Whole};

    /// As text, or whole.
    ///
    /// # Errors
    /// The serializer's.
    pub(crate) fn serialize<S: Serializer>(address: &SocketAddr, to: S) -> Result<S::Ok, S::Error> {
        match to.is_human_readable() {
            true => address.serialize(to),
            false => Whole::from(*address).serialize(to),
        }
    }

    /// From text, or whole.
    ///
    /// # Errors
    /// When it is no address.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
        match from.is_human_readable() {
            true => SocketAddr::deserialize(from),
            false => Whole::deserialize(from).map(SocketAddr::from),
        }
    }
}

/// Any number of addresses.
pub(crate) mod list {
    use super::{Deserialize, Deserializer, Serialize, Serializer, SocketAddr, one};

    #[derive(Serialize, Deserialize)]
    struct One(#[serde(with = "one")] SocketAddr);

    /// Each as [`one`].
    ///
    /// # Errors
    /// The serializer's.
    pub(crate) fn serialize<S: Serializer>(
        addresses: &[SocketAddr],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(addresses.iter().copied().map(One))
    }

    /// Each as [`one`].
    ///
    /// # Errors
    /// When one is no address.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<SocketAddr>, D::Error> {
        Ok(Vec::<One>::deserialize(from)?.into_iter().map(|One(address)| address).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Both {
        #[serde(with = "super::one")]
        one: SocketAddr,
        #[serde(with = "super::list")]
        list: Vec<SocketAddr>,
    }

    fn v6(ip: Ipv6Addr, port: u16, flow: u32, scope: u32) -> SocketAddr {
        SocketAddrV6::new(ip, port, flow, scope).into()
    }

    #[test]
    fn text_is_as_without_us() {
        let scoped = v6("fe80::1".parse().unwrap(), 80, 0, 2);
        let both = Both { one: scoped, list: vec![([127, 0, 0, 1], 7).into()] };
        let text = r#"{"one":"[fe80::1%2]:80","list":["127.0.0.1:7"]}"#;
        assert_eq!(serde_json::to_string(&both).unwrap(), text);
        assert_eq!(serde_json::from_str::<Both>(text).unwrap(), both);
    }

    proptest! {
        #[test]
        fn a_scope_comes_back(ip: Ipv6Addr, port: u16, flow: u32, scope: u32, v4: Ipv4Addr) {
            let v4 = SocketAddr::from((v4, port));
            let both = Both { one: v6(ip, port, flow, scope), list: vec![v4, v6(ip, port, 0, scope)] };
            let bytes = postcard::to_allocvec(&both).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Both>(&bytes), Ok(both));
        }

        #[test]
        fn a_scope_comes_back_from_text(ip in any::<Ipv6Addr>(), port: u16, scope: u32) {
            let both = Both { one: v6(ip, port, 0, scope), list: vec![v6(ip, port, 0, scope)] };
            let text = serde_json::to_vec(&both).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Both>(&text).unwrap(), both);
        }
    }
}
