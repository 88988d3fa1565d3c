//! Datagrams: each is answered by one datagram or by none.

use super::chargen::pattern;
use super::one_shot::{daytime, time};
use crate::config::model::Builtin;
use crate::sys::calendar::WallClock;

/// The longest answer of chargen, RFC 864.
const LONGEST_CHARGEN: usize = 512;

/// Answers one datagram: replaces what is in `out` by the answer, and tells
/// whether there is one. Discard has none, and tcpmux is no service of datagrams.
///
/// The source of a datagram is easily forged, so no answer may be worth forging
/// a request for: none is larger than its request or 32 bytes, whichever is
/// more. Echo sends back the same bytes. Chargen, for which the RFC allows up to
/// 512 characters to a single byte, sends no more than it got. Daytime (26
/// bytes) and time (4 bytes) answer any datagram, as their RFCs demand, an empty
/// one too: with its IP and UDP headers that is 54 bytes for 28, and on Ethernet,
/// where no frame is below 64 bytes, 72 for 64. What remains is
/// rate-limited for each source by `Guard`.
pub fn answer(kind: Builtin, request: &[u8], clock: WallClock, out: &mut Vec<u8>) -> bool {
    out.clear();
    match kind {
        Builtin::Echo => out.extend_from_slice(request),
        Builtin::Chargen => out.extend_from_slice(pattern(request.len().min(LONGEST_CHARGEN))),
        Builtin::Daytime => out.extend(daytime(clock)),
        Builtin::Time => out.extend(time(clock)),
        Builtin::Discard | Builtin::Tcpmux => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLOCK: WallClock = WallClock { utc_seconds: 1_795_387_689, offset_seconds: 0 };

    fn answered(kind: Builtin, request: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"of another client".to_vec();
        answer(kind, request, CLOCK, &mut out).then_some(out)
    }

    #[test]
    fn each_service_answers_as_its_rfc_says() {
        assert_eq!(answered(Builtin::Echo, b"abc").unwrap(), b"abc");
        assert_eq!(answered(Builtin::Echo, b"").unwrap(), b"");
        assert_eq!(answered(Builtin::Chargen, b"abc").unwrap(), b" !\"");
        assert_eq!(answered(Builtin::Chargen, &[0; 9000]).unwrap().len(), 512);
        assert_eq!(answered(Builtin::Daytime, b"").unwrap(), b"Sun Nov 22 22:48:09 2026\r\n");
        assert_eq!(answered(Builtin::Time, b"").unwrap(), 4_004_376_489_u32.to_be_bytes());
        assert_eq!(answered(Builtin::Discard, b"abc"), None);
        assert_eq!(answered(Builtin::Tcpmux, b"abc"), None);
    }

    proptest! {
        #[test]
        fn no_answer_is_worth_forging_a_request(
            request in proptest::collection::vec(any::<u8>(), 0..2000),
            which in 0_usize..6,
        ) {
            let length = answered(Builtin::ALL[which], &request).unwrap_or_default().len();
            prop_assert!(length <= request.len().max(32));
        }
    }
}
