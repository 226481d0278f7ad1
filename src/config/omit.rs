//! The keys that settings omit from requests: `policy.omit` and `judge.omit`.

use super::fault::SettingFault;
use super::judge::JudgeSettings;
use super::nearest::nearest_key;
use super::policy::{PolicyBackend, PolicySettings};
use super::prices::PriceSettings;

/// Keys that may be omitted from the policy's requests.
const POLICY_KEYS: &[&str] = &["seed", "max_tokens", "temperature", "top_p", "top_k", "min_p", "stop"];
/// Keys that may be omitted from the judge's requests.
const JUDGE_KEYS: &[&str] = &["max_tokens", "temperature", "response_format"];

/// Checks both lists.
pub(super) fn check(policy: &PolicySettings, judge: &JudgeSettings) -> Result<(), SettingFault> {
    check_keys("policy.omit", &policy.omit, POLICY_KEYS)?;
    check_keys("judge.omit", &judge.omit, JUDGE_KEYS)?;
    if !policy.omit.is_empty() && policy.backend != PolicyBackend::Openai {
        return Err(("policy.omit", "is set, but policy.backend is \"candle\", which sends no requests".to_owned()));
    }
    let is_priced = judge.budget_usd > 0.0 || judge.prices_usd_per_mtok != PriceSettings::default();
    if is_priced && judge.omit.iter().any(|key| key == "max_tokens") {
        let why = "holds \"max_tokens\", but the judge has prices: without a token limit the cost of a call has no \
                   bound";
        return Err(("judge.omit", why.to_owned()));
    }
    Ok(())
}

fn check_keys(setting: &'static str, keys: &[String], allowed: &[&str]) -> Result<(), SettingFault> {
    for (index, key) in keys.iter().enumerate() {
        if !allowed.contains(&key.as_str()) {
            let known: Vec<String> = allowed.iter().map(|&key| key.to_owned()).collect();
            let near = nearest_key(key, &known).map(|near| format!(" (did you mean \"{near}\"?)")).unwrap_or_default();
            return Err((setting, format!("holds \"{key}\"{near}; allowed: {}", allowed.join(", "))));
        }
        if keys.iter().take(index).any(|earlier| earlier == key) {
            return Err((setting, format!("holds \"{key}\" twice")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::{JudgeBackend, PolicyBackend, Settings};

    fn settings(policy: &[&str], judge: &[&str]) -> Settings {
        let mut settings = Settings::default();
        settings.policy.backend = PolicyBackend::Openai;
        settings.policy.base_urls = vec!["http://127.0.0.1:1".to_owned()];
        settings.policy.mode_preset = crate::config::ModePresetName::Qwen3;
        settings.judge.backend = JudgeBackend::Openai;
        settings.policy.omit = policy.iter().map(|&key| key.to_owned()).collect();
        settings.judge.omit = judge.iter().map(|&key| key.to_owned()).collect();
        settings
    }

    #[test]
    fn known_keys_are_left_out_and_others_are_named() {
        settings(&["seed", "temperature", "top_p", "max_tokens"], &["temperature", "max_tokens"]).check().unwrap();
        for (policy, judge, words) in [
            (&["sed"][..], &[][..], "did you mean \"seed\""),
            (&["model"], &[], "allowed: seed"),
            (&["seed", "seed"], &[], "twice"),
            (&[], &["seed"], "allowed: max_tokens"),
        ] {
            let (_, detail) = settings(policy, judge).check().unwrap_err();
            assert!(detail.contains(words), "{detail}");
        }
        let hosted = Settings {
            policy: crate::config::PolicySettings { omit: vec!["seed".to_owned()], ..Default::default() },
            ..Settings::default()
        };
        assert_eq!(hosted.check().unwrap_err().0, "policy.omit");
    }

    #[test]
    fn the_limit_of_a_priced_judge_is_never_left_out() {
        let mut priced = settings(&[], &["max_tokens"]);
        priced.judge.prices_usd_per_mtok.output = Some(0.1);
        assert_eq!(priced.check().unwrap_err().0, "judge.omit");
    }
}
