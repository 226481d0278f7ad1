//! Repairs a row of tokens before parsing: empty groups, indices after exponents, and answers that only space
//! separates.
//!
//! `x=1 \quad y=2`, rows separated by `\\`, and lines are lists if both sides are complete answers. A wide space
//! anywhere else has no meaning.

use super::expression::{Bracket, Join, Relation};
use super::token::{Gap, Kind, Token};

/// Repairs the tokens of a whole text.
pub(super) fn repair(tokens: &mut Vec<Token>) {
    drop_empty_groups(tokens);
    if tokens.iter().any(|token| token.kind == Kind::Underscore) {
        indices_first(tokens);
    }
    divide(tokens);
}

/// Removes `{}`, which TeX authors use as a separator; alone, it is the empty set.
pub(super) fn drop_empty_groups(tokens: &mut Vec<Token>) {
    let (open, close) = (Kind::Open(Bracket::Brace), Kind::Close(Bracket::Brace));
    if let [first, last] = tokens.as_mut_slice()
        && first.kind == open
        && last.kind == close
    {
        first.kind = Kind::Open(Bracket::Set);
        last.kind = Kind::Close(Bracket::Set);
        return;
    }
    let mut kept: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens.drain(..) {
        if token.kind == close && kept.last().is_some_and(|last| last.kind == open) {
            kept.pop();
        } else if token.kind == close && is_lone_sign(&kept) {
            // `{-}5`, `3{:}4`: braces that only change the spaces.
            if let Some(sign) = kept.pop() {
                kept.pop();
                kept.push(sign);
            }
        } else {
            kept.push(token);
        }
    }
    *tokens = kept;
}

/// Returns whether the tokens end with an opening brace and one sign, outside an exponent or index.
fn is_lone_sign(tokens: &[Token]) -> bool {
    let mut last = tokens.iter().rev().map(|token| &token.kind);
    let is_sign = matches!(
        last.next(),
        Some(Kind::Plus | Kind::Minus | Kind::Times | Kind::Colon | Kind::Relation(_) | Kind::PlusMinus | Kind::Divide)
    );
    is_sign
        && last.next() == Some(&Kind::Open(Bracket::Brace))
        && !matches!(last.next(), Some(Kind::Caret | Kind::Underscore | Kind::Domain(_)))
}

/// Writes `v^2_0` as `v_0^2`.
fn indices_first(tokens: &mut [Token]) {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        let is_base = matches!(token.kind, Kind::Symbol(_) | Kind::Series(_));
        if !is_base || tokens.get(at).map(|token| &token.kind) != Some(&Kind::Caret) {
            continue;
        }
        let Some(above) = argument_len(tokens, at + 1) else { continue };
        let middle = at + 1 + above;
        if tokens.get(middle).map(|token| &token.kind) != Some(&Kind::Underscore) {
            continue;
        }
        let Some(below) = argument_len(tokens, middle + 1) else { continue };
        if let Some(part) = tokens.get_mut(at..middle + 1 + below) {
            part.rotate_left(1 + above);
        }
        at = middle + 1 + below;
    }
}

/// Returns the number of tokens in the argument of `^` or `_`.
fn argument_len(tokens: &[Token], at: usize) -> Option<usize> {
    match &tokens.get(at)?.kind {
        Kind::Number { .. } | Kind::Symbol(_) => Some(1),
        Kind::Open(Bracket::Brace) => {
            let mut depth = 0usize;
            for (len, token) in tokens.iter().skip(at).enumerate() {
                match token.kind {
                    Kind::Open(_) => depth += 1,
                    Kind::Close(_) => depth = depth.checked_sub(1)?,
                    _ => {}
                }
                if depth == 0 {
                    return Some(len + 1);
                }
            }
            None
        }
        _ => None,
    }
}

/// Inserts separators between answers that are side by side or on separate rows.
fn divide(tokens: &mut Vec<Token>) {
    let mut depth = 0usize;
    let mut environments = 0usize;
    // The positions outside brackets at which an answer may start.
    let mut starts: Vec<usize> = Vec::new();
    let mut rows: Vec<usize> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if depth == 0 && environments == 0 && at > 0 && is_start(tokens, at) {
            starts.push(at);
        }
        match token.kind {
            Kind::Open(_) => depth += 1,
            Kind::Close(_) => depth = depth.saturating_sub(1),
            Kind::BeginMatrix | Kind::BeginCases => environments += 1,
            Kind::EndMatrix | Kind::EndCases => environments = environments.saturating_sub(1),
            Kind::Row if depth == 0 && environments == 0 => rows.push(at),
            _ => {}
        }
    }
    if starts.is_empty() && rows.is_empty() {
        return;
    }
    let mut divided: Vec<Token> = Vec::with_capacity(tokens.len() + starts.len());
    for (at, token) in tokens.drain(..).enumerate() {
        if starts.contains(&at) {
            divided.push(Token { kind: Kind::Separator(Join::Comma), spaced: false, gap: Gap::None });
        }
        if !rows.contains(&at) {
            divided.push(token);
        }
    }
    *tokens = divided;
}

