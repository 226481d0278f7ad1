//! Assigns the tokens of a completion to the two advantages.
//!
//! The judge block and the mode tag come first, so the judge's tokens are a prefix: [`judge_tokens`] returns its
//! length. [`crate::template::read_structured`] decides where the block ends in the text. A token belongs to the
//! segment of its first byte. A token with the end of the mode tag and the next line break (`>
//! ` is one token in many vocabularies) therefore belongs to the judge. A token without bytes at the boundary belongs
//! to the rest.

/// Returns the number of a completion's tokens in the judge block, given the number of bytes of each token and the byte
/// at which the block ends.
#[must_use]
pub fn judge_tokens(token_bytes: impl IntoIterator<Item = usize>, judge_end: usize) -> usize {
    let mut start = 0;
    let mut count = 0;
    for bytes in token_bytes {
        if start >= judge_end {
            break;
        }
        start += bytes;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_where_it_begins() {
        // `<judge>` ... `on>` ends at 10.
        assert_eq!(judge_tokens([4, 6, 3], 10), 2);
        assert_eq!(judge_tokens([4, 7, 3], 10), 2, "a token that straddles the boundary begins in the judge block");
        assert_eq!(judge_tokens([4, 5, 3], 10), 3);
        assert_eq!(judge_tokens([4, 6, 0, 3], 10), 2, "an empty token at the boundary belongs to the rest");
        assert_eq!(judge_tokens([0, 4, 6], 10), 3);
    }

    #[test]
    fn no_block_has_no_tokens_and_an_open_block_has_all() {
        assert_eq!(judge_tokens([4, 6], 0), 0);
        assert_eq!(judge_tokens([], 7), 0);
        assert_eq!(judge_tokens([4, 6], 10), 2);
    }
}
