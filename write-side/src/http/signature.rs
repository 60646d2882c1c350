//! Webhooks are signed: HMAC-SHA256 over the body, by the secret that both sides share.

use std::sync::Arc;

use aws_lc_rs::hmac;
use axum::http::HeaderMap;
use garde::Validate;
use http_api::{Code, Problem};
use serde::de::DeserializeOwned;

const HEADER: &str = "webhook-signature";

/// The secret that a provider signs its webhooks with. Never shown.
#[derive(Clone)]
pub struct WebhookSecret(Arc<hmac::Key>);

impl WebhookSecret {
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())))
    }

    /// The content of a signed body; 401 for one that is not signed by us both, 400 for one that is not what it should be.
    pub(super) fn open<T: DeserializeOwned + Validate<Context = ()>>(
        &self,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<T, Problem> {
        self.verify(headers, body)?;
        http_api::decode(body)
    }

    /// Refuses (401) a body that was not signed with this secret. The comparison takes constant time.
    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
        let signature = headers.get(HEADER).and_then(|value| value.to_str().ok());
        let tag = signature.and_then(|text| text.strip_prefix("v1=")).and_then(from_hex);
        match tag {
            Some(tag) if hmac::verify(&self.0, body, &tag).is_ok() => Ok(()),
            Some(_) => Err(Problem::new(Code::SignatureInvalid, "the signature was not made with our secret")),
            None => {
                Err(Problem::new(Code::SignatureInvalid, "send Webhook-Signature: v1=<hex HMAC-SHA256 of the body>"))
            }
        }
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() > 128 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_was_changed_is_refused() {
        let secret = WebhookSecret::new("s");
        let tag = hmac::sign(&secret.0, b"{}");
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, format!("v1={hex}").parse().expect("visible ASCII"));
        assert!(secret.verify(&headers, b"{}").is_ok());
        for (headers, body) in [(&headers, &b"{ }"[..]), (&HeaderMap::new(), b"{}")] {
            assert_eq!(secret.verify(headers, body).expect_err("not what was signed").code, Code::SignatureInvalid);
        }
    }
}
