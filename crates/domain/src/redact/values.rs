//! Values that their names give away: `password = "x"`, `"secret": "x"`, `--token x`, `Bearer x`.

use super::REDACTED;

/// A name with one of these words in it has a secret as its value.
const WORDS: [&str; 15] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "secrets",
    "token",
    "credential",
    "credentials",
    "apikey",
    "psk",
    "pin",
    "authorization",
    "bearer",
    "cookie",
];
/// A key of these is one; others, as `public_key` and `courier_key`, are for everybody.
const OF_KEYS: [&str; 9] =
    ["api", "private", "access", "auth", "signing", "encryption", "master", "shared", "ssh"];
/// After these words a credential follows without any sign.
const SCHEMES: [&str; 2] = ["bearer", "basic"];

/// Whether a setting or a field of this name holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    let is_key = |pair: &[String]| pair[1] == "key" && OF_KEYS.contains(&pair[0].as_str());
    words.iter().any(|word| WORDS.contains(&word.as_str())) || words.windows(2).any(is_key)
}

/// `otlpApi-key_2` is `otlp`, `api`, `key`, `2`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() {
            words.push(String::new());
        } else {
            if c.is_ascii_uppercase() && was_lower {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.push(c.to_ascii_lowercase());
            }
        }
        was_lower = c.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The text with the values of such names taken out.
pub(super) fn named(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(is_of_name) {
        let length = rest[begin..].find(|c| !is_of_name(c)).unwrap_or(rest.len() - begin);
        let (name, after) = (&rest[begin..begin + length], &rest[begin + length..]);
        out.push_str(&rest[..begin + length]);
        rest = after;
        let Some(gap) = gap(name, after) else { continue };
        let value = &after[gap..];
        let (open, length) = value_of(value);
        if length > 0 && !value[open..].starts_with(REDACTED) {
            out.push_str(&after[..gap + open]);
            out.push_str(REDACTED);
            rest = &value[open + length..];
        }
    }
    out.push_str(rest);
    out
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// How far behind a name its value begins, if it is a secret.
fn gap(name: &str, after: &str) -> Option<usize> {
    let bare = name.trim_start_matches('-');
    if SCHEMES.contains(&bare.to_ascii_lowercase().as_str()) && after.starts_with(' ') {
        return Some(1);
    }
    if !is_secret_name(bare) {
        return None;
    }
    let spaces = |text: &str| text.len() - text.trim_start_matches([' ', '\t']).len();
    let quotes = after.len() - after.trim_start_matches(['\\', '"', '\'', '`']).len();
    let sign = quotes + spaces(&after[quotes..]);
    match after[sign..].chars().next() {
        Some('=' | ':') if !after[sign..].starts_with("::") => {
            let value = sign + 1;
            Some(value + spaces(&after[value..]))
        }
        // As an argument of a command.
        Some(_) if name.starts_with("--") && after.starts_with(' ') => Some(spaces(after)),
        _ => None,
    }
}

/// Where the value begins after its quotes, and its length.
fn value_of(value: &str) -> (usize, usize) {
    let open = value.len() - value.trim_start_matches('\\').len();
    for quote in ["\"\"\"", "'''", "\"", "'", "`"] {
        let Some(inner) = value[open..].strip_prefix(quote) else { continue };
        // A quote within a string of another has a backslash more before it.
        let close = format!("{}{quote}", &value[..open]);
        let begin = open + quote.len();
        return (begin, end_of(inner, &close));
    }
    // `Authorization: Bearer x`: what is secret stands after the scheme.
    let scheme = SCHEMES.iter().find_map(|scheme| {
        let first = value.get(..scheme.len())?;
        let is_it = first.eq_ignore_ascii_case(scheme) && value[scheme.len()..].starts_with(' ');
        is_it.then_some(scheme.len() + 1)
    });
    let begin = scheme.unwrap_or(0);
    let ends = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '&' | '}' | ']' | ')' | '"');
    (begin, value[begin..].find(ends).unwrap_or(value.len() - begin))
}

/// The first closing quote that no backslash of its own stands before; without one the rest is the value.
fn end_of(inner: &str, close: &str) -> usize {
    let mut from = 0;
    while let Some(at) = inner[from..].find(close) {
        let at = from + at;
        if !inner[..at].ends_with('\\') {
            return at;
        }
        from = at + close.len();
    }
    inner.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_by_their_names() {
        for (text, expected) in [
            ("password = \"a b\"", "password = \"[redacted]\""),
            ("password = 'a b' # x", "password = '[redacted]' # x"),
            ("secret = \"\"\"a\nb\"\"\"\nx", "secret = \"\"\"[redacted]\"\"\"\nx"),
            ("db.password=a1,b", "db.password=[redacted],b"),
            ("{\"clientSecret\": \"a\\\"b\", \"n\": 1}", "{\"clientSecret\": \"[redacted]\", \"n\": 1}"),
            ("{\\\"secret\\\": \\\"abc\\\"}", "{\\\"secret\\\": \\\"[redacted]\\\"}"),
            ("API_KEY: x-1", "API_KEY: [redacted]"),
            ("curl --token abc --silent", "curl --token [redacted] --silent"),
            ("curl --password=abc --silent", "curl --password=[redacted] --silent"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
            ("sent Bearer abc", "sent Bearer [redacted]"),
            ("public_key = abc, courier_key = age1", "public_key = abc, courier_key = age1"),
            ("the token has expired", "the token has expired"),
            ("enroll::token::Secret", "enroll::token::Secret"),
            ("tokens: 3", "tokens: 3"),
            ("secret=", "secret="),
            ("secret = \"unclosed", "secret = \"[redacted]"),
            ("sécret ünd mehr", "sécret ünd mehr"),
        ] {
            assert_eq!(named(text), expected, "{text}");
        }
    }

    #[test]
    fn names_are_told_by_their_words() {
        for (name, is_secret) in [
            ("password", true),
            ("otlpPassword", true),
            ("OTLP_API_KEY", true),
            ("private-key", true),
            ("enrolment.token", true),
            ("key", false),
            ("keyword", false),
            ("tokenizer", false),
            ("courier_key", false),
            ("", false),
        ] {
            assert_eq!(is_secret_name(name), is_secret, "{name}");
        }
    }

    #[test]
    fn it_takes_nothing_away_twice() {
        let once = named("password = \"a\", secret: b");

        assert_eq!(named(&once), once);
    }
}
