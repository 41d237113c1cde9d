//! A message's text out of its template and its fields.

use std::collections::BTreeMap;

use super::{Template, template};

/// The text, or `None` if the template needs a field that is not there.
pub fn render(template: &Template, fields: &BTreeMap<String, String>) -> Option<String> {
    let mut text = String::new();
    let mut rest = template.text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        text.push_str(before);
        text.push_str(fields.get(name)?);
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

/// The text of a message that came from elsewhere: as this version says it, or as it was sent along.
pub fn text_of(number: u32, fields: &BTreeMap<String, String>, sent: &str) -> String {
    template(number).and_then(|template| render(template, fields)).unwrap_or_else(|| sent.to_owned())
}
