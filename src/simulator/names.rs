//! References, tracking numbers and event ids: they follow from the seed and the effect alone, so that a run repeats
//! in whatever order its requests arrive, and a restart cannot give one name twice.

use aws_lc_rs::hmac;

pub(super) struct Names(hmac::Key);

impl Names {
    pub(super) fn new(seed: u64) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &seed.to_be_bytes()))
    }

    /// `prefix` and 20 hexadecimal digits that stand for `of`.
    pub(super) fn name(&self, prefix: &str, of: &[&str]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for part in of {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        format!("{prefix}{}", hex(&context.sign().as_ref()[..10]))
    }
}

/// Lower-case hexadecimal digits of `bytes`.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
