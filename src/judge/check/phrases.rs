//! The phrases that a justification must not hold: arguments for the other mode, and descriptions of how the mode was
//! really chosen.
//!
//! English is matched by word patterns that respect negations, some other languages by fragments. In an unlisted
//! language no phrase is found, so the text is accepted.

use std::sync::LazyLock;

use super::words::{Pattern, words};
use crate::domain::Mode;

/// Arguments for answering directly.
const FOR_DIRECT: &[&str] = &[
    "reasoning/thinking first? here? would/will/can/could/may/does? only/merely/just/simply add/adds/lengthen/lengthens",
    "reasoning/thinking/steps/derivation first? here? is/are/seems/would be? unnecessary/needless/superfluous/pointless/wasteful/redundant/overkill",
    "no/little/without * reasoning/thinking/derivation/deliberation/deduction is/are? needed/required/necessary/called",
    "needs/requires/takes/demands/involves/need/require no/little * reasoning/thinking/derivation/steps/deliberation",
    "does/do/did not need/require * reasoning/thinking/derivation/steps/deliberation",
    "nothing/little to derive/work/check/reason/calculate/compute/deduce",
    "nothing * has/needs/have/need to be derived/worked/reasoned/calculated/computed/deduced",
    "no need to/for * reason/reasoning/think/thinking/steps/derive/derivation",
    "direct/immediate/quick answer/response/reply/answering is/seems/would/will? be? the? suits/suit/suffices/suffice/works/fits/best/enough/sufficient/appropriate/better/preferable/right",
    "answering/answer directly/immediately/straight/at once/away? is/seems/would/will? be? the? suits/suit/suffices/suffice/works/fits/best/enough/sufficient/appropriate/better/preferable/right",
    "answer/result is/seems * simple/simply/direct/obvious/known/provided/trivial/easy/immediate",
    "can/could/may/should be answered/recalled/solved/given directly/immediately/instantly/straight/at",
];

/// Arguments for reasoning first.
const FOR_REASONING: &[&str] = &[
    "reasoning/thinking/deliberation/deliberating first? is/are/seems/would be? well? worth/needed/required/necessary/essential/useful/helpful/important/better/best/warranted/justified/advisable/safer",
    "reasoning/thinking first suits/pays/helps/avoids/prevents/keeps/reduces",
    "working/work through the steps",
    "writing/write/written the? steps down/out",
    "step by step * is/are/helps/suits/needed/required/necessary",
    "needs/requires/demands/takes/need/require several/multiple/many/two/three/four/careful/explicit/detailed/systematic/step * steps/reasoning/derivation/thinking/analysis/operations",
    "needs/requires/demands/need/require reasoning/thinking/derivation/deliberation",
    "calls for * reasoning/thinking/derivation/deliberation/steps",
    "must/should be derived/worked/combined/rearranged/carried/related/chained",
    "has/have/needs/need to be derived/worked/combined/rearranged/carried/related/chained",
    "should/must think/reason first/carefully/step/before/through",
    "worth its/the/their/some extra? length/tokens/cost/effort/time",
];