/// Returns whether another answer starts here, outside brackets.
fn is_start(tokens: &[Token], at: usize) -> bool {
    let Some(token) = tokens.get(at) else { return false };
    let after_row = tokens.get(at - 1).is_some_and(|before| before.kind == Kind::Row);
    if token.kind == Kind::Row {
        return false;
    }
    // `x = 1 y = 2`: a number ends one definition, and a name with a following sign begins the next.
    let before = tokens.get(at - 1).map(|before| &before.kind);
    let is_next_name = token.spaced
        && matches!(token.kind, Kind::Symbol(_))
        && matches!(before, Some(Kind::Number { .. } | Kind::Close(_)));
    if !after_row && token.gap != Gap::Wide && !is_next_name {
        return false;
    }
    let end = if after_row { at - 1 } else { at };
    let (left, right) = (segment_before(tokens, end), segment_from(tokens, at));
    let (Some(last), Some(first)) = (left.last(), right.first()) else { return false };
    let open = |kind: &Kind| {
        matches!(
            kind,
            Kind::Plus
                | Kind::Minus
                | Kind::Times
                | Kind::Divide
                | Kind::Relation(_)
                | Kind::Union
                | Kind::Intersection
                | Kind::SetMinus
                | Kind::Caret
                | Kind::Underscore
                | Kind::Colon
                | Kind::PlusMinus
                | Kind::MinusPlus
        )
    };
    let goes_on = |kind: &Kind| open(kind) && !matches!(kind, Kind::Minus | Kind::PlusMinus);
    if open(&last.kind) || goes_on(&first.kind) {
        return false;
    }
    if matches!(first.kind, Kind::Minus | Kind::PlusMinus) && !relates(left) {
        return false;
    }
    if after_row || token.gap == Gap::Wide {
        return (relates(left) && relates(right))
            || (is_value(&last.kind) && matches!(first.kind, Kind::Number { .. }) && !relates(left))
            || (is_tuple(left) && is_tuple(right));
    }
    is_next_name
        && matches!(left.first().map(|token| &token.kind), Some(Kind::Symbol(name)) if Kind::Symbol(name.clone()) != token.kind)
        && is_definition(left)
        && is_definition(right)
}

fn is_value(kind: &Kind) -> bool {
    matches!(kind, Kind::Number { .. })
}

/// Returns the tokens between the last possible start of an answer and this position.
fn segment_before(tokens: &[Token], end: usize) -> &[Token] {
    let mut depth = 0usize;
    let mut start = end;
    while let Some(before) = start.checked_sub(1).and_then(|at| tokens.get(at)) {
        match before.kind {
            Kind::Close(_) | Kind::EndMatrix | Kind::EndCases => depth += 1,
            Kind::Open(_) | Kind::BeginMatrix | Kind::BeginCases => depth = depth.saturating_sub(1),
            Kind::Separator(_) | Kind::Row if depth == 0 => break,
            _ => {}
        }
        start -= 1;
        if depth == 0 && before.gap == Gap::Wide {
            break;
        }
    }
    tokens.get(start..end).unwrap_or(&[])
}

fn segment_from(tokens: &[Token], start: usize) -> &[Token] {
    let mut depth = 0usize;
    let mut end = start;
    while let Some(token) = tokens.get(end) {
        if end > start && depth == 0 && token.gap == Gap::Wide {
            break;
        }
        match token.kind {
            Kind::Open(_) | Kind::BeginMatrix | Kind::BeginCases => depth += 1,
            Kind::Close(_) | Kind::EndMatrix | Kind::EndCases => depth = depth.saturating_sub(1),
            Kind::Separator(_) | Kind::Row if depth == 0 => break,
            _ => {}
        }
        end += 1;
    }
    tokens.get(start..end).unwrap_or(&[])
}

/// Returns whether the segment has a relation sign outside brackets, with an operand on either side.
fn relates(segment: &[Token]) -> bool {
    let mut depth = 0usize;
    segment.iter().enumerate().any(|(at, token)| {
        match token.kind {
            Kind::Open(_) => depth += 1,
            Kind::Close(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && at > 0 && at + 1 < segment.len() && matches!(token.kind, Kind::Relation(_))
    })
}

/// Returns whether an equals sign follows a name with an index or a bracket.
fn is_definition(segment: &[Token]) -> bool {
    let mut at = 1;
    if segment.get(at).map(|token| &token.kind) == Some(&Kind::Underscore) {
        at += 1 + argument_len(segment, at + 1).unwrap_or(0);
    }
    if segment.get(at).map(|token| &token.kind) == Some(&Kind::Open(Bracket::Round)) {
        let close = segment.iter().skip(at).position(|token| token.kind == Kind::Close(Bracket::Round));
        at += close.map_or(0, |len| len + 1);
    }
    segment.get(at).map(|token| &token.kind) == Some(&Kind::Relation(Relation::Equal)) && segment.len() > at + 1
}

/// Returns whether a segment is one bracket with several elements.
fn is_tuple(segment: &[Token]) -> bool {
    let mut depth = 0usize;
    let mut separators = 0;
    for (at, token) in segment.iter().enumerate() {
        match token.kind {
            Kind::Open(_) => depth += 1,
            Kind::Close(_) => {
                depth = depth.saturating_sub(1);
                if depth == 0 && at + 1 < segment.len() {
                    return false;
                }
            }
            Kind::Separator(_) if depth == 1 => separators += 1,
            _ if depth == 0 => return false,
            _ => {}
        }
    }
    separators > 0
}
