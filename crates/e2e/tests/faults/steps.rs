//! The words of a step, and what is put into them.

use anyhow::{Result, bail};

/// Splits as a shell does, as far as quotes go.
pub(crate) fn words(text: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => (quote, begun) = (Some(c), true),
            (None, c) if c.is_whitespace() => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (None, c) => {
                word.push(c);
                begun = true;
            }
        }
    }
    if quote.is_some() {
        bail!("a quote is not closed: {text}");
    }
    if begun {
        words.push(word);
    }
    Ok(words)
}

/// Replaces each `{name}` by what `value` gives; `{{` stays a brace of its own.
pub(crate) fn filled(text: &str, mut value: impl FnMut(&str) -> Result<String>) -> Result<String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        if let Some(after) = after.strip_prefix('{') {
            out.push_str(before);
            out.push('{');
            rest = after;
            continue;
        }
        let Some((name, after)) = after.split_once('}') else { bail!("a brace is not closed: {text}") };
        out.push_str(before);
        out.push_str(&value(name)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}
