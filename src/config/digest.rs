//! Digests of what is in force: a run in the ledger says by which definitions and mapping it was judged.

use sha2::{Digest, Sha256};

/// Hex SHA-256 over names and texts, each preceded by its length, so that no two different sets have the same input.
pub(super) fn of_documents(docs: &[(String, String)]) -> String {
    let mut hash = Sha256::new();
    for part in docs.iter().flat_map(|(name, text)| [name, text]) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

/// Hex SHA-256 of a JSON value with its keys sorted: the order in which a mapping was written means nothing.
pub(super) fn of_json(value: &serde_json::Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    hex::encode(Sha256::digest(text.as_bytes()))
}

fn canonical(value: &serde_json::Value, out: &mut String) {
    match value {
        serde_json::Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for key in keys {
                out.push_str(&serde_json::Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(&map[key], out);
                out.push(',');
            }
            out.push('}');
        }
        serde_json::Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}
