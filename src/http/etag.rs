//! Entity tags `"{version}.{position}"`: the version of the thing, and the position of the log that the answer reflects.

use std::{convert::Infallible, fmt};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
};
use events::{Position, StreamVersion};

use crate::Problem;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ETag {
    pub version: StreamVersion,
    pub position: Position,
}

impl ETag {
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        HeaderValue::try_from(self.to_string()).expect("digits, a dot and quotes are visible ASCII")
    }

    /// `"3.120"`, also where a proxy made it weak by compressing.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix("W/").unwrap_or(text);
        let (version, position) = text.strip_prefix('"')?.strip_suffix('"')?.split_once('.')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(version) || !digits(position) {
            return None;
        }
        Some(Self { version: version.parse().ok()?, position: Position(position.parse().ok()?) })
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}.{}\"", self.version, self.position)
    }
}

/// What a command says of the version that it expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    Absent,
    /// `*`: whichever, if only it exists.
    Any,
    /// One of these versions; the position in the tag does not matter.
    Versions(Vec<StreamVersion>),
}

impl IfMatch {
    /// The versions that are named; none when any will do.
    #[must_use]
    pub fn versions(&self) -> &[StreamVersion] {
        match self {
            Self::Absent | Self::Any => &[],
            Self::Versions(versions) => versions,
        }
    }

    /// Refuses a command (412) whose condition the current version does not meet.
    pub fn check(&self, current: ETag) -> Result<(), Problem> {
        match self {
            Self::Absent | Self::Any => Ok(()),
            Self::Versions(versions) if versions.contains(&current.version) => Ok(()),
            Self::Versions(_) => Err(Problem::stale(current)),
        }
    }

    /// Refuses a command (428) that names no version.
    pub fn required(self) -> Result<Self, Problem> {
        if self == Self::Absent { Err(Problem::precondition_required()) } else { Ok(self) }
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Some(text) = list(&parts.headers, header::IF_MATCH) else { return Ok(Self::Absent) };
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let versions = text.split(',').map(|tag| ETag::parse(tag).map(|tag| tag.version)).collect::<Option<Vec<_>>>();
        versions.map(Self::Versions).ok_or_else(|| {
            Problem::malformed_header("If-Match", "send an ETag as you got it, quotes included: \"3.1234\"")
        })
    }
}

/// The tags of copies that the client holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IfNoneMatch(String);

impl IfNoneMatch {
    /// Whether the client's copy is the current one, so that 304 suffices.
    #[must_use]
    pub fn matches(&self, current: &ETag) -> bool {
        self.0.split(',').any(|tag| tag.trim() == "*" || ETag::parse(tag).as_ref() == Some(current))
    }
}

impl<S: Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(list(&parts.headers, header::IF_NONE_MATCH).unwrap_or_default()))
    }
}

/// All values of a header that is a list; `None` when it is absent. Bytes that are no text count as a tag of nobody.
fn list(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect::<Vec<_>>();
    (!values.is_empty()).then(|| values.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: ETag = ETag { version: 3, position: Position(120) };

    #[test]
    fn a_tag_reads_back_also_when_a_proxy_made_it_weak() {
        assert_eq!(ETag::parse("\"3.120\""), Some(TAG));
        assert_eq!(ETag::parse("W/\"3.120\""), Some(TAG));
        for bad in ["3.120", "\"3\"", "\"+3.120\"", "\"3.120.4\"", "\"\"", "\"-1.1\""] {
            assert_eq!(ETag::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_condition_compares_the_version_and_not_the_position() {
        let later = ETag { position: Position(999), ..TAG };
        assert!(IfMatch::Versions(vec![3]).check(later).is_ok());
        let stale = IfMatch::Versions(vec![2]).check(TAG).expect_err("2 is not 3");
        assert_eq!((stale.status, stale.etag), (412, Some(TAG)));
        assert_eq!(IfMatch::Absent.required().expect_err("nothing was sent").status, 428);
    }

    #[test]
    fn a_copy_is_current_only_if_the_whole_tag_is() {
        assert!(IfNoneMatch("\"1.1\", W/\"3.120\"".into()).matches(&TAG));
        assert!(!IfNoneMatch("\"3.119\"".into()).matches(&TAG));
        assert!(!IfNoneMatch::default().matches(&TAG));
    }
}
