//! Errors with a status of their own.

use super::{Dialect, quoted};
use crate::faults::Flavour;

/// A page as proxies and load balancers make it.
pub(crate) const HTML: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n";

/// The vendor's JSON for a status. As with the vendors, a 401 quotes a part of the key.
pub(crate) fn body(dialect: Dialect, flavour: Flavour, status: u16) -> String {
    match dialect {
        Dialect::Messages => {
            let (kind, message) = anthropic(status);
            format!(
                r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_011Mock"}}"#
            )
        }
        Dialect::Chat if flavour == Flavour::Vllm => {
            let message = quoted(openai(status).2);
            format!(
                r#"{{"object":"error","message":{message},"type":"BadRequestError","param":null,"code":{status}}}"#
            )
        }
        Dialect::Chat | Dialect::Responses | Dialect::Events => {
            let (kind, code, message) = openai(status);
            format!(r#"{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":{code}}}}}"#)
        }
    }
}

/// 400 for a request that cannot be understood.
pub(crate) fn bad_request(dialect: Dialect, message: &str) -> String {
    let message = quoted(message);
    match dialect {
        Dialect::Messages => {
            format!(r#"{{"type":"error","error":{{"type":"invalid_request_error","message":{message}}}}}"#)
        }
        _ => format!(
            r#"{{"error":{{"message":{message},"type":"invalid_request_error","param":null,"code":null}}}}"#
        ),
    }
}

fn openai(status: u16) -> (&'static str, &'static str, &'static str) {
    match status {
        400 => (
            "invalid_request_error",
            r#""context_length_exceeded""#,
            "This model's maximum context length is 400000 tokens.",
        ),
        401 => (
            "invalid_request_error",
            r#""invalid_api_key""#,
            "Incorrect API key provided: sk-mock*********1234.",
        ),
        403 => (
            "invalid_request_error",
            r#""unsupported_country_region_territory""#,
            "Country, region, or territory not supported",
        ),
        404 => (
            "invalid_request_error",
            r#""model_not_found""#,
            "The model `gpt-0` does not exist or you do not have access to it.",
        ),
        429 => (
            "tokens",
            r#""rate_limit_exceeded""#,
            "Rate limit reached for gpt-5-mini. Please try again in 3s.",
        ),
        status if status < 500 => ("invalid_request_error", "null", "The request cannot be processed."),
        503 => ("service_unavailable", "null", "The engine is currently overloaded, please try again later."),
        _ => (
            "server_error",
            "null",
            "The server had an error while processing your request. Sorry about that!",
        ),
    }
}

fn anthropic(status: u16) -> (&'static str, &'static str) {
    match status {
        401 => ("authentication_error", "invalid x-api-key"),
        403 => ("permission_error", "Your API key does not have permission to use the specified resource."),
        404 => ("not_found_error", "model: claude-0"),
        413 => ("request_too_large", "Request exceeds the maximum size"),
        429 => ("rate_limit_error", "This request would exceed your organization's rate limit."),
        status if status < 500 => ("invalid_request_error", "max_tokens: Field required"),
        504 => ("timeout_error", "Request timed out"),
        529 => ("overloaded_error", "Overloaded"),
        _ => ("api_error", "Internal server error"),
    }
}
