//! All tokens by their bytes, so that many tokens are tested in one walk.

/// A trie over the bytes of a vocabulary's tokens.
#[derive(Debug)]
pub struct TokenTrie {
    nodes: Vec<TrieNode>,
    vocabulary: usize,
    brackets_max: u32,
}

#[derive(Debug, Default)]
struct TrieNode {
    children: Vec<(u8, u32)>,
    tokens: Vec<u32>,
}

impl TokenTrie {
    /// The node of the empty byte string.
    pub const ROOT: u32 = 0;

    /// Builds the trie over the tokens with these bytes. Tokens for which `is_text` is false are left out, because they
    /// may not occur in a text.
    #[expect(clippy::indexing_slicing, reason = "children are numbers of nodes that were pushed")]
    pub fn new(bytes: &[Box<[u8]>], is_text: impl Fn(u32) -> bool) -> Self {
        let mut nodes = vec![TrieNode::default()];
        let mut brackets_max = 0;
        for (bytes, token) in bytes.iter().zip(0_u32..).filter(|(bytes, token)| !bytes.is_empty() && is_text(*token)) {
            let mut node = Self::ROOT as usize;
            brackets_max = brackets_max.max(bytes.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() as u32);
            for &byte in bytes {
                let found = nodes[node].children.iter().find(|(other, _)| *other == byte);
                node = match found {
                    Some(&(_, child)) => child as usize,
                    None => {
                        let child = nodes.len();
                        nodes.push(TrieNode::default());
                        nodes[node].children.push((byte, child as u32));
                        child
                    }
                };
            }
            nodes[node].tokens.push(token);
        }
        Self { nodes, vocabulary: bytes.len(), brackets_max }
    }

    /// Returns the number of tokens in the vocabulary.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Returns the largest number of opening brackets and braces in one token.
    #[must_use]
    pub fn brackets_max(&self) -> u32 {
        self.brackets_max
    }

    /// Returns the children of a node, each with its byte.
    pub fn children(&self, node: u32) -> impl Iterator<Item = (u8, u32)> {
        self.nodes.get(node as usize).into_iter().flat_map(|node| node.children.iter().copied())
    }

    /// Returns the tokens whose bytes end at a node.
    #[must_use]
    pub fn tokens(&self, node: u32) -> &[u32] {
        self.nodes.get(node as usize).map_or(&[], |node| &node.tokens)
    }
}
