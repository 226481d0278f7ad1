//! Error texts of real servers, and texts that only resemble a refusal.

use super::*;

const SENT: &[&str] = &[
    "messages",
    "model",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "response_format",
    "chat_template_kwargs",
    "stream",
    "stream_options",
    "thinking",
];

fn read(status: u16, body: &str) -> Option<String> {
    let sent: Vec<String> = SENT.iter().map(|&key| key.to_owned()).collect();
    refused_key(status, body, &sent)
}

fn told(message: &str) -> String {
    serde_json::json!({"error": {"message": message, "type": "invalid_request_error"}}).to_string()
}

#[test]
fn a_refused_key_is_found_in_the_sentences_of_the_servers() {
    for (message, key) in [
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "max_tokens",
        ),
        ("Unrecognized request argument supplied: seed", "seed"),
        ("Unrecognized request arguments supplied: min_p, seed", "min_p"),
        ("Unknown parameter: 'min_p'.", "min_p"),
        (
            "Unsupported value: 'temperature' does not support 0.6 with this model. Only the default (1) value is supported.",
            "temperature",
        ),
        ("invalid temperature: only 1 is allowed for this model", "temperature"),
        ("property 'seed' is unsupported", "seed"),
        ("property 'top_k' is unsupported, did you mean 'stop'?", "top_k"),
        ("body.seed: property 'body.seed' is unsupported", "seed"),
        ("Extra inputs are not permitted, field: 'min_p', value: 0.1", "min_p"),
        ("seed: Extra inputs are not permitted", "seed"),
        (
            "1 validation error for ChatCompletionRequest\nseed\n  Extra inputs are not permitted [type=extra_forbidden, input_value=1, input_type=int]",
            "seed",
        ),
        (
            "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted', 'input': 1}]",
            "seed",
        ),
        (
            "Malformed input request: #: extraneous key [seed] is not permitted, please reformat your input and try again.",
            "seed",
        ),
        ("Extra parameters ['seed'] are not allowed when extra-parameters is not set or set to be 'error'.", "seed"),
        ("json: unknown field \"seed\"", "seed"),
        (
            "Failed to deserialize the JSON body into the target type: unknown field `seed`, expected one of `messages`, `max_tokens`, `stop` at line 1 column 20",
            "seed",
        ),
        (
            "Unrecognized field \"seed\" (class com.example.ChatRequest), not marked as ignorable (3 known properties: \"max_tokens\", \"stop\", \"temperature\"])",
            "seed",
        ),
        ("Additional properties are not allowed ('seed' was unexpected)", "seed"),
        ("create() got an unexpected keyword argument 'seed'", "seed"),
        ("Invalid JSON payload received. Unknown name \"seed\": Cannot find field.", "seed"),
        ("Argument not supported on this model: stop", "stop"),
        ("Model grok-4 does not support parameter stop.", "stop"),
        ("found unpermitted parameter: :seed", "seed"),
        ("Parameter `seed` is not recognized", "seed"),
        (
            "litellm.UnsupportedParamsError: vertex_ai does not support parameters: {'seed': 1}, for model=x. To drop these, set `drop_params`.",
            "seed",
        ),
        ("Inference error: Validation: Unsupported parameter(s): `seed`", "seed"),
        ("`temperature` and `top_p` cannot both be specified for this model. Please use only one.", "top_p"),
        ("`top_p` is deprecated for this model.", "top_p"),
        ("topP is not supported by this model", "top_p"),
        ("maxTokens is not supported", "max_tokens"),
        ("This model does not support the temperature parameter", "temperature"),
        ("'response_format.type' must be 'json_schema' or 'text'", "response_format"),
        (
            "Failed to deserialize the JSON body into the target type: response_format: This response_format type is unavailable now",
            "response_format",
        ),
        (
            "Invalid parameter: 'response_format' of type 'json_object' is not supported with this model.",
            "response_format",
        ),
        ("chat_template_kwargs is not supported for this tokenizer", "chat_template_kwargs"),
        ("Please use max_completion_tokens: max_tokens is not supported", "max_tokens"),
        ("\u{53c2}\u{6570} seed \u{4e0d}\u{652f}\u{6301}", "seed"),
    ] {
        for status in [400, 422] {
            assert_eq!(read(status, &told(message)).as_deref(), Some(key), "{message}");
        }
        assert_eq!(read(400, message).as_deref(), Some(key), "as plain text: {message}");
        let gateway =
            serde_json::json!({"error": {"message": "Provider returned error", "metadata": {"raw": told(message)}}});
        assert_eq!(read(400, &gateway.to_string()).as_deref(), Some(key), "inside a gateway's error: {message}");
    }
}

