//! What free text in a body may hold.

/// For `#[garde(custom(http_api::plain_text))]`: refuses U+0000, which Postgres cannot keep in JSON.
pub fn plain_text(text: impl AsRef<str>, _context: &()) -> garde::Result {
    if text.as_ref().contains('\0') { Err(garde::Error::new("must not contain U+0000")) } else { Ok(()) }
}
