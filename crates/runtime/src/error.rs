//! Errors as one line of text.

use std::{error::Error, fmt::Write as _};

/// The error and everything that caused it, from the outside in, as `a: b: c`.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(cause) = at {
        // Some foreign errors repeat their cause in their own text.
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            write!(text, ": {cause_text}").expect("writing to a string does not fail");
        }
        at = cause.source();
    }
    text
}
