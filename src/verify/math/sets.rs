//! Compares sets of real numbers: intervals, unions, differences and inequalities, all converted to one form.
//!
//! Every number that bounds a part of either set cuts the line. Each set is then a row of booleans over the cuts and
//! the gaps between them, and two sets are equal if their rows are equal. The order of the cuts must be certain: exact
//! arithmetic decides which cuts are equal, balls decide which are smaller; otherwise the comparison is undecided.

use std::cmp::Ordering;

use super::canonical::canonical;
use super::evaluate;
use super::expression::{Bracket, Domain, Expression, Join, Operation, Relation};
use super::lists::{Repeats, unordered};
use super::outcome::Outcome;
use super::shapes::is_name;
use super::work::Work;

/// Most different numbers that bound parts of the two sets.
const CUTS_MAX: usize = 24;

/// A set of real numbers; bounds are indices in the table of cuts, and `None` is infinite.
#[derive(Debug, Clone)]
enum RealSet {
    All,
    Points(Vec<usize>),
    Interval {
        low: Option<usize>,
        low_closed: bool,
        high: Option<usize>,
        high_closed: bool,
    },
    Union(Vec<RealSet>),
    Intersection(Vec<RealSet>),
    /// Conditions side by side: all of them if possible, otherwise any of them.
    Listed(Vec<RealSet>),
    Minus(Box<RealSet>, Box<RealSet>),
}

/// Compares two answers as sets of real numbers; `None` if they are not such sets, or only plain brackets.
pub(super) fn compare(gold: &Expression, answer: &Expression, work: &mut Work) -> Option<Outcome> {
    if !is_set_like(gold) && !is_set_like(answer) {
        return None;
    }
    if let (Expression::List(left, left_join), Expression::List(right, right_join)) = (gold, answer)
        && ((*left_join != Join::Or && *right_join != Join::Or && left.len() == right.len())
            || left.iter().chain(right).any(is_braced))
    {
        // Both sides have equally many sets or conditions, which are compared one by one.
        return None;
    }
    let is_list_of_sets = |part: &Expression| matches!(part, Expression::List(items, _) if items.iter().any(is_braced));
    if is_list_of_sets(gold) || is_list_of_sets(answer) {
        return None;
    }
    let mut reader = Reader { cuts: Vec::new(), names: Vec::new(), work };
    let read = |reader: &mut Reader<'_>, side: &Expression| Some((reader.read(side)?, reader.take_name()?));
    let (Some((gold_set, gold_name)), Some((answer_set, answer_name))) =
        (read(&mut reader, gold), read(&mut reader, answer))
    else {
        return with_open_ends(gold, answer, work);
    };
    let (gold, answer) = (gold_set, answer_set);
    if let (Some(Expression::Symbol(left)), Some(Expression::Symbol(right))) = (&gold_name, &answer_name)
        && left != right
        && left != "y"
        && right != "y"
    {
        return Some(Outcome::Different("names_differ"));
    }
    let cuts = std::mem::take(&mut reader.cuts);
    if cuts.len() > CUTS_MAX {
        return Some(Outcome::OverBudget);
    }
    let Some(ranks) = ranks(&cuts, work) else { return Some(Outcome::Undecided) };
    let places = 2 * ranks.iter().max().map_or(0, |last| last + 1) + 1;
    let row = |set: &RealSet| -> Vec<bool> { (0..places).map(|place| holds(set, place, &ranks, places)).collect() };
    Some(if row(&gold) == row(&answer) { Outcome::Equal("set_equal") } else { Outcome::Different("set_differs") })
}

fn is_braced(expression: &Expression) -> bool {
    matches!(expression, Expression::Set(_) | Expression::Builder(..))
}

/// Compares intervals whose ends are formulas (`[a+b, 0]` and `a+b \le x \le 0`) end by end.
fn with_open_ends(gold: &Expression, answer: &Expression, work: &mut Work) -> Option<Outcome> {
    let (left, right) = (middles(gold), middles(answer));
    let differ = |left: &Expression, right: &Expression| {
        let is_y = |name: &Expression| matches!(name, Expression::Symbol(name) if name == "y");
        left != right && !is_y(left) && !is_y(right)
    };
    if left.iter().any(|left| right.iter().any(|right| differ(left, right))) {
        return Some(Outcome::Different("names_differ"));
    }
    let (gold, answer) = (intervals(gold)?, intervals(answer)?);
    Some(unordered(&gold, &answer, Repeats::Kept, work))
}

