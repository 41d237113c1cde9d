//! Taking secrets out of text that leaves the organisation.
//!
//! Whoever collects text for strangers collects what is public to begin with. This is the last look at it: what has the
//! form of a secret is replaced, wherever it came from. It errs towards taking out too much.

mod values;

use std::collections::BTreeSet;

use crate::Digest;

pub use values::is_secret_name;

/// What stands where a secret was.
pub const REDACTED: &str = "[redacted]";

const BEGIN: &str = "-----BEGIN ";
const AGE: &str = "AGE-SECRET-KEY-";
/// Of a token's secret.
const SECRET_DIGITS: usize = 64;
/// Shorter pieces of a key say nothing, and may stand in any text.
const KNOWN_BYTES_MIN: usize = 16;

/// What is taken out beside what shows itself by its form.
#[derive(Clone, Default)]
pub struct Redactor {
    /// BLAKE3 of the secrets of enrolment tokens, as a site keeps them.
    tokens: BTreeSet<Digest>,
    /// Pieces of keys, wherever they stand.
    known: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor")
            .field("tokens", &self.tokens.len())
            .field("known", &self.known.len())
            .finish()
    }
}

impl Redactor {
    #[must_use]
    pub fn with_tokens(mut self, hashes: impl IntoIterator<Item = Digest>) -> Self {
        self.tokens.extend(hashes);
        self
    }

    /// Pieces of less than 16 bytes are not looked for.
    #[must_use]
    pub fn with_known(mut self, pieces: impl IntoIterator<Item = String>) -> Self {
        self.known.extend(pieces.into_iter().filter(|piece| piece.len() >= KNOWN_BYTES_MIN));
        self
    }

    /// The text without secrets.
    pub fn text(&self, text: &str) -> String {
        let text = private_keys(text);
        let text = age_keys(&text);
        let text = user_info(&text);
        let text = values::named(&text);
        let mut text = self.token_secrets(&text);
        for piece in &self.known {
            if text.contains(piece.as_str()) {
                text = text.replace(piece.as_str(), REDACTED);
            }
        }
        text
    }

    /// Runs of 64 hexadecimal digits that are the secret of a token. Digests look the same and stay.
    fn token_secrets(&self, text: &str) -> String {
        if self.tokens.is_empty() {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c.is_ascii_hexdigit()) {
            let length = rest[at..].find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len() - at);
            let run = &rest[at..at + length];
            out.push_str(&rest[..at]);
            out.push_str(if self.has_token(run) { REDACTED } else { run });
            rest = &rest[at + length..];
        }
        out.push_str(rest);
        out
    }

    /// Also where other digits stand right before or after it.
    fn has_token(&self, run: &str) -> bool {
        let windows = run.as_bytes().windows(SECRET_DIGITS).take(SECRET_DIGITS);
        windows.filter_map(|window| hex::decode(window).ok()).any(|bytes| {
            let hash = Digest(*blake3::hash(&bytes).as_bytes());
            self.tokens.contains(&hash)
        })
    }
}

/// Blocks of PEM that hold private keys, also where line ends are written as `\n`, and those that are cut off.
fn private_keys(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let label = &rest[at + BEGIN.len()..];
        let label = label.find("-----").map_or("", |end| &label[..end]);
        let head = at + BEGIN.len() + label.len();
        if !label.to_ascii_uppercase().contains("PRIVATE") {
            out.push_str(&rest[..head]);
            rest = &rest[head..];
            continue;
        }
        out.push_str(&rest[..at]);
        out.push_str(REDACTED);
        let end = format!("-----END {label}-----");
        let body = &rest[head..];
        let next_block = body.find(BEGIN).unwrap_or(body.len());
        let length = match body[..next_block].find(&end) {
            Some(at) => at + end.len(),
            None => body
                .trim_start_matches('-')
                .find(|c| !is_of_pem(c))
                .map_or(body.len(), |found| found + body.len() - body.trim_start_matches('-').len()),
        };
        rest = &body[length..];
    }
    out.push_str(rest);
    out
}

/// What a block of PEM is made of between its lines.
fn is_of_pem(c: char) -> bool {
    c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || matches!(c, '+' | '/' | '=' | '\\')
}

