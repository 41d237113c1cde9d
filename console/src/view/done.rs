//! Short answers: something was done, or a token was made.

use std::path::Path;

use serde::Serialize;

use crate::view::{Screen, View};

/// What was done to what.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    kind: &'static str,
    id: String,
    result: &'static str,
}

/// A token that stands in the answer or in a file.
#[derive(Debug, Serialize)]
pub(crate) struct Token {
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl Done {
    pub(crate) fn new(kind: &'static str, id: &str, result: &'static str) -> Self {
        Done { kind, id: id.to_owned(), result }
    }
}

impl Token {
    pub(crate) fn text(token: String) -> Self {
        Token { token: Some(token), file: None }
    }

    pub(crate) fn file(path: &Path) -> Self {
        Token { token: None, file: Some(path.display().to_string()) }
    }
}

impl View for Done {
    fn text(&self, _screen: Screen) -> String {
        super::clean(&format!("{} {} {}", self.kind.replace('_', " "), self.id, self.result))
    }
}

impl View for Token {
    /// The token's exact text, so that it can be redirected to a file.
    fn text(&self, _screen: Screen) -> String {
        match (&self.token, &self.file) {
            (Some(token), _) => token.trim_end().to_owned(),
            (None, Some(file)) => format!("token written to {file}"),
            (None, None) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Screen = Screen { terminal: false };

    #[test]
    fn a_token_is_shown_as_it_is() {
        let token = Token::text("version = 1\nsecret = \"x\"\n".to_owned());

        assert_eq!(View::text(&token, PIPE), "version = 1\nsecret = \"x\"");
        assert_eq!(
            serde_json::to_value(&token).expect("json"),
            serde_json::json!({ "token": "version = 1\nsecret = \"x\"\n" })
        );
    }

    #[test]
    fn what_was_done_is_one_line() {
        let done = Done::new("package", "CEN00001", "deleted");

        assert_eq!(done.text(PIPE), "package CEN00001 deleted");
        assert_eq!(
            serde_json::to_value(&done).expect("json"),
            serde_json::json!({ "kind": "package", "id": "CEN00001", "result": "deleted" })
        );
    }
}
