//! The list of models.

/// What `GET /v1/models` answers, in OpenAI's form.
pub(crate) const LIST: &str = r#"{"object":"list","data":[{"id":"gpt-5-mini","object":"model","created":1763700000,"owned_by":"mock-llm"}]}"#;