/// Returns the middles of chains of inequalities: `x` of `a < x < b`.
fn middles(expression: &Expression) -> Vec<Expression> {
    match expression {
        Expression::Union(parts) | Expression::List(parts, _) => parts.iter().flat_map(middles).collect(),
        Expression::Builder(_, conditions) => conditions.iter().flat_map(middles).collect(),
        Expression::Relation { sides, .. } => match sides.as_slice() {
            [_, middle, _] => vec![middle.clone()],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Returns the intervals of a union or chain of inequalities as pairs in brackets.
fn intervals(expression: &Expression) -> Option<Vec<Expression>> {
    let group = |open: bool, low: Expression, high: Expression, close: bool| {
        let bracket = |closed: bool| if closed { Bracket::Square } else { Bracket::Round };
        Expression::Group { open: bracket(open), close: bracket(close), items: vec![low, high] }
    };
    match expression {
        Expression::Group { items, .. } if items.len() == 2 => Some(vec![expression.clone()]),
        Expression::Union(parts) | Expression::List(parts, Join::Or) => {
            let parts: Option<Vec<Vec<Expression>>> = parts.iter().map(intervals).collect();
            Some(parts?.concat())
        }
        Expression::Builder(_, conditions) => match conditions.as_slice() {
            [only] => intervals(only),
            _ => None,
        },
        Expression::Relation { sides, signs } => {
            if let ([_, set], [Relation::In]) = (sides.as_slice(), signs.as_slice()) {
                return intervals(set);
            }
            let upward = |sign: &Relation| matches!(sign, Relation::Less | Relation::LessEqual);
            let (sides, signs): (Vec<Expression>, Vec<Relation>) = if signs.iter().all(upward) {
                (sides.clone(), signs.clone())
            } else {
                (sides.iter().rev().cloned().collect(), signs.iter().rev().map(|sign| sign.flipped()).collect())
            };
            if !signs.iter().all(upward) {
                return None;
            }
            let closed = |sign: &Relation| *sign == Relation::LessEqual;
            // If both sides are letters, the usual letter is the unknown: `x > a`.
            let is_usual = |part: &Expression| matches!(part, Expression::Symbol(name) if matches!(name.as_str(), "x" | "y" | "z" | "t"));
            let is_end =
                |part: &Expression| !is_name(part) || (!is_usual(part) && matches!(part, Expression::Symbol(_)));
            match (sides.as_slice(), signs.as_slice()) {
                ([low, name, high], [first, second]) if is_name(name) => {
                    Some(vec![group(closed(first), low.clone(), high.clone(), closed(second))])
                }
                ([name, high], [sign]) if is_name(name) && is_end(high) && (is_usual(name) || !is_name(high)) => {
                    let low = Expression::Negate(Box::new(Expression::Infinity));
                    Some(vec![group(false, low, high.clone(), closed(sign))])
                }
                ([low, name], [sign]) if is_name(name) && is_end(low) && (is_usual(name) || !is_name(low)) => {
                    Some(vec![group(closed(sign), low.clone(), Expression::Infinity, false)])
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Returns whether an answer is certainly a set of real numbers.
fn is_set_like(expression: &Expression) -> bool {
    let compares = |sign: &Relation| {
        matches!(
            sign,
            Relation::NotEqual | Relation::Less | Relation::LessEqual | Relation::Greater | Relation::GreaterEqual
        )
    };
    match expression {
        Expression::Union(_) | Expression::Builder(..) | Expression::Domain(Domain::Reals) => true,
        Expression::Operation(operation, _) => !matches!(operation, Operation::Ratio | Operation::Extent),
        Expression::Relation { sides, signs } => {
            signs.iter().any(compares) || (signs.as_slice() == [Relation::In] && sides.last().is_some_and(is_set_like))
        }
        Expression::Sum(terms) => matches!(terms.first(), Some(Expression::Domain(Domain::Reals))),
        Expression::List(items, join) => {
            items.iter().any(is_set_like)
                || (matches!(join, Join::And | Join::Or)
                    && items.iter().all(|item| matches!(item, Expression::Group { .. })))
        }
        _ => false,
    }
}

/// Returns the rank of each cut among the different cuts, from the smallest; `None` if an order is uncertain.
fn ranks(cuts: &[Expression], work: &mut Work) -> Option<Vec<usize>> {
    let mut order: Vec<(usize, &Expression)> = Vec::new();
    for (index, cut) in cuts.iter().enumerate() {
        let mut at = 0;
        for (_, other) in &order {
            match number_order(other, cut, work)? {
                Ordering::Less | Ordering::Equal => at += 1,
                Ordering::Greater => break,
            }
        }
        order.insert(at, (index, cut));
    }
    let mut ranks = vec![0; cuts.len()];
    let mut rank = 0;
    for (position, (index, cut)) in order.iter().enumerate() {
        if let Some((_, before)) = position.checked_sub(1).and_then(|before| order.get(before))
            && number_order(before, cut, work)? == Ordering::Less
        {
            rank += 1;
        }
        *ranks.get_mut(*index)? = rank;
    }
    Some(ranks)
}

fn number_order(left: &Expression, right: &Expression, work: &mut Work) -> Option<Ordering> {
    if left == right {
        return Some(Ordering::Equal);
    }
    let (left_value, right_value) = (canonical(left, &mut work.exact).ok()?, canonical(right, &mut work.exact).ok()?);
    if let (Some(left), Some(right)) = (left_value.rational(), right_value.rational()) {
        return Some(left.cmp(&right));
    }
    if left_value.difference(&right_value, &mut work.exact).ok()?.is_zero() {
        return Some(Ordering::Equal);
    }
    evaluate::order(left, right, &mut work.evaluation)
}

/// Returns whether a set contains a place of the line: even places are gaps, odd places are cuts.
fn holds(set: &RealSet, place: usize, ranks: &[usize], places: usize) -> bool {
    // The cut of rank r is at place 2 r + 1.
    let at = |cut: &usize| ranks.get(*cut).map_or(usize::MAX, |rank| 2 * rank + 1);
    match set {
        RealSet::All => true,
        RealSet::Points(cuts) => cuts.iter().any(|cut| at(cut) == place),
        RealSet::Interval { low, low_closed, high, high_closed } => {
            let above = low.as_ref().is_none_or(|cut| place > at(cut) || (*low_closed && place == at(cut)));
            let below = high.as_ref().is_none_or(|cut| place < at(cut) || (*high_closed && place == at(cut)));
            above && below
        }
        RealSet::Union(parts) => parts.iter().any(|part| holds(part, place, ranks, places)),
        RealSet::Intersection(parts) => parts.iter().all(|part| holds(part, place, ranks, places)),
        RealSet::Minus(left, right) => holds(left, place, ranks, places) && !holds(right, place, ranks, places),
        RealSet::Listed(parts) => {
            let all = |place: usize| parts.iter().all(|part| holds(part, place, ranks, places));
            if (0..places).any(all) { all(place) } else { parts.iter().any(|part| holds(part, place, ranks, places)) }
        }
    }
}

struct Reader<'a> {
    cuts: Vec<Expression>,
    /// The names in the inequalities.
    names: Vec<Expression>,
    work: &'a mut Work,
}

impl Reader<'_> {
    /// Returns the only name in the conditions; `None` if the conditions have several names.
    fn take_name(&mut self) -> Option<Option<Expression>> {
        let names = std::mem::take(&mut self.names);
        let first = names.first().cloned();
        names.iter().all(|name| Some(name) == first.as_ref()).then_some(first)
    }

    fn cut(&mut self, value: &Expression) -> Option<usize> {
        let mut is_plain = !value.has_variable();
        value.walk(&mut |part| {
            is_plain &= !matches!(part, Expression::Symbol(name) if name == "i");
            is_plain &= !matches!(part, Expression::Quantity(..));
        });
        if !is_plain || self.cuts.len() > CUTS_MAX {
            return None;
        }
        canonical(value, &mut self.work.exact).ok()?;
        self.cuts.push(value.clone());
        Some(self.cuts.len() - 1)
    }

    /// Converts a bound: a number, or infinity of the right sign.
    fn bound(&mut self, value: &Expression, is_low: bool) -> Option<Option<usize>> {
        let is_infinite = match value {
            Expression::Infinity => !is_low,
            Expression::Negate(inner) if **inner == Expression::Infinity => is_low,
            _ => return self.cut(value).map(Some),
        };
        is_infinite.then_some(None)
    }

    fn read(&mut self, expression: &Expression) -> Option<RealSet> {
        match expression {
            Expression::Domain(Domain::Reals) => Some(RealSet::All),
            Expression::Group { open, close, items } => {
                let [low, high] = items.as_slice() else { return None };
                let (low, high) = (self.bound(low, true)?, self.bound(high, false)?);
                let (low_closed, high_closed) = (*open == Bracket::Square, *close == Bracket::Square);
                if let (Some(low), Some(high)) = (low, high) {
                    let (low, high) = (self.cuts.get(low)?.clone(), self.cuts.get(high)?.clone());
                    // The group is a tuple if the first number is not the smaller one.
                    (number_order(&low, &high, self.work)? == Ordering::Less).then_some(())?;
                }
                Some(RealSet::Interval { low, low_closed, high, high_closed })
            }
            Expression::Set(items) => {
                let points: Option<Vec<usize>> = items.iter().map(|item| self.cut(item)).collect();
                points.map(RealSet::Points)
            }
            Expression::Union(parts) => self.all(parts).map(RealSet::Union),
            Expression::Operation(Operation::Intersection, parts) => self.all(parts).map(RealSet::Intersection),
            Expression::Operation(Operation::Difference, parts) => {
                let [left, right] = parts.as_slice() else { return None };
                Some(RealSet::Minus(Box::new(self.read(left)?), Box::new(self.read(right)?)))
            }
            Expression::Sum(terms) => {
                // `\mathbb{R} - \{3\}`.
                let [domain, Expression::Negate(removed)] = terms.as_slice() else { return None };
                let Expression::Set(_) = **removed else { return None };
                Some(RealSet::Minus(Box::new(self.read(domain)?), Box::new(self.read(removed)?)))
            }
            Expression::Builder(element, conditions) => {
                let mut parts = self.all(conditions)?;
                if let Expression::Relation { .. } = **element {
                    parts.push(self.read(element)?);
                }
                Some(RealSet::Listed(parts))
            }
            Expression::List(items, join) => {
                let parts = self.all(items)?;
                Some(if *join == Join::Or { RealSet::Union(parts) } else { RealSet::Listed(parts) })
            }
            Expression::Relation { sides, signs } => self.relation(sides, signs),
            _ => None,
        }
    }

    fn all(&mut self, parts: &[Expression]) -> Option<Vec<RealSet>> {
        parts.iter().map(|part| self.read(part)).collect()
    }

    fn relation(&mut self, sides: &[Expression], signs: &[Relation]) -> Option<RealSet> {
        if let ([name, set], [Relation::In]) = (sides, signs) {
            self.names.push(name.clone());
            return self.read(set);
        }
        if let ([left, right], [sign @ (Relation::NotEqual | Relation::Equal)]) = (sides, signs) {
            let (name, value) = if is_name(left) { (left, right) } else { (right, left) };
            if !is_name(name) {
                return None;
            }
            self.names.push(name.clone());
            // `x \ne 1, 2`.
            let points = RealSet::Points(vec![self.cut(value)?]);
            return Some(match sign {
                Relation::NotEqual => RealSet::Minus(Box::new(RealSet::All), Box::new(points)),
                _ => points,
            });
        }
        let upward = |sign: &Relation| matches!(sign, Relation::Less | Relation::LessEqual);
        let downward = |sign: &Relation| matches!(sign, Relation::Greater | Relation::GreaterEqual);
        if signs.iter().all(upward) {
            self.chain(&sides.iter().collect::<Vec<_>>(), signs)
        } else if signs.iter().all(downward) {
            let signs: Vec<Relation> = signs.iter().rev().map(|sign| sign.flipped()).collect();
            self.chain(&sides.iter().rev().collect::<Vec<_>>(), &signs)
        } else {
            None
        }
    }

    /// Converts a chain of `<` and `\le` around one unknown.
    fn chain(&mut self, sides: &[&Expression], signs: &[Relation]) -> Option<RealSet> {
        let minus_infinity = Expression::Negate(Box::new(Expression::Infinity));
        let (low, low_sign, unknown, high_sign, high) = match (sides, signs) {
            ([low, unknown, high], [first, second]) => ((*low).clone(), *first, *unknown, *second, (*high).clone()),
            ([left, right], [sign]) if left.has_variable() && !right.has_variable() => {
                (minus_infinity, Relation::Less, *left, *sign, (*right).clone())
            }
            ([left, right], [sign]) if right.has_variable() && !left.has_variable() => {
                ((*left).clone(), *sign, *right, Relation::Less, Expression::Infinity)
            }
            _ => return None,
        };
        if let Expression::Call(name, arguments) = unknown
            && let ("abs", [inner]) = (name.as_str(), arguments.as_slice())
            && !matches!(inner, Expression::Product(_) if is_name(inner))
        {
            return self.around(inner, &low, low_sign, &high, high_sign);
        }
        let (low_closed, high_closed) = (low_sign == Relation::LessEqual, high_sign == Relation::LessEqual);
        if is_name(unknown) {
            self.names.push(unknown.clone());
            let (low, high) = (self.bound(&low, true)?, self.bound(&high, false)?);
            return Some(RealSet::Interval { low, low_closed, high, high_closed });
        }
        let (variable, slope, shift) = self.affine(unknown)?;
        let solve = |side: Expression| match &side {
            Expression::Infinity => side,
            Expression::Negate(inner) if **inner == Expression::Infinity => side,
            _ => {
                let moved = Expression::Sum(vec![side, Expression::Negate(Box::new(shift.clone()))]);
                Expression::Quotient(Box::new(moved), Box::new(slope.clone()))
            }
        };
        let zero = Expression::integer(0);
        self.names.push(Expression::Symbol(variable));
        let turned = |bound: Expression| match bound {
            Expression::Infinity => Expression::Negate(Box::new(Expression::Infinity)),
            Expression::Negate(inner) if *inner == Expression::Infinity => Expression::Infinity,
            other => other,
        };
        if number_order(&slope, &zero, self.work)? == Ordering::Greater {
            let (low, high) = (self.bound(&solve(low), true)?, self.bound(&solve(high), false)?);
            Some(RealSet::Interval { low, low_closed, high, high_closed })
        } else {
            let (low, high) = (self.bound(&turned(solve(high)), true)?, self.bound(&turned(solve(low)), false)?);
            Some(RealSet::Interval { low, low_closed: high_closed, high, high_closed: low_closed })
        }
    }

    /// Converts `|inner| < high` and `low < |inner|`.
    fn around(
        &mut self,
        inner: &Expression,
        low: &Expression,
        low_sign: Relation,
        high: &Expression,
        high_sign: Relation,
    ) -> Option<RealSet> {
        let negative = |value: &Expression| Expression::Negate(Box::new(value.clone()));
        let mut parts = Vec::new();
        if *high != Expression::Infinity {
            let below = negative(high);
            parts.push(self.chain(&[&below, inner, high], &[high_sign, high_sign])?);
        }
        if *low != negative(&Expression::Infinity) {
            let below = negative(low);
            let left = self.chain(&[inner, &below], &[low_sign])?;
            let right = self.chain(&[low, inner], &[low_sign])?;
            parts.push(RealSet::Union(vec![left, right]));
        }
        Some(RealSet::Intersection(parts))
    }

    /// Returns the variable, slope and shift of an expression `a x + b`.
    fn affine(&mut self, expression: &Expression) -> Option<(String, Expression, Expression)> {
        let mut variables = expression.variables().into_iter();
        let (Some(variable), None) = (variables.next(), variables.next()) else { return None };
        let at = |value: i64| expression.substituted(&variable, &Expression::integer(value));
        let shift = at(0);
        let slope = Expression::Sum(vec![at(1), Expression::Negate(Box::new(shift.clone()))]);
        let symbol = Expression::Symbol(variable.clone());
        let line = Expression::Sum(vec![Expression::Product(vec![slope.clone(), symbol]), shift.clone()]);
        let (left, right) =
            (canonical(expression, &mut self.work.exact).ok()?, canonical(&line, &mut self.work.exact).ok()?);
        left.difference(&right, &mut self.work.exact).ok()?.is_zero().then_some((variable, slope, shift))
    }
}
