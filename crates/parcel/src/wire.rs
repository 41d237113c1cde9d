//! Site codes among the fields of what lies on a medium.

use packhorse_content::Fields;
use packhorse_domain::id::SiteCode;

/// What a site code takes.
pub(crate) const SITE_BYTES: usize = 3;

/// Also `None` if the bytes are no site code.
pub(crate) fn site(fields: &mut Fields<'_>) -> Option<SiteCode> {
    std::str::from_utf8(fields.bytes(SITE_BYTES)?).ok()?.parse().ok()
}
