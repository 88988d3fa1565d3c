//! Bytes as hexadecimal text, for serde: half as long as a list of numbers, and any
//! bytes are text then.

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serializer};

/// As text.
///
/// # Errors
/// The serializer's.
pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    let text: String = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    to.serialize_str(&text)
}

/// From text.
///
/// # Errors
/// When it is not pairs of hexadecimal digits.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    read(&text).ok_or_else(|| D::Error::custom("not pairs of hexadecimal digits"))
}

fn read(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Bytes(#[serde(with = "crate::upgrade::hex")] Vec<u8>);

    #[test]
    fn what_is_no_hex_is_refused() {
        for wrong in ["\"0\"", "\"0g\"", "\"é\"", "7", "\"000\""] {
            assert!(serde_json::from_str::<Bytes>(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes: Vec<u8>) {
            let text = serde_json::to_string(&Bytes(bytes.clone())).unwrap();
            prop_assert_eq!(text.len(), 2 * bytes.len() + 2);
            prop_assert_eq!(serde_json::from_str::<Bytes>(&text).unwrap().0, bytes);
        }
    }
}