/// Fragments in other languages that argue for answering directly.
const FOR_DIRECT_ELSEWHERE: &[&str] = &[
    "\u{65e0}\u{9700}\u{63a8}\u{7406}",
    "\u{4e0d}\u{9700}\u{8981}\u{63a8}\u{7406}",
    "\u{65e0}\u{987b}\u{63a8}\u{7406}",
    "\u{4e0d}\u{5fc5}\u{63a8}\u{7406}",
    "\u{4e0d}\u{7528}\u{63a8}\u{7406}",
    "\u{65e0}\u{9700}\u{601d}\u{8003}",
    "\u{4e0d}\u{9700}\u{8981}\u{601d}\u{8003}",
    "\u{76f4}\u{63a5}\u{56de}\u{7b54}\u{5373}\u{53ef}",
    "\u{76f4}\u{63a5}\u{4f5c}\u{7b54}\u{5373}\u{53ef}",
    "\u{7121}\u{9700}\u{63a8}\u{7406}",
    "\u{63a8}\u{8ad6}\u{306f}\u{4e0d}\u{8981}",
    "\u{63a8}\u{8ad6}\u{306f}\u{5fc5}\u{8981}\u{306a}",
    "\u{8003}\u{3048}\u{308b}\u{5fc5}\u{8981}\u{306f}\u{306a}",
    "\u{8003}\u{3048}\u{308b}\u{5fc5}\u{8981}\u{306f}\u{3042}\u{308a}\u{307e}\u{305b}\u{3093}",
    "\u{cd94}\u{b860}\u{c774} \u{d544}\u{c694} \u{c5c6}",
    "\u{cd94}\u{b860}\u{d560} \u{d544}\u{c694}\u{ac00} \u{c5c6}",
    "no requiere razon",
    "no hace falta razon",
    "no es necesario razon",
    "aucun raisonnement",
    "pas besoin de raisonn",
    "kein nachdenken",
    "keine \u{fc}berlegung",
    "kein schrittweises",
    "\u{440}\u{430}\u{441}\u{441}\u{443}\u{436}\u{434}\u{435}\u{43d}\u{438}\u{44f} \u{43d}\u{435} \u{43d}\u{443}\u{436}\u{43d}\u{44b}",
    "\u{43d}\u{435} \u{442}\u{440}\u{435}\u{431}\u{443}\u{435}\u{442} \u{440}\u{430}\u{441}\u{441}\u{443}\u{436}\u{434}\u{435}\u{43d}",
];

/// Fragments in other languages that argue for reasoning first. One of [`NOT_ELSEWHERE`] before a fragment inverts it.
const FOR_REASONING_ELSEWHERE: &[&str] = &[
    "\u{9700}\u{8981}\u{9010}\u{6b65}",
    "\u{9700}\u{8981}\u{63a8}\u{7406}",
    "\u{9700}\u{8981}\u{4ed4}\u{7ec6}\u{63a8}\u{7406}",
    "\u{9700}\u{8981}\u{591a}\u{6b65}",
    "\u{9700}\u{8981}\u{5206}\u{6b65}",
    "\u{5148}\u{63a8}\u{7406}",
    "\u{9700}\u{8981}\u{5148}\u{601d}\u{8003}",
    "\u{63a8}\u{8ad6}\u{304c}\u{5fc5}\u{8981}",
    "\u{6bb5}\u{968e}\u{7684}\u{306b}\u{8003}\u{3048}\u{308b}\u{5fc5}\u{8981}\u{304c}\u{3042}",
    "\u{cd94}\u{b860}\u{c774} \u{d544}\u{c694}\u{d558}",
    "\u{b2e8}\u{acc4}\u{bcc4}\u{b85c}",
    "requiere razon",
    "es necesario razon",
    "n\u{e9}cessite un raisonnement",
    "exige un raisonnement",
    "schrittweises nachdenken ist",
    "muss hergeleitet werden",
    "\u{442}\u{440}\u{435}\u{431}\u{443}\u{435}\u{442} \u{440}\u{430}\u{441}\u{441}\u{443}\u{436}\u{434}\u{435}\u{43d}",
    "\u{43d}\u{443}\u{436}\u{43d}\u{43e} \u{440}\u{430}\u{441}\u{441}\u{443}\u{436}\u{434}",
];

const NOT_ELSEWHERE: &[&str] =
    &["\u{4e0d}", "\u{65e0}", "\u{7121}", "\u{6ca1}", "\u{6bcb}", "no ", "ne ", "\u{43d}\u{435} "];