#[test]
fn a_refused_key_is_found_where_the_error_names_it_apart() {
    for (body, key) in [
        (
            r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted","input":1}]},"type":"invalid_request_error"}"#,
            "seed",
        ),
        (
            r#"{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted","input":{"include_usage":true}}]}"#,
            "stream_options",
        ),
        (
            r#"{"detail":[{"loc":["body","seed"],"msg":"extra fields not permitted","type":"value_error.extra"}]}"#,
            "seed",
        ),
        (
            r#"{"error":{"message":"This parameter is not available.","param":"seed","code":"unsupported_parameter"}}"#,
            "seed",
        ),
        (r#"{"error":{"message":"Unsupported.","param":"temperature","code":"unsupported_value"}}"#, "temperature"),
        (
            r#"[{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"seed\": Cannot find field.","status":"INVALID_ARGUMENT"}}]"#,
            "seed",
        ),
        (
            r#"{"errors":[{"instancePath":"","keyword":"additionalProperties","params":{"additionalProperty":"seed"},"message":"must NOT have additional properties"}]}"#,
            "seed",
        ),
        (
            r#"{"error":{"problems":[{"code":"unrecognized_keys","keys":["min_p"],"path":[],"message":"Unrecognized key(s) in object"}]}}"#,
            "min_p",
        ),
        (r#"{"seed":["Unknown field."]}"#, "seed"),
        (r#"{"errors":{"json":{"top_k":["Unknown field."]}}}"#, "top_k"),
        (r#"{"error":{"message":"bad","param":"response_format.type","code":"invalid_value"}}"#, "response_format"),
        (
            r#"{"message":"{\"detail\":[{\"type\":\"extra_forbidden\",\"loc\":[\"body\",\"seed\"],\"msg\":\"Extra inputs are not permitted\"}]}"}"#,
            "seed",
        ),
    ] {
        assert_eq!(read(422, body).as_deref(), Some(key), "{body}");
    }
}

#[test]
fn what_only_mentions_a_key_refuses_none() {
    for message in [
        "'max_tokens' or 'max_completion_tokens' is too large: 64. This model's maximum context length is 4096 tokens and your request has 61 input tokens (64 > 4096 - 61).",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000 `inputs` tokens and 64 `max_new_tokens`",
        "max_tokens must be at least 1, got -186.",
        "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000.",
        "`max_tokens` is not allowed to exceed 8192",
        "temperature must be at most 2",
        "Range of seed should be [0, 2147483647]",
        "Input validation error: `top_p` must be > 0.0 and < 1.0",
        "temperature: Input should be less than or equal to 1",
        "Already borrowed",
        "The seed catalogue that your prompt asks about is not allowed by our policy.",
        "This prompt may stop the model; content of this kind is not permitted, for reasons of temperature and seed.",
        "Your request was rejected: unsupported language",
        "The model `seed` does not exist",
        "Unknown parameter: 'frobnicate'. Supported parameters: 'seed', 'max_tokens'",
        "unknown field `frobnicate`, expected one of `seed`, `stop`",
        "input length and `max_tokens` exceed context limit: 9000 + 4096 > 8192",
        "Please reduce the length of the messages or max_tokens",
        "Failed to generate JSON. Please adjust your prompt.",
        "",
    ] {
        assert_eq!(read(400, &told(message)), None, "{message}");
        assert_eq!(read(422, message), None, "as plain text: {message}");
    }
    let param = r#"{"error":{"message":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097.","type":"invalid_request_error","param":"max_tokens","code":null}}"#;
    assert_eq!(read(422, param), None);
    let range = r#"{"detail":[{"type":"less_than_equal","loc":["body","temperature"],"msg":"Input should be less than or equal to 1"}]}"#;
    assert_eq!(read(422, range), None);
    assert_eq!(read(400, "<html><body>seed is not allowed</body></html>"), None);
    for status in [401, 403, 404, 429, 502, 503] {
        assert_eq!(read(status, &told("Unknown parameter: 'seed'.")), None, "{status}");
    }
}

#[test]
fn only_keys_that_were_sent_are_found() {
    let body = told("Unknown parameter: 'seed'.");
    assert_eq!(refused_key(400, &body, &["max_tokens".to_owned()]), None);
    let renamed = told("Unsupported parameter: 'max_completion_tokens' is not supported. Use 'max_tokens' instead.");
    let sent = ["max_completion_tokens".to_owned(), "seed".to_owned()];
    assert_eq!(refused_key(400, &renamed, &sent).as_deref(), Some("max_completion_tokens"));
}
