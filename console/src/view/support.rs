//! A support bundle that was written.

use serde::Serialize;

use crate::view::{Screen, View, amount, clean};

#[derive(Debug, Serialize)]
pub(crate) struct Written {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) files: u32,
}

impl View for Written {
    fn text(&self, _screen: Screen) -> String {
        let size = amount(self.bytes);
        format!(
            "wrote {}: {size}, {} files; look through it before you give it away",
            clean(&self.path),
            self.files
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_says_where_it_is_and_how_large() {
        let written = Written { path: "a.tar.zst".to_owned(), bytes: 2048, files: 27 };

        let text = written.text(Screen { terminal: false });

        assert!(text.starts_with("wrote a.tar.zst: 2.00 KiB, 27 files"), "{text}");
        let document = serde_json::to_value(&written).expect("json");
        assert_eq!(document, json!({ "path": "a.tar.zst", "bytes": 2048, "files": 27 }));
    }
}