/// Phrases that describe how the mode was chosen, unless the question itself holds them.
const SAMPLING: &[&str] = &[
    "pass/success/accuracy/solve/correctness rate/rates",
    "rollout/rollouts",
    "samples/sampled/sampling",
    "attempts",
    "tie margin",
    "tie break/breaker",
    "equally reliable/accurate",
    "out of * responses/tries/runs/trials",
    "both modes",
    "the/this selection/mode/decision rule",
    "higher_pass_rate/think_on/think_off",
    "pass at 1/8/k",
];

/// The same phrases in other languages.
const SAMPLING_ELSEWHERE: &[&str] = &[
    "\u{901a}\u{8fc7}\u{7387}",
    "\u{6b63}\u{786e}\u{7387}",
    "\u{51c6}\u{786e}\u{7387}",
    "\u{6210}\u{529f}\u{7387}",
    "\u{91c7}\u{6837}",
    "\u{6837}\u{672c}",
    "\u{901a}\u{904e}\u{7387}",
    "\u{6b63}\u{7b54}\u{7387}",
    "\u{30b5}\u{30f3}\u{30d7}\u{30eb}",
    "\u{8a66}\u{884c}\u{56de}\u{6570}",
    "\u{d1b5}\u{acfc}\u{c728}",
    "\u{c815}\u{b2f5}\u{b960}",
    "\u{c0d8}\u{d50c}",
    "tasa de acierto",
    "tasa de \u{e9}xito",
    "muestras",
    "taux de r\u{e9}ussite",
    "\u{e9}chantillon",
    "erfolgsquote",
    "trefferquote",
    "stichprobe",
    "\u{434}\u{43e}\u{43b}\u{44f} \u{43f}\u{440}\u{430}\u{432}\u{438}\u{43b}\u{44c}\u{43d}\u{44b}\u{445}",
    "\u{432}\u{44b}\u{431}\u{43e}\u{440}\u{43a}",
];

/// Returns whether `text` argues for the mode that was not chosen.
pub(super) fn argues_against(text: &str, said: &[String], chosen: Mode) -> bool {
    static DIRECT: LazyLock<Vec<Pattern>> = LazyLock::new(|| Pattern::all(FOR_DIRECT));
    static REASONING: LazyLock<Vec<Pattern>> = LazyLock::new(|| Pattern::all(FOR_REASONING));
    let (patterns, fragments) = match chosen {
        Mode::ThinkOn => (&DIRECT, FOR_DIRECT_ELSEWHERE),
        Mode::ThinkOff => (&REASONING, FOR_REASONING_ELSEWHERE),
    };
    let lower = text.to_lowercase();
    patterns.iter().any(|pattern| pattern.is_said(said))
        || possible(fragments, &lower).any(|fragment| stands_unnegated(&lower, fragment))
}

/// Returns the fragments that `text` can hold: an ASCII text holds no fragment with other characters.
fn possible<'a>(fragments: &'a [&'a str], text: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let is_plain = text.is_ascii();
    fragments.iter().copied().filter(move |fragment| !is_plain || fragment.is_ascii())
}

fn stands_unnegated(text: &str, fragment: &str) -> bool {
    text.match_indices(fragment).any(|(start, _)| {
        let before: String = text.get(..start).unwrap_or_default().chars().rev().take(3).collect();
        let before: String = before.chars().rev().collect();
        !NOT_ELSEWHERE.iter().any(|negation| before.contains(negation))
    })
}