/// Private keys that open parcels.
fn age_keys(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    while let Some(found) = upper[done..].find(AGE) {
        let begin = done + found;
        let body = begin + AGE.len();
        let end =
            upper[body..].find(|c: char| !c.is_ascii_alphanumeric()).map_or(upper.len(), |at| body + at);
        out.push_str(&text[done..begin]);
        out.push_str(REDACTED);
        done = end;
    }
    out.push_str(&text[done..]);
    out
}

/// Who calls, with which password, within a URL.
fn user_info(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let begin = at + 3;
        let url = &rest[begin..];
        let end = url.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '\\'));
        let url = &url[..end.unwrap_or(url.len())];
        let authority = url.find(['/', '?', '#']).unwrap_or(url.len());
        // A password with a slash in it ends the authority too early, but its colon has no port after it.
        let has_password = url[..authority]
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.is_empty() || !port.bytes().all(|digit| digit.is_ascii_digit()));
        let within = if url[..authority].contains('@') || !has_password { authority } else { url.len() };
        out.push_str(&rest[..begin]);
        rest = &rest[begin..];
        if let Some(sign) = url[..within].rfind('@') {
            out.push_str(REDACTED);
            rest = &rest[sign..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_keys_go_however_they_are_written() {
        for (text, expected) in [
            ("-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\nend", "[redacted]\nend"),
            ("a -----BEGIN EC PRIVATE KEY-----\\nMIGH\\n-----END EC PRIVATE KEY-----\\n", "a [redacted]\\n"),
            ("-----BEGIN PRIVATE KEY-----\nMIGH/+9=\nMI", "[redacted]"),
            ("-----BEGIN PRIVATE KEY-----\nMIGH: more", "[redacted]: more"),
            (
                "-----BEGIN PRIVATE KEY-----\nMI\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
                "[redacted]-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
                "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            ),
            ("-----BEGIN ", "-----BEGIN "),
        ] {
            assert_eq!(Redactor::default().text(text), expected, "{text}");
        }
    }

    #[test]
    fn keys_of_parcels_and_passwords_in_urls_go() {
        for (text, expected) in [
            ("key AGE-SECRET-KEY-1QQPZRY9, next", "key [redacted], next"),
            ("age-secret-key-1qqpzry9", "[redacted]"),
            ("to age1qqpzry9", "to age1qqpzry9"),
            ("dial https://anna:pa55@otel.example:4317/v1", "dial https://[redacted]@otel.example:4317/v1"),
            ("http://anna:p@55@otel/x 'ftp://b@c'", "http://[redacted]@otel/x 'ftp://[redacted]@c'"),
            ("http://anna:pa/55@otel/x", "http://[redacted]@otel/x"),
            ("http://otel:4317/users/@me", "http://otel:4317/users/@me"),
            ("packhorse://CEN/site/CEN", "packhorse://CEN/site/CEN"),
            ("://", "://"),
        ] {
            assert_eq!(Redactor::default().text(text), expected, "{text}");
        }
    }

    #[test]
    fn secrets_of_tokens_go_and_digests_stay() {
        let secret = [7_u8; 32];
        let redactor = Redactor::default().with_tokens([Digest(*blake3::hash(&secret).as_bytes())]);
        let (hex, digest) = (hex::encode(secret), hex::encode([9_u8; 32]));

        assert_eq!(
            redactor.text(&format!("it was {hex}, not {digest}")),
            format!("it was [redacted], not {digest}")
        );
        assert_eq!(redactor.text(&hex.to_uppercase()), REDACTED);
        assert_eq!(redactor.text(&format!("ab{hex}cd")), REDACTED);
        assert_eq!(redactor.text(&hex[..62]), hex[..62]);
    }

    #[test]
    fn pieces_of_known_keys_go_unless_they_are_too_short() {
        let known = ["MC4CAQAwBQYDK2VwBCIEIHAa".to_owned(), "short".to_owned()];
        let redactor = Redactor::default().with_known(known);

        assert_eq!(redactor.text("xMC4CAQAwBQYDK2VwBCIEIHAay short"), "x[redacted]y short");
    }
}
