//! Text files with a seal that reveals later edits: the last line is a comment with the hash of all text before it.
//!
//! Before a file is written again, its seal is checked. If the seal is valid, any version and start of this program
//! wrote the file, and it may be replaced; if not, it was edited. No record beside the file is needed, so that the
//! check also works in copies of a directory. Files of versions before the seal have none and count as edited, unless
//! they equal the new content.

use crate::domain::digest::sha256;

/// Characters of a hash in the name of a file that was moved aside.
const HASH_CHARS: usize = 12;
/// The text before the hash in a seal.
const SAYS: &str = "written by thinkloom; SHA-256 of the text above: ";

/// The form of a comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comment {
    /// `<!-- ... -->`
    Markup,
    /// `-- ...`
    Sql,
}

impl Comment {
    const fn ends(self) -> (&'static str, &'static str) {
        match self {
            Self::Markup => ("<!-- ", " -->"),
            Self::Sql => ("-- ", ""),
        }
    }
}

/// Returns the text with its seal as the last line.
#[must_use]
pub fn sealed(text: &str, comment: Comment) -> String {
    let line_end = if text.ends_with('\n') { "" } else { "\n" };
    let text = format!("{text}{line_end}");
    let (open, close) = comment.ends();
    let hash = sha256(text.as_bytes());
    format!("{text}{open}{SAYS}{hash}{close}\n")
}

/// Returns whether a file is unchanged since [`sealed`] returned it.
#[must_use]
pub fn is_sealed(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Some(body) = text.strip_suffix('\n') else { return false };
    let start = body.rfind('\n').map_or(0, |at| at + 1);
    let (above, last) = body.split_at(start);
    let hash = sha256(above.as_bytes());
    [Comment::Markup, Comment::Sql].iter().any(|comment| {
        let (open, close) = comment.ends();
        last == format!("{open}{SAYS}{hash}{close}")
    })
}

/// Returns the name under which an edited file is kept. No loader's pattern matches the name.
#[must_use]
pub fn aside(name: &str, sha256: &str) -> String {
    format!("{name}.changed-{}", sha256.get(..HASH_CHARS).unwrap_or(sha256))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_text_is_known_again_and_every_change_of_it_is_seen() {
        for comment in [Comment::Markup, Comment::Sql] {
            for text in
                ["", "one line", "two\nlines\n", "ends in blanks  \n\n", "<!-- -->\n-- \n", "\u{e9}\u{4e2d}\r\n"]
            {
                let whole = sealed(text, comment);
                assert!(is_sealed(whole.as_bytes()), "{whole:?}");
                assert!(whole.starts_with(text));
                let changes = [
                    format!("{whole}more\n"),
                    format!("more\n{whole}"),
                    whole.trim_end().to_owned(),
                    whole.replace("SHA-256", "SHA-1"),
                    whole.replace('\n', "\r\n"),
                    text.to_owned(),
                    sealed(&whole, comment).replacen("SHA", "sha", 1),
                ];
                for changed in changes {
                    assert!(!is_sealed(changed.as_bytes()), "{changed:?}");
                }
            }
        }
        assert!(!is_sealed(b"\xff\xfe"));
        assert!(!is_sealed(b""));
    }

    #[test]
    fn a_file_moved_aside_has_a_name_that_no_pattern_of_data_matches() {
        assert_eq!(aside("README.md", "0123456789abcdef"), "README.md.changed-0123456789ab");
        assert_eq!(aside("data/samples/train-00000.parquet", "ab"), "data/samples/train-00000.parquet.changed-ab");
    }
}