/// Returns whether `text` describes how the mode was chosen, in words that the question does not hold.
pub(super) fn tells_of_sampling(text: &str, said: &[String], question: &str) -> bool {
    static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| Pattern::all(SAMPLING));
    let lower = text.to_lowercase();
    // A negated phrase counts, too: "without several attempts" mentions attempts. The question is searched only after a
    // match.
    PATTERNS.iter().any(|pattern| pattern.is_mentioned(said) && !pattern.is_mentioned(&words(question)))
        || possible(SAMPLING_ELSEWHERE, &lower)
            .any(|fragment| lower.contains(fragment) && !question.to_lowercase().contains(fragment))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argues_against(text: &str, chosen: Mode) -> bool {
        super::argues_against(text, &words(text), chosen)
    }

    fn tells_of_sampling(text: &str, question: &str) -> bool {
        super::tells_of_sampling(text, &words(text), question)
    }

    #[test]
    fn arguments_for_the_other_mode_are_found() {
        for text in [
            "A single fact is asked for. Reasoning first would only add length.",
            "This needs no reasoning at all.",
            "There is nothing to derive here.",
            "The wording points to the result, and nothing has to be derived.",
            "It doesn't require any reasoning, since the fact is known.",
            "A direct answer is best for this question.",
            "It can be answered at once.",
            "The answer is a simple one.",
            "The answer is already known.",
            "Step-by-step thinking is unnecessary for a capital city.",
            "\u{8fd9}\u{4e2a}\u{95ee}\u{9898}\u{53ea}\u{95ee}\u{9996}\u{90fd}\u{ff0c}\u{65e0}\u{9700}\u{63a8}\u{7406}\u{3002}",
        ] {
            assert!(argues_against(text, Mode::ThinkOn), "{text}");
        }
        for text in [
            "Two rates must be combined before the time is known.",
            "Reasoning first is worth its length.",
            "This requires careful reasoning about signs.",
            "It takes several steps to rearrange.",
            "Step by step work is needed.",
            "\u{8fd9}\u{4e2a}\u{65b9}\u{7a0b}\u{9700}\u{8981}\u{9010}\u{6b65}\u{6c42}\u{89e3}\u{3002}",
        ] {
            assert!(argues_against(text, Mode::ThinkOff), "{text}");
        }
    }

    #[test]
    fn arguments_for_the_chosen_mode_pass_concessions_and_negations_included() {
        for text in [
            "Nothing here can simply be recalled; it must be derived. Reasoning first is worth its length.",
            "A direct answer would risk a slip in the signs.",
            "The answer is not obvious before the signs are sorted out.",
            "It looks like a question that is not answered at once, for two relations are chained.",
            "\u{4e0d}\u{80fd}\u{76f4}\u{63a5}\u{56de}\u{7b54}\u{ff0c}\u{9700}\u{8981}\u{9010}\u{6b65}\u{6c42}\u{89e3}\u{65b9}\u{7a0b}\u{3002}",
        ] {
            assert!(!argues_against(text, Mode::ThinkOn), "{text}");
        }
        for text in [
            "One fact is recalled, with nothing to derive. Reasoning first would only add length.",
            "It does not require several steps.",
            "There is no need for reasoning first, and nothing must be derived.",
            "\u{8fd9}\u{91cc}\u{4e0d}\u{9700}\u{8981}\u{9010}\u{6b65}\u{6c42}\u{89e3}\u{ff0c}\u{53ea}\u{95ee}\u{4e00}\u{4e2a}\u{4e8b}\u{5b9e}\u{3002}",
        ] {
            assert!(!argues_against(text, Mode::ThinkOff), "{text}");
        }
    }

    #[test]
    fn talk_of_how_the_choice_was_made_is_found_unless_the_question_speaks_so() {
        for text in [
            "The pass rate is higher when thinking.",
            "In most samples the model slips.",
            "It takes no further attempts.",
            "Both ways are equally reliable.",
            "\u{601d}\u{8003}\u{6a21}\u{5f0f}\u{7684}\u{901a}\u{8fc7}\u{7387}\u{66f4}\u{9ad8}\u{3002}",
        ] {
            assert!(tells_of_sampling(text, "What is 2 + 2?"), "{text}");
        }
        assert!(!tells_of_sampling("The mean of the samples must be weighted.", "Two samples have means 3 and 4."));
        assert!(!tells_of_sampling("The mean must be weighted by size.", "What is the mean?"));
    }
}
