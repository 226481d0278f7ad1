//! Decides whether two names denote the same model, in the spellings of servers and gateways.
//!
//! A name is split into words. The parts that name a location or a provider are dropped: a path, an organisation, a
//! region, a gateway's route, a file ending. After the words of the shorter name, the longer name may only have a date,
//! a version of three digits, or a form: how the model was quantised or converted.

/// Forms of quantisation or conversion, in addition to those that [`is_bits`] detects.
const FORMS: &[&str] = &[
    "awq",
    "gptq",
    "gptqmodel",
    "autoawq",
    "autogptq",
    "autoround",
    "exl2",
    "exl3",
    "bnb",
    "hqq",
    "eetq",
    "aqlm",
    "dwq",
    "torchao",
    "unsloth",
    "mlx",
    "mlc",
    "onnx",
    "openvino",
    "ov",
    "ct2",
    "hf",
    "marlin",
    "quantized",
    "quantised",
    "quant",
    "dynamic",
    "e4m3",
    "e5m2",
    "ud",
    "qat",
    "i1",
    "imat",
    "imatrix",
    "imx",
    "maas",
    "free",
];
/// Words that continue a form, and are not forms alone.
const FORM_PARTS: &[&str] = &[
    "k",
    "m",
    "s",
    "l",
    "xs",
    "xxs",
    "xl",
    "xxl",
    "nl",
    "ks",
    "kt",
    "kss",
    "r4",
    "r8",
    "moe",
    "kv",
    "bit",
    "bits",
    "h6",
    "h8",
    "32g",
    "64g",
    "128g",
    "g32",
    "g64",
    "g128",
    "gs32",
    "gs64",
    "gs128",
    "actorder",
    "true",
    "false",
    "sym",
    "asym",
    "block",
    "static",
    "channel",
    "tensor",
    "tensors",
    "compressed",
    "gemm",
    "gemv",
    "int8mix",
    "fast",
];
/// Words that carry no information about a model at any position.
const EMPTY_WORDS: &[&str] = &["gguf", "ggml", "latest"];
/// File name endings.
const ENDINGS: &[&str] = &[".gguf", ".ggml", ".safetensors", ".bin", ".onnx", ".llamafile"];
/// Words that gateways accept after a colon or an at-sign: the route or the provider.
const ROUTES: &[&str] = &[
    "nitro",
    "floor",
    "online",
    "exacto",
    "free",
    "beta",
    "latest",
    "default",
    "fastest",
    "cheapest",
    "preferred",
    "baseten",
    "cerebras",
    "cohere",
    "featherless-ai",
    "fireworks-ai",
    "groq",
    "hf-inference",
    "hyperbolic",
    "nebius",
    "novita",
    "nscale",
    "ovhcloud",
    "publicai",
    "replicate",
    "sambanova",
    "scaleway",
    "together",
];
/// Regions that Bedrock puts before a name.
const REGIONS: &[&str] = &["us", "us-gov", "eu", "apac", "ap", "jp", "au", "ca", "sa", "global"];
/// Organisations that make or convert models; they occur before a name with an underscore, a double hyphen or a dot.
const ORGANISATIONS: &[&str] = &[
    "01-ai",
    "ai21",
    "ai21labs",
    "allenai",
    "amazon",
    "anthropic",
    "baidu",
    "bartowski",
    "bytedance",
    "cohere",
    "cohereforai",
    "coherelabs",
    "deepseek",
    "deepseek-ai",
    "google",
    "huggingfacetb",
    "ibm",
    "ibm-granite",
    "lmstudio-community",
    "meta",
    "meta-llama",
    "microsoft",
    "minimax",
    "minimaxai",
    "mistral",
    "mistralai",
    "mlx-community",
    "moonshot",
    "moonshotai",
    "mradermacher",
    "nousresearch",
    "nvidia",
    "openai",
    "qwen",
    "redhatai",
    "thebloke",
    "tiiuae",
    "unsloth",
    "writer",
    "xai",
    "zai",
    "zai-org",
];
const SEPARATORS: [char; 6] = ['-', '_', '.', ':', '@', ' '];

/// Returns whether two names denote the same model: after the shorter name, the longer one has only a date or a form.
#[must_use]
pub(super) fn is_same_model(asked: &str, served: &str) -> bool {
    let (asked, served) = (words(asked, organisation(served)), words(served, organisation(asked)));
    let (short, long) = if asked.len() <= served.len() { (&asked, &served) } else { (&served, &asked) };
    !short.is_empty() && long.strip_prefix(short.as_slice()).is_some_and(is_date_or_form)
}

/// Returns whether two names differ only in spelling and in the parts that name a location.
#[must_use]
pub(super) fn is_same_name(one: &str, other: &str) -> bool {
    words(one, organisation(other)) == words(other, organisation(one))
}

