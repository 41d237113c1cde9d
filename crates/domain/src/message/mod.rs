//! Status messages: what there is to say, each under a number that never changes.
//!
//! A message is a number and fields. Its text is made where it is shown, out of the catalogue; it also travels along, so
//! that whoever does not know the number has something to show.

mod audits;
mod catalogue;
mod render;
pub mod rules;
pub mod storm;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt::Display};

use crate::status::{EventType, Severity, cut};

pub use self::{
    audits::*,
    catalogue::*,
    render::{render, text_of},
};

/// Fields of one message.
pub const FIELDS_MAX: usize = 16;
/// Bytes of a field's name.
pub const FIELD_NAME_MAX: usize = 32;
/// Bytes of all names and values of a message.
pub const FIELDS_BYTES_MAX: usize = 2048;
/// Bytes of one value; what is longer is cut.
const VALUE_MAX: usize = 1024;
/// Bytes of all values: there is room for the names.
const VALUES_MAX: usize = FIELDS_BYTES_MAX - FIELDS_MAX * FIELD_NAME_MAX;

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// Given once and for all.
    pub number: u32,
    pub name: &'static str,
    pub severity: Severity,
    pub event_type: EventType,
    /// Who says it.
    pub component: &'static str,
    /// The fields that make it another message when they differ; those after them may change in a repeated one.
    pub identity: &'static [&'static str],
    pub others: &'static [&'static str],
    /// The text, with fields as `{name}`.
    pub text: &'static str,
    /// What to do about it; empty: nothing.
    pub remedy: &'static str,
}

/// Something to say: made by the functions of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    template: &'static Template,
    fields: BTreeMap<String, String>,
}

impl Message {
    fn new<const N: usize>(template: &'static Template, fields: [(&str, &dyn Display); N]) -> Message {
        let mut message = Message { template, fields: BTreeMap::new() };
        for (name, value) in fields {
            message.set(name, &value.to_string());
        }
        message
    }

    fn set(&mut self, name: &str, value: &str) {
        let taken: usize = self.fields.values().map(String::len).sum();
        let left = VALUES_MAX.saturating_sub(taken);
        self.fields.insert(name.to_owned(), cut(value, VALUE_MAX.min(left)).to_owned());
    }

    /// The same, said of a change by somebody.
    #[must_use]
    pub fn by(mut self, who: &str) -> Message {
        self.set("who", who);
        self
    }

    pub fn template(&self) -> &'static Template {
        self.template
    }

    pub fn number(&self) -> u32 {
        self.template.number
    }

    pub fn fields(&self) -> &BTreeMap<String, String> {
        &self.fields
    }

    pub fn text(&self) -> String {
        render(self.template, &self.fields).unwrap_or_else(|| self.template.text.to_owned())
    }

    /// Two messages with one key say the same of the same.
    pub fn key(&self, subject: &str) -> String {
        key_of(self.template, &self.fields, subject)
    }
}

/// The key of a message that was written.
pub fn key_of(template: &Template, fields: &BTreeMap<String, String>, subject: &str) -> String {
    let mut key = format!("{}\n{subject}", template.number);
    for name in template.identity {
        key.push('\n');
        key.push_str(fields.get(*name).map_or("", String::as_str));
    }
    key
}

/// All that this version knows, by number.
pub fn catalogue() -> Vec<&'static Template> {
    let mut all: Vec<_> = CATALOGUE.iter().chain(AUDITS).collect();
    all.sort_by_key(|template| template.number);
    all
}

/// What a number means; `None`: a newer version gave it.
pub fn template(number: u32) -> Option<&'static Template> {
    CATALOGUE.iter().chain(AUDITS).find(|template| template.number == number)
}

/// Entries of the catalogue, and a function for each that makes its message. Fields before the `;` make the identity.
macro_rules! messages {
    ($table:ident: $(
        $number:literal $name:ident($($key:ident),*; $($field:ident),*)
        $severity:ident $class:ident $component:literal $text:literal $remedy:literal
    )*) => {
        pub const $table: &[$crate::message::Template] = &[$(
            $crate::message::Template {
                number: $number,
                name: stringify!($name),
                severity: $crate::status::Severity::$severity,
                event_type: $crate::status::EventType::$class,
                component: $component,
                identity: &[$(stringify!($key)),*],
                others: &[$(stringify!($field)),*],
                text: $text,
                remedy: $remedy,
            },
        )*];
        $(
            #[doc = $text]
            pub fn $name($($key: &dyn std::fmt::Display,)* $($field: &dyn std::fmt::Display),*) -> $crate::message::Message {
                let template = $table.iter().find(|template| template.number == $number);
                $crate::message::Message::new(
                    template.expect("it is in its own table"),
                    [$((stringify!($key), $key),)* $((stringify!($field), $field)),*],
                )
            }
        )*
    };
}
use messages;
