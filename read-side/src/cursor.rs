//! Opaque cursors: where the next page starts, sealed so that a client cannot make one up or use it on another list.
//!
//! `base64url(16 bytes of HMAC-SHA-256)` and the inner cursor. The seal covers the list with its parameters.

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http_api::{Code, Problem};

const SEAL_BYTES: usize = 16;
const SEAL_CHARS: usize = SEAL_BYTES.div_ceil(3) * 4 - 2;

/// Seals cursors. Processes that answer for each other share the secret.
#[derive(Debug, Clone)]
pub(crate) struct CursorKey(hmac::Key);

impl CursorKey {
    /// `secret`: 32 random bytes or more.
    #[must_use]
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// What the client gets. `list` names the list and every parameter that shapes it.
    pub(crate) fn seal(&self, list: &str, cursor: &str) -> String {
        format!("{}{cursor}", URL_SAFE_NO_PAD.encode(self.tag(list, cursor)))
    }

    /// The inner cursor again; refuses (400) one that was not sealed here, for this list.
    pub(crate) fn open<'a>(&self, list: &str, sealed: &'a str) -> Result<&'a str, Problem> {
        let refused = || Problem::new(Code::InvalidCursor, Code::InvalidCursor.meaning()).with_pointer("/cursor");
        let (seal, cursor) = sealed.split_at_checked(SEAL_CHARS).ok_or_else(refused)?;
        let seal = URL_SAFE_NO_PAD.decode(seal).map_err(|_| refused())?;
        constant_time::verify_slices_are_equal(&seal, &self.tag(list, cursor)).map_err(|_| refused())?;
        Ok(cursor)
    }

    fn tag(&self, list: &str, cursor: &str) -> [u8; SEAL_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(list.as_bytes());
        context.update(&[0]);
        context.update(cursor.as_bytes());
        let tag = context.sign();
        tag.as_ref()[..SEAL_BYTES].try_into().expect("SHA-256 gives 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_only_as_it_was_sealed_for_its_own_list_and_by_its_own_key() {
        let key = CursorKey::new(&[7; 32]);
        let sealed = key.seal("orders\0q=tea", "abc");
        assert_eq!(key.open("orders\0q=tea", &sealed).ok(), Some("abc"));
        assert!(key.open("orders\0q=coffee", &sealed).is_err());
        assert!(CursorKey::new(&[8; 32]).open("orders\0q=tea", &sealed).is_err());
        let mut forged = sealed.clone();
        forged.replace_range(sealed.len() - 1.., "d");
        for bad in ["", "abc", "é", &forged, &"é".repeat(30), &sealed[1..]] {
            assert!(key.open("orders\0q=tea", bad).is_err(), "{bad:?} was taken");
        }
    }
}
