//! What a justification must not say: arguments for the other mode, and how the choice was really made.
//!
//! English is matched by patterns over words that heed negations, some other languages by fragments. In languages that
//! are not listed nothing is found: a text is then accepted, not refused.

use super::words::{mentions, says, words};
use crate::domain::Mode;

/// Arguments for answering at once.
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

/// Fragments in other languages that argue for answering at once.
const FOR_DIRECT_ELSEWHERE: &[&str] = &[
    "无需推理",
    "不需要推理",
    "无须推理",
    "不必推理",
    "不用推理",
    "无需思考",
    "不需要思考",
    "直接回答即可",
    "直接作答即可",
    "無需推理",
    "推論は不要",
    "推論は必要な",
    "考える必要はな",
    "考える必要はありません",
    "추론이 필요 없",
    "추론할 필요가 없",
    "no requiere razon",
    "no hace falta razon",
    "no es necesario razon",
    "aucun raisonnement",
    "pas besoin de raisonn",
    "kein nachdenken",
    "keine überlegung",
    "kein schrittweises",
    "рассуждения не нужны",
    "не требует рассужден",
];

/// Fragments in other languages that argue for reasoning first. One of [`NOT_ELSEWHERE`] before it turns it around.
const FOR_REASONING_ELSEWHERE: &[&str] = &[
    "需要逐步",
    "需要推理",
    "需要仔细推理",
    "需要多步",
    "需要分步",
    "先推理",
    "需要先思考",
    "推論が必要",
    "段階的に考える必要があ",
    "추론이 필요하",
    "단계별로",
    "requiere razon",
    "es necesario razon",
    "nécessite un raisonnement",
    "exige un raisonnement",
    "schrittweises nachdenken ist",
    "muss hergeleitet werden",
    "требует рассужден",
    "нужно рассужд",
];

const NOT_ELSEWHERE: &[&str] = &["不", "无", "無", "没", "毋", "no ", "ne ", "не "];

/// What tells how the choice was made, unless the question itself speaks of it.
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

/// The same in other languages.
const SAMPLING_ELSEWHERE: &[&str] = &[
    "通过率",
    "正确率",
    "准确率",
    "成功率",
    "采样",
    "样本",
    "通過率",
    "正答率",
    "サンプル",
    "試行回数",
    "통과율",
    "정답률",
    "샘플",
    "tasa de acierto",
    "tasa de éxito",
    "muestras",
    "taux de réussite",
    "échantillon",
    "erfolgsquote",
    "trefferquote",
    "stichprobe",
    "доля правильных",
    "выборк",
];

/// Returns whether `text` argues for the mode that was not chosen.
pub(super) fn argues_against(text: &str, chosen: Mode) -> bool {
    let (patterns, fragments) = match chosen {
        Mode::ThinkOn => (FOR_DIRECT, FOR_DIRECT_ELSEWHERE),
        Mode::ThinkOff => (FOR_REASONING, FOR_REASONING_ELSEWHERE),
    };
    let found = words(text);
    let lower = text.to_lowercase();
    patterns.iter().any(|pattern| says(&found, pattern))
        || fragments.iter().any(|fragment| stands_unnegated(&lower, fragment))
}

fn stands_unnegated(text: &str, fragment: &str) -> bool {
    text.match_indices(fragment).any(|(start, _)| {
        let before: String = text.get(..start).unwrap_or_default().chars().rev().take(3).collect();
        let before: String = before.chars().rev().collect();
        !NOT_ELSEWHERE.iter().any(|negation| before.contains(negation))
    })
}

/// Returns whether `text` tells how the choice was made, in words that are not the question's own.
pub(super) fn tells_of_sampling(text: &str, question: &str) -> bool {
    let (said, asked) = (words(text), words(question));
    let (lower, question) = (text.to_lowercase(), question.to_lowercase());
    // "without several attempts" tells of them as well.
    SAMPLING.iter().any(|pattern| mentions(&said, pattern) && !mentions(&asked, pattern))
        || SAMPLING_ELSEWHERE.iter().any(|fragment| lower.contains(fragment) && !question.contains(fragment))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "这个问题只问首都，无需推理。",
        ] {
            assert!(argues_against(text, Mode::ThinkOn), "{text}");
        }
        for text in [
            "Two rates must be combined before the time is known.",
            "Reasoning first is worth its length.",
            "This requires careful reasoning about signs.",
            "It takes several steps to rearrange.",
            "Step by step work is needed.",
            "这个方程需要逐步求解。",
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
            "不能直接回答，需要逐步求解方程。",
        ] {
            assert!(!argues_against(text, Mode::ThinkOn), "{text}");
        }
        for text in [
            "One fact is recalled, with nothing to derive. Reasoning first would only add length.",
            "It does not require several steps.",
            "There is no need for reasoning first, and nothing must be derived.",
            "这里不需要逐步求解，只问一个事实。",
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
            "思考模式的通过率更高。",
        ] {
            assert!(tells_of_sampling(text, "What is 2 + 2?"), "{text}");
        }
        assert!(!tells_of_sampling("The mean of the samples must be weighted.", "Two samples have means 3 and 4."));
        assert!(!tells_of_sampling("The mean must be weighted by size.", "What is the mean?"));
    }
}