/// Returns the next-to-last part of a path.
fn organisation(name: &str) -> Option<&str> {
    name.trim().rsplit('/').filter(|part| !part.is_empty()).nth(1)
}

/// Returns the words of a name, in lower case; drops `organisation` at the beginning of the name.
fn words(name: &str, organisation: Option<&str>) -> Vec<String> {
    let name = bare(name);
    let organisation = organisation.map(str::to_lowercase);
    let is_known = |before: &str, behind: &str| {
        ORGANISATIONS.contains(&before) || organisation.as_deref() == Some(before) || behind.starts_with(before)
    };
    let mut rest = name.as_str();
    for separator in ["--", "__", "_"] {
        if let Some((before, behind)) = rest.split_once(separator)
            && !before.is_empty()
            && !behind.is_empty()
            && is_known(before, behind)
        {
            rest = behind;
            break;
        }
    }
    // Llama's own makers dropped the first word.
    let rest = rest.strip_prefix("meta-").filter(|behind| behind.starts_with("llama-")).unwrap_or(rest);
    let words = rest.split(SEPARATORS).filter(|word| !word.is_empty() && !EMPTY_WORDS.contains(word));
    words.map(str::to_owned).collect()
}

/// Returns a name in lower case, without the path before it, the file ending, the gateway's route, and Bedrock's
/// additions.
fn bare(name: &str) -> String {
    let name = name.trim().to_lowercase();
    // Fireworks appends a deployment to the model.
    let name = name.split('#').next().unwrap_or_default();
    let parts: Vec<&str> = name.split(['/', '\\']).filter(|part| !part.is_empty()).collect();
    // In the Hub's cache, a model is in the directory of its commit.
    let cached = parts.iter().find_map(|part| part.strip_prefix("models--")).and_then(|part| part.rsplit("--").next());
    let mut last = cached.or_else(|| parts.last().copied()).unwrap_or_default();
    last = ENDINGS.iter().find_map(|ending| last.strip_suffix(ending)).unwrap_or(last);
    last = without_part_number(last);
    while let Some((before, route)) = last.rsplit_once([':', '@'])
        && ROUTES.contains(&route)
    {
        last = before;
    }
    let mut is_bedrock = false;
    while let Some((before, behind)) = last.split_once('.')
        && (REGIONS.contains(&before) || ORGANISATIONS.contains(&before))
    {
        (is_bedrock, last) = (true, behind);
    }
    if is_bedrock { without_bedrock_version(last).to_owned() } else { last.to_owned() }
}

/// Removes `-00001-of-00003`, which numbers the files of one model.
fn without_part_number(name: &str) -> &str {
    let is_number = |text: &str| text.len() == 5 && is_digits(text);
    let numbered =
        name.rsplit_once("-of-").filter(|(_, all)| is_number(all)).and_then(|(rest, _)| rest.rsplit_once('-'));
    numbered.filter(|(_, part)| is_number(part)).map_or(name, |(rest, _)| rest)
}

