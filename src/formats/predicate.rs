//! `where` expressions: a JSONPath over the raw record that must find something.

use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;

/// Compiles `path` into a test of a record's bytes: true if the expression finds at least one node that is neither
/// `null` nor `false`. A record that is not JSON satisfies nothing.
///
/// # Errors
/// What is wrong with the expression, with a caret under the place.
pub fn compile(path: &str) -> Result<impl Fn(&[u8]) -> bool + Send + Sync + use<>, String> {
    let query = parse_json_path(path).map_err(|e| format!("`{path}` is not a JSONPath: {e}"))?;
    Ok(move |raw: &[u8]| {
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(raw) else { return false };
        js_path_process(&query, &value).is_ok_and(|hits| hits.iter().any(|h| !h.clone().val().is_null() && *h.clone().val() != serde_json::Value::Bool(false)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_or_does_not() {
        let test = compile("$.tags[?(@.key == 'env' && @.value == 'prod')]").expect("valid");
        assert!(test(br#"{"tags":[{"key":"env","value":"prod"}]}"#));
        assert!(!test(br#"{"tags":[{"key":"env","value":"dev"}]}"#));
        assert!(!test(b"not json"));
        assert!(compile("$.[").is_err());
        let test = compile("$.a").expect("valid");
        assert!(!test(br#"{"a":null}"#) && !test(br#"{"a":false}"#) && test(br#"{"a":0}"#));
    }
}
