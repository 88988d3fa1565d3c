//! Tickets with which clients resume: the session, sealed with a key that all workers of a
//! service have and no other service has. AES-256-GCM; a ticket is the key's name, the nonce,
//! what is sealed, and the tag.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, RandomizedNonceKey};
use rustls::server::ProducesTickets;

use crate::front::settings::{TICKET_LIFE, TicketKey};

/// The keys of a service.
#[derive(Debug)]
pub(super) struct Tickets(Vec<([u8; 16], RandomizedNonceKey)>);

impl Tickets {
    /// With these keys; the first one is for new tickets.
    pub(super) fn new(keys: &[TicketKey]) -> Result<Self, String> {
        let key = |key: &TicketKey| {
            let sealing = RandomizedNonceKey::new(&AES_256_GCM, &key.secret);
            sealing.map(|sealing| (key.name, sealing)).map_err(|_| "a ticket key".to_owned())
        };
        keys.iter().map(key).collect::<Result<_, _>>().map(Self)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        !self.0.is_empty()
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(TICKET_LIFE.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (name, key) = self.0.first()?;
        let mut sealed = plain.to_vec();
        let nonce = key.seal_in_place_append_tag(Aad::from(name), &mut sealed).ok()?;
        Some([&name[..], nonce.as_ref(), &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<16>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (_, key) = self.0.iter().find(|(known, _)| known == name)?;
        let mut plain = sealed.to_vec();
        let length = key.open_in_place(nonce.into(), Aad::from(name), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> TicketKey {
        TicketKey { name: [n; 16], secret: [n; 32] }
    }

    #[test]
    fn a_ticket_opens_with_its_own_key_alone() {
        let tickets = Tickets::new(&[key(1)]).unwrap();
        let ticket = tickets.encrypt(b"session").unwrap();
        assert_eq!(tickets.decrypt(&ticket).unwrap(), b"session");
        let rotated = Tickets::new(&[key(2), key(1)]).unwrap();
        assert_eq!(rotated.decrypt(&ticket).unwrap(), b"session");
        assert_eq!(Tickets::new(&[key(2)]).unwrap().decrypt(&ticket), None);
        let other = TicketKey { secret: [9; 32], ..key(1) };
        assert_eq!(Tickets::new(&[other]).unwrap().decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut wrong = ticket.clone();
            wrong[at] ^= 1;
            assert_eq!(tickets.decrypt(&wrong), None, "{at}");
            assert_eq!(tickets.decrypt(&ticket[..at]), None, "{at}");
        }
        assert!(!Tickets::new(&[]).unwrap().enabled());
    }
}