/// Removes `-v1:0`, `-1:0`, or `-v1`.
fn without_bedrock_version(name: &str) -> &str {
    let (head, has_revision) = name.split_once(':').map_or((name, false), |(head, _)| (head, true));
    let Some((rest, version)) = head.rsplit_once('-') else { return head };
    let digits = version.strip_prefix('v');
    let is_version = digits.or(has_revision.then_some(version)).is_some_and(|text| text.len() == 1 && is_digits(text));
    if is_version { rest } else { head }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether the rest of a name is only a date, a version of three digits, or a form.
fn is_date_or_form(rest: &[String]) -> bool {
    let mut dated = rest.iter().take_while(|word| is_digits(word)).count();
    // `4-bit`, `3.5bpw`: the last digits begin a form.
    if rest.get(dated).is_some_and(|word| takes_a_number(word)) {
        dated = dated.saturating_sub(1);
    }
    let (date, forms) = rest.split_at(dated);
    // A single number of one or two digits may be a size.
    let date_is_one = match date {
        [] => true,
        [one] => matches!(one.len(), 3 | 4 | 6 | 8),
        several => several.len() <= 3 && several.iter().all(|word| matches!(word.len(), 2 | 4)),
    };
    date_is_one
        && forms.iter().enumerate().all(|(index, word)| {
            let is_number = word.len() <= 2 && is_digits(word);
            let is_part = FORM_PARTS.contains(&word.as_str()) || is_number || takes_a_number(word);
            let begins = is_number && forms.get(index + 1).is_some_and(|next| takes_a_number(next));
            FORMS.contains(&word.as_str()) || is_bits(word) || begins || (index > 0 && is_part)
        })
}

/// Returns whether a word continues the number before it: `4-bit`, `3.5bpw`.
fn takes_a_number(word: &str) -> bool {
    matches!(word, "bit" | "bits")
        || word.strip_suffix("bpw").is_some_and(|digits| digits.is_empty() || is_digits(digits))
}

/// Returns whether a word alone states the bits of a weight.
fn is_bits(word: &str) -> bool {
    let is_count = |text: &str| matches!(text, "1" | "2" | "3" | "4" | "5" | "6" | "8" | "16" | "32");
    // `nvfp4a16`, and MLC's `q4f16`.
    let word = word.strip_suffix("a16").unwrap_or(word);
    let word =
        word.strip_suffix("f16").or_else(|| word.strip_suffix("f32")).filter(|rest| !rest.is_empty()).unwrap_or(word);
    let heads = ["iq", "tq", "q", "uint", "int", "nvfp", "mxfp", "mxint", "fp", "bf", "nf"];
    let is_headed = heads.iter().any(|head| word.strip_prefix(head).is_some_and(is_count));
    let is_tailed = ["bit", "bits", "bpw"].iter().any(|tail| word.strip_suffix(tail).is_some_and(is_count));
    // `w4a16`, `w8a8`, `w4afp8`.
    let weights = word.strip_prefix('w').map(|rest| rest.split_once('a').unwrap_or((rest, "16")));
    let is_weights = weights.is_some_and(|(bits, others)| is_count(bits) && (is_count(others) || others == "fp8"));
    is_headed || is_tailed || is_weights || matches!(word, "f8" | "f16" | "f32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_path_date_and_quantising_make_no_other_model() {
        for (asked, served) in [
            ("Qwen/Qwen3-8B", "qwen3-8b"),
            ("qwen3-8b", "/models/Qwen3-8B/"),
            ("Qwen3-8B", "C:\\models\\Qwen3-8B-Q4_K_M.gguf"),
            ("Qwen/Qwen3-8B", "/cache/hub/models--Qwen--Qwen3-8B/snapshots/0123abcd"),
            ("qwen3", "qwen3:latest"),
            ("gpt-4o", "gpt-4o-2024-08-06"),
            ("gpt-4o-2024-08-06", "gpt-4o"),
            ("gpt-4", "gpt-4-0613"),
            ("claude-sonnet-4", "claude-sonnet-4-20250514"),
            ("claude-sonnet-4", "claude-sonnet-4@20250514"),
            ("gemini-2.5-pro-preview", "gemini-2.5-pro-preview-05-06"),
            ("gemini-1.5-pro", "gemini-1.5-pro-002"),
            ("command-r", "command-r-08-2024"),
            ("mistral-large", "mistral-large-latest"),
            ("mistral-large", "mistral-large-2411"),
            ("deepseek-v3", "accounts/fireworks/models/deepseek-v3-0324"),
            ("Qwen3-8B", "Qwen3-8B-AWQ"),
            ("Qwen3-8B", "Qwen3-8B-FP8"),
            ("Qwen3-8B", "Qwen3-8B-GPTQ-Int4"),
            ("Qwen3-8B", "Qwen3-8B-MLX-4bit"),
            ("Qwen3-8B", "Qwen3-8B-UD-IQ2_XXS.gguf"),
            ("Qwen3-8B", "Qwen3-8B.Q8_0.gguf"),
            ("Meta-Llama-3-8B", "meta-llama-3-8b-quantized.w8a8"),
        ] {
            assert!(is_same_model(asked, served), "{asked} {served}");
        }
    }

    #[test]
    fn an_alias_a_route_a_region_and_an_organisation_make_no_other_model() {
        for (asked, served) in [
            ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
            ("anthropic/claude-3.5-sonnet", "claude-3-5-sonnet-20241022"),
            ("mistral-large-latest", "mistral-large-2411"),
            ("meta-llama/llama-3.3-70b-instruct:nitro", "meta-llama/Llama-3.3-70B-Instruct"),
            ("deepseek/deepseek-chat-v3-0324:floor", "deepseek-chat-v3-0324"),
            ("openai/gpt-4o:online", "openai/gpt-4o-2024-08-06"),
            ("moonshotai/kimi-k2:exacto", "moonshotai/kimi-k2-0905"),
            ("qwen/qwen3-8b:free:online", "qwen/qwen3-8b"),
            ("Qwen/Qwen3-8B:fireworks-ai", "accounts/fireworks/models/qwen3-8b"),
            ("qwen3-8b", "accounts/fireworks/models/qwen3-8b#accounts/me/deployments/abc"),
            ("openai/qwen3-8b", "qwen3-8b"),
            ("llama-3.1-8b-instruct", "@cf/meta/llama-3.1-8b-instruct-fp8-fast"),
            ("claude-3-5-sonnet", "us.anthropic.claude-3-5-sonnet-20241022-v2:0"),
            ("bedrock/anthropic.claude-3-haiku-20240307-v1:0", "claude-3-haiku-20240307"),
            ("eu.anthropic.claude-sonnet-4-20250514-v1:0", "anthropic.claude-sonnet-4-20250514-v1:0"),
            ("openai.gpt-oss-120b-1:0", "gpt-oss-120b"),
            ("meta/llama-3.1-405b-instruct-maas", "llama-3.1-405b-instruct"),
            ("claude-sonnet-4@default", "claude-sonnet-4"),
            ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama_Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf"),
            ("NousResearch/Hermes-4-14B", "NousResearch_Hermes-4-14B-Q6_K_L.gguf"),
            ("Qwen3-8B", "Qwen_Qwen3-8B-Q4_K_M.gguf"),
            ("Qwen/Qwen3-8B", "qwen--qwen3-8b"),
        ] {
            assert!(is_same_model(asked, served) && is_same_model(served, asked), "{asked} {served}");
        }
    }

    #[test]
    fn every_way_to_quantise_or_convert_is_known() {
        for form in [
            "i1-Q4_K_M.gguf",
            "GPTQ-4bit-128g",
            "gptq-4bit-32g-actorder_True",
            "GPTQ-Int4-Int8Mix",
            "unsloth-bnb-4bit",
            "MXFP4_MOE",
            "UD-Q4_K_XL-00001-of-00003.gguf",
            "IQ4_NL.gguf",
            "Q4_0_4_4.gguf",
            "IQ4_K_R4",
            "4.65bpw-h6-exl2",
            "exl2-6_5",
            "exl3-3.0bpw",
            "4-bit",
            "4bit-DWQ",
            "mlx-8Bit",
            "q4f16_1-MLC",
            "FP8-dynamic",
            "FP8-KV",
            "NVFP4A16",
            "W4A16-G128",
            "w4afp8",
            "int4-ov",
            "hqq",
            "AWQ-INT4",
            "awq-gemm",
            "GGUF:Q4_K_M",
            "F16.gguf",
            "Q8_0.llamafile",
            "hf",
            "2507-FP8",
        ] {
            let served = format!("Qwen3-8B-{form}");
            assert!(is_same_model("Qwen/Qwen3-8B", &served), "{served}");
        }
        assert!(is_same_model("hf.co/Qwen/Qwen3-8B-GGUF:Q4_K_M", "Qwen3-8B-Q4_K_M.gguf"));
        assert!(is_same_model("Qwen/Qwen3-8B-GGUF", "Qwen3-8B-Q4_K_M.gguf"));
    }

    #[test]
    fn another_size_generation_or_tuning_is_another_model() {
        for (asked, served) in [
            ("gpt-4", "gpt-4-turbo"),
            ("gpt-4", "gpt-4o"),
            ("gpt-4", "gpt-4.1"),
            ("gpt-4", "gpt-4-32k"),
            ("gpt-4o", "gpt-4o-mini"),
            ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20"),
            ("o1", "o1-preview"),
            ("llama-3", "llama-3-70"),
            ("llama-3", "llama-3-8"),
            ("qwen3-8b", "qwen3-80b"),
            ("qwen3-8b", "qwen3-8b-instruct"),
            ("qwen3-8b", "qwen3-8b-thinking-2507"),
            ("Llama-3-8B", "llama-3-8b-instruct-awq"),
            ("gemma-3-4b", "google_gemma-3-4b-it-Q4_K_M.gguf"),
            ("qwen3-8b", "uncensored_qwen3-8b"),
            ("qwen3-8b", "Qwen3-8B-abliterated.i1-Q4_K_M.gguf"),
            ("claude-3-5-sonnet-latest", "claude-3-5-haiku-20241022"),
            ("claude-3.7-sonnet", "claude-3.7-sonnet:thinking"),
            ("grok-4", "grok-4-fast"),
            ("deepseek-v3", "deepseek-v3.1"),
            ("qwen3", "qwen3:8b"),
            ("qwen3-30b", "qwen3-30b-moe"),
            ("mistral-7b-instruct-v0.2", "mistral-7b-instruct-v0.3"),
            ("Qwen3-8B-AWQ", "Qwen3-8B-Q4_K_M.gguf"),
            ("served", "m"),
            ("deepseek-chat", "deepseek-reasoner"),
            ("model", ""),
            ("", "model"),
            ("a", "models--"),
            ("a", "latest"),
        ] {
            assert!(!is_same_model(asked, served) && !is_same_model(served, asked), "{asked} {served}");
        }
    }
}
